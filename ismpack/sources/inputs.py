"""What the user typed -> input files in a fixed order."""

from __future__ import annotations

import glob
import os
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from ismpack.errors import InputError, Location, UsageError
from ismpack.schema import MANIFEST_NAME, shard_name
from ismpack.sources.dataset_folders import dataset_files
from ismpack.sources.hub import PREFIX as HUB_PREFIX
from ismpack.sources.hub import spool_hub

STDIN = "-"
"""How standard input is typed, and its name in messages and in the manifest."""

_LINES = (".jsonl", ".ndjson")
_TABS = (".tsv",)
_TABLES = (".csv", *_TABS)
_COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2", ".xz": "xz"}


def _stored(*endings: str) -> tuple[str, ...]:
    """Endings of names, also with that of a compression after them."""
    return tuple(ending + outer for ending in endings for outer in ("", *_COMPRESSED))


ENDINGS = (*_stored(*_LINES, ".json", *_TABLES), ".parquet", ".arrow")
"""File names that a directory given as input contributes, in lower or upper case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One regular file to read.

    Attributes:
        index: 0-based place among all inputs; the file's part of `source_ids`.
        path: The file as typed (below a directory or glob: as found there), for messages; `-` for standard input.
        name: Path relative to the deepest folder that all inputs share, with forward slashes; `-` for standard input,
            and a hub dataset as typed.
        open_path: What to open.
        is_rows: Each line is a row of a hub dataset, and positions are told as such.
    """

    index: int
    path: str
    name: str
    open_path: str
    is_rows: bool = False

    @property
    def is_called_lines(self) -> bool:
        """Whether the name says that each line is a record."""
        return self.path.lower().endswith(_stored(*_LINES))

    @property
    def called_compression(self) -> str | None:
        """How the name says that it is compressed."""
        return next((kind for ending, kind in _COMPRESSED.items() if self.path.lower().endswith(ending)), None)

    @property
    def is_called_table(self) -> bool:
        """Whether the name says that it holds comma- or tab-separated values."""
        return self.path.lower().endswith(_stored(*_TABLES)) and not self.is_rows

    @property
    def is_called_tabs(self) -> bool:
        """Whether the name says that these are separated by tabs."""
        return self.path.lower().endswith(_stored(*_TABS))


def expand(inputs: Sequence[str], spooled: Mapping[str, str] = MappingProxyType({})) -> tuple[InputFile, ...]:
    """The files that the inputs stand for.

    Inputs keep the order in which they were typed. A glob (a path that does not exist as such and has wildcards) gives
    the files it matches, a directory all files below it whose name has one of `ENDINGS`; both in byte order of the
    path. Below a directory neither hidden files nor symbolic links are followed; a link that is typed is. A directory
    that `datasets` saved, given or found below another, gives its own files in its own order.

    Args:
        inputs: Files, globs, directories, hub datasets as `hf:NAME`, or `-` for standard input.
        spooled: The regular files that hold those of the inputs that are none (see `is_stream`).

    Raises:
        UsageError: `input-not-found`, `duplicate-input`, or `bad-option` when there is no input at all.
        InputError: `input-unreadable`: something other than a regular file or a directory, no permission, or a
            directory that ismpack wrote.
    """
    if not inputs:
        raise UsageError("no input is given", code="bad-option", hint="Give files, globs, directories, or - .")
    paths = [path for typed in inputs for path in ([typed] if is_stream(typed) else _expand_one(typed))]
    opened = [spooled[path] if is_stream(path) else _open_path(path) for path in paths]
    _refuse_duplicates(paths, opened)
    folder = _common_folder([real for path, real in zip(paths, opened, strict=True) if not is_stream(path)])
    return tuple(
        InputFile(
            index=index,
            path=_printable(path),
            name=_printable(path if is_stream(path) else Path(os.path.relpath(real, folder)).as_posix()),
            open_path=real,
            is_rows=path.startswith(HUB_PREFIX),
        )
        for index, (path, real) in enumerate(zip(paths, opened, strict=True))
    )


def is_stream(typed: str) -> bool:
    """Whether an input is no file, and must first be written to one: standard input, or a hub dataset.

    A file whose name starts like a hub dataset is typed as `./hf:...`.
    """
    return typed == STDIN or typed.startswith(HUB_PREFIX)


def spool_streams(inputs: Sequence[str], stdin: BinaryIO | None, folder: Path) -> dict[str, str]:
    """Write the inputs that are no files to regular files, so that they can be read in chunks.

    Args:
        inputs: As for `expand`.
        stdin: What `-` reads.
        folder: Where to write; the caller removes it.

    Returns:
        Input -> path.

    Raises:
        UsageError: `bad-option`: there is no standard input. Also what reading a hub dataset raises.
    """
    spooled: dict[str, str] = {}
    for typed in dict.fromkeys(filter(is_stream, inputs)):
        if typed.startswith(HUB_PREFIX):
            spooled[typed] = str(spool_hub(typed, folder))
            continue
        if stdin is None:
            raise UsageError("- stands for standard input, but there is none", code="bad-option")
        with (folder / "stdin").open("wb") as file:
            shutil.copyfileobj(stdin, file, length=1 << 20)
            spooled[typed] = file.name
    return spooled


def _expand_one(typed: str) -> list[str]:
    if not _exists(typed):
        matches = glob.glob(typed, recursive=True)  # noqa: PTH207 - keeps the path as typed, takes absolute patterns
        found = _in_byte_order(path for path in matches if not Path(path).is_dir())
        if found:
            return found
        what = "matches no file" if glob.has_magic(typed) else "does not exist"
        raise UsageError(f"input {_printable(typed)} {what}", code="input-not-found")
    if not stat.S_ISDIR(_status(typed).st_mode):
        return [typed]
    found = _files_below(typed)
    if not found:
        raise UsageError(
            f"directory {_printable(typed)} holds no input file",
            code="input-not-found",
            hint=f"Files end in {', '.join(ENDINGS)}; hidden files and symbolic links are not followed.",
        )
    return found


def _files_below(folder: str) -> list[str]:
    """The inputs below a folder; what `datasets` saved stands where its folder does."""

    def refuse(error: OSError) -> None:
        raise _unreadable(str(error.filename), error.strerror or "it cannot be listed") from error

    found: dict[str, list[str]] = {}
    for parent, folders, names in os.walk(folder, onerror=refuse):
        if MANIFEST_NAME in names and shard_name(0) in names:
            raise _unreadable(parent, "it is a dataset of packed rows", hint="Give what it was converted from.")
        saved = dataset_files(parent)
        if saved is not None:
            found[parent] = saved
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = os.path.join(parent, name)  # noqa: PTH118 - keeps the path as typed, with its leading ./ or ../
            if name.lower().endswith(ENDINGS) and not name.startswith(".") and _is_plain_file(path):
                found[path] = [path]
    return [path for place in _in_byte_order(found) for path in found[place]]


def _is_plain_file(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path)  # noqa: PTH113, PTH114 - as in _status


def _in_byte_order(paths: Iterable[str]) -> list[str]:
    return sorted(paths, key=os.fsencode)


def _open_path(path: str) -> str:
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
