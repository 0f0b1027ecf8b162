"""manifest.json: what a dataset is, and the proof that it is whole. Written last, so its existence means success.

Nothing in it depends on time, host, paths or worker count: the same inputs and options give the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ismpack.errors import DatasetError, Location
from ismpack.schema import FORMAT_VERSION, MANIFEST_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class InputEntry:
    """One input file.

    Attributes:
        name: Path relative to the deepest folder that all inputs share; `-` for standard input.
        bytes: Size as stored.
        sha256: Hex digest of the stored bytes.
        unit: What a position counts: `line` or `index`.
    """

    name: str
    bytes: int
    sha256: str
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of the dataset directory, named relative to it with forward slashes."""

    name: str
    bytes: int
    xxh3_128: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEntry:
    """One Arrow file: its rows, documents and tokens."""

    name: str
    rows: int
    documents: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over the run. records = conversations + rejected + dropped_by_option.

    Attributes:
        records: Records read, blank lines apart.
        blank_lines: Lines with nothing but white space.
        conversations: Records that became at least one sample.
        rejected: Records listed in rejected.jsonl.
        dropped_by_option: Records left out because an option says so (`--overlong drop`), or because they mark their
            own answer as unwanted (these are counted as `undesired` in the warnings as well).
        samples: Tokenized conversations (more than `conversations` when rewritten ones are split).
        turns: (query, answer) pairs.
        tokens: Tokens stored.
        loss_tokens: Tokens that are targets.
        rows: Packs.
        fill: tokens / (rows * max_length).
        triplet_tokens: Tokens that one row per turn (prefix-LM expansion) would need.
    """

    records: int = 0
    blank_lines: int = 0
    conversations: int = 0
    rejected: int = 0
    dropped_by_option: int = 0
    samples: int = 0
    turns: int = 0
    tokens: int = 0
    loss_tokens: int = 0
    rows: int = 0
    fill: float = 0.0
    triplet_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The content of manifest.json.

    Attributes:
        format_version: Version of this layout.
        created_by: Name and version of the writer.
        fingerprint: Hex sha256 of everything that decides the bytes: inputs, options, tokenizer, template, version.
        options: Resolved options.
        tokenizer_digest: Hex sha256 of the backend tokenizer JSON.
        template_digest: Hex sha256 of the chat template.
        inputs: The input files, in order of their file index.
        stop_ids: Token ids that end an answer.
        control_ids: Ids of all added tokens.
        largest_id: Largest token id that the tokenizer can give.
        segment_types: Value (as text) -> name.
        columns: Column -> element dtype, derived ones included.
        files: Every file of the directory except manifest.json and run.json.
        shards: The Arrow files, in order.
        totals: Sums.
        formats: Input format -> records.
        rejected: Reject code -> records.
        warnings: Warning code -> times.
        digest: Hex sha256 of this manifest without this field.
    """

    format_version: int = FORMAT_VERSION
    created_by: str
    fingerprint: str
    options: dict[str, Any]
    tokenizer_digest: str
    template_digest: str
    inputs: list[InputEntry]
    stop_ids: list[int]
    control_ids: list[int]
    largest_id: int
    segment_types: dict[str, str]
    columns: dict[str, str]
    files: list[FileEntry]
    shards: list[ShardEntry]
    totals: Totals
    formats: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)
    digest: str = ""

    def sealed(self) -> Manifest:
        """The same manifest with its own digest filled in."""
        return dataclasses.replace(self, digest=manifest_digest(dataclasses.asdict(self)))

    def to_json(self) -> bytes:
        """The bytes of manifest.json: sorted keys, one-space indent, final newline."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, ensure_ascii=False, indent=1)
        return f"{text}\n".encode()


def canonical_digest(value: object) -> str:
    """Hex sha256 of a JSON value in its shortest form with sorted keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def manifest_digest(content: dict[str, Any]) -> str:
    """Hex sha256 of a manifest's content without its `digest` key."""
    return canonical_digest({key: value for key, value in content.items() if key != "digest"})


def read_manifest(directory: str | Path) -> Manifest:
    """Read DIR/manifest.json.

    Raises:
        DatasetError: `not-a-dataset`, `manifest-invalid` or `newer-format`.
    """
    path = Path(directory) / MANIFEST_NAME
    where = Location(path=str(path))
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DatasetError(
            f"{directory} is not a finished ismpack dataset: it has no {MANIFEST_NAME}",
            code="not-a-dataset",
            hint="Give the directory that `ismpack convert -o DIR` wrote; an interrupted run leaves none.",
        ) from None
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}", code="manifest-invalid") from error
    try:
        version = msgspec.json.decode(raw, type=_Version).format_version
        if version > FORMAT_VERSION:
            raise DatasetError(
                f"{directory} has format version {version}; this ismpack reads up to {FORMAT_VERSION}",
                code="newer-format",
                location=where,
                hint="Install a newer ismpack.",
            )
        return msgspec.json.decode(raw, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DatasetError(f"{MANIFEST_NAME} is not valid: {error}", code="manifest-invalid", location=where) from error


def damaged_files(directory: str | Path, manifest: Manifest) -> list[str]:
    """Listed files that are missing or have another size; `ismpack.verify` looks closer."""
    root = Path(directory)
    return [entry.name for entry in manifest.files if not _has_size(root / entry.name, entry.bytes)]


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class _Version:
    format_version: int
