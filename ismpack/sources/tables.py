"""Parquet and Arrow files as records.

Such a file is first rewritten as an Arrow file of plain types in even batches (`spool_table`), of which any can then be
read without the others (`read_table`). Both hold a batch in memory, never the table.
"""

from __future__ import annotations

import mmap
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import pyarrow as pa

from ismpack.data import Json
from ismpack.errors import InputError, Location, RecordError
from ismpack.sources.inputs import InputFile
from ismpack.sources.limits import shown
from ismpack.sources.table_nulls import has_null_member, schema_without_null_members, without_null_members
from ismpack.sources.table_rows import TableRows
from ismpack.sources.table_types import UnsupportedTypeError, bare_type, nesting, plain_batch, plain_schema

if TYPE_CHECKING:
    import pyarrow.parquet as pq

TableKind: TypeAlias = Literal["parquet", "arrow"]

_PARQUET = (b"PAR1", b"PARE")  # the second where the footer is encrypted
_ARROW_FILE = b"ARROW1"
_ARROW_STREAM = b"\xff\xff\xff\xff"
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"

_STEP_ROWS = 64
"""Rows decoded at once: few, as nothing but the values themselves tells how long they are."""

_PAGE_BUFFER_BYTES = 1 << 20
_MAX_NESTING = 60
"""Arrow writes no more than 64 types inside one another."""

_WRITE_AGAIN = "Write it again, not encrypted and in plain column types, or export it as JSON lines."
_UNSUPPORTED = re.compile(r"encrypt|decrypt|not (built|supported|implemented)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableBatch:
    """A record batch of a spooled table.

    Attributes:
        first_row: 0-based row of the table that its first row is.
        rows: How many it holds.
        bytes: Size of its values in memory.
    """

    first_row: int
    rows: int
    bytes: int


def table_kind(head: bytes) -> TableKind | None:
    """The kind of table that a file's first bytes announce, whatever its name says."""
    if head.startswith(_PARQUET):
        return "parquet"
    return "arrow" if head.startswith((_ARROW_FILE, _ARROW_STREAM)) else None


def spool_table(file: InputFile, stored_path: str, target: Path, batch_bytes: int) -> tuple[TableBatch, ...]:
    """Rewrite a table as an uncompressed Arrow file with batches of about `batch_bytes`.

    Memory is bounded by a few batches and, of a Parquet file, a page of each column; of a compressed Arrow file, one of
    its own batches. An uncompressed Arrow file is mapped, and its pages are the system's to drop.

    Args:
        file: The file, for messages.
        stored_path: The table itself, decompressed.
        target: What to write.
        batch_bytes: A batch is larger only if a row is.

    Returns:
        The batches in order.

    Raises:
        InputError: `input-truncated`: it ends early or is corrupt; `input-unreadable`: it cannot be opened, is
            encrypted or of a type that is not supported; `bad-table`: two columns have the same name, or
            there is none.
        OSError: `target` cannot be written.
    """
    with _reading(file, stored_path):
        schema, pieces = _open(file, stored_path)
        _check_columns(file, schema)
        plain = plain_schema(schema_without_null_members(schema))
    spooled: list[TableBatch] = []
    first_row = 0
    with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_file(sink, plain) as writer:
        for batch in _gathered(_plain_pieces(file, stored_path, pieces), batch_bytes):
            writer.write_batch(batch)
            spooled.append(TableBatch(first_row=first_row, rows=batch.num_rows, bytes=batch.nbytes))
            first_row += batch.num_rows
    return tuple(spooled)


def has_column(path: str, name: str) -> bool:
    """Whether a spooled table has a column of this name."""
    with pa.OSFile(path) as spooled:
        return name in pa.ipc.open_file(spooled).schema.names


def read_table(path: str, first_batch: int, end_batch: int) -> Iterator[dict[str, Json] | RecordError]:
    """The rows of the batches [first_batch, end_batch) of a spooled table, in order.

    `table_rows` tells which JSON each type becomes. A row that cannot be used comes as its error, without a location:
    `invalid-utf8`, `line-too-long`, or what the strict parser says about a value of type JSON.
    """
    with pa.OSFile(path) as spooled:
        reader = pa.ipc.open_file(spooled)
        rows = TableRows.of(reader.schema)
        for number in range(first_batch, end_batch):
            yield from rows.read(reader.get_batch(number))


def _open(file: InputFile, stored_path: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """A table's schema, and its rows in small pieces."""
    stored = pa.OSFile(stored_path)
    head = stored.read(len(_ARROW_FILE))
    stored.seek(0)
    if table_kind(head) == "parquet":
        import pyarrow.parquet as pq  # noqa: PLC0415 - every start would pay for it

        parquet = pq.ParquetFile(
            stored, pre_buffer=False, buffer_size=_PAGE_BUFFER_BYTES, page_checksum_verification=True
        )
        return parquet.schema_arrow, _parquet_pieces(parquet)
    mapped = mmap.mmap(stored.fileno(), 0, access=mmap.ACCESS_READ)
    source = pa.BufferReader(pa.py_buffer(mapped))
    if head == _ARROW_FILE:
        reader = pa.ipc.open_file(source)
        return reader.schema, _arrow_pieces(mapped, (reader.get_batch(i) for i in range(reader.num_record_batches)))
    stream = pa.ipc.open_stream(source)
    return stream.schema, _arrow_pieces(mapped, _whole_stream(file, source, stream))


def _parquet_pieces(parquet: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    missing = parquet.metadata.num_rows
    for piece in parquet.iter_batches(_STEP_ROWS, use_threads=False):
        missing -= piece.num_rows
        yield piece
    if missing:
        raise ValueError(f"{missing:,} rows are missing")


def _arrow_pieces(mapped: mmap.mmap, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        batch.validate()
        for column in batch.columns:  # offsets must lie in the file; what is no UTF-8 costs only its row
            (column if has_null_member(column.type) else column.view(bare_type(column.type))).validate(full=True)
        yield from (batch.slice(start, _STEP_ROWS) for start in range(0, batch.num_rows, _STEP_ROWS))
        if hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)  # pages of earlier batches would count as ours


def _whole_stream(
    file: InputFile, source: pa.BufferReader, stream: pa.RecordBatchStreamReader
) -> Iterator[pa.RecordBatch]:
    """The batches of a stream; Arrow itself takes a stream that was cut between two for a complete one."""
    yield from stream
    end = source.tell()
    source.seek(max(0, end - len(_END_OF_STREAM)))
    if source.read(len(_END_OF_STREAM)) != _END_OF_STREAM:
        raise ValueError("the end of the stream is missing")
    if end != source.size():
        raise InputError(
            f"{file.path} holds more data after the end of an Arrow stream",
            code="input-unreadable",
            location=Location(path=file.path, byte_offset=end),
            hint="Give every stream as a file of its own.",
        )


def _plain_pieces(file: InputFile, stored_path: str, pieces: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with _reading(file, stored_path):
        yield from map(plain_batch, map(without_null_members, pieces))


def _gathered(pieces: Iterator[pa.RecordBatch], batch_bytes: int) -> Iterator[pa.RecordBatch]:
    """Pieces laid end to end up to `batch_bytes`; large ones are cut between rows, to fill it well."""
    held: list[pa.RecordBatch] = []
    size = 0
    for piece in pieces:
        rows = max(1, piece.num_rows * batch_bytes // (8 * max(1, piece.nbytes)))
        for part in (piece.slice(start, rows) for start in range(0, piece.num_rows, rows)):
            if held and size + part.nbytes > batch_bytes:
                yield pa.concat_batches(held)
                held, size = [], 0
            held.append(part)
            size += part.nbytes
    if held:
        yield pa.concat_batches(held)


def _check_columns(file: InputFile, schema: pa.Schema) -> None:
    """Refuse what makes no JSON object of a row."""
    twice = next(_repeated(pa.struct(list(schema))), None)
    if twice is not None or not schema.names:
        raise InputError(
            f"{file.path} has no columns" if twice is None else f"{file.path} has more than one column {shown(twice)}",
            code="bad-table",
            location=Location(path=file.path),
            hint=None if twice is None else "Rename all but one of them.",
        )
    if max(map(nesting, schema.types), default=0) > _MAX_NESTING:
        raise UnsupportedTypeError(f"columns nested more than {_MAX_NESTING} deep")


def _repeated(type_: pa.DataType) -> Iterator[str]:
    """Names that a struct, at any depth, has more than once."""
    fields = [type_.field(i) for i in range(type_.num_fields)]
    if pa.types.is_struct(type_):
        yield from (name for name, times in Counter(field.name for field in fields).items() if times > 1)
    for field in fields:
        yield from _repeated(field.type)


@contextmanager
def _reading(file: InputFile, stored_path: str) -> Iterator[None]:
    """Turn whatever Arrow raises about a file into an error that names it."""
    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError) as error:
        why = _reason(error, file, stored_path)
        unsupported = isinstance(error, (UnsupportedTypeError, pa.ArrowNotImplementedError)) or _UNSUPPORTED.search(why)
        errno = getattr(error, "errno", None)
        if unsupported or errno is not None:
            raise InputError(
                f"cannot read {file.path}: {why}",
                code="input-unreadable",
                location=Location(path=file.path),
                hint="Write it again, not encrypted and in plain column types, or export it as JSON lines."
                if unsupported
                else None,
            ) from error
        raise InputError(
            f"{file.path} is a table that ends early or is corrupt: {why}",
            code="input-truncated",
            location=Location(path=file.path),
            hint="Fetch or write the file again; nothing of it was used.",
        ) from error


def _reason(error: Exception, file: InputFile, stored_path: str) -> str:
    """The first line of a message, naming the file as the user did."""
    line = str(error).strip().partition("\n")[0].replace(stored_path, file.path)
    return line[:200] or type(error).__name__
