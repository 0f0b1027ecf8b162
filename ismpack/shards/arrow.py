"""Packs to one Arrow file: IPC stream format, uncompressed, every column a non-null list.

The stream format is the one that `datasets.Dataset.from_file` opens, and uncompressed is what can be memory-mapped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ismpack.data import PackBatch
from ismpack.schema import COLUMNS, DERIVED_COLUMNS, IGNORE_INDEX, TOKEN_COLUMNS


def arrow_schema(with_columns: Sequence[str]) -> pa.Schema:
    """The stored columns in the order of `schema.COLUMNS`, then the derived ones asked for."""
    types = COLUMNS | {name: DERIVED_COLUMNS[name] for name in with_columns}
    return pa.schema([pa.field(name, _list_of(dtype), nullable=False) for name, dtype in types.items()])


def write_shard(sink: BinaryIO, batches: Iterable[PackBatch], with_columns: Sequence[str] = ()) -> None:
    """Write packs to a file opened for writing, each batch as one record batch.

    There must be a batch, be it of no row: `datasets` cannot open a stream of none.
    """
    schema = arrow_schema(with_columns)
    with pa.ipc.new_stream(sink, schema) as writer:
        for packs in batches:
            columns = {name: getattr(packs, name) for name in COLUMNS}
            columns |= {name: _DERIVE[name](packs) for name in with_columns}
            lists = [_lists(values, _per_row(name, packs), schema.field(name).type) for name, values in columns.items()]
            writer.write_batch(pa.record_batch(lists, schema=schema))


def labels(packs: PackBatch) -> npt.NDArray[np.int32]:
    """int32[T]: the id where it is a target, else -100 (unshifted)."""
    return np.where(packs.loss_mask, packs.input_ids, np.int32(IGNORE_INDEX))


def position_ids(packs: PackBatch) -> npt.NDArray[np.int32]:
    """int32[T]: 0-based position within the document."""
    starts = np.cumsum(packs.seq_lengths, dtype=np.int64) - packs.seq_lengths
    return (np.arange(len(packs.input_ids)) - np.repeat(starts, packs.seq_lengths)).astype(np.int32)


def _assistant_masks(packs: PackBatch) -> npt.NDArray[np.uint8]:
    return packs.loss_mask


_DERIVE = {"labels": labels, "position_ids": position_ids, "assistant_masks": _assistant_masks}


def _per_row(name: str, packs: PackBatch) -> npt.NDArray[np.int32]:
    """int32[R]: how many values of a column each row has."""
    return packs.row_tokens if name in TOKEN_COLUMNS or name in DERIVED_COLUMNS else packs.row_documents


def _lists(values: npt.NDArray[Any], lengths: npt.NDArray[np.int32], kind: pa.DataType) -> pa.Array:
    # From buffers, because `pa.array` imports pandas where that is installed, which takes longer than a small run.
    offsets = np.array([0, *np.cumsum(lengths).tolist()], np.int32)
    if pa.from_numpy_dtype(values.dtype) != kind.value_type:
        raise TypeError(f"a column of {kind.value_type} was given as {values.dtype}")
    items = pa.Array.from_buffers(kind.value_type, len(values), [None, pa.py_buffer(values)])
    return pa.Array.from_buffers(kind, len(lengths), [None, pa.py_buffer(offsets)], children=[items])


def _list_of(dtype: str) -> pa.DataType:
    return pa.list_(pa.field("item", pa.from_numpy_dtype(np.dtype(dtype)), nullable=False))
