"""Packs to Arrow: what pyarrow reads back, batch by batch, and what is not let through."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from ismpack.data import PackBatch
from ismpack.schema import DERIVED_COLUMNS
from ismpack.shards import arrow, write_shard


def packs_of(*rows: Sequence[int]) -> PackBatch:
    """Rows given as the lengths of their documents; ids count up, and every third token is a target."""
    lengths = np.array([length for row in rows for length in row], np.int32)
    ids = np.arange(lengths.sum(), dtype=np.int32)
    return PackBatch(
        input_ids=ids,
        segment_type_ids=(ids % 7).astype(np.uint8),
        turn_ids=ids // 2,
        loss_mask=(ids % 3 == 2).astype(np.uint8),
        seq_lengths=lengths,
        source_ids=np.arange(len(lengths), dtype=np.int64) << 40,
        row_tokens=np.array([sum(row) for row in rows], np.int32),
        row_documents=np.array([len(row) for row in rows], np.int32),
    )


def written(*batches: PackBatch, with_columns: Sequence[str] = ()) -> bytes:
    sink = io.BytesIO()
    write_shard(sink, batches, with_columns)
    return sink.getvalue()


def test_a_row_is_a_list_in_every_column() -> None:
    table = pa.ipc.open_stream(written(packs_of([2, 1], [3]))).read_all()
    assert table.to_pylist() == [
        {"input_ids": [0, 1, 2], "segment_type_ids": [0, 1, 2], "turn_ids": [0, 0, 1], "loss_mask": [0, 0, 1],
         "seq_lengths": [2, 1], "source_ids": [0, 1 << 40]},
        {"input_ids": [3, 4, 5], "segment_type_ids": [3, 4, 5], "turn_ids": [1, 2, 2], "loss_mask": [0, 0, 1],
         "seq_lengths": [3], "source_ids": [2 << 40]},
    ]  # fmt: skip
    assert [str(field.type) for field in table.schema] == [
        "list<item: int32 not null>", "list<item: uint8 not null>", "list<item: int32 not null>",
        "list<item: uint8 not null>", "list<item: int32 not null>", "list<item: int64 not null>",
    ]  # fmt: skip
    assert not any(field.nullable for field in table.schema)


def test_derived_columns_start_anew_with_every_document() -> None:
    table = pa.ipc.open_stream(written(packs_of([2, 1], [3]), with_columns=[*DERIVED_COLUMNS])).read_all()
    assert table.select(list(DERIVED_COLUMNS)).to_pylist() == [
        {"labels": [-100, -100, 2], "position_ids": [0, 1, 0], "assistant_masks": [0, 0, 1]},
        {"labels": [-100, -100, 5], "position_ids": [0, 1, 2], "assistant_masks": [0, 0, 1]},
    ]


def test_each_batch_is_a_record_batch() -> None:
    one, other, none = packs_of([2, 1], [3]), packs_of([1]), packs_of()
    parts = list(pa.ipc.open_stream(written(one, other, none, with_columns=[*DERIVED_COLUMNS])))
    assert [len(part) for part in parts] == [2, 1, 0]
    whole = [
        row
        for packs in (one, other)
        for row in pa.ipc.open_stream(written(packs, with_columns=[*DERIVED_COLUMNS])).read_all().to_pylist()
    ]
    assert [row for part in parts for row in part.to_pylist()] == whole


def test_the_bytes_are_those_of_arrays_that_arrow_makes_itself() -> None:
    packs = packs_of([2, 1], [3], [1, 1, 1])
    schema = arrow.arrow_schema([])
    expected = io.BytesIO()
    with pa.ipc.new_stream(expected, schema) as writer:
        values = [
            (
                getattr(packs, field.name),
                packs.row_documents if field.name in ("seq_lengths", "source_ids") else packs.row_tokens,
            )
            for field in schema
        ]
        columns = [
            pa.ListArray.from_arrays(
                pa.array(np.cumsum([0, *each]).astype(np.int32)), pa.array(column), type=field.type
            )
            for (column, each), field in zip(values, schema, strict=True)
        ]
        writer.write_batch(pa.record_batch(columns, schema=schema))
    assert written(packs) == expected.getvalue()


def test_a_column_of_another_type_is_not_written_as_if_it_had_the_right_one() -> None:
    packs = packs_of([2, 1])
    with pytest.raises(TypeError, match="a column of int32 was given as int64"):
        written(replace(packs, turn_ids=packs.turn_ids.astype(np.int64)))


def test_writing_imports_nothing_heavy() -> None:
    code = (
        "import io, sys, numpy as np\n"
        "from ismpack.data import PackBatch\n"
        "from ismpack.shards import write_shard\n"
        "ones, bytes_ = np.ones(1, np.int32), np.ones(1, np.uint8)\n"
        "packs = PackBatch(input_ids=ones, segment_type_ids=bytes_, turn_ids=ones, loss_mask=bytes_, seq_lengths=ones,\n"
        "                  source_ids=ones.astype(np.int64), row_tokens=ones, row_documents=ones)\n"
        "write_shard(io.BytesIO(), [packs], ['labels', 'position_ids', 'assistant_masks'])\n"
        "print(sorted({'pandas', 'datasets', 'transformers', 'tokenizers', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
