"""Rows of comma- or tab-separated values, as RFC 4180 writes them.

A cell is plain text up to the next delimiter, or quoted: then it may hold delimiters and line ends, and a quote is
doubled. A quote inside a cell that does not start with one is text. Rows end with LF or CRLF.

The `csv` module cannot tell where a row starts, which is what lets a file be cut, and takes what this refuses: text
after a closing quote, a quote that is never closed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from ismpack.data import Json
from ismpack.errors import InputError, Location, RecordError
from ismpack.sources.inputs import InputFile
from ismpack.sources.limits import shown
from ismpack.sources.lines import Text

_BLOCK_BYTES = 1 << 18
_LONGEST_BLOCK_BYTES = 8 << 20
_QUOTED = re.compile(rb'[^"]*+(?:""[^"]*+)*+')


class UnclosedRowError(RecordError):
    """A quote that opens a cell of the last row is never closed.

    Attributes:
        lines: How many lines the row takes in, empty ones at its end apart.
    """

    def __init__(self, lines: int) -> None:
        super().__init__(
            "a quote that opens a cell of this row is never closed, so the row takes in the rest of the file",
            code="bad-table",
            hint="Close the quote; inside a quoted cell, a quote is written twice.",
        )
        self.lines = lines


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between tables.

    Attributes:
        delimiter: What stands between cells.
        row: Matches a row with its line end.
        cell: Matches a cell with what ends it: quoted text, or plain text.
    """

    delimiter: str
    row: re.Pattern[bytes]
    cell: re.Pattern[str]


def dialect_of(file: InputFile) -> Dialect:
    """The dialect that a file's name tells."""
    return _dialect("\t" if file.is_called_tabs else ",")


@cache
def _dialect(delimiter: str) -> Dialect:
    cell = rf'(?:"[^"]*+(?:""[^"]*+)*+"[^{delimiter}\n]*+|[^"{delimiter}\n][^{delimiter}\n]*+)?+'
    return Dialect(
        delimiter=delimiter,
        row=re.compile(rf"{cell}(?:{delimiter}{cell})*+\n".encode()),
        cell=re.compile(rf'(?:"([^"]*+(?:""[^"]*+)*+)"|([^"{delimiter}][^{delimiter}]*+)?+)({delimiter}|\Z)'),
    )


def read_rows(
    read: Callable[[int], bytes], begin: int, limit: int, dialect: Dialect, *, block_bytes: int = _BLOCK_BYTES
) -> Iterator[Text]:
    """Split text into rows without their line ends.

    A last one whose quote is never closed comes as an `UnclosedRowError`.

    Args:
        read: Gives the next bytes of the text, b"" at its end.
        begin: Offset of the first of them, where a row starts.
        limit: Longest row in bytes, its line end apart.
        dialect: The table's dialect.
        block_bytes: How much is read at a time.
    """
    text, offset = b"", begin
    while True:
        at = 0
        while found := dialect.row.match(text, at):
            row = _without_end(found[0])
            yield offset + at, row if len(row) <= limit else None
            at = found.end()
        text, offset = text[at:], offset + at
        if len(text) > limit + 2:
            size, text, open_lines = _skip_row(text, read, dialect.delimiter.encode())
            yield offset, UnclosedRowError(open_lines) if open_lines else None
            offset += size
        elif block := read(min(max(block_bytes, len(text)), _LONGEST_BLOCK_BYTES)):
            text += block
        else:
            break
    if text:
        if not dialect.row.match(text + b"\n"):
            yield offset, UnclosedRowError(text.rstrip(b"\r\n").count(b"\n") + 1)
        else:
            yield offset, _without_end(text) if len(text) <= limit else None


def cells_of(row: bytes, dialect: Dialect) -> list[str]:
    """The cells of a row.

    Raises:
        RecordError: `invalid-utf8`, or `bad-table`: text after a closing quote, or a lone CR outside quotes.
    """
    try:
        text = row.decode()
    except UnicodeDecodeError as error:
        raise RecordError(
            f"byte {error.start + 1} of the row is not UTF-8 ({error.reason})",
            code="invalid-utf8",
            hint="Convert the file with: iconv -f THE-REAL-ENCODING -t UTF-8.",
        ) from None
    if '"' not in text:
        return _plain(text).split(dialect.delimiter)
    cells: list[str] = []
    at, end = 0, dialect.delimiter
    while end:
        found = dialect.cell.match(text, at)
        if found is None:
            lines = text.count("\n") + 1
            of_row = f"the row, which takes in {lines:,} lines," if lines > 1 else "the row"
            raise RecordError(
                f"cell {len(cells) + 1} of {of_row} goes on after its closing quote",
                code="bad-table",
                hint='Inside a quoted cell, a quote is written twice: "say ""hi""".',
            )
        quoted, plain, end = found.groups(default="")
        cells.append(quoted.replace('""', '"') or _plain(plain))
        at = found.end()
    return cells


def record_of(row: bytes, columns: Sequence[str], dialect: Dialect) -> dict[str, Json]:
    """The record that a row is: every cell as text under its column's name; an empty cell is empty text.

    Raises:
        RecordError: As `cells_of`, or `bad-table`: another number of cells than columns.
    """
    cells = cells_of(row, dialect)
    if len(cells) != len(columns):
        raise RecordError(
            f"the row has {len(cells)} cells, the header {len(columns)}",
            code="bad-table",
            hint="Quote cells that hold a delimiter or a line end.",
        )
    return dict(zip(columns, cells, strict=True))


def columns_of(file: InputFile, header: bytes | RecordError | None, dialect: Dialect) -> tuple[str, ...]:
    """The names of a table's columns.

    Raises:
        InputError: `bad-table`: the header cannot be read, a name comes twice, or several are empty. One may be: pandas
            writes its index so.
    """
    try:
        if header is None:
            raise RecordError("it is longer than a record may be", code="bad-table")
        if isinstance(header, RecordError):
            raise header
        columns = cells_of(header, dialect)
    except RecordError as error:
        raise _bad_header(file, error.message, error.hint) from None
    if columns.count("") > 1 or not any(columns):
        raise _bad_header(file, "several columns, or the only one, have no name", "Name them, or leave them out.")
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise _bad_header(file, f"the name {shown(twice)} comes twice", "Rename all but one of these columns.")
    return tuple(columns)


def _plain(text: str) -> str:
    if "\r" in text:
        raise RecordError(
            "a lone CR stands outside quotes",
            code="bad-table",
            hint="If rows end with a lone CR, convert them with: tr '\\r' '\\n'.",
        )
    return text


def _without_end(row: bytes) -> bytes:
    return row.removesuffix(b"\n").removesuffix(b"\r")


def _skip_row(text: bytes, read: Callable[[int], bytes], delimiter: bytes) -> tuple[int, bytes, int]:
    """Pass over a row that is too long to hold.

    Returns:
        Its size; what was read of the next rows; the number of its lines if it ends inside quotes, else 0.
    """
    ends = re.compile(b"[%b\n]" % delimiter)
    size = newlines = 0
    quoted, may_open = False, True
    last = b""
    while text:
        at = 0
        while at < len(text):
            if quoted:
                at = _end(_QUOTED.match(text, at), text)
                quoted, may_open, at = at == len(text), True, at + 1
            elif may_open and text[at] == ord('"'):  # after a closing quote, it is the second of a pair
                quoted, at = True, at + 1
            else:
                found = ends.search(text, at)
                may_open, at = found is not None, _end(found, text)
                if found and found[0] == b"\n":
                    return size + at, text[at:], 0
        size += len(text)
        newlines, last = newlines + text.count(b"\n"), text[-1:]
        text = read(_BLOCK_BYTES)
    return size, b"", newlines + (last != b"\n") if quoted else 0


def _end(found: re.Match[bytes] | None, text: bytes) -> int:
    return found.end() if found else len(text)


def _bad_header(file: InputFile, what: str, hint: str | None) -> InputError:
    return InputError(
        f"the header of {file.path} does not fit: {what}",
        code="bad-table",
        location=Location(path=file.path),
        hint=hint,
    )
