"""What a file holds, judged by the first bytes of its text."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ismpack.errors import InputError, Location
from ismpack.sources.inputs import InputFile
from ismpack.sources.lines import BOM
from ismpack.sources.members import named
from ismpack.sources.structure import SPACE, split

Container: TypeAlias = Literal["lines", "array", "members", "object", "csv", "table"]
"""One record per line; JSON values between the commas of a list; the same of an object, each with a name before it;
rows of comma- or tab-separated values; rows of a Parquet or Arrow table."""

HEAD_BYTES = 1 << 16
"""How much of the text is looked at."""

_EXPORT = "Export it as JSON lines: one JSON object per line."
_FOREIGN: dict[str, dict[str, bytes]] = {
    "Convert it to UTF-8, for example with iconv.": {
        "UTF-32 text": rb"\xff\xfe\0\0|\0\0\xfe\xff|[^\0]\0\0\0[^\0]\0\0\0|\0\0\0[^\0]\0\0\0[^\0]",
        "UTF-16 text": rb"\xff\xfe|\xfe\xff|[^\0]\0[^\0]\0|\0[^\0]\0[^\0]",
    },
    "Fetch the data with: git lfs pull.": {
        "a Git LFS pointer, not the data": rb"version https://git-lfs\.github\.com/spec/",
    },
    "The download may have failed; open it and see.": {
        "an HTML page": rb"(?i)\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)",
    },
    "Extract it first and give the files inside.": {
        "a zip archive": rb"PK(\x03\x04|\x05\x06)",
        "a tar archive": rb".{257}ustar",
        "a 7-Zip archive": rb"7z\xbc\xaf\x27\x1c",
    },
    "Decompress it, or compress it with gzip, zstd, bzip2 or xz, once.": {
        "lz4 data": rb"\x04\x22\x4d\x18",
        "compressed data inside compressed data": rb"\x1f\x8b|\x28\xb5\x2f\xfd|BZh[1-9]1AY&SY|\xfd7zXZ\0",
    },
    _EXPORT: {
        "an SQLite database": rb"SQLite format 3\0",
        "a PDF document": rb"%PDF-",
        "an XML document": rb"\s*<\?xml",
    },
}
"""What to do -> what a file looks like -> how its text starts."""
_OBJECT_OVER_LINES = re.compile(rb'\{\s*\n\s*"')
_GOES_ON = (b"[", b"{", b",", b":")
"""How a line ends where one value goes on over lines."""
_LIST_OF_OBJECTS = re.compile(rb"\[[ \t\r\n]*\{")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a text holds records.

    Attributes:
        container: In which way.
        begin: Offset of the first record, or of the white space before it.
        before: Of an object with a list of records, its text before that list.
        line_based: What was taken for one value is in a file with a line-based name, and nothing shows that it goes on
            after its first line: an object on one line is a record all the same, and a value that cannot be cut is a
            bad first line.
    """

    container: Container
    begin: int = 0
    before: bytes | None = None
    line_based: bool = False


_LINES = Layout(container="lines")


def refuse_foreign(file: InputFile, head: bytes) -> None:
    """Refuse a file whose first bytes show that it is no UTF-8 JSON at all.

    Binary data (a NUL byte) is refused only where the text does not start like JSON, so that one bad line in an
    otherwise good file stays one bad line.

    Raises:
        InputError: `input-not-json`, naming what the file looks like.
    """
    for hint, looks in _FOREIGN.items():
        for what, pattern in looks.items():
            if re.match(pattern, head, re.DOTALL):
                raise _not_json(file, f"looks like {what}", hint)
    text = head[_start(head) :]
    if b"\0" in head and not text.startswith((b"{", b"[")) and not file.is_called_table:
        raise _not_json(file, "looks like binary data", _EXPORT)


def layout_of(file: InputFile, head: bytes) -> Layout:
    """How a text holds its records, by its name and its head alone.

    - A file whose name ends in `.csv` or `.tsv`, perhaps with a compression's, is a table: nothing in its text tells.
    - A text that starts with `[` is one array of records, except where its first line is a complete JSON value and more
      lines follow (then each is a value of its own), or where the name ends like a line-based file and the first line
      is a complete array that does not start with an object: `[]` in a `.jsonl`.
    - A text that starts with `{` has one record per line if a line of its head is a complete JSON object where one
      value could have none: as the first of several lines (of a line-based file: or the only one), or after a line that
      does not end with `[`, `,` or `:`. Otherwise it is one object, and the members that begin in its head decide: if
      all are objects, the members are the records; if just one is no scalar, is called `data` and is a list that starts
      with an object, the elements of that list are. An object that is neither is one record; over several lines it is
      refused where the name ends like a line-based file.
    - Any other text has one record per line.

    Where one value was expected, and it ends on the first line with more lines after it, they are records after all.
    So they are in a line-based file where what starts on the first line is not one value, unless that line ends like
    one that goes on: with `[`, `{`, `,` or `:`.

    Raises:
        InputError: `input-not-json`: one object over several lines.
    """
    if file.is_called_table:
        return Layout(container="csv", begin=len(BOM) if head.startswith(BOM) else 0)
    start = _start(head)
    text = head[start:]
    if file.is_rows or not text.startswith((b"[", b"{")):
        return _LINES
    first, *more = text.rstrip(SPACE).split(b"\n")
    line_based = file.is_called_lines
    may_be_line = line_based and not (more and first.rstrip(SPACE).endswith(_GOES_ON))
    if text.startswith(b"["):
        bare = line_based and not _LIST_OF_OBJECTS.match(first)
        is_line = (bool(more) or bare) and _is_json(first)
        return _LINES if is_line else Layout(container="array", begin=start + 1, line_based=may_be_line)
    if (more or line_based) and _has_own_line([first, *more]):
        return _LINES
    layout = _of_object(head, start + 1, line_based=may_be_line)
    if layout is None and _OBJECT_OVER_LINES.match(text):
        if not line_based:
            return Layout(container="object", begin=start)
        raise _not_json(
            file, "spreads one JSON object over several lines", "Write one record per line, for example: jq -c . FILE."
        )
    return layout or _LINES


def _of_object(head: bytes, begin: int, *, line_based: bool) -> Layout | None:
    """The layout of one object that is made of records, or holds a list of them; None if it is neither."""
    members = []
    for offset, text, _, _ in split(io.BytesIO(head[begin:]).read, begin, HEAD_BYTES):
        name, value = named(text or b"")
        if name and value:
            members.append((name, offset + len(text or b"") - len(value), value))
    nested = [member for member in members if member[2].startswith((b"{", b"["))]
    if members and all(value.startswith(b"{") for _, _, value in members):
        return Layout(container="members", begin=begin, line_based=line_based)
    if len(nested) == 1 and nested[0][0] == b'"data"' and _LIST_OF_OBJECTS.match(nested[0][2]):
        start = nested[0][1]
        return Layout(container="array", begin=start + 1, before=head[begin - 1 : start], line_based=line_based)
    return None


def _has_own_line(lines: list[bytes]) -> bool:
    """Whether one of these lines is a JSON object that cannot be a part of one value that goes over the lines."""
    before = b"}"
    for line in lines:
        text = line.strip(SPACE)
        if text.startswith(b"{") and not before.endswith((b"[", b",", b":")) and _is_json(text):
            return True
        before = text or before
    return False


def _start(head: bytes) -> int:
    """Where the text starts, past a byte order mark and white space."""
    text = head.removeprefix(BOM)
    return len(head) - len(text.lstrip(SPACE))


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _not_json(file: InputFile, what: str, hint: str) -> InputError:
    location = Location(path=file.path)
    return InputError(f"{file.path} is not usable: it {what}", code="input-not-json", location=location, hint=hint)
