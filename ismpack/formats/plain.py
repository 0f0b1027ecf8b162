"""The short way for the record that nearly every file is full of: `{"messages": [{"role": ..., "content": ...}, ...]}`.

A typed parser reads such a record from its bytes straight into messages; it is an object with these keys and no others,
or the parser gives up. It keeps the last of repeated keys without a word, but then the text has more quotes than the
record needs: two for `messages`, eight for each message. No text has fewer, so if many records together have exactly as
many as they need, none of them repeats a key; that is one count over all their bytes instead of one per record.
Whatever is not exactly of this kind goes the general way, which also finds the words for what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from ismpack.data import Conversation, Message, Role
from ismpack.formats.format import Format

PLAIN_FORMAT = "messages"
"""Name of the only format that such a record matches."""

_QUOTE, _BACKSLASH = b'"\\'
_LONGEST_RUN = 16
"""Backslashes in a row that are followed one by one; longer runs are taken out of the text first."""


class _PlainMessage(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    role: Role
    content: str


class _PlainRecord(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    messages: tuple[_PlainMessage, ...]


_decode = msgspec.json.Decoder(_PlainRecord).decode


def plain_conversations(texts: Sequence[bytes]) -> list[Conversation | None]:
    """The conversations of records that are nothing but plain messages.

    Args:
        texts: One record each: UTF-8 JSON, or anything else.

    Returns:
        As many items; None for a text that is not such a record, be it valid or not.
    """
    decoded = [_items(text) for text in texts]
    needed = [2 + 8 * len(items) if items else 0 for items in decoded]
    plain = [text for text, items in zip(texts, decoded, strict=True) if items]
    if _quotes(b"".join(plain)) != sum(needed):
        decoded = [
            items if items and _quotes(text) == need else None
            for text, items, need in zip(texts, decoded, needed, strict=True)
        ]
    return [_conversation(items) if items else None for items in decoded]


def shortcut_for(chosen: Format | None) -> Callable[[Sequence[bytes]], list[Conversation | None]] | None:
    """What reads plain records straight from their text, where the format to read them as allows it."""
    return plain_conversations if chosen is None or chosen.name == PLAIN_FORMAT else None


def _items(text: bytes) -> tuple[_PlainMessage, ...] | None:
    try:
        return _decode(text).messages
    except (msgspec.MsgspecError, ValueError):
        return None


def _quotes(text: bytes) -> int:
    """How many quotes of valid JSON open or close a string: those after an even number of backslashes.

    With N(k) quotes after at least k backslashes, N(1) - N(2) + N(3) - ... of them are escaped.
    """
    codes = np.frombuffer(text, np.uint8)
    quotes = codes == _QUOTE
    escaped, sign = 0, 1
    ends = np.flatnonzero(quotes[1:] & (codes[:-1] == _BACKSLASH))
    for _ in range(_LONGEST_RUN):
        if not len(ends):
            return int(np.count_nonzero(quotes)) - escaped
        escaped += sign * len(ends)
        ends = ends[ends > 0] - 1
        ends = ends[codes[ends] == _BACKSLASH]
        sign = -sign
    return _quotes(text.replace(b"\\\\", b""))


def _conversation(items: tuple[_PlainMessage, ...]) -> Conversation | None:
    """The conversation, unless it has an empty answer; that needs the words of the general way."""
    asked = False
    for item in items:
        if item.role != "assistant":
            asked = asked or item.role in ("user", "tool")
        elif asked and not item.content.strip():
            return None
    return Conversation(messages=tuple([Message(role=item.role, content=item.content) for item in items]))
