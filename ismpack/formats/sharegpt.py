"""ShareGPT: a list of conversations with from and value, and LLaMA-Factory's tool roles in it."""

from __future__ import annotations

from ismpack.data import Conversation, Json
from ismpack.formats.format import Format
from ismpack.formats.message import Dialect, parse_messages
from ismpack.formats.record import AROUND_KEYS, conversation, message_list
from ismpack.formats.shapes import objects

DIALECT = Dialect(
    role_key="from",
    content_key="value",
    roles={
        "system": "system",
        "human": "user",
        "user": "user",
        "gpt": "assistant",
        "assistant": "assistant",
        "bot": "assistant",
        "model": "assistant",
        "chatgpt": "assistant",
        "function_call": "assistant",
        "observation": "tool",
        "tool": "tool",
        "function_response": "tool",
    },
    call_role="function_call",
)


def _parse(record: dict[str, Json]) -> Conversation:
    items = message_list(record.get("conversations"), "$.conversations")
    messages = parse_messages(items, "$.conversations", DIALECT)
    return conversation(record, messages, lambda index: f"$.conversations[{index}].value", wrap_tools=True)


SHAREGPT = Format(
    name="sharegpt",
    title="ShareGPT: conversations with from and value; function_call and observation for tools",
    keys={"conversations": objects("from")},
    optional=AROUND_KEYS,
    example={
        "conversations": [
            {"from": "human", "value": "What is the capital of Peru?"},
            {"from": "gpt", "value": "Lima."},
        ]
    },
    parse=_parse,
)
