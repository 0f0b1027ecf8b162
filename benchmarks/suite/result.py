"""A finished benchmark, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any, TypeAlias

SCHEMA = "ismpack.benchmark/1"

Content: TypeAlias = Mapping[str, Any]


class Result:
    """Figures by contender. What was not measured is None.

    Args:
        content: The JSON that a benchmark wrote.

    Raises:
        ValueError: It is something else.
    """

    def __init__(self, content: Content) -> None:
        if content.get("schema") != SCHEMA:
            raise ValueError(f"not the result of a benchmark: its schema is {content.get('schema')!r}, not {SCHEMA!r}")
        self.content = content
        self.workers: int = content["setting"]["workers"]
        self._measured: Mapping[str, Any] = content["measured"]

    def has(self, name: str) -> bool:
        """Whether a contender was measured."""
        return name in self._measured

    def names(self, beginning: str) -> list[str]:
        """Contenders whose name begins so."""
        return [name for name in self._measured if name.startswith(beginning)]

    def figure(self, name: str, figure: str = "seconds") -> float | None:
        """Median of a figure."""
        return median(self._rounds(name, figure)) if self.has(name) else None

    def facts(self, name: str, fact: str) -> list[str]:
        """Values that a fact had."""
        return list(self._measured[name]["facts"].get(fact, [])) if self.has(name) else []

    def peak(self, name: str) -> int | None:
        """Peak memory in bytes."""
        return self._measured[name]["peak_bytes"] if self.has(name) else None

    def size(self, name: str) -> int | None:
        """Bytes of the corpus that a contender takes."""
        return self.content["corpora"][self._measured[name]["corpus"]]["bytes"] if self.has(name) else None

    def speed(self, name: str, figure: str = "seconds") -> float | None:
        """MB of the corpus per second."""
        size, seconds = self.size(name), self.figure(name, figure)
        return None if size is None or seconds is None else size / seconds / 1e6

    def token_speed(self, name: str, figure: str = "seconds") -> float | None:
        """Millions of tokens per second."""
        tokens, seconds = self.figure(name, "tokens"), self.figure(name, figure)
        return None if tokens is None or seconds is None else tokens / seconds / 1e6

    def times(self, slow: str, fast: str, slow_figure: str = "seconds", fast_figure: str = "seconds") -> float | None:
        """How many times as long one contender takes as another for as many bytes; median over rounds.

        Contenders without a corpus are compared as they are.
        """
        if not (self.has(slow) and self.has(fast)):
            return None
        pairs = zip(self._rounds(slow, slow_figure), self._rounds(fast, fast_figure), strict=True)
        return median(a / b for a, b in pairs) * self._scale(slow, fast)

    def _scale(self, slow: str, fast: str) -> float:
        if not self._measured[slow]["corpus"]:
            return 1.0
        slow_size, fast_size = self.size(slow), self.size(fast)
        return fast_size / slow_size if slow_size and fast_size else 1.0

    def _rounds(self, name: str, figure: str) -> list[float]:
        return list(self._measured[name]["figures"][figure]["rounds"])
