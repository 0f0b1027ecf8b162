"""The short way for the records that nearly every file is full of: a conversation of nothing but roles and texts.

A typed parser reads such a record from its bytes straight into roles and texts. Nearly always it is
`{"messages": [{"role": ..., "content": ...}, ...]}` and nothing else; `forms.py` knows more. What else is not plain (a
repeated key, NUL, an empty answer) is looked for in many records at once, and only if it is somewhere among them in
each. Whatever is not exactly of this kind goes the general way, which also finds the words for what is wrong with it.

The parser keeps the last of repeated keys without a word, but then the text has more quotes than the record needs, such
as two for `messages` and eight for each message. No text has fewer, so if many records together have exactly as many as
they need, none of them repeats a key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import TypeAlias

import msgspec
import numpy as np

from ismpack.data import PlainConversation, Role
from ismpack.formats.chat.openai import MESSAGES
from ismpack.formats.format import Format
from ismpack.formats.forms import FORM_FORMATS, MESSAGE_ITEMS, TURNS, FormReader, form_reader

Shortcut: TypeAlias = Callable[[Sequence[bytes]], list[PlainConversation | None]]

_QUOTE, _BACKSLASH = b'"\\'
_LONGEST_RUN = 8
"""Backslashes in a row that are followed one by one; longer runs are taken out of the text first."""


class _Message(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    role: Role
    content: str


class _Record(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    messages: list[_Message]


_decode = msgspec.json.Decoder(_Record).decode


def plain_conversations(texts: Sequence[bytes], only: str | None = None) -> list[PlainConversation | None]:
    """The conversations of records that are plain.

    Args:
        texts: One record each: UTF-8 JSON, or anything else.
        only: Read records of this format and no other.

    Returns:
        As many items; None for a text that is not such a record, be it valid or not.
    """
    found, needed = _read(texts)
    if only is not None:
        found = [one if one and one.format == only else None for one in found]
    said = list(chain.from_iterable([one.texts for one in found if one]))
    if not all(said) or any(map(str.isspace, said)):
        found = [one if one and not _has_empty_answer(one) else None for one in found]
    if [text for text in said if "\0" in text]:
        found = [one if one and "\0" not in "".join(one.texts) else None for one in found]
    rows = list(zip(texts, needed, found, strict=True))
    plain = [text for text, _, one in rows if one]
    if _quotes(b"".join(plain)) != sum([need for _, need, one in rows if one]):
        found = [one if one and _quotes(text) == need else None for text, need, one in rows]
    return found


def shortcut_for(chosen: Format | None) -> Shortcut | None:
    """What reads plain records straight from their text, where the format to read them as allows it."""
    if chosen is None:
        return plain_conversations
    return partial(plain_conversations, only=chosen.name) if chosen.name in FORM_FORMATS else None


def _read(texts: Sequence[bytes]) -> tuple[list[PlainConversation | None], list[int]]:
    """What the parser makes of each text, and how many quotes it needs."""
    found: list[PlainConversation | None] = []
    needed: list[int] = []
    read: FormReader = _read_messages
    for text in texts:
        one = read(text)
        if one is None:
            for other in _READERS:
                if other is not read and (one := other(text)) is not None:
                    read = other  # its neighbours are likely to be as it is
                    break
        conversation, need = one or (None, 0)
        found.append(conversation)
        needed.append(need)
    return found, needed


def _read_messages(text: bytes) -> tuple[PlainConversation, int] | None:
    """A `FormReader` for the one form that nearly all files have."""
    try:
        messages = _decode(text).messages
    except (msgspec.MsgspecError, ValueError):
        return None
    if not messages:
        return None
    roles, texts = tuple([message.role for message in messages]), [message.content for message in messages]
    return PlainConversation(roles, texts, MESSAGES.name), 2 + 8 * len(texts)


_READERS: tuple[FormReader, ...] = (_read_messages, form_reader(MESSAGE_ITEMS), form_reader(TURNS))


def _has_empty_answer(conversation: PlainConversation) -> bool:
    """Whether an answer is empty; that needs the words of the general way."""
    asked = False
    for role, text in zip(conversation.roles, conversation.texts, strict=True):
        if role != "assistant":
            asked = asked or role in ("user", "tool")
        elif asked and not text.strip():
            return True
    return False


def _quotes(text: bytes) -> int:
    """How many quotes of valid JSON open or close a string: those after an even number of backslashes.

    With N(k) quotes after at least k backslashes, N(1) - N(2) + N(3) - ... of them are escaped.
    """
    codes = np.frombuffer(text, np.uint8)
    quotes, backslashes = codes == _QUOTE, codes == _BACKSLASH
    count = int(np.count_nonzero(quotes))
    sign = -1
    for _ in range(_LONGEST_RUN):
        quotes = quotes[1:] & backslashes[: max(len(quotes) - 1, 0)]
        escaped = int(np.count_nonzero(quotes))
        if not escaped:
            return count
        count += sign * escaped
        sign = -sign
    return _quotes(text.replace(b"\\\\", b""))
