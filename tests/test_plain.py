"""The short way of plain records gives what the general way gives, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ismpack.data import Conversation, Json, Message
from ismpack.errors import RecordError
from ismpack.formats import FORMATS, shortcut_for, to_conversation
from ismpack.formats.plain import plain_conversations
from ismpack.sources.strict import decode

PLAIN = b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}'
HI = Conversation(messages=(Message(role="user", content="Hi"), Message(role="assistant", content="Hello")))


def generally(text: bytes) -> Conversation | None:
    """What the general way reads; None if it refuses the text or takes it for another format."""
    try:
        name, conversation = to_conversation(decode(text))
    except RecordError:
        return None
    return conversation if name == "messages" else None


def test_a_plain_record_is_read() -> None:
    assert plain_conversations([PLAIN, b"", PLAIN + b"\r\n"]) == [HI, None, HI]


def test_plain_records_match_no_other_format() -> None:
    assert [known.name for known in FORMATS if known.matches(json.loads(PLAIN))] == ["messages"]


def test_only_the_messages_format_has_the_short_way() -> None:
    named = {known.name: known for known in FORMATS}
    assert shortcut_for(None) is plain_conversations
    assert shortcut_for(named["messages"]) is plain_conversations
    assert shortcut_for(named["sharegpt"]) is None


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
        b'{"messages": [{"role": "user", "content": "Hi"}], "id": 1}',
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
    assert plain_conversations([text]) == [Conversation(messages=(Message(role="user", content=content),))]


def test_a_repeated_key_is_not_balanced_by_a_neighbour() -> None:
    """No record has fewer quotes than it needs, so one that has more is found among any others."""
    twice = b'{"messages": [{"role": "user", "content": "Hi", "content": "Ho"}]}'
    escaped = b'{"messages": [{"role": "user", "content": "\\"\\"\\"\\""}]}'
    assert [found is None for found in plain_conversations([escaped, twice, escaped])] == [False, True, False]


TEXTS = st.text(alphabet='ab"\\\n é', max_size=6)
VALUES = st.one_of(TEXTS, st.sampled_from(["user", "assistant", "system", "role", "content", None, 1, True, [], {}]))
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
    for text, found in zip(texts, plain_conversations(texts), strict=True):
        assert found is None or found == generally(text)
    for text, (record, repeats, _) in zip(texts, drawn, strict=True):
        if repeats == 0 and is_plain(record):
            assert plain_conversations([text]) == [generally(text)]


def written(record: dict[str, Json], repeats: int, *, plain_text: bool) -> bytes:
    """The record as JSON, with some of its keys repeated."""
    text = json.dumps(record, ensure_ascii=plain_text)
    if repeats:
        text = text.replace('"role":', '"role": "user", "role":', repeats)
    return text.encode()


def is_plain(record: dict[str, Any]) -> bool:
    return list(record) == ["messages"] and all(
        set(message) == {"role", "content"} and isinstance(message["content"], str) for message in record["messages"]
    )
