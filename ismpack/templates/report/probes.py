"""Small conversations on which a template is tried, one for each kind of data that templates treat apart.

Every field holds a word that stands nowhere else in its conversation, so a render shows whether the field was printed.
There are at least two answers in each, because only a later turn can show whether an earlier one is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ismpack.data import Conversation, Json, Message, ToolCall


def _system(text: str) -> Message:
    return Message(role="system", content=text)


def _user(text: str) -> Message:
    return Message(role="user", content=text)


def _answer(text: str, *calls: ToolCall, reasoning: str | None = None) -> Message:
    return Message(role="assistant", content=text, reasoning=reasoning, tool_calls=calls)


def _call(harbour: str, number: int = 1) -> ToolCall:
    return ToolCall(name="tide_table", arguments={"harbour": harbour}, id=_call_id(number))


def _result(text: str, number: int = 1) -> Message:
    return Message(role="tool", content=text, name="tide_table", tool_call_id=_call_id(number))


def _call_id(number: int) -> str:
    return f"tide{number:05d}"  # nine letters or digits: Mistral's templates refuse any other id


def _chat(*messages: Message) -> Conversation:
    return Conversation(messages=messages)


def _with_tools(*messages: Message) -> Conversation:
    return Conversation(messages=messages, tools=(_TIDE_TABLE,))


_TIDE_TABLE: dict[str, Json] = {
    "type": "function",
    "function": {
        "name": "tide_table",
        "description": "Next high water.",
        "parameters": {
            "type": "object",
            "properties": {"harbour": {"type": "string", "description": "Seaside town."}},
            "required": ["harbour"],
        },
    },
}

PROBES: Mapping[str, Conversation] = MappingProxyType({
    "plain": _chat(
        _user("Name a river."), _answer("Danube."), _user("Another?"), _answer("Loire."), _user("Once more?"),
        _answer("Ebro."),
    ),
    "system": _chat(
        _system("Speak tersely."), _user("Name a river."), _answer("Danube."), _user("Another?"), _answer("Loire."),
    ),
    "reasoning": _chat(
        _user("Seven plus eight?"), _answer("Fifteen.", reasoning="carry from ten"),
        _user("Twice that?"), _answer("Thirty.", reasoning="double it"),
        _user("Thanks!"), _answer("Anytime.", reasoning="be polite"),
    ),
    "inline-thinking": _chat(
        _user("Seven plus eight?"), _answer("<think>\ncarry from ten\n</think>\n\nFifteen."),
        _user("Twice that?"), _answer("<think>\ndouble it\n</think>\n\nThirty."),
        _user("Thanks!"), _answer("<think>\nbe polite\n</think>\n\nAnytime."),
    ),
    "tools": _with_tools(
        _user("Flood at Lerwick?"), _answer("", _call("Lerwick")), _result("19:40"),
        _answer("Shortly before eight."), _user("Thanks!"), _answer("Anytime."),
    ),
    "parallel-tools": _with_tools(
        _user("Flood at both?"), _answer("Looking up.", _call("Lerwick"), _call("Oban", 2)), _result("19:40"),
        _result("17:05", 2), _answer("Two hours apart."), _user("Thanks!"), _answer("Anytime."),
    ),
    "tools-and-reasoning": _with_tools(
        _user("Flood at both?"), _answer("", _call("Lerwick"), reasoning="northern one first"), _result("19:40"),
        _answer("", _call("Oban", 2), reasoning="western one next"), _result("17:05", 2),
        _answer("Two hours apart.", reasoning="subtract them"), _user("Thanks!"),
        _answer("Anytime.", reasoning="be polite"),
    ),
    "empty-answer": _chat(
        _user("Say nothing."), _answer(""), _user("Again."), _answer(" \n"), _user("Enough."), _answer("Fine."),
    ),
    "white-space": _chat(
        _user("\n\nName a river.\n"), _answer("\n\n Danube. \n"), _user(" Another?\t"),
        _answer(" Loire.\n"), _user("Once more? "), _answer("Ebro. "),
    ),
    "greeting": _chat(
        _answer("Welcome aboard."), _user("Name a river."), _answer("Danube."), _user("Another?"), _answer("Loire."),
    ),
    "answers-in-a-row": _chat(
        _user("Name rivers."), _answer("Danube."), _answer("Loire."), _user("Another?"), _answer("Ebro."),
    ),
})  # fmt: skip
"""Kind -> conversation, the most common kinds first."""
