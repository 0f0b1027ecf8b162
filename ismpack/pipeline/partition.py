"""One partition: records in, packs and counts out. Depends on nothing but the plan and the toolkit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ismpack.data import Conversation, Filled, PackBatch, Record, SampleBatch, Segment
from ismpack.errors import UNDESIRED, InternalError, RecordError
from ismpack.packing import fit, pack
from ismpack.pipeline.inputs import conversation_of, records
from ismpack.pipeline.oddities import digests, oddities
from ismpack.pipeline.toolkit import Toolkit
from ismpack.schema import SOURCE_POSITION_BITS
from ismpack.sources import Chunk
from ismpack.templates import Segmentation

_FLUSH_CHARACTERS = 2 << 20
"""Rendered text that is collected before it is tokenized in one call."""

_BONE_CHARACTERS = 64
"""What the template's text in one segment of a skeleton is taken for, as counting it would cost more than it tells."""

_REPORT_RECORDS = 100


@dataclass(slots=True)
class Tally:
    """Counts of a partition, or of a whole run.

    Attributes:
        records: Records read.
        blank_lines: Lines without a record.
        conversations: Records that became at least one sample.
        dropped: Records left out by an option, or because they mark their own answer as unwanted.
        rejected: Source id and error of every record that cannot be used.
        formats: Format -> records.
        warnings: Code -> times.
        inferred_stops: Control tokens that were taken as stop tokens.
        digests: Of every sample's tokens and loss, 8 bytes each.
    """

    records: int = 0
    blank_lines: int = 0
    conversations: int = 0
    dropped: int = 0
    rejected: list[tuple[int, RecordError]] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    inferred_stops: set[str] = field(default_factory=set)
    digests: list[npt.NDArray[np.uint64]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add the counts of another partition."""
        self.records += other.records
        self.blank_lines += other.blank_lines
        self.conversations += other.conversations
        self.dropped += other.dropped
        self.rejected += other.rejected
        self.formats += other.formats
        self.warnings += other.warnings
        self.inferred_stops |= other.inferred_stops
        self.digests += other.digests


@dataclass(frozen=True, slots=True)
class _Pending:
    """A record's samples, waiting to be tokenized."""

    record: Record
    conversation: Conversation
    segmentation: Segmentation

    @property
    def samples(self) -> tuple[Sequence[Segment], ...]:
        """Segments of each sample."""
        return self.segmentation.samples


class Partition:
    """Converts the records of one partition.

    Args:
        toolkit: Tokenizer, template and rules.
        on_progress: Called now and then with the number of records read since the last call.
    """

    def __init__(self, toolkit: Toolkit, on_progress: Callable[[int], None] = lambda _: None) -> None:
        self._toolkit = toolkit
        self._on_progress = on_progress
        self._pending: list[_Pending] = []
        self._characters = 0
        self._reported = 0
        self._batches: list[SampleBatch] = []
        self.tally = Tally()

    def run(self, chunks: Sequence[Chunk], seed: int, limit: int | None = None) -> PackBatch:
        """Read the chunks, convert every record, and pack what came of it.

        Raises:
            RecordError: The first bad record, with `--on-error stop`.
            InputError: An input ends early or changed.
        """
        items = ((chunk, item) for chunk in chunks for item in records(chunk, self._toolkit.format))
        for chunk, item in items:
            if item is None:
                self.tally.blank_lines += 1
                continue
            self.tally.records += 1
            if isinstance(item, Record):
                self._take(item)
            else:
                self._reject(item, _source_id(chunk, item))
            if self._characters >= _FLUSH_CHARACTERS:
                self._flush()
            if self.tally.records - self._reported >= _REPORT_RECORDS:
                self._report()
            if self.tally.records == limit:
                break
        self._flush()
        self._report()
        self.tally.rejected.sort(key=lambda entry: entry[0])
        options = self._toolkit.options
        batch = _concatenate(self._batches)
        self._batches.clear()  # the tokens are held twice while they are packed; not three times
        return pack(batch, options.max_length, options.packing, seed)

    def _take(self, record: Record) -> None:
        try:
            name, conversation = conversation_of(record, self._toolkit.format)
            self.tally.formats[name] += 1
            segmentation = self._toolkit.segments(conversation)
        except InternalError as error:
            raise InternalError(error.message, location=record.location) from error
        except RecordError as error:
            if error.code == UNDESIRED:
                self.tally.dropped += 1
                self.tally.warnings[UNDESIRED] += 1
            else:
                self._reject(error.at(record.location), record.source_id)
            return
        self._pending.append(_Pending(record, conversation, segmentation))
        self._characters += sum(map(_characters, segmentation.samples))

    def _reject(self, error: RecordError, source_id: int) -> None:
        if self._toolkit.options.on_error == "stop":
            raise error
        self.tally.rejected.append((source_id, error))

    def _flush(self) -> None:
        """Tokenize what is pending, fit it to the row length, and settle what became of each record."""
        samples = [sample for pending in self._pending for sample in pending.samples]
        owners = [i for i, pending in enumerate(self._pending) for _ in pending.samples]
        if samples:
            batch, refused = self._toolkit.tokenizer.tokenize(
                samples, [self._pending[i].record.source_id for i in owners]
            )
            tokenized = [i for i in range(len(samples)) if i not in refused]
            options = self._toolkit.options
            fitted = fit(batch, options.max_length, options.overlong)
            refused |= {tokenized[i]: error for i, error in fitted.refused.items()}
            self._batches.append(fitted.batch)
            self.tally.digests.append(digests(fitted.batch))
            self.tally.warnings.update(
                {
                    "overlong-cut": fitted.cut,
                    "overlong-cut-turns": fitted.cut_turns,
                    "overlong-cut-tokens": fitted.cut_tokens,
                }
            )
            self._settle(owners, refused, {tokenized[i] for i in fitted.dropped})
        self._pending.clear()
        self._characters = 0

    def _report(self) -> None:
        self._on_progress(self.tally.records - self._reported)
        self._reported = self.tally.records

    def _settle(self, owners: Sequence[int], refused: dict[int, RecordError], dropped: set[int]) -> None:
        """A record is a conversation if one of its samples is left, else rejected or dropped."""
        used = {owner for i, owner in enumerate(owners) if i not in refused and i not in dropped}
        errors = {owners[i]: error for i, error in sorted(refused.items(), reverse=True)}
        self.tally.warnings["split-sample-refused"] += sum(owners[i] in used for i in refused)
        self.tally.warnings["split-sample-dropped"] += sum(owners[i] in used for i in dropped)
        for owner, pending in enumerate(self._pending):
            if owner in used:
                self.tally.conversations += 1
                self.tally.warnings.update((*pending.conversation.warnings, *oddities(pending.conversation)))
                self.tally.warnings.update(pending.segmentation.warnings)
                self.tally.inferred_stops |= pending.segmentation.inferred_stops
            elif owner in errors:
                self._reject(errors[owner].at(pending.record.location), pending.record.source_id)
            else:
                self.tally.dropped += 1


def _characters(sample: Sequence[Segment]) -> int:
    """Rendered characters of a sample, about."""
    if isinstance(sample, Filled):
        return sum(map(len, sample.values)) + _BONE_CHARACTERS * len(sample)
    return sum(len(piece.text) for segment in sample for piece in segment.pieces)


def _source_id(chunk: Chunk, error: RecordError) -> int:
    where = error.location
    if where is None or (where.line is None and where.index is None):
        raise InternalError(f"a reader gave an error without a position: {error}")
    position = where.line - 1 if where.line is not None else where.index
    return chunk.file.index << SOURCE_POSITION_BITS | (position or 0)


def _concatenate(batches: Sequence[SampleBatch]) -> SampleBatch:
    if not batches:
        none = np.zeros(0, np.int32)
        bytes_ = np.zeros(0, np.uint8)
        return SampleBatch(
            input_ids=none,
            segment_type_ids=bytes_,
            turn_ids=none,
            loss_mask=bytes_,
            lengths=none,
            source_ids=np.zeros(0, np.int64),
        )
    return SampleBatch(
        input_ids=np.concatenate([batch.input_ids for batch in batches]),
        segment_type_ids=np.concatenate([batch.segment_type_ids for batch in batches]),
        turn_ids=np.concatenate([batch.turn_ids for batch in batches]),
        loss_mask=np.concatenate([batch.loss_mask for batch in batches]),
        lengths=np.concatenate([batch.lengths for batch in batches]),
        source_ids=np.concatenate([batch.source_ids for batch in batches]),
    )
