"""Bins to packs: lay the samples of each row end to end and number their turns through the row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ismpack.data import PackBatch, SampleBatch
from ismpack.options import Packing
from ismpack.packing.bins import assign_rows
from ismpack.schema import COLUMNS, ROWS_PER_BATCH, TOKEN_COLUMNS


def pack(batches: Sequence[SampleBatch], max_length: int, method: Packing, seed: int) -> Iterator[PackBatch]:
    """Pack samples into rows of at most `max_length` tokens.

    Args:
        batches: Samples, none longer than `max_length`.
        max_length: Tokens per row.
        method: See `bins.assign_rows`.
        seed: Decides the order of rows for `bfd`, which would else go from long samples to short ones; the other
            methods keep the input order.

    Yields:
        `ROWS_PER_BATCH` rows at a time, so that no more tokens than theirs are held twice; one batch of none if there
        are no samples.
    """
    lengths = _joined([batch.lengths for batch in batches], "int32")
    turns = _joined([batch.turns for batch in batches], "int32")
    source_ids = _joined([batch.source_ids for batch in batches], "int64")
    places = [(k, place) for k, batch in enumerate(batches) for place in _slices(batch.lengths)]
    columns = {name: [getattr(batch, name).data for batch in batches] for name in TOKEN_COLUMNS}
    rows = assign_rows(lengths, max_length, method)
    count = int(rows.max()) + 1 if len(rows) else 0
    if method == "bfd":
        rows = _shuffled(count, seed)[rows]
    # Stable, so the documents of a row are in input order.
    order = np.argsort(rows, kind="stable")
    row_documents = np.bincount(rows, minlength=count).astype(np.int32)
    row_tokens = np.bincount(rows, weights=lengths, minlength=count).astype(np.int32)
    turns_before = _turns_before(turns[order], row_documents)
    ends = [0, *np.cumsum(row_documents).tolist()]
    for first in range(0, max(count, 1), ROWS_PER_BATCH):
        here = slice(first, min(first + ROWS_PER_BATCH, count))
        documents = slice(ends[here.start], ends[here.stop])
        taken = order[documents]
        laid = {name: _laid_out(columns[name], COLUMNS[name], [places[i] for i in taken.tolist()]) for name in columns}
        laid["turn_ids"] = laid["turn_ids"] + np.repeat(turns_before[documents], lengths[taken])
        yield PackBatch(
            **laid,
            seq_lengths=lengths[taken],
            source_ids=source_ids[taken],
            row_tokens=row_tokens[here],
            row_documents=row_documents[here],
        )


def _laid_out(values: Sequence[memoryview], dtype: str, places: Sequence[tuple[int, slice]]) -> npt.NDArray[Any]:
    """The values at some places, each in one of several arrays, end to end."""
    # Whole samples copy at memory speed, which an index per token would not; and joining views of bytes takes a third
    # of the time of joining as many small arrays.
    return np.frombuffer(b"".join([values[k][place] for k, place in places]), dtype)


def _slices(lengths: npt.NDArray[np.int32]) -> list[slice]:
    ends = np.cumsum(lengths, dtype=np.int64)
    return list(map(slice, (ends - lengths).tolist(), ends.tolist()))


def _shuffled(count: int, seed: int) -> npt.NDArray[np.int64]:
    # Sorting raw random numbers, because numpy promises the same raw stream in every version, not the same shuffle.
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")


def _turns_before(turns: npt.NDArray[np.int32], documents: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Turns of the documents that stand before each one in its row."""
    before = np.cumsum(turns) - turns
    firsts = np.cumsum(documents) - documents
    return np.asarray(before - np.repeat(before[firsts], documents), np.int32)


def _joined(arrays: Sequence[npt.NDArray[Any]], dtype: str) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *arrays])
