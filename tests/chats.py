"""Conversations that templates treat in different ways, and the templates that trl ships, for tests over both.

All text is made up here.
"""

from __future__ import annotations

import datetime
import importlib.util
import json
from pathlib import Path
from typing import Any

from ismpack.data import Conversation, Json, Message, ToolCall
from ismpack.templates import Dialect

DATE = "2024-02-29"

CLOCK: tuple[dict[str, Json], ...] = (
    {
        "type": "function",
        "function": {
            "name": "get_time",
            "description": "Time of day in a place.",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string", "description": "A town."}},
                "required": ["place"],
            },
        },
    },
)


def system(text: str) -> Message:
    return Message(role="system", content=text)


def user(text: str | tuple[str, ...]) -> Message:
    return Message(role="user", content=text)


def assistant(
    text: str | tuple[str, ...] | None, *, thought: str | None = None, calls: tuple[ToolCall, ...] = (),
    loss: bool | None = None,
) -> Message:  # fmt: skip
    return Message(role="assistant", content=text, reasoning=thought, tool_calls=calls, loss=loss)


def call(place: str, number: int = 1) -> ToolCall:
    return ToolCall(name="get_time", arguments={"place": place, "clock": "24h"}, id=f"call{number:05d}")


def result(text: str, number: int = 1) -> Message:
    return Message(role="tool", content=text, name="get_time", tool_call_id=f"call{number:05d}")


def chat(*messages: Message, tools: tuple[dict[str, Json], ...] | None = None) -> Conversation:
    return Conversation(messages=messages, tools=tools)


def two_turns(*answers: Message) -> Conversation:
    return chat(user("What is 2+3?"), answers[0], user("And 4+4?"), answers[1])


CHATS: dict[str, Conversation] = {
    "one turn": chat(user("Good morning"), assistant("Hello, what can I do?")),
    "system": chat(system("Answer in one word."), user("Largest planet?"), assistant("Jupiter")),
    "three turns": chat(
        user("one"), assistant("uno"), user("two"), assistant("due"), user("three"), assistant("tre")
    ),
    "system and turns": chat(
        system("Be brief."), user("Boil an egg?"), assistant("Eight minutes."), user("Soft?"), assistant("Five.")
    ),
    "same words everywhere": chat(user("x"), assistant("x"), user("x"), assistant("x"), user("x"), assistant("x")),
    "white space": chat(user("  q \n"), assistant("\n\n a  \n"), user("\tnext"), assistant(" b ")),
    "white space in system": chat(system(" s \n\n"), user("\n\nq\n\n"), assistant("a\n"), user(" r"), assistant("b ")),
    "answer of white space": chat(user("q"), assistant("  \n "), user("r"), assistant("b")),
    "empty answer": chat(user("q"), assistant(""), user("r"), assistant("b")),
    "empty question": chat(user(""), assistant("a"), user("r"), assistant("b")),
    "many scripts": chat(user("naïve 你好 🌊 \u200b"), assistant("Добрый день ﷺ n\u0303"), user("今日は"), assistant("晴れ")),
    "words of templates": chat(
        user("assistant"), assistant("user"), user("user\n"), assistant("assistant\n"), user("system"), assistant("end")
    ),
    "jinja": chat(user("{{ messages }} {% if x %}"), assistant("{{- x }}")),
    "markup": chat(user("<p>&lt; 'a' \"b\"</p>"), assistant("a < b && c > d \\n")),
    "thinking inline": chat(user("2+3?"), assistant("<think>\ncount up\n</think>\n\n5")),
    "thinking inline, two turns": two_turns(
        assistant("<think>\ncount up\n</think>\n\n5"), assistant("<think>\ndouble\n</think>\n\n8")
    ),
    "reasoning": chat(user("2+3?"), assistant("5", thought="count up")),
    "reasoning, two turns": two_turns(assistant("5", thought="count up"), assistant("8", thought="double\n")),
    "tool": chat(
        user("Time in Oslo?"), assistant("", calls=(call("Oslo"),)), result("08:15"), assistant("A quarter past eight."),
        tools=CLOCK,
    ),
    "tool, system, later turn": chat(
        system("Use the clock."), user("Time in Oslo?"), assistant("One moment.", calls=(call('Oslo "centre"'),)),
        result('{"h": 8}'), assistant("Eight."), user("Thanks"), assistant("Any time."), tools=CLOCK,
    ),
    "two tools at once": chat(
        user("Oslo and Rome?"), assistant("", calls=(call("Oslo"), call("Rome", 2))), result("08:15"),
        result("09:15", 2), assistant("One hour apart."), tools=CLOCK,
    ),
    "tool without text": chat(
        user("Time in Oslo?"), assistant(None, calls=(call("Oslo"),)), result("08:15"), assistant("Early."), tools=CLOCK
    ),
    "tool and reasoning": chat(
        user("Oslo?"), assistant("", thought="need the clock", calls=(call("Oslo"),)), result("08:15"),
        assistant("Eight", thought="round it"), user("bye"), assistant("bye!", thought="be polite"), tools=CLOCK,
    ),
    "two users in a row": chat(user("first half"), user("second half"), assistant("whole")),
    "two answers in a row": chat(user("go"), assistant("one"), assistant("two"), user("more"), assistant("three")),
    "text parts": chat(user(("Good ", "day")), assistant(("Hello",)), user(("and ", "bye")), assistant(("Bye",))),
    "greeting": chat(assistant("Welcome!"), user("Hi"), assistant("How can I help?")),
    "trailing question": chat(user("q"), assistant("a"), user("unanswered")),
    "tool result and question": chat(
        user("Oslo?"), assistant("", thought="need the clock", calls=(call("Oslo"),)), result("08:15"),
        user("And Rome?"), assistant("The same."), tools=CLOCK,
    ),
    "control tokens": chat(user("What are <|im_end|>, <|end|>, <end_of_turn>, </s> and <EOS>?"), assistant("Ends.")),
    "long": chat(
        system("You answer at length. " * 6),
        *(m for i in range(5) for m in (user(f"Tell me about item {i}. " * 9), assistant(f"Item {i} is fine. " * 21))),
    ),
}  # fmt: skip


def dicts(conversation: Conversation, dialect: Dialect) -> list[dict[str, Any]]:
    """The messages as a user of transformers would write them for a template of this dialect."""
    return [_as_dict(message, dialect) for message in conversation.messages]


def _as_dict(message: Message, dialect: Dialect) -> dict[str, Any]:
    out: dict[str, Any] = {"role": message.role}
    if message.reasoning is not None:
        out["reasoning_content"] = message.reasoning
    if message.content is not None:
        parts = (message.content,) if isinstance(message.content, str) else message.content
        reads_text, reads_parts = message.role in dialect.text_roles, message.role in dialect.part_roles
        as_parts = not reads_text or (reads_parts and not isinstance(message.content, str))
        out["content"] = [{"type": "text", "text": part} for part in parts] if as_parts else "".join(parts)
    calls = []
    for made in message.tool_calls:
        arguments = json.dumps(made.arguments, ensure_ascii=False) if dialect.text_arguments else made.arguments
        calls.append({"type": "function", "function": {"name": made.name, "arguments": arguments}, "id": made.id})
    if calls:
        out["tool_calls"] = calls
    if message.role == "tool":
        out |= {"name": message.name, "tool_call_id": message.tool_call_id}
    return out


def trl_templates() -> dict[str, str]:
    """Name -> Jinja text of every chat template in the installed trl, found without importing it (which is slow)."""
    spec = importlib.util.find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "chat_templates"
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.jinja"))}


class StoppedClock(datetime.datetime):
    """`datetime` for transformers' renderer: its `strftime_now` asks for `now()`; ours shows DATE at midnight."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> StoppedClock:
        return cls.fromisoformat(DATE).replace(tzinfo=tz)
