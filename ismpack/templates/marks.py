"""Finding data in a render by changing it: what moves when the data changes is data, the rest is template.

A mark is text that occurs nowhere in the conversation. It is appended to data, never put in front, because templates
look at how strings begin and strip their ends, and a mark at the end survives both.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from ismpack.errors import RecordError

TemplateMessage: TypeAlias = dict[str, Any]
Change: TypeAlias = Callable[[str, str], str]
"""Takes the field and one string of its data, gives the string to put there."""

DATA_FIELDS = ("content", "reasoning_content", "tool_calls")
"""Fields that must reach the text. Names and ids only link messages, and most templates leave them out."""

# Templates look for tags and line ends inside a text (`split('</think>')`), so data is marked between them.
_TAG_OR_CHUNK = re.compile(r"(?P<tag><[^<>\n]*>)|[^<>\n]*[^<>\s][^<>\n]*")


def strings(value: object) -> Iterator[str]:
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


def change_data(message: TemplateMessage, change: Change, *, names: bool = True) -> TemplateMessage:
    """The message with every string of its data fields replaced.

    Args:
        message: A message as templates read it; not changed.
        change: What to put in place of a string.
        names: Also replace the names of called tools.
    """
    changed = dict(message)
    if "content" in message:
        changed["content"] = _change_content(message["content"], change)
    if "reasoning_content" in message:
        changed["reasoning_content"] = change("reasoning_content", message["reasoning_content"])
        changed["thinking"] = changed["reasoning_content"]
    if "tool_calls" in message:
        changed["tool_calls"] = [_change_call(call, change, names=names) for call in message["tool_calls"]]
    return changed


def append_mark(message: TemplateMessage, mark: str, *, blank: bool = False, names: bool = True) -> TemplateMessage:
    """The message with `mark` at the end of every string of its data; of blank strings only if `blank`."""
    return change_data(message, lambda _, text: text + mark if blank or text.strip() else text, names=names)


class Numbering:
    """Gives every piece of the data of some messages a mark of its own.

    Args:
        root: The beginning of marks (see `fresh_root`).
        only: Change nothing but the piece of this number.

    Attributes:
        places: (message index, field) of each piece, in order of their numbers.
    """

    def __init__(self, root: str, only: int | None = None) -> None:
        self._root = root
        self._only = only
        self.places: list[tuple[int, str]] = []

    def marked(self, messages: Sequence[TemplateMessage]) -> list[TemplateMessage]:
        """The messages with their marks."""
        return [self._mark(i, message) for i, message in enumerate(messages)]

    def found(self, text: str) -> set[int]:
        """Numbers of the marks that a text shows."""
        return {int(number) for number in re.findall(rf"{self._root}(\d+)x", text)}

    def _mark(self, i: int, message: TemplateMessage) -> TemplateMessage:
        marked = change_data(message, lambda field, text: self._mark_text(i, field, text))
        if "tool_calls" in message:
            marked["tool_calls"] = [self._mark_rest(i, call) for call in marked["tool_calls"]]
        return marked

    def _mark_text(self, i: int, field: str, text: str) -> str:
        return _TAG_OR_CHUNK.sub(lambda found: found[0] if found["tag"] else found[0] + self._next(i, field), text)

    def _mark_rest(self, i: int, call: Mapping[str, Any]) -> dict[str, Any]:
        """Numbers and truth values cannot carry a mark: a key of its own stands for all of a call's, or a new value."""
        arguments = call["function"]["arguments"]
        if not isinstance(arguments, Mapping) or not any(_is_plain(item) for item in arguments.values()):
            return dict(call)
        mark = self._next(i, "tool_calls")
        if self._only is None:
            arguments = {**arguments, mark: mark}
        elif mark:
            arguments = {key: [item, mark] if _is_plain(item) else item for key, item in arguments.items()}
        return {**call, "function": {**call["function"], "arguments": arguments}}

    def _next(self, i: int, field: str) -> str:
        number = len(self.places)
        self.places.append((i, field))
        return f"{self._root}{number}x" if self._only in (None, number) else ""


def fresh_root(text: str) -> str:
    """The beginning of marks that do not occur in `text`."""
    root = "qz"
    while root in text:
        root += "q" if root.endswith("z") else "z"
    return root


def end_of_data(
    message: TemplateMessage, text: str, render: Callable[[TemplateMessage], str], *, start: int = 0
) -> int | None:
    """Where the last data of `message` ends in `text`; `start` if none of it is printed after that.

    Args:
        message: One message of the render.
        text: The render with the message as it is.
        render: The render with another message in its place.
        start: Where the message's own text starts, if that is known.

    Returns:
        The position, or None if the template refuses the changed message.
    """
    # The mark's last character must differ from the data's own, or the two texts would agree one character too early.
    ends = {leaf.rstrip()[-1:] for leaf in strings(message)}
    # Capitals from the end of the alphabet, because JSON escapes (\u00ea) end in none.
    mark = fresh_root(text) + next(c for c in reversed(string.ascii_letters) if c not in ends)
    for blank in (True, False):
        try:
            changed = render(append_mark(message, mark, blank=blank))
        except RecordError:  # a template may refuse content beside a tool call, say
            continue
        return max(start, len(text) - common_suffix(text, changed)) if changed != text else start
    return None


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


def _change_content(content: object, change: Change) -> object:
    if isinstance(content, str):
        return change("content", content)
    if isinstance(content, list):
        return [{**part, "text": change("content", part["text"])} for part in content]
    return content


def _change_call(call: Mapping[str, Any], change: Change, *, names: bool) -> dict[str, Any]:
    function = call["function"]
    name = change("tool_calls", function["name"]) if names else function["name"]
    return {**call, "function": {**function, "name": name, "arguments": _change_json(function["arguments"], change)}}


def _change_json(value: object, change: Change) -> object:
    if isinstance(value, str):
        return change("tool_calls", value)
    if isinstance(value, Mapping):
        return {key: _change_json(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_change_json(item, change) for item in value]
    return value


def _is_plain(value: object) -> bool:
    return isinstance(value, (bool, int, float))
