"""Results that depend on the shape of a conversation and on what the template asked about its data.

    key -> question -> answer -> question -> answer -> ... -> result

The question after the same answers is always the same one, because a template is a program without chance. Memory is
bounded: a key is mostly kept from its second sight on, so shapes that never come again cost nothing, and a table that
is full starts anew.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, TypeVar

from ismpack.templates.expressions import Guard, Leaves, compiled_guard

T = TypeVar("T")

_MOST_GUARDS = 1 << 14
_LONGEST_ANSWER = 256


class _Question(Generic[T]):
    """A guard and where each answer leads."""

    __slots__ = ("answers", "ask", "guard")

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.ask: Callable[[Leaves], Any] | None = None
        self.answers: dict[Any, _Question[T] | _Result[T]] = {}


class _Result(Generic[T]):
    """The end of a way through the questions."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value


class Decisions(Generic[T]):
    """A bounded table of results.

    Args:
        capacity: Results and questions held; a table that has more starts anew at the next result.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._roots: dict[Hashable, _Question[T] | _Result[T]] = {}
        self._seen: set[int] = set()
        self._count = 0

    def find(self, key: Hashable, leaves: Leaves, guards: dict[Guard, Any] | None = None) -> T | None:
        """The result for this data, if it is known.

        Args:
            key: Shape.
            leaves: The data.
            guards: If a result is found, the questions on the way and their answers are added here.
        """
        node = self._roots.get(key)
        if type(node) is _Result:
            return node.value
        asked = []
        while type(node) is _Question:
            if node.ask is None:
                node.ask = compiled_guard(node.guard)
            try:
                answer = node.ask(leaves)
            except (ValueError, TypeError, LookupError):  # a question that makes no sense here has no answer
                return None
            asked.append((node.guard, answer))
            node = node.answers.get(answer)
        if node is None:
            return None
        if guards is not None:
            for guard, answer in asked:
                guards.setdefault(guard, answer)
        return node.value  # type: ignore[union-attr]

    def put(self, key: Hashable, guards: Mapping[Guard, Any], value: T, *, at_once: bool = False) -> None:
        """Keep a result if its key was seen before, or at once if it is sure to come again."""
        if len(guards) > _MOST_GUARDS or any(type(a) is str and len(a) > _LONGEST_ANSWER for a in guards.values()):
            return  # it would hardly come again
        mark = hash(key)
        if mark not in self._seen and not at_once:
            if len(self._seen) >= 4 * self._capacity:
                self._seen.clear()
            self._seen.add(mark)
            return
        if self._count >= self._capacity:
            self.clear()
        place: dict[Any, Any] = self._roots
        at: Any = key
        for guard, answer in guards.items():
            node = place.get(at)
            if node is None:
                node = place[at] = _Question(guard)
                self._count += 1
            if type(node) is not _Question or node.guard != guard:
                return  # not the program it was: leave the table as it is
            place, at = node.answers, answer
        if at not in place:
            place[at] = _Result(value)
            self._count += 1

    def clear(self) -> None:
        """Forget all results."""
        self._roots.clear()
        self._count = 0
