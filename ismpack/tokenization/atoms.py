"""Atoms as columns: what is known of a sample before its runs are encoded, and how many tokens each atom becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ismpack.data import Segment
from ismpack.tokenization.encoder import RunEncoder
from ismpack.tokenization.runs import RunTable


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Atoms:
    """A atoms and S segments of N samples end to end.

    Attributes:
        ids: int32[A], the id of an atom that is one token; `RUN` for a part of a run.
        types: uint8[A], segment types.
        segments: int32[A], the segment's number.
        turns: int32[S].
        losses: uint8[S].
        answers: bool[S], whether the segment is an answer.
        sizes: int32[N], segments per sample; they sum to S.
    """

    ids: npt.NDArray[np.int32]
    types: npt.NDArray[np.uint8]
    segments: npt.NDArray[np.int32]
    turns: npt.NDArray[np.int32]
    losses: npt.NDArray[np.uint8]
    answers: npt.NDArray[np.bool_]
    sizes: npt.NDArray[np.int32]

    def sample_of_segment(self) -> npt.NDArray[np.int64]:
        """int64[S]: the sample that each segment belongs to."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @classmethod
    def of(cls, table: RunTable, sample: Sequence[Segment]) -> Atoms:
        """The atoms of a table that holds one sample."""
        return cls(
            ids=np.array(table.atom_ids, np.int32),
            types=np.array(table.atom_types, np.uint8),
            segments=np.array(table.atom_segments, np.int32),
            turns=np.array([segment.turn for segment in sample], np.int32),
            losses=np.array([segment.loss for segment in sample], np.uint8),
            answers=np.array([segment.is_answer for segment in sample], np.bool_),
            sizes=np.array([len(sample)], np.int32),
        )

    @classmethod
    def joined(cls, blocks: Sequence[Atoms]) -> Atoms:
        """The blocks end to end, segments numbered through."""
        if not blocks:
            return cls.of(RunTable(), ())
        atoms = [len(block.ids) for block in blocks]
        segments = np.array([len(block.turns) for block in blocks], np.int32)
        first_segments = np.cumsum(segments, dtype=np.int32) - segments
        return cls(
            ids=np.concatenate([block.ids for block in blocks]),
            types=np.concatenate([block.types for block in blocks]),
            segments=np.concatenate([block.segments for block in blocks]) + np.repeat(first_segments, atoms),
            turns=np.concatenate([block.turns for block in blocks]),
            losses=np.concatenate([block.losses for block in blocks]),
            answers=np.concatenate([block.answers for block in blocks]),
            sizes=np.concatenate([block.sizes for block in blocks]),
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EncodedRuns:
    """R runs, and the P parts of one type each that they consist of.

    Attributes:
        ids: int32[T], the runs' ids end to end.
        offsets: int64[R + 1], where each run starts, and the end.
        part_lengths: int64[P], tokens per part; they sum to T.
        first_parts: int64[R], first part of each run.
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    part_lengths: npt.NDArray[np.int64]
    first_parts: npt.NDArray[np.int64]


def encode_runs(encoder: RunEncoder, table: RunTable) -> EncodedRuns:
    """Encode a table's runs and find where the types meet in them.

    A boundary after text `p` falls after the longest common prefix of the ids of `p` and those of the whole run, and
    never before an earlier boundary.
    """
    ids, offsets = encoder.encode(table.runs, np.array(table.opening, np.bool_))
    if not table.prefixes:
        starts = np.arange(len(table.runs))
        return EncodedRuns(ids=ids, offsets=offsets, part_lengths=np.diff(offsets), first_parts=starts)
    counts = np.ones(len(table.runs), np.int64)
    counts[list(table.prefixes)] += [len(texts) for texts in table.prefixes.values()]
    first_parts = np.cumsum(counts) - counts
    part_lengths = np.zeros(counts.sum(), np.int64)
    part_lengths[first_parts] = np.diff(offsets)
    texts = [text for prefixes in table.prefixes.values() for text in prefixes]
    opening = [table.opening[run] for run, prefixes in table.prefixes.items() for _ in prefixes]
    prefix_ids, prefix_offsets = encoder.encode(texts, np.array(opening, np.bool_))
    k = 0
    for run, prefixes in table.prefixes.items():
        whole = ids[offsets[run] : offsets[run + 1]]
        edges = [0]
        for _ in prefixes:
            edges.append(max(edges[-1], _shared(whole, prefix_ids[prefix_offsets[k] : prefix_offsets[k + 1]])))
            k += 1
        part_lengths[first_parts[run] : first_parts[run] + len(edges)] = np.diff([*edges, len(whole)])
    return EncodedRuns(ids=ids, offsets=offsets, part_lengths=part_lengths, first_parts=first_parts)


def _shared(a: npt.NDArray[np.int32], b: npt.NDArray[np.int32]) -> int:
    """Length of the longest common prefix."""
    n = min(len(a), len(b))
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if len(different) else n
