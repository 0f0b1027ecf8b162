"""Conversations whose messages stand in two places of a record: what is given, and what follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from ismpack.data import Conversation, Json, Message
from ismpack.formats.chat.openai import DIALECT
from ismpack.formats.message import parse_messages, text_paths
from ismpack.formats.record import conversation, message_list

Side: TypeAlias = tuple[list[Message], Callable[[int], str]]
"""Some messages of a conversation, and the JSON path of each one's text, by its index."""


def side(value: Json, path: str) -> Side:
    """The messages of a list, as chat APIs write them.

    Raises:
        RecordError: `bad-messages`, or what is wrong with one of them.
    """
    items = message_list(value, path)
    return parse_messages(items, path, DIALECT), text_paths(items, path, DIALECT)


def shared_count(chosen: Sequence[object], rejected: Sequence[object]) -> int:
    """How many messages two sides of a choice begin with alike. The last of a side never counts: it was chosen."""
    most = min(len(chosen), len(rejected)) - 1
    return next((index for index in range(most) if chosen[index] != rejected[index]), max(most, 0))


def joined(record: dict[str, Json], before: Side, after: Side) -> Conversation:
    """The conversation of a record whose messages stand in two places."""
    asked, asked_path = before
    answered, answered_path = after
    count = len(asked)
    return conversation(
        record,
        [*asked, *answered],
        lambda index: asked_path(index) if index < count else answered_path(index - count),
    )
