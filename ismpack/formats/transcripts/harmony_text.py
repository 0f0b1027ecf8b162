"""Harmony as text: what gpt-oss reads and writes, with channels, recipients and calls.

A turn is `<|start|>`, a header, `<|message|>`, what is said, and `<|end|>`, `<|return|>` or `<|call|>`. The header has
the role or the tool's name, perhaps `to=` a recipient, perhaps `<|channel|>` and a channel.

System and developer texts stay as they were rendered: what the template once put into them cannot be told from what
their author wrote. Function definitions in them are TypeScript, and stay there too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from msgspec import structs

from ismpack.data import Conversation, Json, Message, Role
from ismpack.errors import RecordError
from ismpack.formats.format import Format
from ismpack.formats.record import AROUND_KEYS, conversation, text_in
from ismpack.formats.roles import role_of
from ismpack.formats.tools import function_call
from ismpack.formats.transcripts.template_texts import RENDERED_BESIDE
from ismpack.formats.transcripts.turn_marks import Marks, Turn, is_prompt, split
from ismpack.formats.values import shown

_ROLES: dict[str, Role] = {"system": "system", "developer": "developer", "user": "user", "assistant": "assistant"}
_CHANNELS = ("analysis", "commentary", "final")
_CONTENT_TYPES = ("json", "code")
_FUNCTIONS = "functions."
"""Namespace of the functions that a developer defines; `browser` and `python` are the model's own."""

_MARKS = Marks(
    name="Harmony",
    start=re.compile(r"\s*+<\|start\|>"),
    # The last header may be all that there is of its turn: a prompt ends with `<|start|>assistant`.
    opening=re.compile(r"<\|start\|>((?:[^<]|<(?!\|(?:start|message)\|>))*+)(?:<\|message\|>|\Z)"),
    roles=_ROLES,
    closings=("<|end|>", "<|return|>", "<|call|>"),
    must_close=True,
    foreign=("<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"),
    exact=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """What stands before the text of a turn: who speaks, to whom, on which channel."""

    speaker: str
    recipient: str | None
    channel: str | None


def _parse(record: dict[str, Json]) -> Conversation:
    """Analysis is the reasoning of the assistant's message that comes next, if one does; all else is a message."""
    turns = split(text_in(record, "text"), "$.text", _MARKS)
    if is_prompt(turns[-1]) and _header(turns[-1].word).speaker == "assistant":
        turns.pop()
    messages: list[Message] = []
    for turn in turns:
        message = _message(turn)
        if message.role == "assistant" and not _is_thought(message) and messages and _is_thought(messages[-1]):
            message = structs.replace(message, reasoning=messages.pop().reasoning)
        messages.append(message)
    return conversation(record, messages, lambda _: "$.text")


def _message(turn: Turn) -> Message:
    """The message of a turn; on the analysis channel it has nothing but reasoning."""
    header = _header(turn.word)
    if header.recipient == "assistant":
        return Message(role="tool", content=turn.text, name=header.speaker.removeprefix(_FUNCTIONS))
    role = role_of(header.speaker, _ROLES, "$.text")
    if role == "assistant" and header.recipient is not None:
        name = header.recipient.removeprefix(_FUNCTIONS)
        call = function_call({"name": name, "arguments": turn.text}, "$.text")
        return Message(role=role, content=None, tool_calls=(call,))
    if role == "assistant" and header.channel == "analysis":
        return Message(role=role, content=None, reasoning=turn.text)
    return Message(role=role, content=turn.text)


def _is_thought(message: Message) -> bool:
    return message.content is None and not message.tool_calls


def _header(text: str) -> _Header:
    """The parts of a header. A recipient may stand with the role or with the channel, a content type after it."""
    before, _, after = text.replace("<|constrain|>", " ").partition("<|channel|>")
    speaker, *words = before.split() or [""]
    channel, *more = after.split() or [""]
    recipients = [word.removeprefix("to=") for word in (*words, *more) if word.startswith("to=")]
    others = [word for word in (*words, *more) if not word.startswith("to=") and word not in _CONTENT_TYPES]
    if len(recipients) > 1 or others or channel not in ("", *_CHANNELS):
        raise RecordError(
            f"the header {shown(text)} of a Harmony turn cannot be read",
            code="bad-messages",
            json_path="$.text",
            hint=f"A header is a role, perhaps to= a recipient, perhaps a channel: {', '.join(_CHANNELS)}.",
        )
    return _Header(speaker=speaker, recipient=recipients[0] if recipients else None, channel=channel or None)


HARMONY_TEXT = Format(
    name="harmony-text",
    title="Harmony as text: <|start|>role<|channel|>channel<|message|>, what is said, <|end|>",
    keys={"text": _MARKS.shape},
    without=RENDERED_BESIDE,
    optional=AROUND_KEYS,
    datasets=("gpt-oss, Harmony text",),
    example={
        "text": "<|start|>user<|message|>What is the capital of Peru?<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Lima.<|return|>"
    },
    parse=_parse,
)
