"""Formats that list what was said: ShareGPT and its relatives, pairs, bare texts, research dialogues."""

from __future__ import annotations

from ismpack.formats.format import Format
from ismpack.formats.lists.coqa import COQA
from ismpack.formats.lists.pair_lists import PAIR_FORMATS
from ismpack.formats.lists.sharegpt import SHAREGPT, SHAREGPT_ITEMS, SHAREGPT_MESSAGES
from ismpack.formats.lists.speaker_lists import SPEAKER_FORMATS
from ismpack.formats.lists.text_lists import TEXT_FORMATS

LIST_FORMATS: tuple[Format, ...] = (
    SHAREGPT,
    SHAREGPT_ITEMS,
    SHAREGPT_MESSAGES,
    *PAIR_FORMATS,
    *TEXT_FORMATS,
    *SPEAKER_FORMATS,
    COQA,
)
