"""The order of the checks: what is built on a broken premise is not looked at, and the report says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from ismpack.checks.files import FILE_CHECKS, SHA256_CHECKS, Directory
from ismpack.checks.report import Check, Finding, Subject, VerifyReport
from ismpack.checks.rows import ROW_CHECKS, Rows
from ismpack.checks.rules import rules_of
from ismpack.checks.streams import BATCH_CHECKS, STREAM_CHECKS, StoredBatch, Stream, read_stream
from ismpack.checks.tokens import TOKEN_CHECKS, batch_of
from ismpack.checks.totals import RECORD_CHECKS, TALLY_CHECKS, WHOLE_CHECKS, Tally
from ismpack.manifest import ShardEntry, read_manifest
from ismpack.reader import list_columns
from ismpack.schema import DERIVED_COLUMNS

CHECKS: tuple[Check[Any], ...] = (
    *FILE_CHECKS,
    *SHA256_CHECKS,
    *STREAM_CHECKS,
    *BATCH_CHECKS,
    *ROW_CHECKS,
    *TOKEN_CHECKS,
    *TALLY_CHECKS,
    *WHOLE_CHECKS,
    *RECORD_CHECKS,
)
"""Every check there is, in the order in which they run."""


def verify(directory: str | Path, *, sha256: bool = False) -> VerifyReport:
    """Check a dataset against its manifest and against the rules of the format.

    Args:
        directory: A dataset directory.
        sha256: Also compare the sha256 of every file (slower; xxh3_128 is always compared).

    Raises:
        DatasetError: `not-a-dataset`, `manifest-invalid` or `newer-format`; all other damage becomes findings.
    """
    manifest = read_manifest(directory)
    subject = Directory(path=Path(directory), manifest=manifest)
    tally = Tally(manifest=manifest, rules=rules_of(manifest))
    unchecked: list[str] = []

    findings = list(_run(FILE_CHECKS + (SHA256_CHECKS if sha256 else ()), subject))
    damaged = {finding.shard for finding in findings}
    derived = frozenset(manifest.columns.keys() & DERIVED_COLUMNS.keys())
    starts = accumulate((shard.rows for shard in manifest.shards), initial=0)
    for shard, first_row in zip(manifest.shards, starts, strict=False):
        if shard.name in damaged:
            tally.whole = False
            unchecked.append(f"{shard.name} was not opened, because it is not the file that the manifest lists.")
            continue
        stream = read_stream(subject.path / shard.name, first_row, derived)
        findings += _check_shard(stream, tally, unchecked)
    findings += _run(TALLY_CHECKS, tally)
    if tally.whole:
        findings += _run(WHOLE_CHECKS, tally)
    else:
        unchecked.append("totals were not compared, because not every row could be counted.")
    findings += _run(RECORD_CHECKS, subject)

    left_out = {check.name for check in (() if sha256 else SHA256_CHECKS) + (() if tally.whole else WHOLE_CHECKS)}
    return VerifyReport(
        directory=str(directory),
        findings=tuple(findings),
        checks=tuple(check.name for check in CHECKS if check.name not in left_out),
        unchecked=tuple(unchecked),
        rows=tally.rows,
        documents=tally.documents,
        tokens=tally.tokens,
    )


def _run(checks: Iterable[Check[Subject]], subject: Subject) -> Iterator[Finding]:
    for check in checks:
        yield from check.run(subject)


def _check_shard(stream: Stream, tally: Tally, unchecked: list[str]) -> Iterator[Finding]:
    """Check one shard and count what it holds."""
    findings = list(_run(STREAM_CHECKS, stream))
    yield from findings
    if any(finding.check == "schema" for finding in findings) or stream.schema is None:
        tally.whole = False
        unchecked.append(f"The rows of {stream.name} were not checked, because its columns are not the expected ones.")
        return
    whole = stream.error is None
    rows = documents = tokens = 0
    for batch in stream.batches:
        stored = StoredBatch(stream=stream, batch=batch, shard_row=rows)
        rows += batch.num_rows
        problems = list(_run(BATCH_CHECKS, stored))
        yield from problems
        if problems:
            whole = False
            unchecked.append(f"Rows {stored.shard_row} to {rows - 1} of {stream.name} were not checked.")
            continue
        if not batch.num_rows:
            continue
        columns = list_columns(batch)
        documents += len(columns["seq_lengths"][0])
        tokens += len(columns["input_ids"][0])
        yield from _check_rows(stored, columns, tally)
    tally.whole &= whole
    if whole:
        tally.shards.append(ShardEntry(name=stream.name, rows=rows, documents=documents, tokens=tokens))
    elif stream.error:
        unchecked.append(f"Rows of {stream.name} from row {rows} were not checked.")


def _check_rows(stored: StoredBatch, columns: dict[str, Any], tally: Tally) -> Iterator[Finding]:
    stored_rows = stored.shard_row + np.arange(stored.batch.num_rows, dtype=np.int64)
    rows = Rows(
        shard=stored.stream.name,
        first_row=stored.stream.first_row,
        shard_rows=stored_rows,
        columns=columns,
        rules=tally.rules,
    )
    yield from _run(ROW_CHECKS, rows)
    sound = rows.sound()
    tally.whole &= sound is rows
    batch = batch_of(sound)
    if batch is not None:
        yield from _run(TOKEN_CHECKS, batch)
        tally.add(batch)
