"""Which format a record is written in: the one whose signature it has. Nothing is guessed.

Every format whose signature a record has reads it, and all must give the same conversation; the order of the table
decides only which of them is named. Which formats a set of keys leaves possible is worked out once per set.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache
from itertools import islice

from ismpack.data import Conversation, Json
from ismpack.errors import RecordError, UsageError
from ismpack.formats.format import Format
from ismpack.formats.mapping import mapped_format
from ismpack.formats.table import FORMATS
from ismpack.formats.values import kind_of, shown

AUTO = "auto"
"""The format name that means: look at each record."""

_MAX_KEYS_SHOWN = 12
_MAX_KEYS_COMPARED = 32
_MAX_KEY_COMPARED = 40
"""Characters of a key; likeness takes time with the square of the length."""

_NEAR = 0.75
"""Likeness from which a format is worth naming."""

_SIGNING_KEYS = frozenset(key for known in FORMATS for key in known.keys)
_MAX_ITEM_KEYS_SHOWN = 6


def to_conversation(value: Json, chosen: Format | None = None) -> tuple[str, Conversation]:
    """The conversation that a record holds, and the name of the format that it is written in.

    Args:
        value: One record.
        chosen: The format to read it as; None = find it.

    Raises:
        RecordError: `unknown-format`, `ambiguous-format`, or what the format's own `parse` raises.
    """
    if not isinstance(value, dict):
        raise RecordError(f"a record is {kind_of(value)}, not an object", code="not-an-object", json_path="$")
    if chosen is not None:
        _require_keys(value, chosen)
        return chosen.name, chosen.parse(value)
    matching = [candidate for candidate in _candidates(_telling(value)) if candidate.matches(value)]
    if not matching:
        raise _unknown(value)
    first, *others = matching
    conversation = first.parse(value)
    for other in others:
        if other.parse(value) != conversation:
            raise RecordError(
                f"the record reads differently as {first.name} and as {other.name}",
                code="ambiguous-format",
                json_path="$",
                hint=f"Choose with --format {first.name} or --format {other.name}, or remove one set of keys.",
            )
    return first.name, conversation


def chosen_format(name: str, mapping: Mapping[str, str]) -> Format | None:
    """The format that the options `--format` and `--map` choose; None = find it for each record.

    Raises:
        UsageError: `bad-option`: both are given, there is no such format, or the mapping is wrong.
    """
    if not mapping:
        return format_named(name)
    if name != AUTO:
        raise UsageError("--map and --format are given at once", code="bad-option", hint="Keep one of the two.")
    return mapped_format(mapping)


def format_named(name: str) -> Format | None:
    """The format of this name; None for `auto`.

    Raises:
        UsageError: `bad-option`, naming the nearest format.
    """
    if name == AUTO:
        return None
    for known in FORMATS:
        if known.name == name:
            return known
    names = [known.name for known in FORMATS]
    near = difflib.get_close_matches(name, names, n=3)
    guess = f"Did you mean {' or '.join(map(shown, near))}? " if near else ""
    raise UsageError(
        f"there is no format {shown(name)}", code="bad-option", hint=f"{guess}`ismpack formats` lists all."
    )


def _telling(record: dict[str, Json]) -> tuple[str, ...]:
    """The keys of a record that belong to any format, so that keys which are ids do not fill the caches."""
    return tuple([key for key in record if key in _SIGNING_KEYS])


@lru_cache(maxsize=4096)
def _candidates(keys: tuple[str, ...]) -> tuple[Format, ...]:
    """The formats whose keys are all among these, in the order of the table."""
    return tuple(known for known in FORMATS if known.keys.keys() <= set(keys))


def _require_keys(record: dict[str, Json], chosen: Format) -> None:
    missing = [key for key in chosen.keys if key not in record]
    if missing:
        raise RecordError(
            f"the record has no {' and no '.join(missing)}, which format {chosen.name} needs; {_keys_of(record)}",
            code="unknown-format",
            json_path="$",
        )


def _unknown(record: dict[str, Json]) -> RecordError:
    """Why no format matches: what is wrong with one whose keys are all there, or that no such format exists.

    Of several whose keys are all there, the one tells why that lacks the fewest shapes.
    """
    near = [known for known in _candidates(_telling(record)) if known.resembles(record)]
    for known in sorted(near, key=lambda known: sum(not shape.test(record[key]) for key, shape in known.keys.items())):
        try:
            known.parse(record)
        except RecordError as error:
            return error
    return RecordError(
        f"no known format has the keys of this record; {_keys_of(record)}",
        code="unknown-format",
        json_path="$",
        hint=f"{_nearest_in_words(record)}--map describes another one; `ismpack formats` lists all.",
    )


def _nearest_in_words(record: dict[str, Json]) -> str:
    """A sentence about the format that comes nearest, if one comes near."""
    for known in _candidates(_telling(record)):
        for key, shape in known.keys.items():
            if not shape.test(record[key]):
                return f"It has the keys of format {known.name}, but {key} is not {shape.words}. "
    keys = [key[:_MAX_KEY_COMPARED].lower() for key in islice(record, _MAX_KEYS_COMPARED)]
    nearest, likeness = _nearest(tuple(keys))
    if likeness < _NEAR:
        return ""
    return f"The nearest format is {nearest.name}, with the keys {' and '.join(nearest.keys)}. "


@lru_cache(maxsize=4096)
def _nearest(keys: tuple[str, ...]) -> tuple[Format, float]:
    """The format whose keys come nearest to these, and how near, from 0 to 1."""
    likeness = [_likeness(keys, known) for known in FORMATS]
    best = max(likeness)
    return FORMATS[likeness.index(best)], best


def _likeness(keys: tuple[str, ...], known: Format) -> float:
    """How near keys come to those of a format, from 0 to 1."""
    best = [max((difflib.SequenceMatcher(None, key, seen).ratio() for seen in keys), default=0.0) for key in known.keys]
    return sum(best) / len(best)


def _keys_of(record: dict[str, Json]) -> str:
    keys = [f"{shown(key)} ({_kind_of(value)})" for key, value in record.items()]
    more = f" and {len(keys) - _MAX_KEYS_SHOWN} more" if len(keys) > _MAX_KEYS_SHOWN else ""
    return f"it has {', '.join(keys[:_MAX_KEYS_SHOWN])}{more}" if keys else "it has none"


def _kind_of(value: Json) -> str:
    """The type of a value; of a list of objects, the keys of the first as well."""
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return kind_of(value)
    keys = list(map(shown, value[0]))
    more = ", ..." if len(keys) > _MAX_ITEM_KEYS_SHOWN else ""
    return f"a list of objects with {', '.join(keys[:_MAX_ITEM_KEYS_SHOWN]) or 'no key'}{more}"
