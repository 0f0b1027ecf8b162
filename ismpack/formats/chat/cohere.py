"""A log of Cohere's first chat API: the request's preamble, history and message, and the response's text."""

from __future__ import annotations

from ismpack.data import Conversation, Json, Message, Role, ToolCall
from ismpack.errors import RecordError
from ismpack.formats.format import Format
from ismpack.formats.parts import Part, Placed, bad_content, messages_of
from ismpack.formats.record import AROUND_KEYS, placed_conversation, text_at, text_in
from ismpack.formats.roles import role_of
from ismpack.formats.shapes import LIST, TEXT
from ismpack.formats.tools import function_call
from ismpack.formats.values import json_text, kind_of

_ROLES: dict[str, Role] = {"USER": "user", "CHATBOT": "assistant", "SYSTEM": "system", "TOOL": "tool"}


def _parse(record: dict[str, Json]) -> Conversation:
    placed: list[Placed] = []
    if record.get("preamble") not in (None, ""):
        placed.append(("$.preamble", Message(role="system", content=text_in(record, "preamble"))))
    history = record.get("chat_history")
    if not isinstance(history, list):
        message = f"chat_history is {kind_of(history)}, not a list"
        raise RecordError(message, code="bad-messages", json_path="$.chat_history")
    for index, item in enumerate(history):
        placed += _item(item, f"$.chat_history[{index}]")
    now = [*_question(record), *_answer(record)]
    if len(now) > 1 and [message for _, message in placed[-len(now) :]] == [message for _, message in now]:
        raise RecordError(
            "chat_history ends with the same message and text",
            code="bad-messages",
            json_path="$.chat_history",
            hint="A response's history holds its own turn: keep that of the request, or remove message and text.",
        )
    return placed_conversation(record, [*placed, *now])


def _question(record: dict[str, Json]) -> list[Placed]:
    """What is asked: the message, or results of tools with an empty message."""
    results = _results(record.get("tool_results"), "$.tool_results")
    message = text_in(record, "message")
    return [*results, *([("$.message", Message(role="user", content=message))] if message or not results else [])]


def _answer(record: dict[str, Json]) -> list[Placed]:
    text = record.get("text")
    parts: list[tuple[str, Part]] = []
    if text is not None:
        parts.append(("$.text", text_in(record, "text")))
    parts += [("$.tool_calls", call) for call in _calls(record.get("tool_calls"), "$.tool_calls")]
    return messages_of("assistant", parts)


def _item(item: Json, path: str) -> list[Placed]:
    if not isinstance(item, dict):
        raise RecordError(f"a message is {kind_of(item)}, not an object", code="bad-message", json_path=path)
    role = role_of(item.get("role"), _ROLES, f"{path}.role")
    if role == "tool":
        results = _results(item.get("tool_results"), f"{path}.tool_results")
        if not results:
            raise bad_content("a tool message has no tool_results", f"{path}.tool_results")
        return results
    calls = _calls(item.get("tool_calls"), f"{path}.tool_calls")
    if calls and role != "assistant":
        raise RecordError(f"a {role} message has tool_calls", code="bad-tool-call", json_path=f"{path}.tool_calls")
    parts: list[tuple[str, Part]] = []
    if not calls or item.get("message") is not None:
        parts.append((f"{path}.message", text_at(item.get("message"), f"{path}.message")))
    return messages_of(role, [*parts, *((f"{path}.tool_calls", call) for call in calls)])


def _calls(value: Json, path: str) -> list[ToolCall]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise RecordError(f"tool_calls is {kind_of(value)}, not a list", code="bad-tool-call", json_path=path)
    return [function_call(call, f"{path}[{index}]", arguments_key="parameters") for index, call in enumerate(value)]


def _results(value: Json, path: str) -> list[Placed]:
    """Each result repeats its call; its outputs are a list of objects, which becomes that list's JSON."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise bad_content(f"tool_results is {kind_of(value)}, not a list", path)
    placed: list[Placed] = []
    for index, result in enumerate(value):
        place = f"{path}[{index}]"
        if not isinstance(result, dict) or not isinstance(result.get("outputs"), list):
            raise bad_content("a tool result has no list of outputs", place)
        call = function_call(result.get("call"), f"{place}.call", arguments_key="parameters")
        placed.append((f"{place}.outputs", Message(role="tool", content=json_text(result["outputs"]), name=call.name)))
    return placed


COHERE_CHAT = Format(
    name="cohere-chat",
    title="Cohere API log: preamble, chat_history, message, and text as the answer",
    keys={"chat_history": LIST, "message": TEXT},
    optional=(*AROUND_KEYS, "preamble", "tool_results", "text", "tool_calls"),
    datasets=("Cohere Chat API v1",),
    example={"chat_history": [], "message": "What is the capital of Peru?", "text": "Lima."},
    parse=_parse,
)
