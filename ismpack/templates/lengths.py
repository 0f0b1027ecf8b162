"""The length of a text that is data, as the filter `length` gives it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ismpack.templates.traced import Traced


class Length:
    """A length: comparing it with a number asks no more than the comparison, any other use fixes it."""

    __slots__ = ("_text",)

    def __init__(self, text: Traced) -> None:
        self._text = text

    def _is(self, number: int) -> bool:
        return bool(self._text._ask("length_is", (number,), str.__len__(self._text) == number))

    def _below(self, number: int) -> bool:
        return bool(self._text._ask("length_below", (number,), str.__len__(self._text) < number))

    def __eq__(self, other: object) -> bool:
        return self._is(other) if type(other) is int else bool(fixed(self) == fixed(other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: Any) -> bool:
        return self._below(other) if type(other) is int else bool(fixed(self) < fixed(other))

    def __le__(self, other: Any) -> bool:
        return self._below(other + 1) if type(other) is int else bool(fixed(self) <= fixed(other))

    def __gt__(self, other: Any) -> bool:
        return not self <= other

    def __ge__(self, other: Any) -> bool:
        return not self < other

    def __bool__(self) -> bool:
        return bool(self._text)

    def __index__(self) -> int:
        return len(self._text)

    __int__ = __index__

    def __float__(self) -> float:
        return float(len(self._text))

    def __round__(self, digits: int | None = None) -> int:
        return round(len(self._text), digits)

    def __hash__(self) -> int:
        return hash(len(self._text))

    def __repr__(self) -> str:
        return str(len(self._text))

    __str__ = __repr__


def fixed(value: Any) -> Any:
    """A length as a number, with a guard that fixes it; anything else as it is."""
    return len(value._text) if isinstance(value, Length) else value


def _forward(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *others: function(fixed(self), *map(fixed, others))


def _backward(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, other: function(fixed(other), fixed(self))


for _name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "pow"):
    setattr(Length, f"__{_name}__", _forward(getattr(operator, _name)))
    setattr(Length, f"__r{_name}__", _backward(getattr(operator, _name)))
for _name in ("neg", "pos", "abs"):
    setattr(Length, f"__{_name}__", _forward(getattr(operator, _name)))
setattr(Length, "__divmod__", _forward(divmod))  # noqa: B010 - as for the operators above
setattr(Length, "__rdivmod__", _backward(divmod))  # noqa: B010
