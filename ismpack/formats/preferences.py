"""Formats to come."""

from __future__ import annotations

from ismpack.formats.format import Format

PREFERENCE_FORMATS: tuple[Format, ...] = ()
