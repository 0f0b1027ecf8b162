"""Bins to packs: lay the samples of each row end to end and number their turns through the row."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ismpack.data import PackBatch, SampleBatch
from ismpack.options import Packing
from ismpack.packing.bins import assign_rows

_Element = TypeVar("_Element", bound=np.generic)


def pack(batch: SampleBatch, max_length: int, method: Packing, seed: int) -> PackBatch:
    """Pack samples into rows of at most `max_length` tokens.

    Args:
        batch: Samples, none longer than `max_length`.
        max_length: Tokens per row.
        method: See `bins.assign_rows`.
        seed: Decides the order of rows for `bfd`, which would else go from long samples to short ones; the other
            methods keep the input order.
    """
    rows = assign_rows(batch.lengths, max_length, method)
    count = int(rows.max()) + 1 if len(rows) else 0
    if method == "bfd":
        rows = _shuffled(count, seed)[rows]
    # Stable, so the documents of a row are in input order.
    order = np.argsort(rows, kind="stable")
    lengths = batch.lengths[order]
    starts = batch.offsets[:-1][order]
    slices = [slice(a, b) for a, b in zip(starts.tolist(), (starts + lengths).tolist(), strict=True)]
    documents = np.bincount(rows, minlength=count)
    return PackBatch(
        input_ids=_gather(batch.input_ids, slices),
        segment_type_ids=_gather(batch.segment_type_ids, slices),
        turn_ids=_gather(batch.turn_ids, slices) + np.repeat(_turns_before(batch.turns[order], documents), lengths),
        loss_mask=_gather(batch.loss_mask, slices),
        seq_lengths=lengths,
        source_ids=batch.source_ids[order],
        row_tokens=np.bincount(rows, weights=batch.lengths, minlength=count).astype(np.int32),
        row_documents=documents.astype(np.int32),
    )


def _shuffled(count: int, seed: int) -> npt.NDArray[np.int64]:
    # Sorting raw random numbers, because numpy promises the same raw stream in every version, not the same shuffle.
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")


def _turns_before(turns: npt.NDArray[np.int32], documents: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Turns of the documents that stand before each one in its row."""
    before = np.cumsum(turns) - turns
    firsts = np.cumsum(documents) - documents
    return np.asarray(before - np.repeat(before[firsts], documents), np.int32)


def _gather(values: npt.NDArray[_Element], slices: list[slice]) -> npt.NDArray[_Element]:
    # Slices of whole documents copy at memory speed; an index per token would not.
    return np.concatenate([values[part] for part in slices]) if slices else values[:0]
