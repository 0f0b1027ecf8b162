"""What loading a tokenizer gives, kept between runs: `transformers` takes seconds, an entry milliseconds.

An entry is found by the digest of everything that decides what loading gives: the tokenizer's files, the name that was
typed, and the versions of the libraries. So an entry is never out of date; it is only no longer asked for.

The cache is a convenience: what is damaged or cannot be written costs time and nothing else. It lies in `ISMPACK_CACHE`
(empty: no cache), else in `ismpack` below `XDG_CACHE_HOME` or `~/.cache`.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import msgspec
import xxhash

from ismpack import __version__

LAYOUT = 1
"""Goes up when an entry's form or meaning changes."""

MOST_ENTRIES = 8
"""Entries are as large as a tokenizer.json: 2 to 35 MB."""

_SUFFIX = ".ismpack-tokenizer"
_MAGIC = b"ismpack tokenizer\n"
_HEAD = len(_MAGIC) + 16

_READ = {".codes", ".jinja", ".json", ".model", ".spm", ".tiktoken", ".tokenizer", ".txt"}
_LARGE = 1 << 26
"""Files named otherwise, or larger (a tokenizer's have up to 35 MB), are weights or data: size and date are enough."""

_DECIDING = ("transformers", "tokenizers", "mistral-common", "protobuf", "sentencepiece", "tiktoken")
"""What turns files into a backend; the last four do it for older kinds of files, where they are installed."""

_TEMPLATE_FOLDER = "additional_chat_templates"
_POINTERS = {"config.json": b"configuration_files", "tokenizer_config.json": b"fast_tokenizer_files"}
"""Keys by which a folder may name files that lie elsewhere."""

_HUB_FILES = {
    "added_tokens.json",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
}
"""What is read of a hub repository that has a tokenizer.json, besides the folder of templates."""

T = TypeVar("T")


def through_cache(key: Callable[[], str | None], load: Callable[[], T], kind: type[T]) -> T:
    """What `load` gives, from the cache if it is there.

    Args:
        key: Digest of all that `load` depends on; None where that is not known, and nothing is kept.
        load: The slow way.
        kind: Type of the value; any that msgspec can encode and decode without loss.
    """
    folder = cache_folder()
    if folder is None:
        return load()
    before = key()
    found = None if before is None else _read(folder, before, kind)
    if found is not None:
        return found
    value = load()
    after = key()  # what changes while it is being loaded belongs to neither key; what loading fetched has one only now
    if after is not None and before in (None, after):
        _write(folder, after, value)
    return value


def cache_folder() -> Path | None:
    """Where the entries lie, as the environment says; None for nowhere."""
    typed = os.environ.get("ISMPACK_CACHE")
    if typed == "":
        return None
    try:
        if typed is not None:
            return Path(typed).expanduser()
        home = Path(os.environ.get("XDG_CACHE_HOME", ""))
        return (home if home.is_absolute() else Path.home() / ".cache") / "ismpack"
    except RuntimeError:  # there is no home directory
        return None


# Keys


def file_key(path: Path, beside: Path) -> str | None:
    """Key of a bare tokenizer.json and the file `beside` it that is read as well, if it exists."""
    return _digest("file", "", lambda: (_sha256(one) for one in (path, beside) if one.is_file()))


def folder_key(name: str) -> str | None:
    """Key of a tokenizer's folder, by the name that `transformers` is given: some names decide how it loads."""
    return _digest("folder", name, lambda: _folder_contents(Path(name)))


def hub_key(name: str) -> str | None:
    """Key of a repository on the hub: its current revision, once all that is read of it is in the hub's own cache.

    The hub is asked which revision that is, as `transformers` asks it; with HF_HUB_OFFLINE it is the last one seen.
    """
    try:
        snapshot, mode = _snapshot(name)
    except Exception:  # hub and network errors have no common base; loading meets the same and says what is wrong
        return None
    return _digest(mode, name, lambda: _folder_contents(snapshot)) if snapshot else None


def _snapshot(name: str) -> tuple[Path | None, str]:
    """Local folder of the repository's current revision, None if it is not whole; and how that was found out."""
    from huggingface_hub import HfApi, constants, is_offline_mode  # noqa: PLC0415 - 0.1 s

    hub = HfApi()
    if is_offline_mode():
        return Path(str(hub.snapshot_download(name, local_files_only=True))), "offline"
    state = hub.model_info(name, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    snapshot = Path(str(hub.snapshot_download(name, revision=state.sha, local_files_only=True)))
    there = {file.rfilename for file in state.siblings or []}
    needed = {file for file in there if file in _HUB_FILES or file.startswith(f"{_TEMPLATE_FOLDER}/")}
    is_whole = "tokenizer.json" in there and all((snapshot / file).is_file() for file in needed)
    return snapshot if is_whole else None, "online"


def _digest(kind: str, name: str, contents: Callable[[], Iterator[bytes]]) -> str | None:
    """Hex sha256 over a kind of tokenizer, its name, contents and versions; None where a file cannot be read."""
    digest = hashlib.sha256()
    try:
        for part in (b"%d" % LAYOUT, __version__.encode(), *_versions(), kind.encode(), os.fsencode(name), *contents()):
            digest.update(len(part).to_bytes(8, "little") + part)
    except (OSError, _ElsewhereError):
        return None
    return digest.hexdigest()


def _versions() -> Iterator[bytes]:
    for library in _DECIDING:
        try:
            yield version(library).encode()
        except PackageNotFoundError:
            yield b""


class _ElsewhereError(Exception):
    """A folder names files outside of it."""


def _folder_contents(folder: Path) -> Iterator[bytes]:
    """Names of everything in a folder, and the contents of its files: `transformers` looks at both."""
    for path in sorted(folder.iterdir()):
        yield _content(path, path.name)
        if path.name in _POINTERS and _POINTERS[path.name] in path.read_bytes():
            raise _ElsewhereError
    templates = folder / _TEMPLATE_FOLDER
    for path in sorted(templates.iterdir()) if templates.is_dir() else ():
        yield _content(path, f"{_TEMPLATE_FOLDER}/{path.name}")


def _content(path: Path, name: str) -> bytes:
    """A file's name, with its content or what stands for that."""
    if not path.is_file():
        return b"name " + os.fsencode(name)
    status = path.stat()
    if path.suffix not in _READ or status.st_size > _LARGE:
        return b"dated %d %d " % (status.st_size, status.st_mtime_ns) + os.fsencode(name)
    return b"file " + _sha256(path) + os.fsencode(name)


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


# Entries: magic, xxh3_128 of key and value, the value in msgpack


def _read(folder: Path, key: str, kind: type[T]) -> T | None:
    path = folder / (key + _SUFFIX)
    try:
        entry = memoryview(path.read_bytes())
    except OSError:
        return None
    value = entry[_HEAD:]
    if entry[:_HEAD] != _MAGIC + _checksum(key, value):
        return None
    try:
        found = msgspec.msgpack.decode(value, type=kind)
    except (msgspec.MsgspecError, ValueError):
        return None
    with suppress(OSError):
        os.utime(path)  # the entries that were used last are kept
    return found


def _write(folder: Path, key: str, value: object) -> None:
    try:
        content = msgspec.msgpack.encode(value)
    except (TypeError, ValueError, OverflowError):  # half of a surrogate pair, an id beyond 64 bits
        return
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, unfinished = tempfile.mkstemp(suffix=_SUFFIX, dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_MAGIC + _checksum(key, content))
                file.write(content)
            Path(unfinished).replace(folder / (key + _SUFFIX))
        except BaseException:
            Path(unfinished).unlink(missing_ok=True)
            raise
        _prune(folder)


def _checksum(key: str, value: bytes | memoryview) -> bytes:
    checksum = xxhash.xxh3_128(key.encode())
    checksum.update(value)
    return checksum.digest()


def _prune(folder: Path) -> None:
    """Remove the oldest entries; what a crash left unfinished becomes old like any other."""
    entries = sorted(folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in entries[MOST_ENTRIES:]:
        path.unlink(missing_ok=True)
