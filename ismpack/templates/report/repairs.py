"""Which options would make the template safe, or let it take more: found by trying them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, product

from msgspec import structs

from ismpack.data import Conversation, Json
from ismpack.templates.report.subject import Subject
from ismpack.templates.report.verdicts import KindReport, Outcome, Verdict, is_safe, outcome
from ismpack.templates.rules import SegmentRules

_MAX_PAIRED_VARIABLES = 4
"""Variables tried in pairs; each pair costs four passes over all probes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """Options with which more kinds are append-only, or fewer are refused.

    Attributes:
        options: As the user types them, `--template-arg enable_thinking=false`.
        better: Kind -> what it becomes, for kinds that improve.
        worse: Kind -> what it becomes, for kinds that get worse.
        safe: Whether the template is then safe for multi-turn ISM (see `is_safe`).
    """

    options: str
    better: Mapping[str, Outcome]
    worse: Mapping[str, Outcome]
    safe: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    options: str
    rules: SegmentRules
    arguments: Mapping[str, Json]


def find_repairs(
    subject: Subject, probes: Mapping[str, Conversation], kinds: Iterable[KindReport], variables: Iterable[str]
) -> tuple[Repair, ...]:
    """Try what could help: every variable as true and false, alone and in pairs, and the options of `convert`.

    Returns:
        Those that help: template arguments, the most helpful first, then other options.
    """
    kinds = tuple(kinds)
    now = {kind.kind: kind.outcome for kind in kinds}
    if all(one.verdict is Verdict.APPEND_ONLY for one in now.values()):
        return ()
    alone = _tried(subject, probes, now, _arguments(subject, variables, 1))
    helped = any(repair.safe for repair in alone) or is_safe(now)
    pairs = [] if helped else _tried(subject, probes, now, _arguments(subject, variables, 2))
    enough = max((_gain(repair) for repair in alone), default=(False, 0, 0))
    arguments = sorted([*alone, *(pair for pair in pairs if _gain(pair) > enough)], key=_gain, reverse=True)
    return (*arguments, *_tried(subject, probes, now, _other_options(subject, probes, kinds)))


def _tried(
    subject: Subject, probes: Mapping[str, Conversation], now: Mapping[str, Outcome], attempts: Iterable[_Attempt]
) -> list[Repair]:
    repairs = []
    for attempt in attempts:
        then = {
            kind: outcome(subject, _with_arguments(conversation, attempt.arguments), attempt.rules)
            for kind, conversation in probes.items()
        }
        if _helps(now, then):
            better = {kind: one for kind, one in then.items() if one.rank > now[kind].rank}
            worse = {kind: one for kind, one in then.items() if one.rank < now[kind].rank}
            repairs.append(Repair(options=attempt.options, better=better, worse=worse, safe=is_safe(then)))
    return repairs


def _arguments(subject: Subject, variables: Iterable[str], size: int) -> Iterator[_Attempt]:
    names = sorted(variables)
    if size > 1:
        names = names[:_MAX_PAIRED_VARIABLES]
    for chosen in combinations(names, size):
        for values in product((True, False), repeat=size):
            arguments = dict(zip(chosen, values, strict=True))
            options = " ".join(f"--template-arg {name}={json.dumps(value)}" for name, value in arguments.items())
            yield _Attempt(options=options, rules=subject.rules, arguments=arguments)


def _other_options(
    subject: Subject, probes: Mapping[str, Conversation], kinds: Iterable[KindReport]
) -> Iterator[_Attempt]:
    """The options that answer the codes at hand."""
    rules = subject.rules
    codes = {kind.outcome.code: kind.kind for kind in kinds}
    dropped = {kind.dropped for kind in kinds if kind.dropped}
    for fields in sorted(dropped, key=lambda fields: (len(fields), fields)):
        options = " ".join(f"--allow-dropped {field}" for field in fields)
        changed = replace(rules, allow_dropped=rules.allow_dropped.union(fields))
        yield _Attempt(options=options, rules=changed, arguments={})
    if "no-stop-token" in codes:
        text = subject.printed(probes.values())
        for token in sorted(set(rules.control_pattern.findall(text)) - rules.stop_tokens):
            changed = replace(rules, stop_tokens=rules.stop_tokens | {token})
            yield _Attempt(options=f"--stop-token {json.dumps(token)}", rules=changed, arguments={})
        changed = replace(rules, allow_unterminated=True)
        yield _Attempt(options="--allow-unterminated", rules=changed, arguments={})
    if "stitch-ambiguous" in codes:
        yield _Attempt(options="--on-rewrite split", rules=replace(rules, on_rewrite="split"), arguments={})


def _with_arguments(conversation: Conversation, arguments: Mapping[str, Json]) -> Conversation:
    return structs.replace(conversation, template_args={**conversation.template_args, **arguments})


def _helps(now: Mapping[str, Outcome], then: Mapping[str, Outcome]) -> bool:
    def count(outcomes: Mapping[str, Outcome], verdict: Verdict) -> int:
        return sum(one.verdict is verdict for one in outcomes.values())

    appended = count(then, Verdict.APPEND_ONLY) > count(now, Verdict.APPEND_ONLY)
    return appended or count(then, Verdict.REFUSED) < count(now, Verdict.REFUSED)


def _gain(repair: Repair) -> tuple[bool, int, int]:
    """Greater is better: safe at last, then the kinds gained less the kinds lost, append-only ones first."""
    appended = sum(one.verdict is Verdict.APPEND_ONLY for one in repair.better.values())
    return repair.safe, appended - len(repair.worse), len(repair.better) - len(repair.worse)
