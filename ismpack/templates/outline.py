"""What of a conversation is data and what is its shape, as a template sees it.

The *leaves* of a conversation are its texts and JSON values in a fixed order. Its *key* is everything else: roles,
which fields there are, how many parts and calls, numbers and truth values. Conversations with equal keys differ in
nothing but the leaves, so a source (leaf 3, stripped) means the same in all of them.

A JSON value that only the template's author can know (tool definitions and arguments, values of extra keys) is one
leaf, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple, TypeAlias

from ismpack.data import Conversation, Json, Message, Origin
from ismpack.templates.dialect import Dialect, template_message
from ismpack.templates.marks import TemplateMessage

TOOLS = -1
"""Message index of leaves that belong to no message: tool definitions and template arguments."""


_SHORT = 64


class Owner(NamedTuple):
    """Whose data a leaf is.

    Attributes:
        message: Index of its message, or `TOOLS`.
        field: `content`, `reasoning_content`, `tool_calls`, `tools`; another key of a message; `template_args`.
        is_name: Whether it is the name of a called tool, which templates may repeat.
        origin: Who wrote it.
    """

    message: int
    field: str
    is_name: bool
    origin: Origin


class Outline(NamedTuple):
    """A conversation as shape and data.

    Attributes:
        keys: Shape of each message.
        rest: Shape of tool definitions and template arguments.
        leaves: The data: tool definitions and template arguments first, then message by message.
    """

    keys: tuple[Hashable, ...]
    rest: Hashable
    leaves: list[Any]

    @property
    def is_common(self) -> bool:
        """Whether the shape is one of few: a short chat of nothing but roles and texts."""
        return self.rest is None and len(self.keys) <= _SHORT and all(type(key) is str for key in self.keys)


WrapKeys: TypeAlias = Callable[[TemplateMessage, "frozenset[str]"], TemplateMessage]
"""Takes a message and those of its keys that are the record's own; gives the message to put there."""

_Visit: TypeAlias = Callable[[Json, str, bool], Any]
"""Takes a leaf, its field and whether it is a tool's name; gives what to put there."""


def outline(conversation: Conversation, dialect: Dialect) -> Outline:
    """The conversation's shape and leaves."""
    leaves: list[Any] = []
    rest: Hashable = None
    if conversation.tools or conversation.template_args:
        rest = _frozen(_rest(conversation, _collector(leaves)))
    text_roles = dialect.text_roles
    keys: list[Hashable] = []
    add_key, add_leaf = keys.append, leaves.append  # every message passes here
    for message in conversation.messages:
        content = message.content
        if (
            type(content) is str
            and message.role in text_roles
            and message.reasoning is None
            and not message.tool_calls
            and message.name is None
            and message.tool_call_id is None
            and message.loss is None
            and not message.extra
        ):
            add_key(message.role)  # nearly all messages
            add_leaf(content)
        else:
            add_key(_message_key(message, dialect, _collector(leaves)))
    return Outline(tuple(keys), rest, leaves)


def visit_leaves(
    conversation: Conversation,
    dialect: Dialect,
    wrap: Callable[[Json, Owner], Any],
    wrap_keys: WrapKeys = lambda message, _: message,
) -> tuple[list[TemplateMessage], list[Any] | None, dict[str, Any]]:
    """Messages, tool definitions and template arguments as the template reads them, each leaf replaced.

    Leaves come in the order of `outline`.
    """

    def visitor(message: int, origin: Origin) -> _Visit:
        return lambda value, field, is_name: wrap(value, Owner(message, field, is_name, origin))

    tools, args = _rest(conversation, visitor(TOOLS, Origin.DATA))
    messages = []
    for i, message in enumerate(conversation.messages):
        origin = Origin.ASSISTANT if message.role == "assistant" else Origin.DATA
        visited = _visit_message(message, dialect, visitor(i, origin))
        messages.append(wrap_keys(visited, frozenset(message.extra)) if message.extra else visited)
    return messages, tools, args


def _rest(conversation: Conversation, visit: _Visit) -> tuple[list[Any] | None, dict[str, Any]]:
    tools = [visit(tool, "tools", False) for tool in conversation.tools] if conversation.tools else None
    return tools, {key: _visit_any(value, "template_args", visit) for key, value in conversation.template_args.items()}


def _visit_message(message: Message, dialect: Dialect, visit: _Visit) -> TemplateMessage:
    out: TemplateMessage = {}
    for key, value in template_message(message, dialect).items():
        if key == "role":
            out[key] = value
        elif key == "content" and isinstance(value, list):
            out[key] = [{**part, "text": visit(part["text"], key, False)} for part in value]
        elif key == "tool_calls":
            out[key] = [_visit_call(call, visit) for call in value]
        elif key == "thinking" and message.reasoning is not None:
            out[key] = out["reasoning_content"]  # one text under two names
        else:
            out[key] = _visit_any(value, key, visit)
    return out


def _visit_call(call: Mapping[str, Any], visit: _Visit) -> dict[str, Any]:
    function = call["function"]
    named = {
        "name": visit(function["name"], "tool_calls", True),
        "arguments": visit(function["arguments"], "tool_calls", False),
    }
    identity = {"id": visit(call["id"], "id", False)} if "id" in call else {}
    return {**identity, "type": call["type"], "function": named}


def _visit_any(value: Json, field: str, visit: _Visit) -> Any:
    return visit(value, field, False) if isinstance(value, (str, dict, list)) else value


def _message_key(message: Message, dialect: Dialect, visit: _Visit) -> Hashable:
    return (message.loss, message.reasoning is None, _frozen(_visit_message(message, dialect, visit)))


def _collector(leaves: list[Any]) -> _Visit:
    def collect(value: Json, _: str, __: bool) -> type:
        leaves.append(value)
        return type(value)

    return collect


def _frozen(value: Any) -> Hashable:
    """A value as something that can be a key, with 1, 1.0 and true told apart, and 0.0 and -0.0."""
    if isinstance(value, dict):
        return tuple([(key, _frozen(item)) for key, item in value.items()])
    if isinstance(value, (list, tuple)):
        return ("list", *[_frozen(item) for item in value])
    return value if isinstance(value, (str, type)) else (type(value), repr(value))
