"""Formats to come."""

from __future__ import annotations

from ismpack.formats.format import Format

TREE_FORMATS: tuple[Format, ...] = ()
