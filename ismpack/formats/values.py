"""JSON values: what to call their types, and JSON that is written inside a string."""

from __future__ import annotations

import json
import math

from ismpack.data import Json

MAX_DEPTH = 256
"""Deepest nesting inside a string, as for records."""

_MAX_SHOWN = 40


def kind_of(value: Json) -> str:
    """The type of a value in words, with its article."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names[type(value)]


def shown(text: str) -> str:
    """A string in quotes, as messages show it: escaped and not longer than a few words."""
    return json.dumps(text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…", ensure_ascii=False)


def json_text(value: Json) -> str:
    """A value as JSON in a string, which is how a value becomes text that a message can hold."""
    return json.dumps(value, ensure_ascii=False)


def decode_text(text: str) -> Json:
    """The JSON value that a string holds, as strictly as the record around it was read.

    Raises:
        ValueError: It is not one JSON value, or parsers would read it differently (repeated keys, NaN, half a
            surrogate pair), or it is nested too deeply. The message says which.
    """
    try:
        value: Json = json.loads(text, object_pairs_hook=_object, parse_float=_number, parse_constant=_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if _depth(value) > MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    json.dumps(value, ensure_ascii=False).encode()
    return value


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("an object has the same key twice")
    return value


def _number(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:_MAX_SHOWN]} is out of range")
    return number


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _depth(value: Json) -> int:
    depth = 0
    level: list[Json] = [value]
    while level := [node for node in level if isinstance(node, (dict, list))]:
        depth += 1
        level = [child for node in level for child in (node.values() if isinstance(node, dict) else node)]
    return depth
