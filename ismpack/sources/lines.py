"""Physical lines of a chunk, split at b"\\n" alone and bounded in length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, TypeAlias

from ismpack.errors import RecordError

BOM = b"\xef\xbb\xbf"

_SKIP_BYTES = 1 << 20

Text: TypeAlias = "tuple[int, bytes | RecordError | None]"
"""A record's offset in the text of its file, and its bytes; instead of them None where it is longer than the limit, or
what is wrong with it. A tuple, as there are hundreds of thousands a second."""


def read_lines(stream: BinaryIO, start: int, end: int, limit: int) -> Iterator[Text]:
    """The lines that start in [start, end) of the text, with their line ends, without a byte order mark at its start.

    Args:
        stream: Positioned at `start - 1`, or at 0 when `start` is 0.
        start: Offset of the first byte that may start a line.
        end: Offset from which lines are no longer ours.
        limit: Longest line in bytes, its newline apart.
    """
    offset = start
    if start > 0:
        offset += _skip_line(stream) - 1
    while offset < end:
        text = stream.readline(limit + 1)
        if not text:
            return
        whole = len(text) <= limit or text.endswith(b"\n")
        begin, offset = offset, offset + len(text)
        if begin == 0 and text.startswith(BOM):
            begin, text = len(BOM), text[len(BOM) :]
        if whole:
            yield begin, text
        else:
            offset += _skip_line(stream)
            yield begin, None


def _skip_line(stream: BinaryIO) -> int:
    """Read past the next newline; the number of bytes read."""
    skipped = 0
    while part := stream.readline(_SKIP_BYTES):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped
