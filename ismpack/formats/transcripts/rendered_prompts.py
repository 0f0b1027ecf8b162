"""Prompts that were written out as text with marks between the turns: how they are known.

A format whose question is one message takes `PLAIN_PROMPT`, so that such a text is never read as one message.
"""

from __future__ import annotations

import re

from ismpack.data import Json
from ismpack.formats.shapes import Shape, either, text_like
from ismpack.formats.transcripts.speaker_texts import HUMAN_ASSISTANT
from ismpack.formats.transcripts.template_texts import METHARME, TEMPLATE_MARKS
from ismpack.formats.transcripts.turn_marks import Marks

PROMPT_MARKS: tuple[Marks, ...] = (HUMAN_ASSISTANT, *TEMPLATE_MARKS, METHARME)

RENDERED_PROMPT = either(*(marks.shape for marks in PROMPT_MARKS))


_TURN = re.compile(r"<extra_id_1>(User|Assistant)\n")

HELPSTEER = Marks(
    name="HelpSteer2",
    start=_TURN,
    opening=_TURN,
    roles={"User": "user", "Assistant": "assistant"},
    foreign=("<extra_id_0>", "<extra_id_1>", "<extra_id_2>"),
)
"""NeMo's marks. HelpSteer2 has none before its first question, and none after the last."""

HELPSTEER_PROMPT = text_like("text with HelpSteer2's turn marks", _TURN.pattern)


def _is_plain(value: Json) -> bool:
    return isinstance(value, str) and not RENDERED_PROMPT.test(value) and not HELPSTEER_PROMPT.test(value)


def _is_no_text(value: Json) -> bool:
    return not isinstance(value, str)


PLAIN_PROMPT = Shape("text without turn marks", _is_plain)

PLAIN_QUESTION = Shape(PLAIN_PROMPT.words, _is_plain, _is_no_text)
"""The same, for keys that no format has as anything but text."""
