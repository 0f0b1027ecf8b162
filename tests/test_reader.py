"""`load`: rows as views into the files, by number, in order, and a plain refusal of what is no whole dataset."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from dataset_builder import STORED, Builder, Row, example_shards, list_field, source

from ismpack import load
from ismpack.data import Pack
from ismpack.errors import DatasetError
from ismpack.reader import is_file_name


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "dataset")


def as_row(pack: Pack) -> Row:
    return {name: getattr(pack, name).tolist() for name in STORED}


def all_rows() -> list[Row]:
    return [columns for rows in example_shards() for columns in rows]


def test_rows_come_by_number_from_either_end(builder: Builder) -> None:
    dataset = load(builder.write().directory)
    assert len(dataset) == 5
    assert [as_row(dataset[row]) for row in range(5)] == all_rows()
    assert [as_row(dataset[row]) for row in range(-5, 0)] == all_rows()
    assert as_row(dataset[np.int64(3)]) == all_rows()[3]


def test_rows_come_in_order(builder: Builder) -> None:
    assert [as_row(pack) for pack in load(str(builder.write().directory))] == all_rows()


def test_a_row_worked_by_hand(builder: Builder) -> None:
    pack = load(builder.write().directory)[2]
    assert pack.input_ids.tolist() == [10, 11, 12, 13, 50, 2]
    assert pack.segment_type_ids.tolist() == [1, 5, 1, 7, 2, 2]
    assert pack.turn_ids.tolist() == [0, 0, 0, 0, 0, 0]
    assert pack.loss_mask.tolist() == [0, 0, 0, 0, 1, 1]
    assert pack.seq_lengths.tolist() == [6]
    assert pack.source_ids.tolist() == [2]
    assert [getattr(pack, name).dtype.name for name in STORED] == ["int32", "uint8", "int32", "uint8", "int32", "int64"]


@pytest.mark.parametrize("row", [5, -6])
def test_a_row_that_does_not_exist_is_an_index_error(builder: Builder, row: int) -> None:
    dataset = load(builder.write().directory)
    with pytest.raises(IndexError, match=f"^row {row} of a dataset that holds 5$"):
        dataset[row]


def test_a_document_of_a_row_is_a_row_of_its_own(builder: Builder) -> None:
    document = load(builder.write().directory)[0].document(-1)
    assert document.turn_ids.tolist() == [0, 0, 0, 0, 0]
    assert document.segment_type_ids.tolist() == [1, 7, 2, 2, 2]


def test_arrays_are_read_only_views_of_the_mapped_file(builder: Builder) -> None:
    dataset = load(builder.write().directory)
    first, again = dataset[0], dataset[0]
    before = pa.total_allocated_bytes()
    packs = list(dataset)
    assert pa.total_allocated_bytes() == before
    assert np.shares_memory(first.input_ids, again.input_ids)
    assert not any(getattr(pack, name).flags.writeable for pack in packs for name in STORED)
    assert not any(getattr(pack, name).flags.owndata for pack in packs for name in STORED)


def test_rows_outlive_the_dataset(builder: Builder) -> None:
    pack = load(builder.write().directory)[4]
    assert as_row(pack) == all_rows()[4]


def test_opened_shards_hold_no_file_descriptor(builder: Builder) -> None:
    dataset = load(builder.write().directory)
    before = len(list(Path("/dev/fd").iterdir()))
    packs = list(dataset)
    assert len(list(Path("/dev/fd").iterdir())) == before
    assert len(packs) == 5


def test_only_the_shard_that_is_asked_for_is_opened(builder: Builder) -> None:
    builder.write().edit_file("shard-00000.arrow", lambda raw: b"!" * len(raw))
    dataset = load(builder.directory)
    assert as_row(dataset[3]) == all_rows()[3]
    with pytest.raises(DatasetError):
        dataset[0]


def test_batches_hold_the_columns_end_to_end(builder: Builder) -> None:
    first, second, third = load(builder.write().directory).batches()
    assert [(b.shard, b.first_row, len(b)) for b in (first, second, third)] == [
        ("shard-00000.arrow", 0, 2),
        ("shard-00000.arrow", 2, 1),
        ("shard-00001.arrow", 3, 2),
    ]
    rows = all_rows()
    assert first.input_ids.tolist() == rows[0]["input_ids"] + rows[1]["input_ids"]
    assert first.token_offsets.tolist() == [0, 14, 27]
    assert first.document_offsets.tolist() == [0, 2, 5]
    assert first.seq_lengths.tolist() == [9, 5, 9, 2, 2]
    assert as_row(third.pack(1)) == rows[4]


def test_batches_hold_derived_columns_where_stored(builder: Builder) -> None:
    builder.with_columns = ["position_ids"]
    (batch, *_) = load(builder.write().directory).batches()
    assert list(batch.derived) == ["position_ids"]
    assert batch.derived["position_ids"].tolist()[:14] == [*range(9), *range(5)]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_shards_without_rows_are_passed_over(builder: Builder, place: int) -> None:
    builder.shards.insert(place, [])
    dataset = load(builder.write().directory)
    assert [as_row(dataset[row]) for row in range(5)] == all_rows()
    assert [as_row(pack) for pack in dataset] == all_rows()


def test_batches_without_rows_are_passed_over(builder: Builder) -> None:
    builder.write()
    schema = pa.schema(list(builder.fields.values()))
    path = builder.directory / builder.names[1]
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
        stored = stream.read_all().to_batches()
    empty = stored[0].slice(0, 0)
    with pa.OSFile(str(builder.directory / "new"), "wb") as out, pa.ipc.new_stream(out, schema) as stream:
        for batch in (empty, *stored, empty):
            stream.write_batch(batch)
    (builder.directory / "new").replace(path)
    builder.edit_file(builder.names[1], lambda raw: raw, reseal=True)
    dataset = load(builder.directory)
    assert [as_row(dataset[row]) for row in (3, 4)] == all_rows()[3:]
    assert [as_row(pack) for pack in dataset] == all_rows()


def test_sources_are_lines_from_1_and_indices_from_0(builder: Builder) -> None:
    dataset = load(builder.write().directory)
    assert dataset.source(source(0, 4)) == "chat.jsonl:5"
    assert dataset.source(source(1, 4)) == "more/chat.json#4"
    assert dataset.source(dataset[0].source_ids[0]) == "chat.jsonl:5"


@pytest.mark.parametrize("source_id", [source(2, 0), -1])
def test_a_source_of_no_input_is_refused(builder: Builder, source_id: int) -> None:
    dataset = load(builder.write().directory)
    with pytest.raises(
        ValueError, match=f"^source id {source_id} points to input -?[0-9]+, but the dataset has 2 inputs$"
    ):
        dataset.source(source_id)


def test_the_manifest_is_at_hand(builder: Builder) -> None:
    assert load(builder.write().directory).manifest.totals.tokens == 55


def test_a_dataset_travels_to_a_worker_by_its_directory(builder: Builder) -> None:
    dataset = load(builder.write().directory)
    dataset[0]
    sent = pickle.dumps(dataset)
    assert len(sent) < 300
    assert as_row(pickle.loads(sent)[4]) == all_rows()[4]  # noqa: S301 - pickled here


def replaced(builder: Builder) -> None:
    """Another dataset of equal shape, whose shards have equal sizes."""
    builder.shards[1][0]["input_ids"][0] = 19
    builder.write()


def is_replaced(error: DatasetError) -> bool:
    return (error.code, error.message) == (
        "dataset-replaced",
        "the dataset was replaced by another one while it was read",
    )


def test_a_shard_of_a_dataset_that_replaced_this_one_is_not_opened(builder: Builder) -> None:
    dataset = load(builder.write().directory)
    dataset[0]
    replaced(builder)
    for _ in range(2):
        with pytest.raises(DatasetError) as caught:
            dataset[3]
        assert is_replaced(caught.value)


def test_a_shard_that_does_not_fit_because_of_that_is_refused_for_that_reason(builder: Builder) -> None:
    dataset = load(builder.write().directory)
    builder.shards[1].pop()
    builder.write()
    with pytest.raises(DatasetError) as caught:
        dataset[3]
    assert is_replaced(caught.value)


def test_a_dataset_that_replaced_this_one_is_not_read_by_a_worker(builder: Builder) -> None:
    sent = pickle.dumps(load(builder.write().directory))
    replaced(builder)
    with pytest.raises(DatasetError) as caught:
        pickle.loads(sent)  # noqa: S301 - pickled here
    assert is_replaced(caught.value)


def test_the_same_dataset_written_again_is_the_same(builder: Builder) -> None:
    dataset = load(builder.write().directory)
    builder.write()
    assert as_row(pickle.loads(pickle.dumps(dataset))[3]) == as_row(dataset[3])  # noqa: S301 - pickled here


def test_a_directory_without_manifest_is_refused(builder: Builder) -> None:
    (builder.write().directory / "manifest.json").unlink()
    with pytest.raises(DatasetError) as caught:
        load(builder.directory)
    assert caught.value.code == "not-a-dataset"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda b: (b.directory / b.names[1]).unlink(),
            "shard-00001.arrow cannot be opened: No such file or directory",
        ),
        (
            lambda b: b.edit_file(b.names[1], lambda raw: raw[:-8]),
            "shard-00001.arrow has {short:,} bytes; the manifest says {full:,}",
        ),
        (
            lambda b: b.edit_manifest(lambda content: content["shards"][1].update(name="../x")),
            "x has a name that no file of a dataset has",
        ),
    ],
)
def test_missing_and_cut_shards_are_refused_at_once(
    builder: Builder, damage: Callable[[Builder], object], message: str
) -> None:
    size = (builder.write().directory / builder.names[1]).stat().st_size
    damage(builder)
    with pytest.raises(DatasetError) as caught:
        load(builder.directory)
    assert caught.value.code == "shard-damaged"
    assert caught.value.message == message.format(short=size - 8, full=size)
    assert "ismpack verify" in str(caught.value.hint)


def unequal_rows(builder: Builder) -> None:
    builder.shards[1][0]["turn_ids"].pop()


def fewer_sources(builder: Builder) -> None:
    builder.shards[1][0]["source_ids"].append(1)


def with_nulls(builder: Builder) -> None:
    def edit(batch: pa.RecordBatch) -> pa.RecordBatch:
        column = batch.column(0)
        values = pa.array([None, *column.values.to_pylist()[1:]], pa.int32())
        edited = pa.ListArray.from_arrays(column.offsets, values, type=column.type)
        return pa.record_batch([edited, *batch.columns[1:]], schema=batch.schema)

    builder.edit_batch = edit


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (None, lambda raw: b"!" * len(raw), "shard-00001.arrow is not a readable Arrow stream: "),
        (None, lambda raw: raw[: len(raw) // 2], "shard-00001.arrow is not a readable Arrow stream: "),
        (None, lambda _: b"", "shard-00001.arrow is not a readable Arrow stream: "),
        (with_nulls, None, "shard-00001.arrow is not a readable Arrow stream: column input_ids holds nulls"),
        (unequal_rows, None, "shard-00001.arrow has columns of unequal length in row 3 or soon after it"),
        (fewer_sources, None, "shard-00001.arrow has columns of unequal length in row 3 or soon after it"),
        (
            lambda b: b.fields.update(turn_ids=list_field("turn_ids", pa.int64())),
            None,
            "shard-00001.arrow has no column turn_ids of type list<int32>",
        ),
        (lambda b: b.fields.pop("turn_ids"), None, "shard-00001.arrow has no column turn_ids of type list<int32>"),
    ],
)
def test_a_damaged_shard_is_refused_when_it_is_opened(
    builder: Builder, before: Callable[[Builder], object] | None, after: Callable[[bytes], bytes] | None, message: str
) -> None:
    if before:
        before(builder)
    builder.write()
    if after:
        builder.edit_file("shard-00001.arrow", after, reseal=True)
    dataset = load(builder.directory)
    with pytest.raises(DatasetError) as caught:
        dataset[3]
    assert caught.value.code == "shard-damaged"
    assert caught.value.message.startswith(message)


def test_a_shard_with_fewer_rows_than_stated_is_refused(builder: Builder) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["shards"][0]["rows"] = 4

    builder.write().edit_manifest(edit)
    with pytest.raises(DatasetError) as caught:
        load(builder.directory)[0]
    assert caught.value.message == "shard-00000.arrow holds 3 rows; the manifest says 4"


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("shard-00000.arrow", True),
        ("tokenizer/tokenizer.json", True),
        ("..x", True),
        ("", False),
        (".", False),
        ("..", False),
        ("../x", False),
        ("x/..", False),
        ("x/../y", False),
        ("/x", False),
        ("x//y", False),
        ("x\x00", False),
        ("x\n", False),
        ("a\\b", False),
    ],
)
def test_file_names_stay_inside_the_directory(name: str, allowed: bool) -> None:
    assert is_file_name(name) is allowed


def test_loading_imports_nothing_heavy(builder: Builder) -> None:
    code = f"import ismpack, sys; ismpack.load({str(builder.write().directory)!r})[0]; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "transformers", "tokenizers", "datasets", "pandas"} & set(run.stdout.split()) == set()
