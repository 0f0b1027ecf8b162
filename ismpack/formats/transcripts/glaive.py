"""Glaive function calling: a dialogue as text, functions in the system text, calls and results in the turns."""

from __future__ import annotations

import json
import re

from ismpack.data import Conversation, Json, Message, ToolCall
from ismpack.errors import RecordError
from ismpack.formats.format import Format
from ismpack.formats.record import AROUND_KEYS, conversation, text_in
from ismpack.formats.roles import role_of
from ismpack.formats.shapes import text_like
from ismpack.formats.tools import function_call
from ismpack.formats.transcripts.turn_marks import Marks, Turn, is_prompt, split
from ismpack.formats.values import decode_text

_MARKS = Marks(
    name="Glaive",
    start=re.compile(r"USER:"),
    # A name opens a turn only after an empty line: there are texts with such a name at the start of a line.
    opening=re.compile(r"(?:\A|(?<=\n\n))(USER|ASSISTANT|FUNCTION RESPONSE):"),
    roles={"USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": "tool"},
    closings=("<|endoftext|>",),
)

_SYSTEM = "SYSTEM:"
_LEAD_IN = "You are a helpful assistant with access to the following functions. Use them if required -"
"""What stands before the functions of every record that has some. It goes with them into the tool definitions."""

_CALL = "<functioncall>"
_CALL_WITH_QUOTED_ARGUMENTS = re.compile(
    r"""\{\s*+"name"\s*+:\s*+("(?:[^"\\]|\\.)*+")\s*+,\s*+"arguments"\s*+:\s*+'(.*)'\s*+\}""", re.DOTALL
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def _parse(record: dict[str, Json]) -> Conversation:
    """A function response answers the call before it; neither has an id."""
    around = _around(record)
    turns = split(text_in(record, "chat"), "$.chat", _MARKS)
    if is_prompt(turns[-1]) and turns[-1].word == "ASSISTANT":
        turns.pop()
    messages = [_message(turn) for turn in turns]
    return conversation({**record, **around}, messages, lambda _: "$.chat")


def _message(turn: Turn) -> Message:
    role = role_of(turn.word, _MARKS.roles, "$.chat")
    if role != "assistant":
        if turn.closing is not None:
            raise RecordError(
                f"a {role} turn ends with {turn.closing}, which closes what the assistant says",
                code="bad-messages",
                json_path="$.chat",
                hint="Part of another turn stands in it; mend the record or leave it out.",
            )
        return Message(role=role, content=turn.text)
    said, *calls = turn.text.split(_CALL)
    content = said.strip() if calls else said
    return Message(role=role, content=content or (None if calls else ""), tool_calls=tuple(map(_call, calls)))


def _call(text: str) -> ToolCall:
    """A call as JSON; most have their arguments as JSON between single quotes, in which \\' stands for a quote."""
    text = text.strip()
    try:
        return function_call(decode_text(text), "$.chat")
    except ValueError as error:
        quoted = _CALL_WITH_QUOTED_ARGUMENTS.fullmatch(text)
        if quoted is None:
            raise _bad_call(f"the text of a function call is not JSON: {error}") from None
    try:
        name = decode_text(quoted[1])
    except ValueError as error:
        raise _bad_call(f"the name in a function call is not JSON: {error}") from None
    arguments = _ESCAPE.sub(lambda escape: "'" if escape[1] == "'" else escape[0], quoted[2])
    return function_call({"name": name, "arguments": arguments}, "$.chat")


def _around(record: dict[str, Json]) -> dict[str, Json]:
    """The system text and the tools that `system` holds, as other formats have them."""
    system = text_in(record, "system").removeprefix(_SYSTEM).strip()
    if not system.startswith(_LEAD_IN):
        return {"system": system}
    rest = system.removeprefix(_LEAD_IN)
    tools, end = _definitions(rest)
    if tools and record.get("tools") is not None:
        raise RecordError("both system and tools define tools", code="bad-tools", json_path="$.tools")
    if not tools:
        return {"system": system}
    return {"system": rest[end:].strip(), "tools": tools}


def _definitions(text: str) -> tuple[list[Json], int]:
    """The JSON objects with which a text begins, one after another, and where they end."""
    definitions: list[Json] = []
    decoder, end = json.JSONDecoder(), 0
    while (start := _after_blanks(text, end)) < len(text) and text[start] == "{":
        try:
            _, end = decoder.raw_decode(text, start)
            definition = decode_text(text[start:end])
        except (ValueError, RecursionError) as error:
            raise _bad_tools(f"a function definition is not JSON: {error}") from None
        if not isinstance(definition, dict) or not {"name", "function"} & definition.keys():
            raise _bad_tools("a function definition has no name")
        definitions.append(definition)
    return definitions, end


_BLANKS = re.compile(r"\s*+")


def _after_blanks(text: str, start: int) -> int:
    blanks = _BLANKS.match(text, start)
    return blanks.end() if blanks else start


def _bad_call(message: str) -> RecordError:
    hint = f"""A call is {_CALL} {{"name": ..., "arguments": '{{...}}'}}, the last thing in its turn."""
    return RecordError(message, code="bad-tool-call", json_path="$.chat", hint=hint)


def _bad_tools(message: str) -> RecordError:
    hint = "After the sentence that announces them, functions are JSON objects with name and parameters."
    return RecordError(message, code="bad-tools", json_path="$.system", hint=hint)


GLAIVE = Format(
    name="glaive",
    title="Glaive function calling: system with functions, chat as text with USER, ASSISTANT and FUNCTION RESPONSE",
    keys={"system": text_like("text that begins with SYSTEM:", rf"\A{_SYSTEM}"), "chat": _MARKS.shape},
    optional=tuple(key for key in AROUND_KEYS if key != "system"),
    datasets=("glaiveai/glaive-function-calling-v2",),
    example={
        "system": f'{_SYSTEM} {_LEAD_IN}\n{{"name": "capital_of", "parameters": {{}}}}',
        "chat": "USER: What is the capital of Peru?\n\n\nASSISTANT: Lima. <|endoftext|>\n\n\n",
    },
    parse=_parse,
)
