"""One chunk -> its records, each with the place it came from."""

from __future__ import annotations

from collections.abc import Iterator

from ismpack.data import Record
from ismpack.errors import Location, RecordError
from ismpack.schema import SOURCE_POSITION_BITS
from ismpack.sources.arrays import read_elements
from ismpack.sources.chunks import Chunk
from ismpack.sources.limits import MAX_RECORD_BYTES
from ismpack.sources.lines import read_lines
from ismpack.sources.streams import open_text
from ismpack.sources.strict import decode

_SPACE = b" \t\r\n"


def read(chunk: Chunk, *, max_record_bytes: int = MAX_RECORD_BYTES) -> Iterator[Record | RecordError | None]:
    """The records of a chunk, in order.

    A record that cannot be used comes as its error, with its location; a line of nothing but white space as None.
    Memory is bounded by the longest record that is allowed, not by the file.

    Raises:
        InputError: `input-unreadable`, `input-changed`, `input-truncated` or `input-not-json`. What was yielded before
            belongs to a damaged file and must not be used.
    """
    return _read_lines(chunk, max_record_bytes) if chunk.container == "lines" else _read_array(chunk, max_record_bytes)


def _read_lines(chunk: Chunk, limit: int) -> Iterator[Record | RecordError | None]:
    whole = chunk.compression is not None
    with open_text(chunk.file, chunk.compression, stored_bytes=chunk.file_bytes) as stream:
        if chunk.start > 0:
            stream.seek(chunk.start - 1)
        lines = read_lines(stream, chunk.start, None if whole else chunk.end, limit)
        for position, line in enumerate(lines, start=chunk.first_line):
            if line.text is not None and not line.text.strip(_SPACE):
                yield None
                continue
            location = Location(path=chunk.file.path, line=position + 1, byte_offset=line.offset)
            yield _record(line.text, chunk, position, location, ends_file=line.is_last, limit=limit)


def _read_array(chunk: Chunk, limit: int) -> Iterator[Record | RecordError | None]:
    with open_text(chunk.file, chunk.compression, stored_bytes=chunk.file_bytes) as stream:
        for position, element in enumerate(read_elements(chunk.file, stream, limit)):
            location = Location(path=chunk.file.path, index=position, byte_offset=element.offset)
            yield _record(element.text, chunk, position, location, ends_file=False, limit=limit)


def _record(
    text: bytes | None, chunk: Chunk, position: int, location: Location, *, ends_file: bool, limit: int
) -> Record | RecordError:
    if text is None:
        return RecordError(
            f"the record is longer than {limit:,} bytes",
            code="line-too-long",
            location=location,
            hint="Split it into several records.",
        )
    try:
        value = decode(text, ends_file=ends_file)
    except RecordError as error:
        return error.at(location)
    return Record(value=value, location=location, source_id=chunk.file.index << SOURCE_POSITION_BITS | position)
