"""Checks that need the whole dataset: counts against the manifest, sources, rejected records."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ismpack.checks.files import Directory
from ismpack.checks.report import Check, Problem, counted
from ismpack.checks.rules import Rules
from ismpack.checks.shard import ShardReport, Sources
from ismpack.manifest import Manifest
from ismpack.schema import REJECTED_NAME


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Tally:
    """What all shards hold, and what the manifest says.

    Attributes:
        manifest: What should have been counted.
        rules: What it promises about rows.
        shards: What was counted, shard by shard.
    """

    manifest: Manifest
    rules: Rules
    shards: list[ShardReport]

    @property
    def whole(self) -> bool:
        """Every row of every shard was counted."""
        return all(shard.whole for shard in self.shards)

    @property
    def readable(self) -> list[ShardReport]:
        """The shards that could be read to their end."""
        return [shard for shard in self.shards if shard.readable]

    @property
    def rows(self) -> int:
        """Rows of these shards."""
        return sum(shard.rows for shard in self.readable)

    @property
    def documents(self) -> int:
        """Documents of these shards."""
        return sum(shard.documents for shard in self.readable)

    @property
    def tokens(self) -> int:
        """Tokens of these shards."""
        return sum(shard.tokens for shard in self.readable)

    @property
    def sources(self) -> list[Sources]:
        """Where documents come from, batch by batch."""
        return [batch for shard in self.shards for batch in shard.sources]

    @property
    def source_ids(self) -> npt.NDArray[np.int64]:
        """int64[documents], in order."""
        return np.concatenate([np.empty(0, np.int64), *(batch.source_ids for batch in self.sources)])


def source_unique(tally: Tally) -> Iterator[Problem]:
    """A conversation that is packed twice is trained twice. Split conversations share their source on purpose."""
    if tally.rules.split:
        return
    ids = tally.source_ids
    values = np.sort(ids)
    if (values[1:] > values[:-1]).all():
        return
    order = np.argsort(ids, kind="stable")
    again = np.sort(order[1:][ids[order[1:]] == ids[order[:-1]]])
    batches = tally.sources
    starts = np.cumsum([0, *(len(batch.source_ids) for batch in batches)])
    for document in again:
        index = int(np.searchsorted(starts, document, side="right")) - 1
        message = f"source id {ids[document]} occurs a second time"
        yield batches[index].problem(int(document - starts[index]), message, tally.rules)


def shard_counts(tally: Tally) -> Iterator[Problem]:
    """Shards that could be read to their end."""
    stated = {shard.name: shard for shard in tally.manifest.shards}
    for shard in tally.readable:
        for noun in ("row", "document", "token"):
            found, expected = getattr(shard, f"{noun}s"), getattr(stated[shard.name], f"{noun}s")
            if found != expected:
                message = f"the shard holds {counted(found, noun)}; the manifest says {expected:,}"
                yield Problem(message=message, shard=shard.name)


def totals(tally: Tally) -> Iterator[Problem]:
    """Sums over all rows."""
    stated = tally.manifest.totals
    found = {
        "rows": tally.rows,
        "tokens": tally.tokens,
        "samples": tally.documents,
        "turns": sum(shard.turns for shard in tally.shards),
        "loss_tokens": sum(shard.loss_tokens for shard in tally.shards),
        "triplet_tokens": sum(shard.triplet_tokens for shard in tally.shards),
        # Repeated sources are source-unique's business; here they count as conversations of their own.
        "conversations": len(np.unique(tally.source_ids)) if tally.rules.split else tally.documents,
    }
    for name, count in found.items():
        if count != getattr(stated, name):
            message = f"the shards hold {counted(count, name[:-1])}; the manifest says {getattr(stated, name):,}"
            yield Problem(message=message)
    fill = tally.tokens / (tally.rows * tally.rules.max_length) if tally.rows else 0.0
    if not math.isclose(fill, stated.fill, rel_tol=1e-9):
        yield Problem(message=f"fill is {fill}; the manifest says {stated.fill}")


def record_balance(directory: Directory) -> Iterator[Problem]:
    """No record is lost in silence."""
    stated = directory.manifest.totals
    accounted = stated.conversations + stated.rejected + stated.dropped_by_option
    if stated.records != accounted:
        found = f"{counted(stated.conversations, 'conversation')}, {stated.rejected:,} rejected"
        found += f" and {stated.dropped_by_option:,} dropped make {accounted:,}"
        yield Problem(message=f"the run read {counted(stated.records, 'record')}, but {found}")


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
        found = f"{REJECTED_NAME} lists {counted(codes.total(), 'record')}"
        yield Problem(message=f"{found}; totals.rejected is {manifest.totals.rejected:,}")
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
