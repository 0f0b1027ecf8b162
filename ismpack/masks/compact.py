"""Masks in O(T) memory: every token sees one interval, and is seen by one.

This works because blocks are runs of tokens: a document is cut into runs that are either one block (each token sees up
to the run's end) or causal (each token sees up to itself). Each public form is read off those runs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ismpack.masks.kinds import NO_BLOCK, MaskKind, Row, block_keys, check_row


class Intervals(NamedTuple):
    """Half-open intervals of absolute token positions in the row, int32[T] each.

    Token `i` sees exactly the tokens `[lo[i], hi[i])`; token `j` is seen by exactly the tokens `[top[j], bot[j])`.
    `lo` and `hi` never fall along the row.
    """

    lo: npt.NDArray[np.int32]
    hi: npt.NDArray[np.int32]
    top: npt.NDArray[np.int32]
    bot: npt.NDArray[np.int32]


class Segments(NamedTuple):
    """One entry per run of tokens that attend alike, in order; runs are as long as possible.

    Attributes:
        q_ranges: int32[S, 2], half-open ranges of attending tokens; disjoint, they cover the row.
        k_ranges: int32[S, 2], half-open ranges of the tokens that they see, from the document's start.
        causal: bool[S]. False: every token of the q range sees the whole k range. True: aligned bottom right, so that
            the last one sees all and each earlier one sees one less.
    """

    q_ranges: npt.NDArray[np.int32]
    k_ranges: npt.NDArray[np.int32]
    causal: npt.NDArray[np.bool_]


def intervals(
    segment_type_ids: npt.ArrayLike, turn_ids: npt.ArrayLike, seq_lengths: npt.ArrayLike, kind: MaskKind = "ism"
) -> Intervals:
    """The mask as four vectors.

    A target `t` is safe to train if `hi[t - 1] <= t`: the token that predicts it does not see it.

    Args:
        segment_type_ids: integer[T], odd = query side.
        turn_ids: integer[T].
        seq_lengths: integer[D], tokens per document; they sum to T.
        kind: A key of `KINDS`.

    Returns:
        `(lo, hi, top, bot)`, int32[T] each.

    Raises:
        ValueError: The kind is unknown or the columns do not fit each other.

    >>> [v.tolist() for v in intervals([1, 1, 2], [0, 0, 0], [3])]
    [[0, 0, 0], [2, 2, 3], [0, 0, 2], [3, 3, 3]]
    """
    row = check_row(segment_type_ids, turn_ids, seq_lengths, kind)
    key = block_keys(row, kind)
    start, end = _runs(row, key)
    token = np.arange(len(row), dtype=np.int32)
    causal = key == NO_BLOCK
    hi = np.where(causal, token + np.int32(1), np.repeat(end, end - start))
    top = np.where(causal, token, np.repeat(start, end - start))
    document_start = row.starts.astype(np.int32)
    document_end = (row.starts + row.lengths).astype(np.int32)
    return Intervals(np.repeat(document_start, row.lengths), hi, top, np.repeat(document_end, row.lengths))


def segments(
    segment_type_ids: npt.ArrayLike, turn_ids: npt.ArrayLike, seq_lengths: npt.ArrayLike, kind: MaskKind = "ism"
) -> Segments:
    """The mask as ranges, for kernels that take a list of (query range, key range, causal or full).

    Args:
        segment_type_ids: integer[T], odd = query side.
        turn_ids: integer[T].
        seq_lengths: integer[D], tokens per document; they sum to T.
        kind: A key of `KINDS`.

    Returns:
        `(q_ranges, k_ranges, causal)`.

    Raises:
        ValueError: The kind is unknown or the columns do not fit each other.

    >>> [v.tolist() for v in segments([1, 1, 2], [0, 0, 0], [3])]
    [[[0, 2], [2, 3]], [[0, 2], [0, 3]], [False, True]]
    """
    row = check_row(segment_type_ids, turn_ids, seq_lengths, kind)
    key = block_keys(row, kind)
    start, end = _runs(row, key)
    document = np.searchsorted(row.starts, start, side="right") - 1
    seen_from = row.starts[document].astype(np.int32)
    return Segments(np.stack([start, end], axis=1), np.stack([seen_from, end], axis=1), key[start] == NO_BLOCK)


def _runs(row: Row, key: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """int32[S] twice: start and end of each longest run of tokens of one document with one block key."""
    opens = np.zeros(len(row), np.bool_)
    opens[1:] = key[1:] != key[:-1]
    opens[row.starts] = True
    start = np.flatnonzero(opens).astype(np.int32)
    return start, np.append(start[1:], np.int32(len(row))) if len(start) else start
