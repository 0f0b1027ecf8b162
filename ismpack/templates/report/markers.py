"""What a mask made from `{% generation %}` markers would have got wrong.

The markers are the template author's word for "this the model writes". Here they are compared with what the model does
write: the text after the generation prompt, up to and including the stop token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from ismpack.data import Conversation
from ismpack.errors import RecordError
from ismpack.templates.renders import Renders
from ismpack.templates.report.rewrites import excerpt
from ismpack.templates.report.subject import Answer, Subject
from ismpack.templates.report.verdicts import KindReport

TAG = re.compile(r"(?P<open>\{%[-+]?)\s*(?P<end>end)?generation\s*(?P<close>[-+]?%\})")

# Private-use characters: no template prints them, and none looks for them.
_OPEN, _CLOSE = "\ue000", "\ue001"


class Fault(StrEnum):
    """What is wrong with the marked text of an answer."""

    ANSWER_LEFT_OUT = "answer-left-out"
    PROMPT_INCLUDED = "prompt-included"
    BEGINNING_LEFT_OUT = "beginning-left-out"
    MIDDLE_LEFT_OUT = "middle-left-out"
    END_LEFT_OUT = "end-left-out"
    FOLLOWING_INCLUDED = "following-included"


_SENTENCES: Mapping[Fault, str] = {
    Fault.ANSWER_LEFT_OUT: "leave out an answer: {}",
    Fault.PROMPT_INCLUDED: "include {} of the generation prompt, which the model is given",
    Fault.BEGINNING_LEFT_OUT: "leave out the beginning of an answer, {}",
    Fault.MIDDLE_LEFT_OUT: "leave out {} in the middle of an answer",
    Fault.END_LEFT_OUT: "leave out the end of an answer, {}",
    Fault.FOLLOWING_INCLUDED: "include {} after the end of the answer, which the model never writes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkerFault:
    """One way in which the markers differ from what the model writes.

    Attributes:
        fault: In what way.
        text: The text that is marked or left out by mistake, where it was seen first.
        kinds: Kinds of conversation in which it happens.
    """

    fault: Fault
    text: str
    kinds: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """A predicate of "the markers"."""
        return _SENTENCES[self.fault].format(excerpt(self.text))


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkerReport:
    """The markers of a template against the answers.

    Attributes:
        compared: Kinds that were compared: those that are not refused and that the markers leave unchanged.
        faults: What is wrong; nothing if the markers are exact.
    """

    compared: tuple[str, ...]
    faults: tuple[MarkerFault, ...]


def examine_markers(
    subject: Subject, probes: Mapping[str, Conversation], kinds: Iterable[KindReport]
) -> MarkerReport | None:
    """Compare the markers with the answers of the probes; None if the template has none."""
    if not any(TAG.search(source) for source in subject.sources.values()):
        return None
    templates = subject.compiled(_with_sentinels)
    compared: list[str] = []
    faults: dict[tuple[Fault, str], list[str]] = {}
    for kind in kinds:
        if kind.segmentation is None:
            continue
        conversation = probes[kind.kind]
        renders = subject.renders(conversation, templates)
        try:
            found = [list(_faults(a, renders)) for a in subject.answers(conversation, kind.segmentation)]
        except (RecordError, _DisturbedError):
            continue
        compared.append(kind.kind)
        for fault in dict.fromkeys(fault for faults_of_answer in found for fault in faults_of_answer):
            faults.setdefault(fault, []).append(kind.kind)
    return MarkerReport(compared=tuple(compared), faults=tuple(_merged(faults)))


class _DisturbedError(Exception):
    """The template looks at the text that it has printed, and so at our sentinels."""


def _with_sentinels(source: str) -> str:
    """The template with a character printed just inside each marker.

    `print` as a statement, not `{{ }}`, because Jinja treats line ends after the two differently.
    """

    def printing(tag: re.Match[str]) -> str:
        if tag["end"]:
            return f"{tag['open']} print '{_CLOSE}' %}}{{% endgeneration {tag['close']}"
        return f"{tag['open']} generation %}}{{% print '{_OPEN}' {tag['close']}"

    return TAG.sub(printing, source)


def _faults(answer: Answer, renders: Renders) -> Iterator[tuple[Fault, str]]:
    """Where the marked text of the render that ends with this answer differs from it."""
    text, spans = _spans(renders.prefix(answer.message + 1))
    start, end = len(answer.given), len(answer.held)
    if not text.startswith(answer.held):
        raise _DisturbedError
    mine = [(a, b) for a, b in spans if b > start]
    inside = [(max(a, start), min(b, end)) for a, b in mine if a < end]
    if not inside:
        yield Fault.ANSWER_LEFT_OUT, text[start:end]
        return
    if mine[0][0] < start:
        yield Fault.PROMPT_INCLUDED, text[mine[0][0] : start]
    if inside[0][0] > start:
        yield Fault.BEGINNING_LEFT_OUT, text[start : inside[0][0]]
    for (_, left), (right, _) in pairwise(inside):
        if left < right:
            yield Fault.MIDDLE_LEFT_OUT, text[left:right]
    if inside[-1][1] < end:
        yield Fault.END_LEFT_OUT, text[inside[-1][1] : end]
    following = "".join(text[max(a, end) : b] for a, b in mine if b > end)
    if following:
        yield Fault.FOLLOWING_INCLUDED, following


def _spans(marked: str) -> tuple[str, list[tuple[int, int]]]:
    """The render without sentinels, and the marked spans of it that are not empty, in order."""
    spans: list[tuple[int, int]] = []
    opened: list[int] = []
    parts: list[str] = []
    at = 0
    for part in re.split(f"([{_OPEN}{_CLOSE}])", marked):
        if part == _OPEN:
            opened.append(at)
        elif part == _CLOSE:
            begin = opened.pop()
            if not opened and begin < at:
                spans.append((begin, at))
        else:
            parts.append(part)
            at += len(part)
    return "".join(parts), spans


def _merged(faults: Mapping[tuple[Fault, str], list[str]]) -> Iterator[MarkerFault]:
    """One entry per fault and text; texts that hold data differ everywhere, so the first stands for all of a fault."""
    by_fault: dict[Fault, list[tuple[str, list[str]]]] = {}
    for (fault, text), kinds in faults.items():
        by_fault.setdefault(fault, []).append((text, kinds))
    for fault in Fault:
        seen = by_fault.get(fault)
        if seen:
            every = dict.fromkeys(kind for _, kinds in seen for kind in kinds)
            yield MarkerFault(fault=fault, text=seen[0][0], kinds=tuple(every))
