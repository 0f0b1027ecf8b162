"""Which tokens end an answer, as far as the probes show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ismpack.data import Conversation
from ismpack.templates.report.subject import Subject
from ismpack.templates.report.verdicts import KindReport


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReport:
    """The stop tokens, each in one list, sorted.

    Attributes:
        answers: Answers that were looked at: all those of conversations that are not refused.
        closing: Listed tokens that end an answer.
        inferred: Tokens that end an answer without being listed.
        idle: Listed tokens that are printed but end no answer.
        unprinted: Listed tokens that the template never prints.
    """

    answers: int
    closing: tuple[str, ...]
    inferred: tuple[str, ...]
    idle: tuple[str, ...]
    unprinted: tuple[str, ...]


def examine_stops(subject: Subject, probes: Mapping[str, Conversation], kinds: Iterable[KindReport]) -> StopReport:
    """See what ends the answers of the probes."""
    accepted = [kind.segmentation for kind in kinds if kind.segmentation is not None]
    listed = subject.rules.stop_tokens
    ends = [part.text for found in accepted for sample in found.samples for part in sample if part.is_answer]
    closing = {stop for stop in listed if any(_ends_with(text, stop, listed) for text in ends)}
    text = subject.printed(probes.values())
    printed = {stop for stop in listed if stop in text}
    return StopReport(
        answers=len(ends),
        closing=tuple(sorted(closing)),
        inferred=tuple(sorted({stop for found in accepted for stop in found.inferred_stops})),
        idle=tuple(sorted(printed - closing)),
        unprinted=tuple(sorted(listed - printed)),
    )


def _ends_with(text: str, stop: str, listed: Iterable[str]) -> bool:
    """Whether `stop` is the longest of the listed tokens at the end of the text."""
    return max((token for token in listed if text.endswith(token)), key=len, default="") == stop
