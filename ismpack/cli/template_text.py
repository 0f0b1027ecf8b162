"""The report of `ismpack template` as text for people."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from ismpack.cli.console import printable

if TYPE_CHECKING:
    from ismpack.templates.report import TemplateReport
    from ismpack.templates.report.repairs import Repair
    from ismpack.templates.report.rewrites import Rewrite
    from ismpack.templates.report.verdicts import KindReport

_KIND_COLUMNS = 21
_VERDICT_COLUMNS = 13
_OPTION = re.compile(r"(--[a-z][a-z-]+) (?=[\w\"<])")
_COLORS = {"append-only": "green", "rewritten": "yellow", "refused": "red"}


def template_text(report: TemplateReport, *, width: int) -> str:
    """The report in sections, with colour codes, in lines of at most `width` columns (40 to 100)."""
    page = _Page(min(max(width, 40), 100))
    _headline(page, report)
    _kinds(page, report)
    _refusals(page, report)
    _history(page, report)
    _repairs(page, report)
    _fields(page, report)
    _stops(page, report)
    _markers(page, report)
    _prompt(page, report)
    _clock(page, report)
    return "\n".join(page.lines)


class _Page:
    """Lines of at most `width` columns; everything that goes in is made printable."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.lines: list[str] = []

    def title(self, text: str) -> None:
        self.lines += ["", click.style(text, bold=True)]

    def say(self, text: str, *, indent: int = 2, first: str = "") -> None:
        """A sentence, wrapped; `first` stands in the indentation of its first line."""
        lines = textwrap.wrap(
            _OPTION.sub("\\1\0", printable(text)),  # an option and its value stay in one line
            self.width,
            initial_indent=first.ljust(indent),
            subsequent_indent=" " * indent,
            break_on_hyphens=False,
        )
        self.lines += [line.replace("\0", " ") for line in lines]

    def cut(self, text: str, *, room: int | None = None) -> str:
        """One line's worth of text."""
        room, text = self.width if room is None else room, printable(text)
        return text if len(text) <= room else f"{text[: max(room - 3, 0)]}..."


def _headline(page: _Page, report: TemplateReport) -> None:
    if report.safe:
        verdict, color = "safe for multi-turn ISM", "green"
    elif report.safe_with_date:
        verdict, color = "safe for multi-turn ISM, but only with --date", "yellow"
    else:
        verdict, color = "not safe for multi-turn ISM without stitching", "red"
    page.lines.append(f"{printable(report.name)}: {click.style(verdict, fg=color, bold=True)}")
    for problem in report.problems:
        page.say(f"It {problem}.")
    if report.safe:
        taken = sum(kind.outcome.code is None for kind in report.kinds)
        others = "." if taken == len(report.kinds) else "; the others are refused."
        page.say(f"{taken} of {len(report.kinds)} kinds of conversation are append-only{others}")


def _kinds(page: _Page, report: TemplateReport) -> None:
    page.title("Conversations")
    for kind in report.kinds:
        verdict = kind.outcome.verdict.value
        padding = " " * (_VERDICT_COLUMNS - len(verdict))
        brief = page.cut(_brief(kind), room=page.width - 2 - _KIND_COLUMNS - _VERDICT_COLUMNS)
        line = f"  {kind.kind:{_KIND_COLUMNS}}{click.style(verdict, fg=_COLORS[verdict])}{padding}{brief}"
        page.lines.append(line.rstrip())


def _brief(kind: KindReport) -> str:
    if kind.outcome.code is None:
        return kind.rewrite.brief if kind.rewrite else ""
    return kind.outcome.code + (f": {', '.join(kind.dropped)}" if kind.dropped else "")


def _refusals(page: _Page, report: TemplateReport) -> None:
    by_code: dict[str, list[KindReport]] = {}
    for kind in report.kinds:
        if kind.outcome.code is not None and not kind.dropped:  # for fields there is a section of their own
            by_code.setdefault(kind.outcome.code, []).append(kind)
    if by_code:
        page.title("Refused")
    for code, kinds in by_code.items():
        page.say(f"{code}, as in {kinds[0].kind}:")
        page.say(kinds[0].why, indent=6)


def _history(page: _Page, report: TemplateReport) -> None:
    first = next((kind for kind in report.kinds if kind.rewrite is not None), None)
    if first is None or first.rewrite is None:
        return
    page.title("What is rewritten")
    page.say(f"In {first.kind}, {first.rewrite.where}:")
    for line, color in _diff(first.rewrite):
        page.lines.append(click.style(page.cut(line), fg=color) if color else page.cut(line))
    if any(kind.outcome.verdict.value == "rewritten" for kind in report.kinds):
        page.say(
            "convert keeps each answer as it was generated (--on-rewrite stitch, the default); --on-rewrite split "
            "makes one sample per answer instead."
        )


def _diff(rewrite: Rewrite) -> Iterator[tuple[str, str]]:
    """Lines and colours: `-` before what disappears, `+` before what appears; line ends stay in sight as \\n."""
    for sign, color, text in (
        (" ", "", rewrite.before),
        ("-", "red", rewrite.removed),
        ("+", "green", rewrite.inserted),
        (" ", "", rewrite.after),
    ):
        yield from ((f"    {sign} {repr(line)[1:-1]}", color) for line in text.splitlines(keepends=True))


def _repairs(page: _Page, report: TemplateReport) -> None:
    if all(kind.outcome.verdict.value == "append-only" for kind in report.kinds):
        return
    if report.safe_with_date and not report.repairs:
        return
    page.title("Options that let it take more" if report.safe_with_date else "What helps")
    if not report.safe_with_date and not any("--template-arg" in repair.options for repair in report.repairs):
        if report.variables:
            tried = ", ".join(report.variables)
            page.say(f"No --template-arg repairs it (true and false were tried for {tried}).")
        else:
            page.say("It reads no variable that --template-arg could set.")
    for repair in report.repairs:
        _repair(page, report, repair)


def _repair(page: _Page, report: TemplateReport, repair: Repair) -> None:
    page.say(repair.options)
    groups: dict[str, list[str]] = {}
    for kind, outcome in repair.better.items():
        becomes = "append-only" if outcome.verdict.value == "append-only" else f"{outcome}, not refused"
        groups.setdefault(becomes, []).append(kind)
    for kind, outcome in repair.worse.items():
        groups.setdefault(f"but {outcome}", []).append(kind)
    lacking = [kind for kind in report.kinds if kind.outcome.verdict.value != "append-only"]
    if list(groups) == ["append-only"] and len(repair.better) == len(lacking):
        page.say("every kind becomes append-only", indent=6)
        return
    for becomes, kinds in groups.items():
        page.say(f"{becomes}: {', '.join(kinds)}", indent=6)
    if repair.safe and not report.safe_with_date:
        page.say("This makes it safe.", indent=6)


def _fields(page: _Page, report: TemplateReport) -> None:
    page.title("Fields")
    printed = [one.field for one in report.fields if one.printed and not one.dropped]
    never = [one.field for one in report.fields if one.dropped and not one.printed]
    refused = [one.field for one in report.fields if not one.dropped and not one.printed]
    _row(page, "printed", printed)
    _row(page, "never printed", never)
    for one in report.fields:
        if one.printed and one.dropped:
            _row(page, "not always", [f"{one.field} (not all of it in {report.listed(one.dropped)})"])
    _row(page, "refused", refused)


def _stops(page: _Page, report: TemplateReport) -> None:
    stops = report.stops
    page.title("Stop tokens")
    if not stops.answers:
        page.say("Every conversation was refused, so what ends an answer was not seen.")
    _row(page, "end answers", stops.closing)
    for token in stops.inferred:
        _row(page, "end answers", [f"{token}, though it is not listed (--stop-token lists it)"])
    _row(page, "end no answer" if stops.answers else "printed", stops.idle)
    _row(page, "never printed", stops.unprinted)


def _markers(page: _Page, report: TemplateReport) -> None:
    if report.markers is None:
        return
    page.title("{% generation %} markers")
    if not report.markers.compared:
        page.say("They could not be compared with the answers.")
    elif not report.markers.faults:
        page.say("They mark exactly what the model writes.")
    for fault in report.markers.faults:
        page.say(f"They {fault.sentence} (in {report.listed(fault.kinds)}).")


def _prompt(page: _Page, report: TemplateReport) -> None:
    if report.unasked_prompt is not None:
        page.title("Generation prompt")
        page.say(f"It prints {report.unasked_prompt!r} even when it is not asked to; convert leaves out the last one.")


def _clock(page: _Page, report: TemplateReport) -> None:
    if not report.clock:
        return
    page.title("Clock")
    if report.date is None:
        page.say("It reads today's date: convert needs --date YYYY-MM-DD.")
    else:
        page.say(f"It reads today's date, which --date {report.date} freezes.")


def _row(page: _Page, head: str, values: Sequence[str]) -> None:
    if values:
        page.say(", ".join(values), indent=_KIND_COLUMNS + 2, first=f"  {head}")
