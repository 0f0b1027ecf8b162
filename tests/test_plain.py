"""The short way of plain records gives what the general way gives, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ismpack.data import Conversation, Json, Message, PlainConversation, Role
from ismpack.errors import RecordError
from ismpack.formats import FORMATS, shortcut_for, to_conversation
from ismpack.formats.plain import plain_conversations
from ismpack.pipeline.oddities import oddities
from ismpack.sources.strict import decode

PLAIN = b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}'
HI = PlainConversation(("user", "assistant"), ["Hi", "Hello"], "messages")


def generally(text: bytes) -> Conversation | None:
    """What the general way reads; None if it refuses the text or takes it for another format."""
    try:
        name, conversation = to_conversation(decode(text))
    except RecordError:
        return None
    return conversation if name == "messages" else None


def quickly(texts: list[bytes]) -> list[Conversation | None]:
    """What the short way reads, with an object for each message."""
    return [one.written_out() if one else None for one in plain_conversations(texts)]


def test_a_plain_record_is_read() -> None:
    assert plain_conversations([PLAIN, b"", PLAIN + b"\r\n"]) == [HI, None, HI]


def test_a_plain_conversation_is_written_out_with_its_messages() -> None:
    messages = (Message(role="user", content="Hi"), Message(role="assistant", content="Hello"))
    assert HI.written_out() == Conversation(messages=messages)
    assert (HI.tools, HI.warnings) == (None, ())


@pytest.mark.parametrize("roles", [("user",), ("user", "tool", "assistant"), ("tool",)], ids="-".join)
def test_what_is_odd_about_a_plain_conversation_is_odd_about_its_messages(roles: tuple[Role, ...]) -> None:
    plain = PlainConversation(roles, ["Hi"] * len(roles), "messages")
    assert oddities(plain) == oddities(plain.written_out()) == ["tool-result-without-call"] * ("tool" in roles)


def test_plain_records_match_no_other_format() -> None:
    assert [known.name for known in FORMATS if known.matches(json.loads(PLAIN))] == ["messages"]


def test_a_chosen_format_has_the_short_way_for_its_own_records() -> None:
    named = {known.name: known for known in FORMATS}
    texts = [PLAIN, b'{"prompt": "Hi", "completion": "Hello"}']
    pair = PlainConversation(("user", "assistant"), ["Hi", "Hello"], "prompt-completion")
    read = {name: shortcut_for(known) for name, known in [("", None), *named.items()]}
    assert {name: way(texts) for name, way in read.items() if way and name in ("", "messages", "alpaca")} == {
        "": [HI, pair],
        "messages": [HI, None],
        "alpaca": [None, None],
    }
    assert read["oasst-tree"] is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"null",
        b'{"messages": []}',
        b'{"messages": [{"role": "user", "content": "Hi", "content": "Ho"}]}',
        b'{"messages": [{"role": "user", "role": "assistant", "content": "Hi"}]}',
        b'{"messages": [{"role": "user", "content": "Hi"}], "messages": [{"role": "user", "content": "Hi"}]}',
        b'{"messages": [{"role": "user", "r\\u006fle": "assistant", "content": "Hi"}]}',
        b'{"messages": [{"role": "user", "content": "Hi", "con\\u0074ent": "\\"\\\\"}]}',
        b'{"messages": [{"role": "user", "content": "Hi"}], "label": 1}',
        b'{"messages": [{"role": "user", "content": "Hi\\u0000"}]}',
        b'{"messages": [{"role": "user", "content": "Hi", "weight": 0}]}',
        b'{"messages": [{"role": "user", "content": null}]}',
        b'{"messages": [{"role": "user", "content": ["Hi"]}]}',
        b'{"messages": [{"role": "User", "content": "Hi"}]}',
        b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": " \\n"}]}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"messages": [{"role": "user", "content": "\xff"}]}',
        b'{"messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
        PLAIN + b"x",
        PLAIN + PLAIN,
        b"\xef\xbb\xbf" + PLAIN,
        PLAIN[:-1],
    ],
)
def test_anything_else_goes_the_general_way(text: bytes) -> None:
    assert plain_conversations([text]) == [None]
    assert plain_conversations([PLAIN, text, PLAIN]) == [HI, None, HI]


@pytest.mark.parametrize("backslashes", [0, 1, 2, 3, 15, 16, 17, 18, 31, 32, 1001])
@pytest.mark.parametrize("quotes", [0, 1, 2])
def test_escaped_quotes_are_no_quotes(backslashes: int, quotes: int) -> None:
    content = "\\" * backslashes + '"' * quotes
    text = json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
    assert plain_conversations([text]) == [PlainConversation(("user",), [content], "messages")]


def test_a_repeated_key_is_not_balanced_by_a_neighbour() -> None:
    """No record has fewer quotes than it needs, so one that has more is found among any others."""
    twice = b'{"messages": [{"role": "user", "content": "Hi", "content": "Ho"}]}'
    escaped = b'{"messages": [{"role": "user", "content": "\\"\\"\\"\\""}]}'
    assert [found is None for found in plain_conversations([escaped, twice, escaped])] == [False, True, False]


@pytest.mark.parametrize("odd", ["\\u0000", "", " \\n"], ids=["NUL", "empty", "blank"])
@pytest.mark.parametrize("role", ["user", "assistant"])
def test_what_is_odd_is_no_reason_to_refuse_a_neighbour(role: str, odd: str) -> None:
    text = PLAIN.replace(b'"Hello"', f'"a"}}, {{"role": "{role}", "content": "{odd}"'.encode())
    plain = role == "user" and odd != "\\u0000"
    assert [found is None for found in plain_conversations([PLAIN, text, PLAIN])] == [False, not plain, False]
    assert plain_conversations([PLAIN, text, PLAIN])[::2] == [HI, HI]


TEXTS = st.text(alphabet='ab"\\\n é\0', max_size=6)
VALUES: st.SearchStrategy[Any] = st.one_of(
    TEXTS, st.sampled_from(["user", "assistant", "system", "role", "content", None, 1, True, [], {}])
)
MESSAGES = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool"]), "content": TEXTS}),
    st.dictionaries(st.sampled_from(["role", "content", "name", "weight"]), VALUES, max_size=3),
)
RECORDS = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, max_size=3)}, optional={"id": VALUES, "system": VALUES, "messages ": VALUES}
)


@given(st.lists(st.tuples(RECORDS, st.integers(0, 3), st.booleans()), max_size=5))
def test_both_ways_agree(drawn: list[tuple[dict[str, Any], int, bool]]) -> None:
    texts = [written(record, repeats, plain_text=plain_text) for record, repeats, plain_text in drawn]
    for text, found in zip(texts, quickly(texts), strict=True):
        assert found is None or found == generally(text)
    for text, (record, repeats, _) in zip(texts, drawn, strict=True):
        if repeats == 0 and is_plain(record):
            assert quickly([text]) == [generally(text)]


def written(record: dict[str, Json], repeats: int, *, plain_text: bool) -> bytes:
    """The record as JSON, with some of its keys repeated."""
    text = json.dumps(record, ensure_ascii=plain_text)
    if repeats:
        text = text.replace('"role":', '"role": "user", "role":', repeats)
    return text.encode()


def is_plain(record: dict[str, Any]) -> bool:
    return list(record) == ["messages"] and all(
        set(message) == {"role", "content"} and isinstance(message["content"], str) and "\0" not in message["content"]
        for message in record["messages"]
    )
