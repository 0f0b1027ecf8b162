"""Arrow list columns from numpy arrays, and the folder that `datasets.load_from_disk` opens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

ListColumn: TypeAlias = tuple[npt.NDArray[np.integer], npt.NDArray[np.int32]]
"""Elements of all rows, and int32[R + 1] row offsets."""

DATA_NAME = "data-00000-of-00001.arrow"


def list_schema(columns: Mapping[str, str]) -> pa.Schema:
    """Non-null list columns.

    Args:
        columns: Column name -> element dtype.
    """
    return pa.schema([pa.field(name, _list_of(dtype), nullable=False) for name, dtype in columns.items()])


def record_batch(schema: pa.Schema, columns: Mapping[str, ListColumn]) -> pa.RecordBatch:
    """One batch of rows, without copying the elements.

    Raises:
        TypeError: Elements have another dtype than the schema says.
    """
    return pa.record_batch([_lists(columns[field.name], field) for field in schema], schema=schema)


def write_datasets_folder(
    folder: Path, columns: Mapping[str, str], batches: Iterable[Mapping[str, ListColumn]], origin: str
) -> None:
    """Write rows as `datasets.Dataset.save_to_disk` does: an uncompressed Arrow stream and two JSON files.

    Features are left out of dataset_info.json, so that each version of `datasets` works them out from the Arrow schema
    and no version meets a feature type that it does not know.

    Args:
        folder: An existing folder.
        columns: Column name -> element dtype.
        batches: Columns of consecutive rows.
        origin: Text that names the content; `datasets` caches by a fingerprint made of it.
    """
    schema = list_schema(columns)
    with pa.OSFile(str(folder / DATA_NAME), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(record_batch(schema, batch))
    state: dict[str, object] = {
        "_data_files": [{"filename": DATA_NAME}],
        "_fingerprint": hashlib.sha256(origin.encode()).hexdigest()[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    info = {"citation": "", "description": "", "homepage": "", "license": ""}
    for name, value in (("state.json", state), ("dataset_info.json", info)):
        (folder / name).write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _lists(column: ListColumn, field: pa.Field) -> pa.Array:
    values, offsets = column
    kind = field.type
    if pa.from_numpy_dtype(values.dtype) != kind.value_type:
        raise TypeError(f"column {field.name} is {kind.value_type} and was given {values.dtype}")
    # From buffers, because `pa.array` imports pandas where that is installed.
    items = pa.Array.from_buffers(kind.value_type, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])
    rows = len(offsets) - 1
    return pa.Array.from_buffers(kind, rows, [None, pa.py_buffer(np.ascontiguousarray(offsets))], children=[items])


def _list_of(dtype: str) -> pa.DataType:
    return pa.list_(pa.field("item", pa.from_numpy_dtype(np.dtype(dtype)), nullable=False))
