"""What a record says around its messages, and the rules that every conversation meets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ismpack.data import Conversation, Json, Message, Role
from ismpack.errors import RecordError
from ismpack.formats.message import MEDIA_KEYS
from ismpack.formats.parts import Placed, Text, not_text, texts_of
from ismpack.formats.tools import tool_definitions
from ismpack.formats.values import decode_text, kind_of, shown

AROUND_KEYS: tuple[str, ...] = ("system", "system_prompt", "tools", "functions", "chat_template_kwargs")
"""Keys that every format reads beside its own."""

_OUR_TEMPLATE_ARGS = ("messages", "tools", "add_generation_prompt")


def conversation(
    record: dict[str, Json],
    messages: list[Message],
    content_path: Callable[[int], str],
    *,
    path: str = "$",
) -> Conversation:
    """A record's conversation, from its messages and from what stands around them.

    Args:
        record: The record, or the object in it that holds the conversation.
        messages: Its messages.
        content_path: Index of a message -> JSON path of its text.
        path: JSON path of `record`.

    Raises:
        RecordError: `bad-messages`, `bad-content`, `bad-tools`, `bad-template-args`, `unsupported-modality` or
            `empty-answer`.
    """
    if not messages:
        raise RecordError("the record has no messages", code="bad-messages", json_path=path)
    for key in MEDIA_KEYS:
        if record.get(key) not in (None, "", [], {}):
            raise not_text(key, f"{path}.{key}")
    _refuse_empty_answers(messages, content_path)
    return Conversation(
        messages=(*_system(record, messages, path), *messages),
        tools=_tools(record, path),
        template_args=_template_args(record, path),
    )


def placed_conversation(record: dict[str, Json], placed: Sequence[Placed], *, path: str = "$") -> Conversation:
    """As `conversation`, for messages that each come with the JSON path of their text."""
    return conversation(record, [message for _, message in placed], lambda index: placed[index][0], path=path)


def message_list(value: Json, path: str) -> list[Json]:
    """A list of messages, perhaps written as JSON text, or as an object of lists, which tables make of it.

    Raises:
        RecordError: `bad-messages`.
    """
    if isinstance(value, str):
        try:
            value = decode_text(value)
        except ValueError as error:
            message = f"the messages are text that is not JSON: {error}"
            hint = "Write them with json.dumps; what Python's str() makes of a list is not JSON."
            raise RecordError(message, code="bad-messages", json_path=path, hint=hint) from None
    if isinstance(value, dict) and value and all(isinstance(column, list) for column in value.values()):
        value = _rows(value, path)
    if not isinstance(value, list):
        raise RecordError(f"the messages are {kind_of(value)}, not a list", code="bad-messages", json_path=path)
    if not value:
        raise RecordError("the list of messages is empty", code="bad-messages", json_path=path)
    return value


def _rows(columns: dict[str, Json], path: str) -> list[Json]:
    """The objects of an object of lists."""
    lists = {key: column for key, column in columns.items() if isinstance(column, list)}
    if len(set(map(len, lists.values()))) > 1:
        message = f"the lists {' and '.join(map(shown, lists))} differ in length"
        raise RecordError(message, code="bad-messages", json_path=path)
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def dialogue(record: dict[str, Json], turns: Sequence[tuple[Role, str, str]]) -> Conversation:
    """A conversation of plain texts.

    Args:
        record: The record.
        turns: (role, JSON path of the text, text) of each message.
    """
    return placed_conversation(record, [(path, Message(role=role, content=text)) for role, path, text in turns])


def alternating(record: dict[str, Json], turns: Sequence[tuple[str, str]]) -> Conversation:
    """User and assistant in turn, from (JSON path, text) pairs."""
    roles: tuple[Role, Role] = ("user", "assistant")
    return dialogue(record, [(roles[index % 2], path, text) for index, (path, text) in enumerate(turns)])


def text_in(record: dict[str, Json], key: str) -> str:
    """The text that a record has under a key.

    Raises:
        RecordError: `bad-content`.
    """
    return text_at(record.get(key), f"$.{key}")


def text_at(value: Json, path: str) -> str:
    """A value that must be text.

    Raises:
        RecordError: `bad-content`.
    """
    if not isinstance(value, str):
        name = path.removeprefix("$.")
        raise RecordError(f"{name} is {kind_of(value)}, not text", code="bad-content", json_path=path)
    return value


def _system(record: dict[str, Json], messages: list[Message], path: str) -> tuple[Message, ...]:
    """The system message of a record that writes it beside the messages. An empty text is none."""
    system = messages[0] if messages[0].role in ("system", "developer") else None
    added: tuple[Message, ...] = ()
    for key in ("system", "system_prompt"):
        if record.get(key) is None or (text := text_or_parts(record[key], f"{path}.{key}")) is None:
            continue
        if system is None:
            system = Message(role="system", content=text)
            added = (system,)
        elif "".join(system.content or ()) != "".join(text):
            message = f"{key} differs from another system text of the record"
            raise RecordError(message, code="bad-messages", json_path=f"{path}.{key}", hint="Keep one of them.")
    return added


def text_or_parts(value: Json, path: str) -> Text | None:
    """Text, or the texts in a list of parts; None when there is nothing in it.

    Raises:
        RecordError: `bad-content` or `unsupported-modality`.
    """
    if isinstance(value, list):
        texts = texts_of(value, path)
        return texts if any(texts) else None
    return text_at(value, path) or None if value is not None else None


def _tools(record: dict[str, Json], path: str) -> tuple[dict[str, Json], ...] | None:
    """The tool definitions: `tools`, the older `functions`, or Bedrock's `toolConfig`."""
    config = record.get("toolConfig")
    written = {"tools": record.get("tools"), "functions": record.get("functions")}
    if isinstance(config, dict):
        written["toolConfig.tools"] = config.get("tools")
    found = [
        (key, tools)
        for key, value in written.items()
        if value is not None and (tools := tool_definitions(value, f"{path}.{key}")) is not None
    ]
    if len(found) > 1:
        (first, _), (second, _), *_ = found
        raise RecordError(f"the record has both {first} and {second}", code="bad-tools", json_path=f"{path}.{second}")
    return found[0][1] if found else None


def _template_args(record: dict[str, Json], path: str) -> dict[str, Json]:
    """Arguments that are null count as absent, as everywhere."""
    value = record.get("chat_template_kwargs")
    if value is None:
        return {}
    path = f"{path}.chat_template_kwargs"
    if not isinstance(value, dict):
        message = f"chat_template_kwargs is {kind_of(value)}, not an object"
        raise RecordError(message, code="bad-template-args", json_path=path)
    for name in _OUR_TEMPLATE_ARGS:
        if name in value:
            message = f"chat_template_kwargs sets {name}, which ismpack sets itself"
            raise RecordError(message, code="bad-template-args", json_path=f"{path}.{name}")
    return {name: argument for name, argument in value.items() if argument is not None}


def _refuse_empty_answers(messages: list[Message], content_path: Callable[[int], str]) -> None:
    """An assistant message before the first user or tool message is a greeting, which is never trained."""
    asked = False
    for index, message in enumerate(messages):
        if message.role != "assistant":
            asked = asked or message.role in ("user", "tool")
        elif asked and message.loss is not False and _is_empty(message):
            raise RecordError(
                "an assistant message is empty",
                code="empty-answer",
                json_path=content_path(index),
                hint='Fill it, remove it, or give it "weight": 0 so that nothing is trained on it.',
            )


def _is_empty(message: Message) -> bool:
    if type(message.content) is str and message.content.strip():
        return False
    parts = message.content if isinstance(message.content, tuple) else (message.content,)
    return not message.tool_calls and not any(text and text.strip() for text in (*parts, message.reasoning))
