"""Datasets of the Hugging Face hub, through `datasets`.

    hf:ORG/NAME                       the only split
    hf:ORG/NAME:SPLIT                 one of several
    hf:ORG/NAME/CONFIG:SPLIT          one of several configurations
    hf:ORG/NAME@REVISION:SPLIT        a branch, tag or commit
    hf:./FOLDER:SPLIT                 a folder of data files, as `datasets` reads it; also hf:../ and hf:/

A name without an organisation can have no configuration. The rows are streamed; no code of a dataset is ever run, and
images and sound are not decoded. Whatever the library changes for that is put back.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ismpack.data import Json
from ismpack.errors import InputError, Location, RecordError, UsageError
from ismpack.sources.table_rows import TableRows
from ismpack.sources.table_types import plain_batch

PREFIX = "hf:"
"""How a hub input begins."""

_LOCAL = re.compile(r"(?P<name>\.{0,2}/.*?|\.{1,2})(:(?P<split>[\w.-]+))?", re.DOTALL)
_HUB = re.compile(r"(?P<name>[\w.-]+(/[\w.-]+)?)(/(?P<config>[^/@:]+))?(@(?P<revision>[^@:]+))?(:(?P<split>[\w.-]+))?")
_ROWS_AT_ONCE = 64
_BUFFER_BYTES = 1 << 20
_RELEASE_TABLES = 256
"""How often Arrow gives back memory, which it would otherwise keep in ever more pieces."""

_LOGGERS = ("datasets", "fsspec", "huggingface_hub", "httpx", "httpcore")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubInput:
    """What a hub input names.

    Attributes:
        name: `ORG/NAME` or a folder.
        config: The configuration; None for the only or default one.
        revision: Branch, tag or commit; None for the newest state.
        split: None for the only one.
    """

    name: str
    config: str | None = None
    revision: str | None = None
    split: str | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder here, not a name on the hub."""
        return self.name.startswith(("/", "./", "../")) or self.name in (".", "..")


def parse_hub(spec: str) -> HubInput:
    """Take a hub input apart, without a look at disk or network.

    Raises:
        UsageError: `bad-option`.
    """
    typed = spec.removeprefix(PREFIX)
    match = _LOCAL.fullmatch(typed) or _HUB.fullmatch(typed)
    if match is None or not spec.startswith(PREFIX):
        raise UsageError(
            f"{spec!r} does not name a dataset",
            code="bad-option",
            hint="Write hf:ORG/NAME[/CONFIG][@REVISION][:SPLIT], or hf:./FOLDER[:SPLIT].",
        )
    return HubInput(**match.groupdict())


def spool_hub(spec: str, folder: Path) -> Path:
    """Write the rows of a hub dataset's split to a file of JSON lines in `folder`, which the caller removes.

    Values become JSON as those of any table do (`table_rows`). Memory is bounded by what `datasets` holds at once:
    the largest row group of a Parquet file, a block of any other.

    Returns:
        The file's path.

    Raises:
        UsageError: `bad-option`: the input is malformed, or names no split where there are several; `input-not-found`:
            there is no such dataset, configuration, revision or split, or it cannot be reached.
        InputError: `input-unreadable`: a row cannot be read.
        OSError: The file cannot be written.
    """
    named = parse_hub(spec)
    _check_folder(named, spec)
    with _quiet(), tempfile.NamedTemporaryFile(dir=folder, prefix="hub-", suffix=".jsonl", delete=False) as spooled:
        for row in _rows(_only_split(_splits(named, spec, folder), named, spec), spec):
            spooled.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return Path(spooled.name)


def _check_folder(named: HubInput, spec: str) -> None:
    is_there = Path(named.name).is_dir()
    if named.is_folder and not is_there:
        raise _not_found(spec, f"there is no folder {named.name}")
    if not named.is_folder and is_there:
        raise UsageError(
            f"{spec} names a dataset of the hub, but {named.name} is also a folder here",
            code="bad-option",
            hint=f"Write {PREFIX}./{named.name} for the folder, or run the command elsewhere.",
        )


def _splits(named: HubInput, spec: str, folder: Path) -> dict[str, Any]:
    """The streams of all splits. `datasets` leaves its lock files in `folder`."""
    import datasets  # noqa: PLC0415 - takes a second, and few inputs need it

    try:
        builder = datasets.load_dataset_builder(
            named.name, named.config, revision=named.revision, cache_dir=str(folder)
        )
    except Exception as error:  # whatever the library, its file systems and its HTTP client raise
        hint = None if named.is_folder else "Check the name, the network, and HF_TOKEN if the dataset is private."
        raise _not_found(spec, _in_short(error), hint) from error
    if not named.is_folder and builder.repo_id is None:
        raise _not_found(spec, f"{named.name} is a reader of `datasets`, not a dataset of the hub")
    _bound_memory(builder.config)
    try:
        return dict(builder.as_streaming_dataset())
    except Exception as error:
        raise _unreadable(f"cannot read {spec}: {_in_short(error)}", Location(path=spec)) from error


def _bound_memory(config: Any) -> None:
    """Have a reader of Parquet hold a row group at a time, not all that it has read (560 MB: 1.4 GB against 0.6)."""
    import pyarrow.dataset  # noqa: PLC0415

    in_parts = pyarrow.dataset.ParquetFragmentScanOptions(
        pre_buffer=False, use_buffered_stream=True, buffer_size=_BUFFER_BYTES
    )
    for setting, value in (("batch_size", _ROWS_AT_ONCE), ("fragment_scan_options", in_parts)):
        if hasattr(config, setting):
            setattr(config, setting, value)


def _only_split(splits: dict[str, Any], named: HubInput, spec: str) -> Any:
    known = ", ".join(splits)
    if named.split is not None:
        if named.split not in splits:
            raise _not_found(spec, f"it has no split {named.split!r}", hint=f"Its splits are: {known}.")
        return splits[named.split]
    if len(splits) != 1:
        raise UsageError(
            f"{spec} has {len(splits)} splits: {known}",
            code="bad-option",
            hint=f"Name the one that you want, such as {spec}:{next(iter(splits), 'train')} .",
        )
    return next(iter(splits.values()))


def _rows(split: Any, spec: str) -> Iterator[dict[str, Json]]:
    position = 0
    try:
        for number, table in enumerate(split.with_format("arrow").iter(_ROWS_AT_ONCE)):  # Arrow: nothing is decoded
            if number % _RELEASE_TABLES == 0:
                pa.default_memory_pool().release_unused()
            for batch in map(plain_batch, table.combine_chunks().to_batches()):
                for row in TableRows.of(batch.schema).read(batch):
                    if isinstance(row, RecordError):
                        raise row
                    yield row
                    position += 1
    except Exception as error:  # as in `_splits`
        what = f"row {position:,} of {spec}, or one soon after it, cannot be read: {_in_short(error)}"
        raise _unreadable(what, Location(path=spec, index=position)) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, log lines, warnings or download counts from `datasets`; all is put back at the end."""
    import datasets  # noqa: PLC0415
    import huggingface_hub  # noqa: PLC0415

    with warnings.catch_warnings(), ExitStack() as restored:
        warnings.simplefilter("ignore")
        for bars in (datasets, huggingface_hub.utils):
            if not bars.are_progress_bars_disabled():
                bars.disable_progress_bars()
                restored.callback(bars.enable_progress_bars)
        for settings, name, value in (
            (datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False),
            (huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True),
        ):
            restored.callback(setattr, settings, name, getattr(settings, name))
            setattr(settings, name, value)
        for logger in map(logging.getLogger, _LOGGERS):
            restored.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL + 1)
        yield


def _in_short(error: Exception) -> str:
    """What the library says, on one line."""
    return textwrap.shorten(str(error), 300, placeholder=" [...]").rstrip(".") or type(error).__name__


def _not_found(spec: str, why: str, hint: str | None = None) -> UsageError:
    return UsageError(f"cannot open {spec}: {why}", code="input-not-found", location=Location(path=spec), hint=hint)


def _unreadable(what: str, where: Location) -> InputError:
    return InputError(
        what,
        code="input-unreadable",
        location=where,
        hint="Download the dataset's files and give them as inputs, so that bad records are left out one by one.",
    )
