"""Texts in which the name of the speaker opens every turn: HH-RLHF, guanaco, Baize, BELLE."""

from __future__ import annotations

import re

from ismpack.data import Conversation, Json, Message
from ismpack.errors import RecordError
from ismpack.formats.chat.openai import as_context
from ismpack.formats.chat.sides import shared_count
from ismpack.formats.format import Format
from ismpack.formats.record import AROUND_KEYS, conversation, text_in
from ismpack.formats.shapes import TEXT, Shape
from ismpack.formats.transcripts.template_texts import text_format
from ismpack.formats.transcripts.turn_marks import Marks, messages_in, prompt_in

HUMAN_ASSISTANT = Marks(
    name="Human/Assistant",
    start=re.compile(r"\n\nHuman:"),
    opening=re.compile(r"\n\n(Human|Assistant):"),
    roles={"Human": "user", "Assistant": "assistant"},
)
"""Anthropic's first way of writing: two line ends before each name. They also begin the text."""

_GUANACO = Marks(
    name="guanaco",
    start=re.compile(r"\s*+### Human:"),
    opening=re.compile(r"### (Human|Assistant):"),
    roles={"Human": "user", "Assistant": "assistant"},
)

_BAIZE_PREAMBLE = "The conversation between human and AI assistant."

_BAIZE = Marks(
    name="Baize",
    start=re.compile(rf"\s*+(?:{re.escape(_BAIZE_PREAMBLE)}\s*+)?+\[\|Human\|\]"),
    opening=re.compile(r"^\[\|(Human|AI)\|\]", re.MULTILINE),
    roles={"Human": "user", "AI": "assistant"},
    preamble=_BAIZE_PREAMBLE,
    # Every text ends with a mark for what the human might say next.
    prompts=("user", "assistant"),
)

_BELLE = Marks(
    name="BELLE",
    start=re.compile(r"\s*+Human:[\s\S]*\nAssistant:\s*+\Z"),
    opening=re.compile(r"^(Human|Assistant):", re.MULTILINE),
    roles={"Human": "user", "Assistant": "assistant"},
)


def _parse_hh(record: dict[str, Json]) -> Conversation:
    """The chosen side; answers that the rejected one begins with too are context."""
    chosen = messages_in(text_in(record, "chosen"), "$.chosen", HUMAN_ASSISTANT)
    rejected = messages_in(text_in(record, "rejected"), "$.rejected", HUMAN_ASSISTANT)
    shared = shared_count(chosen, rejected)
    return conversation(record, [*as_context(chosen[:shared]), *chosen[shared:]], lambda _: "$.chosen")


def _parse_baize(record: dict[str, Json]) -> Conversation:
    return conversation(record, messages_in(text_in(record, "input"), "$.input", _BAIZE), lambda _: "$.input")


def _parse_belle(record: dict[str, Json]) -> Conversation:
    """The instruction is the dialogue up to the mark of the last answer; output is that answer."""
    if record.get("input") not in (None, ""):
        raise RecordError(
            "input has text beside a dialogue that the instruction ends",
            code="bad-messages",
            json_path="$.input",
            hint="Put it into the dialogue, before the last Assistant:.",
        )
    messages = prompt_in(text_in(record, "instruction"), "$.instruction", _BELLE)
    messages.append(Message(role="assistant", content=text_in(record, "output").strip()))
    last = len(messages) - 1
    return conversation(record, messages, lambda index: "$.output" if index == last else "$.instruction")


PLAIN_INSTRUCTION = Shape(
    "text that is no BELLE dialogue", lambda value: isinstance(value, str) and not _BELLE.begins(value)
)
"""For formats in which `instruction` is one message."""

SPEAKER_TEXT_FORMATS: tuple[Format, ...] = (
    Format(
        name="hh-rlhf",
        title='HH-RLHF: chosen and rejected dialogues as text, with "Human:" and "Assistant:" after two line ends',
        keys={"chosen": HUMAN_ASSISTANT.shape, "rejected": HUMAN_ASSISTANT.shape},
        optional=AROUND_KEYS,
        datasets=("Anthropic/hh-rlhf",),
        example={
            "chosen": "\n\nHuman: What is the capital of Peru?\n\nAssistant: Lima.",
            "rejected": "\n\nHuman: What is the capital of Peru?\n\nAssistant: Quito.",
        },
        parse=_parse_hh,
    ),
    text_format(
        "guanaco",
        _GUANACO,
        'Guanaco: a dialogue as text, with "### Human:" and "### Assistant:"',
        ("timdettmers/openassistant-guanaco",),
        "### Human: What is the capital of Peru?### Assistant: Lima.",
    ),
    Format(
        name="baize",
        title="Baize: a dialogue as text in input, with [|Human|] and [|AI|]",
        keys={"input": _BAIZE.shape},
        optional=AROUND_KEYS,
        datasets=("project-baize/baize-chatbot",),
        example={
            "topic": "Peru",
            "input": f"{_BAIZE_PREAMBLE}\n[|Human|] What is the capital of Peru?\n[|AI|] Lima.\n[|Human|] ",
        },
        parse=_parse_baize,
    ),
    Format(
        name="belle-dialogue",
        title='BELLE multi-turn: instruction is a dialogue with "Human:" and "Assistant:", output its last answer',
        keys={"instruction": _BELLE.shape, "output": TEXT},
        optional=("input", *AROUND_KEYS),
        datasets=("BelleGroup/multiturn_chat_0.8M",),
        example={"instruction": "Human:What is the capital of Peru?\nAssistant:", "input": "", "output": " Lima."},
        parse=_parse_belle,
    ),
)
