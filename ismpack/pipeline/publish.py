"""The files of a dataset besides its shards, and the manifest that closes it."""

from __future__ import annotations

import json
import platform
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from ismpack.errors import RecordError
from ismpack.manifest import InputEntry, Manifest, Totals
from ismpack.pipeline.identity import CREATED_BY, fingerprint, identity
from ismpack.pipeline.plan import Plan
from ismpack.pipeline.tally import ShardFacts, Tally
from ismpack.pipeline.toolkit import Toolkit
from ismpack.schema import (
    COLUMNS,
    DERIVED_COLUMNS,
    MANIFEST_NAME,
    REJECTED_NAME,
    RUN_NAME,
    SEGMENT_TYPE_NAMES,
    SOURCE_POSITION_BITS,
)
from ismpack.shards import Staging, dataset_info, state


def write_side_files(
    staging: Staging, plan: Plan, toolkit: Toolkit, tally: Tally, shards: Sequence[ShardFacts]
) -> None:
    """The tokenizer, the rejects, and what `datasets` needs to open the directory."""
    files = toolkit.files
    staging.write_bytes("tokenizer/tokenizer.json", files.backend_json.encode())
    staging.write_bytes("tokenizer/chat_template.jinja", toolkit.templates["default"].encode())
    for name, source in toolkit.templates.items():
        if name != "default":
            staging.write_bytes(f"tokenizer/additional_chat_templates_{name}.jinja", source.encode())
    if files.generation_config is not None:
        staging.write_bytes("tokenizer/generation_config.json", files.generation_config.encode())
    staging.write_bytes(REJECTED_NAME, rejected_lines(tally.rejected, plan.inputs), private=True)
    staging.write_bytes("dataset_info.json", dataset_info(_columns(toolkit)))
    names = [shard.entry.name for shard in shards]
    staging.write_bytes("state.json", state(names, fingerprint(identity(plan, toolkit))))


def write_manifest(
    staging: Staging, plan: Plan, toolkit: Toolkit, tally: Tally, shards: Sequence[ShardFacts]
) -> Manifest:
    """The manifest over everything written so far."""
    files = toolkit.files
    inferred = {files.control_tokens[content].id for content in tally.inferred_stops}
    manifest = Manifest(
        created_by=CREATED_BY,
        fingerprint=fingerprint(identity(plan, toolkit)),
        options=toolkit.options.identity(),
        tokenizer_digest=files.digest,
        template_digest=toolkit.template_digest,
        inputs=plan.inputs,
        stop_ids=sorted(inferred.union(toolkit.stop_ids)),
        control_ids=sorted(token.id for token in files.control_tokens.values() if not token.is_blank),
        largest_id=files.largest_id,
        segment_types={str(value): name for value, name in SEGMENT_TYPE_NAMES.items()},
        columns=_columns(toolkit),
        files=sorted(staging.files, key=lambda entry: entry.name),
        shards=[shard.entry for shard in shards],
        totals=_totals(tally, shards, toolkit.options.max_length),
        formats=dict(tally.formats),
        rejected=dict(Counter(error.code for _, error in tally.rejected)),
        warnings={code: count for code, count in tally.warnings.items() if count},
    ).sealed()
    staging.write_bytes(MANIFEST_NAME, manifest.to_json())
    return manifest


def write_run(staging: Staging, facts: dict[str, Any]) -> None:
    """run.json: what is true of this run only, outside every digest."""
    libraries = ("jinja2", "numpy", "pyarrow", "tokenizers", "transformers")
    content = facts | {
        "versions": {name: version(name) for name in libraries} | {"python": platform.python_version()},
        "platform": sys.platform,
    }
    # Paths may hold bytes that are no text; the surrogates that stand for them become escapes.
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    staging.write_bytes(RUN_NAME, text.encode(), listed=False)


def rejected_lines(rejected: Sequence[tuple[int, RecordError]], inputs: Sequence[InputEntry]) -> bytes:
    """rejected.jsonl: one line per record that could not be used, in input order; no content of the record."""
    return "".join(
        json.dumps(_rejected(source_id, error, inputs), ensure_ascii=False) + "\n" for source_id, error in rejected
    ).encode()


def _rejected(source_id: int, error: RecordError, inputs: Sequence[InputEntry]) -> dict[str, Any]:
    file, position = inputs[source_id >> SOURCE_POSITION_BITS], source_id & ((1 << SOURCE_POSITION_BITS) - 1)
    where = {"line": position + 1} if file.unit == "line" else {"index": position}
    return {
        "file": file.name,
        **where,
        "byte_offset": error.location.byte_offset if error.location else None,
        "code": error.code,
        "message": error.message,
        "json_path": error.json_path,
    }


def _columns(toolkit: Toolkit) -> dict[str, str]:
    return COLUMNS | {name: DERIVED_COLUMNS[name] for name in toolkit.options.with_columns}


def _totals(tally: Tally, shards: Sequence[ShardFacts], max_length: int) -> Totals:
    rows, tokens = sum(shard.entry.rows for shard in shards), sum(shard.entry.tokens for shard in shards)
    return Totals(
        records=tally.records,
        blank_lines=tally.blank_lines,
        conversations=tally.conversations,
        rejected=len(tally.rejected),
        dropped_by_option=tally.dropped,
        samples=sum(shard.entry.documents for shard in shards),
        turns=sum(shard.turns for shard in shards),
        tokens=tokens,
        loss_tokens=sum(shard.loss_tokens for shard in shards),
        rows=rows,
        fill=tokens / (rows * max_length) if rows else 0.0,
        triplet_tokens=sum(shard.triplet_tokens for shard in shards),
    )
