"""Folders that `datasets` wrote with `save_to_disk`.

    dataset_dict.json        {"splits": ["train", ...]}: a folder for each split
    state.json               {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], ...}
    dataset_info.json        marks a saved dataset together with state.json; nothing in it is needed

A format that was set (`_format_type`, `_format_columns`) changes how `datasets` shows the rows, not the rows.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ismpack.data import Json
from ismpack.errors import InputError, Location, UsageError

_STATE = "state.json"
_INFO = "dataset_info.json"
_SPLITS = "dataset_dict.json"


def dataset_files(folder: str) -> list[str] | None:
    """The Arrow files of a saved dataset, in the order of its rows; none for an empty dataset.

    Returns:
        None if the folder was not written by `save_to_disk`.

    Raises:
        UsageError: `bad-option`: it holds several splits; `input-not-found`: a split or file that it names is missing.
        InputError: `input-unreadable`: it cannot be understood, or its files hold other rows than the dataset.
    """
    if _has_file(folder, _SPLITS):
        folder = os.path.join(folder, _only_split(folder))  # noqa: PTH118 - keeps the path as typed
        if not _has_file(folder, _STATE):
            raise _missing(folder, _STATE)
    elif not (_has_file(folder, _STATE) and _has_file(folder, _INFO)):
        return None
    state = _load(folder, _STATE)
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise _unusable(
            folder,
            "it selects rows of its files by an index",
            hint="Save it again with a newer `datasets`, which writes just these rows.",
        )
    entries = state.get("_data_files")
    if not isinstance(entries, list):
        raise _unusable(folder, f"{_STATE} has no list of _data_files")
    return [_data_file(folder, entry) for entry in entries]


def _only_split(folder: str) -> str:
    splits = _load(folder, _SPLITS).get("splits")
    if not isinstance(splits, list) or not splits:
        raise _unusable(folder, f"{_SPLITS} has no list of splits")
    names = [_plain_name(folder, split) for split in splits]
    if len(names) > 1:
        raise UsageError(
            f"{folder} holds {len(names)} splits: {', '.join(names)}",
            code="bad-option",
            location=Location(path=folder),
            hint=f"Give those that you want, such as {os.path.join(folder, names[0])} .",  # noqa: PTH118
        )
    return names[0]


def _data_file(folder: str, entry: Json) -> str:
    """The path of one entry of `_data_files`."""
    if not isinstance(entry, dict):
        raise _unusable(folder, f"an entry of _data_files in {_STATE} is not an object")
    if any(entry.get(key) is not None for key in ("skip", "take")):
        raise _unusable(folder, "it takes only part of a file", hint="Save it again with a newer `datasets`.")
    name = _plain_name(folder, entry.get("filename"))
    if not _has_file(folder, name):
        raise _missing(folder, name)
    return os.path.join(folder, name)  # noqa: PTH118 - keeps the path as typed


def _plain_name(folder: str, name: Json) -> str:
    """A name that the folder's own JSON gives; never a path that leads elsewhere."""
    if isinstance(name, str) and name.isprintable() and name not in ("", ".", "..") and not set(name) & set("/\\:"):
        return name
    raise _unusable(folder, f"it names {name!r}, which is not a plain file name")


def _load(folder: str, name: str) -> dict[str, Json]:
    path = Path(folder, name)
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise _unusable(folder, f"{name}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise _unusable(folder, f"{name} is not JSON") from error
    if not isinstance(value, dict):
        raise _unusable(folder, f"{name} is not a JSON object")
    return value


def _has_file(folder: str, name: str) -> bool:
    return Path(folder, name).is_file()


def _missing(folder: str, name: str) -> UsageError:
    return UsageError(
        f"{folder} is a saved dataset without its file {name}",
        code="input-not-found",
        location=Location(path=folder),
        hint="Copy the whole folder again.",
    )


def _unusable(folder: str, why: str, hint: str | None = None) -> InputError:
    return InputError(
        f"cannot read the saved dataset {folder}: {why}",
        code="input-unreadable",
        location=Location(path=folder),
        hint=hint,
    )
