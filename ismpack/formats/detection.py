"""Which format a record is written in: the one whose signature it has. Nothing is guessed.

Every format whose signature a record has reads it, and all must give the same conversation; the order of the table
decides only which of them is named. Which formats a set of keys leaves possible is worked out once per set.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache

from ismpack.data import Conversation, Json
from ismpack.errors import RecordError, UsageError
from ismpack.formats.format import Format
from ismpack.formats.mapping import mapped_format
from ismpack.formats.table import FORMATS
from ismpack.formats.values import kind_of, shown

AUTO = "auto"
"""The format name that means: look at each record."""

_MAX_KEYS_SHOWN = 12
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
    matching = [candidate for candidate in _candidates(tuple(value)) if candidate.matches(value)]
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
    near = [known for known in _candidates(tuple(record)) if known.resembles(record)]
    for known in sorted(near, key=lambda known: sum(not shape.test(record[key]) for key, shape in known.keys.items())):
        try:
            known.parse(record)
        except RecordError as error:
            return error
    nearest = max(FORMATS, key=lambda known: _likeness(record, known))
    hint = "`ismpack formats` lists what is recognised."
    if _likeness(record, nearest) > 0.5:
        hint = f"The nearest format is {nearest.name}, with the keys {' and '.join(nearest.keys)}; {hint}"
    return RecordError(
        f"no known format has the keys of this record; {_keys_of(record)}",
        code="unknown-format",
        json_path="$",
        hint=hint,
    )


def _likeness(record: dict[str, Json], known: Format) -> float:
    """How near the record's keys come to those of a format, from 0 to 1."""
    best = [
        max((difflib.SequenceMatcher(None, key, seen.lower()).ratio() for seen in record), default=0.0)
        for key in known.keys
    ]
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
