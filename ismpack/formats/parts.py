"""What messages are made of: text, thinking, calls and results, as the chat APIs spell them.

OpenAI, Anthropic, Mistral and Cohere tell the parts of a message's content apart by their `type`, Bedrock by their only
key. All of them become a `Part`, and `messages_of` puts parts together again, as messages. One list of parts may give
several messages: tool results that stand in a user message are messages of their own here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ismpack.data import Json, Message, Role, ToolCall
from ismpack.errors import RecordError
from ismpack.formats.flags import LOSS_FLAGS
from ismpack.formats.tools import function_call
from ismpack.formats.values import json_text, kind_of, shown


@dataclass(frozen=True, slots=True)
class Thinking:
    """What the model thinks before it answers."""

    text: str


Text: TypeAlias = "str | tuple[str, ...]"
"""Text as the record has it: alone, or as text parts."""

Part: TypeAlias = "Text | Thinking | ToolCall | Message | None"
"""Text, thinking, a call, a tool's result; None for what nobody can read (encrypted thinking, cache marks)."""

Placed: TypeAlias = tuple[str, Message]
"""A message, and the JSON path of its text."""

_TEXTS = frozenset(("text", "input_text", "output_text"))
_HIDDEN = frozenset(("redacted_thinking", "cachePoint"))
_ORDER = ("thinking", "text", "a tool call")


def messages_of(role: Role, parts: Sequence[tuple[str, Part]]) -> list[Placed]:
    """The messages that a speaker's parts, each with its JSON path, give.

    An assistant's parts are one message: thinking, then text, then calls, as chat templates print them. Pieces of
    thinking are paragraphs. Of all others, text that stands together is a message and each tool result is one.

    Raises:
        RecordError: `bad-content`: an assistant's parts have another order; `bad-message`: a part that the role cannot
            have.
    """
    heard = [(path, part) for path, part in parts if part is not None]
    if not heard:
        return []
    if role == "assistant":
        return [(heard[0][0], _answer(heard))]
    placed: list[Placed] = []
    texts: list[Text] = []
    for path, part in heard:
        if isinstance(part, Message):
            placed.append((path, part))
            texts = []
        elif isinstance(part, Thinking | ToolCall):
            raise _misplaced("thinking" if isinstance(part, Thinking) else "a tool call", role, path)
        elif texts:
            texts.append(part)
            placed[-1] = (placed[-1][0], Message(role=role, content=_together(texts)))
        else:
            texts = [part]
            placed.append((path, Message(role=role, content=part)))
    return placed


def _answer(parts: Sequence[tuple[str, Part]]) -> Message:
    thinking: list[str] = []
    texts: list[Text] = []
    calls: list[ToolCall] = []
    reached = 0
    for path, part in parts:
        if isinstance(part, Message):
            raise _misplaced("a tool result", "assistant", path)
        step = 0 if isinstance(part, Thinking) else 2 if isinstance(part, ToolCall) else 1
        if step < reached:
            raise RecordError(
                f"{_ORDER[step]} follows {_ORDER[reached]} in one answer",
                code="bad-content",
                json_path=path,
                hint="A chat template prints thinking, then text, then calls; ismpack does not reorder an answer.",
            )
        reached = step
        if isinstance(part, Thinking):
            thinking.append(part.text)
        elif isinstance(part, ToolCall):
            calls.append(part)
        elif part is not None:
            texts.append(part)
    return Message(
        role="assistant",
        content=_together(texts) if texts else None,
        reasoning="\n\n".join(thinking) if thinking else None,
        tool_calls=tuple(calls),
    )


def _together(texts: Sequence[Text]) -> Text:
    if len(texts) == 1:
        return texts[0]
    return tuple(piece for text in texts for piece in ((text,) if isinstance(text, str) else text))


def content_parts(content: Sequence[Json], role: Role, path: str) -> list[tuple[str, Part]]:
    """The parts in a message's list of content parts, each with its JSON path.

    Raises:
        RecordError: `bad-content`, `bad-message`, `bad-tool-call` or `unsupported-modality`.
    """
    return [(f"{path}[{index}]", _part(part, role, f"{path}[{index}]")) for index, part in enumerate(content)]


def texts_of(content: Sequence[Json], path: str) -> tuple[str, ...]:
    """The texts in a list of text parts, in which cache marks may stand.

    Raises:
        RecordError: `bad-content` or `unsupported-modality`.
    """
    return tuple(text for index, part in enumerate(content) for text in _text_only(part, f"{path}[{index}]"))


def _text_only(part: Json, path: str) -> tuple[str, ...]:
    kind, value = _kind(part, path)
    if kind in _HIDDEN:
        return ()
    if kind not in _TEXTS:
        raise not_text(kind, path)
    return _text(value, path)


def _part(part: Json, role: Role, path: str) -> Part:
    kind, value = _kind(part, path)
    if any(value.get(flag) is not None for flag in LOSS_FLAGS):
        raise bad_content("a content part has a loss flag of its own", path)
    if kind in _HIDDEN:
        return None
    if kind in _TEXTS:
        return _text(value, path)
    if kind in _TYPES and not (kind == "refusal" and role != "assistant"):
        return _TYPES[kind](value, path)
    if kind not in _BEDROCK:
        raise not_text(kind, path)
    inside, path = value.get(kind), f"{path}.{kind}"
    if not isinstance(inside, dict):
        raise bad_content(f"{kind} is {kind_of(inside)}, not an object", path)
    return _BEDROCK[kind](inside, path)


def _kind(part: Json, path: str) -> tuple[str, dict[str, Json]]:
    """What a part is: its type or, where it has none, its only key."""
    if not isinstance(part, dict):
        raise bad_content(f"a content part is {kind_of(part)}, not an object", path)
    kind = part.get("type")
    if kind is None:
        keys = [key for key, value in part.items() if value is not None]
        kind = keys[0] if len(keys) == 1 and keys[0] not in _TYPES else None
    if not isinstance(kind, str):
        raise bad_content("a content part has no type", f"{path}.type")
    return kind, part


def _text(part: dict[str, Json], path: str, key: str = "text") -> tuple[str, ...]:
    text = part.get(key)
    if not isinstance(text, str):
        raise bad_content(f"the {key} of a content part is {kind_of(text)}", f"{path}.{key}")
    return (text,)


def _refusal(part: dict[str, Json], path: str) -> tuple[str, ...]:
    return _text(part, path, "refusal")


def _thinking(part: dict[str, Json], path: str) -> Thinking:
    """Anthropic and Cohere write text, Mistral a list of text parts."""
    thinking = part.get("thinking")
    if isinstance(thinking, list):
        return Thinking("".join(texts_of(thinking, f"{path}.thinking")))
    return Thinking(*_text(part, path, "thinking"))


def _tool_use(part: dict[str, Json], path: str) -> ToolCall:
    return function_call(part, path, _id(part, "id", path), arguments_key="input")


def _tool_result(part: dict[str, Json], path: str) -> Message:
    failed = part.get("is_error") is True
    return Message(
        role="tool",
        content=_result(part.get("content"), f"{path}.content"),
        tool_call_id=_id(part, "tool_use_id", path),
        extra={"is_error": True} if failed else {},
    )


def _bedrock_thinking(value: dict[str, Json], path: str) -> Part:
    thinking = value.get("reasoningText")
    if isinstance(thinking, dict):
        return Thinking(*_text(thinking, f"{path}.reasoningText"))
    if value.get("redactedContent") is not None:
        return None
    raise bad_content(f"reasoningText is {kind_of(thinking)}, not an object", f"{path}.reasoningText")


def _bedrock_use(value: dict[str, Json], path: str) -> ToolCall:
    return function_call(value, path, _id(value, "toolUseId", path), arguments_key="input")


def _bedrock_result(value: dict[str, Json], path: str) -> Message:
    failed = value.get("status") == "error"
    return Message(
        role="tool",
        content=_result(value.get("content"), f"{path}.content"),
        tool_call_id=_id(value, "toolUseId", path),
        extra={"status": "error"} if failed else {},
    )


def _result(content: Json, path: str) -> Text:
    """What a tool gave back: text or parts; nothing at all is empty text, values of Bedrock are written as JSON."""
    if isinstance(content, str):
        return content
    if content is None or content == []:
        return ""
    if not isinstance(content, list):
        raise bad_content(f"the content of a tool result is {kind_of(content)}", path)
    texts: list[str] = []
    for index, part in enumerate(content):
        if isinstance(part, dict) and part.get("json") is not None:
            texts.append(json_text(part["json"]))
        else:
            texts += _text_only(part, f"{path}[{index}]")
    return tuple(texts)


def _id(part: dict[str, Json], key: str, path: str) -> str | None:
    value = part.get(key)
    if not isinstance(value, str | None):
        raise RecordError(
            f"{key} of a content part is {kind_of(value)}, not text", code="bad-tool-call", json_path=f"{path}.{key}"
        )
    return value


_TYPES: dict[str, Callable[[dict[str, Json], str], Part]] = {
    "refusal": _refusal,
    "thinking": _thinking,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
}
_BEDROCK: dict[str, Callable[[dict[str, Json], str], Part]] = {
    "reasoningContent": _bedrock_thinking,
    "toolUse": _bedrock_use,
    "toolResult": _bedrock_result,
}


def not_text(kind: str, path: str) -> RecordError:
    """The error for an image, a sound or the like at `path`."""
    return RecordError(
        f"{shown(kind)} is not text",
        code="unsupported-modality",
        json_path=path,
        hint="Only text is supported: content is text, or parts of type text.",
    )


def bad_content(message: str, path: str) -> RecordError:
    """The error for content at `path` that is missing or of the wrong type."""
    return RecordError(message, code="bad-content", json_path=path)


def _misplaced(what: str, role: Role, path: str) -> RecordError:
    article = "an" if role == "assistant" else "a"
    hint = "Results of tools stand in user or tool messages; only an assistant message thinks and calls tools."
    return RecordError(f"{article} {role} message has {what}", code="bad-message", json_path=path, hint=hint)
