"""Sources: which files, which bytes, and one strict JSON object per record."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ismpack.data import Json, Record
from ismpack.errors import InputError, IsmpackError, RecordError, UsageError
from ismpack.sources import MAX_DEPTH, InputFile, Scan, expand, read, scan, spool_streams
from ismpack.sources.lines import read_lines
from ismpack.sources.strict import decode
from ismpack.sources.structure import split

# ---------------------------------------------------------------------------------------------------------- fixtures


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def zstd(content: bytes) -> bytes:
    return pa.compress(content, "zstd", asbytes=True)


def scan_bytes(folder: Path, content: bytes, name: str = "chat.jsonl", chunk_bytes: int = 1 << 20) -> Scan:
    return scan(expand([str(write(folder, name, content))])[0], chunk_bytes, Path(tempfile.mkdtemp(dir=folder)))


def read_all(scanned: Scan, **limits: int) -> list[Record | RecordError | None]:
    return [item for chunk in scanned.chunks for item in read(chunk, **limits)]


def brief(item: Record | RecordError | None) -> object:
    """A record's value, an error's code, or None."""
    return item.code if isinstance(item, RecordError) else None if item is None else item.value


def read_bytes(folder: Path, content: bytes, name: str = "chat.jsonl") -> list[object]:
    return [brief(item) for item in read_all(scan_bytes(folder, content, name))]


def refusal(call: object, *arguments: object) -> IsmpackError:
    with pytest.raises(IsmpackError) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value


# ------------------------------------------------------------------------------------------------------------ inputs


def test_files_keep_the_order_in_which_they_are_typed(tmp_path: Path) -> None:
    second = write(tmp_path, "b/two.jsonl", "{}")
    first = write(tmp_path, "a/one.txt", "{}")
    files = expand([str(second), str(first)])
    assert [(file.index, file.path, file.name) for file in files] == [
        (0, str(second), "b/two.jsonl"),
        (1, str(first), "a/one.txt"),
    ]


def test_one_file_is_named_without_its_folder(tmp_path: Path) -> None:
    assert expand([str(write(tmp_path, "deep/chat.jsonl", "{}"))])[0].name == "chat.jsonl"


def test_a_directory_gives_known_endings_in_byte_order(tmp_path: Path) -> None:
    for name in (
        "b.jsonl",
        "a/z.json.gz",
        "a-b.ndjson",
        "B.jsonl.zst",
        "UP.JSONL.GZ",
        "é.json",
        "c.csv.xz",
        "d.tsv.bz2",
    ):
        write(tmp_path, name, "{}")
    for name in ("x.parquet", "y.arrow", "notes.txt", ".hidden.jsonl", "x.parquet.gz", "x.jsonl.txt"):
        write(tmp_path, name, "{}")
    write(tmp_path, ".git/x.jsonl", "{}")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "b.jsonl")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert [file.name for file in expand([str(tmp_path)])] == [
        "B.jsonl.zst",
        "UP.JSONL.GZ",
        "a-b.ndjson",
        "a/z.json.gz",
        "b.jsonl",
        "c.csv.xz",
        "d.tsv.bz2",
        "x.parquet",
        "y.arrow",
        "é.json",
    ]


def test_a_glob_gives_files_in_byte_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "sub.txt/inner.jsonl"):
        write(tmp_path, name, "{}")
    assert [file.name for file in expand([str(tmp_path / "*.txt")])] == ["a.txt", "b.txt"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    typed = write(tmp_path, "a[1].jsonl", "{}")
    write(tmp_path, "a1.jsonl", "{}")
    assert [file.name for file in expand([str(typed)])] == ["a[1].jsonl"]


def test_paths_stay_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "data/x.jsonl", "{}")
    assert [file.path for file in expand(["./data"])] == ["./data/x.jsonl"]


def test_a_name_that_is_not_utf8_is_escaped(tmp_path: Path) -> None:
    file = expand([str(write(tmp_path, os.fsdecode(b"caf\xe9\n.jsonl"), "{}"))])[0]
    assert file.name == "caf\\xe9\n.jsonl"
    assert scan(file, 100, tmp_path).bytes == 2


def test_a_typed_symbolic_link_is_followed(tmp_path: Path) -> None:
    write(tmp_path, "real.jsonl", "{}")
    (tmp_path / "link").symlink_to("real.jsonl")
    assert [file.name for file in expand([str(tmp_path / "link")])] == ["link"]


@pytest.mark.parametrize("name", ["nothing.jsonl", "no*.jsonl", "file.jsonl/below"])
def test_an_input_that_matches_nothing_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path, "file.jsonl", "{}")
    error = refusal(expand, [str(tmp_path / name)])
    assert isinstance(error, UsageError)
    assert error.code == "input-not-found"
    assert name in error.message


def test_a_directory_without_inputs_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "notes.txt", "{}")
    assert refusal(expand, [str(tmp_path)]).code == "input-not-found"


def test_a_dangling_link_is_not_found_and_a_loop_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "loop").symlink_to("loop")
    assert refusal(expand, [str(tmp_path / "dangling")]).code == "input-not-found"
    assert refusal(expand, [str(tmp_path / "loop")]).code == "input-unreadable"


def test_the_same_file_twice_is_refused_by_any_name(tmp_path: Path) -> None:
    one = write(tmp_path, "one.jsonl", "{}")
    (tmp_path / "hard.jsonl").hardlink_to(one)
    (tmp_path / "soft.jsonl").symlink_to(one)
    for again in ("one.jsonl", "hard.jsonl", "soft.jsonl", "./one.jsonl"):
        assert refusal(expand, [str(one), f"{tmp_path}/{again}"]).code == "duplicate-input"


def test_standard_input_twice_is_refused(tmp_path: Path) -> None:
    spooled = spool_streams(["-", "-"], io.BytesIO(b"{}"), tmp_path)
    with pytest.raises(UsageError, match="given twice"):
        expand(["-", "-"], spooled)


def test_standard_input_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refusal(spool_streams, ["-"], None, tmp_path).code == "bad-option"
    assert spool_streams(["chat.jsonl"], None, tmp_path) == {}


def test_no_input_is_refused() -> None:
    assert refusal(expand, []).code == "bad-option"


def test_a_pipe_is_not_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refusal(expand, [str(tmp_path / "pipe")]).code == "input-unreadable"


def test_standard_input_is_spooled_and_named_by_a_dash(tmp_path: Path) -> None:
    spooled = spool_streams(["-"], io.BytesIO(b'{"a": 1}\n'), tmp_path)
    other = write(tmp_path, "data/x.jsonl", "{}")
    stdin, file = expand(["-", str(other)], spooled)
    assert (stdin.path, stdin.name, file.name) == ("-", "-", "x.jsonl")
    items = read_all(scan(stdin, 100, tmp_path))
    assert [brief(item) for item in items] == [{"a": 1}]
    assert str(items[0].location) == "-:1"  # type: ignore[union-attr]


# -------------------------------------------------------------------------------------------------------------- scan


def test_scan_gives_size_digest_and_chunks(tmp_path: Path) -> None:
    content = b'{"a": 1}\n{"a": 22}\n\n{"a": 3}'
    #           0         9          19 20      28
    scanned = scan_bytes(tmp_path, content, chunk_bytes=10)
    assert (scanned.bytes, scanned.compression, scanned.container, scanned.unit) == (28, None, "lines", "line")
    assert scanned.sha256 == hashlib.sha256(content).hexdigest()
    # [0, 10) owns lines 0 and 1; [10, 20) owns line 2 (blank, at 19); [20, 28) owns line 3, which starts at 20.
    assert [(chunk.start, chunk.end, chunk.first) for chunk in scanned.chunks] == [
        (0, 10, 0),
        (10, 20, 2),
        (20, 28, 3),
    ]


def test_a_chunk_in_which_no_line_starts_is_left_out(tmp_path: Path) -> None:
    scanned = scan_bytes(tmp_path, b'{"a": "xxxxxxxxxxxxxxxxxxxx"}\n{}\n', chunk_bytes=10)
    assert [(chunk.start, chunk.end, chunk.first) for chunk in scanned.chunks] == [(0, 10, 0), (30, 33, 1)]


def test_other_files_are_cut_too(tmp_path: Path) -> None:
    lines = b'{"a": 1}\n' * 4
    for name, content, compression, container, spans in (
        ("a.jsonl.gz", gzip.compress(lines, mtime=0), "gzip", "lines", [(0, 20, 0), (20, 36, 3)]),
        ("a.jsonl.zst", zstd(lines), "zstd", "lines", [(0, 20, 0), (20, 36, 3)]),
        ("a.json", b"[" + b'{"a": 1},' * 3 + b'{"a": 1}]', None, "array", [(1, 27, 0), (28, 36, 3)]),
    ):
        scanned = scan_bytes(tmp_path, content, name, chunk_bytes=20)
        assert [(chunk.start, chunk.end, chunk.first) for chunk in scanned.chunks] == spans
        assert (scanned.compression, scanned.container) == (compression, container)
        assert (scanned.bytes, scanned.text_bytes) == (len(content), 36 if compression else 37)
        assert scanned.sha256 == hashlib.sha256(content).hexdigest()
        assert [brief(item) for item in read_all(scanned)] == [{"a": 1}] * 4


def test_an_empty_file_has_no_chunks(tmp_path: Path) -> None:
    scanned = scan_bytes(tmp_path, b"")
    assert (scanned.bytes, scanned.chunks) == (0, ())


def test_magic_bytes_win_over_the_ending(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, gzip.compress(b'{"a": 1}'), "x.jsonl") == [{"a": 1}]
    assert read_bytes(tmp_path, zstd(b'{"a": 1}'), "x.json.gz") == [{"a": 1}]
    assert read_bytes(tmp_path, b'{"a": 1}', "x.jsonl.gz") == [{"a": 1}]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.json", b'[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),
        ("x.jsonl", b'[{"a": 1}, {"a": 2}]\n', [{"a": 1}, {"a": 2}]),
        ("x.jsonl", b'[\n {"a": 1},\n {"a": 2}\n]\n', [{"a": 1}, {"a": 2}]),
        ("x.jsonl", b'[{"a": 1},\n{"a": 2}]', [{"a": 1}, {"a": 2}]),
        ("x.json", b"\xef\xbb\xbf \n [ ] \n", []),
        ("x.json", b'[[],\n{"a": 1}]', ["not-an-object", {"a": 1}]),
        ("x.jsonl", b"[]\n", ["not-an-object"]),
        ("x.jsonl", b'[]\n{"a": 1}\n', ["not-an-object", {"a": 1}]),
        ("x.json", b'[{"a": 1}]\n{"a": 1}\n', ["not-an-object", {"a": 1}]),
        ("x.json", b'{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
        ("-", b'[\r\n{"a": 1}]', [{"a": 1}]),
    ],
)
def test_an_array_is_told_from_lines_by_its_first_line(
    tmp_path: Path, name: str, content: bytes, expected: list[object]
) -> None:
    assert read_bytes(tmp_path, content, name) == expected


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
        ('{"a": 1}'.encode("utf-16-be"), "UTF-16"),
        ('{"a": 1}'.encode("utf-32"), "UTF-32"),
        ('{"a": 1}'.encode("utf-32-le"), "UTF-32"),
        (b"PK\x03\x04rest of a zip", "zip archive"),
        (b"x" * 257 + b"ustar\x0000", "tar archive"),
        (gzip.compress(b"x" * 257 + b"ustar\x0000", mtime=0), "tar archive"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\n<!DOCTYPE html>\n<html>", "HTML page"),
        (b"<!-- 404 -->\n<HTML>", "HTML page"),
        (b'<?xml version="1.0"?>', "XML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
        (b"SQLite format 3\0", "SQLite"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), "inside compressed data"),
        (gzip.compress(bz2.compress(b"{}"), mtime=0), "inside compressed data"),
        (lzma.compress(lzma.compress(b"{}")), "inside compressed data"),
        (b"\x7fELF\x02\x01\0\0", "binary data"),
        (b'{\n  "messages": []\n}\n', "one JSON object over several lines"),
    ],
)
def test_a_file_that_is_not_json_is_refused_by_name(tmp_path: Path, content: bytes, what: str) -> None:
    error = refusal(scan_bytes, tmp_path, content)
    assert isinstance(error, InputError)
    assert error.code == "input-not-json"
    assert what in error.message
    assert error.hint


def test_a_nul_in_json_lines_spoils_one_line_only(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, b'{"a": "\0"}\n{"a": 1}\n') == ["invalid-json", {"a": 1}]


def test_a_file_that_cannot_be_opened_is_unreadable(tmp_path: Path) -> None:
    gone = InputFile(index=0, path="gone.jsonl", name="gone.jsonl", open_path=str(tmp_path / "gone.jsonl"))
    assert refusal(scan, gone, 10, tmp_path).code == "input-unreadable"


def test_a_file_of_another_size_than_scanned_is_refused(tmp_path: Path) -> None:
    scanned = scan_bytes(tmp_path, b'{"a": 1}\n')
    write(tmp_path, "chat.jsonl", b'{"a": 1}\n{"a": 2}\n')
    assert refusal(read_all, scanned).code == "input-changed"


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path) -> None:
    scanned = scan_bytes(tmp_path, b'{"a": 1}\n{"a": 2}\n')
    records = read(scanned.chunks[0])
    assert brief(next(records)) == {"a": 1}
    with (tmp_path / "chat.jsonl").open("ab") as file:
        file.write(b'{"a": 3}\n')
    with pytest.raises(InputError, match="changed") as caught:
        list(records)
    assert caught.value.code == "input-changed"


# ------------------------------------------------------------------------------------------------------- compression


def test_all_members_frames_and_streams_are_read(tmp_path: Path) -> None:
    parts = [b'{"a": 1}\n{"a"', b': 2}\n{"a": 3}\n']
    expected = [{"a": 1}, {"a": 2}, {"a": 3}]
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0skip"
    assert read_bytes(tmp_path, b"".join(map(gzip.compress, parts)), "x.gz") == expected
    assert read_bytes(tmp_path, b"".join(map(gzip.compress, parts)) + b"\0" * 700, "padded.gz") == expected
    assert read_bytes(tmp_path, b"".join(map(zstd, parts)), "x.zst") == expected
    assert read_bytes(tmp_path, skippable + b"".join(map(zstd, parts)), "skip.zst") == expected
    assert read_bytes(tmp_path, b"".join(map(bz2.compress, parts)), "x.bz2") == expected
    assert read_bytes(tmp_path, bz2.compress(b"") + bz2.compress(b"".join(parts)), "empty.bz2") == expected
    assert read_bytes(tmp_path, b"".join(map(lzma.compress, parts)), "x.xz") == expected
    assert read_bytes(tmp_path, (b"\0" * 8).join(map(lzma.compress, parts)) + b"\0" * 4, "padded.xz") == expected


@pytest.mark.parametrize(
    ("compress", "magic_bytes"), [(gzip.compress, 2), (zstd, 4), (bz2.compress, 10), (lzma.compress, 6)]
)
def test_a_cut_compressed_file_is_refused_wherever_it_is_cut(
    tmp_path: Path, compress: object, magic_bytes: int
) -> None:
    lines = b"".join(b'{"a": %d}\n' % number for number in range(40))
    stored: bytes = compress(lines)  # type: ignore[operator]
    for cut in range(magic_bytes, len(stored)):
        error = refusal(scan_bytes, tmp_path, stored[:cut], "x")
        assert (cut, error.code) == (cut, "input-truncated")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_corrupt_data_and_garbage_after_it_are_refused(tmp_path: Path, compress: object) -> None:
    stored: bytes = compress(b'{"a": 1}\n')  # type: ignore[operator]
    middle = len(stored) // 2
    for damaged in (
        stored[:-6] + b"\xff" + stored[-5:],
        stored + b"garbage",
        stored + stored[:5],
        stored[:middle] + b"\xff\xff" + stored[middle + 2 :],
    ):
        assert refusal(scan_bytes, tmp_path, damaged, "x").code == "input-truncated"


def test_damage_is_noticed_before_any_record_is_read_and_leaves_nothing(tmp_path: Path) -> None:
    lines = b'{"a": "' + b"x" * 1_000_000 + b'"}\n'
    damaged = write(tmp_path, "x.gz", gzip.compress(lines * 4)[:-4])
    spool = tmp_path / "spool"
    spool.mkdir()
    with pytest.raises(InputError, match=r"ends early or is corrupt"):
        scan(expand([str(damaged)])[0], 1 << 20, spool)
    assert list(spool.iterdir()) == []


def test_a_zstd_window_beyond_the_cap_is_named(tmp_path: Path) -> None:
    frame = bytes.fromhex("28b52ffd04a8610000") + b"hello world\n" + bytes.fromhex("0a8c6d7d")
    error = refusal(scan_bytes, tmp_path, frame, "x.zst")
    assert error.code == "input-unreadable"
    assert "128 MB" in error.message


# ------------------------------------------------------------------------------------------------------------- lines


def test_positions_are_physical_lines_and_bytes(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"a": 1}\r\n\n  \t\r\n{"a": "\xe2\x80\xa8\xc2\x85"}\nnot json\n{"a": 2}'
    #          3                      13  14       19                              36        45
    write(tmp_path, "first.jsonl", "{}")
    second = write(tmp_path, "second.jsonl", content)
    items = read_all(scan(expand([str(tmp_path / "first.jsonl"), str(second)])[1], 1000, tmp_path))
    assert [brief(item) for item in items] == [{"a": 1}, None, None, {"a": "\u2028\x85"}, "invalid-json", {"a": 2}]
    located = [item for item in items if item is not None]
    assert [(item.location.line, item.location.byte_offset) for item in located if item.location] == [
        (1, 3),
        (4, 19),
        (5, 34),
        (6, 43),
    ]
    assert {item.location.path for item in located if item.location} == {str(second)}
    assert [item.source_id for item in located if isinstance(item, Record)] == [
        (1 << 40) + 0,
        (1 << 40) + 3,
        (1 << 40) + 5,
    ]


def test_offsets_count_decompressed_bytes(tmp_path: Path) -> None:
    items = read_all(scan_bytes(tmp_path, gzip.compress(b'{"a": 1}\n{"a": 2}\n'), "x.gz"))
    assert [item.location.byte_offset for item in items if isinstance(item, Record)] == [0, 9]


def test_only_the_start_of_a_file_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    items = read_all(scan_bytes(tmp_path, b'\xef\xbb\xbf{"a": 1}\n\xef\xbb\xbf{"a": 2}\n'))
    assert [brief(item) for item in items] == [{"a": 1}, "invalid-json"]
    assert "byte order mark" in str(items[1])


def test_a_line_beyond_the_limit_spoils_itself_only(tmp_path: Path) -> None:
    exact, long = b'{"a": "xx"}', b'{"a": "xxx"}'
    content = exact + b"\n" + long + b"\n" + long * 300_000 + b"\n" + exact + b"\n" + long
    items = read_all(scan_bytes(tmp_path, content), max_record_bytes=11)
    assert [brief(item) for item in items] == [
        {"a": "xx"},
        "line-too-long",
        "line-too-long",
        {"a": "xx"},
        "line-too-long",
    ]
    assert [item.location.line for item in items if item and item.location] == [1, 2, 3, 4, 5]
    assert "11 bytes" in str(items[1])


def test_a_long_line_after_a_byte_order_mark_is_one_line(tmp_path: Path) -> None:
    items = read_all(scan_bytes(tmp_path, b'\xef\xbb\xbf{"a": "xxxxx"}\n{}'), max_record_bytes=11)
    assert [brief(item) for item in items] == ["line-too-long", {}]


@given(
    st.lists(st.binary(max_size=6).map(lambda text: text.replace(b"\n", b"")), max_size=12),
    st.booleans(),
    st.integers(1, 30),
)
def test_chunks_together_own_every_line_once(lines: list[bytes], closed: bool, chunk_bytes: int) -> None:
    text = b"\n".join(lines) + (b"\n" if closed else b"")
    expected = text.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    found: list[bytes] = []
    for start in range(0, len(text), chunk_bytes):
        stream = io.BytesIO(text)
        stream.seek(max(start - 1, 0))
        for offset, line in read_lines(stream, start, min(start + chunk_bytes, len(text)), limit=100):
            assert line is not None
            assert text[offset:].startswith(line)
            found.append(line.removesuffix(b"\n"))
    assert found == [line.removeprefix(b"\xef\xbb\xbf") if i == 0 else line for i, line in enumerate(expected)]


def test_any_chunk_size_gives_the_same_records(tmp_path: Path) -> None:
    content = b'{"a": 1}\n\n\n{"a": "' + b"x" * 40 + b'"}\r\nbad\n{"a": 2}\n  \n{"a": 3}'
    whole = read_all(scan_bytes(tmp_path, content))
    assert [brief(item) for item in whole] == [
        {"a": 1},
        None,
        None,
        {"a": "x" * 40},
        "invalid-json",
        {"a": 2},
        None,
        {"a": 3},
    ]
    for chunk_bytes in range(1, len(content) + 1):
        items = read_all(scan_bytes(tmp_path, content, chunk_bytes=chunk_bytes))
        assert [(brief(item), item and item.location) for item in items] == [
            (brief(item), item and item.location) for item in whole
        ]


# ------------------------------------------------------------------------------------------------------------ arrays


def test_array_elements_have_an_index_and_an_offset(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf [ {"a": "],[\\"{"} ,\n {"a": [{}, [1]]}, oops, {"a": 1} ]\n'
    #          3  4 6                            26                 44
    items = read_all(scan_bytes(tmp_path, content, "x.json"))
    assert [brief(item) for item in items] == [{"a": '],["{'}, {"a": [{}, [1]]}, "invalid-json", {"a": 1}]
    assert [item.location.index for item in items if item and item.location] == [0, 1, 2, 3]
    offsets = [item.location.byte_offset for item in items if item and item.location]
    assert offsets == [content.index(start) for start in (b'{"a": "]', b'{"a": [', b"oops", b'{"a": 1}')]
    assert [item.source_id for item in items if isinstance(item, Record)] == [0, 1, 3]
    assert str(items[2].location).endswith("x.json#2")  # type: ignore[union-attr]


@pytest.mark.parametrize("content", [b'[{"a": 1},]', b'[{"a": 1},,{"a": 1}]', b'[{"a": 1} {"a": 2}]'])
def test_a_misplaced_comma_in_an_array_is_a_bad_record(tmp_path: Path, content: bytes) -> None:
    assert "invalid-json" in read_bytes(tmp_path, content, "x.json")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b'[{"a": 1},\n{"a": 2}', "input-truncated"),
        (b'[{"a": 1},\n{"a": "x', "input-truncated"),
        (b'[{"a": 1},\n', "input-truncated"),
        (b"[", "input-truncated"),
        (b'[{"a": 1}\n] x', "input-not-json"),
        (b'[{"a": 1}\n' + b" " * (1 << 20) + b"]\n" + b" " * (1 << 20) + b"[]", "input-not-json"),
        (b'[{"a": 1}}\n]', "input-not-json"),
    ],
)
def test_an_array_that_does_not_close_where_the_file_ends_is_refused(tmp_path: Path, content: bytes, code: str) -> None:
    assert refusal(read_bytes, tmp_path, content, "x.json").code == code


def test_a_damaged_end_of_a_compressed_array_is_noticed(tmp_path: Path) -> None:
    stored = gzip.compress(b'[{"a": "' + b"x" * 2_000_000 + b'"}]')
    assert refusal(read_bytes, tmp_path, stored[:-1], "x.json.gz").code == "input-truncated"


def test_an_element_beyond_the_limit_spoils_itself_only(tmp_path: Path) -> None:
    content = b'[ {"a": "xx"} , {"a": "xxx"}, {"a": "' + b"\\\\" * 200_000 + b'"}, {"a": "xx"}]'
    items = read_all(scan_bytes(tmp_path, content, "x.json"), max_record_bytes=12)
    assert [brief(item) for item in items] == [{"a": "xx"}, {"a": "xxx"}, "line-too-long", {"a": "xx"}]


JSON_VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a"\\[]{},:\u00e9 ', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='ab"\\:', max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(JSON_VALUES, max_size=5), st.sampled_from([None, 1]), st.integers(1, 40))
def test_elements_are_found_whatever_the_block_size(values: list[Json], indent: int | None, block_bytes: int) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=False).encode()
    elements = list(split(io.BytesIO(text[1:]).read, 1, limit=10_000, block_bytes=block_bytes))
    assert [json.loads(element or b"") for _, element, _, _ in elements if values] == values
    assert all(text[offset:].startswith(element or b"-") for offset, element, _, _ in elements if values)
    assert [text[end : end + 1] for _, _, end, _ in elements] == [mark for *_, mark in elements]
    assert [mark for *_, mark in elements] == [b","] * (len(elements) - 1) + [b"]"]


# ------------------------------------------------------------------------------------------------------- strict JSON


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": "\\u0000\\ud83d\\ude00/\\/"}', {"a": "\0\U0001f600//"}),
        ('{"a": "e\u0301 \u202e \ue000 \uffff"}', {"a": "e\u0301 \u202e \ue000 \uffff"}),
        ('{"a": 9223372036854775808}', {"a": 2**63}),
        ('{"a": -1180591620717411303424}', {"a": -(2**70)}),
        ('{"a": ' + "9" * 4300 + "}", {"a": 10**4300 - 1}),
        ('{"a": 1e308, "b": -0.0, "c": 1e-400}', {"a": 1e308, "b": -0.0, "c": 0.0}),
        ('{"a" : {"a"\t: "\\":", "b:": "\\\\"}}', {"a": {"a": '":', "b:": "\\"}}),
        ('{"": [{"a": 1}, {"a": 2}]}', {"": [{"a": 1}, {"a": 2}]}),
        ('{"a": ' + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1) + "}", None),
        ('{"a": "' + "[{" * 1000 + '"}', {"a": "[{" * 1000}),
    ],
)
def test_strict_json_is_accepted_as_it_is(text: str, expected: dict[str, Json] | None) -> None:
    assert decode(text.encode()) == (expected if expected is not None else json.loads(text))


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (b'{"a": "\xff"}', "invalid-utf8", "byte 8 "),
        (b'{"a": "\xc0\xaf"}', "invalid-utf8", ""),
        (b'{"a": "\xed\xa0\x80"}', "invalid-utf8", ""),
        (b'{"a": 1}\xff', "invalid-utf8", "byte 9 "),
        (b'{"a": "\\ud800"}', "lone-surrogate", ""),
        (b'{"\\udc00\\ud800": 1}', "lone-surrogate", ""),
        (b'{"a": NaN}', "bad-number", "NaN"),
        (b'{"a": -Infinity}', "bad-number", "-Infinity"),
        (b'{"a": 1e999}', "bad-number", "1e999"),
        (b'{"a": ' + b"9" * 4301 + b"}", "bad-number", "4,301 digits"),
        (b'{"a": 1, "a": 1}', "duplicate-key", "'a'"),
        (b'{"x": [{"role": "user", "\\u0072ole": "user"}], "y": "a:b"}', "duplicate-key", "'role'"),
        (b'{"a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "too-deep", "256"),
        (b"[" * 100_000, "too-deep", ""),
        (b'{"a":' * 100_000, "too-deep", ""),
        (b'{"a": "\\x41"}', "invalid-json", "column 8"),
        (b'{"a": "say "hi""}', "invalid-json", "column 13"),
        (b'{"a": "\t"}', "invalid-json", "column 8"),
        (b'{"a": "\x00"}', "invalid-json", "column 8"),
        (b'{"a": 1,}', "invalid-json", "column 9"),
        (b"{'a': 1}", "invalid-json", "column 2"),
        (b'{"a": True}', "invalid-json", "column 7"),
        (b'{"a": 1} // note', "invalid-json", "column 10: more text"),
        (b'{"a": 1}{"a": 2}', "invalid-json", "column 9: more text"),
        (b"messages", "invalid-json", "column 1"),
        (b"null", "not-an-object", "null"),
        (b"42", "not-an-object", "a number"),
        (b'"x"', "not-an-object", "a string"),
        (b"true", "not-an-object", "a boolean"),
        (b"[]", "not-an-object", "a list"),
    ],
)
def test_json_that_parsers_read_differently_is_refused(text: bytes, code: str, words: str) -> None:
    with pytest.raises(RecordError) as caught:
        decode(text)
    assert caught.value.code == code
    assert words in caught.value.message


def test_carriage_returns_as_line_ends_are_recognised() -> None:
    with pytest.raises(RecordError) as caught:
        decode(b'{"a": 1}\r{"a": 2}\r')
    assert caught.value.code == "invalid-json"
    assert "lone CR" in (caught.value.hint or "")


@pytest.mark.parametrize("cut", [b'{"a": "unfinish', b'{"a": [1, 2', b'{"a": "\xc3', b'{"a": "x\\', b'{"a'])
def test_a_file_cut_inside_its_last_record_is_told_from_bad_json(tmp_path: Path, cut: bytes) -> None:
    ends, goes_on = (
        read_all(scan_bytes(tmp_path, b'{"a": 1}\n' + content))[1] for content in (cut, cut + b'\n{"a": 1}\n')
    )
    assert brief(ends) == "invalid-json"
    assert "the file ends inside this record" in str(ends)
    assert "the file ends" not in str(goes_on)


def test_a_complete_last_line_that_is_bad_is_not_called_cut() -> None:
    with pytest.raises(RecordError, match="column 9"):
        decode(b'{"a": 1,}', ends_file=True)


@st.composite
def object_texts(draw: st.DrawFn, depth: int = 3) -> str:
    """JSON text of an object with odd spacing and, at times, a key that is repeated."""
    space = st.sampled_from(["", "", " ", "\t", "  ", "\r\n"])
    leaf = st.sampled_from(["1", "-1.5e3", "null", '"a:b"', '"\\"a\\":"', '" :"', '"\\\\"', '"\u00e9"', "9" * 20])
    value = leaf if depth == 0 else leaf | object_texts(depth - 1) | object_texts(depth - 1).map("[{}]".format)
    key = st.sampled_from(['"a"', '"b"', '"\\u0061"', '"c\\\\"', '":"', '"\\""', '"d"', '"e"', '"f"'])
    pair = st.builds("{}{}{}:{}{}".format, space, key, space, space, value)
    return "{" + ",".join(draw(st.lists(pair, max_size=4))) + "}"


def decode_obviously(text: str) -> Json:
    """The standard library's value, or the code of the one thing that `object_texts` can do wrong."""
    repeated = []

    def build(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        repeated.append(len(dict(pairs)) < len(pairs))
        return dict(pairs)

    value: Json = json.loads(text, object_pairs_hook=build)
    return "duplicate-key" if any(repeated) else value


@given(object_texts())
def test_repeated_keys_are_found_exactly(text: str) -> None:
    try:
        found: Json = decode(text.encode())
    except RecordError as error:
        found = error.code
    assert found == decode_obviously(text)
