"""One chunk -> its records, each with the place it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import TypeAlias

from ismpack.data import Conversation, Record
from ismpack.errors import Location, RecordError
from ismpack.schema import SOURCE_POSITION_BITS
from ismpack.sources.arrays import read_elements
from ismpack.sources.chunks import Chunk, unit_of
from ismpack.sources.limits import MAX_RECORD_BYTES
from ismpack.sources.lines import Line, read_lines
from ismpack.sources.streams import open_text
from ismpack.sources.strict import decode

_SPACE = b" \t\r\n"


Shortcut: TypeAlias = "Callable[[Sequence[bytes]], Sequence[Conversation | None]]"
"""Reads the conversations of plain records straight from their JSON texts; None for any other text."""

_BATCH_BYTES = 1 << 17
"""Text that is read ahead, for a shortcut to see at once."""

_LINE_BYTES = 64
"""What a line costs besides its text, so that a batch of blank lines has an end."""


def read(
    chunk: Chunk, *, shortcut: Shortcut | None = None, max_record_bytes: int = MAX_RECORD_BYTES
) -> Iterator[Record | RecordError | None]:
    """The records of a chunk, in order.

    A record that cannot be used comes as its error, with its location; a line of nothing but white space as None.
    Memory is bounded by the longest record that is allowed, not by the file.

    Args:
        chunk: What to read.
        shortcut: Tried first on every record that is text.
        max_record_bytes: Longest record.

    Raises:
        InputError: `input-unreadable`, `input-changed`, `input-truncated` or `input-not-json`. What was yielded before
            belongs to a damaged file and must not be used.
    """
    if chunk.container == "lines":
        return _read_lines(chunk, shortcut, max_record_bytes)
    return _read_array(chunk, max_record_bytes)


def _read_lines(chunk: Chunk, shortcut: Shortcut | None, limit: int) -> Iterator[Record | RecordError | None]:
    path, file_id = chunk.file.path, chunk.file.index << SOURCE_POSITION_BITS
    whole = chunk.compression is not None
    with open_text(chunk.file, chunk.compression, stored_bytes=chunk.file_bytes) as stream:
        if chunk.start > 0:
            stream.seek(chunk.start - 1)
        lines = read_lines(stream, chunk.start, None if whole else chunk.end, limit)
        position = chunk.first_line
        for batch in _batches(lines):
            plain = shortcut([text or b"" for _, text in batch]) if shortcut else repeat(None)
            for (offset, text), conversation in zip(batch, plain):  # noqa: B905 - repeat has no end
                if conversation is not None:
                    yield Record(
                        value=None,
                        source_id=file_id | position,
                        path=path,
                        position=position,
                        unit="line",
                        byte_offset=offset,
                        conversation=conversation,
                    )
                elif text is not None and not text.strip(_SPACE):
                    yield None
                else:
                    ends_file = text is not None and not text.endswith(b"\n")
                    yield _record(text, chunk, position, offset, ends_file=ends_file, limit=limit)
                position += 1


def _batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Lines in lists of about `_BATCH_BYTES`."""
    batch: list[Line] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += len(line[1] or b"") + _LINE_BYTES
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _read_array(chunk: Chunk, limit: int) -> Iterator[Record | RecordError | None]:
    with open_text(chunk.file, chunk.compression, stored_bytes=chunk.file_bytes) as stream:
        for position, element in enumerate(read_elements(chunk.file, stream, limit)):
            yield _record(element.text, chunk, position, element.offset, ends_file=False, limit=limit)


def _record(
    text: bytes | None, chunk: Chunk, position: int, offset: int, *, ends_file: bool, limit: int
) -> Record | RecordError:
    path, unit = chunk.file.path, unit_of(chunk.container)
    try:
        if text is None:
            raise _too_long(limit)
        value = decode(text, ends_file=ends_file)
    except RecordError as error:
        return error.at(Location.of(path, unit, position, offset))
    source_id = chunk.file.index << SOURCE_POSITION_BITS | position
    return Record(value=value, source_id=source_id, path=path, position=position, unit=unit, byte_offset=offset)


def _too_long(limit: int) -> RecordError:
    return RecordError(
        f"the record is longer than {limit:,} bytes", code="line-too-long", hint="Split it into several records."
    )
