"""What a traced render asked about the data, and how it gives up."""

from __future__ import annotations

from typing import Any, NoReturn

from ismpack.templates.expressions import Guard, Source, Symbol
from ismpack.templates.operations import CONSTANT

_PARTS_PER_MESSAGE = 256
_SPARE_MESSAGES = 8


class ProvenanceLostError(Exception):
    """A template did something with data that the tracer does not follow."""


class Recorder:
    """The questions of one render.

    Attributes:
        guards: Guard -> answer, in the order in which they were asked.
    """

    def __init__(self) -> None:
        self.guards: dict[Guard, Any] = {}
        self._budget = _PARTS_PER_MESSAGE * _SPARE_MESSAGES

    def begin(self, messages: int) -> dict[Guard, Any]:
        """Start a render of so many messages; returns where its guards will be."""
        self.guards = {}
        self._budget = _PARTS_PER_MESSAGE * (messages + _SPARE_MESSAGES)
        return self.guards

    def ask(self, name: str, symbol: Symbol, args: tuple[Any, ...], answer: Any) -> Any:
        """Write down a question; returns its answer."""
        if any(map(_varies, symbol)) or any(map(_varies, (p for arg in args if isinstance(arg, Symbol) for p in arg))):
            self.guards.setdefault((name, symbol, args), answer)
        return answer

    def spend(self, parts: int) -> None:
        """Count parts that are joined: a template that gathers all it prints in one variable copies them every time."""
        self._budget -= parts
        if self._budget < 0:
            self.lose("a text of very many parts")

    def lose(self, reason: str) -> NoReturn:
        """Give up on this render."""
        raise ProvenanceLostError(reason)


def _varies(part: str | Source) -> bool:
    return not isinstance(part, str) and not (part[1] and part[1][-1][0] == CONSTANT)
