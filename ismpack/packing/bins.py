"""Lengths to bins: which samples share a row. Integers in, integers out; no tokens, no files.

Best-fit-decreasing takes the samples from the longest to the shortest and puts each into the row with the least space
that still holds it. Done one by one this is slow; here all samples of one length are placed together (as many as fit)
into all rows that have the same space, which gives the same rows: once the tightest row has taken a sample it is still
the tightest, so it goes on taking samples of that length while they fit. 10 million lengths take about 0.3 s.

    capacity 10, lengths 6 5 4 4 3 2     row 0: 6 4     row 1: 5 4     row 2: 3 2
"""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np
import numpy.typing as npt

from ismpack.options import Packing


def assign_rows(lengths: npt.NDArray[np.int32], capacity: int, method: Packing) -> npt.NDArray[np.int64]:
    """The row of each sample.

    Args:
        lengths: int32[N], tokens per sample, 1 to `capacity`.
        capacity: Tokens per row.
        method: `bfd`, `sequential` (samples in order, a new row when one does not fit) or `none` (a row each).

    Returns:
        int64[N], rows counted from 0 without a gap.

    Raises:
        ValueError: A length is below 1 or above the capacity.
    """
    if not len(lengths):
        return np.zeros(0, np.int64)
    if not 1 <= lengths.min() <= lengths.max() <= capacity:
        raise ValueError(f"lengths must be from 1 to {capacity}, got {lengths.min()} to {lengths.max()}")
    if method == "none":
        return np.arange(len(lengths), dtype=np.int64)
    return _next_fit(lengths, capacity) if method == "sequential" else _best_fit_decreasing(lengths, capacity)


def _next_fit(lengths: npt.NDArray[np.int32], capacity: int) -> npt.NDArray[np.int64]:
    ends = np.cumsum(lengths, dtype=np.int64)
    firsts = [0]
    while firsts[-1] < len(lengths):
        used = ends[firsts[-1] - 1] if firsts[-1] else 0
        firsts.append(int(np.searchsorted(ends, used + capacity, side="right")))
    return np.repeat(np.arange(len(firsts) - 1, dtype=np.int64), np.diff(firsts))


def _best_fit_decreasing(lengths: npt.NDArray[np.int32], capacity: int) -> npt.NDArray[np.int64]:
    # Small keys let numpy sort by radix; equal lengths stay in input order.
    key = (capacity - lengths).astype(np.uint16 if capacity < 1 << 16 else np.uint32)
    spaces = _Spaces(capacity)
    placed: list[tuple[int, int, int]] = []  # first row, rows, samples in each
    counts = np.bincount(lengths)
    for length in np.flatnonzero(counts)[::-1].tolist():
        left = int(counts[length])
        while left:
            space, first, rows = spaces.take(length, left)
            each = space // length
            full = min(left // each, rows)
            if full:
                placed.append((first, full, each))
                spaces.put(space - each * length, first, full)
                left -= each * full
            if left and full < rows:  # one more row takes the few that remain
                placed.append((first + full, 1, left))
                spaces.put(space - left * length, first + full, 1)
                full += 1
                left = 0
            spaces.put(space, first + full, rows - full)
    out = np.empty(len(lengths), np.int64)
    out[np.argsort(key, kind="stable")] = _rows_in_order(np.array(placed, np.int64))
    return out


def _rows_in_order(placed: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64[N]: the row of each sample placed, from int64[P, 3]: first row, rows, samples in each."""
    firsts, rows, each = placed.T
    starts = np.cumsum(rows) - rows
    return np.repeat(np.arange(rows.sum()) + np.repeat(firsts - starts, rows), np.repeat(each, rows))


class _Spaces:
    """Rows by the space they have left, as ranges of rows: those that were opened together and filled alike."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._rows: dict[int, list[tuple[int, int]]] = {}  # space -> first row and rows of each range
        self._in_use: list[int] = []  # the spaces that some row has, sorted
        self._count = 0

    def take(self, length: int, wanted: int) -> tuple[int, int, int]:
        """Rows of the smallest space that holds `length`; new rows for `wanted` samples if there is none.

        Returns:
            Their space, the first row, and how many rows.
        """
        place = bisect_left(self._in_use, length)
        if place == len(self._in_use):
            first, needed = self._count, -(-wanted // (self._capacity // length))
            self._count += needed
            return self._capacity, first, needed
        space = self._in_use[place]
        ranges = self._rows[space]
        first, rows = ranges.pop()
        if not ranges:
            del self._in_use[place]
        return space, first, rows

    def put(self, space: int, first: int, rows: int) -> None:
        """Give rows back with the space they have left; full rows are forgotten."""
        if space and rows:
            ranges = self._rows.setdefault(space, [])
            if not ranges:
                insort(self._in_use, space)
            ranges.append((first, rows))
