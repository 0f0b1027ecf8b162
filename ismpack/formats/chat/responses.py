"""OpenAI's Responses API: items that are messages, thinking, calls and their results.

An answer is spread over items: `reasoning`, a message, `function_call`s. What stands together is one assistant message;
a second text begins another one.
"""

from __future__ import annotations

from collections.abc import Sequence

from ismpack.data import Conversation, Json, Message, Role, ToolCall
from ismpack.errors import RecordError
from ismpack.formats.format import Format
from ismpack.formats.parts import (
    Part,
    Placed,
    Text,
    Thinking,
    bad_content,
    content_parts,
    messages_of,
    not_text,
    texts_of,
)
from ismpack.formats.record import message_list, placed_conversation, text_or_parts
from ismpack.formats.roles import role_of
from ismpack.formats.shapes import TEXT, Shape, either, objects
from ismpack.formats.tools import function_call
from ismpack.formats.values import kind_of, shown

ITEM_TYPES = ("message", "reasoning", "function_call", "function_call_output")


def _has_typed_item(value: Json) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) and item.get("type") in ITEM_TYPES for item in value)


_ROLES: dict[str, Role] = {"system": "system", "developer": "developer", "user": "user", "assistant": "assistant"}

TYPED_ITEMS = Shape(f"list of items, one of them of type {', '.join(ITEM_TYPES)}", _has_typed_item)
ITEMS = either(objects("role"), TYPED_ITEMS)


def responses_conversation(
    record: dict[str, Json], path: str = "$", output: Json = None, output_path: str = "$.output"
) -> Conversation:
    """The conversation of a request, and of the output that answers it.

    Args:
        record: The object with `input`, and perhaps `instructions` and `tools`.
        path: Its JSON path.
        output: The items of the answer, if there are any.
        output_path: Their JSON path.
    """
    said: list[tuple[str, Role, Part]] = []
    instructions = text_or_parts(record.get("instructions"), f"{path}.instructions")
    if instructions is not None:
        said.append((f"{path}.instructions", "system", instructions))
    asked = record.get("input")
    if isinstance(asked, str):
        said.append((f"{path}.input", "user", asked))
    else:
        said += _parts_of(asked, f"{path}.input")
    if output is not None:
        said += _parts_of(output, output_path)
    return placed_conversation(record, _messages(said), path=path)


def _messages(said: Sequence[tuple[str, Role, Part]]) -> list[Placed]:
    """Messages of parts: an assistant's parts are one message up to its second text, all others are one each."""
    placed: list[Placed] = []
    answer: list[tuple[str, Part]] = []
    for path, role, part in said:
        second = isinstance(part, str | tuple) and any(isinstance(old, str | tuple) for _, old in answer)
        if answer and (role != "assistant" or second):
            placed += messages_of("assistant", answer)
            answer = []
        if role == "assistant":
            answer.append((path, part))
        else:
            placed += messages_of(role, [(path, part)])
    return placed + messages_of("assistant", answer)


def _parts_of(items: Json, path: str) -> list[tuple[str, Role, Part]]:
    return [_item(item, f"{path}[{index}]") for index, item in enumerate(message_list(items, path))]


def _item(item: Json, path: str) -> tuple[str, Role, Part]:
    if not isinstance(item, dict):
        raise RecordError(f"an item is {kind_of(item)}, not an object", code="bad-message", json_path=path)
    kind = item.get("type")
    if kind == "message" or (kind is None and item.get("role") is not None):
        return _message(item, path)
    if kind == "reasoning":
        return path, "assistant", _reasoning(item, path)
    if kind == "function_call":
        return path, "assistant", _call(item, path)
    if kind == "function_call_output":
        return f"{path}.output", "tool", _result(item, path)
    if not isinstance(kind, str):
        raise RecordError("an item has neither type nor role", code="bad-message", json_path=path)
    raise RecordError(
        f"an item has type {shown(kind)}, which chat messages cannot say",
        code="bad-message",
        json_path=f"{path}.type",
        hint=f"Known types: {', '.join(ITEM_TYPES)}.",
    )


def _message(item: dict[str, Json], path: str) -> tuple[str, Role, Text]:
    role = role_of(item.get("role"), _ROLES, f"{path}.role")
    content, place = item.get("content"), f"{path}.content"
    if isinstance(content, str):
        return place, role, content
    if not isinstance(content, list) or not content:
        raise bad_content(
            f"the content of a message is {kind_of(content) if content != [] else 'an empty list'}", place
        )
    texts: list[str] = []
    for where, part in content_parts(content, role, place):
        if not isinstance(part, tuple):
            raise bad_content("a content part is not text", where)
        texts += part
    return place, role, tuple(texts)


def _reasoning(item: dict[str, Json], path: str) -> Thinking | None:
    """The thinking itself where the model shows it, else its summary; encrypted thinking is none."""
    for key, kind in (("content", "reasoning_text"), ("summary", "summary_text")):
        parts = item.get(key)
        if parts in (None, []):
            continue
        if not isinstance(parts, list):
            raise bad_content(f"{key} of an item is {kind_of(parts)}, not a list", f"{path}.{key}")
        return Thinking("\n\n".join(_typed_texts(parts, kind, f"{path}.{key}")))
    return None


def _typed_texts(parts: list[Json], kind: str, path: str) -> list[str]:
    texts: list[str] = []
    for index, part in enumerate(parts):
        if not isinstance(part, dict):
            raise bad_content(f"a {kind} is {kind_of(part)}, not an object", f"{path}[{index}]")
        if part.get("type") != kind:
            raise not_text(str(part.get("type")), f"{path}[{index}]")
        text = part.get("text")
        if not isinstance(text, str):
            raise bad_content(f"the text of a {kind} is {kind_of(text)}", f"{path}[{index}].text")
        texts.append(text)
    return texts


def _call(item: dict[str, Json], path: str) -> ToolCall:
    return function_call(item, path, _call_id(item, path))


def _result(item: dict[str, Json], path: str) -> Message:
    output, place = item.get("output"), f"{path}.output"
    if not isinstance(output, str | list):
        raise bad_content(f"the output of a function call is {kind_of(output)}", place)
    content = output if isinstance(output, str) else texts_of(output, place)
    return Message(role="tool", content=content, tool_call_id=_call_id(item, path))


def _call_id(item: dict[str, Json], path: str) -> str | None:
    call_id = item.get("call_id")
    if not isinstance(call_id, str | None):
        message = f"call_id of an item is {kind_of(call_id)}, not text"
        raise RecordError(message, code="bad-tool-call", json_path=f"{path}.call_id")
    return call_id


def _parse(record: dict[str, Json]) -> Conversation:
    return responses_conversation(record, output=record.get("output"))


_OPTIONAL = ("instructions", "tools")

RESPONSES = Format(
    name="responses",
    title="OpenAI Responses API: input as text or items, and output items",
    keys={"input": either(TEXT, ITEMS), "output": TYPED_ITEMS},
    optional=_OPTIONAL,
    datasets=("OpenAI Responses API",),
    example={
        "input": "What is the capital of Peru?",
        "output": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Lima."}]},
        ],
    },
    parse=_parse,
)

RESPONSES_INPUT = Format(
    name="responses-input",
    title="A request of the OpenAI Responses API: input items, of which the last ones may be the answer",
    keys={"input": TYPED_ITEMS},
    without=("output", "preferred_output"),
    optional=_OPTIONAL,
    datasets=("OpenAI Responses API requests",),
    example={
        "input": [
            {"role": "user", "content": "What is the capital of Peru?"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Lima."}]},
        ]
    },
    parse=_parse,
)
