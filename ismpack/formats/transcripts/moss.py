"""MOSS: version 003 writes each turn as an object of five texts in wrappers, version 002 a dialogue as one text."""

from __future__ import annotations

import re

from ismpack.data import Conversation, Json, Message, ToolCall
from ismpack.errors import RecordError
from ismpack.formats.format import Format
from ismpack.formats.record import AROUND_KEYS, conversation, text_at, text_in
from ismpack.formats.shapes import OBJECT, holding
from ismpack.formats.transcripts.turn_marks import Marks, messages_in
from ismpack.formats.values import kind_of, shown

_WRAPPERS: dict[str, tuple[str, str]] = {
    "Human": ("<|Human|>:", "<eoh>"),
    "Inner Thoughts": ("<|Inner Thoughts|>:", "<eot>"),
    "Commands": ("<|Commands|>:", "<eoc>"),
    "Tool Responses": ("<|Results|>:", "<eor>"),
    "MOSS": ("<|MOSS|>:", "<eom>"),
}
"""Key of a turn -> what stands before and after its text. White space inside them is part of the wrapper."""

_NOTHING = "None"
"""The text of a thought, command or result that there is none of."""

_PARAMETERS: dict[str, str] = {
    "Search": "query",
    "Calculate": "expression",
    "Solve": "equation",
    "Text2Image": "description",
}
"""MOSS's plugins, and the name that `meta_instruction` gives to their one argument."""

_COMMAND = re.compile(r'(\w++)\("(.*)"\)', re.DOTALL)
_BETWEEN_COMMANDS = re.compile(r'(?<="\)),')

_TURN_KEY = "turn_{}"


def _parse(record: dict[str, Json]) -> Conversation:
    chat = record.get("chat")
    if not isinstance(chat, dict):
        raise RecordError(f"chat is {kind_of(chat)}, not an object", code="bad-messages", json_path="$.chat")
    turns = {key: turn for key, turn in chat.items() if turn is not None}
    said: list[tuple[str, Message]] = _system(record, "meta_instruction")
    for number in range(1, len(turns) + 1):
        key = _TURN_KEY.format(number)
        if key not in turns:
            raise RecordError(
                f"chat has {len(turns)} turns, but no {key}",
                code="bad-messages",
                json_path="$.chat",
                hint="Turns are turn_1, turn_2 and so on.",
            )
        said += _turn(turns[key], f"$.chat.{key}")
    return conversation(record, [message for _, message in said], lambda index: said[index][0])


def _turn(turn: Json, path: str) -> list[tuple[str, Message]]:
    """The messages of a turn, each with the path of its text: question, perhaps commands and their results, answer.

    Thoughts precede the commands if there are any, and the answer if not.
    """
    if not isinstance(turn, dict):
        raise RecordError(f"a turn is {kind_of(turn)}, not an object", code="bad-message", json_path=path)
    texts = {key: _unwrapped(turn, key, f'{path}["{key}"]') for key in _WRAPPERS}
    question, thoughts, commands, results, answer = texts.values()
    said = [Message(role="user", content=question)]
    keys = ["Human"]
    if commands is not None:
        calls = _calls(commands, f'{path}["Commands"]')
        said.append(Message(role="assistant", content=None, reasoning=thoughts, tool_calls=calls))
        keys.append("Commands")
        thoughts = None
    if results is not None:
        if commands is None:
            raise RecordError(
                "a turn has tool responses but no commands",
                code="bad-messages",
                json_path=f'{path}["Tool Responses"]',
                hint=f"Where there is nothing, MOSS writes {_NOTHING}.",
            )
        said.append(Message(role="tool", content=results))
        keys.append("Tool Responses")
    said.append(Message(role="assistant", content=answer, reasoning=thoughts))
    keys.append("MOSS")
    return [(f'{path}["{key}"]', message) for key, message in zip(keys, said, strict=True)]


def _unwrapped(turn: dict[str, Json], key: str, path: str) -> str | None:
    """The text of a key without its wrapper; None where a turn need not have it, and has none."""
    needed = key in ("Human", "MOSS")
    if turn.get(key) is None and not needed:
        return None
    text = text_at(turn.get(key), path).strip()
    before, after = _WRAPPERS[key]
    inner = text.removeprefix(before).removesuffix(after)
    if text != f"{before}{inner}{after}" or after in inner:
        raise RecordError(
            f"{key} of a turn is not wrapped in {before} and {after}",
            code="bad-messages",
            json_path=path,
            hint=f"A turn of MOSS has {before} ...{after}.",
        )
    inner = inner.strip()
    return None if inner == _NOTHING and not needed else inner


def _calls(commands: str, path: str) -> tuple[ToolCall, ...]:
    """The calls in text such as `Search("a"), Calculate("b")`. What stands between the quotes is the argument."""
    calls: list[ToolCall] = []
    for command in _BETWEEN_COMMANDS.split(commands):
        parts = _COMMAND.fullmatch(command.strip())
        if parts is None or parts[1] not in _PARAMETERS:
            raise RecordError(
                f"{shown(command)} is no command of MOSS",
                code="bad-tool-call",
                json_path=path,
                hint=f"Commands are {', '.join(_PARAMETERS)}, each with one text in quotes.",
            )
        calls.append(ToolCall(name=parts[1], arguments={_PARAMETERS[parts[1]]: parts[2]}))
    return tuple(calls)


def _system(record: dict[str, Json], key: str) -> list[tuple[str, Message]]:
    """What the model was told before the first turn; an empty text is nothing."""
    text = record.get(key)
    return [] if text in (None, "") else [(f"$.{key}", Message(role="system", content=text_at(text, f"$.{key}")))]


_TEXT_MARKS = Marks(
    name="MOSS",
    start=re.compile(r"\s*+\[Human\]:"),
    opening=re.compile(r"\[(Human|MOSS)\]:"),
    roles={"Human": "user", "MOSS": "assistant"},
    closings=("<eoh>", "<eoa>"),
    must_close=True,
)


def _parse_text(record: dict[str, Json]) -> Conversation:
    said = _system(record, "prefix")
    said += [
        ("$.plain_text", message) for message in messages_in(text_in(record, "plain_text"), "$.plain_text", _TEXT_MARKS)
    ]
    return conversation(record, [message for _, message in said], lambda index: said[index][0])


MOSS_FORMATS: tuple[Format, ...] = (
    Format(
        name="moss",
        title="MOSS 003: chat with turn_1, turn_2 and so on; thoughts, commands and tool responses in each",
        keys={"chat": holding(turn_1=OBJECT)},
        optional=("meta_instruction", *AROUND_KEYS),
        datasets=("OpenMOSS moss-003-sft-data", "OpenMOSS moss-003-sft-plugin-data"),
        example={
            "chat": {
                "turn_1": {
                    "Human": "<|Human|>: What is the capital of Peru?<eoh>\n",
                    "Inner Thoughts": "<|Inner Thoughts|>: None<eot>\n",
                    "Commands": "<|Commands|>: None<eoc>\n",
                    "Tool Responses": "<|Results|>: None<eor>\n",
                    "MOSS": "<|MOSS|>: Lima.<eom>\n",
                }
            }
        },
        parse=_parse,
    ),
    Format(
        name="moss-text",
        title="MOSS 002: plain_text with [Human]: and [MOSS]:, and a prefix",
        keys={"plain_text": _TEXT_MARKS.shape},
        optional=("prefix", *AROUND_KEYS),
        datasets=("fnlp/moss-002-sft-data",),
        example={"plain_text": "[Human]: What is the capital of Peru?<eoh> [MOSS]: Lima.<eoa>"},
        parse=_parse_text,
    ),
)
