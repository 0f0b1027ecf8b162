"""How much one input may ask of us. These keep memory, disk and stack bounded whatever the input is."""

from __future__ import annotations

from ismpack.errors import RecordError

MAX_RECORD_BYTES = 64 << 20
"""Longest line, element of a JSON array, member of a JSON object or row of a CSV file, in bytes of UTF-8 text."""

MAX_DEPTH = 256
"""Deepest nesting of one record; the record's own braces are level 1."""

MAX_DECODER_BYTES = 512 << 20
"""Memory that decompressing may take."""

BOMB_BYTES = 10_000_000_000
BOMB_RATIO = 2_000
"""More text than this, out of data so many times smaller, is taken for an attack on the disk."""


_SHOWN_CHARACTERS = 40


def shown(name: str) -> str:
    """A name in quotes, as messages show it: escaped and not longer than a few words."""
    return repr(name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}…")


def too_long(limit: int) -> RecordError:
    """The error for a record beyond the limit."""
    return RecordError(
        f"the record is longer than {limit:,} bytes", code="line-too-long", hint="Split it into several records."
    )
