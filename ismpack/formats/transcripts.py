"""Formats to come."""

from __future__ import annotations

from ismpack.formats.format import Format

TRANSCRIPT_FORMATS: tuple[Format, ...] = ()
