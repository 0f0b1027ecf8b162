"""Stored files as streams: opened with every failure as an error that names the file, and watched as they are read."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from ismpack.errors import InputError, Location, OutputError
from ismpack.sources.inputs import InputFile

BLOCK_BYTES = 1 << 20


@contextmanager
def open_stored(file: InputFile, path: str | None = None, *, stored_bytes: int | None = None) -> Iterator[io.FileIO]:
    """Open a file's stored bytes, unbuffered.

    Args:
        file: The file.
        path: What to open instead of the file itself: what was made of it.
        stored_bytes: The size it must have.

    Raises:
        InputError: `input-unreadable`: it cannot be opened or read; `input-changed`: it has another size, or it is not
            the same when the block ends normally as when it began.
    """
    location = Location(path=file.path)
    try:
        with open(path or file.open_path, "rb", buffering=0) as stored:  # noqa: PTH123 - open_path is no Path
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


def changed(file: InputFile) -> InputError:
    """The error for a file that is not the one that was scanned."""
    return InputError(
        f"{file.path} changed since it was first read",
        code="input-changed",
        location=Location(path=file.path),
        hint="Wait until nothing writes to it, then run again.",
    )


def unwritable(file: InputFile, error: OSError) -> OutputError:
    """The error for what is made of a file and cannot be written."""
    return OutputError(
        f"cannot write what is read from {file.path} to a temporary file: {error.strerror or error}",
        code="os-error",
        hint="Set TMPDIR to a folder with room for the decompressed text.",
    )


def part_of(stream: BinaryIO, size: int) -> Callable[[int], bytes]:
    """Reads at most `size` bytes from where the stream stands."""
    left = size

    def read(count: int) -> bytes:
        nonlocal left
        block = stream.read(min(count, left))
        left -= len(block)
        return block

    return read


class Pass:
    """One pass over a stream from its start: digests it, and looks for a key, while somebody else reads it.

    Args:
        stream: The stream.
        key: Bytes to look for.
        digested: Whether the digest is wanted.

    Attributes:
        offset: Bytes read so far.
        found: Whether the key was among them.
        first_newline: Where the first newline is, apart from what was skipped.
    """

    def __init__(self, stream: BinaryIO, key: bytes | None = None, *, digested: bool = True) -> None:
        self._stream = stream
        self._digest = hashlib.sha256() if digested else None
        self._key = key
        self._block = b""
        self._end_of_block = b""
        self.offset = 0
        self.found = False
        self.first_newline: int | None = None

    def read(self, count: int) -> bytes:
        """The next bytes; b"" at the end."""
        block = self._stream.read(count)
        if self._digest:
            self._digest.update(block)
        if self.first_newline is None and (place := block.find(b"\n")) >= 0:
            self.first_newline = self.offset + place
        self.offset += len(block)
        self._block = block
        if self._key and not self.found:
            reach = len(self._key)
            self.found = self._key in block or self._key in self._end_of_block + block[:reach]
            self._end_of_block = (self._end_of_block + block[-reach:])[-reach:]
        return block

    def skip(self, offset: int) -> None:
        """Read on up to an offset."""
        while self.offset < offset and self.read(min(BLOCK_BYTES, offset - self.offset)):
            pass
        self.first_newline = None

    def rest(self, offset: int) -> Iterator[bytes]:
        """What stands from an offset in the block that was read last, and all that follows."""
        if self.offset > offset:
            yield self._block[offset - self.offset :]
        while block := self.read(BLOCK_BYTES):
            yield block

    @property
    def sha256(self) -> str:
        """Hex digest of what was read; empty if it was not wanted."""
        return self._digest.hexdigest() if self._digest else ""
