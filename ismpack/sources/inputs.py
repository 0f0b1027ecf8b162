"""What the user typed -> input files in a fixed order."""

from __future__ import annotations

import glob
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ismpack.errors import InputError, Location, UsageError

STDIN = "-"
"""How standard input is typed, and its name in messages and in the manifest."""

ENDINGS = tuple(base + outer for base in (".jsonl", ".ndjson", ".json") for outer in ("", ".gz", ".zst"))
"""File names that a directory given as input contributes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One regular file to read.

    Attributes:
        index: 0-based place among all inputs; the file's part of `source_ids`.
        path: The file as typed (below a directory or glob: as found there), for messages; `-` for standard input.
        name: Path relative to the deepest folder that all inputs share, with forward slashes; `-` for standard input.
        open_path: What to open.
    """

    index: int
    path: str
    name: str
    open_path: str


def expand(inputs: Sequence[str], *, stdin_path: str | None = None) -> tuple[InputFile, ...]:
    """The files that the inputs stand for.

    Inputs keep the order in which they were typed. A glob (a path that does not exist as such and has wildcards) gives
    the files it matches, a directory all files below it whose name has one of `ENDINGS`; both in byte order of the
    path. Below a directory neither hidden files nor symbolic links are followed; a link that is typed is.

    Args:
        inputs: Files, globs, directories, or `-` for standard input.
        stdin_path: The regular file that holds standard input (see `spool_stdin`); needed when `-` is given.

    Raises:
        UsageError: `input-not-found`, `duplicate-input`, or `bad-option` when there is no input at all.
        InputError: `input-unreadable`: something other than a regular file or a directory, or no permission.
    """
    if not inputs:
        raise UsageError("no input is given", code="bad-option", hint="Give files, globs, directories, or - .")
    paths = [path for typed in inputs for path in _expand_one(typed)]
    opened = [_open_path(path, stdin_path) for path in paths]
    _refuse_duplicates(paths, opened)
    folder = _common_folder([real for path, real in zip(paths, opened, strict=True) if path != STDIN])
    return tuple(
        InputFile(
            index=index,
            path=_printable(path),
            name=STDIN if path == STDIN else _printable(Path(os.path.relpath(real, folder)).as_posix()),
            open_path=real,
        )
        for index, (path, real) in enumerate(zip(paths, opened, strict=True))
    )


def spool_stdin(stream: BinaryIO, folder: str | Path) -> str:
    """Copy a stream to a regular file in `folder`, which the caller removes, so that it can be read in chunks.

    Returns:
        The file's path.
    """
    with tempfile.NamedTemporaryFile(dir=folder, prefix="stdin-", delete=False) as spooled:
        shutil.copyfileobj(stream, spooled, length=1 << 20)
    return spooled.name


def _expand_one(typed: str) -> list[str]:
    if typed == STDIN:
        return [STDIN]
    if not _exists(typed):
        matches = glob.glob(typed, recursive=True)  # noqa: PTH207 - keeps the path as typed, takes absolute patterns
        found = _in_byte_order(path for path in matches if not Path(path).is_dir())
        if found:
            return found
        what = "matches no file" if glob.has_magic(typed) else "does not exist"
        raise UsageError(f"input {_printable(typed)} {what}", code="input-not-found")
    if not stat.S_ISDIR(_status(typed).st_mode):
        return [typed]
    found = _in_byte_order(_files_below(typed))
    if not found:
        raise UsageError(
            f"directory {_printable(typed)} holds no input file",
            code="input-not-found",
            hint=f"Files end in {', '.join(ENDINGS)}; hidden files and symbolic links are not followed.",
        )
    return found


def _files_below(folder: str) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise _unreadable(str(error.filename), error.strerror or "it cannot be listed") from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = os.path.join(parent, name)  # noqa: PTH118 - keeps the path as typed, with its leading ./ or ../
            if name.endswith(ENDINGS) and not name.startswith(".") and _is_plain_file(path):
                yield path


def _is_plain_file(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path)  # noqa: PTH113, PTH114 - as in _status


def _in_byte_order(paths: Iterable[str]) -> list[str]:
    return sorted(paths, key=os.fsencode)


def _open_path(path: str, stdin_path: str | None) -> str:
    if path == STDIN:
        if stdin_path is None:
            raise ValueError("standard input is among the inputs, so stdin_path is needed")
        return stdin_path
    if not stat.S_ISREG(_status(path).st_mode):
        raise _unreadable(path, "it is not a regular file", hint="For a pipe, use - and redirect it to standard input.")
    if not os.access(path, os.R_OK):
        raise _unreadable(path, "permission denied")
    return os.path.abspath(path)  # noqa: PTH100 - resolves no symbolic link, so that names stay as typed


def _exists(path: str) -> bool:
    """Whether something has this name, be it a symbolic link to nothing."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(path, error.strerror or "unknown reason") from error
    return True


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)  # noqa: PTH116 - the path may hold bytes that only os functions carry unchanged
    except FileNotFoundError:
        raise UsageError(
            f"input {_printable(path)} is a symbolic link to a file that does not exist", code="input-not-found"
        ) from None
    except OSError as error:
        raise _unreadable(path, error.strerror or "unknown reason") from error


def _refuse_duplicates(paths: list[str], opened: list[str]) -> None:
    """Compare by device and inode, which sees through symbolic and hard links."""
    seen: dict[tuple[int, int], int] = {}
    for index, real in enumerate(opened):
        status = _status(real)
        earlier = seen.setdefault((status.st_dev, status.st_ino), index)
        if earlier != index:
            first, path = paths[earlier], paths[index]
            again = "twice" if first == path else f"again as {_printable(path)}"
            raise UsageError(
                f"input {_printable(first)} is given {again}",
                code="duplicate-input",
                hint="Name each file once; its records would count twice.",
            )


def _common_folder(files: list[str]) -> str:
    return os.path.commonpath([os.path.dirname(file) for file in files]) if files else ""  # noqa: PTH120


def _printable(path: str) -> str:
    """The path as valid Unicode: bytes that are not UTF-8 become backslash escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _unreadable(path: str, why: str, hint: str | None = None) -> InputError:
    location = Location(path=_printable(path))
    return InputError(f"cannot read {location.path}: {why}", code="input-unreadable", location=location, hint=hint)
