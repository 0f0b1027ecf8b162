"""One chunk -> its records, each with the place it came from."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import BinaryIO, TypeAlias

from ismpack.data import Json, PlainConversation, Record
from ismpack.errors import Location, RecordError
from ismpack.schema import SOURCE_POSITION_BITS
from ismpack.sources.chunks import Chunk
from ismpack.sources.csv_rows import dialect_of, read_rows, record_of
from ismpack.sources.limits import MAX_RECORD_BYTES, too_long
from ismpack.sources.lines import Text, read_lines
from ismpack.sources.members import values
from ismpack.sources.streams import open_stored, part_of
from ismpack.sources.strict import decode
from ismpack.sources.structure import SPACE, elements, split
from ismpack.sources.tables import read_table

Shortcut: TypeAlias = "Callable[[Sequence[bytes]], Sequence[PlainConversation | None]]"
"""Reads the conversations of plain records straight from their JSON texts; None for any other text."""

_Value: TypeAlias = "dict[str, Json] | RecordError"

_BATCH_BYTES = 1 << 17
"""Text that is read ahead, for a shortcut to see at once."""

_TEXT_BYTES = 64
"""What a text costs besides its bytes, so that a batch of blank lines has an end."""


def read(
    chunk: Chunk, *, shortcut: Shortcut | None = None, max_record_bytes: int = MAX_RECORD_BYTES
) -> Iterator[Record | RecordError | None]:
    """The records of a chunk, in order.

    A record that cannot be used comes as its error, with its location; a blank line as None: of nothing but white
    space, or of nothing where rows are read. Memory is bounded by the longest record that is allowed, not by the file.

    Args:
        chunk: What to read.
        shortcut: Tried first on every record that is JSON text.
        max_record_bytes: Longest record that is text.

    Raises:
        InputError: `input-unreadable` or `input-changed`. What was yielded before must not be used.
    """
    if chunk.container == "table":
        return _read_table(chunk)
    return _read_text(chunk, None if chunk.container == "csv" else shortcut, max_record_bytes)


def _read_table(chunk: Chunk) -> Iterator[Record | RecordError | None]:
    place = _Place(chunk)
    for position, row in enumerate(read_table(chunk.open_path, chunk.start, chunk.end), chunk.first):
        yield place.put(row, position, None)


def _read_text(chunk: Chunk, shortcut: Shortcut | None, limit: int) -> Iterator[Record | RecordError | None]:
    place = _Place(chunk)
    value_of = _value_reader(chunk, limit)
    space = {"lines": SPACE, "csv": b""}.get(chunk.container)
    position = chunk.first
    with open_stored(chunk.file, chunk.open_path, stored_bytes=chunk.open_bytes) as stored:
        stream = io.BufferedReader(stored, _BATCH_BYTES)
        for batch in _batches(_texts(chunk, stream, limit)):
            texts = [text if isinstance(text, bytes) else b"" for _, text in batch]
            plain = shortcut(texts) if shortcut else repeat(None)
            for (offset, text), conversation in zip(batch, plain):  # noqa: B905 - repeat has no end
                if conversation is not None:
                    yield place.put(None, position, offset, conversation)
                elif space is not None and isinstance(text, bytes) and not text.strip(space):
                    yield None
                else:
                    yield place.put(value_of(text), position, offset)
                position += 1


class _Place:
    """Puts values of one chunk, and what is wrong with others, to the place that they came from."""

    def __init__(self, chunk: Chunk) -> None:
        self._path = chunk.file.path
        self._unit = chunk.unit
        self._file_id = chunk.file.index << SOURCE_POSITION_BITS

    def put(
        self, value: _Value | None, position: int, offset: int | None, conversation: PlainConversation | None = None
    ) -> Record | RecordError:
        if isinstance(value, RecordError):
            return value.at(Location.of(self._path, self._unit, position, offset))
        return Record(
            value=value,
            conversation=conversation,
            source_id=self._file_id | position,
            path=self._path,
            position=position,
            unit=self._unit,
            byte_offset=offset,
        )


def _texts(chunk: Chunk, stream: BinaryIO, limit: int) -> Iterator[Text]:
    """The texts of a chunk's records."""
    if chunk.container == "lines":
        stream.seek(max(0, chunk.start - 1))
        return read_lines(stream, chunk.start, chunk.end, limit)
    stream.seek(chunk.start)
    if chunk.container == "object":
        text = stream.read(limit + 1)
        return iter([(chunk.start, text if len(text) <= limit else None)])
    read_on = part_of(stream, chunk.end - chunk.start)
    if chunk.container == "csv":
        return read_rows(read_on, chunk.start, limit, dialect_of(chunk.file))
    if chunk.container == "members":
        return values(split(read_on, chunk.start, limit), chunk.first, chunk.repeated)
    return elements(read_on, chunk.start, chunk.end - chunk.start, limit)


def _value_reader(chunk: Chunk, limit: int) -> Callable[[bytes | RecordError | None], _Value]:
    """What makes a value of a record's text."""
    dialect = dialect_of(chunk.file)

    def value_of(text: bytes | RecordError | None) -> _Value:
        if not isinstance(text, bytes):
            return text or too_long(limit)
        try:
            if chunk.container == "csv":
                return record_of(text, chunk.columns, dialect)
            is_last = chunk.container == "object" or (chunk.container == "lines" and not text.endswith(b"\n"))
            return decode(text, ends_file=is_last)
        except RecordError as error:
            return error

    return value_of


def _batches(texts: Iterator[Text]) -> Iterator[list[Text]]:
    """Texts in lists of about `_BATCH_BYTES`."""
    batch: list[Text] = []
    size = 0
    for item in texts:
        batch.append(item)
        text = item[1]
        size += (len(text) if isinstance(text, bytes) else 0) + _TEXT_BYTES
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
