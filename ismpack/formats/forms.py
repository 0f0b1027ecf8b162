"""The short way for the other records that files are full of: a list of plain messages, or texts, beside other keys.

What such a record is read as depends on which keys it has and on the kinds of their values, not on what its texts say,
unless one could be a list, or a whole conversation, written as text; nor on who speaks last in a list, which is tried.
So the general way is asked once for each form: it reads a record of this form that has a mark for each text, and where
the marks end up says how to read all the others.

Only formats of which this is known take part. Tests try each of them on all that formats look for in texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from types import NoneType
from typing import Any, TypeAlias

import msgspec
from msgspec import structs

from ismpack.data import ROLES, Conversation, Json, PlainConversation, Role
from ismpack.errors import RecordError
from ismpack.formats.chat.message_lists import MESSAGE_LISTS
from ismpack.formats.chat.openai import MESSAGES
from ismpack.formats.format import Format
from ismpack.formats.lists.sharegpt import DIALECT, SHAREGPT, SHAREGPT_ITEMS, SHAREGPT_MESSAGES
from ismpack.formats.message import MEDIA_KEYS
from ismpack.formats.qa.completions import PROMPT_COMPLETION
from ismpack.formats.qa.pairs import TEXT_PAIR_FORMATS
from ismpack.formats.table import FORMATS
from ismpack.formats.trees import TREE_KEY

_SHAREGPT = (SHAREGPT, SHAREGPT_ITEMS, SHAREGPT_MESSAGES)
FORM_FORMATS = frozenset(
    known.name for known in (MESSAGES, *MESSAGE_LISTS, *_SHAREGPT, PROMPT_COMPLETION, *TEXT_PAIR_FORMATS)
)
"""Names of the formats whose texts become messages whatever they say."""

_ALWAYS_READ = (*MEDIA_KEYS, "toolConfig")
"""Keys that every format looks at, whether it declares them or not."""

_KNOWN = frozenset(key for known in FORMATS for key in (*known.keys, *known.without, *known.optional, *_ALWAYS_READ))

_SPECIAL_START = re.compile(r"\s*+(?:[<\[{#]|Human:|USER:|SYSTEM:|The conversation between)")
_SPECIAL = "<extra_id_"
"""What a text has that could be more than one text. HelpSteer's marks are the only ones not to stand at its start."""

_THOUGHT = "<|begin_of_thought|>"
"""Opens reasoning in the texts of turns."""

_EMPTY: dict[type, Json] = {NoneType: None, str: "", list: []}
_OPENERS = ("system", "developer")
_FIRST_MARK = 0xE000
_ASKED, _ANSWERED = "\uf8fe", "\uf8ff"

FormReader: TypeAlias = Callable[[bytes], tuple[PlainConversation, int] | None]
"""Gives a record's conversation, and how many quotes its JSON has if no key is repeated; if one is, it has more.

None means that the record has to go the general way. There may still be NUL, and an answer may be empty."""

_Form: TypeAlias = tuple[tuple[str, type, bool], ...]
"""Key, type of the value, and whether it is empty, of each key that any format knows."""


class _Message(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    role: str
    content: str


class _Turn(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    role: str = msgspec.field(name="from")
    content: str = msgspec.field(name="value")


@dataclass(frozen=True, slots=True, eq=False)
class ItemKind:
    """A way to write the items of a list.

    Attributes:
        decode: Reads a record whose lists hold such items, and whose other values hold nothing.
        roles: Role words.
        probe: Items that say `_ASKED` and `_ANSWERED`.
    """

    decode: Callable[[bytes], dict[str, Any]]
    roles: Mapping[str, Role]
    probe: list[Json]


MESSAGE_ITEMS = ItemKind(
    msgspec.json.Decoder(dict[str, list[_Message] | str | int | float | bool | None]).decode,
    {role: role for role in ROLES},
    [{"role": "user", "content": _ASKED}, {"role": "assistant", "content": _ANSWERED}],
)
TURNS = ItemKind(
    msgspec.json.Decoder(dict[str, list[_Turn] | str | int | float | bool | None]).decode,
    {word: role for word, role in DIALECT.roles.items() if word not in DIALECT.call_roles},
    [{"from": "human", "value": _ASKED}, {"from": "gpt", "value": _ANSWERED}],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """How the records of a form are read.

    Attributes:
        format: Name of their format.
        keys: The texts that are read, or by which formats are told apart.
        roles: Who speaks, of the messages that are made of these texts.
        texts: What makes the text of each of these messages of a record.
        listed: Key of the list that holds the messages after them, if there is one.
    """

    format: str
    keys: tuple[str, ...]
    roles: tuple[Role, ...]
    texts: tuple[Callable[[dict[str, Any]], str], ...]
    listed: str | None


def form_reader(kind: ItemKind) -> FormReader:
    """What reads records whose lists have items of this kind."""

    def read(text: bytes) -> tuple[PlainConversation, int] | None:
        try:
            record = kind.decode(text)
        except (msgspec.MsgspecError, ValueError):
            return None
        form = tuple([(key, type(value), not value) for key, value in record.items() if key in _KNOWN])
        reading = _reading(form, kind)
        conversation = None if reading is None else _conversation(record, reading, kind)
        return None if conversation is None else (conversation, _quotes(record))

    return read


def _conversation(record: dict[str, Any], reading: _Reading, kind: ItemKind) -> PlainConversation | None:
    """The conversation of a record; None if it has to go the general way because of what it says."""
    for key in reading.keys:
        text = record[key]
        if _SPECIAL_START.match(text) or ("<" in text and _SPECIAL in text):
            return None
    texts = [make(record) for make in reading.texts]
    if reading.listed is None:
        return PlainConversation(reading.roles, texts, reading.format)
    items = record[reading.listed]
    said = [item.content for item in items]
    if kind is TURNS and [text for text in said if _THOUGHT in text]:
        return None
    try:
        roles = tuple([kind.roles[item.role] for item in items])
    except KeyError:
        return None
    if texts and roles[0] in _OPENERS:  # two system texts
        return None
    return PlainConversation(reading.roles + roles, texts + said, reading.format)


def _quotes(record: dict[str, Any]) -> int:
    """How many quotes a record needs."""
    types = [*map(type, record.values())]
    items = sum([len(value) for value in record.values() if type(value) is list]) if list in types else 0
    return 2 * (len(types) + types.count(str)) + 8 * items


@lru_cache(maxsize=1024)
def _reading(form: _Form, kind: ItemKind) -> _Reading | None:
    """How the records of a form are read; None if each has to go the general way."""
    keys = {key for key, _, _ in form}
    if TREE_KEY in keys:
        return None  # it may be one message of a tree
    candidates = [known for known in FORMATS if known.keys.keys() <= keys]
    read = {key for one in candidates for key in (*one.keys, *one.without, *one.optional)}.union(_ALWAYS_READ)
    probe: dict[str, Json] = {}
    marks: dict[str, str] = {}
    lists: list[str] = []
    for key, type_, is_empty in form:
        if key not in read:
            continue
        if type_ not in _EMPTY:
            return None  # what a number says may decide
        if is_empty:
            probe[key] = _EMPTY[type_]
        elif type_ is str:
            probe[key] = mark = chr(_FIRST_MARK + len(marks))
            marks[mark] = key
        else:
            probe[key] = kind.probe
            lists.append(key)
    matching = [one for one in candidates if one.matches(probe)]
    if len(matching) != 1 or matching[0].name not in FORM_FORMATS or len(lists) > 1:
        return None
    return _learned(matching[0], probe, marks, lists[0] if lists else None)


def _learned(known: Format, probe: dict[str, Json], marks: Mapping[str, str], listed: str | None) -> _Reading | None:
    """Where the marks stand; None if the record is more than messages made of them, followed by the list."""
    try:
        conversation = known.parse(probe)
    except RecordError:
        return None
    roles = [message.role for message in conversation.messages]
    texts = [message.content for message in conversation.messages if isinstance(message.content, str)]
    if len(texts) < len(roles) or conversation != PlainConversation(tuple(roles), texts, known.name).written_out():
        return None
    if listed is not None:
        if (roles[-2:], texts[-2:]) != (["user", "assistant"], [_ASKED, _ANSWERED]):
            return None
        if not _takes_any_ending(known, probe, listed, conversation):
            return None
        del roles[-2:], texts[-2:]
    decisive = {*known.optional, *_ALWAYS_READ}
    if any(key in decisive and mark not in "".join(texts) for mark, key in marks.items()):
        return None  # the format reads it, and not to put it into a message
    return _Reading(
        format=known.name,
        keys=tuple(marks.values()),
        roles=tuple(roles),
        texts=tuple([_maker(text, marks) for text in texts]),
        listed=listed,
    )


def _takes_any_ending(known: Format, probe: dict[str, Json], listed: str, conversation: Conversation) -> bool:
    """Whether a list that ends with a question is read as one that ends with an answer: nothing is put at its end."""
    items = probe[listed]
    try:
        shorter = known.parse({**probe, listed: items[:-1] if isinstance(items, list) else items})
    except RecordError:
        return False
    return shorter == structs.replace(conversation, messages=conversation.messages[:-1])


def _maker(text: str, marks: Mapping[str, str]) -> Callable[[dict[str, Any]], str]:
    """What makes a text with marks of a record: they stand for its values."""
    if text in marks:
        return itemgetter(marks[text])
    parts = re.split(f"([{''.join(marks)}])", text) if marks else [text]
    return lambda record: "".join([record[marks[part]] if part in marks else part for part in parts])
