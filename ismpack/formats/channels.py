"""Harmony, the format of gpt-oss: an answer spread over messages in the channels analysis, commentary and final.

Thinking is a message in `analysis`. A call is a message to the recipient `functions.NAME`, its text the arguments. What
the user reads is in `final`, or in `commentary` before a call.
"""

from __future__ import annotations

from msgspec import structs

from ismpack.data import Json, Message
from ismpack.errors import RecordError
from ismpack.formats.tools import function_call
from ismpack.formats.values import kind_of

CHANNEL_KEYS = frozenset(("channel", "recipient", "content_type"))
"""Keys of a message that belong to its channel."""

_CHANNELS = ("analysis", "commentary", "final")
_NAMESPACE = "functions."


def has_channel(item: dict[str, Json]) -> bool:
    """Whether an item is a message in one of Harmony's channels."""
    return item.get("channel") in _CHANNELS


def is_channel_call(item: dict[str, Json]) -> bool:
    """Whether an assistant's message is a call."""
    return has_channel(item) and item.get("recipient") is not None


def in_channel(message: Message, item: dict[str, Json], path: str) -> Message:
    """A message as its channel and recipient mean it.

    Args:
        message: What the item says without them.
        item: The item of the record.
        path: Its JSON path.

    Raises:
        RecordError: `bad-message` or `bad-tool-call`.
    """
    if not has_channel(item):
        return message
    if message.role == "tool" and isinstance(item.get("name"), str):
        return structs.replace(message, name=str(item["name"]).removeprefix(_NAMESPACE))
    if message.role != "assistant" or message.content is None:
        return message
    text = message.content if isinstance(message.content, str) else "".join(message.content)
    if is_channel_call(item):
        recipient = item["recipient"]
        if not isinstance(recipient, str) or not recipient.removeprefix(_NAMESPACE).strip():
            what = "names no function" if isinstance(recipient, str) else f"is {kind_of(recipient)}, not text"
            raise RecordError(f"a recipient {what}", code="bad-tool-call", json_path=f"{path}.recipient")
        call = function_call({"name": recipient.removeprefix(_NAMESPACE), "arguments": text}, path)
        return structs.replace(message, content=None, tool_calls=(*message.tool_calls, call))
    if item["channel"] == "analysis":
        if message.reasoning is not None:
            raise RecordError("a message in analysis has thinking beside it", code="bad-message", json_path=path)
        return structs.replace(message, content=None, reasoning=text)
    return message
