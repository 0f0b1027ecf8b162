"""The table of all formats. The detector, `ismpack formats` and the documentation read it and nothing else."""

from __future__ import annotations

from ismpack.formats.apis import API_FORMATS
from ismpack.formats.format import Format
from ismpack.formats.instructions import INSTRUCTION_FORMATS
from ismpack.formats.lists import LIST_FORMATS
from ismpack.formats.openai import MESSAGES
from ismpack.formats.preferences import PREFERENCE_FORMATS
from ismpack.formats.transcripts import TRANSCRIPT_FORMATS
from ismpack.formats.trees import TREE_FORMATS

FORMATS: tuple[Format, ...] = (
    MESSAGES,
    *API_FORMATS,
    *LIST_FORMATS,
    *TREE_FORMATS,
    *PREFERENCE_FORMATS,
    *TRANSCRIPT_FORMATS,
    *INSTRUCTION_FORMATS,
)
"""All formats. Lists of messages come before pairs of texts; where several read a record alike, the first is named."""
