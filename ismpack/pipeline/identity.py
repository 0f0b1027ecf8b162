"""What decides a dataset's bytes, and how it differs from the dataset that is already there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ismpack import __version__
from ismpack.errors import DatasetError, OutputError
from ismpack.manifest import Manifest, canonical_digest, damaged_files, read_manifest
from ismpack.pipeline.plan import Plan
from ismpack.pipeline.toolkit import Toolkit
from ismpack.schema import FORMAT_VERSION, MANIFEST_NAME

CREATED_BY = f"ismpack {__version__}"


def identity(plan: Plan, toolkit: Toolkit) -> dict[str, Any]:
    """Everything that decides the bytes, as JSON."""
    return {
        "created_by": CREATED_BY,
        "format_version": FORMAT_VERSION,
        "inputs": [asdict(entry) for entry in plan.inputs],
        "options": toolkit.options.identity(),
        "tokenizer_digest": toolkit.files.digest,
        "template_digest": toolkit.template_digest,
        "special_tokens": dict(toolkit.files.variables),
        "stop_ids": toolkit.stop_ids,
    }


def fingerprint(content: dict[str, Any]) -> str:
    """Hex sha256 of an identity."""
    return canonical_digest(content)


def finished_dataset(target: Path, content: dict[str, Any], *, overwrite: bool) -> Manifest | None:
    """The manifest of a dataset that stands at `target` and is the one to be made; None if there is room for it.

    Args:
        target: The output directory.
        content: Identity of the dataset to be made.
        overwrite: Whether another dataset may be replaced.

    Raises:
        OutputError: `output-exists`, naming the first difference.
    """
    if not (target / MANIFEST_NAME).exists():
        return None
    try:
        manifest = read_manifest(target)
        damaged = damaged_files(target, manifest)
        same = manifest.fingerprint == fingerprint(content)
        if same and not damaged:
            return manifest
        problem = f"this dataset, but {damaged[0]} is damaged" if same else _other_dataset(manifest, content)
    except DatasetError as error:
        problem = f"a dataset that cannot be read: {error.message}"
    if overwrite:
        return None
    raise OutputError(
        f"{target} holds {problem}",
        code="output-exists",
        hint="Choose another directory, or --overwrite (the old dataset goes only when the new one is complete).",
    )


def refuse_foreign_files(target: Path, rejects: Path) -> None:
    """Leave alone whatever is not ours.

    Args:
        target: The output directory.
        rejects: Where a failed run would list its rejects.

    Raises:
        OutputError: `output-exists`: the target is a file, the current directory, or a directory with something else
            than a dataset in it, or the list of rejects would replace another file.
    """
    foreign = "exists and is not an ismpack dataset"
    if target.exists() and target.samefile(Path.cwd()):
        problem = f"{target} is the current directory"
    elif target.exists() and not (target / MANIFEST_NAME).exists() and (not target.is_dir() or any(target.iterdir())):
        problem = f"{target} {foreign}"
    elif rejects.exists() and not _is_list_of_rejects(rejects):
        problem = f"{rejects} exists and is not a list of rejects"
    else:
        return
    raise OutputError(
        problem, code="output-exists", hint="Choose another directory; --overwrite replaces datasets only."
    )


def _is_list_of_rejects(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            first = file.readline()
        return {"file", "byte_offset", "code", "message"}.issubset(json.loads(first).keys())
    except (OSError, ValueError, AttributeError):
        return False


def _other_dataset(manifest: Manifest, content: dict[str, Any]) -> str:
    return f"another dataset: {next(_differences(manifest, content))}"


def _differences(manifest: Manifest, content: dict[str, Any]) -> Iterator[str]:
    """Each way in which the dataset differs from the one to be made, most telling first."""
    if manifest.created_by != content["created_by"]:
        yield f"it was made by {manifest.created_by}, this is {content['created_by']}"
    before, now = ([entry.name for entry in manifest.inputs], [entry["name"] for entry in content["inputs"]])
    if before != now:
        yield f"it was made from {', '.join(before)}, now the input is {', '.join(now)}"
    for old, new in zip(manifest.inputs, content["inputs"], strict=False):
        if old.sha256 != new["sha256"]:
            yield f"the input {old.name} has changed since"
    for name, value in content["options"].items():
        if manifest.options.get(name) != value:
            yield f"it was made with {name} = {manifest.options.get(name)!r}, now it is {value!r}"
    if manifest.tokenizer_digest != content["tokenizer_digest"]:
        yield "it was made with another tokenizer"
    if manifest.template_digest != content["template_digest"]:
        yield "it was made with another chat template"
    yield "the tokenizer's special tokens or stop tokens have changed"
