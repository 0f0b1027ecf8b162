"""Prompts that were written out as text with marks between the turns: how they are known.

A format whose `prompt` is one message takes `PLAIN_PROMPT`, so that such a text is never read as one message.
"""

from __future__ import annotations

from ismpack.data import Json
from ismpack.formats.shapes import Shape, either
from ismpack.formats.transcripts.speaker_texts import HUMAN_ASSISTANT
from ismpack.formats.transcripts.template_texts import METHARME, TEMPLATE_MARKS
from ismpack.formats.transcripts.turn_marks import Marks

PROMPT_MARKS: tuple[Marks, ...] = (HUMAN_ASSISTANT, *TEMPLATE_MARKS, METHARME)

RENDERED_PROMPT = either(*(marks.shape for marks in PROMPT_MARKS))


def _is_plain(value: Json) -> bool:
    return isinstance(value, str) and not RENDERED_PROMPT.test(value)


PLAIN_PROMPT = Shape("text without turn marks", _is_plain)
