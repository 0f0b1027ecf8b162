"""What a record says of its own answer: that it is wanted, or that it is not."""

from __future__ import annotations

from ismpack.data import Json
from ismpack.errors import UNDESIRED, RecordError
from ismpack.formats.values import kind_of, shown

VERDICT_KEYS: tuple[str, ...] = ("label", "kto_tag", "is_safe")
"""Keys whose value false says that the answer is unwanted (TRL's KTO, LLaMA-Factory's KTO, BeaverTails)."""

PLAIN_VERDICT_KEYS: tuple[str, ...] = ("kto_tag", "is_safe")
"""Those that mean nothing else. In records of no KTO format, `label` is data."""

_UNWANTED = (False, "false", "False", "0")
_WANTED = (None, True, "true", "True", "1", "")
"""Also 0 and 1, which equal false and true. Tables have no other way to write them; an empty cell says nothing."""


def refuse_undesired(record: dict[str, Json], keys: tuple[str, ...] = VERDICT_KEYS) -> None:
    """Leave the record out if it marks its own answer as unwanted.

    A `label` may be that of a classifier, so one that is neither true nor false says nothing.

    Raises:
        RecordError: `undesired`, or `bad-message` for another key whose value is neither true nor false.
    """
    for key in keys:
        value = record.get(key)
        if value in _UNWANTED:
            raise undesired(f"{key} is false: the record marks its answer as unwanted", f"$.{key}")
        if key in PLAIN_VERDICT_KEYS and value not in _WANTED:
            what = shown(value) if isinstance(value, str) else kind_of(value)
            raise RecordError(
                f"{key} is {what}, not true or false",
                code="bad-message",
                json_path=f"$.{key}",
                hint="True marks an answer as wanted, false as unwanted.",
            )


def undesired(message: str, path: str) -> RecordError:
    """The error for a record whose answer its own author does not want."""
    return RecordError(message, code=UNDESIRED, json_path=path)
