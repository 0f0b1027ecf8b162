"""Compressed files: recognised by their bytes, and decompressed once to a plain file that can be read anywhere."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import pyarrow as pa

from ismpack.errors import InputError, Location
from ismpack.sources.inputs import InputFile
from ismpack.sources.limits import BOMB_BYTES, BOMB_RATIO, MAX_DECODER_BYTES
from ismpack.sources.streams import BLOCK_BYTES, Pass, open_stored, unwritable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Compression: TypeAlias = Literal["gzip", "zstd", "bzip2", "xz"]

_MAGIC: tuple[tuple[re.Pattern[bytes], Compression], ...] = (
    (re.compile(rb"\x1f\x8b"), "gzip"),
    (re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), "zstd"),  # a frame, or a skippable frame before it
    (re.compile(rb"BZh[1-9](1AY&SY|\x17\x72\x45\x38\x50\x90)"), "bzip2"),  # a block, or the end of an empty stream
    (re.compile(rb"\xfd7zXZ\0"), "xz"),
)
_TOO_LARGE: dict[Compression, tuple[str, str]] = {
    "zstd": (
        "zstd data with a window above 128 MB",
        "Compress it again without --long, or with --long=27 at most.",
    ),
    "xz": (
        f"xz data that takes more than {MAX_DECODER_BYTES >> 20} MB of memory to decompress",
        "Compress it again with a smaller dictionary, for example with: xz -9.",
    ),
}
_TOO_MUCH_MEMORY = re.compile(r"too much memory|memory usage limit", re.IGNORECASE)


def compression_of(head: bytes) -> Compression | None:
    """The compression that a file's first stored bytes announce, whatever its name says."""
    return next((compression for magic, compression in _MAGIC if magic.match(head)), None)


def decompress(
    file: InputFile,
    compression: Compression,
    target: Path,
    *,
    stored_bytes: int | None = None,
    bomb_bytes: int = BOMB_BYTES,
) -> str:
    """Write a file's text to `target`: all gzip members, zstd frames, bzip2 and xz streams, one after the other.

    Args:
        file: The file.
        compression: How it is stored.
        target: A new file.
        stored_bytes: Size that the file must have.
        bomb_bytes: How much text is accepted whatever it came from.

    Returns:
        Hex sha256 of the stored bytes.

    Raises:
        InputError: As `open_stored`; also `input-truncated`: the data ends early or is corrupt, and
            `input-unreadable`: it would take too much memory, or is a decompression bomb.
        OutputError: The target cannot be written.
    """
    with open_stored(file, stored_bytes=stored_bytes) as stored:
        watched = _Stored(stored)
        size = 0
        with _opened(target, file) as text:
            for block in _text(file, compression, watched):
                size += len(block)
                if size > bomb_bytes and size > BOMB_RATIO * watched.seen.offset:
                    raise _bomb(file, size)
                _write(text, block, file)
        watched.seen.skip(os.fstat(stored.fileno()).st_size)
        return watched.seen.sha256


class _Stored(io.RawIOBase):
    """Stored bytes for a decoder, digested on the way."""

    def __init__(self, stored: io.FileIO) -> None:
        super().__init__()
        self.seen = Pass(stored)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        block = self.seen.read(len(view))
        view[: len(block)] = block
        return len(block)


def _text(file: InputFile, compression: Compression, stored: io.RawIOBase) -> Iterator[bytes]:
    try:
        yield from _DECODERS[compression](stored)
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's failure, not the data's
        raise _damaged(file, compression, error) from error


def _gzip(stored: io.RawIOBase) -> Iterator[bytes]:
    # As fast as Arrow's reader (the same zlib), and zero padding after the last member is accepted.
    with gzip.GzipFile(fileobj=io.BufferedReader(stored, BLOCK_BYTES)) as text:
        yield from iter(partial(text.read, BLOCK_BYTES), b"")


def _zstd(stored: io.RawIOBase) -> Iterator[bytes]:
    # Arrow refuses a cut stream; python-zstandard takes it for a complete one.
    text = pa.CompressedInputStream(pa.PythonFile(stored, "r"), "zstd")
    yield from iter(partial(text.read, BLOCK_BYTES), b"")


class _Decoder(Protocol):
    """What the decoders of `bz2` and `lzma` have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _streams(new: Callable[[], _Decoder], padding: bytes, stored: io.RawIOBase) -> Iterator[bytes]:
    """Streams one after the other; the modules' own file objects ignore whatever follows the first of them."""
    decoder, data, began = new(), b"", False
    while True:
        if decoder.eof:
            data, decoder, began = decoder.unused_data, new(), False
        if not began:
            data = data.lstrip(padding)
        if not data and decoder.needs_input:
            data = stored.read(BLOCK_BYTES) or b""
            if not data:
                break
            continue
        began = True
        yield decoder.decompress(data, BLOCK_BYTES)
        data = b""
    if began:
        raise EOFError("the end of the stream is missing")


_DECODERS: dict[Compression, Callable[[io.RawIOBase], Iterator[bytes]]] = {
    "gzip": _gzip,
    "zstd": _zstd,
    "bzip2": partial(_streams, bz2.BZ2Decompressor, b""),
    "xz": partial(_streams, partial(lzma.LZMADecompressor, format=lzma.FORMAT_XZ, memlimit=MAX_DECODER_BYTES), b"\0"),
}


def _opened(target: Path, file: InputFile) -> io.FileIO:
    try:
        return target.open("xb", buffering=0)
    except OSError as error:
        raise unwritable(file, error) from error


def _write(text: io.FileIO, block: bytes, file: InputFile) -> None:
    view = memoryview(block)
    try:
        while view:
            view = view[text.write(view) :]
    except OSError as error:
        raise unwritable(file, error) from error


def _damaged(file: InputFile, compression: Compression, error: Exception) -> InputError:
    if _TOO_MUCH_MEMORY.search(str(error)):
        what, hint = _TOO_LARGE[compression]
        return InputError(
            f"{file.path} is {what}", code="input-unreadable", location=Location(path=file.path), hint=hint
        )
    return InputError(
        f"{file.path} is {compression} data that ends early or is corrupt: {error}",
        code="input-truncated",
        location=Location(path=file.path),
        hint="Fetch or compress the file again; nothing of it was used.",
    )


def _bomb(file: InputFile, size: int) -> InputError:
    return InputError(
        f"{file.path} is a decompression bomb: it gave {size:,} bytes, more than {BOMB_RATIO:,} times its own size",
        code="input-unreadable",
        location=Location(path=file.path),
        hint="Decompress it yourself if it is meant to be so.",
    )
