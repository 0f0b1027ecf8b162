"""A raw record as it was understood: its messages, what would be lost, and the tokens it would become."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ismpack.data import Conversation, Message
from ismpack.view.characters import beginning, plain
from ismpack.view.facts import ConversationView
from ismpack.view.screen import BOLD, DIM, GREEN, YELLOW, Screen, counted
from ismpack.view.tokens import render_tokens

_LOSS_FLAGS = {True: "loss on", False: "loss off", None: ""}


def render_conversation(record: ConversationView, screen: Screen) -> str:
    """What would be trained from one record: messages in one line each, warnings, then the token stream."""
    conversation = record.conversation
    facts = [f"format {plain(record.format_name, screen.marks)}", counted(len(conversation.messages), "message")]
    if conversation.tools is not None:
        facts.append(counted(len(conversation.tools), "tool"))
    lines = [screen.paint(line, BOLD) for line in screen.flow([plain(record.source, screen.marks), *facts])]
    lines.append("")
    lines += message_lines(conversation, screen)
    if record.warnings:
        lines.append("")
    for warning in record.warnings:
        text = f"warning: {plain(warning, screen.marks)}"
        lines += [screen.paint(line, YELLOW) for line in screen.flow([text])]
    head = "\n".join(lines) + "\n"
    return head if record.view is None else f"{head}\n{render_tokens(record.view, screen)}"


def message_lines(conversation: Conversation, screen: Screen, *, limit: int | None = None) -> Iterator[str]:
    """The messages of a conversation, or the first few, each field in one line."""
    for number, message in enumerate(conversation.messages[:limit]):
        yield from _message_lines(number, message, screen)
    more = len(conversation.messages[limit:]) if limit is not None else 0
    if more:
        yield f"     and {counted(more, 'message')} more"


def _message_lines(number: int, message: Message, screen: Screen) -> Iterator[str]:
    flag = _LOSS_FLAGS[message.loss]
    label = f"{number:>4} {message.role:<9} {flag:<8} "
    if not screen.side_by_side:
        yield from screen.flow([f"{number} {message.role}{f', {flag}' if flag else ''}"])
        label = "  "
    for part in list(_parts(message)) or [""]:
        shown = _first_line(part, screen.columns - len(label), screen)
        yield f"{screen.paint(label, GREEN) if message.role == 'assistant' else label}{shown}"
        label = " " * len(label)


def _parts(message: Message) -> Iterator[str]:
    """The fields of a message that hold something, each as one text."""
    content = message.content
    if message.name is not None:
        yield f"name: {message.name}"
    if message.reasoning is not None:
        yield f"reasoning: {message.reasoning}"
    if content is not None:
        yield content if isinstance(content, str) else "".join(content)
    for call in message.tool_calls:
        arguments = (
            call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments, ensure_ascii=False)
        )
        yield f"calls {call.name} {arguments}"


def _first_line(text: str, width: int, screen: Screen) -> str:
    """The first line of a text as far as it fits, and how many characters are left out."""
    skipped = len(text) - len(text.lstrip("\n"))
    first = text[skipped:].partition("\n")[0]
    shown, count = beginning(first, width, screen.marks)
    if count == len(text):
        return shown
    note = f" {screen.marks.cut}+{len(text):,}"  # as wide as the note below can become
    shown, count = beginning(first, max(width - len(note), 0), screen.marks)
    return shown + screen.paint(f" {screen.marks.cut}+{len(text) - count:,}", DIM)
