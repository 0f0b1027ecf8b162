"""One pass over a file's stored bytes: what it is, its digest, and the chunks in which it can be read."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from ismpack.data import Unit
from ismpack.sources.inputs import InputFile
from ismpack.sources.sniffing import HEAD_BYTES, Container, container_of, refuse_foreign
from ismpack.sources.streams import Compression, changed, compression_of, open_stored, open_text

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A part of one file, and all that is needed to read it.

    Attributes:
        file: The file.
        compression: How it is stored.
        container: One record per line, or one JSON array.
        start: First stored byte. The chunk owns the lines that start in [start, end).
        end: Stored byte after the last.
        first_line: 0-based physical line that the first owned line is.
        file_bytes: Size of the whole file when it was scanned.
    """

    file: InputFile
    compression: Compression | None
    container: Container
    start: int
    end: int
    first_line: int
    file_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What one pass over a file found.

    Attributes:
        file: The file.
        bytes: Size as stored.
        sha256: Hex digest of the stored bytes.
        compression: How it is stored; judged by the bytes, not by the name.
        container: One record per line, or one JSON array.
        mtime_ns: When it was last written, in nanoseconds.
        chunks: Parts to read, in order, none without a line of its own. An uncompressed line-based file is cut every
            `chunk_bytes`; any other file is one chunk, and an empty one has none.
    """

    file: InputFile
    bytes: int
    sha256: str
    compression: Compression | None
    container: Container
    mtime_ns: int
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
        return unit_of(self.container)


def unit_of(container: Container) -> Unit:
    """What a position in such a file counts."""
    return "line" if container == "lines" else "index"


def scan(file: InputFile, chunk_bytes: int) -> Scan:
    """Read a file once: find out what it is, digest it, cut it into chunks.

    Raises:
        InputError: `input-unreadable`, `input-changed`, `input-truncated` (seen already at its start), or
            `input-not-json`: it holds no UTF-8 JSON at all.
    """
    with open_stored(file) as stored:
        compression = compression_of(stored.read(16))
        mtime_ns = os.fstat(stored.fileno()).st_mtime_ns
    with open_text(file, compression) as text:
        head = text.read(HEAD_BYTES)
    refuse_foreign(file, head)
    container = container_of(file, head)
    divisible = compression is None and container == "lines"
    digest = hashlib.sha256()
    spans = list(_spans(file, chunk_bytes if divisible else sys.maxsize, digest))
    size = spans[-1].end if spans else 0
    chunks = tuple(
        Chunk(
            file=file,
            compression=compression,
            container=container,
            start=span.start,
            end=span.end,
            first_line=span.first_line,
            file_bytes=size,
        )
        for span in spans
        if span.starts_line or not divisible
    )
    return Scan(
        file=file,
        bytes=size,
        sha256=digest.hexdigest(),
        compression=compression,
        container=container,
        mtime_ns=mtime_ns,
        chunks=chunks,
    )


@dataclass(frozen=True, slots=True)
class _Span:
    start: int
    end: int
    first_line: int
    starts_line: bool


def _spans(file: InputFile, span_bytes: int, digest: hashlib._Hash) -> Iterator[_Span]:
    """Cut the stored bytes every `span_bytes`, counting lines and feeding the digest on the way."""
    with open_stored(file) as stored:
        reader = io.BufferedReader(stored, _BLOCK_BYTES)
        start = lines_before = 0
        at_line_start = True
        while True:
            end, newlines, last = start, 0, b""
            while block := reader.read(min(_BLOCK_BYTES, start + span_bytes - end)):
                digest.update(block)
                newlines += block.count(b"\n")
                last = block[-1:]
                end += len(block)
            if end == start:
                return
            # A newline that is the span's last byte starts a line in the next span, not in this one.
            starts_line = at_line_start or newlines - (last == b"\n") > 0
            yield _Span(start, end, lines_before + (not at_line_start), starts_line)
            start, lines_before, at_line_start = end, lines_before + newlines, last == b"\n"
