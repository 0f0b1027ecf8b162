"""Columns that other trainers want, worked out for a whole batch of rows at once.

The documents of a batch lie end to end, so what is counted per document needs no loop over rows.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ismpack.reader import RowBatch
from ismpack.schema import IGNORE_INDEX

Number = TypeVar("Number", bound=np.integer)


def document_starts(seq_lengths: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """int64[D]: the first token of each document, counted over the batch."""
    starts: npt.NDArray[np.int64] = np.cumsum(seq_lengths, dtype=np.int64) - seq_lengths
    return starts


def document_offsets(seq_lengths: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """int32[D + 1]: the first token of each document, and the end: what makes a document a row of its own."""
    return np.concatenate([[0], np.cumsum(seq_lengths, dtype=np.int32)]).astype(np.int32)


def labels(batch: RowBatch) -> npt.NDArray[np.int32]:
    """int32[T]: the id where it is a target, else -100. Unshifted: in line with `input_ids`."""
    return np.where(batch.loss_mask, batch.input_ids, np.int32(IGNORE_INDEX))


def next_is_target(batch: RowBatch) -> npt.NDArray[np.int8]:
    """int8[T]: 1 where the next token is a target. 0 at the end of each document, since none begins with a target."""
    shifted = np.zeros(len(batch.loss_mask), np.int8)
    shifted[:-1] = batch.loss_mask[1:] != 0
    return shifted


def document_numbers(batch: RowBatch) -> npt.NDArray[np.int32]:
    """int32[T]: which document of its row each token belongs to, counted from 1."""
    per_row = np.diff(batch.document_offsets)
    first = np.repeat(batch.document_offsets[:-1], per_row)
    number = np.arange(1, len(batch.seq_lengths) + 1, dtype=np.int32) - first
    return np.repeat(number.astype(np.int32), batch.seq_lengths)


def starts_in_row(batch: RowBatch) -> npt.NDArray[np.int32]:
    """int32[D]: the first token of each document, counted over its row."""
    row_start = np.repeat(batch.token_offsets[:-1], np.diff(batch.document_offsets))
    return (document_starts(batch.seq_lengths) - row_start).astype(np.int32)


def padded(values: npt.NDArray[Number], offsets: npt.NDArray[np.int32], width: int, fill: int) -> npt.NDArray[Number]:
    """Rows of one length, [R * width], end to end.

    Args:
        values: [T], the elements of R rows end to end.
        offsets: int32[R + 1], the first element of each row, and the end; no row is longer than `width`.
        width: Elements that each row shall have.
        fill: What stands in the added ones.
    """
    out = np.full((len(offsets) - 1, width), fill, values.dtype)
    out[np.arange(width) < np.diff(offsets)[:, None]] = values
    return out.reshape(-1)


def even_offsets(rows: int, width: int) -> npt.NDArray[np.int32]:
    """int32[rows + 1]: the offsets of rows of one length."""
    return np.arange(0, (rows + 1) * width, width, dtype=np.int32)
