"""What is counted while records are converted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ismpack.data import PackBatch
from ismpack.errors import RecordError
from ismpack.manifest import ShardEntry


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
        lengths: Length -> samples of so many tokens.
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
    lengths: Counter[int] = field(default_factory=Counter)

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
        self.lengths += other.lengths


@dataclass(slots=True, kw_only=True)
class ShardFacts:
    """What the totals need to know of one shard.

    Attributes:
        name: Its file.
        rows: Rows in it.
        documents: Samples in it.
        tokens: Tokens in it.
        turns: Turns in it.
        loss_tokens: Targets in it.
        triplet_tokens: Tokens that it would have with one row per turn.
    """

    name: str
    rows: int = 0
    documents: int = 0
    tokens: int = 0
    turns: int = 0
    loss_tokens: int = 0
    triplet_tokens: int = 0

    @property
    def entry(self) -> ShardEntry:
        """The shard as the manifest lists it."""
        return ShardEntry(name=self.name, rows=self.rows, documents=self.documents, tokens=self.tokens)

    def count(self, batches: Iterable[PackBatch]) -> Iterator[PackBatch]:
        """Count packs as they go by."""
        for packs in batches:
            self._add(packs)
            yield packs

    def _add(self, packs: PackBatch) -> None:
        ends = np.cumsum(packs.seq_lengths, dtype=np.int64)
        # The last token of every turn: documents begin a turn too, and rows begin with a document.
        is_last = np.ones(len(packs.turn_ids), np.bool_)
        np.not_equal(packs.turn_ids[1:], packs.turn_ids[:-1], out=is_last[:-1])
        is_last[ends - 1] = True
        last = np.flatnonzero(is_last)
        starts = (ends - packs.seq_lengths)[np.searchsorted(ends, last, side="right")]
        self.rows += len(packs)
        self.documents += len(packs.seq_lengths)
        self.tokens += len(packs.input_ids)
        self.turns += len(last)
        self.loss_tokens += int(np.count_nonzero(packs.loss_mask))
        self.triplet_tokens += int((last + 1 - starts).sum())
