"""One message: its role, text, reasoning, tool calls, flags, and whatever else it has."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from ismpack.data import Json, Message, Role, ToolCall
from ismpack.errors import RecordError
from ismpack.formats.flags import LOSS_FLAGS, loss_flag
from ismpack.formats.tools import calls_in_text, function_call, tool_calls
from ismpack.formats.values import kind_of, shown

REASONING_KEYS: tuple[str, ...] = ("reasoning_content", "thinking", "reasoning")
"""Keys that hold the thinking before an answer; all mean the same."""

MEDIA_KEYS: tuple[str, ...] = ("image", "images", "video", "videos", "audio", "audios")
"""Keys, of a message or a record, that hold what is not text."""

_READ_KEYS = frozenset((*LOSS_FLAGS, *REASONING_KEYS, "tool_calls", "function_call", "name", "tool_call_id"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one format family writes a message.

    Attributes:
        role_key: Key of the role.
        content_key: Key of the text.
        roles: The family's role words, exactly as written -> our roles.
        call_role: Role word of an assistant message whose text is tool calls as JSON.
    """

    role_key: str
    content_key: str
    roles: Mapping[str, Role]
    call_role: str | None = None


def parse_messages(items: list[Json], path: str, dialect: Dialect) -> list[Message]:
    """The messages of a list.

    Raises:
        RecordError: The first message that cannot be read, by its index.
    """
    return [
        _plain_message(item, dialect) or _message(item, f"{path}[{index}]", dialect) for index, item in enumerate(items)
    ]


def _plain_message(item: Json, dialect: Dialect) -> Message | None:
    """A message of nothing but a known role and text, which nearly all are; None for any other."""
    if type(item) is dict and len(item) == 2:
        word, text = item.get(dialect.role_key), item.get(dialect.content_key)
        if type(word) is str and type(text) is str and word in dialect.roles and word != dialect.call_role:
            return Message(role=dialect.roles[word], content=text)
    return None


def _message(item: Json, path: str, dialect: Dialect) -> Message:
    """Any message.

    Keys with a null value count as absent. Keys that we do not read go to `Message.extra`. An assistant's `refusal`
    is its text: the model wrote it, and a template has no other place for it.

    Raises:
        RecordError: `bad-message`, `unknown-role`, `bad-content`, `unsupported-modality`, `bad-tool-call`, or one of
            the loss flags' codes.
    """
    if not isinstance(item, dict):
        raise RecordError(f"a message is {kind_of(item)}, not an object", code="bad-message", json_path=path)
    role = _role(item, path, dialect)
    _refuse_misplaced(item, role, path, dialect)
    reasoning = _reasoning(item, role, path)
    if item[dialect.role_key] == dialect.call_role:
        calls, text = calls_in_text(item.get(dialect.content_key), f"{path}.{dialect.content_key}"), None
    else:
        calls = _calls(item, role, path)
        text = _text(item, role, path, dialect, may_lack=bool(calls or reasoning))
    known = _READ_KEYS | {dialect.role_key, dialect.content_key} | ({"refusal"} if role == "assistant" else set())
    return Message(
        role=role,
        content=text,
        reasoning=reasoning,
        tool_calls=calls,
        name=_optional_text(item, "name", path),
        tool_call_id=_optional_text(item, "tool_call_id", path),
        loss=loss_flag(item, role, path),
        extra={key: value for key, value in item.items() if key not in known and value is not None},
    )


def _role(item: dict[str, Json], path: str, dialect: Dialect) -> Role:
    word = item.get(dialect.role_key)
    path = f"{path}.{dialect.role_key}"
    if not isinstance(word, str):
        what = f"{kind_of(word)}, not text" if dialect.role_key in item else "missing"
        raise RecordError(f"the role of a message is {what}", code="bad-message", json_path=path)
    if word not in dialect.roles:
        near = difflib.get_close_matches(word.strip().lower(), dialect.roles, n=1)
        guess = f'Did you mean "{near[0]}"? ' if near else ""
        raise RecordError(
            f"a message has role {shown(word)}, which is not known",
            code="unknown-role",
            json_path=path,
            hint=f"{guess}Known roles: {', '.join(dialect.roles)}.",
        )
    return dialect.roles[word]


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


def _text(
    item: dict[str, Json], role: Role, path: str, dialect: Dialect, *, may_lack: bool
) -> str | tuple[str, ...] | None:
    content = item.get(dialect.content_key)
    path = f"{path}.{dialect.content_key}"
    refusal = item.get("refusal") if role == "assistant" else None
    if refusal not in (None, ""):
        if not isinstance(refusal, str) or content not in (None, "", []):
            raise _bad_content("a message has both a content and a refusal", path)
        return refusal
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content:
        return tuple(_part(part, role, f"{path}[{index}]") for index, part in enumerate(content))
    if content not in (None, []):
        raise _bad_content(f"the content of a message is {kind_of(content)}, not text", path)
    if role == "assistant" and may_lack:
        return None
    what = "missing" if dialect.content_key not in item else "null" if content is None else "an empty list"
    raise _bad_content(f"the content of a {role} message is {what}", path)


def _part(part: Json, role: Role, path: str) -> str:
    if not isinstance(part, dict):
        raise _bad_content(f"a content part is {kind_of(part)}, not an object", path)
    kind = part.get("type")
    if not isinstance(kind, str):
        raise _bad_content("a content part has no type", f"{path}.type")
    if kind != "text" and not (kind == "refusal" and role == "assistant"):
        raise not_text(kind, path)
    text = part.get(kind)
    if not isinstance(text, str):
        raise _bad_content(f"the {kind} of a content part is {kind_of(text)}", f"{path}.{kind}")
    if any(part.get(flag) is not None for flag in LOSS_FLAGS):
        raise _bad_content("a content part has a loss flag of its own", path)
    return text


def _optional_text(item: dict[str, Json], key: str, path: str) -> str | None:
    value = item.get(key)
    if not isinstance(value, str | None):
        raise RecordError(
            f"{key} of a message is {kind_of(value)}, not text", code="bad-message", json_path=f"{path}.{key}"
        )
    return value


def not_text(kind: str, path: str) -> RecordError:
    """The error for an image, a sound or the like at `path`."""
    return RecordError(
        f"{shown(kind)} is not text",
        code="unsupported-modality",
        json_path=path,
        hint="Only text is supported: content is text, or parts of type text.",
    )


def _bad_content(message: str, path: str) -> RecordError:
    return RecordError(message, code="bad-content", json_path=path)
