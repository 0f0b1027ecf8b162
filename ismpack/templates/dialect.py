"""How a conversation is spelled for one template: the dicts that Jinja sees.

Templates disagree on two points. Some read message content as text, some as a list of parts, some as both; some print
tool arguments as an object, some as text. A template cannot be asked, so it is tried once on a tiny conversation.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ismpack.data import Conversation, Message, ToolCall
from ismpack.errors import RecordError
from ismpack.templates.environment import ChatTemplate


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What a template expects.

    Attributes:
        text_content: Reads content that is a string.
        part_content: Reads content that is a list of `{"type": "text", "text": ...}`.
        text_arguments: Wants tool arguments as JSON text instead of an object.
    """

    text_content: bool
    part_content: bool
    text_arguments: bool


def find_dialect(template: ChatTemplate) -> Dialect:
    """Try the template on one user message of each kind and on one tool call of each kind."""
    text, parts = ("probe", [{"type": "text", "text": "probe"}])
    reads_text = _prints_probe(template, [{"role": "user", "content": text}], odd="'type'")
    reads_parts = _prints_probe(template, [{"role": "user", "content": parts}], odd="'type'")
    as_object = _prints_probe(template, _call({"key": "probe"}), odd="{'key'")
    as_text = _prints_probe(template, _call('{"key": "probe"}'), odd='\\"key')
    return Dialect(
        text_content=reads_text or not reads_parts,
        part_content=reads_parts,
        text_arguments=as_text and not as_object,
    )


def template_messages(conversation: Conversation, dialect: Dialect) -> list[dict[str, Any]]:
    """The conversation's messages as the template reads them.

    Values that are None are left out and reasoning is given under both of its names, as transformers does.
    """
    return [_template_message(message, dialect) for message in conversation.messages]


def _template_message(message: Message, dialect: Dialect) -> dict[str, Any]:
    out: dict[str, Any] = {"role": message.role}
    if message.content is not None:
        out["content"] = _content(message.content, dialect)
    if message.tool_calls:
        out["tool_calls"] = [_tool_call(call, dialect) for call in message.tool_calls]
    if message.name is not None:
        out["name"] = message.name
    if message.tool_call_id is not None:
        out["tool_call_id"] = message.tool_call_id
    out.update(message.extra)
    if message.reasoning is not None:
        out["reasoning_content"] = out["thinking"] = message.reasoning
    return out


def _content(content: str | tuple[str, ...], dialect: Dialect) -> str | list[dict[str, str]]:
    if isinstance(content, tuple) and not dialect.part_content:
        return "".join(content)
    if isinstance(content, str) and dialect.text_content:
        return content
    return [{"type": "text", "text": text} for text in ([content] if isinstance(content, str) else content)]


def _tool_call(call: ToolCall, dialect: Dialect) -> dict[str, Any]:
    arguments: object = call.arguments
    if dialect.text_arguments:
        if call.arguments_text is not None:
            arguments = call.arguments_text
        elif not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
    identity = {} if call.id is None else {"id": call.id}
    return {**identity, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _call(arguments: object) -> list[dict[str, Any]]:
    function = {"name": "look_up", "arguments": arguments}
    return [
        {"role": "user", "content": "question"},
        # Nine letters or digits: Mistral's templates refuse any other id.
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call00001", "type": "function", "function": function}],
        },
    ]


def _prints_probe(template: ChatTemplate, messages: list[dict[str, Any]], *, odd: str) -> bool:
    """Whether the probe is printed, and not as Python's or doubly encoded spelling (`odd`)."""
    try:
        text = template.render(messages)
    except RecordError:
        return False
    return "probe" in text and odd not in text
