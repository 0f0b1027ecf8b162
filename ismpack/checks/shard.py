"""One shard, from its bytes to its tokens. Nothing here depends on other shards, so they can be looked at side by side.

What is built on a broken premise is not looked at, and the report says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ismpack.checks.batch import Batch, batch_of
from ismpack.checks.report import Finding, Problem, run_checks
from ismpack.checks.rows import ROW_CHECKS, Rows
from ismpack.checks.rules import Rules
from ismpack.checks.streams import BATCH_CHECKS, STREAM_CHECKS, StoredBatch, read_stream
from ismpack.checks.tokens import TOKEN_CHECKS
from ismpack.reader import list_columns


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sources:
    """Where the documents of one batch come from; all arrays are its own, so that no shard stays mapped.

    Attributes:
        shard: File name.
        first_row: Row of the dataset at which the shard starts.
        shard_rows: int64[R], rows of the shard.
        offsets: int32[R + 1], first document of each row, and the end.
        source_ids: int64[D].
    """

    shard: str
    first_row: int
    shard_rows: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int32]
    source_ids: npt.NDArray[np.int64]

    def problem(self, document: int, message: str, rules: Rules) -> Problem:
        """A problem of one document of the batch."""
        row = int(np.searchsorted(self.offsets, document, side="right")) - 1
        return Problem(
            message=message,
            shard=self.shard,
            row=self.first_row + int(self.shard_rows[row]),
            shard_row=int(self.shard_rows[row]),
            document=document - int(self.offsets[row]),
            source=rules.source(int(self.source_ids[document])),
        )


@dataclass(slots=True, eq=False, kw_only=True)
class ShardReport:
    """What is wrong with one shard, and what it holds.

    Attributes:
        name: File name.
        findings: Everything that is wrong, in the order of its batches, checks and rows.
        unchecked: What could not be looked at, one sentence each.
        readable: It could be read to its end.
        whole: Every row of it was counted.
        rows: Rows, as far as it could be read.
        documents: Their documents.
        tokens: Their tokens.
        turns: Turns of sound rows.
        loss_tokens: Targets of sound rows.
        triplet_tokens: Over all turns of sound rows, the tokens of the document up to the turn's end.
        sources: Sources of sound rows, batch by batch.
    """

    name: str
    findings: list[Finding] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    readable: bool = True
    whole: bool = True
    rows: int = 0
    documents: int = 0
    tokens: int = 0
    turns: int = 0
    loss_tokens: int = 0
    triplet_tokens: int = 0
    sources: list[Sources] = field(default_factory=list)

    def leave_out(self, sentence: str) -> None:
        """Some of the shard is not looked at; `sentence` says what."""
        self.unchecked.append(sentence)
        self.readable = self.whole = False

    def count(self, batch: Batch) -> None:
        """Count a batch of sound rows."""
        self.turns += len(batch.turn_starts)
        self.loss_tokens += int(np.count_nonzero(batch.is_target))
        self.triplet_tokens += batch.triplet_tokens
        self.sources.append(
            Sources(
                shard=self.name,
                first_row=batch.first_row,
                shard_rows=batch.shard_rows,
                offsets=batch.columns.document_offsets,
                source_ids=batch.columns.source_ids.copy(),
            )
        )


def check_shard(path: Path, first_row: int, rules: Rules, derived: frozenset[str]) -> ShardReport:
    """Look at everything in one shard, and count it.

    Args:
        path: The file.
        first_row: Row of the dataset at which it starts, by the manifest.
        rules: What the manifest promises.
        derived: Derived columns that it should have.
    """
    stream = read_stream(path, first_row, derived)
    report = ShardReport(name=stream.name, findings=list(run_checks(STREAM_CHECKS, stream)))
    if stream.schema is None or any(finding.check == "schema" for finding in report.findings):
        report.leave_out(f"The rows of {stream.name} were not checked, because its columns are not the expected ones.")
        return report
    for batch in stream.batches:
        stored = StoredBatch(stream=stream, batch=batch, shard_row=report.rows)
        report.rows += batch.num_rows
        problems = list(run_checks(BATCH_CHECKS, stored))
        report.findings += problems
        if problems:
            report.leave_out(_not_checked(stored))
        elif batch.num_rows:
            _check_rows(stored, rules, report)
    if stream.error:
        report.leave_out(f"Rows of {stream.name} from row {report.rows} were not checked.")
    return report


def _not_checked(stored: StoredBatch) -> str:
    first, rows = stored.shard_row, stored.batch.num_rows
    if rows == 1:
        return f"Row {first} of {stored.stream.name} was not checked."
    return f"Rows {first} to {first + rows - 1} of {stored.stream.name} were not checked."


def _check_rows(stored: StoredBatch, rules: Rules, report: ShardReport) -> None:
    columns = list_columns(stored.batch)
    report.documents += len(columns["seq_lengths"][0])
    report.tokens += len(columns["input_ids"][0])
    rows = Rows(
        shard=stored.stream.name,
        first_row=stored.stream.first_row,
        shard_rows=stored.shard_row + np.arange(stored.batch.num_rows, dtype=np.int64),
        columns=columns,
        rules=rules,
    )
    report.findings += run_checks(ROW_CHECKS, rows)
    sound = rows.sound()
    report.whole &= sound is rows
    batch = batch_of(sound)
    if batch is not None:
        report.findings += run_checks(TOKEN_CHECKS, batch)
        report.count(batch)
