"""How a conversation is spelled for one template: the dicts that Jinja sees.

Templates disagree on two points. Some read message content as text, some as a list of parts, some as both; some print
tool arguments as an object, some as text. A template cannot be asked, so it is tried once on a tiny conversation.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ismpack.data import ROLES, Conversation, Message, Role, ToolCall
from ismpack.errors import RecordError
from ismpack.templates.environment import ChatTemplate

_OWN_KEYS = frozenset(("role", "content", "tool_calls", "name", "tool_call_id", "reasoning_content", "thinking"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What a template expects.

    Attributes:
        text_roles: Roles whose content it reads as a string.
        part_roles: Roles whose content it reads as a list of `{"type": "text", "text": ...}`.
        text_arguments: Wants tool arguments as JSON text instead of an object.
    """

    text_roles: frozenset[Role]
    part_roles: frozenset[Role]
    text_arguments: bool


def find_dialect(template: ChatTemplate) -> Dialect:
    """Try the template on one message of each role and kind, and on one tool call of each kind."""
    as_text = frozenset(role for role in ROLES if _prints_probe(template, _chat(role, "probe"), odd="'type'"))
    parts = [{"type": "text", "text": "probe"}]
    as_parts = frozenset(role for role in ROLES if _prints_probe(template, _chat(role, parts), odd="'type'"))
    as_object = _prints_probe(template, _call({"key": "probe"}), odd="{'key'")
    as_string = _prints_probe(template, _call('{"key": "probe"}'), odd='\\"key')
    return Dialect(
        text_roles=as_text | (frozenset(ROLES) - as_parts),
        part_roles=as_parts,
        text_arguments=as_string and not as_object,
    )


def template_messages(conversation: Conversation, dialect: Dialect) -> list[dict[str, Any]]:
    """The conversation's messages as the template reads them.

    Values that are None are left out and reasoning is given under both of its names, as transformers does.
    """
    return [template_message(message, dialect) for message in conversation.messages]


def template_message(message: Message, dialect: Dialect) -> dict[str, Any]:
    """One message as the template reads it."""
    out: dict[str, Any] = {"role": message.role}
    if message.content is not None:
        out["content"] = _content(message.role, message.content, dialect)
    if message.tool_calls:
        out["tool_calls"] = [_tool_call(call, dialect) for call in message.tool_calls]
    if message.name is not None:
        out["name"] = message.name
    if message.tool_call_id is not None:
        out["tool_call_id"] = message.tool_call_id
    if message.extra.keys() & _OWN_KEYS:
        raise RecordError(
            f"a message has {' and '.join(sorted(message.extra.keys() & _OWN_KEYS))} among its other keys",
            code="bad-message",
        )
    out.update(message.extra)
    if message.reasoning is not None:
        out["reasoning_content"] = out["thinking"] = message.reasoning
    return out


def _content(role: Role, content: str | tuple[str, ...], dialect: Dialect) -> str | list[dict[str, str]]:
    if isinstance(content, tuple) and role not in dialect.part_roles:
        return "".join(content)
    if isinstance(content, str) and role in dialect.text_roles:
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


def _chat(role: Role, content: object) -> list[dict[str, Any]]:
    """The shortest usual conversation that ends with, or opens with, a message of this role."""
    message = {"role": role, "content": content}
    question = {"role": "user", "content": content if role == "assistant" else "question"}
    if role in ("system", "developer"):
        return [message, question]
    if role == "tool":
        return [*_call({"key": "value"}), message | {"name": "look_up", "tool_call_id": "call00001"}]
    return [message] if role == "user" else [question, message]


def _call(arguments: object) -> list[dict[str, Any]]:
    function = {"name": "look_up", "arguments": arguments}
    # Nine letters or digits: Mistral's templates refuse any other id.
    call = {"id": "call00001", "type": "function", "function": function}
    return [{"role": "user", "content": "question"}, {"role": "assistant", "content": "", "tool_calls": [call]}]


def _prints_probe(template: ChatTemplate, messages: list[dict[str, Any]], *, odd: str) -> bool:
    """Whether the probe is printed, and not as Python's or doubly encoded spelling (`odd`)."""
    try:
        text = template.render(messages)
    except RecordError:
        return False
    return "probe" in text and odd not in text
