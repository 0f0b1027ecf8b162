"""The order of the checks: what is built on a broken premise is not looked at, and the report says so."""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from ismpack.checks.files import FILE_CHECKS, SHA256_CHECKS, Directory
from ismpack.checks.report import Check, VerifyReport, run_checks
from ismpack.checks.rows import ROW_CHECKS
from ismpack.checks.rules import Rules, rules_of
from ismpack.checks.shard import ShardReport, check_shard
from ismpack.checks.streams import BATCH_CHECKS, STREAM_CHECKS
from ismpack.checks.tokens import TOKEN_CHECKS
from ismpack.checks.totals import RECORD_CHECKS, TALLY_CHECKS, WHOLE_CHECKS, Tally
from ismpack.manifest import read_manifest
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
    rules = rules_of(manifest)
    _keep_freed_memory()
    subject = Directory(path=Path(directory), manifest=manifest)
    findings = list(run_checks(FILE_CHECKS + (SHA256_CHECKS if sha256 else ()), subject))
    shards = list(_check_shards(subject, rules, {finding.shard for finding in findings}))
    tally = Tally(manifest=manifest, rules=rules, shards=shards)
    unchecked = [sentence for shard in shards for sentence in shard.unchecked]
    findings += [finding for shard in shards for finding in shard.findings]
    findings += run_checks(TALLY_CHECKS, tally)
    if tally.whole:
        findings += run_checks(WHOLE_CHECKS, tally)
    else:
        unchecked.append("totals were not compared, because not every row could be counted.")
    findings += run_checks(RECORD_CHECKS, subject)

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


def _check_shards(subject: Directory, rules: Rules, damaged: Container[str | None]) -> Iterator[ShardReport]:
    manifest = subject.manifest
    derived = frozenset(manifest.columns.keys() & DERIVED_COLUMNS.keys())
    starts = accumulate((shard.rows for shard in manifest.shards), initial=0)
    for shard, first_row in zip(manifest.shards, starts, strict=False):
        if shard.name in damaged:
            report = ShardReport(name=shard.name)
            report.leave_out(f"{shard.name} was not opened, because it is not the file that the manifest lists.")
            yield report
        else:
            yield check_shard(subject.path / shard.name, first_row, rules, derived)


def _keep_freed_memory() -> None:
    """Let arrays that are freed be used again.

    By default glibc gives freed memory back to the system as soon as there is more of it than twice the largest array
    that was ever freed, and the arrays of every record batch would have to be mapped and zeroed anew, which takes more
    than a quarter of the whole time. Freeing one array of nearly 32 MiB, the most that counts (mallopt(3) on
    M_MMAP_THRESHOLD), sets that limit high enough; the array itself is never touched.
    """
    np.empty(31 << 20, np.uint8)
