"""What a file holds, judged by the first bytes of its text."""

from __future__ import annotations

import json
import re
from typing import Literal, TypeAlias

from ismpack.errors import InputError, Location
from ismpack.sources.inputs import InputFile

Container: TypeAlias = Literal["lines", "array"]

BOM = b"\xef\xbb\xbf"
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
    "Decompress it, or compress it with gzip or zstd, once.": {
        "bzip2 data": rb"BZh[1-9]1AY&SY",
        "xz data": rb"\xfd7zXZ\0",
        "lz4 data": rb"\x04\x22\x4d\x18",
        "compressed data inside compressed data": rb"\x1f\x8b|\x28\xb5\x2f\xfd",
    },
    _EXPORT: {
        "a Parquet file": rb"PAR1",
        "an Arrow file": rb"ARROW1",
        "an SQLite database": rb"SQLite format 3\0",
        "a PDF document": rb"%PDF-",
        "an XML document": rb"\s*<\?xml",
    },
}
"""What to do -> what a file looks like -> how its text starts."""
_OBJECT_OVER_LINES = re.compile(rb'\s*\{\s*\n\s*"')


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
    text = _start_of_text(head)
    if b"\0" in head and not text.startswith((b"{", b"[")):
        raise _not_json(file, "looks like binary data", _EXPORT)
    if _OBJECT_OVER_LINES.match(text):
        raise _not_json(
            file, "spreads one JSON object over several lines", "Write one record per line, for example: jq -c . FILE."
        )


def container_of(file: InputFile, head: bytes) -> Container:
    """Whether the text is one JSON array of records or one record per line.

    It is an array when its first character is `[`, except where the first line is a complete JSON value and
    - more text follows: then each line is a value of its own; or
    - nothing follows, the name ends like a line-based file and the array does not hold objects: `[]` in a `.jsonl`.
    """
    text = _start_of_text(head)
    if not text.startswith(b"["):
        return "lines"
    first, _, rest = text.partition(b"\n")
    if not _is_json(first):
        return "array"
    line_based = re.search(r"\.(jsonl|ndjson)(\.\w+)?$", file.path) is not None
    holds_objects = first[1:].lstrip().startswith(b"{")
    return "lines" if rest.strip() or (line_based and not holds_objects) else "array"


def _start_of_text(head: bytes) -> bytes:
    return head.removeprefix(BOM).lstrip(b" \t\r\n")


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _not_json(file: InputFile, what: str, hint: str) -> InputError:
    location = Location(path=file.path)
    return InputError(f"{file.path} is not usable: it {what}", code="input-not-json", location=location, hint=hint)
