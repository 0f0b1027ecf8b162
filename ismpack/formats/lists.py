"""Formats that list what was said: ShareGPT and its relatives, pairs, bare texts, research dialogues."""

from __future__ import annotations

from ismpack.formats.format import Format
from ismpack.formats.sharegpt import SHAREGPT

LIST_FORMATS: tuple[Format, ...] = (SHAREGPT,)
