"""What a conversion did, as data and as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ismpack.errors import UNDESIRED
from ismpack.manifest import Manifest, Totals

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
class ConvertReport:
    """The result of `convert`.

    Attributes:
        output: The dataset's directory, as given.
        unchanged: The dataset was there already, and nothing was written.
        totals: Sums over the run.
        shards: Number of Arrow files.
        formats: Input format -> records.
        rejected: Reject code -> records.
        warnings: Warning code -> times.
        inferred_stops: Control tokens that were taken as stop tokens without being listed.
        input_bytes: Size of the inputs as stored.
        seconds: Wall-clock time.
    """

    output: str
    unchanged: bool
    totals: Totals
    shards: int
    formats: Mapping[str, int]
    rejected: Mapping[str, int]
    warnings: Mapping[str, int]
    inferred_stops: tuple[str, ...]
    input_bytes: int
    seconds: float

    @classmethod
    def of(
        cls, manifest: Manifest, *, output: str, unchanged: bool, seconds: float, inferred_stops: tuple[str, ...] = ()
    ) -> ConvertReport:
        """The report of a dataset whose manifest is at hand."""
        return cls(
            output=output,
            unchanged=unchanged,
            totals=manifest.totals,
            shards=len(manifest.shards),
            formats=manifest.formats,
            rejected=manifest.rejected,
            warnings=manifest.warnings,
            inferred_stops=inferred_stops,
            input_bytes=sum(entry.bytes for entry in manifest.inputs),
            seconds=seconds,
        )

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
        }

    def __str__(self) -> str:
        t = self.totals
        expansion = t.triplet_tokens / t.tokens if t.tokens else 0
        head = f"{self.output}: {'already complete, nothing to do' if self.unchanged else 'written'}"
        lines = [
            head,
            f"  records        {t.records:>14,}   {_counts(self.formats)}",
            f"  conversations  {t.conversations:>14,}   {t.turns:,} turns in {t.samples:,} samples",
            f"  tokens         {t.tokens:>14,}   {_share(t.loss_tokens, t.tokens)} are targets",
            f"  rows           {t.rows:>14,}   {_share(t.fill, 1, digits=2)} full, in {_many(self.shards, 'shard')}",
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
        if not self.unchanged:
            seconds = max(self.seconds, 1e-9)
            speed = f"{t.records / seconds:,.0f} records/s, {t.tokens / seconds:,.0f} tokens/s"
            lines.append(f"  seconds        {self.seconds:>14,.1f}   {speed}")
        return "\n".join(lines)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


def _share(part: float, whole: float, *, digits: int = 1) -> str:
    return f"{100 * part / whole if whole else 0:.{digits}f} %"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
