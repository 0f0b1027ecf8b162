"""Which fields of a conversation reach the text: found by looking for their words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ismpack.data import Conversation, Message
from ismpack.templates.marks import strings
from ismpack.templates.report.subject import Subject

FIELDS: Mapping[str, str] = {
    "content": "content",
    "reasoning_content": "reasoning_content",
    "tool_calls": "tool_calls",
    "tool results": "content",
    "tools": "tools",
}
"""Field as reported -> what `--allow-dropped` calls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldReport:
    """Where one field is printed.

    Attributes:
        field: A key of `FIELDS`.
        printed: Kinds in which all of it is printed.
        dropped: Kinds in which it is not printed, or not all of it. Kinds that the template refuses to render are in
            neither list.
    """

    field: str
    printed: tuple[str, ...]
    dropped: tuple[str, ...]


def examine_fields(subject: Subject, probes: Mapping[str, Conversation]) -> tuple[FieldReport, ...]:
    """Look for every field of every probe in the renders that give its segments."""
    shown: dict[str, dict[str, bool]] = {field: {} for field in FIELDS}
    for kind, conversation in probes.items():
        given, written = subject.queries(conversation), subject.written(conversation)
        for i, field, words in words_of(conversation):
            # As `convert` does: an answer's data must be in its own render, other data in the prompt that follows it.
            text = written[i] if i in written else next((given[k] for k in given if k > i), None)
            if text is not None:
                shown[field][kind] = shown[field].get(kind, True) and all(word in text for word in words)
    return tuple(
        FieldReport(
            field=field,
            printed=tuple(kind for kind, printed in kinds.items() if printed),
            dropped=tuple(kind for kind, printed in kinds.items() if not printed),
        )
        for field, kinds in shown.items()
    )


def words_of(conversation: Conversation) -> Iterator[tuple[int, str, set[str]]]:
    """Message index, field and words of every field that holds any; tool definitions count as the first message's."""
    for i, message in enumerate(conversation.messages):
        for field, text in _texts(message):
            yield i, field, set(_words(text))
    for tool in conversation.tools or ():
        # Only what a model must be told: templates spell a schema's own keys in their own ways.
        yield 0, "tools", {word for text in _described(tool["function"]) for word in _words(text)}


def _texts(message: Message) -> Iterator[tuple[str, str]]:
    content = (message.content,) if isinstance(message.content, str) else message.content or ()
    for text in content:
        yield "tool results" if message.role == "tool" else "content", text
    if message.reasoning is not None:
        yield "reasoning_content", message.reasoning
    for call in message.tool_calls:
        for text in (call.name, *strings(call.arguments)):
            yield "tool_calls", text


def _described(function: object) -> Iterator[str]:
    if isinstance(function, Mapping):
        for key in ("name", "description"):
            if isinstance(function.get(key), str):
                yield function[key]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)
