"""Atoms as columns: what is known of a sample before its runs are encoded, and how many tokens each atom becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ismpack.data import Segment
from ismpack.tokenization.encoder import RunEncoder
from ismpack.tokenization.runs import RUN, RunTable

Block: TypeAlias = tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes]
"""The columns of one sample's atoms as bytes, which are joined several times faster than arrays."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Atoms:
    """A atoms and S segments of N samples end to end; every column can be joined with another sample's.

    An atom is a part of a run, as in a `RunTable`, or all tokens with known ids that stand together in one segment and
    have one type.

    Attributes:
        ids: int32[I], the known ids.
        lengths: int32[A], how many of the known ids; `RUN` for a part of a run.
        types: uint8[A], segment types.
        widths: int32[S], atoms per segment; they sum to A.
        turns: int32[S].
        losses: uint8[S].
        answers: bool[S], whether the segment is an answer.
        sizes: int32[N], segments per sample; they sum to S.
    """

    ids: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int32]
    types: npt.NDArray[np.uint8]
    widths: npt.NDArray[np.int32]
    turns: npt.NDArray[np.int32]
    losses: npt.NDArray[np.uint8]
    answers: npt.NDArray[np.bool_]
    sizes: npt.NDArray[np.int32]

    def sample_of_segment(self) -> npt.NDArray[np.int64]:
        """int64[S]: the sample that each segment belongs to."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def block(self) -> Block:
        """The columns as bytes."""
        return (
            self.ids.tobytes(),
            self.lengths.tobytes(),
            self.types.tobytes(),
            self.widths.tobytes(),
            self.turns.tobytes(),
            self.losses.tobytes(),
            self.answers.tobytes(),
            self.sizes.tobytes(),
        )

    @classmethod
    def of(
        cls,
        ids: npt.NDArray[np.int32],
        types: npt.NDArray[np.uint8],
        segments: npt.NDArray[np.int32],
        sample: Sequence[Segment],
    ) -> Atoms:
        """The atoms of one sample, from K known tokens and parts of runs; tokens that stand together become one atom.

        Args:
            ids: int32[K], the token's id; `RUN` for a part of a run.
            types: uint8[K].
            segments: int32[K], the segment's number in the sample.
            sample: The segments.
        """
        is_run = ids == RUN
        begins = np.ones(len(ids), np.bool_)
        begins[1:] = is_run[1:] | is_run[:-1] | (types[1:] != types[:-1]) | (segments[1:] != segments[:-1])
        firsts = np.flatnonzero(begins)
        lengths = np.diff(firsts, append=len(ids)).astype(np.int32)
        lengths[is_run[firsts]] = RUN
        return cls(
            ids=ids[~is_run],
            lengths=lengths,
            types=types[firsts],
            widths=np.bincount(segments[firsts], minlength=len(sample)).astype(np.int32),
            turns=np.array([segment.turn for segment in sample], np.int32),
            losses=np.array([segment.loss for segment in sample], np.uint8),
            answers=np.array([segment.is_answer for segment in sample], np.bool_),
            sizes=np.array([len(sample)], np.int32),
        )

    @classmethod
    def of_table(cls, table: RunTable, sample: Sequence[Segment]) -> Atoms:
        """The atoms of a table that holds one sample."""
        return cls.of(
            np.array(table.atom_ids, np.int32),
            np.array(table.atom_types, np.uint8),
            np.array(table.atom_segments, np.int32),
            sample,
        )

    @classmethod
    def joined(cls, blocks: Sequence[Block]) -> Atoms:
        """Samples end to end."""
        joined = [b"".join(column) for column in zip(*blocks, strict=True)] if blocks else [b""] * 8
        return cls(
            ids=np.frombuffer(joined[0], np.int32),
            lengths=np.frombuffer(joined[1], np.int32),
            types=np.frombuffer(joined[2], np.uint8),
            widths=np.frombuffer(joined[3], np.int32),
            turns=np.frombuffer(joined[4], np.int32),
            losses=np.frombuffer(joined[5], np.uint8),
            answers=np.frombuffer(joined[6], np.bool_),
            sizes=np.frombuffer(joined[7], np.int32),
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
