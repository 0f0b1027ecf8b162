"""OpenAI's chat format and what grew out of it: a list of messages with role and content."""

from __future__ import annotations

from ismpack.data import Conversation, Json
from ismpack.formats.format import Format
from ismpack.formats.message import Dialect, parse_messages
from ismpack.formats.record import conversation, is_message_list, message_list

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


def _matches(record: dict[str, Json]) -> bool:
    return is_message_list(record.get("messages"), DIALECT.role_key)


def _parse(record: dict[str, Json]) -> Conversation:
    items = message_list(record.get("messages"), "$.messages")
    messages = parse_messages(items, "$.messages", DIALECT)
    return conversation(record, messages, lambda index: f"$.messages[{index}].content")


MESSAGES = Format(
    name="messages",
    title="OpenAI chat: messages with role and content, tool calls, reasoning and loss flags",
    keys=("messages",),
    optional=("tools", "functions", "system", "system_prompt", "chat_template_kwargs"),
    example={
        "messages": [
            {"role": "user", "content": "What is the capital of Peru?"},
            {"role": "assistant", "content": "Lima."},
        ]
    },
    matches=_matches,
    parse=_parse,
)
