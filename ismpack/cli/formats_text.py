"""What `ismpack formats INPUT` found, as text for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ismpack.cli.console import printable
from ismpack.errors import UNDESIRED
from ismpack.view import Screen, message_lines
from ismpack.view.screen import BOLD, YELLOW, counted

if TYPE_CHECKING:
    from ismpack.pipeline.survey import Survey

_SHOWN_MESSAGES = 6


def survey_text(found: Survey, screen: Screen) -> str:
    """Formats, the most frequent first, each with its first record; then the reasons of refusals, each with one."""
    lines = [f"{counted(found.records, 'record')}, {counted(found.blank_lines, 'blank line')}"]
    for name, records in found.formats.items():
        lines += ["", screen.paint(f"{name}  {counted(records, 'record')}", BOLD), *_example(found, name, screen)]
    for code, records in found.refused.items():
        fate = "left out" if code == UNDESIRED else "refused"
        lines += ["", screen.paint(f"{fate}: {code}  {counted(records, 'record')}", BOLD, YELLOW)]
        lines += _example(found, code, screen)
    return "\n".join(lines)


def _example(found: Survey, name: str, screen: Screen) -> Iterator[str]:
    example = found.examples[name]
    yield from screen.flow([f"first: {printable(example.place)}"], indent=2)
    if example.conversation is not None:
        yield from message_lines(example.conversation, screen, limit=_SHOWN_MESSAGES)
    if example.error is not None:
        path = f"{example.error.json_path}: " if example.error.json_path else ""
        yield from screen.flow([printable(f"{path}{example.error.message}")], indent=2)
        if example.error.hint:
            yield from screen.flow([printable(f"hint: {example.error.hint}")], indent=2)
