"""What a format is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ismpack.data import Conversation, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way in which a record writes a conversation.

    Attributes:
        name: Kebab-case name, as `--format` takes it.
        title: What it is, in one line.
        keys: Keys that a record of this format must have.
        optional: Further keys that are read.
        example: A small record, as JSON.
        matches: The signature: whether a record's keys, and the types of their values, are this format's. A record
            that matches may still be refused by `parse`.
        parse: The record's conversation. Raises RecordError with a `json_path`.
    """

    name: str
    title: str
    keys: tuple[str, ...]
    optional: tuple[str, ...]
    example: dict[str, Json]
    matches: Callable[[dict[str, Json]], bool]
    parse: Callable[[dict[str, Json]], Conversation]
