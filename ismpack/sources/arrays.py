"""Elements of one JSON array, found in a stream while holding only one of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

from ismpack.errors import InputError, Location
from ismpack.sources.inputs import InputFile

_BLOCK_BYTES = 1 << 20
_SPACE = b" \t\r\n"
_OPENING = re.compile(rb"(\xef\xbb\xbf)?[ \t\r\n]*\[")
_IN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_STRUCTURE = re.compile(rb'["\[\]{},]')
_DEPTH_CHANGE = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}


@dataclass(frozen=True, slots=True)
class Element:
    """One element of the array.

    Attributes:
        offset: Offset of its first byte in the text.
        text: Its bytes without the white space around them; None when it is longer than the limit.
    """

    offset: int
    text: bytes | None


def read_elements(
    file: InputFile, stream: BinaryIO, limit: int, *, block_bytes: int = _BLOCK_BYTES
) -> Iterator[Element]:
    """Split an array at its own commas.

    Only strings and brackets are looked at, so an element that is not valid JSON inside spoils no other element.

    Args:
        file: The file, for messages.
        stream: Its text, at the start.
        limit: Longest element in bytes.
        block_bytes: How much is read at a time.

    Raises:
        InputError: `input-truncated`: the array is never closed; `input-not-json`: it closes what it did not open, or
            more text follows it.
    """
    parts: list[bytes] = []
    begin = size = count = 0
    for offset, part, closer in _parts(file, stream, block_bytes):
        start = part.lstrip(_SPACE) if size == 0 else part
        begin = offset + len(part) - len(start) if size == 0 else begin
        size += len(start)
        parts.append(start)
        if size > limit:
            parts.clear()
        if not closer:
            continue
        text = b"".join(parts).rstrip(_SPACE)
        if closer == b"," or size > 0 or count > 0:
            yield Element(begin, text if size <= limit else None)
        parts.clear()
        size, count = 0, count + 1


def _parts(file: InputFile, stream: BinaryIO, block_bytes: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Text between the array's own commas, in parts no longer than a block: (offset, text, what closes it or b"")."""
    head = stream.read(block_bytes)
    opening = _OPENING.match(head)
    if opening is None:
        raise _malformed(file, 0, "the array does not start here")
    base, depth, in_string, carry = opening.end(), 0, False, b""
    for fresh in chain((head[base:],), iter(lambda: stream.read(block_bytes), b"")):
        block = carry + fresh
        start = at = 0
        while at < len(block):
            if in_string:
                at = _end(_IN_STRING.match(block, at), block)
                if block[at : at + 1] != b'"':
                    break  # the block ends inside the string, perhaps between a backslash and what it escapes
                at, in_string = at + 1, False
            found = _STRUCTURE.search(block, at)
            at = _end(found, block)
            mark = found[0] if found else b""
            if mark == b'"':
                in_string = True
            elif depth == 0 and mark in (b",", b"]", b"}"):
                yield base + start, block[start : at - 1], mark
                start = at
                if mark != b",":
                    _check_end(file, stream, base + at, mark, block[at:])
                    return
            else:
                depth += _DEPTH_CHANGE.get(mark, 0)
        yield base + start, block[start:at], b""
        base, carry = base + at, block[at:]
    raise InputError(
        f"{file.path} ends inside its JSON array",
        code="input-truncated",
        location=Location(path=file.path, byte_offset=base),
        hint="The file was probably cut while it was written or copied; nothing of it was used.",
    )


def _end(match: re.Match[bytes] | None, block: bytes) -> int:
    return match.end() if match else len(block)


def _check_end(file: InputFile, stream: BinaryIO, offset: int, mark: bytes, rest: bytes) -> None:
    if mark != b"]":
        raise _malformed(file, offset - 1, "a bracket closes what was not opened")
    for text in chain((rest,), iter(lambda: stream.read(_BLOCK_BYTES), b"")):
        if not text.isspace() and text:
            raise _malformed(file, offset, "more text follows the JSON array")
        offset += len(text)


def _malformed(file: InputFile, offset: int, what: str) -> InputError:
    return InputError(
        f"{file.path} is not one JSON array: {what} (byte {offset:,})",
        code="input-not-json",
        location=Location(path=file.path, byte_offset=offset),
        hint="Write one array of records, or one record per line in a .jsonl file.",
    )
