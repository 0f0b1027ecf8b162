"""One probe, one verdict: does the template only append, does it rewrite, is the conversation refused?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import combinations

from ismpack.data import Conversation
from ismpack.errors import RecordError
from ismpack.templates.marks import DATA_FIELDS
from ismpack.templates.report.rewrites import Rewrite, find_rewrite
from ismpack.templates.report.subject import Subject
from ismpack.templates.rules import Segmentation, SegmentRules

DROPPABLE = (*DATA_FIELDS, "tools")
"""What `--allow-dropped` takes."""


class Verdict(StrEnum):
    """What becomes of a conversation of one kind."""

    APPEND_ONLY = "append-only"
    REWRITTEN = "rewritten"
    """Later messages change how an answer is rendered; the stream is stitched."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A verdict, and the reject code if it is a refusal."""

    verdict: Verdict
    code: str | None = None

    @property
    def rank(self) -> int:
        """Greater is better."""
        return [Verdict.REFUSED, Verdict.REWRITTEN, Verdict.APPEND_ONLY].index(self.verdict)

    def __str__(self) -> str:
        return self.verdict if self.code is None else f"{self.verdict} ({self.code})"


@dataclass(frozen=True, slots=True, kw_only=True)
class KindReport:
    """What becomes of one probe.

    Attributes:
        kind: A key of `PROBES`.
        outcome: Verdict and reject code.
        why: One sentence; empty if there is nothing to say.
        rewrite: The first rewritten place, if the template rewrites this kind.
        dropped: Fields to allow (`--allow-dropped`) so that the kind is no longer refused as `data-dropped`.
        segmentation: The segments, unless refused.
    """

    kind: str
    outcome: Outcome
    why: str = ""
    rewrite: Rewrite | None = None
    dropped: tuple[str, ...] = ()
    segmentation: Segmentation | None = field(default=None, repr=False, compare=False)


def judge(subject: Subject, kind: str, conversation: Conversation) -> KindReport:
    """The verdict on one conversation, and why."""
    try:
        segmentation = subject.segment(conversation)
    except RecordError as error:
        return KindReport(
            kind=kind,
            outcome=Outcome(verdict=Verdict.REFUSED, code=error.code),
            why=error.message.removeprefix("the chat template refuses this conversation: "),
            rewrite=_rewrite_of_refused(subject, conversation) if error.code == "stitch-ambiguous" else None,
            dropped=_dropped(subject, conversation) if error.code == "data-dropped" else (),
        )
    rewrite = find_rewrite(subject, conversation, segmentation)
    return KindReport(
        kind=kind,
        outcome=_outcome_of(segmentation),
        why=rewrite.sentence if rewrite else "",
        rewrite=rewrite,
        segmentation=segmentation,
    )


def outcome(subject: Subject, conversation: Conversation, rules: SegmentRules | None = None) -> Outcome:
    """The verdict alone."""
    try:
        return _outcome_of(subject.segment(conversation, rules))
    except RecordError as error:
        return Outcome(verdict=Verdict.REFUSED, code=error.code)


_NOT_TAKEN = frozenset(["template-error", "data-dropped", "empty-answer", "special-token-in-data"])
_MAY_BE_REFUSED: Mapping[str, frozenset[str]] = {"plain": frozenset(), "system": frozenset(["template-error"])}


def is_safe(outcomes: Mapping[str, Outcome]) -> bool:
    """Whether the template is safe for multi-turn ISM without stitching.

    Every kind is append-only, or refused because the template does not take such data (`template-error`,
    `data-dropped`, `empty-answer`, `special-token-in-data`). Plain conversations must not be refused at all, those with
    a system message only by the template's own error.
    """
    return all(
        one.verdict is Verdict.APPEND_ONLY or one.code in _MAY_BE_REFUSED.get(kind, _NOT_TAKEN)
        for kind, one in outcomes.items()
    )


def _outcome_of(segmentation: Segmentation) -> Outcome:
    rewritten = "history-rewritten" in segmentation.warnings
    return Outcome(verdict=Verdict.REWRITTEN if rewritten else Verdict.APPEND_ONLY)


def _rewrite_of_refused(subject: Subject, conversation: Conversation) -> Rewrite | None:
    try:
        return find_rewrite(subject, conversation, subject.split(conversation))
    except RecordError:
        return None


def _dropped(subject: Subject, conversation: Conversation) -> tuple[str, ...]:
    """The fewest fields without which nothing is dropped."""
    for fields in _subsets(DROPPABLE):
        rules = replace(subject.rules, allow_dropped=subject.rules.allow_dropped.union(fields))
        if outcome(subject, conversation, rules).code != "data-dropped":
            return fields
    return ()


def _subsets(fields: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for size in range(1, len(fields) + 1):
        yield from combinations(fields, size)
