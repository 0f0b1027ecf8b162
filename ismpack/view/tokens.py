"""A row as its token stream: every token, whose it is, and whether it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ismpack.schema import SegmentType
from ismpack.view.characters import Marks, cells, plain, token_units
from ismpack.view.facts import PackView, Span, document_bounds, spans, turns
from ismpack.view.screen import BOLD, CYAN, DIM, GREEN, MAGENTA, UNDERLINE, Screen, counted

NAMES: dict[int, str] = {
    SegmentType.PADDING: "padding",
    SegmentType.USER: "user",
    SegmentType.ANSWER: "answer",
    SegmentType.SYSTEM: "system",
    SegmentType.TOOL_RESULT: "tool",
    SegmentType.GENERATION_PROMPT: "prompt",
}
"""Segment types in one word; their first letters differ too."""

_SIDE_BY_SIDE = 60  # columns from which labels stand left of the text rather than above it


def render_tokens(view: PackView, screen: Screen) -> str:
    """The token stream of a row, document by document, each span labelled with its turn and segment type.

    Trained tokens have a bar at their left and, in colour, an underline; tokens are told apart by shade in colour and
    by thin lines without.
    """
    signs = _signs(view, screen.marks)
    body: list[str] = []
    found = spans(view.pack)
    for number, bounds in enumerate(document_bounds(view.pack)):
        body += ["", *_heading(view, number, screen)]
        if screen.columns >= _SIDE_BY_SIDE:
            body.append(screen.paint(_label("turn", "type", "tokens", "loss"), DIM))
        for span in found:
            if span.document == number:
                body += _span_lines(view, span, signs, screen)
        del bounds
    return "\n".join([*_title(view, screen), *_legend("\n".join(body), view, screen), *body]) + "\n"
