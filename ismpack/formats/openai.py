"""OpenAI's chat format and what grew out of it: a list of messages with role and content."""

from __future__ import annotations

from ismpack.data import Conversation, Json
from ismpack.formats.format import Format
from ismpack.formats.message import Dialect, parse_messages
from ismpack.formats.record import AROUND_KEYS, conversation, message_list
from ismpack.formats.shapes import objects

DIALECT = Dialect(
    role_key="role",
    content_key="content",
    roles={
        "system": "system",
        "developer": "developer",
        "user": "user",
        "assistant": "assistant",
        "tool": "tool",
        "function": "tool",
    },
)


def _parse(record: dict[str, Json]) -> Conversation:
    items = message_list(record.get("messages"), "$.messages")
    messages = parse_messages(items, "$.messages", DIALECT)
    return conversation(record, messages, lambda index: f"$.messages[{index}].content")


MESSAGES = Format(
    name="messages",
    title="OpenAI chat: messages with role and content, tool calls, reasoning and loss flags",
    keys={"messages": objects("role")},
    optional=AROUND_KEYS,
    example={
        "messages": [
            {"role": "user", "content": "What is the capital of Peru?"},
            {"role": "assistant", "content": "Lima."},
        ]
    },
    parse=_parse,
)
