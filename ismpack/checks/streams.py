"""Checks of shards as Arrow files. A shard is opened only if its size and checksum are right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ismpack.checks.report import Check, Problem
from ismpack.reader import list_type
from ismpack.schema import COLUMNS, DERIVED_COLUMNS

END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""Continuation marker and a length of zero. Source: Arrow columnar format, "IPC Streaming Format"."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Stream:
    """One shard, read as far as it can be.

    Attributes:
        name: File name.
        first_row: Row of the dataset at which it starts, by the manifest.
        derived: Derived columns that it should have.
        schema: Its schema; None when not even that can be read.
        batches: The record batches before the end or the first error; memory-mapped.
        end: Byte offset where reading ended.
        size: Bytes of the file.
        tail: The last 8 bytes.
        error: Why reading ended early.
    """

    name: str
    first_row: int
    derived: frozenset[str]
    schema: pa.Schema | None
    batches: list[pa.RecordBatch]
    end: int
    size: int
    tail: bytes
    error: str | None


def read_stream(path: Path, first_row: int, derived: frozenset[str]) -> Stream:
    """Open a shard; what goes wrong is kept in `error`."""
    schema: pa.Schema | None = None
    batches: list[pa.RecordBatch] = []
    end, size, tail, error = 0, 0, b"", None
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - len(END_OF_STREAM)))
            tail = file.read()
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
            _ = stream.schema.names  # decodes them, which may fail
            schema = stream.schema
            for batch in stream:
                batches.append(batch)  # noqa: PERF402 - the batches before an error are kept
            end = source.tell()
    except (OSError, ValueError, pa.ArrowException) as caught:
        error = str(caught) or type(caught).__name__
    return Stream(
        name=path.name,
        first_row=first_row,
        derived=derived,
        schema=schema,
        batches=batches,
        end=end,
        size=size,
        tail=tail,
        error=error,
    )


def arrow_stream(stream: Stream) -> Iterator[Problem]:
    """Arrow itself reports no error."""
    if stream.error:
        yield Problem(message=f"the shard is not a readable Arrow stream: {stream.error}", shard=stream.name)


def end_of_stream(stream: Stream) -> Iterator[Problem]:
    """A stream cut between two batches reads as a shorter one without any error; only the marker tells."""
    if stream.error:
        return
    if stream.tail != END_OF_STREAM:
        yield Problem(message="the shard does not end with Arrow's end-of-stream marker", shard=stream.name)
    elif stream.end != stream.size:
        surplus = stream.size - stream.end
        yield Problem(message=f"{surplus:,} bytes follow the end of the Arrow stream", shard=stream.name)


def schema(stream: Stream) -> Iterator[Problem]:
    """The stored columns in their order, then the derived ones; nothing nullable."""
    if stream.schema is None:
        return
    names = stream.schema.names
    stored = list(COLUMNS)
    if names[: len(stored)] != stored or sorted(names[len(stored) :]) != sorted(stream.derived):
        expected = ", ".join(stored + sorted(stream.derived))
        yield Problem(message=f"the shard has the columns {', '.join(names)}; expected {expected}", shard=stream.name)
        return
    for field in stream.schema:
        dtype = (COLUMNS | DERIVED_COLUMNS)[field.name]
        if field.nullable or field.type != list_type(dtype):
            null = "" if field.nullable else " not null"
            message = f"column {field.name} is {field.type}{null}; expected {list_type(dtype)} not null"
            yield Problem(message=message, shard=stream.name)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StoredBatch:
    """One record batch and where it starts.

    Attributes:
        stream: Its shard.
        batch: The record batch, whose schema is right.
        shard_row: Row of the shard at which it starts.
    """

    stream: Stream
    batch: pa.RecordBatch
    shard_row: int


def arrow_valid(stored: StoredBatch) -> Iterator[Problem]:
    """Offsets stay inside their buffers and nothing is null. The numpy views of all later checks rely on it."""
    try:
        stored.batch.validate(full=True)
    except pa.ArrowException as error:
        message = f"the record batch that starts at row {stored.shard_row} of the shard is not valid Arrow: {error}"
        yield Problem(message=message, shard=stored.stream.name)
        return
    for name, column in zip(stored.batch.schema.names, stored.batch.columns, strict=True):
        if column.null_count or column.values.null_count:
            message = f"the record batch that starts at row {stored.shard_row} of the shard has nulls in {name}"
            yield Problem(message=message, shard=stored.stream.name)


STREAM_CHECKS: tuple[Check[Stream], ...] = (
    Check("arrow-stream", "Every shard is an Arrow IPC stream that can be read.", arrow_stream),
    Check("end-of-stream", "Every shard ends with Arrow's end-of-stream marker.", end_of_stream),
    Check("schema", "Every shard has the manifest's columns, with their types, none nullable.", schema),
)
BATCH_CHECKS: tuple[Check[StoredBatch], ...] = (
    Check("arrow-valid", "Every record batch is valid and holds no nulls.", arrow_valid),
)
