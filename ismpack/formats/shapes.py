"""Shapes: what a signature says about the value of a key, in words for people and as a test for the machine.

A test looks no further than it must to tell formats apart; whether a value is sound is for the format's `parse`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ismpack.data import Json
from ismpack.formats.values import decode_text


def _is_hollow(value: Json) -> bool:
    return value is None or isinstance(value, (bool, int, float)) or value in ([], {})


@dataclass(frozen=True, slots=True)
class Shape:
    """What a value has to look like.

    Attributes:
        words: The shape in a few words, as `list of {from, value}`.
        test: Whether a value has it.
        spoiled: Whether a value without it is one gone wrong, rather than a value of another format. By default that
            is null, a number, true or false, and whatever is empty.
    """

    words: str
    test: Callable[[Json], bool]
    spoiled: Callable[[Json], bool] = _is_hollow


TEXT = Shape("text", lambda value: isinstance(value, str), lambda _: True)
BOOLEAN = Shape("true or false", lambda value: isinstance(value, bool))
OBJECT = Shape("object", lambda value: isinstance(value, dict))
LIST = Shape("list", lambda value: isinstance(value, list))
TEXTS = Shape("list of texts", lambda value: isinstance(value, list) and bool(value) and isinstance(value[0], str))


def text_like(words: str, pattern: str) -> Shape:
    """Text in which a pattern is found (a regular expression, searched with `.` not matching line ends)."""
    compiled = re.compile(pattern)
    return Shape(words, lambda value: isinstance(value, str) and compiled.search(value) is not None)


def objects(*keys: str, without: tuple[str, ...] = (), telling: bool = False) -> Shape:
    """A list of objects, perhaps written as JSON text, or as an object of lists, which tables make of it.

    Args:
        keys: Keys that the first item has; null is not having.
        without: Keys that the first item does not have.
        telling: No other format uses the record's key for anything else, so any value is a spoiled one.
    """

    def test(value: Json) -> bool:
        first = _first_item(value)
        return (
            first is not None
            and all(first.get(key) is not None for key in keys)
            and all(first.get(key) is None for key in without)
        )

    def spoiled(value: Json) -> bool:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return not {*keys, *(_TELLING_KEYS if telling else ())}.isdisjoint(value[0])
        return telling or _is_hollow(value)

    return Shape(f"list of {{{', '.join(keys)}}}", test, spoiled)


_TELLING_KEYS = ("role", "content", "from", "value")


def _first_item(value: Json) -> dict[str, Json] | None:
    """The first object of a list, however the list is written."""
    if isinstance(value, str):
        try:
            value = decode_text(value) if value.lstrip().startswith("[") else None
        except ValueError:
            return None
    if isinstance(value, dict):
        return {key: column[0] for key, column in value.items() if isinstance(column, list) and column}
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else None


def holding(**shapes: Shape) -> Shape:
    """An object with these keys, each of its shape."""

    def test(value: Json) -> bool:
        return isinstance(value, dict) and all(key in value and shape.test(value[key]) for key, shape in shapes.items())

    def spoiled(value: Json) -> bool:
        return (
            _is_hollow(value)
            or isinstance(value, str)
            or (isinstance(value, dict) and not shapes.keys().isdisjoint(value))
        )

    return Shape(f"{{{', '.join(f'{key}: {shape.words}' for key, shape in shapes.items())}}}", test, spoiled)


def either(*shapes: Shape) -> Shape:
    """A value of any of these shapes."""
    return Shape(
        " or ".join(shape.words for shape in shapes),
        lambda value: any(shape.test(value) for shape in shapes),
        lambda value: any(shape.spoiled(value) for shape in shapes),
    )
