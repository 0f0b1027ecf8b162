"""One partition: records in, packs and counts out. Depends on nothing but the plan and the toolkit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ismpack.data import Conversation, Filled, PackBatch, PlainConversation, Record, SampleBatch, Segment
from ismpack.errors import UNDESIRED, InternalError, RecordError
from ismpack.packing import fit, pack
from ismpack.pipeline.inputs import read_conversation, records
from ismpack.pipeline.oddities import digests, oddities
from ismpack.pipeline.progress import Advance
from ismpack.pipeline.tally import Tally
from ismpack.pipeline.toolkit import Toolkit
from ismpack.schema import SOURCE_POSITION_BITS
from ismpack.sources import Chunk
from ismpack.templates import Segmentation
from ismpack.tokenization import SampleTokenizer

Sized: TypeAlias = tuple[Chunk, int]
"""A chunk, and how many bytes of text it stands for."""

_FLUSH_CHARACTERS = 2 << 20
"""Rendered text that is collected before it is tokenized in one call."""

_BONE_CHARACTERS = 64
"""What the template's text in one segment of a skeleton is taken for, as counting it would cost more than it tells."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """A record's samples, waiting to be tokenized."""

    record: Record
    conversation: Conversation | PlainConversation
    segmentation: Segmentation

    @property
    def samples(self) -> tuple[Sequence[Segment], ...]:
        """Segments of each sample."""
        return self.segmentation.samples


class Partition:
    """Converts the records of one partition.

    Args:
        toolkit: Template and rules.
        tokenizer: Segments to samples.
        advance: Called now and then with what was done since the last call.
    """

    def __init__(self, toolkit: Toolkit, tokenizer: SampleTokenizer, advance: Advance = lambda *_: None) -> None:
        self._toolkit = toolkit
        self._tokenizer = tokenizer
        self._advance = advance
        self._pending: list[_Pending] = []
        self._characters = 0
        self._batches: list[SampleBatch] = []
        self.tally = Tally()

    def run(self, chunks: Sequence[Sized], seed: int, limit: int | None = None) -> Iterator[PackBatch]:
        """Read the chunks, convert every record, and pack what came of it.

        Args:
            chunks: What to read, and how many bytes of text each chunk stands for.
            seed: Decides the order of rows.
            limit: Read only this many records.

        Raises:
            RecordError: The first bad record, with `--on-error stop`.
            InputError: An input ends early or changed.
        """
        for chunk, size in chunks:
            self._read(chunk, limit)
            self._advance(size, 0, 0)
            if self.tally.records == limit:
                break
        self._flush()
        self.tally.rejected.sort(key=lambda entry: entry[0])
        options = self._toolkit.options
        for batch in self._batches:
            self.tally.lengths.update(batch.lengths.tolist())
        return pack(self._batches, options.max_length, options.packing, seed)

    def _read(self, chunk: Chunk, limit: int | None) -> None:
        for item in records(chunk, self._toolkit.format):
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
            if self.tally.records == limit:
                break

    def _take(self, record: Record) -> None:
        try:
            name, conversation = read_conversation(record, self._toolkit.format)
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
            batch, refused = self._tokenizer.tokenize(samples, [self._pending[i].record.source_id for i in owners])
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
            before = self.tally.conversations
            self._settle(owners, refused, {tokenized[i] for i in fitted.dropped})
            self._advance(0, self.tally.conversations - before, len(fitted.batch.input_ids))
        self._pending.clear()
        self._characters = 0

    def _settle(self, owners: Sequence[int], refused: dict[int, RecordError], dropped: set[int]) -> None:
        """A record is a conversation if one of its samples is left, else rejected or dropped."""
        used = {owner for i, owner in enumerate(owners) if i not in refused and i not in dropped}
        errors = {owners[i]: error for i, error in sorted(refused.items(), reverse=True)}
        self.tally.warnings["split-sample-refused"] += sum(owners[i] in used for i in refused)
        self.tally.warnings["split-sample-dropped"] += sum(owners[i] in used for i in dropped)
        for owner, pending in enumerate(self._pending):
            if owner in used:
                self.tally.conversations += 1
                self._warn(pending)
            elif owner in errors:
                self._reject(errors[owner].at(pending.record.location), pending.record.source_id)
            else:
                self.tally.dropped += 1

    def _warn(self, pending: _Pending) -> None:
        conversation, segmentation = pending.conversation, pending.segmentation
        for code in (*conversation.warnings, *oddities(conversation), *segmentation.warnings):
            self.tally.warnings[code] += 1
        if segmentation.inferred_stops:
            self.tally.inferred_stops |= segmentation.inferred_stops


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
