"""How much one record may ask of us. Both limits keep memory and stack bounded whatever the input is."""

from __future__ import annotations

MAX_RECORD_BYTES = 64 << 20
"""Longest line, or element of a JSON array, in bytes of UTF-8 text."""

MAX_DEPTH = 256
"""Deepest nesting of one record; the record's own braces are level 1."""
