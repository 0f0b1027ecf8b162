"""The output folder of an export: built beside its place under another name, then moved there in one step.

A folder that an export wrote holds `ismpack-export.json`; nothing else is ever replaced.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ismpack.errors import OutputError, UsageError

MARK = "ismpack-export.json"


def check_place(out: Path, dataset: Path, *, overwrite: bool) -> None:
    """Refuse a place that cannot be taken, before any work is done.

    Raises:
        UsageError: `output-inside-input`.
        OutputError: `output-exists`.
    """
    place, source = out.resolve(), dataset.resolve()
    if place == source or source in place.parents or place in source.parents:
        raise UsageError(
            f"{out} and the dataset {dataset} lie inside each other",
            code="output-inside-input",
            hint="Choose a directory outside the dataset.",
        )
    if not os.path.lexists(out) or _is_empty(out):
        return
    if out.is_symlink() or not (out / MARK).is_file():
        raise OutputError(
            f"{out} exists and is no export",
            code="output-exists",
            hint="Choose another directory; only an earlier export is ever replaced.",
        )
    if not overwrite:
        raise OutputError(
            f"{out} holds an earlier export", code="output-exists", hint="Give --overwrite to replace it."
        )


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to build in; it takes its place when the block ends without an error, and is removed otherwise.

    Raises:
        OutputError: `output-unwritable`, or `output-exists` if something else has taken the place by then.
    """
    with _output_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own, so that two runs never write into one folder.
        building = Path(tempfile.mkdtemp(prefix=f"{out.name}.ismpack-export-", dir=out.parent))
    try:
        with _output_errors(out):
            building.chmod(0o777 & ~_umask())
        yield building
        with _output_errors(out):
            _sync(building)
            _take_place(building, out)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _take_place(building: Path, out: Path) -> None:
    earlier = (out / MARK).is_file()
    if os.path.lexists(out) and not earlier and not _is_empty(out):
        raise OutputError(f"{out} was taken while this run went on", code="output-exists", hint="Run again.")
    old = building.with_name(f"{building.name}-old")
    try:
        if earlier:
            out.rename(old)
        building.rename(out)
    except BaseException:  # an interrupt between the two renames must not leave the place empty
        if old.exists() and not os.path.lexists(out):
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
