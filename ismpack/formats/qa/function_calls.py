"""xLAM: a query, the tools on offer, and the calls that answer it, as JSON text.

Its tools list their parameters in a bare table of Python type words. Chat templates expect JSON Schema, so the table
becomes the properties of an object, and type words that mean exactly one JSON type are written as that; a parameter
is required unless its type says `, optional`. Any other type word is left as it is.
"""

from __future__ import annotations

import re

from ismpack.data import Conversation, Json, Message, ToolCall
from ismpack.errors import RecordError
from ismpack.formats.format import Format
from ismpack.formats.record import AROUND_KEYS, conversation, text_in
from ismpack.formats.shapes import LIST, TEXT, either
from ismpack.formats.tools import calls_in_text, function_call, tool_definitions
from ismpack.formats.transcripts.rendered_prompts import PLAIN_QUESTION

_TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "dict": "object",
    "list": "array",
    "set": "array",
    "tuple": "array",
}
_GENERIC = re.compile(r"(List\[|list\[|Set\[|set\[|[Dd]ict\[str, )(.*)\]")
_LONGEST_TYPE = 100
"""Type words nest; no real one is longer."""


def _parse(record: dict[str, Json]) -> Conversation:
    messages = [
        Message(role="user", content=text_in(record, "query")),
        Message(role="assistant", content=None, tool_calls=_answers(record.get("answers"))),
    ]
    tools = [_definition(tool) for tool in tool_definitions(record.get("tools"), "$.tools") or ()]
    return conversation({**record, "tools": tools}, messages, lambda index: ("$.query", "$.answers")[index])


def _answers(value: Json) -> tuple[ToolCall, ...]:
    """No call at all is an empty answer, which `conversation` refuses."""
    path = "$.answers"
    if isinstance(value, list):
        return tuple(function_call(call, f"{path}[{index}]") for index, call in enumerate(value))
    if isinstance(value, str) and "".join(value.split()) in ("", "[]"):
        return ()
    return calls_in_text(value, path)


def _definition(tool: dict[str, Json]) -> Json:
    """A tool definition whose parameters are JSON Schema."""
    function = tool.get("function")
    if not isinstance(function, dict):
        return tool
    parameters = function.get("parameters")
    if not isinstance(parameters, dict) or isinstance(parameters.get("type"), str):
        return tool
    if not all(isinstance(parameter, dict) for parameter in parameters.values()):
        raise RecordError(
            "the parameters of a tool are neither JSON Schema nor a table of parameters",
            code="bad-tools",
            json_path="$.tools",
            hint='A table is {"name": {"type": "str", "description": ...}}.',
        )
    return {**tool, "function": {**function, "parameters": _schema(parameters)}}


def _schema(table: dict[str, Json]) -> dict[str, Json]:
    properties: dict[str, Json] = {}
    required: list[Json] = []
    for name, parameter in table.items():
        if not isinstance(parameter, dict):
            continue
        word = parameter.get("type")
        is_optional = isinstance(word, str) and word.endswith(", optional")
        if not is_optional:
            required.append(name)
        meaning = _json_type(word.removesuffix(", optional")) if isinstance(word, str) else None
        properties[name] = {**parameter, **(meaning or {})}
    schema: dict[str, Json] = {"type": "object", "properties": properties}
    return {**schema, "required": required} if required else schema


def _json_type(word: str) -> dict[str, Json] | None:
    """The JSON Schema that a Python type word means, or None where none means exactly that."""
    word = word.strip()
    if word.lower() in _TYPES:
        return {"type": _TYPES[word.lower()]}
    generic = _GENERIC.fullmatch(word) if len(word) <= _LONGEST_TYPE else None
    if generic is None:
        return None
    kind, key = ("object", "additionalProperties") if generic[1].endswith(", ") else ("array", "items")
    held = _json_type(generic[2])
    if held is None:
        return {"type": kind} if generic[2] == "Any" else None
    return {"type": kind, key: held}


FUNCTION_CALLS = Format(
    name="function-calls",
    title="xLAM: query, tools, and answers that are calls, both as JSON text",
    keys={"query": PLAIN_QUESTION, "answers": either(TEXT, LIST), "tools": either(TEXT, LIST)},
    optional=tuple(key for key in AROUND_KEYS if key != "tools"),
    datasets=("xLAM function calling 60k",),
    example={
        "query": "How warm is it in Lima?",
        "tools": '[{"name": "warmth", "description": "", "parameters": {"city": {"type": "str", "description": ""}}}]',
        "answers": '[{"name": "warmth", "arguments": {"city": "Lima"}}]',
    },
    parse=_parse,
)
