"""Lists of messages with role and content under another key than `messages`."""

from __future__ import annotations

from dataclasses import replace

from ismpack.data import Conversation, Json
from ismpack.formats.chat.openai import DIALECT
from ismpack.formats.dialect import Dialect
from ismpack.formats.format import Format
from ismpack.formats.message import parse_messages, text_paths
from ismpack.formats.record import AROUND_KEYS, conversation, message_list
from ismpack.formats.shapes import objects
from ismpack.formats.verdicts import VERDICT_KEYS, refuse_undesired


def _format(key: str, name: str, dialect: Dialect, datasets: tuple[str, ...]) -> Format:
    def parse(record: dict[str, Json]) -> Conversation:
        refuse_undesired(record)
        items = message_list(record.get(key), f"$.{key}")
        messages = parse_messages(items, f"$.{key}", dialect)
        return conversation(record, messages, text_paths(items, f"$.{key}", dialect))

    return Format(
        name=name,
        title=f"{key} with role and content",
        keys={key: objects("role", "content")},
        optional=(*VERDICT_KEYS, *AROUND_KEYS),
        datasets=datasets,
        example={
            key: [
                {"role": "user", "content": "What is the capital of Peru?"},
                {"role": "assistant", "content": "Lima."},
            ]
        },
        parse=parse,
    )


_ABOUT_WILDCHAT = frozenset(
    (
        "country",
        "hashed_ip",
        "header",
        "language",
        "openai_id",
        "redacted",
        "state",
        "temperature",
        "timestamp",
        "top_p",
        "toxic",
        "turn_identifier",
    )
)
"""What WildChat says of a message; a template has no use for it, and some of it is about a person."""

MESSAGE_LISTS = (
    _format(
        "conversation",
        "conversation-messages",
        replace(DIALECT, metadata=_ABOUT_WILDCHAT),
        ("LMSYS-Chat-1M", "WildChat"),
    ),
    _format("conversations", "conversations-messages", DIALECT, ("ms-swift ToolBench",)),
    _format(
        "chat_rounds",
        "chat-rounds",
        replace(
            DIALECT,
            roles={**DIALECT.roles, "human": "user", "bot": "assistant"},
            metadata=frozenset(("chat_round_id",)),
        ),
        ("CodeFuse MFTCoder",),
    ),
)
