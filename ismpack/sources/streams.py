"""Stored bytes -> decompressed text, with every failure turned into an error that names the file."""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Literal, TypeAlias, cast

import pyarrow as pa

from ismpack.errors import InputError, Location
from ismpack.sources.inputs import InputFile

Compression: TypeAlias = Literal["gzip", "zstd"]

_MAGIC: tuple[tuple[re.Pattern[bytes], Compression], ...] = (
    (re.compile(rb"\x1f\x8b"), "gzip"),
    (re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), "zstd"),  # a frame, or a skippable frame before it
)
_BUFFER_BYTES = 1 << 20


def compression_of(head: bytes) -> Compression | None:
    """The compression that a file's first stored bytes announce, whatever its name says."""
    return next((compression for magic, compression in _MAGIC if magic.match(head)), None)


@contextmanager
def open_stored(file: InputFile, *, stored_bytes: int | None = None) -> Iterator[io.FileIO]:
    """Open a file's stored bytes, unbuffered.

    Args:
        file: The file.
        stored_bytes: The size it must have.

    Raises:
        InputError: `input-unreadable`: it cannot be opened or read; `input-changed`: it has another size, or it is not
            the same when the block ends normally as when it began.
    """
    location = Location(path=file.path)
    try:
        with open(file.open_path, "rb", buffering=0) as stored:  # noqa: PTH123 - open_path is no Path
            before = os.fstat(stored.fileno())
            if stored_bytes not in (None, before.st_size):
                raise changed(file)
            yield stored
            after = os.fstat(stored.fileno())
    except OSError as error:
        why = error.strerror or str(error)
        raise InputError(f"cannot read {file.path}: {why}", code="input-unreadable", location=location) from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise changed(file)


@contextmanager
def open_text(
    file: InputFile, compression: Compression | None, *, stored_bytes: int | None = None
) -> Iterator[BinaryIO]:
    """Open a file's text, decompressed as it is read: all gzip members and all zstd frames, one after the other.

    Raises:
        InputError: As `open_stored`; also `input-truncated`: the compressed data ends early or is corrupt.
    """
    with open_stored(file, stored_bytes=stored_bytes) as stored:
        try:
            yield _decompressed(stored, compression)
        except (EOFError, zlib.error, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's failure, not the data's
            raise _damaged(file, compression, error) from error


def changed(file: InputFile) -> InputError:
    """The error for a file that is not the one that was scanned."""
    return InputError(
        f"{file.path} changed since it was first read",
        code="input-changed",
        location=Location(path=file.path),
        hint="Wait until nothing writes to it, then run again.",
    )


def _decompressed(stored: io.FileIO, compression: Compression | None) -> BinaryIO:
    raw: io.RawIOBase = stored
    if compression == "gzip":
        # As fast as Arrow's reader (the same zlib), and zero padding after the last member is accepted.
        raw = cast("io.RawIOBase", gzip.GzipFile(fileobj=stored))
    elif compression == "zstd":
        # Arrow refuses a cut stream; python-zstandard takes it for a complete one.
        raw = pa.CompressedInputStream(pa.PythonFile(stored, "r"), compression)
    return io.BufferedReader(raw, _BUFFER_BYTES)


def _damaged(file: InputFile, compression: Compression | None, error: Exception) -> InputError:
    if "too much memory" in str(error):
        return InputError(
            f"{file.path} is zstd data with a window above 128 MB",
            code="input-unreadable",
            location=Location(path=file.path),
            hint="Compress it again without --long, or with --long=27 at most.",
        )
    return InputError(
        f"{file.path} is {compression} data that ends early or is corrupt: {error}",
        code="input-truncated",
        location=Location(path=file.path),
        hint="Fetch or compress the file again; nothing of it was used.",
    )
