"""What a check is and what it says: problems, findings, the report."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong. Inside rows there is one problem per row and check: its first place, and how many.

    Attributes:
        message: What is wrong, in one sentence without a full stop.
        shard: File name of the shard.
        row: 0-based row of the dataset, counted with the manifest's rows per shard.
        shard_row: 0-based row of the shard.
        document: 0-based document of the row.
        token: 0-based token of the row.
        source: Where the document came from, as `chat.jsonl:17` or `chat.parquet#16`.
        count: Places of this row with the same problem.
    """

    message: str
    shard: str | None = None
    row: int | None = None
    shard_row: int | None = None
    document: int | None = None
    token: int | None = None
    source: str | None = None
    count: int = 1

    @property
    def place(self) -> str:
        """Where, for people; empty when the problem is about the whole dataset."""
        parts = [
            self.shard,
            None if self.row is None else f"row {self.row} (row {self.shard_row} of the shard)",
            None if self.document is None else f"document {self.document}",
            None if self.token is None else f"token {self.token}",
            None if self.source is None else f"from {self.source}",
        ]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding(Problem):
    """A problem with the name of the check that found it.

    Attributes:
        check: A name of `CHECKS`.
        hint: What to do about it.
    """

    check: str
    hint: str | None = None

    def __str__(self) -> str:
        more = f" (and {self.count - 1:,} more in this row)" if self.count > 1 else ""
        return f"[{self.check}] {self.message}{more}" + (f" ({self.place})" if self.place else "")


@dataclass(frozen=True, slots=True)
class Check(Generic[Subject]):
    """One rule.

    Attributes:
        name: Stable, kebab-case, unique.
        about: The rule in one sentence.
        find: All breaches in one subject (the directory, a shard, a batch, the totals).
        hint: What to do about a breach.
    """

    name: str
    about: str
    find: Callable[[Subject], Iterable[Problem]]
    hint: str | None = None

    def run(self, subject: Subject) -> Iterator[Finding]:
        """The breaches, named."""
        for problem in self.find(subject):
            yield Finding(check=self.name, hint=self.hint, **dataclasses.asdict(problem))


def run_checks(checks: Iterable[Check[Subject]], subject: Subject) -> Iterator[Finding]:
    """All breaches in one subject, check by check."""
    for check in checks:
        yield from check.run(subject)


def counted(number: int, noun: str) -> str:
    """`1 row`, `1,024 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What `verify` did and found.

    Attributes:
        directory: As given.
        findings: Everything that is wrong, in the order of the checks and rows.
        checks: Names of the checks that ran.
        unchecked: What could not be looked at because of a finding, one sentence each.
        rows: Rows of the shards that could be read to their end.
        documents: Their documents.
        tokens: Their tokens.
    """

    directory: str
    findings: tuple[Finding, ...]
    checks: tuple[str, ...]
    unchecked: tuple[str, ...]
    rows: int
    documents: int
    tokens: int

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.findings

    def counts(self) -> dict[str, int]:
        """Check -> its findings, for checks that have any."""
        return dict(Counter(finding.check for finding in self.findings))

    def shown(self, per_check: int = 5) -> Iterator[Finding]:
        """The first findings of each check, for printing; `counts` tells how many there are."""
        seen: Counter[str] = Counter()
        for finding in self.findings:
            seen[finding.check] += 1
            if seen[finding.check] <= per_check:
                yield finding

    def to_json(self) -> dict[str, Any]:
        """The whole report as JSON values."""
        return {
            "schema": "ismpack.verify/1",
            "ok": self.ok,
            "directory": self.directory,
            "rows": self.rows,
            "documents": self.documents,
            "tokens": self.tokens,
            "checks": list(self.checks),
            "counts": self.counts(),
            "unchecked": list(self.unchecked),
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
        }
