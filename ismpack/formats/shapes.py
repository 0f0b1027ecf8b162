"""Shapes: what a signature says about the value of a key, in words for people and as a test for the machine.

A test looks no further than it must to tell formats apart; whether a value is sound is for the format's `parse`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ismpack.data import Json
from ismpack.formats.values import decode_text


@dataclass(frozen=True, slots=True)
class Shape:
    """What a value has to look like.

    Attributes:
        words: The shape in a few words, as `list of {from, value}`.
        test: Whether a value has it.
    """

    words: str
    test: Callable[[Json], bool]


TEXT = Shape("text", lambda value: isinstance(value, str))
BOOLEAN = Shape("true or false", lambda value: isinstance(value, bool))
OBJECT = Shape("object", lambda value: isinstance(value, dict))
LIST = Shape("list", lambda value: isinstance(value, list))
TEXTS = Shape("list of texts", lambda value: isinstance(value, list) and bool(value) and isinstance(value[0], str))


def text_like(words: str, pattern: str) -> Shape:
    """Text in which a pattern is found (a regular expression, searched with `.` not matching line ends)."""
    compiled = re.compile(pattern)
    return Shape(words, lambda value: isinstance(value, str) and compiled.search(value) is not None)


def objects(*keys: str, without: tuple[str, ...] = ()) -> Shape:
    """A list, perhaps written as JSON text, whose first item is an object with all of these keys."""

    def test(value: Json) -> bool:
        if isinstance(value, str):
            try:
                value = decode_text(value) if value.lstrip().startswith("[") else None
            except ValueError:
                return False
        if not isinstance(value, list) or not value:
            return False
        first = value[0]
        return (
            isinstance(first, dict) and all(key in first for key in keys) and not any(key in first for key in without)
        )

    return Shape(f"list of {{{', '.join(keys)}}}", test)


def holding(**shapes: Shape) -> Shape:
    """An object with these keys, each of its shape."""

    def test(value: Json) -> bool:
        return isinstance(value, dict) and all(key in value and shape.test(value[key]) for key, shape in shapes.items())

    return Shape(f"{{{', '.join(f'{key}: {shape.words}' for key, shape in shapes.items())}}}", test)


def either(*shapes: Shape) -> Shape:
    """A value of any of these shapes."""
    return Shape(" or ".join(shape.words for shape in shapes), lambda value: any(s.test(value) for s in shapes))
