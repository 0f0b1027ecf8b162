"""Google: Gemini's contents and parts, and the tuning data of PaLM before it."""

from __future__ import annotations

from ismpack.data import Conversation, Json, Message, Role, ToolCall
from ismpack.errors import RecordError
from ismpack.formats.dialect import Dialect
from ismpack.formats.format import Format
from ismpack.formats.message import parse_messages, text_paths
from ismpack.formats.parts import Part, Placed, Thinking, bad_content, messages_of, not_text
from ismpack.formats.record import (
    AROUND_KEYS,
    alternating,
    conversation,
    message_list,
    placed_conversation,
    text_in,
    text_or_parts,
)
from ismpack.formats.roles import role_of
from ismpack.formats.shapes import TEXT, objects
from ismpack.formats.tools import function_call
from ismpack.formats.values import json_text, kind_of, shown

_ROLES: dict[str, Role] = {"user": "user", "model": "assistant", "function": "tool"}
_SYSTEM_KEYS = ("systemInstruction", "system_instruction")
_CALL_KEYS = ("functionCall", "function_call")
_RESULT_KEYS = ("functionResponse", "function_response")
_ABOUT_PART = frozenset(("thought", "thoughtSignature", "thought_signature", "videoMetadata", "video_metadata"))


_LONGEST_KIND = 40
"""Characters of a key that a JSON path repeats; no kind of part has a longer one."""


def _parse_gemini(record: dict[str, Json]) -> Conversation:
    placed = _system(record)
    for index, item in enumerate(message_list(record.get("contents"), "$.contents")):
        path = f"$.contents[{index}]"
        if not isinstance(item, dict):
            raise RecordError(f"a content is {kind_of(item)}, not an object", code="bad-message", json_path=path)
        role = role_of(item.get("role"), _ROLES, f"{path}.role")
        said = messages_of(role, _parts(item.get("parts"), f"{path}.parts"))
        if not said:
            raise bad_content(f"the parts of a {role} message hold nothing to read", f"{path}.parts")
        placed += said
    return placed_conversation(record, placed)


def _system(record: dict[str, Json]) -> list[Placed]:
    """The system message; its role, if it names one, means nothing."""
    placed: list[Placed] = []
    for key in _SYSTEM_KEYS:
        value, path = record.get(key), f"$.{key}"
        if isinstance(value, dict):
            placed += messages_of("system", _parts(value.get("parts"), f"{path}.parts"))
        elif value not in (None, ""):
            text = text_or_parts(value, path)
            placed += [(path, Message(role="system", content=text))] if text is not None else []
    if len(placed) > 1:
        raise RecordError(
            f"the record has both {' and '.join(_SYSTEM_KEYS)}", code="bad-messages", json_path=placed[1][0]
        )
    return placed


def _parts(value: Json, path: str) -> list[tuple[str, Part]]:
    if not isinstance(value, list) or not value:
        what = "an empty list" if value == [] else kind_of(value)
        raise bad_content(f"the parts of a content are {what}", path)
    return [(f"{path}[{index}]", _part(part, f"{path}[{index}]")) for index, part in enumerate(value)]


def _part(part: Json, path: str) -> Part:
    """A part is an object with one key that says what it is; older clients write text alone."""
    if isinstance(part, str):
        return (part,)
    if not isinstance(part, dict):
        raise bad_content(f"a part is {kind_of(part)}, not an object", path)
    kinds = [key for key, value in part.items() if value is not None and key not in _ABOUT_PART]
    if len(kinds) != 1:
        what = f"has {' and '.join(map(shown, kinds[:4]))}" if kinds else "is empty"
        raise bad_content(f"a part {what}; one key says what it is", path)
    kind, value = kinds[0], part[kinds[0]]
    path = f"{path}.{kind}" if len(kind) <= _LONGEST_KIND else path
    if kind in _CALL_KEYS:
        return _call(value, path)
    if kind in _RESULT_KEYS:
        return _result(value, path)
    if kind != "text":
        raise not_text(kind, path)
    if not isinstance(value, str):
        raise bad_content(f"the text of a part is {kind_of(value)}", path)
    return Thinking(value) if part.get("thought") is True else (value,)


def _call(value: Json, path: str) -> ToolCall:
    """A call without `args` has no arguments."""
    if isinstance(value, dict) and value.get("args") is None:
        value = {**value, "args": {}}
    call_id = value.get("id") if isinstance(value, dict) else None
    return function_call(value, path, call_id if isinstance(call_id, str) else None, arguments_key="args")


def _result(value: Json, path: str) -> Message:
    """The response of a function is an object; as a message it is that object's JSON."""
    if not isinstance(value, dict):
        raise bad_content(f"a function response is {kind_of(value)}, not an object", path)
    name, response, call_id = value.get("name"), value.get("response"), value.get("id")
    if not isinstance(name, str):
        raise bad_content(f"the name of a function response is {kind_of(name)}", f"{path}.name")
    if response is None:
        raise bad_content("a function response has no response", f"{path}.response")
    content = response if isinstance(response, str) else json_text(response)
    return Message(role="tool", content=content, name=name, tool_call_id=call_id if isinstance(call_id, str) else None)


_PALM = Dialect(
    role_key="author", content_key="content", roles={"user": "user", "assistant": "assistant", "bot": "assistant"}
)


def _parse_palm(record: dict[str, Json]) -> Conversation:
    """`context` is the system text. `examples` would be part of it, in no way that a chat template could print."""
    if record.get("examples") not in (None, []):
        raise RecordError(
            "the record has examples beside its messages",
            code="bad-messages",
            json_path="$.examples",
            hint="Write the examples into the context, or remove them.",
        )
    items = message_list(record.get("messages"), "$.messages")
    messages = parse_messages(items, "$.messages", _PALM)
    context = text_or_parts(record.get("context"), "$.context")
    first = [Message(role="system", content=context)] if context is not None else []
    where = text_paths(items, "$.messages", _PALM)
    return conversation(record, [*first, *messages], lambda index: where(index - len(first)))


def _parse_palm_pair(record: dict[str, Json]) -> Conversation:
    return alternating(record, [(f"$.{key}", text_in(record, key)) for key in ("input_text", "output_text")])


GEMINI = Format(
    name="gemini",
    title="Gemini: contents with parts, systemInstruction, function calls (camelCase or snake_case)",
    keys={"contents": objects("parts")},
    optional=(*AROUND_KEYS, *_SYSTEM_KEYS),
    datasets=("Gemini tuning", "Gemini API"),
    example={
        "contents": [
            {"role": "user", "parts": [{"text": "What is the capital of Peru?"}]},
            {"role": "model", "parts": [{"text": "Lima."}]},
        ]
    },
    parse=_parse_gemini,
)

PALM_CHAT = Format(
    name="palm-chat",
    title="PaLM chat tuning: context, and messages with author and content",
    keys={"messages": objects("author", "content")},
    optional=(*AROUND_KEYS, "context", "examples"),
    datasets=("Vertex AI PaLM chat tuning",),
    example={
        "messages": [
            {"author": "user", "content": "What is the capital of Peru?"},
            {"author": "assistant", "content": "Lima."},
        ]
    },
    parse=_parse_palm,
)

PALM_TEXT = Format(
    name="palm-text",
    title="PaLM text tuning: input_text and output_text",
    keys={"input_text": TEXT, "output_text": TEXT},
    optional=AROUND_KEYS,
    datasets=("Vertex AI PaLM text tuning",),
    example={"input_text": "What is the capital of Peru?", "output_text": "Lima."},
    parse=_parse_palm_pair,
)
