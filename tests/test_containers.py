"""Containers: which one a file is, its records wherever it is cut, and what is refused."""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import io
import json
import lzma
import tempfile
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ismpack.data import Json, PlainConversation, Record
from ismpack.errors import InputError, IsmpackError, Location, OutputError, RecordError
from ismpack.sources import Chunk, InputFile, Scan, expand, read, scan
from ismpack.sources.compression import decompress
from ismpack.sources.csv_rows import UnclosedRowError, cells_of, dialect_of, read_rows
from ismpack.sources.structure import elements, split

# ---------------------------------------------------------------------------------------------------------- fixtures


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def scan_path(path: Path, chunk_bytes: int = 1 << 20, whole_key: str | None = None) -> Scan:
    spool = Path(tempfile.mkdtemp(dir=path.parent))
    return scan(expand([str(path)])[0], chunk_bytes, spool, whole_key=whole_key)


def scan_bytes(folder: Path, content: bytes | str, name: str, chunk_bytes: int = 1 << 20) -> Scan:
    return scan_path(write(folder, name, content), chunk_bytes)


def read_all(scanned: Scan, **limits: int) -> list[Record | RecordError | None]:
    return [item for chunk in scanned.chunks for item in read(chunk, **limits)]


def brief(item: Record | RecordError | None) -> object:
    """A record's value, an error's code, or None."""
    return item.code if isinstance(item, RecordError) else None if item is None else item.value


def found(folder: Path, content: bytes | str, name: str) -> list[object]:
    return [brief(item) for item in read_all(scan_bytes(folder, content, name))]


def full(scanned: Scan) -> list[object]:
    """Everything about the records: values or codes, positions, offsets."""
    return [item and (brief(item), item.location) for item in read_all(scanned)]


def refusal(call: Callable[..., object], *arguments: object, **named: object) -> IsmpackError:
    with pytest.raises(IsmpackError) as caught:
        call(*arguments, **named)
    return caught.value


def zstd(content: bytes) -> bytes:
    return pa.compress(content, "zstd", asbytes=True)


# ------------------------------------------------------------------------------------------------- which container


@pytest.mark.parametrize(
    ("name", "content", "container", "expected"),
    [
        # an object whose members are all objects: the members are the records
        ("x.json", '{"a": {"n": 1}, "b": {"n": 2}}', "members", [{"n": 1}, {"n": 2}]),
        ("x.json", '\ufeff\n{\n  "a": {\n    "n": 1\n  },\n  "b": {}\n}\n', "members", [{"n": 1}, {}]),
        ("-x", '{"a": {"n": 1}}\n', "members", [{"n": 1}]),
        ("x.jsonl", '{\n"a": {"n": 1},\n"b": {"n": 2}\n}', "members", [{"n": 1}, {"n": 2}]),
        ("x.json", '{"a": {"n": 1},\n"b": {"n": 2}}', "members", [{"n": 1}, {"n": 2}]),
        ("x.json", '{"a":\n{"n": 1},\n"b":\n{"n": 2}}', "members", [{"n": 1}, {"n": 2}]),
        # an object with one list of objects, called data, beside plain values
        ("x.json", '{"version": "1.0", "data": [{"n": 1}, {"n": 2}]}', "array", [{"n": 1}, {"n": 2}]),
        ("x.json", '{\n "data": [\n  {"n": 1}\n ],\n "v": null, "w": true}\n', "array", [{"n": 1}]),
        # one object that is a record
        ("x.json", '{"messages": [{"role": "user"}]}', "lines", [{"messages": [{"role": "user"}]}]),
        ("x.json", '{"custom_id": "x", "body": {"n": 1}}\n', "lines", [{"custom_id": "x", "body": {"n": 1}}]),
        ("x.json", '{"data": ["hi", "ho"], "id": "1"}', "lines", [{"data": ["hi", "ho"], "id": "1"}]),
        ("x.json", '{"data": [{}], "list": [1]}', "lines", [{"data": [{}], "list": [1]}]),
        ("x.json", '{"rows": [{"n": 1}]}', "lines", [{"rows": [{"n": 1}]}]),
        ("x.json", '{"data": []}', "lines", [{"data": []}]),
        ("x.json", "{}", "lines", [{}]),
        # on one line of a line-based file, an object is a record whatever it holds
        ("x.jsonl", '{"a": {"n": 1}, "b": {"n": 2}}', "lines", [{"a": {"n": 1}, "b": {"n": 2}}]),
        ("x.jsonl.gz", '{"data": [{"n": 1}]}\n', "lines", [{"data": [{"n": 1}]}]),
        # one record per line
        ("x.json", '{"a": {"n": 1}}\n{"a": {"n": 2}}\n', "lines", [{"a": {"n": 1}}, {"a": {"n": 2}}]),
        ("x.json", '{"data": [{"n": 1}]}\n\n{"data": []}', "lines", [{"data": [{"n": 1}]}, None, {"data": []}]),
        ("x.json", '{"a": {"n": 1}\n{"a": {"n": 2}}\n', "lines", ["invalid-json", {"a": {"n": 2}}]),
        ("x.json", '{"a": {}, "b": {"n":\n{"a": 1}\n{"a": 2}\n', "lines", ["invalid-json", {"a": 1}, {"a": 2}]),
        ("x.json", '{"v": 1, "data": [\n{"a": 1},\n{"a": 2}\n]}', "array", [{"a": 1}, {"a": 2}]),
        # a bad member costs one record
        ("x.json", '{"a": {"n": 1}, oops, "b": {"n": 2}}', "members", [{"n": 1}, "invalid-json", {"n": 2}]),
        ("x.json", '{\n"a": {"n": 1},\n{"n": 0},\n"b": {"n": 2},\n}', "members", [{"n": 1}, "invalid-json", {"n": 2}, "invalid-json"]),
        ("x.json", '{"a": {"n": 01}, "b": {"n": 2}}', "members", ["invalid-json", {"n": 2}]),
        ("x.json", '{"\\x": {"n": 1}, "b": {"n": 2}}', "members", ["invalid-json", {"n": 2}]),
        ("x.json", '{"\\ud800": {"n": 1}, "b": {"n": 2}}', "members", ["lone-surrogate", {"n": 2}]),
        ("x.csv", "a,b\n1,2\n", "csv", [{"a": "1", "b": "2"}]),
        ("x.tsv", "a\tb\n1,0\t2\n", "csv", [{"a": "1,0", "b": "2"}]),
        ("x.CSV", "a\n[1]\n", "csv", [{"a": "[1]"}]),
        ("x.txt", '{"a": 1}', "lines", [{"a": 1}]),
    ],
)  # fmt: skip
def test_containers_are_told_by_the_head(
    tmp_path: Path, name: str, content: str, container: str, expected: list[object]
) -> None:
    scanned = scan_bytes(tmp_path, content, name)
    assert (scanned.container, [brief(item) for item in read_all(scanned)]) == (container, expected)


LONG = "x" * 100_000


@pytest.mark.parametrize(
    ("name", "content", "container", "records"),
    [
        ("x.json", f'{{"a": {{"n": "{LONG}"}}, "b": {{"n": 2}}}}', "members", 2),
        ("x.jsonl", f'{{"a": {{"n": "{LONG}"}}, "b": {{"n": 2}}}}', "lines", 1),
        ("x.json", f'{{"a": {{"n": "{LONG}"}}, "b": {{"n": 2}}}}\n{{"a": {{}}}}\n', "lines", 2),
        ("x.json", f'{{"a": {{"n": "{LONG}"}}, "b": 2}}\n{{"a": {{}}}}\n', "lines", 2),
        ("x.json", f'{{"v": 1, "data": [{{"n": "{LONG}"}}], "w": 1}}', "array", 1),
        ("x.json", f'{{"v": 1, "data": [{{"n": "{LONG}"}}], "w": 1}}\r\n{{"v": 2}}', "lines", 2),
        ("x.json", f'[{{"n": "{LONG}"}}]\n[]\n', "lines", 2),
        ("x.json", f'{{"meta": {{}}, "text": "{LONG}"}}', "lines", 1),
        ("x.json", "{" + ", ".join(f'"{i}": {{"n": "{"y" * 90}"}}' for i in range(2000)) + "}", "members", 2000),
    ],
)  # fmt: skip
def test_what_lies_beyond_the_head_can_still_be_one_record_per_line(
    tmp_path: Path, name: str, content: str, container: str, records: int
) -> None:
    scanned = scan_bytes(tmp_path, content, name)
    assert (scanned.container, len(read_all(scanned))) == (container, records)


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        ('{"a": {"n": 1},\n"b": {"n": 2}', "input-truncated", "ends inside"),
        ('{"a": {"n": 1},\n"b": {"n": "', "input-truncated", "ends inside"),
        ('{"a": {"n": 1},\n"b": {}} x', "input-not-json", "more text follows"),
        ('{"a": {"n": 1},\n"b": {}}\n["a"]\n', "input-not-json", "more text follows"),
        ('{"a": {"n": 1},\n"b": {}]', "input-not-json", "closes what was not opened"),
        ('{"data": [{"n": 1},\n{"n": 2}', "input-truncated", "ends inside"),
        ('{"data": [{"n": 1},\n{"n": 2}]', "input-not-json", "after its list"),
        ('{"data": [{"n": 1},\n{"n": 2}], "v": 1}}', "input-not-json", "after its list"),
        ('{"data": [{"n": 1},\n{"n": 2}], "data": 1}', "input-not-json", "'data' more than once"),
        ('{"data": [{"n": "' + LONG + '"},\n{}], "more": [1]}', "input-not-json", "beside its list of records it has 'more'"),
    ],
)  # fmt: skip
def test_one_object_that_holds_no_records_or_does_not_close_is_refused(
    tmp_path: Path, content: str, code: str, words: str
) -> None:
    error = refusal(scan_bytes, tmp_path, content, "x.json")
    assert (error.code, words in error.message) == (code, True), error


@pytest.mark.parametrize("content", ['{\n  "messages": []\n}\n', '{\n  "data": [{}],\n  "rows": [{}]\n}'])
def test_one_object_over_several_lines_is_one_record_unless_lines_are_named(tmp_path: Path, content: str) -> None:
    for text in (content, "\n " + content):
        scanned = scan_bytes(tmp_path, text, "x.json")
        assert (scanned.container, scanned.unit, scanned.sha256) == (
            "object",
            "index",
            sha256(text.encode()).hexdigest(),
        )
        [record] = read_all(scanned)
        assert isinstance(record, Record)
        assert (record.value, str(record.location)) == (json.loads(content), f"{scanned.file.path}#0")
        assert record.byte_offset == len(text) - len(content)
        assert [brief(item) for item in read_all(scan_bytes(tmp_path, text, "x.json"), max_record_bytes=8)] == [
            "line-too-long"
        ]
        assert [brief(item) for item in read_all(scan_bytes(tmp_path, text + content, "x.json"))] == ["invalid-json"]
        assert [brief(item) for item in read_all(scan_bytes(tmp_path, text[:-3], "x.json"))] == ["invalid-json"]
        error = refusal(scan_bytes, tmp_path, text, "x.jsonl")
        assert (error.code, "one JSON object over several lines" in error.message) == ("input-not-json", True)


@pytest.mark.parametrize(
    ("name", "first", "code"),
    [
        ("x.jsonl", f'{{"a": {{"x": "{LONG}', "invalid-json"),
        ("x.jsonl", f'{{"data": [{{"x": "{LONG}"}}', "invalid-json"),
        ("x.ndjson.xz", f'[{{"x": "{LONG}"}}', "invalid-json"),
        ("x.JSONL.gz", f'{{"a": {{"x": "{LONG}"}}, "b": {{"c": 1}}}}]', "invalid-json"),
        ("x.jsonl", f'{{"a": {{"x": "{LONG}"}}]', "invalid-json"),
        ("x.jsonl", f'[{{"x": "{LONG}"}}]}}', "invalid-json"),
        ("x.jsonl", f'[{{"x": "{LONG}"}}] x', "invalid-json"),
        ("x.jsonl", f'{{"data": [{{"x": "{LONG}"}}], "more": [1]}}', None),
        ("x.jsonl", '[{"x": "short"}', "invalid-json"),
        ("x.jsonl", '{"a": {"x": "short', "invalid-json"),
    ],
)
def test_a_bad_first_line_of_a_line_based_file_is_one_bad_line(
    tmp_path: Path, name: str, first: str, code: str | None
) -> None:
    good = [{"n": number, "text": "y" * 70_000} for number in range(3)]
    content = "".join(f"{line}\n" for line in (first, *map(json.dumps, good)))
    scanned = scan_bytes(tmp_path, content, name)
    assert scanned.container == "lines"
    items = [brief(item) for item in read_all(scanned)]
    assert items[1:] == good
    assert items[0] == (code or json.loads(first))


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("x.json", f'[{{"x": "{LONG}"}}\n{{"n": 1}}\n', "input-truncated"),
        ("x.jsonl", f'[{{"x": "{LONG}"}}, {{"n": 1}}, ', "input-truncated"),
        ("x.jsonl", f'[\n{{"x": "{LONG}"}},\n{{"n": 1}}\n', "input-truncated"),
        ("x.jsonl", '[{"x": 1},\n{"n": 1},\n', "input-truncated"),
        ("x.jsonl", '{"data": [\n{"x": 1},\n{"n": 1},\n', "input-truncated"),
    ],
)
def test_a_value_over_several_lines_that_is_cut_is_refused_whatever_the_name(
    tmp_path: Path, name: str, content: str, code: str
) -> None:
    assert refusal(scan_bytes, tmp_path, content, name).code == code


def test_an_array_in_a_line_based_file_is_read_as_one(tmp_path: Path) -> None:
    for content in (f'[{{"x": "{LONG}"}}, {{"n": 1}}]', f'[{{"x": "{LONG}"}},\n{{"n": 1}}]\n'):
        scanned = scan_bytes(tmp_path, content, "x.jsonl")
        assert (scanned.container, len(read_all(scanned))) == ("array", 2)


@pytest.mark.parametrize(
    ("name", "container"),
    [
        ("export.csv.jsonl", "lines"),
        ("export.tsv.json.gz", "members"),
        ("export.csv.ZST", "csv"),
        ("UP.TSV.bz2", "csv"),
        ("UP.JSONL", "lines"),
        ("UP.NDJSON.XZ", "lines"),
        ("up.jsonl.json", "members"),
    ],
)
def test_only_the_last_ending_and_that_of_a_compression_count_in_any_case(
    tmp_path: Path, name: str, container: str
) -> None:
    assert scan_bytes(tmp_path, '{"a": {"n": 1}}\n', name).container == container


# --------------------------------------------------------------------------------------------------- ends of blocks


def ends_at(begin: str, length: int) -> str:
    """A record after `begin`, as long as is needed for `length` bytes in all."""
    return f'{begin}{{"n": "{"x" * (length - len(begin) - 9)}"}}'


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("off", [-1, 0, 1])
@pytest.mark.parametrize(("before", "closing"), [("[", "]"), ('{"a":', "}"), ('{"data": [', "]}")])
@pytest.mark.parametrize("over_lines", [False, True])
def test_text_after_a_bracket_that_closes_at_the_end_of_a_block_is_read(
    tmp_path: Path, blocks: int, off: int, before: str, closing: str, over_lines: bool
) -> None:
    begin = len(before) if before.endswith("[") else 1
    first = "1" if before.endswith("[") else ""
    head = before + ('{"n": 1},' if first else '{"n": 1},"b":') + ("\n" if over_lines else "")
    content = ends_at(head, begin + blocks * (1 << 18) - 1 + off) + closing
    assert content[begin + blocks * (1 << 18) - 1 + off] == closing[0]
    scanned = scan_bytes(tmp_path, content, "x.json")
    assert len(read_all(scanned)) == 2
    assert (scanned.text_bytes, scanned.sha256) == (len(content), hashlib.sha256(content.encode()).hexdigest())
    more = content + "\nthis is not JSON {{{{\n" + '{"n": 2}\n' * 5
    if over_lines:
        assert refusal(scan_bytes, tmp_path, more, "x.json").code == "input-not-json"
        return
    scanned = scan_bytes(tmp_path, more, "x.json")
    assert scanned.sha256 == hashlib.sha256(more.encode()).hexdigest()
    items = [brief(item) for item in read_all(scanned)]
    assert len(items) == 7
    assert items[1:] == ["invalid-json"] + [{"n": 2}] * 5


# ------------------------------------------------------------------------------------------------ members of objects


def test_members_have_an_index_and_the_offset_of_their_value(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"a" : {"n": 1} , "b":{"n": 2}, oops}'
    #          3   4      10                 23         33
    items = read_all(scan_bytes(tmp_path, content, "x.json"))
    assert [brief(item) for item in items] == [{"n": 1}, {"n": 2}, "invalid-json"]
    assert [(item.location.index, item.location.byte_offset) for item in items if item and item.location] == [
        (0, content.index(b'{"n": 1')),
        (1, content.index(b'{"n": 2')),
        (2, content.index(b"oops")),
    ]
    assert [item.source_id for item in items if isinstance(item, Record)] == [0, 1]


def test_a_member_whose_name_came_before_is_refused_wherever_the_text_is_cut(tmp_path: Path) -> None:
    content = '{"a": {"n": 1}, "b": {"n": 2}, "\\u0061": {"n": 3}, oops, "c": {"n": 4}, "b": {"n": 5}, "a": {}, oops}'
    expected = [
        {"n": 1},
        {"n": 2},
        "duplicate-key",
        "invalid-json",
        {"n": 4},
        "duplicate-key",
        "duplicate-key",
        "invalid-json",
    ]
    for chunk_bytes in (1, 20, 1000):
        scanned = scan_bytes(tmp_path, content, "x.json", chunk_bytes)
        assert [brief(item) for item in read_all(scanned)] == expected


def test_a_member_beyond_the_limit_spoils_itself_only(tmp_path: Path) -> None:
    content = '{"a": {"n": 1}, "b": {"n": "' + "x" * 400_000 + '"}, "c": {"n": 2}}'
    items = read_all(scan_bytes(tmp_path, content, "x.json"), max_record_bytes=20)
    assert [brief(item) for item in items] == [{"n": 1}, "line-too-long", {"n": 2}]


# ------------------------------------------------------------------------------------------------- cut at every size

ARRAY = b'\xef\xbb\xbf [ {"a": "],[\\"{\\\\"} ,\n {"a": [{}, [1]]}, oops,, {"a": "\xff"},[],{"a": 1} , ]\n '
MEMBERS = b' {"a": {"n": "}\\\\"},\n"\\u0061":{"n": [1, {}]}, "b" :\t{}, "c": {"n": 3}, "": {}, no}\n'
DATA = b'{"v": "[{", "data" : [{"a": "]"},{"a": 2} ,\n {"a": 3}], "end": -1e5}\n'
TABLE = b'\xef\xbb\xbfone,"tw""o"\r\n1,2\n"a\r\n,""b""\n",\n\n\r\n"",x"y\n3\n4,5,6\n\xff,7\n"8"9,1\n10,"z"\r\n"never, closed\n'
LINES = b'{"a": 1}\n\n\n{"a": "' + b"x" * 40 + b'"}\r\nbad\n{"a": 2}\n  \n{"a": 3}'


@pytest.mark.parametrize("compress", [None, gzip.compress, zstd, bz2.compress, lzma.compress])
@pytest.mark.parametrize(
    ("name", "content"),
    [("x.json", ARRAY), ("y.json", MEMBERS), ("z.json", DATA), ("x.csv", TABLE), ("x.jsonl", LINES)],
)
def test_any_chunk_size_gives_the_same_records(
    tmp_path: Path, name: str, content: bytes, compress: Callable[[bytes], bytes] | None
) -> None:
    path = write(tmp_path, name, compress(content) if compress else content)
    whole = scan_path(path)
    assert (len(whole.chunks), whole.chunks[0].whole, whole.text_bytes) == (1, True, len(content))
    expected = full(whole)
    assert len(expected) >= 3
    for chunk_bytes in range(1, len(content) + 1) if compress is None else (1, 13):
        scanned = scan_path(path, chunk_bytes)
        assert full(scanned) == expected
        assert [chunk.whole for chunk in scanned.chunks] == [len(scanned.chunks) == 1] * len(scanned.chunks)
        backwards = [list(read(chunk)) for chunk in reversed(scanned.chunks)]
        assert [brief(item) for part in reversed(backwards) for item in part] == [
            item and item[0]
            for item in expected  # type: ignore[index]
        ]


def test_what_the_cut_containers_hold(tmp_path: Path) -> None:
    bad = "invalid-json"
    assert found(tmp_path, ARRAY, "x.json") == [
        {"a": '],["{\\'},
        {"a": [{}, [1]]},
        bad,
        bad,
        "invalid-utf8",
        "not-an-object",
        {"a": 1},
        bad,
    ]
    assert found(tmp_path, MEMBERS, "y.json") == [
        {"n": "}\\"},
        "duplicate-key",
        {},
        {"n": 3},
        {},
        bad,
    ]
    assert found(tmp_path, DATA, "z.json") == [{"a": "]"}, {"a": 2}, {"a": 3}]
    assert found(tmp_path, TABLE, "x.csv") == [
        {"one": "1", 'tw"o': "2"},
        {"one": 'a\r\n,"b"\n', 'tw"o': ""},
        None,
        None,
        {"one": "", 'tw"o': 'x"y'},
        "bad-table",
        "bad-table",
        "invalid-utf8",
        "bad-table",
        {"one": "10", 'tw"o': "z"},
        "bad-table",
    ]


JSON_VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.integers() | st.text(alphabet='a"\\[]{},: ', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='ab"\\:', max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None)  # it writes files
@given(
    st.lists(st.dictionaries(st.text(alphabet='ab"\\{', max_size=3), JSON_VALUES, max_size=3), max_size=5),
    st.sampled_from([None, 1]),
    st.integers(1, 60),
    st.booleans(),
)
def test_arrays_and_objects_give_what_the_standard_library_reads(
    records: list[dict[str, Json]], indent: int | None, chunk_bytes: int, keyed: bool
) -> None:
    value = {f'k"{i}': record for i, record in enumerate(records)} if keyed else records
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps(value, indent=indent)
        assert (found_by(folder, text, chunk_bytes) == records) or (keyed and not records)


def found_by(folder: str, text: str, chunk_bytes: int) -> list[object]:
    return [brief(item) for item in read_all(scan_bytes(Path(folder), text, "x.json", chunk_bytes))]


@given(
    st.lists(st.sampled_from([*'{}[],:"\\ \n1', "\\", '"a"', "true", '{"a":1}', "\u00e9"]), max_size=25).map("".join)
)
def test_a_stretch_of_elements_is_split_alike_with_and_without_a_parser(content: str) -> None:
    text = content.encode()
    expected = [(offset, element) for offset, element, _, _ in split(io.BytesIO(text).read, 7, 1000)]
    assert list(elements(io.BytesIO(text).read, 7, len(text), 1000)) == expected


# ------------------------------------------------------------------------------------------------------- CSV and TSV


def rows(content: str | bytes, name: str = "x.csv", block_bytes: int = 1 << 18, limit: int = 1000) -> list[object]:
    """The cells of every row; a code or None where there are none."""
    data = content.encode() if isinstance(content, str) else content
    dialect = dialect_of(InputFile(index=0, path=name, name=name, open_path=name))
    result: list[object] = []
    for _, row in read_rows(io.BytesIO(data).read, 0, limit, dialect, block_bytes=block_bytes):
        try:
            result.append(cells_of(row, dialect) if isinstance(row, bytes) else row and row.code)
        except RecordError as error:
            result.append(error.code)
    return result


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b\nc,d\n", [["a", "b"], ["c", "d"]]),
        ("a,b\r\nc,d\r\n", [["a", "b"], ["c", "d"]]),
        ("a,b\nc,d", [["a", "b"], ["c", "d"]]),
        ("a,\n,\n,b", [["a", ""], ["", ""], ["", "b"]]),
        ('"a,b","c\nd","e""f",""\n', [["a,b", "c\nd", 'e"f', ""]]),
        ('"a\r\nb"\r\nc\r\n', [["a\r\nb"], ["c"]]),
        ('""""\n', [['"']]),
        ('5" disk,a"b"c\n', [['5" disk', 'a"b"c']]),
        (' "a",b\n', [[' "a"', "b"]]),
        ("a\0b,c\n", [["a\0b", "c"]]),
        ("\u2028,\x85\n", [["\u2028", "\x85"]]),
        ('"a"b,c\nd\n', ["bad-table", ["d"]]),
        ('"a" ,c\nd\n', ["bad-table", ["d"]]),
        ("a\rb,c\nd\n", ["bad-table", ["d"]]),
        ('"a\rb",c\n', [["a\rb", "c"]]),
        (b"\xff,a\nb,c\n", ["invalid-utf8", ["b", "c"]]),
        ('a,"b\nc,d\n', ["bad-table"]),
        ('a,"b""\nc,d', ["bad-table"]),
        ('a,"b""', ["bad-table"]),
        ("a\n\n", [["a"], [""]]),
        ("", []),
    ],
)
def test_rows_and_cells_whatever_the_block_size(content: str | bytes, expected: list[object]) -> None:
    for block_bytes in (1, 2, 3, 5, 100):
        assert rows(content, block_bytes=block_bytes) == expected


def test_a_row_beyond_the_limit_spoils_itself_only() -> None:
    long = 'b,"' + 'c""\n' * 20 + '","' + "d" * 50 + '"'
    for content, expected in (
        (f"a,1\n{long}\ne,2\n", [["a", "1"], None, ["e", "2"]]),
        ("a,1\n" + "b" * 11 + "\ne,2", [["a", "1"], None, ["e", "2"]]),
        ("a,1\n" + "b" * 10 + "\r\ne,2", [["a", "1"], ["b" * 10], ["e", "2"]]),
        ('a,1\nb"c,' + "x" * 20 + '"\n"e",2', [["a", "1"], None, ["e", "2"]]),
        ('a,1\n"' + "b,\n" * 20, [["a", "1"], "bad-table"]),
        ("a,1\n" + "b" * 20, [["a", "1"], None]),
    ):
        for block_bytes in (1, 2, 3, 7, 1000):
            assert rows(content, block_bytes=block_bytes, limit=10) == expected


CELLS = st.text(alphabet='ab",\n\t\u00e9 ', max_size=6)


@given(
    st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=5),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["x.csv", "x.tsv"]),
    st.integers(1, 30),
)
def test_what_the_csv_module_writes_is_read_back(
    table: list[list[str]], quoting: int, line_end: str, name: str, block_bytes: int
) -> None:
    written = io.StringIO(newline="")
    delimiter = "," if name == "x.csv" else "\t"
    csv.writer(written, delimiter=delimiter, quoting=quoting, lineterminator=line_end).writerows(table)  # type: ignore[call-overload]
    assert rows(written.getvalue(), name, block_bytes) == table


@given(st.text(alphabet='a",\n', max_size=25))
def test_any_text_is_read_as_the_strict_csv_module_reads_it(text: str) -> None:
    try:
        expected: object = [row or [""] for row in csv.reader(io.StringIO(text, newline=""), strict=True)]
    except csv.Error:
        expected = "bad-table"
    ours = rows(text)
    assert ours == expected if expected != "bad-table" else "bad-table" in ours


@given(st.text(alphabet='a",\n\r', max_size=40), st.integers(1, 12), st.integers(1, 9))
def test_the_length_limit_does_not_depend_on_the_block_size(text: str, limit: int, block_bytes: int) -> None:
    assert rows(text, limit=limit, block_bytes=block_bytes) == rows(text, limit=limit)


def test_rows_count_from_the_one_after_the_header(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfq,a\n1,2\n\n3,"4\n"\n5\n'
    #          3          7    11 12      19
    items = read_all(scan_bytes(tmp_path, content, "x.csv"))
    assert [brief(item) for item in items] == [{"q": "1", "a": "2"}, None, {"q": "3", "a": "4\n"}, "bad-table"]
    assert [(item.location.index, item.location.byte_offset) for item in items if item and item.location] == [
        (0, 7),
        (2, 12),
        (3, 19),
    ]
    assert items[3] is not None
    assert "1 cells, the header 2" in str(items[3])


@pytest.mark.parametrize("compress", [None, gzip.compress])
def test_a_quote_that_takes_in_more_lines_than_its_own_refuses_the_file(
    tmp_path: Path, compress: Callable[[bytes], bytes] | None
) -> None:
    content = b"q,a\n" + b"1,2\n" * 500 + b'q,"stray\n' + b"1,2\n" * 9_500
    for chunk_bytes in (100, 1 << 20):
        error = refusal(scan_bytes, tmp_path, compress(content) if compress else content, "x.csv", chunk_bytes)
        assert isinstance(error, InputError)
        assert (error.code, error.location) == (
            "bad-table",
            Location(path=str(tmp_path / "x.csv"), index=500, byte_offset=2004),
        )
        assert error.message == (
            f"row 500 of {tmp_path}/x.csv (byte 2,004) opens a quote that is never closed,"
            " and so takes in the 9,500 lines after its first"
        )
        assert 'written twice: "say ""hi"""' in (error.hint or "")


def test_a_long_row_whose_quote_is_never_closed_refuses_the_file_too() -> None:
    dialect = dialect_of(InputFile(index=0, path="x.csv", name="x.csv", open_path="x.csv"))
    text = b'a,1\nb,"' + b"c,\n" * 20
    for block_bytes in (1, 7, 1000):
        *_, (offset, row) = read_rows(io.BytesIO(text).read, 0, 10, dialect, block_bytes=block_bytes)
        assert isinstance(row, UnclosedRowError)
        assert (offset, row.lines) == (4, 20)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n\r\n"])
def test_a_last_row_whose_quote_is_not_closed_is_one_bad_row(tmp_path: Path, end: str) -> None:
    assert found(tmp_path, f'q,a\n1,2\n3,"stray{end}', "x.csv") == [{"q": "1", "a": "2"}, "bad-table"]


def test_a_row_that_goes_on_after_its_closing_quote_tells_how_many_lines_it_takes_in(tmp_path: Path) -> None:
    items = read_all(scan_bytes(tmp_path, 'q,a\n1,"stray\n3,4\n5,"6\n7,8\n"9"x,10\n', "x.csv"))
    assert [brief(item) for item in items] == ["bad-table", {"q": "7", "a": "8"}, "bad-table"]
    assert [item.message for item in items if isinstance(item, RecordError)] == [
        "cell 2 of the row, which takes in 3 lines, goes on after its closing quote",
        "cell 1 of the row goes on after its closing quote",
    ]


def test_a_long_name_is_shortened_in_messages(tmp_path: Path) -> None:
    name, short = "k" * 100, f"'{'k' * 40}…'"
    header = refusal(scan_bytes, tmp_path, f"{name},{name}\n", "x.csv")
    assert header.message == f"the header of {tmp_path}/x.csv does not fit: the name {short} comes twice"
    twice, member = read_all(scan_bytes(tmp_path, f'{{"{name}": {{"{name}": 1, "{name}": 2}}, "{name}": {{}}}}', "x.json"))  # fmt: skip
    assert isinstance(twice, RecordError)
    assert twice.message == f"an object has the key {short} more than once"
    assert isinstance(member, RecordError)
    assert member.message == f"the name {short} stands twice in the object"
    beside = refusal(scan_bytes, tmp_path, f'{{"data": [\n{{"n": "{LONG}"}}], "{name}": []}}', "x.json")
    assert f"beside its list of records it has {short}, which is no plain value" in beside.message


def test_one_column_may_have_no_name_as_the_index_of_pandas(tmp_path: Path) -> None:
    content = b",instruction,output\n0,Name a tree.,An oak.\n"
    assert found(tmp_path, content, "x.csv") == [{"": "0", "instruction": "Name a tree.", "output": "An oak."}]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("a,b,a", "'a' comes twice"),
        ("a,,b,", "several columns, or the only one, have no name"),
        (",", "several columns, or the only one, have no name"),
        ("", "several columns, or the only one, have no name"),
        ('a,"b', "never closed"),
        ('"a"b', "goes on after its closing quote"),
        ("a\rb\r1", "lone CR"),
        (b"a,\xff", "not UTF-8"),
    ],
)
def test_a_header_that_does_not_fit_refuses_the_file(tmp_path: Path, header: str | bytes, words: str) -> None:
    content = header if isinstance(header, bytes) else header.encode()
    error = refusal(scan_bytes, tmp_path, content + b"\n1,2\n", "x.csv")
    assert isinstance(error, InputError)
    assert (error.code, words in error.message) == ("bad-table", True), error


def test_a_table_without_rows_has_no_chunks(tmp_path: Path) -> None:
    for content in ("", "a,b", "a,b\n", "\ufeffa,b\r\n"):
        scanned = scan_bytes(tmp_path, content, "x.csv")
        assert (scanned.container, scanned.unit, scanned.chunks) == ("csv", "index", ())


@pytest.mark.parametrize(
    ("content", "what"),
    [("a,b\n1,2\n".encode("utf-16"), "UTF-16"), (b"PK\x03\x04", "zip"), (b"<!doctype html>", "HTML")],
)
def test_a_table_is_no_other_kind_of_file(tmp_path: Path, content: bytes, what: str) -> None:
    error = refusal(scan_bytes, tmp_path, content, "x.csv")
    assert (error.code, what in error.message) == ("input-not-json", True)


def test_a_parquet_file_is_one_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    pq.write_table(pa.table({"q": ["hi", "ho"], "n": [1, None]}), path)
    assert [brief(item) for item in read_all(scan_path(path))] == [{"q": "hi", "n": 1}, {"q": "ho", "n": None}]


# ------------------------------------------------------------------------------------------------ Parquet and Arrow


@pytest.mark.parametrize("compress", [None, gzip.compress, lzma.compress])
def test_rows_of_tables_have_an_index_and_no_offset(tmp_path: Path, compress: Callable[[bytes], bytes] | None) -> None:
    table = pa.table({"id": list(range(300)), "text": ["x" * 50] * 300})
    path = tmp_path / "x.parquet"
    pq.write_table(table, path)
    stored = compress(path.read_bytes()) if compress else path.read_bytes()
    path.write_bytes(stored)
    spool = tmp_path / "spool"
    spool.mkdir()
    scanned = scan(expand([str(path)])[0], 4096, spool)
    assert (scanned.container, scanned.unit, scanned.bytes) == ("table", "index", len(stored))
    assert len(scanned.chunks) > 2
    assert scanned.text_bytes >= 300 * 50
    assert [file.name for file in spool.iterdir()] == ["0.arrow"]
    items = read_all(scanned)
    assert [brief(item) for item in items] == [{"id": number, "text": "x" * 50} for number in range(300)]
    assert [item.location.index for item in items if isinstance(item, Record)] == list(range(300))
    assert {item.byte_offset for item in items if isinstance(item, Record)} == {None}


def test_a_damaged_table_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"id": list(range(300))}), path)
    spool = tmp_path / "spool"
    spool.mkdir()
    for content in (path.read_bytes()[:-20], gzip.compress(path.read_bytes()[:-20])):
        path.write_bytes(content)
        assert refusal(scan, expand([str(path)])[0], 4096, spool).code == "input-truncated"
        assert list(spool.iterdir()) == []


# ------------------------------------------------------------------------------------------------------- whole files


@pytest.mark.parametrize(
    ("name", "content", "whole"),
    [
        ("x.jsonl", b'{"a": 1}\n' * 9 + b'{"tree": 1}\n', True),
        ("x.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 9 + b'{"tree": 1}\n', mtime=0), True),
        ("x.json", b'[{"a": 1}, {"tree": 1}, {"a": 1}, {"a": 1}]', True),
        ("x.json", b'{"a": {"tree": 1}, "b": {}, "c": {}}', True),
        ("x.csv", b"a,tree\n" + b"1,2\n" * 9, True),
        ("x.csv", b"a,b\n" + b'1,"""tree"""\n' * 9, False),
        ("x.jsonl", b'{"a": "a tree", "trees": 1}\n' * 9, False),
    ],
)
def test_a_file_with_the_key_is_one_chunk(tmp_path: Path, name: str, content: bytes, whole: bool) -> None:
    path = write(tmp_path, name, content)
    cut, kept = scan_path(path, 10), scan_path(path, 10, "tree")
    assert (len(kept.chunks) == 1, len(cut.chunks) > 1) == (whole, True)
    assert {chunk.whole for chunk in kept.chunks} == {whole}
    assert full(kept) == full(cut)


def test_the_key_is_found_across_blocks(tmp_path: Path) -> None:
    for before in range((1 << 20) - 12, (1 << 20) + 1):
        content = b" " * before + b'{"tree": 1}\n{"a": 1}\n'
        assert len(scan_path(write(tmp_path, "x.jsonl", content), 1 << 20, "tree").chunks) == 1
        assert len(scan_path(write(tmp_path, "x.jsonl", content), 1 << 20, "trees").chunks) == 2


def test_a_table_with_the_column_is_one_chunk(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"tree": ["x" * 50] * 300}), path)
    for key, whole in (("tree", True), ("x", False)):
        chunks: tuple[Chunk, ...] = scan_path(path, 4096, key).chunks
        assert ({chunk.whole for chunk in chunks}, len(chunks) == 1) == ({whole}, whole)
        assert sum(1 for chunk in chunks for _ in read(chunk)) == 300


# ------------------------------------------------------------------------------------------------------- compression


def input_file(path: Path) -> InputFile:
    return expand([str(path)])[0]


def test_a_decompression_bomb_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    bomb = write(tmp_path, "x.xz", lzma.compress(b" " * 40_000_000))
    with pytest.raises(InputError, match="decompression bomb") as caught:
        decompress(input_file(bomb), "xz", tmp_path / "text", bomb_bytes=10_000_000)
    assert caught.value.code == "input-unreadable"
    decompress(input_file(bomb), "xz", tmp_path / "more", bomb_bytes=40_000_000)
    assert (tmp_path / "more").stat().st_size == 40_000_000


def test_xz_data_that_takes_too_much_memory_is_named(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 20}]
    stored = bytearray(lzma.compress(b'{"a": 1}\n', filters=filters))
    assert stored[16] == 16  # the dictionary's size, 1 MB
    stored[16] = 38  # 2 GB
    stored[20:24] = zlib.crc32(bytes(stored[12:20])).to_bytes(4, "little")
    error = refusal(scan_bytes, tmp_path, bytes(stored), "x.xz")
    assert (error.code, "512 MB of memory" in error.message) == ("input-unreadable", True)


def test_a_full_disk_is_told_apart_from_a_damaged_input(tmp_path: Path) -> None:
    path = write(tmp_path, "x.gz", gzip.compress(b'{"a": 1}\n'))
    error = refusal(decompress, input_file(path), "gzip", Path("/dev/full"))
    assert isinstance(error, OutputError)
    assert (error.code, "TMPDIR" in (error.hint or "")) == ("os-error", True)


# ------------------------------------------------------------------------------------------------------- the short way


def test_the_shortcut_sees_every_record_that_is_json_text(tmp_path: Path) -> None:
    seen: list[bytes] = []
    plain = PlainConversation(("user",), ["Hi"], "messages")

    def shortcut(texts: object) -> list[PlainConversation | None]:
        seen.extend(texts)  # type: ignore[arg-type]
        return [plain if b"1" in text else None for text in seen[-len(texts) :]]  # type: ignore[arg-type]

    for name, content in (
        ("a.json", '[{"n": 1}, {"n": 2}]'),
        ("b.json", '{"x": {"n": 1}, "x": {"n": 1}, "y": {"n": 2}}'),
        ("c.jsonl", '{"n": 1}\n\n{"n": 2}'),
        ("d.csv", "n\n1\n"),
    ):
        chunk = scan_bytes(tmp_path, content, name).chunks[0]
        read_by = [item.conversation if isinstance(item, Record) else item and item.code for item in read(chunk, shortcut=shortcut)]  # fmt: skip
        assert (
            read_by
            == {
                "a.json": [plain, None],
                "b.json": [plain, "duplicate-key", None],
                "c.jsonl": [plain, None, None],
                "d.csv": [None],
            }[name]
        )
    assert seen == [b'{"n": 1}', b'{"n": 2}', b'{"n": 1}', b"", b'{"n": 2}', b'{"n": 1}\n', b"\n", b'{"n": 2}']


# ------------------------------------------------------------------------------------------------- folders and streams


def test_a_dataset_of_packed_rows_is_refused_as_input(tmp_path: Path) -> None:
    write(tmp_path, "out/manifest.json", "{}")
    write(tmp_path, "out/shard-00000.arrow", "")
    for typed in (tmp_path / "out", tmp_path):
        error = refusal(expand, [str(typed)])
        assert (error.code, "packed rows" in error.message) == ("input-unreadable", True)


def test_a_saved_dataset_below_a_folder_gives_its_own_files_in_its_place(tmp_path: Path) -> None:
    names = ["data-00001-of-00002.arrow", "data-00000-of-00002.arrow"]
    for name in ("a.jsonl", "c.csv", "b/deeper/x.jsonl", "b/cache-1.arrow", "b/dataset_info.json", *(f"b/{name}" for name in names)):  # fmt: skip
        write(tmp_path, name, "{}")
    write(tmp_path, "b/state.json", json.dumps({"_data_files": [{"filename": name} for name in names]}))
    assert [file.name for file in expand([str(tmp_path)])] == ["a.jsonl", f"b/{names[0]}", f"b/{names[1]}", "c.csv"]
    assert [file.name for file in expand([str(tmp_path / "b")])] == names


def test_rows_of_a_hub_dataset_are_told_by_index_and_are_lines_whatever_they_hold(tmp_path: Path) -> None:
    spooled = write(tmp_path, "rows", '{"a": {"n": 1}}\n')
    other = write(tmp_path, "data/x.csv", "a\n1\n")
    hub, file = expand(["hf:ours/chats:train", str(other)], {"hf:ours/chats:train": str(spooled)})
    assert (hub.path, hub.name, file.name) == ("hf:ours/chats:train", "hf:ours/chats:train", "x.csv")
    scanned = scan(hub, 100, tmp_path)
    assert (scanned.container, scanned.unit) == ("lines", "index")
    items = read_all(scanned)
    assert [brief(item) for item in items] == [{"a": {"n": 1}}]
    assert str(items[0].location) == "hf:ours/chats:train#0"  # type: ignore[union-attr]
