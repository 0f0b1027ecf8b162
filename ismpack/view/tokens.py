"""A row as its token stream: every token, whose it is, and whether it is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ismpack.data import Pack
from ismpack.schema import SegmentType
from ismpack.view.characters import Marks, cells, control_units, plain, token_units
from ismpack.view.facts import PackView, Span, spans, turn_count
from ismpack.view.screen import BOLD, CYAN, DIM, GREEN, MAGENTA, UNDERLINE, Screen, counted

NAMES: dict[int, str] = {
    SegmentType.PADDING: "padding",
    SegmentType.USER: "user",
    SegmentType.ANSWER: "answer",
    SegmentType.SYSTEM: "system",
    SegmentType.TOOL_RESULT: "tool",
    SegmentType.GENERATION_PROMPT: "prompt",
}
"""Segment types in one word."""


def render_tokens(view: PackView, screen: Screen) -> str:
    """The token stream of a row, document by document, each span labelled with its turn and segment type.

    Trained tokens have a bar at their left and, in colour, an underline. Tokens are told apart by shade in colour and
    by thin lines without.
    """
    head = [screen.paint(line, BOLD) for line in screen.flow([plain(view.title, screen.marks)])]
    if len(view.sources) != 1:  # a single document's heading says it
        head += screen.flow([counted(len(view.sources), "document"), *_counts(view.pack)])
    body = list(_documents(view, screen))
    return "\n".join([*head, "", *_legend("\n".join(body), screen), *body]) + "\n"


@dataclass(frozen=True, slots=True)
class _Sign:
    """How one token is drawn: signs that a line break must not separate, and the columns they take."""

    units: tuple[str, ...]
    width: int
    ends_line: bool


def _documents(view: PackView, screen: Screen) -> Iterator[str]:
    signs = _signs(view, screen.marks)
    current = -1
    for span in spans(view.pack):
        if span.document != current:
            current = span.document
            yield ""
            yield from _heading(view, current, screen)
        yield from _span_lines(view, span, signs, screen)


def _heading(view: PackView, document: int, screen: Screen) -> Iterator[str]:
    name = f"document {view.first_document + document}"
    source = plain(view.sources[document], screen.marks)
    for line in screen.flow([name, source, *_counts(view.pack.document(document))]):
        yield screen.paint(line, BOLD)
    if screen.side_by_side:
        yield screen.paint(_label("turn", "type", "tokens", "loss").rstrip(), DIM)


def _counts(pack: Pack) -> list[str]:
    targets = int(pack.loss_mask.sum())
    share = f" ({targets / len(pack):.0%})" if len(pack) else ""
    return [counted(len(pack), "token"), counted(turn_count(pack), "turn"), counted(targets, "target") + share]


def _label(turn: object, name: str, tokens: object, loss: object) -> str:
    return f"{turn!s:>4} {name:<7} {tokens!s:>6} {loss!s:>4} "


def _span_lines(view: PackView, span: Span, signs: dict[tuple[str, bool], _Sign], screen: Screen) -> Iterator[str]:
    name = NAMES.get(span.type_id, f"type {span.type_id}")
    loss = len(span) if span.loss else 0
    color = _color(span)
    label = indent = ""
    if screen.side_by_side:
        label = _label(span.turn, name, len(span), loss)
        indent = " " * len(label)
    else:
        for line in screen.flow([f"turn {span.turn} {name}, {counted(len(span), 'token')}, loss {loss}"]):
            yield screen.paint(line, color)
    bar = screen.marks.bar if span.loss else " "
    for line in _token_lines(view, span, signs, screen, screen.columns - len(indent) - 2):
        yield f"{screen.paint(label, color)}{screen.paint(bar, GREEN)} {line}"
        label = indent


def _signs(view: PackView, marks: Marks) -> dict[tuple[str, bool], _Sign]:
    """(text, is control) -> how it is drawn, for every token of the view."""
    signs: dict[tuple[str, bool], _Sign] = {}
    for text, control in set(zip(view.texts, view.control.tolist(), strict=True)):
        units = control_units(text, marks) if control else token_units(text, marks) or [marks.rest]
        signs[text, control] = _Sign(tuple(units), sum(map(cells, units)), text.endswith("\n"))
    return signs


def _token_lines(
    view: PackView, span: Span, signs: dict[tuple[str, bool], _Sign], screen: Screen, room: int
) -> Iterator[str]:
    """The tokens of a span in lines of at most `room` columns.

    A line ends after a token that ends in a newline, unless it is the span's first: that one ends the text before.
    """
    line, used, separate = "", 0, False
    keys = zip(view.texts[span.start : span.stop], view.control[span.start : span.stop].tolist(), strict=True)
    for index, key in enumerate(keys, span.start):
        sign, control = signs[key], key[1]
        styles = _styles(span, control=control, odd=index % 2 == 1)
        edge = screen.marks.edge if separate and not control and sign.units[0] != " " else ""
        if used and used + len(edge) + sign.width > room:
            yield line
            line, used, edge = "", 0, ""
        *full, last = _chunks(sign, room, screen.marks)
        for part in full:
            yield screen.paint(part, *styles)
        line += screen.paint(edge, DIM) + screen.paint(last, *styles)
        used += len(edge) + cells(last)
        separate = not control
        if sign.ends_line and index > span.start:
            yield line
            line, used, separate = "", 0, False
    if used:
        yield line


def _chunks(sign: _Sign, room: int, marks: Marks) -> list[str]:
    """A token in pieces of at most `room` columns: one, unless it alone is wider than a line."""
    if sign.width <= room:
        return ["".join(sign.units)]
    chunks = [""]
    for unit in sign.units:
        if cells(chunks[-1]) + cells(unit) > room:
            chunks.append(marks.resumed)
        chunks[-1] += unit
    return chunks


def _color(span: Span) -> str:
    return GREEN if span.type_id == SegmentType.ANSWER else CYAN


def _styles(span: Span, *, control: bool, odd: bool) -> list[str]:
    styles = [MAGENTA] if control else [_color(span)] if odd else []
    return [*styles, UNDERLINE] if span.loss else styles


def _legend(body: str, screen: Screen) -> list[str]:
    """What the marks mean that stand in the body."""
    marks = screen.marks
    control = f"{marks.opening}x{marks.closing} control token"
    entries: Iterable[tuple[str, str]] = [
        (marks.bar, f"{marks.bar} trained{', underlined' if screen.color else ''}"),
        (marks.edge, f"{marks.edge} new token, as at a space"),
        (marks.opening, control),
        (marks.space, f"{marks.space} space inside a token"),
        (marks.newline, f"{marks.newline} newline"),
        (marks.tab, f"{marks.tab} tab"),
        (marks.rest, f"{marks.rest} rest of the character before"),
        (marks.resumed, f"{marks.resumed} token goes on"),
        (marks.base, f"{marks.base} carries a combining mark"),
        ("\\", r"\ escape of what cannot be shown"),
    ]
    return [screen.paint(line, DIM) for line in screen.flow(text for mark, text in entries if mark and mark in body)]
