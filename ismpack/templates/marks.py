"""Finding data in a render by changing it: what moves when the data changes is data, the rest is template.

Every string of a message gets a mark appended that occurs nowhere in the conversation. Marks go at the end of strings
because templates look at beginnings (`startswith`) and strip ends, and a mark at the end survives both.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from ismpack.data import Json

TemplateMessage: TypeAlias = dict[str, Any]

DATA_FIELDS = ("content", "reasoning_content", "tool_calls")
"""Fields that must reach the text. Names and ids only link messages, and most templates leave them out."""

_ALIASES = {"reasoning_content": ("reasoning_content", "thinking")}
_ROOT = "qz"


def strings(value: Json | Mapping[str, Any] | Sequence[Any]) -> Iterator[str]:
    """Every string inside a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from strings(item)


def has_data(value: object) -> bool:
    """Whether a field holds anything that a reader could miss."""
    if isinstance(value, str):
        return bool(value.strip())
    if isinstance(value, Mapping):
        return any(has_data(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(has_data(item) for item in value)
    return False


def mark_field(
    message: TemplateMessage, field: str, mark: str, *, blank: bool = False, names: bool = True
) -> TemplateMessage:
    """The message with `mark` appended to every string of one data field.

    Args:
        message: A message as templates read it; not changed.
        field: One of `DATA_FIELDS`.
        mark: Text to append.
        blank: Also mark strings that are empty or white space.
        names: Also mark the names of called tools.
    """
    if field not in message:
        return message
    if field == "tool_calls":
        marked: object = [_mark_call(call, mark, blank, names) for call in message[field]]
    else:
        marked = _mark(message[field], mark, blank)
    return {**message, **dict.fromkeys(_ALIASES.get(field, (field,)), marked)}


def mark_message(message: TemplateMessage, mark: str, *, blank: bool = False, names: bool = True) -> TemplateMessage:
    """The message with `mark` appended to every string of its data fields (see `mark_field`)."""
    for field in DATA_FIELDS:
        message = mark_field(message, field, mark, blank=blank, names=names)
    return message


def fresh_root(text: str) -> str:
    """The beginning of marks that do not occur in `text`."""
    root = _ROOT
    while root in text:
        root += "q" if root.endswith("z") else "z"
    return root


def end_of_data(message: TemplateMessage, text: str, start: int, render: Callable[[TemplateMessage], str]) -> int:
    """Where the last data of `message` ends in `text`; `start` if none of it is printed after that.

    Args:
        message: The last message of the render.
        text: The render with the message as it is.
        start: Where the message's own text starts.
        render: The render with another message in its place.
    """
    # The mark's last character must differ from the data's own, or the two texts would agree one character too early.
    ends = {leaf.rstrip()[-1:] for leaf in strings(message)}
    last = next(c for c in string.ascii_letters + string.digits if c not in ends)
    changed = render(mark_message(message, fresh_root(text) + last, blank=True))
    return max(start, len(text) - common_suffix(text, changed)) if changed != text else start


def common_prefix(a: str, b: str) -> int:
    """Length of the longest common prefix (bisection over slices: compares at C speed)."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def common_suffix(a: str, b: str) -> int:
    """Length of the longest common suffix."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[len(a) - middle : len(a) - low] == b[len(b) - middle : len(b) - low]:
            low = middle
        else:
            high = middle - 1
    return low


def _mark(value: object, mark: str, blank: bool) -> object:
    if isinstance(value, str):
        return value + mark if blank or value.strip() else value
    if isinstance(value, Mapping):
        # The type of a content part is a keyword, not data.
        return {key: item if key == "type" else _mark(item, mark, blank) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mark(item, mark, blank) for item in value]
    return value


def _mark_call(call: Mapping[str, Any], mark: str, blank: bool, names: bool) -> dict[str, Any]:
    function = call["function"]
    arguments = function["arguments"]
    if isinstance(arguments, Mapping):
        arguments = {key: _mark(item, mark, blank) for key, item in arguments.items()}
    else:
        arguments = _mark(arguments, mark, blank)
    name = function["name"] + mark if names else function["name"]
    return {**call, "function": {**function, "name": name, "arguments": arguments}}
