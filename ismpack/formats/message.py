"""The messages of a list: who speaks, what, and whatever else an item says.

Nearly every item is one message. An item whose parts hold tool results gives several; several items give one where a
format spreads an answer: Harmony over channels, ms-swift over a message for each call.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs

from ismpack.data import Json, Message, Role, ToolCall
from ismpack.errors import RecordError
from ismpack.formats.channels import CHANNEL_KEYS, has_channel, in_channel, is_channel_call
from ismpack.formats.dialect import Dialect
from ismpack.formats.flags import LOSS_FLAGS, loss_flag
from ismpack.formats.parts import bad_content, content_parts, messages_of, not_text
from ismpack.formats.roles import role_of
from ismpack.formats.tools import function_call, tool_calls
from ismpack.formats.values import kind_of

REASONING_KEYS: tuple[str, ...] = ("reasoning_content", "thinking", "reasoning", "thought", "think")
"""Keys that hold the thinking before an answer; all mean the same."""

MEDIA_KEYS: tuple[str, ...] = ("image", "images", "video", "videos", "audio", "audios")
"""Keys, of a message or a record, that hold what is not text."""

_UNREAD_CALL_KEYS = ("tool_call", "tool_uses", "tool_output", "code_interpreter_call")
"""Keys of agents' own logs; left unread, calls would vanish from the training data."""

_READ_KEYS = frozenset((*LOSS_FLAGS, *REASONING_KEYS, "tool_calls", "function_call", "name", "tool_call_id"))
_SPECIAL_KEYS = _READ_KEYS | CHANNEL_KEYS | {"role", "content", "refusal", *MEDIA_KEYS, *_UNREAD_CALL_KEYS}
"""Keys that mean something; an item with others is read the short way."""


def parse_messages(items: list[Json], path: str, dialect: Dialect) -> list[Message]:
    """The messages of a list. There may be more or fewer than items; `text_paths` tells where each one stands.

    Raises:
        RecordError: The first message that cannot be read, by its index.
    """
    plain = [message for item in items if (message := _plain_message(item, dialect)) is not None]
    if len(plain) == len(items):  # nearly always
        return plain
    messages: list[Message] = []
    for index, item in enumerate(items):
        _add(messages, item, f"{path}[{index}]", dialect)
    return messages


def text_paths(items: list[Json], path: str, dialect: Dialect) -> Callable[[int], str]:
    """A function from the index of a message of `parse_messages` to the JSON path of its text."""

    def path_of(wanted: int) -> str:
        messages: list[Message] = []
        for index, item in enumerate(items):
            _add(messages, item, f"{path}[{index}]", dialect)
            if len(messages) > wanted:
                return f"{path}[{index}].{dialect.content_key}"
        raise IndexError(wanted)

    return path_of


def parse_message(item: Json, path: str, dialect: Dialect) -> list[Message]:
    """The messages of one item; see `_said` for how it can be more than one.

    Keys with a null value count as absent. Keys that we do not read go to `Message.extra`. An assistant's `refusal`
    is its text: the model wrote it, and a template has no other place for it.

    Raises:
        RecordError: `bad-message`, `unknown-role`, `bad-content`, `unsupported-modality`, `bad-tool-call`, or one of
            the loss flags' codes.
    """
    if not isinstance(item, dict):
        raise RecordError(f"a message is {kind_of(item)}, not an object", code="bad-message", json_path=path)
    role = role_of(item.get(dialect.role_key), dialect.roles, f"{path}.{dialect.role_key}")
    content = item.get(dialect.content_key)
    others, calls_only = item.keys() - {dialect.role_key, dialect.content_key}, _is_calls(item, dialect)
    if isinstance(content, str) and not calls_only and others.isdisjoint(_SPECIAL_KEYS):
        return [Message(role=role, content=content, extra=_extra(item, role, dialect))]
    _refuse_misplaced(item, role, path, dialect)
    if calls_only:
        text, calls = dialect.read_calls(content, f"{path}.{dialect.content_key}")
        if _calls(item, role, path):
            what = "a turn of tool calls has others beside it"
            raise RecordError(what, code="bad-tool-call", json_path=f"{path}.{dialect.content_key}")
        said = [Message(role=role, content=text, reasoning=_reasoning(item, role, path), tool_calls=calls)]
    else:
        said = [in_channel(message, item, path) for message in _said(item, role, path, dialect)]
    name, call_id = _optional_text(item, "name", path), _optional_text(item, "tool_call_id", path)
    loss, extra = loss_flag(item, role, path), _extra(item, role, dialect)
    return [
        structs.replace(
            message,
            name=message.name or name,
            tool_call_id=message.tool_call_id or call_id,
            loss=loss,
            extra={**extra, **message.extra},
        )
        for message in said
    ]


def _is_calls(item: dict[str, Json], dialect: Dialect) -> bool:
    return item[dialect.role_key] in dialect.call_roles


def _plain_message(item: Json, dialect: Dialect) -> Message | None:
    """A message of nothing but a known role and text, which nearly all are; None for any other."""
    if type(item) is dict and len(item) == 2:
        word, text = item.get(dialect.role_key), item.get(dialect.content_key)
        if type(word) is str and type(text) is str and word in dialect.roles and word not in dialect.call_roles:
            return Message(role=dialect.roles[word], content=text)
    return None


def _add(messages: list[Message], item: Json, path: str, dialect: Dialect) -> None:
    """Add what an item says: to the answer that it goes on with, or as messages of its own."""
    said = parse_message(item, path, dialect)
    if messages and isinstance(item, dict) and _goes_on(item, messages[-1], dialect):
        messages[-1] = _joined(messages[-1], said[0], path)
    else:
        messages += said


def _goes_on(item: dict[str, Json], last: Message, dialect: Dialect) -> bool:
    """Whether an item is part of the answer before it: a call that has a message of its own, or Harmony's next channel
    after the thinking. A model writes both without stopping in between.
    """
    if last.role != "assistant" or dialect.roles.get(str(item.get(dialect.role_key))) != "assistant":
        return False
    if _is_calls(item, dialect) or is_channel_call(item):
        return True
    thinks_only = last.content is None and not last.tool_calls
    return has_channel(item) and thinks_only


def _joined(first: Message, then: Message, path: str) -> Message:
    if first.loss != then.loss:
        raise RecordError(
            "the loss flags of two parts of one answer disagree",
            code="conflicting-flags",
            json_path=path,
            hint="A call belongs to the assistant message right before it; give both the same flag.",
        )
    if first.content is not None and then.content is not None:
        raise RecordError(
            "text stands before a call, and an assistant message right before that",
            code="bad-message",
            json_path=path,
            hint="A call belongs to the assistant message right before it; write its text there.",
        )
    thinking = [text for text in (first.reasoning, then.reasoning) if text is not None]
    return structs.replace(
        first,
        content=first.content if then.content is None else then.content,
        reasoning="\n\n".join(thinking) if thinking else None,
        tool_calls=(*first.tool_calls, *then.tool_calls),
        name=first.name or then.name,
        extra={**first.extra, **then.extra},
    )


def _extra(item: dict[str, Json], role: Role, dialect: Dialect) -> dict[str, Json]:
    """The keys of an item that are for the template."""
    extra: dict[str, Json] = {
        key: value
        for key, value in item.items()
        if value is not None and key not in _READ_KEYS and key not in (dialect.role_key, dialect.content_key)
    }
    if not extra:
        return extra
    other = dialect.metadata | (CHANNEL_KEYS if has_channel(item) else frozenset())
    return {key: value for key, value in extra.items() if key not in other and (key, role) != ("refusal", "assistant")}


def _refuse_misplaced(item: dict[str, Json], role: Role, path: str, dialect: Dialect) -> None:
    """Refuse keys that say something no conversation here can hold."""
    for key in MEDIA_KEYS:
        if item.get(key) not in (None, "", [], {}):
            raise not_text(key, f"{path}.{key}")
    for key in ("role", "content"):
        if key not in (dialect.role_key, dialect.content_key) and item.get(key) is not None:
            raise RecordError(
                f"a message has {key} beside {dialect.role_key} and {dialect.content_key}",
                code="bad-message",
                json_path=f"{path}.{key}",
                hint="Keep one of the two ways to write it.",
            )
    for key in _UNREAD_CALL_KEYS:
        if item.get(key) not in (None, "", [], {}):
            raise RecordError(
                f"a message has {key}, which is not read",
                code="bad-tool-call",
                json_path=f"{path}.{key}",
                hint="Write calls as tool_calls, and their results as messages with the role tool.",
            )
    if role == "assistant":
        return
    for key in (*REASONING_KEYS, "tool_calls", "function_call"):
        if item.get(key) not in (None, "", []):
            raise RecordError(
                f"a {role} message has {key}",
                code="bad-tool-call" if key.endswith(("calls", "call")) else "bad-message",
                json_path=f"{path}.{key}",
                hint="Only an assistant message thinks and calls tools.",
            )


def _reasoning(item: dict[str, Json], role: Role, path: str) -> str | None:
    found = {key: text for key in REASONING_KEYS if (text := _optional_text(item, key, path)) is not None}
    if len(set(found.values())) > 1:
        raise RecordError(f"{' and '.join(found)} differ", code="bad-message", json_path=path, hint="Keep one of them.")
    return next(iter(found.values()), None) if role == "assistant" else None


def _calls(item: dict[str, Json], role: Role, path: str) -> tuple[ToolCall, ...]:
    if role != "assistant":
        return ()
    calls = tool_calls(item.get("tool_calls"), f"{path}.tool_calls")
    if item.get("function_call") is None:
        return calls
    if calls:
        raise RecordError(
            "a message has both tool_calls and function_call", code="bad-tool-call", json_path=f"{path}.function_call"
        )
    return (function_call(item["function_call"], f"{path}.function_call"),)


def _said(item: dict[str, Json], role: Role, path: str, dialect: Dialect) -> list[Message]:
    """What an item says. A list of content parts may hold tool results, which are messages of their own."""
    reasoning, calls = _reasoning(item, role, path), _calls(item, role, path)
    content, path = _content(item, role, path, dialect), f"{path}.{dialect.content_key}"
    said: list[Message] = []
    if isinstance(content, str):
        said = [Message(role=role, content=content)]
    elif isinstance(content, list):
        said = [message for _, message in messages_of(role, content_parts(content, role, path))]
    elif content is not None:
        raise bad_content(f"the content of a message is {kind_of(content)}, not text", path)
    if role != "assistant" and said:
        return said
    if role == "assistant" and (said or calls or reasoning):
        return [_with_fields(said[0] if said else Message(role=role, content=None), reasoning, calls, path)]
    what = "missing" if dialect.content_key not in item else "null" if content is None else "an empty list"
    raise bad_content(f"the content of a {role} message is {what if not content else 'nothing to read'}", path)


def _content(item: dict[str, Json], role: Role, path: str, dialect: Dialect) -> Json:
    content, refusal = item.get(dialect.content_key), item.get("refusal")
    if role != "assistant" or refusal in (None, ""):
        return content
    if not isinstance(refusal, str) or content not in (None, "", []):
        raise bad_content("a message has both a content and a refusal", f"{path}.{dialect.content_key}")
    return refusal


def _with_fields(message: Message, reasoning: str | None, calls: tuple[ToolCall, ...], path: str) -> Message:
    """An assistant message with what stands beside its content."""
    if message.tool_calls and calls:
        raise RecordError("a message has tool calls in and beside its content", code="bad-tool-call", json_path=path)
    if None not in (message.reasoning, reasoning) and message.reasoning != reasoning:
        raise RecordError("thinking in a content and beside it differ", code="bad-message", json_path=path)
    return structs.replace(
        message,
        reasoning=reasoning if message.reasoning is None else message.reasoning,
        tool_calls=message.tool_calls or calls,
    )


def _optional_text(item: dict[str, Json], key: str, path: str) -> str | None:
    value = item.get(key)
    if not isinstance(value, str | None):
        raise RecordError(
            f"{key} of a message is {kind_of(value)}, not text", code="bad-message", json_path=f"{path}.{key}"
        )
    return value
