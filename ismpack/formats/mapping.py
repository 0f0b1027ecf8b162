"""`--map`: the user's own words for a format that is not in the table.

    messages=dialog,role=speaker,content=text        a list of messages, and where it says who speaks and what
    role.user=caller,role.assistant=agent|bot        role words that are not known, with `|` between several
    prompt=question,completion=best_reply            two texts instead of a list
    system=persona,tools=functions_available         what stands around them

A name on the right is a key of the record; with dots, keys inside it (`messages=body.dialog`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace

from ismpack.data import ROLES, Conversation, Json, Role
from ismpack.errors import RecordError, UsageError
from ismpack.formats.chat.openai import DIALECT as OPENAI
from ismpack.formats.format import Format
from ismpack.formats.lists.sharegpt import DIALECT as SHAREGPT
from ismpack.formats.message import parse_messages, text_paths
from ismpack.formats.record import alternating, conversation, message_list, text_at
from ismpack.formats.values import shown

MAPPED = "map"
"""Name of the format that a mapping makes."""

_LIST_NAMES = ("messages", "role", "content", *(f"role.{role}" for role in ROLES))
_PAIR_NAMES = ("prompt", "completion")
_AROUND_NAMES = ("system", "tools")
_EXAMPLE = "For example: --map messages=dialog,role=speaker,content=text"


def mapped_format(mapping: Mapping[str, str]) -> Format:
    """The format that a mapping describes.

    Args:
        mapping: Our names -> the record's keys (see the module).

    Raises:
        UsageError: `bad-option`: a name that does not exist, an empty key, or a list and a pair at once.
    """
    for name, key in mapping.items():
        if name not in (*_LIST_NAMES, *_PAIR_NAMES, *_AROUND_NAMES):
            near = difflib.get_close_matches(name, (*_LIST_NAMES, *_PAIR_NAMES, *_AROUND_NAMES), n=1)
            guess = f"Did you mean {near[0]}? " if near else ""
            raise _bad(f"--map has no name {shown(name)}", f"{guess}{_EXAMPLE}.")
        if not all(part.strip() for part in key.replace("|", ".").split(".")):
            raise _bad(f"--map {name}={key} names no key", f"{_EXAMPLE}.")
    pair = [name for name in _PAIR_NAMES if name in mapping]
    if pair and any(name in mapping for name in _LIST_NAMES):
        raise _bad("--map describes a list of messages and a pair of texts at once", "Keep one of the two.")
    if len(pair) == 1:
        raise _bad(f"--map names {pair[0]} alone", "A pair of texts is prompt=KEY,completion=KEY.")
    return _pair(mapping) if pair else _list(mapping)


def _list(mapping: Mapping[str, str]) -> Format:
    where = mapping.get("messages", "messages")
    path = f"$.{where}"
    words: dict[str, Role] = {**OPENAI.roles, **SHAREGPT.roles}
    for role in ROLES:
        words |= dict.fromkeys(filter(None, mapping.get(f"role.{role}", "").split("|")), role)
    role_key, content_key = mapping.get("role", "role"), mapping.get("content", "content")
    dialect = replace(SHAREGPT, role_key=role_key, content_key=content_key, roles=words)

    def parse(record: dict[str, Json]) -> Conversation:
        items = message_list(_required(record, where), path)
        messages = parse_messages(items, path, dialect)
        around = _around(record, mapping)
        return conversation(around, messages, text_paths(items, path, dialect))

    return _format(parse)


def _pair(mapping: Mapping[str, str]) -> Format:
    keys = [mapping[name] for name in _PAIR_NAMES]

    def parse(record: dict[str, Json]) -> Conversation:
        turns = [(f"$.{key}", text_at(_required(record, key), f"$.{key}")) for key in keys]
        return alternating(_around(record, mapping), turns)

    return _format(parse)


def _format(parse: Callable[[dict[str, Json]], Conversation]) -> Format:
    """The keys are looked for by `parse`, as they may lie deeper than a signature looks."""
    return Format(name=MAPPED, title="what --map describes", keys={}, example={}, parse=parse)


def _around(record: dict[str, Json], mapping: Mapping[str, str]) -> dict[str, Json]:
    """What stands around the messages, under the names that every format reads."""
    return record | {name: _found(record, mapping[name]) for name in _AROUND_NAMES if name in mapping}


def _required(record: dict[str, Json], key: str) -> Json:
    value = _found(record, key)
    if value is None:
        keys = ", ".join(map(shown, list(record)[:12])) or "no key"
        raise RecordError(
            f"the record has no {shown(key)}, which --map names; it has {keys}",
            code="unknown-format",
            json_path="$",
        )
    return value


def _found(record: dict[str, Json], key: str) -> Json:
    """The value under a key or, with dots, under keys one inside the other; None if it is not there."""
    if key in record:
        return record[key]
    value: Json = record
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _bad(message: str, hint: str) -> UsageError:
    return UsageError(message, code="bad-option", hint=hint)
