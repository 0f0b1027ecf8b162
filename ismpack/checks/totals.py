"""Checks that need the whole dataset: counts against the manifest, sources, rejected records."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ismpack.checks.files import Directory
from ismpack.checks.report import Check, Problem
from ismpack.checks.rules import Rules
from ismpack.checks.tokens import Batch
from ismpack.manifest import Manifest, ShardEntry
from ismpack.schema import REJECTED_NAME


@dataclass(slots=True, eq=False, kw_only=True)
class Tally:
    """What was counted while the shards were read.

    Attributes:
        manifest: What should have been counted.
        rules: What it promises about rows.
        shards: What each shard that could be read to its end holds.
        turns: Turns of sound rows.
        loss_tokens: Targets of sound rows.
        triplet_tokens: Over all turns, the tokens of the document up to the turn's end.
        batches: For each batch, where its documents are and where they come from.
        whole: Every row of every shard was counted.
    """

    manifest: Manifest
    rules: Rules
    shards: list[ShardEntry] = field(default_factory=list)
    turns: int = 0
    loss_tokens: int = 0
    triplet_tokens: int = 0
    batches: list[_Documents] = field(default_factory=list)
    whole: bool = True

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def documents(self) -> int:
        """Documents of all shards."""
        return sum(shard.documents for shard in self.shards)

    @property
    def tokens(self) -> int:
        """Tokens of all shards."""
        return sum(shard.tokens for shard in self.shards)

    @property
    def source_ids(self) -> npt.NDArray[np.int64]:
        """int64[documents], in order."""
        return np.concatenate([np.empty(0, np.int64), *(batch.source_ids for batch in self.batches)])

    def add(self, batch: Batch) -> None:
        """Count a batch."""
        ends = batch.turn_ends
        self.turns += len(ends)
        self.loss_tokens += int(np.count_nonzero(batch.is_target))
        self.triplet_tokens += int((ends + 1 - batch.document_starts[batch.document_of(ends)]).sum())
        self.batches.append(
            _Documents(
                shard=batch.columns.shard,
                first_row=batch.first_row,
                shard_rows=batch.shard_rows,
                offsets=batch.columns.document_offsets,
                source_ids=batch.columns.source_ids.copy(),  # a view would keep the whole shard mapped
            )
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Documents:
    """The sources of one batch.

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
        row = int(np.searchsorted(self.offsets, document, side="right")) - 1
        return Problem(
            message=message,
            shard=self.shard,
            row=self.first_row + int(self.shard_rows[row]),
            shard_row=int(self.shard_rows[row]),
            document=document - int(self.offsets[row]),
            source=rules.source(int(self.source_ids[document])),
        )


def source_unique(tally: Tally) -> Iterator[Problem]:
    """A conversation that is packed twice is trained twice. Split conversations share their source on purpose."""
    if tally.rules.split:
        return
    sources = tally.source_ids
    order = np.argsort(sources, kind="stable")
    again = np.sort(order[1:][sources[order[1:]] == sources[order[:-1]]])
    starts = np.cumsum([0, *(len(batch.source_ids) for batch in tally.batches)])
    for document in again:
        index = int(np.searchsorted(starts, document, side="right")) - 1
        message = f"source id {sources[document]} occurs a second time"
        yield tally.batches[index].problem(int(document - starts[index]), message, tally.rules)


def shard_counts(tally: Tally) -> Iterator[Problem]:
    """Shards that could be read to their end."""
    stated = {shard.name: shard for shard in tally.manifest.shards}
    for found in tally.shards:
        for name in ("rows", "documents", "tokens"):
            counted, expected = getattr(found, name), getattr(stated[found.name], name)
            if counted != expected:
                message = f"the shard holds {counted:,} {name}; the manifest says {expected:,}"
                yield Problem(message=message, shard=found.name)


def totals(tally: Tally) -> Iterator[Problem]:
    """Sums over all rows."""
    stated = tally.manifest.totals
    counted = {
        "rows": tally.rows,
        "tokens": tally.tokens,
        "samples": tally.documents,
        "turns": tally.turns,
        "loss_tokens": tally.loss_tokens,
        "triplet_tokens": tally.triplet_tokens,
        # Repeated sources are source-unique's business; here they count as conversations of their own.
        "conversations": len(np.unique(tally.source_ids)) if tally.rules.split else tally.documents,
    }
    for name, count in counted.items():
        if count != getattr(stated, name):
            yield Problem(message=f"the shards hold {count:,} {name}; the manifest says {getattr(stated, name):,}")
    fill = tally.tokens / (tally.rows * tally.rules.max_length) if tally.rows else 0.0
    if not math.isclose(fill, stated.fill, rel_tol=1e-9):
        yield Problem(message=f"fill is {fill}; the manifest says {stated.fill}")


def record_balance(directory: Directory) -> Iterator[Problem]:
    """No record is lost in silence."""
    stated = directory.manifest.totals
    accounted = stated.conversations + stated.rejected + stated.dropped_by_option
    if stated.records != accounted:
        yield Problem(
            message=f"{stated.records:,} records were read, but {stated.conversations:,} conversations, "
            f"{stated.rejected:,} rejected and {stated.dropped_by_option:,} dropped records make {accounted:,}"
        )


def rejected_records(directory: Directory) -> Iterator[Problem]:
    """The list may be missing only if it would be empty."""
    manifest = directory.manifest
    codes: Counter[str] = Counter()
    try:
        with (directory.path / REJECTED_NAME).open("rb") as file:
            for number, line in enumerate(file, 1):
                code = _code(line)
                if code is None:
                    yield Problem(message=f"{REJECTED_NAME}:{number} is not a JSON object with a code")
                else:
                    codes[code] += 1
    except FileNotFoundError:
        if REJECTED_NAME in directory.sizes:
            return  # file-present reports it
    except OSError as error:
        yield Problem(message=f"{REJECTED_NAME} cannot be read: {error.strerror}")
        return
    if codes.total() != manifest.totals.rejected:
        message = f"{REJECTED_NAME} lists {codes.total():,} records; totals.rejected is {manifest.totals.rejected:,}"
        yield Problem(message=message)
    for code in sorted(codes.keys() | manifest.rejected.keys()):
        if codes[code] != manifest.rejected.get(code, 0):
            stated = manifest.rejected.get(code, 0)
            yield Problem(message=f"{REJECTED_NAME} lists {codes[code]:,} x {code}; the manifest says {stated:,}")


def _code(line: bytes) -> str | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    code = record.get("code") if isinstance(record, dict) else None
    return code if isinstance(code, str) else None


TALLY_CHECKS: tuple[Check[Tally], ...] = (
    Check("shard-counts", "Every shard holds the rows, documents and tokens that the manifest says.", shard_counts),
    Check("source-unique", "No source id occurs twice (unless --on-rewrite split).", source_unique),
)
WHOLE_CHECKS: tuple[Check[Tally], ...] = (Check("totals", "The manifest's totals are the sums over all rows.", totals),)
RECORD_CHECKS: tuple[Check[Directory], ...] = (
    Check("record-balance", "records = conversations + rejected + dropped_by_option.", record_balance),
    Check("rejected-records", "rejected.jsonl lists the rejected records, code by code.", rejected_records),
)
