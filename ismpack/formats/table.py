"""The table of all formats. The detector, `ismpack formats` and the documentation read it and nothing else."""

from __future__ import annotations

from ismpack.formats.chat import CHAT_FORMATS
from ismpack.formats.format import Format
from ismpack.formats.lists import LIST_FORMATS
from ismpack.formats.qa import QA_FORMATS
from ismpack.formats.transcripts import TRANSCRIPT_FORMATS
from ismpack.formats.trees import TREE_FORMATS

FORMATS: tuple[Format, ...] = (*CHAT_FORMATS, *LIST_FORMATS, *TREE_FORMATS, *QA_FORMATS, *TRANSCRIPT_FORMATS)
"""All formats. Lists of messages come before pairs of texts; where several read a record alike, the first is named."""
