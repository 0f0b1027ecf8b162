"""Conversations that are written as one text, with marks between the turns."""

from __future__ import annotations

from ismpack.formats.format import Format
from ismpack.formats.transcripts.glaive import GLAIVE
from ismpack.formats.transcripts.harmony_text import HARMONY_TEXT
from ismpack.formats.transcripts.moss import MOSS_FORMATS
from ismpack.formats.transcripts.prompted_answers import PROMPTED_ANSWER_FORMATS
from ismpack.formats.transcripts.speaker_texts import SPEAKER_TEXT_FORMATS
from ismpack.formats.transcripts.template_texts import TEMPLATE_TEXT_FORMATS

TRANSCRIPT_FORMATS: tuple[Format, ...] = (
    *TEMPLATE_TEXT_FORMATS,
    HARMONY_TEXT,
    *SPEAKER_TEXT_FORMATS,
    *PROMPTED_ANSWER_FORMATS,
    GLAIVE,
    *MOSS_FORMATS,
)
