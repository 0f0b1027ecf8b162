"""Tables: Parquet and Arrow files in even batches, and their rows as JSON."""

from __future__ import annotations

import datetime as dt
import io
import random
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ismpack.errors import InputError, RecordError
from ismpack.sources.inputs import InputFile
from ismpack.sources.tables import TableBatch, has_column, read_table, spool_table, table_kind

CHATS = pa.table(
    {
        "id": [1, 2, None],
        "messages": [
            [{"role": "user", "content": "Grüße?"}, {"role": "assistant", "content": "Zurück 😀"}],
            [],
            [{"role": "user", "content": None}],
        ],
    }
)
ROWS: list[object] = [
    {
        "id": 1,
        "messages": [{"role": "user", "content": "Grüße?"}, {"role": "assistant", "content": "Zurück 😀"}],
    },
    {"id": 2, "messages": []},
    {"id": None, "messages": [{"role": "user", "content": None}]},
]


def parquet(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def arrow_file(table: pa.Table, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def arrow_stream(table: pa.Table, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return sink.getvalue()


WRITERS: list[Callable[[pa.Table], bytes]] = [parquet, arrow_file, arrow_stream]


def spool(folder: Path, stored: bytes, batch_bytes: int = 1 << 20) -> tuple[TableBatch, ...]:
    path = folder / "stored"
    path.write_bytes(stored)
    file = InputFile(index=0, path="chats.tab", name="chats.tab", open_path=str(path))
    return spool_table(file, str(path), folder / "spooled.arrow", batch_bytes)


def read_all(folder: Path, batches: tuple[TableBatch, ...]) -> list[dict[str, Any] | RecordError]:
    return list(read_table(str(folder / "spooled.arrow"), 0, len(batches)))


def rows(folder: Path, stored: bytes) -> list[object]:
    """The rows of a table; of an error, its code and JSON path."""
    read = read_all(folder, spool(folder, stored))
    return [(row.code, row.json_path) if isinstance(row, RecordError) else row for row in read]


def values(folder: Path, column: pa.Array, write: Callable[[pa.Table], bytes] = arrow_file) -> list[object]:
    """What becomes of the values of one column."""
    found = rows(folder, write(pa.table({"x": column})))
    return [row["x"] if isinstance(row, dict) else row for row in found]


def refusal(folder: Path, stored: bytes) -> InputError:
    with pytest.raises(InputError) as caught:
        spool(folder, stored)
    return caught.value


def text_of(parts: list[bytes], type_: pa.DataType | None = None) -> pa.Array:
    """Text whose bytes nothing has checked."""
    return pa.array(parts, pa.binary()).view(type_ or pa.string())


# --------------------------------------------------------------------------------------------------------- containers


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"PAR1\x15\x04", "parquet"),
        (b"PARE\x15\x04", "parquet"),
        (b"ARROW1\0\0", "arrow"),
        (b"\xff\xff\xff\xff\x80\1\0\0", "arrow"),
        (b'{"messages"', None),
        (b"", None),
        (b"\xff\xfe{\0", None),
    ],
)
def test_a_table_is_told_by_its_first_bytes(head: bytes, kind: str | None) -> None:
    assert table_kind(head) == kind


@pytest.mark.parametrize("write", WRITERS)
def test_rows_come_in_order_with_nulls_and_nesting(tmp_path: Path, write: Callable[[pa.Table], bytes]) -> None:
    assert rows(tmp_path, write(CHATS)) == ROWS


@pytest.mark.parametrize("write", WRITERS)
def test_columns_that_hold_no_null_are_read_as_others(tmp_path: Path, write: Callable[[pa.Table], bytes]) -> None:
    fields = [pa.field("id", pa.int64(), nullable=False), pa.field("text", pa.string(), nullable=False)]
    table = pa.table({"id": [7], "text": ["a"]}, schema=pa.schema(fields, metadata={"made": "here"}))
    assert rows(tmp_path, write(table)) == [{"id": 7, "text": "a"}]


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_batches_are_read(tmp_path: Path, codec: str) -> None:
    assert rows(tmp_path, arrow_file(CHATS, codec)) == ROWS
    assert rows(tmp_path, arrow_stream(CHATS, codec)) == ROWS


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd", "brotli"])
def test_every_codec_of_parquet_is_read(tmp_path: Path, codec: str) -> None:
    assert rows(tmp_path, parquet(CHATS, compression=codec)) == ROWS


@pytest.mark.parametrize("write", WRITERS)
def test_a_table_without_rows_has_no_batch(tmp_path: Path, write: Callable[[pa.Table], bytes]) -> None:
    assert spool(tmp_path, write(CHATS.slice(0, 0))) == ()
    assert has_column(str(tmp_path / "spooled.arrow"), "messages")


def test_columns_are_known_by_name(tmp_path: Path) -> None:
    spool(tmp_path, parquet(CHATS))
    path = str(tmp_path / "spooled.arrow")
    assert [has_column(path, name) for name in ("messages", "id", "Messages", "content")] == [True, True, False, False]


# ------------------------------------------------------------------------------------------------------------ batches


def test_one_large_row_group_becomes_even_batches_that_are_read_alone(tmp_path: Path) -> None:
    table = pa.table({"text": [f"{number:03}" + "x" * 997 for number in range(300)]})
    batches = spool(tmp_path, parquet(table, row_group_size=300), batch_bytes=64_000)

    assert [(batch.first_row, batch.rows) for batch in batches] == [
        (0, 63), (63, 57), (120, 57), (177, 57), (234, 57), (291, 9)
    ]  # fmt: skip
    assert all(batch.bytes <= 64_000 for batch in batches)
    third = list(read_table(str(tmp_path / "spooled.arrow"), 2, 3))
    assert [row["text"][:3] for row in third if isinstance(row, dict)] == [f"{n:03}" for n in range(120, 177)]


@pytest.mark.parametrize("write", WRITERS)
def test_a_row_larger_than_a_batch_is_a_batch_of_its_own(tmp_path: Path, write: Callable[[pa.Table], bytes]) -> None:
    batches = spool(tmp_path, write(pa.table({"text": ["a", "b" * 5_000, "c"]})), batch_bytes=1_000)
    assert [(batch.first_row, batch.rows) for batch in batches] == [(0, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize("write", WRITERS)
def test_a_slice_takes_only_its_own_bytes_to_the_file(tmp_path: Path, write: Callable[[pa.Table], bytes]) -> None:
    texts = [f"{number} " + "wörter " * 100 for number in range(500)]
    table = pa.table({"text": texts, "parts": [[text, "end"] for text in texts]})
    spool(tmp_path, write(table), batch_bytes=10_000)
    assert (tmp_path / "spooled.arrow").stat().st_size < table.nbytes * 1.2


def test_text_views_take_only_their_own_bytes_to_the_file(tmp_path: Path) -> None:
    texts = [f"{number} " + "wörter " * 100 for number in range(500)]
    table = pa.table({"text": pa.array(texts, pa.string_view())})
    batches = spool(tmp_path, arrow_file(table), batch_bytes=10_000)
    assert [row["text"] for row in read_all(tmp_path, batches) if isinstance(row, dict)] == texts
    assert (tmp_path / "spooled.arrow").stat().st_size < 500 * 806 * 1.2


# ------------------------------------------------------------------------------------------------------------- values

TEXT = pa.string()
TWO = pa.array(["a", "b"])
VALUES: dict[str, tuple[pa.Array, list[object]]] = {
    "integers": (pa.array([2**64 - 1, 0], pa.uint64()), [18446744073709551615, 0]),
    "missing numbers": (pa.array([1.5, float("nan"), float("inf"), None]), [1.5, None, None, None]),
    "numbers in structs": (pa.array([{"a": {"b": float("nan")}}, {"a": None}]), [{"a": {"b": None}}, {"a": None}]),
    "half floats": (pa.array([1.5, float("-inf")], pa.float16()), [1.5, None]),
    "booleans": (pa.array([True, None]), [True, None]),
    "nothing": (pa.nulls(2), [None, None]),
    "categories": (pa.array(["a", "b", "a", None]).dictionary_encode(), ["a", "b", "a", None]),
    "lists of categories": (pa.ListArray.from_arrays([0, 2], TWO.dictionary_encode()), [["a", "b"]]),
    "categories of lists": (pa.DictionaryArray.from_arrays([1, 0], pa.array([["x"], ["y", "z"]])), [["y", "z"], ["x"]]),
    "large text": (pa.array([["é"]], pa.large_list(pa.large_string())), [["é"]]),
    "text views": (pa.array(["a", "x" * 20, None], pa.string_view()), ["a", "x" * 20, None]),
    "views of lists": (pa.array([["a"], None, ["b", "c"]], pa.list_view(TEXT)), [["a"], None, ["b", "c"]]),
    "views of times": (pa.array([[1]], pa.large_list_view(pa.timestamp("s"))), [["1970-01-01 00:00:01"]]),
    "lists of one length": (pa.array([["a", "b"], None], pa.list_(TEXT, 2)), [["a", "b"], None]),
    "runs": (pa.RunEndEncodedArray.from_arrays([2, 3], TWO), ["a", "a", "b"]),
    "maps": (pa.array([[("k", 1)], [], None], pa.map_(TEXT, pa.int8())), [{"k": 1}, {}, None]),
    "maps of numbers": (pa.array([[(7, [float("nan")])]], pa.map_(pa.int8(), pa.list_(pa.float32()))), [{"7": [None]}]),
    "dates": (pa.array([dt.date(2024, 5, 1), None]), ["2024-05-01", None]),
    "times of day": (pa.array([dt.time(1, 2, 3)], pa.time32("s")), ["01:02:03"]),
    "timestamps": (pa.array([dt.datetime(2024, 5, 1, 12)], pa.timestamp("ms")), ["2024-05-01 12:00:00.000"]),
    "timestamps in UTC": (pa.array([3_600], pa.timestamp("s", "Europe/Berlin")), ["1970-01-01 01:00:00"]),
    "unknown time zones": (pa.array([[0]], pa.list_(pa.timestamp("s", "No/Where"))), [["1970-01-01 00:00:00"]]),
    "durations": (pa.array([90], pa.duration("s")), ["90"]),
    "decimals": (pa.array([Decimal("1.50"), None], pa.decimal128(5, 2)), ["1.50", None]),
    "bytes": (pa.array([b"\0\xff", None]), ["AP8=", None]),
    "bytes in lists": (pa.array([[b"a"]], pa.list_(pa.binary_view())), [["YQ=="]]),
    "extensions": (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8())), [1, 0]),
    "JSON": (pa.array(['{"a":[1,null]}', "null", None]).view(pa.json_()), [{"a": [1, None]}, None, None]),
    "JSON in lists": (pa.array([['"é"', "12"]]).view(pa.list_(pa.json_())), [["é", 12]]),
    "empty structs": (pa.array([{}, None], pa.struct([])), [{}, None]),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_values_become_json(tmp_path: Path, name: str) -> None:
    column, expected = VALUES[name]
    assert values(tmp_path, column) == expected
    assert values(tmp_path, column, arrow_stream) == expected


PARQUET_HAS_NOT = {"categories of lists", "runs", "empty structs", "times of day", "timestamps in UTC",
                   "unknown time zones", "views of times"}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in VALUES if name not in PARQUET_HAS_NOT])
def test_values_of_parquet_become_the_same_json(tmp_path: Path, name: str) -> None:
    column, expected = VALUES[name]
    assert values(tmp_path, column, parquet) == expected


def test_parquet_keeps_no_seconds_so_times_have_milliseconds(tmp_path: Path) -> None:
    column = pa.array([3_600], pa.timestamp("s", "Europe/Berlin"))
    assert values(tmp_path, column, parquet) == ["1970-01-01 01:00:00.000"]


@pytest.mark.parametrize(
    "column",
    [
        pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), TWO]),
        pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
    ],
    ids=["union", "interval"],
)
def test_a_type_that_has_no_json_is_refused_by_name(tmp_path: Path, column: pa.Array) -> None:
    error = refusal(tmp_path, arrow_file(pa.table({"x": column})))
    assert error.code == "input-unreadable"
    assert str(column.type) in error.message


# ----------------------------------------------------------------------------------------------------------- bad rows


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("bad", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80"], ids=["no text", "overlong", "surrogate"])
def test_text_that_is_not_utf8_costs_one_row(tmp_path: Path, write: Callable[[pa.Table], bytes], bad: bytes) -> None:
    assert values(tmp_path, text_of([b"a", bad, "ü".encode()]), write) == ["a", ("invalid-utf8", "$.x"), "ü"]


@pytest.mark.parametrize("write", WRITERS)
def test_text_that_is_not_utf8_costs_one_row_however_it_is_nested(
    tmp_path: Path, write: Callable[[pa.Table], bytes]
) -> None:
    inner = pa.StructArray.from_arrays([text_of([b"a", b"\xff", b"c"]), pa.array([1, 2, 3])], names=["text", "n"])
    column = pa.ListArray.from_arrays([0, 1, 2, 3], inner)
    assert values(tmp_path, column, write) == [
        [{"text": "a", "n": 1}],
        ("invalid-utf8", "$.x"),
        [{"text": "c", "n": 3}],
    ]


def test_categories_and_views_that_are_not_utf8_cost_their_rows(tmp_path: Path) -> None:
    bad = text_of([b"a", b"\xff"])
    assert values(tmp_path, pa.DictionaryArray.from_arrays([1, 0], bad)) == [("invalid-utf8", "$.x"), "a"]
    view = pa.array([b"a", b"\xff" * 20], pa.binary_view()).view(pa.string_view())
    assert values(tmp_path, view) == ["a", ("invalid-utf8", "$.x")]


def test_json_text_is_read_strictly(tmp_path: Path) -> None:
    texts = ['1,"b":2', '{"a":1,"a":2}', "{", "", "NaN", '"\\ud800"', "[" * 5_000 + "]" * 5_000, "7"]
    assert values(tmp_path, pa.array(texts).view(pa.json_())) == [
        ("invalid-json", "$.x"),
        ("duplicate-key", "$.x"),
        ("invalid-json", "$.x"),
        ("invalid-json", "$.x"),
        ("bad-number", "$.x"),
        ("lone-surrogate", "$.x"),
        ("too-deep", "$.x"),
        7,
    ]


def test_json_text_counts_for_the_depth_of_its_row(tmp_path: Path) -> None:
    at_limit, beyond = "[" * 254 + "]" * 254, "[" * 255 + "]" * 255
    column = pa.array([[at_limit], [beyond]]).view(pa.list_(pa.json_()))
    read = values(tmp_path, column)
    assert isinstance(read[0], list)
    assert read[1] == ("too-deep", None)


def test_a_map_with_a_key_twice_costs_one_row(tmp_path: Path) -> None:
    column = pa.array([[("a", 1), ("a", 2)], [("b", 1)]], pa.map_(TEXT, pa.int8()))
    assert values(tmp_path, column) == [("duplicate-key", "$.x"), {"b": 1}]


def test_a_row_above_the_limit_costs_one_row(tmp_path: Path) -> None:
    column = pa.array(["a", "x" * (64 << 20), "c"])
    assert values(tmp_path, column) == ["a", ("line-too-long", None), "c"]


# ------------------------------------------------------------------------------------------------------- whole tables


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("inside", [False, True])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, write: Callable[[pa.Table], bytes], inside: bool) -> None:
    column = pa.StructArray.from_arrays([TWO, TWO], names=["role", "role"])
    table = pa.table({"messages": column}) if inside else pa.Table.from_arrays([TWO, TWO], names=["role", "role"])
    error = refusal(tmp_path, write(table))
    assert (error.code, error.message) == ("bad-table", "chats.tab has more than one column 'role'")


def test_a_long_column_name_is_shortened(tmp_path: Path) -> None:
    error = refusal(tmp_path, arrow_file(pa.Table.from_arrays([TWO, TWO], names=["k" * 100] * 2)))
    assert error.message == f"chats.tab has more than one column '{'k' * 40}…'"


def test_a_table_without_columns_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, arrow_file(CHATS.select([])))
    assert (error.code, error.message) == ("bad-table", "chats.tab has no columns")


def test_a_type_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    type_ = pa.int8()
    for _ in range(61):
        type_ = pa.list_(type_)
    error = refusal(tmp_path, arrow_file(pa.table({"x": pa.nulls(1, type_)})))
    assert (error.code, error.message) == (
        "input-unreadable", "cannot read chats.tab: columns nested more than 60 deep"
    )  # fmt: skip


@pytest.mark.parametrize("write", WRITERS)
def test_a_table_cut_anywhere_is_refused(tmp_path: Path, write: Callable[[pa.Table], bytes]) -> None:
    stored = write(CHATS)
    for length in range(6, len(stored), 7):
        assert refusal(tmp_path, stored[:length]).code == "input-truncated", length


def test_a_stream_cut_between_two_batches_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, arrow_stream(CHATS)[:-8])
    assert (error.code, error.message) == (
        "input-truncated",
        "chats.tab is a table that ends early or is corrupt: the end of the stream is missing",
    )


def test_more_data_after_a_stream_is_not_left_out_in_silence(tmp_path: Path) -> None:
    stream = arrow_stream(CHATS)
    error = refusal(tmp_path, stream + stream)
    assert (error.code, error.location and error.location.byte_offset) == ("input-unreadable", len(stream))


def test_a_page_that_fails_its_checksum_is_refused(tmp_path: Path) -> None:
    table = pa.table({"text": ["Die Katze schläft."] * 3})
    stored = parquet(table, compression="none", use_dictionary=False, write_page_checksum=True, write_statistics=False)
    error = refusal(tmp_path, stored.replace(b"Katze", b"Tatze", 1))
    assert error.code == "input-truncated"


def test_an_encrypted_table_is_refused_as_such(tmp_path: Path) -> None:
    error = refusal(tmp_path, b"PARE" + b"\0" * 64 + b"\x10\0\0\0PARE")
    assert error.code == "input-unreadable"
    assert "encrypted" in error.message


def test_a_message_names_the_file_as_it_was_typed(tmp_path: Path) -> None:
    file = InputFile(index=0, path="chats.tab", name="chats.tab", open_path="chats.tab")
    with pytest.raises(InputError) as caught:
        spool_table(file, str(tmp_path / "gone"), tmp_path / "spooled.arrow", 1_000)
    assert caught.value.code == "input-unreadable"
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("write", WRITERS)
def test_no_flipped_bit_crashes(tmp_path: Path, write: Callable[[pa.Table], bytes]) -> None:
    chance = random.Random(4)  # noqa: S311
    columns = ("categories", "text views", "views of lists", "maps", "timestamps", "JSON in lists")
    tables = [CHATS, *(pa.table({"x": VALUES[name][0]}) for name in columns)]
    for stored in map(write, tables):
        for _ in range(25):
            damaged = bytearray(stored)
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
            with suppress(InputError):
                read_all(tmp_path, spool(tmp_path, bytes(damaged)))


# -------------------------------------------------------------------------------------------- members of type null


def test_a_key_that_is_always_null_is_dropped_wherever_it_stands(tmp_path: Path) -> None:
    given: list[dict[str, Any]] = [
        {"m": [{"role": "user", "name": None, "call": {"id": None}}, {"role": "tool", "name": None, "call": None}]},
        {"m": []},
        {"m": None},
        {"m": [{"role": "assistant", "name": None, "call": {"id": None}}]},
    ]
    expected = [
        {"m": [{"role": "user", "call": {}}, {"role": "tool", "call": None}]},
        {"m": []},
        {"m": None},
        {"m": [{"role": "assistant", "call": {}}]},
    ]
    table = pa.Table.from_pylist(given)
    assert "null" in str(table.schema.field("m").type)
    large = table.cast(pa.schema([("m", pa.large_list(table.schema.field("m").type.value_type))]))
    for stored in (arrow_stream(table), arrow_file(large), parquet(table)):
        assert rows(tmp_path, stored) == expected
    assert rows(tmp_path, arrow_stream(table.slice(1, 2))) == expected[1:3]


def test_a_saved_dataset_with_a_key_that_is_always_null_is_read(tmp_path: Path) -> None:
    message = {"role": "user", "content": "Hi", "name": None}
    datasets.Dataset.from_list([{"messages": [message, message]}] * 3).save_to_disk(str(tmp_path / "saved"))
    [path] = sorted((tmp_path / "saved").glob("*.arrow"))
    assert rows(tmp_path, path.read_bytes()) == [{"messages": [{"role": "user", "content": "Hi"}] * 2}] * 3
