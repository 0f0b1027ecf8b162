"""Packs to one Arrow file: IPC stream format, uncompressed, every column a non-null list.

The stream format is the one that `datasets.Dataset.from_file` opens, and uncompressed is what can be memory-mapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ismpack.data import PackBatch
from ismpack.schema import COLUMNS, DERIVED_COLUMNS, IGNORE_INDEX, TOKEN_COLUMNS

ROWS_PER_BATCH = 128


def arrow_schema(with_columns: Sequence[str]) -> pa.Schema:
    """The stored columns in the order of `schema.COLUMNS`, then the derived ones asked for."""
    types = COLUMNS | {name: DERIVED_COLUMNS[name] for name in with_columns}
    return pa.schema([pa.field(name, _list_of(dtype), nullable=False) for name, dtype in types.items()])


def write_shard(sink: BinaryIO, packs: PackBatch, with_columns: Sequence[str] = ()) -> None:
    """Write all rows of `packs` to a file opened for writing, `ROWS_PER_BATCH` rows per record batch."""
    schema = arrow_schema(with_columns)
    columns = {name: getattr(packs, name) for name in COLUMNS}
    columns |= {name: _DERIVE[name](packs) for name in with_columns}
    tokens, documents = _offsets(packs.row_tokens), _offsets(packs.row_documents)
    with pa.ipc.new_stream(sink, schema) as writer:
        # At least one batch, be it empty: `datasets` cannot open a stream of none.
        for first in range(0, max(len(packs), 1), ROWS_PER_BATCH):
            rows = slice(first, min(first + ROWS_PER_BATCH, len(packs)) + 1)
            writer.write_batch(
                pa.record_batch(
                    [
                        _lists(values, (documents if _is_per_document(name) else tokens)[rows], schema.field(name).type)
                        for name, values in columns.items()
                    ],
                    schema=schema,
                )
            )


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


def _is_per_document(name: str) -> bool:
    return name not in TOKEN_COLUMNS and name not in DERIVED_COLUMNS


def _offsets(lengths: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _lists(values: npt.NDArray[Any], offsets: npt.NDArray[np.int64], kind: pa.DataType) -> pa.ListArray:
    local = (offsets - offsets[0]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(local), pa.array(values[offsets[0] : offsets[-1]]), type=kind)


def _list_of(dtype: str) -> pa.DataType:
    return pa.list_(pa.field("item", pa.from_numpy_dtype(np.dtype(dtype)), nullable=False))
