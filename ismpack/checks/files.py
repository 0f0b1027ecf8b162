"""Checks of the manifest and of the files of the directory, before any shard is opened."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import xxhash

from ismpack.checks.report import Check, Problem, counted
from ismpack.checks.rules import INT32_MAX
from ismpack.manifest import FileEntry, InputEntry, Manifest, manifest_digest
from ismpack.reader import is_file_name
from ismpack.schema import (
    COLUMNS,
    DERIVED_COLUMNS,
    FORMAT_VERSION,
    MANIFEST_NAME,
    RUN_NAME,
    SEGMENT_TYPE_NAMES,
    shard_name,
)


@dataclass(frozen=True, eq=False, kw_only=True)  # no slots: sizes are looked up once
class Directory:
    """A dataset directory and what its manifest says."""

    path: Path
    manifest: Manifest

    @cached_property
    def sizes(self) -> dict[str, int | None]:
        """Listed file -> its size; None for one that is missing, no plain file, or may not be named at all."""
        return {entry.name: _size(self.path, entry.name) for entry in self.manifest.files}

    @cached_property
    def shard_names(self) -> set[str]:
        """Names of the shards."""
        return {shard.name for shard in self.manifest.shards}

    def problem(self, name: str, message: str) -> Problem:
        """A problem of one file; a shard that has one is not opened."""
        shown = name if is_file_name(name) else repr(name)
        return Problem(message=f"{shown} {message}", shard=name if name in self.shard_names else None)


def _size(root: Path, name: str) -> int | None:
    try:
        status = (root / name).stat() if is_file_name(name) else None
    except OSError:
        return None
    return status.st_size if status and stat.S_ISREG(status.st_mode) else None


def manifest_digest_matches(directory: Directory) -> Iterator[Problem]:
    """The digest is taken over the JSON itself, so keys that we do not know count too."""
    try:
        content: dict[str, Any] = json.loads((directory.path / MANIFEST_NAME).read_bytes())
        digest = manifest_digest(content)
    except (OSError, ValueError, RecursionError) as error:
        yield Problem(message=f"the digest of {MANIFEST_NAME} cannot be computed: {error}")
        return
    if digest != directory.manifest.digest:
        yield Problem(message=f"{MANIFEST_NAME} has the digest {digest}, but states {directory.manifest.digest!r}")


def manifest_content(directory: Directory) -> Iterator[Problem]:
    """Types are checked when the manifest is read; this is about values."""
    manifest = directory.manifest
    faults = [
        *_option_faults(manifest.options),
        *_column_faults(manifest.columns),
        *_id_faults(manifest),
        *_input_faults(manifest.inputs),
    ]
    if not 1 <= manifest.format_version <= FORMAT_VERSION:
        faults.append(f"there is no format version {manifest.format_version}")
    if manifest.segment_types != {str(value): name for value, name in SEGMENT_TYPE_NAMES.items()}:
        faults.append(f"segment_types is not the table of format version {FORMAT_VERSION}")
    for fault in faults:
        yield Problem(message=fault)
    yield from _name_problems(directory)


def _option_faults(options: dict[str, Any]) -> Iterator[str]:
    expected: dict[str, tuple[type, Callable[[Any], bool]]] = {
        "max_length": (int, lambda value: 2 <= value <= INT32_MAX),
        "on_rewrite": (str, lambda value: value in ("stitch", "split", "error")),
        "allow_unterminated": (bool, lambda _: True),
    }
    for name, (kind, allowed) in expected.items():
        value = options.get(name)
        if type(value) is not kind or not allowed(value):
            yield f"options.{name} is {json.dumps(value)}"


def _column_faults(columns: dict[str, str]) -> Iterator[str]:
    known = COLUMNS | DERIVED_COLUMNS
    for name in COLUMNS.keys() - columns.keys():
        yield f"columns lacks {name}"
    for name, dtype in columns.items():
        if name not in known:
            yield f"columns lists {name!r}, which format version {FORMAT_VERSION} does not have"
        elif dtype != known[name]:
            yield f"columns says that {name} holds {dtype}; it holds {known[name]}"


def _id_faults(manifest: Manifest) -> Iterator[str]:
    if not 0 <= manifest.largest_id <= INT32_MAX:
        yield f"largest_id is {manifest.largest_id}"
    for name in ("stop_ids", "control_ids"):
        wrong = [value for value in getattr(manifest, name) if not 0 <= value <= manifest.largest_id]
        if wrong:
            yield f"{name} holds {wrong[0]}, which is outside 0..largest_id"


def _input_faults(inputs: list[InputEntry]) -> Iterator[str]:
    for entry in inputs:
        if entry.unit not in ("line", "index"):
            yield f"input {entry.name!r} counts in {entry.unit!r}; only line and index exist"


def _name_problems(directory: Directory) -> Iterator[Problem]:
    listed: set[str] = set()
    for entry in directory.manifest.files:
        if not is_file_name(entry.name) or entry.name in listed or entry.name in (MANIFEST_NAME, RUN_NAME):
            yield directory.problem(entry.name, "is listed in files, where it cannot be (again)")
        listed.add(entry.name)
    for index, shard in enumerate(directory.manifest.shards):
        if shard.name != shard_name(index):
            yield directory.problem(shard.name, f"stands where {shard_name(index)} belongs in shards")
        if shard.name not in listed:
            yield directory.problem(shard.name, "is a shard but not listed in files")


def files_present(directory: Directory) -> Iterator[Problem]:
    """A name that leaves the directory is not followed."""
    for name, size in directory.sizes.items():
        if size is None:
            yield directory.problem(name, "is listed but there is no such file")


def file_sizes(directory: Directory) -> Iterator[Problem]:
    """Sizes of the files that are there."""
    for entry in directory.manifest.files:
        size = directory.sizes[entry.name]
        if size is not None and size != entry.bytes:
            yield directory.problem(entry.name, f"has {counted(size, 'byte')}; the manifest says {entry.bytes:,}")


def file_hashes(directory: Directory) -> Iterator[Problem]:
    """xxh3_128 of the files that have the right size."""
    return _digests(directory, "xxh3_128", xxhash.xxh3_128, lambda entry: entry.xxh3_128)


def file_sha256(directory: Directory) -> Iterator[Problem]:
    """sha256 of the files that have the right size."""
    return _digests(directory, "sha256", hashlib.sha256, lambda entry: entry.sha256)


def _digests(
    directory: Directory, algorithm: str, new: Callable[[], Any], stated: Callable[[FileEntry], str]
) -> Iterator[Problem]:
    for entry in directory.manifest.files:
        if directory.sizes[entry.name] != entry.bytes:
            continue
        try:
            with (directory.path / entry.name).open("rb") as file:
                digest = hashlib.file_digest(file, new).hexdigest()
        except OSError as error:
            yield directory.problem(entry.name, f"cannot be read: {error.strerror}")
            continue
        if digest != stated(entry):
            yield directory.problem(entry.name, f"has the {algorithm} {digest}; the manifest says {stated(entry)!r}")


def unlisted_files(directory: Directory) -> Iterator[Problem]:
    """Everything in the directory that is neither listed nor one of the two files outside the digests."""
    expected = {MANIFEST_NAME, RUN_NAME, *(entry.name for entry in directory.manifest.files)}
    for folder, folders, names in os.walk(directory.path):
        folders.sort()
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in sorted(names + links):
            relative = (Path(folder) / name).relative_to(directory.path).as_posix()
            if relative not in expected:
                yield Problem(message=f"{relative!r} is not listed in the manifest")


_CHANGED = "The file is not what `ismpack convert` wrote: restore it from a copy, or convert again."

FILE_CHECKS: tuple[Check[Directory], ...] = (
    Check("manifest-digest", "manifest.json matches its own digest.", manifest_digest_matches, _CHANGED),
    Check("manifest-content", "manifest.json states options, columns, ids and names that exist.", manifest_content),
    Check("file-present", "Every listed file exists.", files_present, _CHANGED),
    Check("file-size", "Every listed file has its size.", file_sizes, _CHANGED),
    Check("file-hash", "Every listed file has its xxh3_128.", file_hashes, _CHANGED),
    Check("unlisted-file", "The directory holds nothing else (run.json apart).", unlisted_files, "Move it elsewhere."),
)
SHA256_CHECKS: tuple[Check[Directory], ...] = (
    Check("file-sha256", "Every listed file has its sha256 (only when asked for).", file_sha256, _CHANGED),
)
