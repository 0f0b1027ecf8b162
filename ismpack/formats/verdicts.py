"""What a record says of its own answer: that it is wanted, or that it is not."""

from __future__ import annotations

from ismpack.data import Json
from ismpack.errors import UNDESIRED, RecordError

VERDICT_KEYS: tuple[str, ...] = ("label", "kto_tag", "is_safe")
"""Keys whose value false says that the answer is unwanted (TRL's KTO, LLaMA-Factory's KTO, BeaverTails)."""


def refuse_undesired(record: dict[str, Json]) -> None:
    """Leave the record out if it marks its own answer as unwanted. Values that are not true or false say nothing.

    Raises:
        RecordError: `undesired`.
    """
    for key in VERDICT_KEYS:
        if record.get(key) is False:
            raise undesired(f"{key} is false: the record marks its answer as unwanted", f"$.{key}")


def undesired(message: str, path: str) -> RecordError:
    """The error for a record whose answer its own author does not want."""
    return RecordError(message, code=UNDESIRED, json_path=path)
