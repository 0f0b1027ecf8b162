"""What a conversion did, as data and as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ismpack.errors import UNDESIRED
from ismpack.manifest import Manifest, Totals
from ismpack.options import ConvertOptions
from ismpack.packing import row_bound
from ismpack.pipeline.progress import Clock
from ismpack.pipeline.tally import Tally
from ismpack.tokenization import EngineChoice

WARNINGS: dict[str, str] = {
    "answer-unterminated": "conversations with an answer that no control token closes",
    "control-string-in-data": "conversations whose data holds the text of a control token (encoded as text, or as "
    "control tokens with --special-tokens-in-data control)",
    "duplicate-conversation": "samples whose tokens and loss are those of an earlier one",
    "empty-input": "inputs without a byte of text",
    "greeting-in-query": "conversations that open with an assistant message; it is part of the first query",
    "history-rewritten": "conversations whose earlier answers the template renders in another way later on",
    "message-key-unread": "conversations with keys in their messages that only the chat template may read",
    "misnamed-input": "inputs that are compressed in another way than their name says",
    "nul-in-data": "conversations with the character U+0000 in a message",
    "overlong-cut": "samples cut to the leading turns that fit",
    "overlong-cut-turns": "turns cut off for that",
    "overlong-cut-tokens": "tokens cut off for that",
    "split-sample-dropped": "samples of split conversations left out by --overlong drop",
    "split-sample-refused": "samples of split conversations that cannot be used",
    "stop-token-inferred": "conversations with an answer closed by a token that is not listed as stop token",
    "tree-reply-unused": "replies of reply trees that lie beside the way that is taken",
    "tool-result-without-call": "conversations with a tool result that answers no call of theirs",
    "trailing-query-dropped": "conversations that end in messages after the last answer; these are left out",
    UNDESIRED: "records that mark their own answer as unwanted (a label, a vote); they are left out",
    "unowned-template-text": "conversations with template text in a query that no message owns (type user)",
}
"""Every warning code, and what its count counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What is true of one run, and may be another the next time.

    Attributes:
        seconds: Wall-clock time until everything was written and checked.
        start_seconds: The part of it before the work on records began: tokenizer, template, worker processes.
        workers: Processes that converted.
        engine: What encoded the text, and how it was compared.
        fewest_rows: No packing of all samples together could have fewer rows; None if rows are not packed.
        inferred_stops: Control tokens that were taken as stop tokens without being listed.
    """

    seconds: float
    start_seconds: float
    workers: int
    engine: EngineChoice
    fewest_rows: int | None
    inferred_stops: tuple[str, ...]

    @classmethod
    def of(cls, clock: Clock, workers: int, engine: EngineChoice, tally: Tally, options: ConvertOptions) -> RunFacts:
        """The facts of a run that is nearly over."""
        return cls(
            seconds=clock.seconds,
            start_seconds=clock.start_seconds,
            workers=workers,
            engine=engine,
            fewest_rows=None if options.packing == "none" else row_bound(tally.lengths, options.max_length),
            inferred_stops=tuple(sorted(tally.inferred_stops)),
        )

    def to_json(self) -> dict[str, Any]:
        """For run.json."""
        return {
            "seconds": round(self.seconds, 3),
            "start_seconds": round(self.start_seconds, 3),
            "workers": self.workers,
            "engine": asdict(self.engine),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertReport:
    """The result of `convert`.

    Attributes:
        output: The dataset's directory, as given.
        totals: Sums over the run.
        shards: Number of Arrow files.
        formats: Input format -> records.
        rejected: Reject code -> records.
        warnings: Warning code -> times.
        input_bytes: Size of the inputs as stored.
        seconds: Wall-clock time.
        facts: About the run; None if nothing was to be done.
    """

    output: str
    totals: Totals
    shards: int
    formats: Mapping[str, int]
    rejected: Mapping[str, int]
    warnings: Mapping[str, int]
    input_bytes: int
    seconds: float
    facts: RunFacts | None

    @classmethod
    def of(cls, manifest: Manifest, *, output: str, seconds: float, facts: RunFacts | None = None) -> ConvertReport:
        """The report of a dataset whose manifest is at hand.

        Args:
            manifest: The dataset's.
            output: Its directory, as given.
            seconds: Wall-clock time.
            facts: Those of the run that made it; None if it was there already.
        """
        return cls(
            output=output,
            totals=manifest.totals,
            shards=len(manifest.shards),
            formats=manifest.formats,
            rejected=manifest.rejected,
            warnings=manifest.warnings,
            input_bytes=sum(entry.bytes for entry in manifest.inputs),
            seconds=seconds,
            facts=facts,
        )

    @property
    def unchanged(self) -> bool:
        """Whether the dataset was there already, and nothing was written."""
        return self.facts is None

    @property
    def inferred_stops(self) -> tuple[str, ...]:
        """Control tokens that were taken as stop tokens without being listed."""
        return self.facts.inferred_stops if self.facts else ()

    def to_json(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self.totals) | {
            "schema": "ismpack.convert/1",
            "output": self.output,
            "unchanged": self.unchanged,
            "shards": self.shards,
            "formats": dict(self.formats),
            "rejected": dict(self.rejected),
            "warnings": dict(self.warnings),
            "inferred_stops": list(self.inferred_stops),
            "input_bytes": self.input_bytes,
            "seconds": round(self.seconds, 3),
            "start_seconds": round(self.facts.start_seconds, 3) if self.facts else None,
            "workers": self.facts.workers if self.facts else None,
            "engine": self.facts.engine.name if self.facts else None,
            "fewest_rows": self.facts.fewest_rows if self.facts else None,
        }

    def _packing(self) -> str:
        """How rows were packed, and how many fewer might do if it had not been shard by shard."""
        shards = f"in {_many(self.shards, 'shard')}"
        if self.facts is None or self.facts.fewest_rows is None:
            return shards
        more = self.totals.rows - self.facts.fewest_rows
        return f"{shards}; at best {more:,} fewer would do" if more else f"{shards}; no fewer would do"

    def __str__(self) -> str:
        t = self.totals
        expansion = t.triplet_tokens / t.tokens if t.tokens else 0
        head = f"{self.output}: {'already complete, nothing to do' if self.unchanged else 'written'}"
        lines = [
            head,
            f"  records        {t.records:>14,}   {_counts(self.formats)}",
            f"  conversations  {t.conversations:>14,}   {t.turns:,} turns in {t.samples:,} samples",
            f"  tokens         {t.tokens:>14,}   {_share(t.loss_tokens, t.tokens)} are targets",
            f"  rows           {t.rows:>14,}   {_share(t.fill, 1, digits=2)} full, {self._packing()}",
            f"  triplet tokens {t.triplet_tokens:>14,}   {expansion:.1f} times as many, with one row per turn",
        ]
        if t.rejected:
            lines.append(f"  rejected       {t.rejected:>14,}   {_counts(self.rejected)}")
        if t.dropped_by_option:
            undesired = self.warnings.get(UNDESIRED, 0)
            why = {UNDESIRED: undesired, "by --overlong drop": t.dropped_by_option - undesired}
            lines.append(
                f"  left out       {t.dropped_by_option:>14,}   {_counts({k: n for k, n in why.items() if n})}"
            )
        if self.warnings:
            lines.append(f"  warnings       {'':>14}   {_counts(self.warnings)}")
        if self.facts:
            lines += _speed(self.facts, self.input_bytes, t.tokens, self.seconds)
        return "\n".join(lines)


def _speed(facts: RunFacts, input_bytes: int, tokens: int, seconds: float) -> list[str]:
    """How long it took and what it took. Rates are those of the work, without the start."""
    working = max(seconds - facts.start_seconds, 1e-9)
    rates = f"{input_bytes / working / 1e6:,.1f} MB/s, {tokens / working:,.0f} tokens/s"
    engine = " ".join(filter(None, (facts.engine.name, facts.engine.version)))
    return [
        f"  seconds        {seconds:>14,.1f}   {facts.start_seconds:.1f} to start; then {rates}",
        f"  workers        {facts.workers:>14,}   tokenizer engine {engine}",
    ]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


def _share(part: float, whole: float, *, digits: int = 1) -> str:
    return f"{100 * part / whole if whole else 0:.{digits}f} %"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
