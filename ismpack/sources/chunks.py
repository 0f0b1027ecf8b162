"""One pass over a file: what it is, its digest, and the chunks in which it can be read, anywhere and in any order.

What cannot be cut where it stands is first written to a plain file in a folder that the caller owns: compressed text is
decompressed there, and a table becomes one in even batches. So what is damaged is noticed before anything is converted,
and a chunk is a stretch of a plain file whatever the input was.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ismpack.data import Unit
from ismpack.errors import InternalError, Location
from ismpack.sources.compression import Compression, compression_of, decompress
from ismpack.sources.cutting import Cut, OneLineError, Span, cut
from ismpack.sources.inputs import STDIN, InputFile
from ismpack.sources.sniffing import HEAD_BYTES, Container, Layout, layout_of, refuse_foreign
from ismpack.sources.streams import Pass, changed, open_stored, unwritable
from ismpack.sources.tables import has_column, spool_table, table_kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A part of one file, and all that is needed to read it.

    Attributes:
        file: The file.
        container: How it holds records.
        open_path: What to read: the file itself, or what was made of it.
        open_bytes: Size of that.
        start: Offset of the first byte in its text; of a table, number of the first batch.
        end: Offset, or number, after the last. A chunk of lines owns those that start in [start, end).
        first: 0-based position of the first record.
        whole: Whether it is all that the file holds.
        columns: Column names of comma- or tab-separated values.
        repeated: Positions of members of a JSON object whose name came before.
    """

    file: InputFile
    container: Container
    open_path: str
    open_bytes: int
    start: int
    end: int
    first: int
    whole: bool
    columns: tuple[str, ...] = ()
    repeated: frozenset[int] = frozenset()

    @property
    def unit(self) -> Unit:
        """What a position in the file counts."""
        return _unit(self.file, self.container)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What one pass over a file found.

    Attributes:
        file: The file.
        bytes: Size as stored.
        sha256: Hex digest of the stored bytes.
        mtime_ns: When it was last written, in nanoseconds.
        compression: How it is stored; judged by the bytes, not by the name.
        container: How it holds records.
        text_bytes: Size of its text; of a table, of its values.
        chunks: Parts to read, in order, of about `chunk_bytes`, none without a record or a blank line; an empty file
            has none.
    """

    file: InputFile
    bytes: int
    sha256: str
    mtime_ns: int
    compression: Compression | None
    container: Container
    text_bytes: int
    chunks: tuple[Chunk, ...]

    def refuse_change(self) -> None:
        """Check that the file is still the one that was digested.

        Raises:
            InputError: `input-changed`, or `input-unreadable` if it is gone.
        """
        with open_stored(self.file, stored_bytes=self.bytes) as stored:
            if os.fstat(stored.fileno()).st_mtime_ns != self.mtime_ns:
                raise changed(self.file)

    @property
    def unit(self) -> Unit:
        """What a position in this file counts."""
        return _unit(self.file, self.container)

    @property
    def is_misnamed(self) -> bool:
        """Whether the file's name says another compression than its bytes."""
        named = self.file.path != STDIN
        return named and self.bytes > 0 and self.file.called_compression != self.compression


def _unit(file: InputFile, container: Container) -> Unit:
    return "line" if container == "lines" and not file.is_rows else "index"


def scan(file: InputFile, chunk_bytes: int, spool: Path, *, whole_key: str | None = None) -> Scan:
    """Read a file once: find out what it is, digest it, cut it into chunks.

    Args:
        file: The file.
        chunk_bytes: How much of its text a chunk holds, about: at least a record, and at least one line end.
        spool: Folder for what is made of the file; chunks are read from there. Nothing is left in it on an error.
        whole_key: A file with this key, anywhere in its text, or with this column becomes one chunk.

    Raises:
        InputError: `input-unreadable`, `input-changed`, `input-truncated`, `bad-table`, or `input-not-json`: it holds
            no UTF-8 JSON at all.
        OutputError: The spool folder cannot be written.
    """
    made = (spool / f"{file.index}.text", spool / f"{file.index}.arrow")
    try:
        return _scan(file, chunk_bytes, made, whole_key)
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def _scan(file: InputFile, chunk_bytes: int, targets: tuple[Path, Path], key: str | None) -> Scan:
    decompressed, table = targets
    with open_stored(file) as stored:
        compression = compression_of(stored.read(16))
        status = os.fstat(stored.fileno())
    path, size, sha256 = file.open_path, status.st_size, ""
    if compression:
        sha256 = decompress(file, compression, decompressed, stored_bytes=size)
        path, size = str(decompressed), decompressed.stat().st_size
    with open_stored(file, path, stored_bytes=size) as stored:
        head = stored.read(HEAD_BYTES)
    if table_kind(head):
        sha256 = sha256 or _digest(file, size)
        parts = _spooled_table(file, path, table, chunk_bytes, key)
        decompressed.unlink(missing_ok=True)
    else:
        refuse_foreign(file, head)
        text, parts = _cut(file, path, size, layout_of(file, head), chunk_bytes, key)
        sha256 = sha256 or text.sha256
    return Scan(
        file=file,
        bytes=status.st_size,
        sha256=sha256,
        mtime_ns=status.st_mtime_ns,
        compression=compression,
        container=parts.container,
        text_bytes=parts.bytes,
        chunks=tuple(parts.chunks(file)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """Where a plain file can be cut.

    Attributes:
        path: The file itself, or what was made of it.
        container: How it holds records.
        bytes: Size of its text, or of a table's values.
        cut: The cuts.
        whole: Whether it must be read as a whole all the same.
    """

    path: str
    container: Container
    bytes: int
    cut: Cut
    whole: bool

    def chunks(self, file: InputFile) -> Iterator[Chunk]:
        spans = self.cut.spans
        if self.whole and spans:
            spans = [Span(spans[0].start, spans[-1].end, spans[0].first)]
        repeated = self.cut.repeated
        size = Path(self.path).stat().st_size
        for number, span in enumerate(spans, 1):
            after = bisect_left(repeated, spans[number].first) if number < len(spans) else len(repeated)
            yield Chunk(
                file=file,
                container=self.container,
                open_path=self.path,
                open_bytes=size,
                start=span.start,
                end=span.end,
                first=span.first,
                whole=len(spans) == 1,
                columns=self.cut.columns,
                repeated=frozenset(repeated[bisect_left(repeated, span.first) : after]),
            )


def _cut(
    file: InputFile, path: str, size: int, layout: Layout, chunk_bytes: int, key: str | None
) -> tuple[Pass, _Parts]:
    """Cut a text, and tell what went by."""
    sought = f'"{key}"'.encode() if key else None
    is_stored_text = path == file.open_path
    with open_stored(file, path, stored_bytes=size) as stored:
        text = Pass(stored, sought, digested=is_stored_text)
        try:
            found = cut(file, text, layout, chunk_bytes)
        except OneLineError:
            layout = Layout(container="lines")
            stored.seek(0)
            text = Pass(stored, sought, digested=is_stored_text)
            found = cut(file, text, layout, chunk_bytes)
    if text.offset != size:
        raise InternalError(f"only {text.offset:,} of {size:,} bytes were cut", location=Location(path=file.path))
    whole = key in found.columns if layout.container == "csv" else text.found
    return text, _Parts(path=path, container=layout.container, bytes=text.offset, cut=found, whole=whole)


def _spooled_table(file: InputFile, path: str, target: Path, chunk_bytes: int, key: str | None) -> _Parts:
    """Rewrite a table, so that it can be cut between any two batches."""
    try:
        batches = spool_table(file, path, target, chunk_bytes)
    except OSError as error:
        raise unwritable(file, error) from error
    return _Parts(
        path=str(target),
        container="table",
        bytes=sum(batch.bytes for batch in batches),
        cut=Cut(spans=[Span(number, number + 1, batch.first_row) for number, batch in enumerate(batches)]),
        whole=key is not None and has_column(str(target), key),
    )


def _digest(file: InputFile, size: int) -> str:
    with open_stored(file, stored_bytes=size) as stored:
        content = Pass(stored)
        content.skip(size)
    return content.sha256
