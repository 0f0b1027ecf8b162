"""The output directory: built beside its final place, then moved there in one step.

    DIR.ismpack-tmp    where a run builds; locked while it does
    DIR                appears by one rename, when everything is written and synced, manifest.json last
    DIR.ismpack-old    the dataset that --overwrite replaces, for the moment between two renames

Each file is written under a temporary name, synced, and renamed, and its digests are taken on the way. A run that fails
leaves DIR as it was. A crash between the two renames of an overwrite is undone by the next run.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import xxhash

from ismpack.errors import DatasetError, OutputError
from ismpack.manifest import FileEntry, damaged_files, read_manifest
from ismpack.schema import MANIFEST_NAME

PRIVATE_MODE = 0o600


class Staging:
    """A locked directory beside the target; made by `open_staging`.

    Attributes:
        target: Where the dataset will stand.
        path: Where it is built.
        files: An entry for every file written, in order.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = _beside(target, "tmp")
        self.files: list[FileEntry] = []

    def write(
        self, name: str, write: Callable[[BinaryIO], None], *, private: bool = False, listed: bool = True
    ) -> FileEntry:
        """Write one file and note its digests.

        Args:
            name: Path inside the directory.
            write: Gets the file, opened for writing.
            private: Readable by the owner only.
            listed: Whether the file belongs to the manifest.

        Raises:
            OutputError: `output-unwritable`.
        """
        path = self.path / name
        temporary = path.with_name(f"{path.name}.tmp")
        with _output_errors(self.target / name):
            path.parent.mkdir(exist_ok=True)
            temporary.unlink(missing_ok=True)  # left by a worker that was killed
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(temporary, flags, PRIVATE_MODE if private else 0o666), "wb") as file:
                sink = _DigestingFile(file)
                write(sink)  # type: ignore[arg-type] # has what writers use of a BinaryIO
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
            _sync_directory(path.parent)
        entry = FileEntry(name=name, bytes=sink.size, xxh3_128=sink.xxh3.hexdigest(), sha256=sink.sha256.hexdigest())
        if listed:
            self.files.append(entry)
        return entry

    def write_bytes(self, name: str, content: bytes, *, private: bool = False, listed: bool = True) -> FileEntry:
        """Write one file whose content is at hand."""

        def put(file: BinaryIO) -> None:
            file.write(content)

        return self.write(name, put, private=private, listed=listed)

    def commit(self, replaces: bytes | None) -> None:
        """Move the directory to its place. Either that happens, or whatever stands there stays.

        Args:
            replaces: Content of the manifest.json of the dataset to replace; None if there must be none.

        Raises:
            OutputError: `output-exists`: something else stands there by now; `output-unwritable`.
        """
        old = _beside(self.target, "old")
        with _output_errors(self.target):
            if self.target.exists():
                self._make_room(replaces)
            if replaces is not None and old.exists():
                raise OutputError(
                    f"{old} is in the way", code="output-exists", hint="It is no complete dataset; remove it."
                )
            try:
                if replaces is not None:
                    self.target.rename(old)
                self.path.rename(self.target)
            except BaseException:  # an interrupt between the two renames must not leave the place empty
                if replaces is not None and old.exists() and not self.target.exists():
                    old.rename(self.target)
                raise
            _sync_directory(self.target.parent)
            if replaces is not None:
                _remove_dataset(old)

    def _make_room(self, replaces: bytes | None) -> None:
        manifest = self.target / MANIFEST_NAME
        if replaces is None and self.target.is_dir() and not any(self.target.iterdir()):
            return  # a rename replaces an empty directory
        if replaces is None or not manifest.is_file() or manifest.read_bytes() != replaces:
            raise OutputError(
                f"{self.target} was changed while this run went on",
                code="output-exists",
                hint="Nothing of it was touched. Choose another directory, or run again.",
            )


@contextlib.contextmanager
def open_staging(target: Path) -> Iterator[Staging]:
    """Build a dataset beside `target`. Without `commit()`, or after an error, nothing is left behind.

    Raises:
        OutputError: `output-locked` or `output-unwritable`.
    """
    staging = Staging(target)
    with _output_errors(target):
        _make_directory(target.parent)
        staging.path.mkdir(exist_ok=True)
        # Its content will be cleared, so it must not be a link to somebody's folder.
        handle = os.open(staging.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        with _output_errors(target):
            _lock(handle, staging)
            _empty(staging.path)
        try:
            yield staging
        finally:
            if staging.path.exists() and _is_same(handle, staging.path):
                shutil.rmtree(staging.path, ignore_errors=True)
    finally:
        os.close(handle)


def repair(target: Path) -> None:
    """Put a dataset back that an overwrite had moved aside when it was cut short, or remove it if it was replaced.

    Raises:
        OutputError: `output-unwritable`.
    """
    old = _beside(target, "old")
    with _output_errors(target):
        if not _is_complete(old):
            return  # not a dataset of ours, or no longer one
        if target.exists():
            _remove_dataset(old)
        else:
            old.rename(target)
            _sync_directory(target.parent)


def _is_complete(directory: Path) -> bool:
    try:
        return not damaged_files(directory, read_manifest(directory))
    except DatasetError:
        return False


def _remove_dataset(directory: Path) -> None:
    """Remove a dataset so that what is left after an interrupt is none."""
    (directory / MANIFEST_NAME).unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)


def _lock(handle: int, staging: Staging) -> None:
    """Lock the directory itself, so that no lock file has to be removed."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        locked = True
    else:
        # The run that held the lock may have moved the directory to its place in the meantime.
        locked = not _is_same(handle, staging.path)
    if locked:
        raise OutputError(
            f"another run is writing to {staging.target}",
            code="output-locked",
            hint="Wait for it to end, or choose another directory.",
        )


def _is_same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _empty(directory: Path) -> None:
    for child in directory.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(error.errno, f"{path} is not a directory") from error


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(f"{target.name}.ismpack-{suffix}")


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}",
            code="output-unwritable",
            hint="Nothing was published, and nothing is left to clean up.",
        ) from error


class _DigestingFile:
    """A file that digests what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0
        self.sha256 = hashlib.sha256()
        self.xxh3 = xxhash.xxh3_128()
        self.closed = False

    def write(self, data: bytes | memoryview) -> int:
        view = memoryview(data)
        self._file.write(view)
        self.sha256.update(view)
        self.xxh3.update(view)
        self.size += view.nbytes
        return view.nbytes

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """The owner closes the real file."""
