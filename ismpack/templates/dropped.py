"""Data that a template never prints: a silent loss that looks like a successful conversion."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ismpack.errors import RecordError
from ismpack.templates.marks import Numbering, fresh_root
from ismpack.templates.renders import dropped, dropped_tools

if TYPE_CHECKING:
    from ismpack.templates.reference import PlainRenders


class PrintedData:
    """Which pieces of a conversation's data the template prints.

    One render with a mark on every piece shows nearly all of them at once.

    Args:
        renders: Renders of the conversation.
        answers: Indices of the answers; what follows the last one is not looked at.
    """

    def __init__(self, renders: PlainRenders, answers: Sequence[int]) -> None:
        self._renders = renders
        self._answers = answers
        self._end = answers[-1] + 1
        self._root = fresh_root(renders.prefix(self._end))
        self._numbering = Numbering(self._root)
        self._messages = self._numbering.marked(renders.messages[: self._end])
        self._text = self._render(self._end, prompt=False)

    def refuse_formed_tokens(self, control_pattern: re.Pattern[str]) -> None:
        """Check that no control token is made of data together with other data or template text; marks break such.

        Raises:
            RecordError: `special-token-in-data`.
        """
        if self._text is None:
            return
        plain = control_pattern.findall(self._renders.prefix(self._end))
        if len(plain) != len(control_pattern.findall(self._text)):
            raise RecordError(
                "data and the text around it together give the text of a control token", code="special-token-in-data"
            )

    def refuse_dropped(self, allowed: Collection[str], *, append_only: bool) -> None:
        """Check that every piece of data is in the stream, and the tool definitions.

        Args:
            allowed: Fields that need not be printed.
            append_only: Whether the stream is the last render itself; if the template rewrites history, each piece is
                looked for in the render that gives its own segment.

        Raises:
            RecordError: `data-dropped`, naming message and field.
        """
        places = self._numbering.places
        shown = self._numbering.found(self._text) if append_only and self._text is not None else set()
        missing = [n for n, (_, field) in enumerate(places) if n not in shown and field not in allowed]
        for number in self._never_shown(missing):
            i, field = places[number]
            raise dropped(i, field, self._renders.conversation.messages[i].role)
        if self._renders.conversation.tools and "tools" not in allowed and not self._prints_tools():
            raise dropped_tools()

    def _never_shown(self, numbers: Sequence[int]) -> list[int]:
        """Pieces that are not in the render that gives their segment: E_k for an answer, the next G for a query."""
        lost = []
        texts: dict[tuple[int, bool], set[int]] = {}
        for number in numbers:
            i, _ = self._numbering.places[number]
            answer = next(k for k in self._answers if k >= i)
            own = (answer + 1, False) if answer == i else (answer, True)
            if own not in texts:
                text = self._render(own[0], prompt=own[1])
                texts[own] = set() if text is None else self._numbering.found(text)
            if number not in texts[own] and not self._matters(number, *own):
                lost.append(number)
        return lost

    def _matters(self, number: int, count: int, prompt: bool) -> bool:
        """Whether a render changes with one piece alone; the template may have turned its mark into other text."""
        plain = self._renders.prompt(count) if prompt else self._renders.prefix(count)
        messages = Numbering(self._root, only=number).marked(self._renders.messages[:count])
        try:
            return self._renders.of(messages, prompt=prompt) != plain
        except RecordError:  # a template that refuses the changed value has read it
            return True

    def _render(self, count: int, *, prompt: bool) -> str | None:
        try:
            return self._renders.of(self._messages[:count], prompt=prompt)
        except RecordError:
            return None

    def _prints_tools(self) -> bool:
        # Some templates print the tools beside the last user message only, so every query is looked at.
        for k in self._answers:
            try:
                without = self._renders.of(self._renders.messages[:k], prompt=True, tools=False)
                if without != self._renders.prompt(k):
                    return True
            except RecordError:
                return True
        return False
