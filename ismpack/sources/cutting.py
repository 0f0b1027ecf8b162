"""Where a text can be cut: spans of whole records that can be read without what stands before them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from ismpack.errors import InputError, Location, RecordError
from ismpack.sources.csv_rows import UnclosedRowError, columns_of, dialect_of, read_rows
from ismpack.sources.inputs import InputFile
from ismpack.sources.limits import MAX_RECORD_BYTES, shown
from ismpack.sources.members import Names
from ismpack.sources.sniffing import HEAD_BYTES, Layout
from ismpack.sources.streams import BLOCK_BYTES, Pass
from ismpack.sources.strict import decode
from ismpack.sources.structure import SPACE, split


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text.

    Attributes:
        start: Offset of its first byte. A span of lines owns the lines that start in [start, end).
        end: Offset after its last byte.
        first: 0-based position of its first record.
    """

    start: int
    end: int
    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A text that was cut.

    Attributes:
        spans: In order, none without a record, or blank line, of its own.
        columns: A table's columns.
        repeated: Positions of members whose name came before, ascending.
    """

    spans: list[Span]
    columns: tuple[str, ...] = ()
    repeated: tuple[int, ...] = ()


class OneLineError(Exception):
    """What was taken for one value that holds many records is no more than the first line: each line is a record."""


def cut(file: InputFile, text: Pass, layout: Layout, span_bytes: int) -> Cut:
    """Read a text from its start to its end, and cut it into spans of about `span_bytes`.

    Raises:
        InputError: `input-truncated`: the array or object is never closed; `input-not-json`: it closes what it did not
            open, or more text follows it; `bad-table`: the header does not fit, or a quote that is never closed takes
            in more lines than its own.
        OneLineError: See there.
    """
    match layout.container:
        case "csv":
            return _cut_rows(file, text, layout, span_bytes)
        case "array" | "members":
            return _cut_value(file, text, layout, span_bytes)
        case "object":
            text.skip(layout.begin)
            while text.read(BLOCK_BYTES):
                pass
            return Cut(spans=[Span(layout.begin, text.offset, 0)])
        case _:
            return Cut(spans=list(_cut_lines(text, span_bytes)))


def _cut_lines(text: Pass, span_bytes: int) -> Iterator[Span]:
    """Cut every `span_bytes`, counting lines on the way."""
    start = lines_before = 0
    at_line_start = True
    while True:
        newlines, last = 0, b""
        while block := text.read(min(BLOCK_BYTES, start + span_bytes - text.offset)):
            newlines += block.count(b"\n")
            last = block[-1:]
        if text.offset == start:
            return
        # A newline that is the span's last byte starts a line in the next span, not in this one.
        if at_line_start or newlines - (last == b"\n") > 0:
            yield Span(start, text.offset, lines_before + (not at_line_start))
        start, lines_before, at_line_start = text.offset, lines_before + newlines, last == b"\n"


def _cut_rows(file: InputFile, text: Pass, layout: Layout, span_bytes: int) -> Cut:
    """Cut before a row; a chunk has at least one."""
    dialect = dialect_of(file)
    text.skip(layout.begin)
    rows = read_rows(text.read, layout.begin, MAX_RECORD_BYTES, dialect)
    header = next(rows, None)
    if header is None:
        return Cut(spans=[])
    columns = columns_of(file, header[1], dialect)
    starts: list[tuple[int, int]] = []
    for place, (offset, row) in enumerate(rows):
        if isinstance(row, UnclosedRowError) and row.lines > 1:
            raise _open_quote(file, place, offset, row.lines)
        if not starts or offset - starts[-1][0] >= span_bytes:
            starts.append((offset, place))
    starts.append((text.offset, 0))
    spans = [Span(start, end, first) for (start, first), (end, _) in pairwise(starts)]
    return Cut(spans=spans, columns=columns)


def _cut_value(file: InputFile, text: Pass, layout: Layout, span_bytes: int) -> Cut:
    """Cut one value; one that is none, in a line-based file, is a bad first line."""
    try:
        return _cut_elements(file, text, layout, span_bytes)
    except InputError:
        while layout.line_based and text.first_newline is None and text.read(BLOCK_BYTES):
            pass
        if layout.line_based and text.first_newline is not None:
            raise OneLineError from None
        raise


def _cut_elements(file: InputFile, text: Pass, layout: Layout, span_bytes: int) -> Cut:
    """Cut at commas between elements, or members."""
    text.skip(layout.begin)
    closing = b"}" if layout.container == "members" else b"]"
    names = Names() if layout.container == "members" else None
    spans: list[Span] = []
    start, first, end, mark = layout.begin, 0, 0, b""
    for place, (offset, element, end, mark) in enumerate(split(text.read, layout.begin, MAX_RECORD_BYTES)):
        if place == 0 and mark == closing and not element and element is not None:
            break  # it is empty
        if place == first:
            start = offset
        if names:
            names.add(element)
        if end - start >= span_bytes or mark != b",":
            spans.append(Span(start, end, first))
            first = place + 1
    if not mark:
        raise _truncated(file, text.offset)
    if mark != closing:
        raise _malformed(file, end, "a bracket closes what was not opened")
    _check_end(file, text, layout, end)
    return Cut(spans=spans, repeated=tuple(names.repeated()) if names else ())


def _check_end(file: InputFile, text: Pass, layout: Layout, closed: int) -> None:
    """Check that after the closing bracket nothing follows but the end of the object around a list."""
    tail = b""
    for block in text.rest(closed + 1):
        tail += block if len(tail) < HEAD_BYTES else block.strip(SPACE)[:1]
    line, _, more = tail.partition(b"\n")
    before = layout.before or b""
    is_one_line = b"\n" not in before and (text.first_newline is None or text.first_newline > closed)
    is_followed = bool(more.strip(SPACE)) and (layout.before is not None or not line.strip(SPACE))
    is_object = layout.container == "members" or layout.before is not None
    if is_one_line and (is_followed or (is_object and layout.line_based)):
        raise OneLineError
    if layout.before is None:
        if tail.strip(SPACE):
            raise _malformed(file, closed + 1, "more text follows it")
        return
    try:
        around = decode(before + b"0" + tail)
    except RecordError as error:
        raise _malformed(file, closed + 1, f"after its list of records, {error.message}") from None
    unknown = next((name for name, value in around.items() if isinstance(value, (dict, list))), None)
    if unknown is not None:
        raise _malformed(
            file, closed + 1, f"beside its list of records it has {shown(unknown)}, which is no plain value"
        )


def _open_quote(file: InputFile, row: int, offset: int, lines: int) -> InputError:
    return InputError(
        f"row {row:,} of {file.path} (byte {offset:,}) opens a quote that is never closed,"
        f" and so takes in the {lines - 1:,} lines after its first",
        code="bad-table",
        location=Location(path=file.path, index=row, byte_offset=offset),
        hint="Correct or remove this row; a cell that starts with a quote ends with one, and one inside it is written"
        ' twice: "say ""hi""".',
    )


def _truncated(file: InputFile, offset: int) -> InputError:
    return InputError(
        f"{file.path} ends inside its JSON array or object",
        code="input-truncated",
        location=Location(path=file.path, byte_offset=offset),
        hint="The file was probably cut while it was written or copied; nothing of it was used.",
    )


def _malformed(file: InputFile, offset: int, what: str) -> InputError:
    return InputError(
        f"{file.path} is not one JSON array or object: {what} (byte {offset:,})",
        code="input-not-json",
        location=Location(path=file.path, byte_offset=offset),
        hint="Write one array of records, or one record per line in a .jsonl file.",
    )
