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

_CONVERT = "Convert it with: iconv -f {0} -t UTF-8."
_EXTRACT = "Extract it first and give the files inside."
_EXPORT = "Export it as JSON lines: one JSON object per line."
_RECOMPRESS = "Decompress it, or compress it with gzip or zstd."

_FOREIGN: tuple[tuple[re.Pattern[bytes], str, str], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), what, hint)
    for pattern, what, hint in (
        (rb"\xff\xfe\0\0|\0\0\xfe\xff|[^\0]\0\0\0[^\0]\0\0\0|\0\0\0[^\0]\0\0\0[^\0]", "UTF-32 text", _CONVERT.format("UTF-32")),
        (rb"\xff\xfe|\xfe\xff|[^\0]\0[^\0]\0|\0[^\0]\0[^\0]", "UTF-16 text", _CONVERT.format("UTF-16")),
        (rb"version https://git-lfs\.github\.com/spec/", "a Git LFS pointer, not the data", "Fetch the data with: git lfs pull."),
        (rb"PK(\x03\x04|\x05\x06)", "a zip archive", _EXTRACT),
        (rb".{257}ustar", "a tar archive", _EXTRACT),
        (rb"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _EXTRACT),
        (rb"\x1f\x8b|\x28\xb5\x2f\xfd", "compressed more than once", "Decompress it once."),
        (rb"BZh[1-9]1AY&SY", "bzip2 data", _RECOMPRESS),
        (rb"\xfd7zXZ\0", "xz data", _RECOMPRESS),
        (rb"\x04\x22\x4d\x18", "lz4 data", _RECOMPRESS),
        (rb"PAR1", "a Parquet file", _EXPORT),
        (rb"ARROW1", "an Arrow file", _EXPORT),
        (rb"SQLite format 3\0", "an SQLite database", _EXPORT),
        (rb"%PDF-", "a PDF document", _EXPORT),
        (rb"\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)", "an HTML page", "The download may have failed; open it and see."),
        (rb"\s*<\?xml", "an XML document", _EXPORT),
    )
)
_OBJECT_OVER_LINES = re.compile(rb'\s*\{\s*\n\s*"')


def refuse_foreign(file: InputFile, head: bytes) -> None:
    """Refuse a file whose first bytes show that it is no UTF-8 JSON at all.

    Binary data (a NUL byte) is refused only where the text does not start like JSON, so that one bad line in an
    otherwise good file stays one bad line.

    Raises:
        InputError: `input-not-json`, naming what the file looks like.
    """
    for pattern, what, hint in _FOREIGN:
        if pattern.match(head):
            raise _not_json(file, f"looks like {what}" if " " in what else f"looks like {what} data", hint)
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
