"""The output folder of an export: built beside its place, then moved there in one step.

    OUT.ismpack-export        where a run works; locked while it does, and gone afterwards
    OUT.ismpack-export/new    the export that is built
    OUT.ismpack-export/old    the export that --overwrite replaces, from the moment between two renames on
    OUT                       appears by one rename, when everything is written and synced

What a killed run leaves is put right by the next one; an export that is still in `old` goes back to its place.
A folder that an export wrote holds `ismpack-export.json`, which names what is in it; nothing else is ever replaced.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ismpack.errors import OutputError, UsageError

MARK = "ismpack-export.json"


class _Mark(msgspec.Struct):
    """What the mark says about the folder it stands in."""

    files: list[str]
    leaves: list[str] = []


@contextlib.contextmanager
def new_folder(out: Path, dataset: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder to build in; it takes its place when the block ends without an error, and is removed otherwise.

    An `OSError` of the block counts as one of writing.

    Args:
        out: The place.
        dataset: What is exported; must lie apart from it.
        overwrite: Whether an export that stands in the place now may be replaced.

    Raises:
        UsageError: `output-inside-input`.
        OutputError: `output-exists`, also if something has taken the place during the block; `output-locked`;
            `output-unwritable`.
    """
    with _output_errors(out):
        place = _place(out, dataset)
        place.parent.mkdir(parents=True, exist_ok=True)
        work = _work(place)
        new, old = work / "new", work / "old"
        with _locked(work, out):
            try:
                _put_right(work, place)
                earlier = _earlier(place, out, overwrite=overwrite)
                new.mkdir()
                yield new
                _sync(*new.rglob("*"), new)
                if _earlier(place, out, overwrite=overwrite) != earlier:
                    raise _exists(f"{out} was changed while this run went on", "Nothing was touched. Run again.")
                if earlier is not None:
                    place.rename(old)
                new.rename(place)
                _sync(place.parent)
            finally:
                _put_right(work, place)
                with contextlib.suppress(OSError):
                    work.rmdir()


def _place(out: Path, dataset: Path) -> Path:
    if out.is_symlink():
        raise _exists(f"{out} is a symbolic link", "Give the directory itself.")
    place, source = out.resolve(), dataset.resolve()
    for taken in (place, _work(place)):
        if taken == source or source in taken.parents or taken in source.parents:
            raise UsageError(
                f"{taken} and the dataset {dataset} lie inside each other",
                code="output-inside-input",
                hint="Choose a directory outside the dataset.",
            )
    return place


def _work(place: Path) -> Path:
    return place.parent / f"{place.name}.ismpack-export"


@contextlib.contextmanager
def _locked(work: Path, out: Path) -> Iterator[None]:
    """Make the folder and lock it; the lock goes with this process, however it ends."""
    work.mkdir(exist_ok=True)
    # Its content will be cleared, so it must not be a link to somebody's folder.
    handle = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The run that held the lock may have removed the folder in the meantime.
            ours = os.path.samestat(os.fstat(handle), work.stat())
        except (BlockingIOError, FileNotFoundError):
            ours = False
        if not ours:
            raise OutputError(
                f"another run is writing to {out}",
                code="output-locked",
                hint="Wait for it to end, or choose another directory.",
            )
        yield
    finally:
        os.close(handle)


def _put_right(work: Path, place: Path) -> None:
    """Put an export back that was moved aside and not replaced, and remove everything else."""
    old = work / "old"
    mark = old / MARK
    if mark.is_file():
        if _is_free(place):
            old.rename(place)
            _sync(place.parent)
        else:
            mark.unlink()  # first, so that what is left after an interrupt is no export
    for path in work.iterdir():
        shutil.rmtree(path, ignore_errors=True)


def _earlier(place: Path, out: Path, *, overwrite: bool) -> bytes | None:
    """The mark of the export that is to be replaced; None if the place is free.

    Raises:
        OutputError: `output-exists`: what stands there must stay.
    """
    if _is_free(place):
        return None
    try:
        text = (place / MARK).read_bytes()
        mark = msgspec.json.decode(text, type=_Mark)
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        raise _exists(
            f"{out} exists and is no export", "Choose another directory; only an earlier export is ever replaced."
        ) from None
    if not overwrite:
        raise _exists(f"{out} holds an earlier export", "Give --overwrite to replace it.")
    strange = {path.name for path in place.iterdir()} - {MARK, *mark.files, *mark.leaves}
    if strange:
        raise _exists(f"{out} holds {min(strange)!r}, which no export wrote", "Move it away, and run again.")
    return text


def _exists(message: str, hint: str) -> OutputError:
    return OutputError(message, code="output-exists", hint=hint)


def _is_free(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        return not any(path.iterdir())
    return not os.path.lexists(path)


def _sync(*paths: Path) -> None:
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def _output_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # Arrow's own text says what it was doing, and only then what went wrong.
        reason = os.strerror(error.errno) if error.errno else str(error)
        where = f" ({error.filename})" if error.filename else ""
        raise OutputError(
            f"cannot write {out}: {reason}{where}",
            code="output-unwritable",
            hint="Nothing was published, and nothing is left to clean up.",
        ) from error
