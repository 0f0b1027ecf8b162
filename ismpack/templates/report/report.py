"""The whole examination of one template, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ismpack.data import Conversation
from ismpack.errors import RecordError, TokenizerError
from ismpack.templates.report.fields import FieldReport, examine_fields
from ismpack.templates.report.markers import MarkerReport, examine_markers
from ismpack.templates.report.probes import PROBES
from ismpack.templates.report.repairs import Repair, find_repairs
from ismpack.templates.report.stops import StopReport, examine_stops
from ismpack.templates.report.subject import Subject
from ismpack.templates.report.variables import free_variables
from ismpack.templates.report.verdicts import KindReport, is_safe, judge

_LISTED_KINDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateReport:
    """What a chat template does to conversations.

    Attributes:
        name: What was examined, as the user called it.
        kinds: A verdict for each kind of conversation.
        fields: Which fields are printed.
        stops: Which tokens end an answer.
        markers: How `{% generation %}` markers compare; None if the template has none.
        variables: Variables that the template reads and nobody sets, sorted.
        repairs: Options that help, the most helpful first.
        unasked_prompt: The generation prompt, if the template prints it even when it is not asked to.
        clock: Kinds for which the template asks for today's date.
        date: The date that the user gave, if any.
    """

    name: str
    kinds: tuple[KindReport, ...]
    fields: tuple[FieldReport, ...]
    stops: StopReport
    markers: MarkerReport | None
    variables: tuple[str, ...]
    repairs: tuple[Repair, ...]
    unasked_prompt: str | None
    clock: tuple[str, ...]
    date: str | None

    @property
    def needs_date(self) -> bool:
        """The template reads the clock, and nobody has frozen it."""
        return bool(self.clock) and self.date is None

    @property
    def safe_with_date(self) -> bool:
        """Safe for multi-turn ISM without stitching (see `is_safe`), once `--date` is given if it needs one."""
        return is_safe({kind.kind: kind.outcome for kind in self.kinds})

    @property
    def safe(self) -> bool:
        """Safe as it stands."""
        return self.safe_with_date and not self.needs_date

    @property
    def problems(self) -> tuple[str, ...]:
        """Why it is not safe, each as a predicate of "the template"; nothing if it is safe."""
        by_code: dict[str | None, list[str]] = {}
        for kind in self.kinds:
            if not is_safe({kind.kind: kind.outcome}):
                by_code.setdefault(kind.outcome.code, []).append(kind.kind)
        found = [
            f"rewrites history in {self.listed(kinds)}" if code is None else f"refuses {self.listed(kinds)} ({code})"
            for code, kinds in by_code.items()
        ]
        return (*found, *(["needs --date, for it reads the clock"] if self.needs_date else []))

    def listed(self, kinds: Sequence[str]) -> str:
        """Names of kinds for a sentence."""
        if len(kinds) == len(self.kinds):
            return "every kind of conversation"
        return ", ".join(kinds) if len(kinds) <= _LISTED_KINDS else f"{len(kinds)} of {len(self.kinds)} kinds"

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "schema": "ismpack.template/1",
            "name": self.name,
            "safe": self.safe,
            "problems": list(self.problems),
            "kinds": [_kind(kind) for kind in self.kinds],
            "fields": [asdict(field) for field in self.fields],
            "stop_tokens": asdict(self.stops),
            "markers": None if self.markers is None else _markers(self.markers),
            "variables": list(self.variables),
            "repairs": [_repair(repair) for repair in self.repairs],
            "unasked_prompt": self.unasked_prompt,
            "clock": {"kinds": list(self.clock), "date": self.date, "needs_date": self.needs_date},
        }


def examine(
    subject: Subject, *, name: str, date: str | None, probes: Mapping[str, Conversation] = PROBES
) -> TemplateReport:
    """Try a template on every probe.

    Args:
        subject: The template, compiled with some date.
        name: What to call it.
        date: The date that the user gave, if any.
        probes: Kind -> conversation.

    Raises:
        TokenizerError: `chat-template-nondeterministic`: the template asks for something random.
    """
    kinds = tuple(judge(subject, kind, conversation) for kind, conversation in probes.items())
    free = {variable for source in subject.sources.values() for variable in free_variables(source)}
    variables = tuple(sorted(free - subject.known_variables()))
    return TemplateReport(
        name=name,
        kinds=kinds,
        fields=examine_fields(subject, probes),
        stops=examine_stops(subject, probes, kinds),
        markers=examine_markers(subject, probes, kinds),
        variables=variables,
        repairs=find_repairs(subject, probes, kinds, variables),
        unasked_prompt=_unasked_prompt(subject, probes, kinds),
        clock=_clock(subject, probes),
        date=date,
    )


def _unasked_prompt(subject: Subject, probes: Mapping[str, Conversation], kinds: Sequence[KindReport]) -> str | None:
    """What follows the last answer if a generation prompt adds nothing to it."""
    for kind in kinds:
        if kind.segmentation is not None:
            conversation = probes[kind.kind]
            renders, count = subject.renders(conversation), len(conversation.messages)
            following = renders.prefix(count)[len(subject.answers(conversation, kind.segmentation)[-1].held) :]
            return following if following.strip() and renders.prompt(count) == renders.prefix(count) else None
    return None


def _clock(subject: Subject, probes: Mapping[str, Conversation]) -> tuple[str, ...]:
    """Kinds for which the template asks for the date: those that it cannot render without a clock."""
    templates = subject.compiled(clock=False)
    kinds = []
    for kind, conversation in probes.items():
        renders = subject.renders(conversation, templates)
        try:
            renders.prompt(len(conversation.messages))
        except RecordError:
            continue
        except TokenizerError:
            kinds.append(kind)
    return tuple(kinds)


def _kind(kind: KindReport) -> dict[str, Any]:
    return {
        "kind": kind.kind,
        "verdict": kind.outcome.verdict.value,
        "code": kind.outcome.code,
        "why": kind.why,
        "dropped": list(kind.dropped),
        "rewrite": None if kind.rewrite is None else asdict(kind.rewrite),
    }


def _markers(markers: MarkerReport) -> dict[str, Any]:
    return {
        "compared": list(markers.compared),
        "faults": [
            {
                "fault": one.fault.value,
                "text": one.text,
                "kinds": list(one.kinds),
                "sentence": f"the markers {one.sentence}",
            }
            for one in markers.faults
        ],
    }


def _repair(repair: Repair) -> dict[str, Any]:
    return {
        "options": repair.options,
        "safe": repair.safe,
        "better": {kind: str(one) for kind, one in repair.better.items()},
        "worse": {kind: str(one) for kind, one in repair.worse.items()},
    }
