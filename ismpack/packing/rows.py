"""Bins to packs: lay the samples of each row end to end and number their turns through the row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ismpack.data import PackBatch, SampleBatch
from ismpack.options import Packing
from ismpack.packing.bins import assign_rows
from ismpack.schema import COLUMNS, TOKEN_COLUMNS

_BLOCK_TOKENS = 1 << 18
"""Tokens that are laid out at a time: few enough to stay in the processor's cache."""


def pack(batches: list[SampleBatch], max_length: int, method: Packing, seed: int) -> PackBatch:
    """Pack samples into rows of at most `max_length` tokens.

    Args:
        batches: Samples, none longer than `max_length`. The list is emptied: where nobody else holds the batches, each
            column of theirs goes when it is laid out, and tokens take 1.4 times their size at the most.
        max_length: Tokens per row.
        method: See `bins.assign_rows`.
        seed: Decides the order of rows for `bfd`, which would else go from long samples to short ones; the other
            methods keep the input order.
    """
    sizes = [batch.lengths for batch in batches]
    lengths = _joined(sizes, "int32")
    turns = _joined([batch.turns for batch in batches], "int32")
    source_ids = _joined([batch.source_ids for batch in batches], "int64")
    columns = {name: [getattr(batch, name) for batch in batches] for name in TOKEN_COLUMNS}
    batches.clear()
    rows = assign_rows(lengths, max_length, method)
    count = int(rows.max()) + 1 if len(rows) else 0
    if method == "bfd":
        rows = _shuffled(count, seed)[rows]
    # Stable, so the documents of a row are in input order.
    order = np.argsort(rows, kind="stable")
    documents = np.bincount(rows, minlength=count)
    layout = _Layout(sizes, lengths, order)
    laid = {name: layout.lay_out(columns.pop(name), COLUMNS[name]) for name in TOKEN_COLUMNS}
    layout.add(laid["turn_ids"], _turns_before(turns[order], documents))
    return PackBatch(
        **laid,
        seq_lengths=lengths[order],
        source_ids=source_ids[order],
        row_tokens=np.bincount(rows, weights=lengths, minlength=count).astype(np.int32),
        row_documents=documents.astype(np.int32),
    )


class _Layout:
    """Where the tokens of samples come from and go to.

    Args:
        sizes: Tokens per sample, for each batch.
        lengths: The same end to end.
        order: Numbers of the samples in their new order.
    """

    def __init__(
        self, sizes: Sequence[npt.NDArray[np.int32]], lengths: npt.NDArray[np.int32], order: npt.NDArray[np.int64]
    ) -> None:
        self._places = [_slices(size) for size in sizes]
        self._order: list[int] = order.tolist()
        self._lengths = lengths[order]
        self._ends = np.cumsum(self._lengths, dtype=np.int64)

    def lay_out(self, batches: Sequence[npt.NDArray[Any]], dtype: str) -> npt.NDArray[Any]:
        """The samples' values of one column in their new order, from those of each batch."""
        # Whole samples copy at memory speed, which an index per token would not; and joining views of bytes takes a
        # third of the time of joining as many small arrays.
        found: list[memoryview] = []
        for values, places in zip(batches, self._places, strict=True):
            found += map(values.data.__getitem__, places)
        out = np.empty(sum(map(len, batches)), dtype)
        for samples, tokens in self._blocks():
            out[tokens] = np.frombuffer(b"".join([found[i] for i in self._order[samples]]), dtype)
        return out

    def add(self, values: npt.NDArray[np.int32], addends: npt.NDArray[np.int32]) -> None:
        """Add to each sample's values, which are laid out, a number of its own."""
        for samples, tokens in self._blocks():
            values[tokens] += np.repeat(addends[samples], self._lengths[samples])

    def _blocks(self) -> Iterator[tuple[slice, slice]]:
        """Whole samples of about `_BLOCK_TOKENS` tokens, and those tokens."""
        first = start = 0
        while first < len(self._ends):
            last = max(int(np.searchsorted(self._ends, start + _BLOCK_TOKENS, side="right")), first + 1)
            stop = int(self._ends[last - 1])
            yield slice(first, last), slice(start, stop)
            first, start = last, stop


def _slices(lengths: npt.NDArray[np.int32]) -> list[slice]:
    ends = np.cumsum(lengths, dtype=np.int64)
    return list(map(slice, (ends - lengths).tolist(), ends.tolist()))


def _shuffled(count: int, seed: int) -> npt.NDArray[np.int64]:
    # Sorting raw random numbers, because numpy promises the same raw stream in every version, not the same shuffle.
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")


def _turns_before(turns: npt.NDArray[np.int32], documents: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Turns of the documents that stand before each one in its row."""
    before = np.cumsum(turns) - turns
    firsts = np.cumsum(documents) - documents
    return np.asarray(before - np.repeat(before[firsts], documents), np.int32)


def _joined(arrays: Sequence[npt.NDArray[Any]], dtype: str) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *arrays])
