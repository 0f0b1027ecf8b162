"""Lists of plain messages and pairs of texts are read from their bytes as the general way reads them, or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from ismpack.data import Conversation, Json, Message, PlainConversation, Role
from ismpack.errors import RecordError
from ismpack.formats import FORMATS, to_conversation
from ismpack.formats.forms import _ALWAYS_READ, FORM_FORMATS, _learned
from ismpack.formats.plain import plain_conversations
from ismpack.sources.strict import decode

CASES = Path(__file__).parent / "cases" / "formats"
TURNS: list[Json] = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
MESSAGES: list[Json] = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
PAIR: tuple[Role, ...] = ("user", "assistant")


def written(record: Json) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode()


def read(record: Json) -> PlainConversation | None:
    """What the short way reads."""
    [found] = plain_conversations([written(record)])
    return found


def generally(text: bytes) -> tuple[str, Any] | None:
    """Format and conversation, as the general way reads them; None if it refuses the text."""
    try:
        return to_conversation(decode(text))
    except RecordError:
        return None


def agree(text: bytes, found: PlainConversation | None) -> bool:
    return found is None or (found.format, found.written_out()) == generally(text)


# ------------------------------------------------------------------------------------------------------------ what it is


@pytest.mark.parametrize(
    ("record", "format_name", "roles", "texts"),
    [
        ({"messages": MESSAGES, "id": 7, "source": "made", "score": 0.5, "ok": True, "none": None}, "messages", PAIR, "Hi Hello"),
        ({"prompt": "[x]", "prompt_id": "a", "messages": MESSAGES}, "messages", PAIR, "Hi Hello"),
        ({"system": "Go", "messages": MESSAGES}, "messages", ("system", *PAIR), "Go Hi Hello"),
        ({"system": "", "messages": MESSAGES}, "messages", PAIR, "Hi Hello"),
        ({"messages": MESSAGES, "tools": None, "functions": []}, "messages", PAIR, "Hi Hello"),
        ({"messages": MESSAGES, "text": "Hi"}, "messages", PAIR, "Hi Hello"),
        ({"conversations": TURNS}, "sharegpt", PAIR, "Hi Hello"),
        ({"id": "c1", "conversations": TURNS, "system": "Go"}, "sharegpt", ("system", *PAIR), "Go Hi Hello"),
        ({"items": TURNS}, "sharegpt-items", PAIR, "Hi Hello"),
        ({"conversations": MESSAGES}, "conversations-messages", PAIR, "Hi Hello"),
        ({"instruction": "Add", "input": "", "output": "3"}, "alpaca", PAIR, "Add 3"),
        ({"instruction": "Add", "input": "1,2", "output": "3"}, "alpaca", PAIR, "Add\n1,2 3"),
        ({"instruction": "{x}", "input": "{", "output": "}"}, None, (), ""),
        ({"instruction": "a{x}%s", "input": "b}{", "output": "c\\n"}, "alpaca", PAIR, "a{x}%s\nb}{ c\\n"),
        ({"output": "3", "instruction": "Add", "history": None}, "alpaca", PAIR, "Add 3"),
        ({"kind": "x", "input": "Hi", "target": "Hello"}, "kind-input-target", PAIR, "Hi Hello"),
        ({"question": "Hi", "solution": "Hello", "answer": "Ho"}, "question-solution", PAIR, "Hi Hello"),
        ({"prompt": "Hi", "completion": "Hello"}, "prompt-completion", PAIR, "Hi Hello"),
        ({"question": "Hi", "answer": "Hello", "context": "Ho"}, "question-answer", PAIR, "Hi\nHo Hello"),
        ({"system_prompt": "Go", "question": "Hi", "response": "Hello"}, "question-response", ("system", *PAIR), "Go Hi Hello"),
    ],
)  # fmt: skip
def test_a_form_is_read(record: Json, format_name: str | None, roles: tuple[Role, ...], texts: str) -> None:
    found = PlainConversation(roles, texts.split(" "), format_name) if format_name else None
    assert read(record) == found
    assert agree(written(record), found)


def test_role_words_of_turns_are_known() -> None:
    turns: list[Json] = [
        {"from": word, "value": word} for word in ("system", "user", "gpt", "human", "chatgpt", "observation", "bard")
    ]
    assert read({"conversations": turns}) == PlainConversation(
        ("system", "user", "assistant", "user", "assistant", "tool", "assistant"),
        ["system", "user", "gpt", "human", "chatgpt", "observation", "bard"],
        "sharegpt",
    )


@pytest.mark.parametrize(
    "known", [known for known in FORMATS if known.name in FORM_FORMATS], ids=lambda known: known.name
)
def test_each_format_has_the_short_way_and_reads_only_what_it_declares(known: Any) -> None:
    found = read(known.example)
    assert found is not None
    assert agree(written(known.example), found)
    declared = {*known.keys, *known.without, *known.optional, *_ALWAYS_READ}
    seen = Watched(known.example)
    known.parse(seen)
    assert seen.asked & known.keys.keys()
    assert seen.asked <= declared


class Watched(dict[str, Json]):
    """A record that remembers which of its keys were asked for."""

    def __init__(self, record: dict[str, Json]) -> None:
        super().__init__(record)
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Json:
        self.asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("all keys are looked at")

    def keys(self) -> Any:
        raise AssertionError("all keys are looked at")

    items = values = keys


# -------------------------------------------------------------------------------------------------- the general way


@pytest.mark.parametrize(
    "record",
    [
        {"messages": MESSAGES, "label": False},  # what it says decides
        {"messages": MESSAGES, "label": "no word"},
        {"messages": MESSAGES, "tools": "[]"},
        {"messages": MESSAGES, "chat_template_kwargs": {}},
        {"messages": MESSAGES, "image": "a.png"},
        {"messages": MESSAGES, "meta": {"a": 1}},
        {"messages": MESSAGES, "tags": ["a"]},
        {"messages": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES},
        {"chosen": TURNS, "messages": TURNS},
        {"chosen": MESSAGES[:1], "messages": MESSAGES},
        {"messages": MESSAGES, "answers": "Hi"},
        {"messages": MESSAGES, "message_tree_id": "t", "message_id": "m", "text": "x", "role": "assistant"},
        {"messages": [], "id": 1},
        {"messages": [{"role": "User", "content": "Hi"}], "id": 1},
        {"messages": [{"role": "system", "content": "Go"}, *MESSAGES], "system": "Go"},
        {"messages": [{"role": "developer", "content": "Go"}, *MESSAGES], "system": "Stay"},
        {"system": "Go", "system_prompt": "Stay", "messages": MESSAGES},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "function_call", "value": "{}"}]},
        {"conversations": [{"from": "human", "value": "Hi", "weight": 0}]},
        {"conversations": [*TURNS, {"role": "user", "content": "Hi"}]},
        {"conversations": TURNS, "chosen": {"from": "gpt", "value": "x"}, "rejected": {"from": "gpt", "value": "y"}},
        {"instruction": "Add", "input": 1, "output": "3"},
        {"instruction": "Add", "output": "3", "history": "[]"},
        {"instruction": "Add", "input": "", "output": " "},
        {"prompt": "Hi", "completion": "Hello", "response": "Hello"},
        {"prompt": MESSAGES[:1], "completion": MESSAGES[1:]},
        {"question": "Hi", "thinking_trajectories": "x", "attempt": "y", "solution": "z"},
        {"id": "0", "data": ["Hi", "Hello"]},
        {"text": "Hi"},
        {},
    ],
    ids=str,
)
def test_anything_else_goes_the_general_way(record: dict[str, Json]) -> None:
    assert read(record) is None


@pytest.mark.parametrize(
    "odd",
    [
        {"tools": ({"name": "look_up"},)},
        {"messages": (Message(role="user", content="\ue000"), Message(role="assistant", content="x", loss=False))},
        {"messages": (Message(role="user", content=("\ue000",)), Message(role="assistant", content="x"))},
    ],
    ids=["tools", "loss", "parts"],
)
def test_a_format_that_does_more_than_to_place_texts_has_no_short_way(odd: dict[str, Any]) -> None:
    messages = (Message(role="user", content="\ue000"), Message(role="assistant", content="x"))
    usual = Conversation(messages=messages)

    def learned(conversation: Conversation, listed: str | None) -> object:
        made = replace(FORMATS[0], parse=lambda _: conversation)
        return _learned(made, {}, {"\ue000": "key"}, listed)

    assert learned(usual, None) is not None
    assert learned(usual, "list") is None
    assert learned(structs.replace(usual, **odd), None) is None


THOUGHT = "<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>b<|end_of_solution|>"


@pytest.mark.parametrize(
    ("record", "format_name"),
    [
        ({"instruction": "Human: a\nAssistant:", "output": "b"}, "belle-dialogue"),
        ({"instruction": "Add", "input": "[|Human|] a [|AI|] b", "output": "c"}, None),
        ({"prompt": "\n\nHuman: a\n\nAssistant:", "completion": "b"}, "rendered-completion"),
        ({"prompt": " <|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n", "completion": "b"}, "rendered-completion"),
        ({"prompt": "[INST] a [/INST]", "completion": "b"}, "rendered-completion"),
        ({"prompt": "a\n<extra_id_1>Assistant\n", "response": "b"}, "helpsteer-prompt"),
        ({"conversations": [TURNS[0], {"from": "gpt", "value": THOUGHT}]}, "sharegpt"),
    ],
)  # fmt: skip
def test_texts_that_are_more_than_texts_go_the_general_way(record: Json, format_name: str | None) -> None:
    assert read(record) is None
    found = generally(written(record))
    if format_name in {known.name for known in FORMATS}:
        assert found is not None
        assert found[0] == format_name


@pytest.mark.parametrize(
    "text",
    [
        b'{"prompt": "a", "completion": "b", "prompt": "a"}',
        b'{"prompt": "a", "completion": "b", "id": 1, "id": 1}',
        b'{"prompt": "a", "completion": "b", "x": 1, "\\u0078": 1}',
        b'{"conversations": [{"from": "human", "value": "a", "value": "a"}]}',
        b'{"messages": [{"role": "user", "content": "a", "role": "user"}], "id": 1}',
        b'{"prompt": "a", "completion": "\\ud800"}',
        b'{"prompt": "a", "completion": "b", "x": "\xff"}',
        b'{"prompt": "a", "completion": "b\\u0000"}',
        b'{"prompt": "a", "completion": "b", "x": 1e999}',
        b'{"prompt": "a", "completion": "b", "x": NaN}',
        b'{"prompt": "a", "completion": "b"',
        b'{"prompt": "a", "completion": "b"}{}',
    ],
)
def test_what_is_not_strict_goes_the_general_way(text: bytes) -> None:
    neighbour = b'{"prompt": "\\"", "completion": "b"}'
    read_first = PlainConversation(PAIR, ['"', "b"], "prompt-completion")
    assert plain_conversations([neighbour, text, neighbour]) == [read_first, None, read_first]


@pytest.mark.parametrize(
    "number", ["-0", "1.5e300", "1e-999", "9" * 30, "9" * 4300, "9" * 4301, "0.1" + "0" * 5000, "01"]
)
def test_numbers_that_the_general_way_refuses_are_not_read(number: str) -> None:
    text = b'{"prompt": "a", "completion": "b", "x": %s}' % number.encode()
    [found] = plain_conversations([text])
    assert found is None or generally(text) == (found.format, found.written_out())


# -------------------------------------------------------------------------------------------------- properties


def strings(value: Json) -> Iterator[str]:
    """All texts in a value, but those of keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


CASE_RECORDS: list[Json] = [
    case["record"] for path in sorted(CASES.glob("*.json")) for case in json.loads(path.read_text(encoding="utf-8"))
]
SPECIAL = sorted(
    {text for record in (*CASE_RECORDS, *(known.example for known in FORMATS)) for text in strings(record)}
)
FORMS: list[dict[str, Json]] = [
    {"instruction": "a", "input": "b", "output": "c"},
    {"prompt": "a", "completion": "b"},
    {"question": "a", "context": "b", "answer": "c"},
    {"prompt": "a", "response": "b"},
    {"system": "a", "conversations": TURNS},
    {"system": "a", "messages": MESSAGES},
]


def test_records_of_all_formats_are_read_as_the_general_way_reads_them() -> None:
    texts = [written(record) for record in CASE_RECORDS]
    found = plain_conversations(texts)
    assert [text for text, one in zip(texts, found, strict=True) if not agree(text, one)] == []
    assert sum(one is not None for one in found) >= 50


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_no_text_that_any_format_knows_is_misread(form: dict[str, Json]) -> None:
    """A mark that a new format looks for has to be known to the short way; its example or cases show it."""
    texts = [written(form | {key: text}) for key, value in form.items() if isinstance(value, str) for text in SPECIAL]
    assert [text for text, one in zip(texts, plain_conversations(texts), strict=True) if not agree(text, one)] == []


KEYS = sorted(
    {key for known in FORMATS if known.name in FORM_FORMATS for key in (*known.keys, *known.without, *known.optional)}
)
TEXTS = st.text(alphabet='ab"\\ {[<é\0', max_size=4)
ITEMS = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": TEXTS}),
    st.fixed_dictionaries({"from": st.sampled_from(["human", "gpt", "tool", "x"]), "value": TEXTS}),
)
VALUES = st.one_of(
    TEXTS,
    st.sampled_from(["", "Hi", None, 0, 1, True, 0.5, MESSAGES, TURNS]),
    st.lists(ITEMS, max_size=3),
)
RECORDS = st.one_of(
    st.dictionaries(st.sampled_from([*KEYS, "id", "x"]), VALUES, max_size=4),
    st.tuples(
        st.sampled_from(FORMS), st.dictionaries(st.sampled_from(["system", "id", "label", "x"]), VALUES, max_size=2)
    ).map(lambda drawn: drawn[0] | drawn[1]),
    st.tuples(st.sampled_from(FORMS), VALUES, VALUES).map(
        lambda drawn: dict(zip(drawn[0], [*drawn[1:], *drawn[0].values()], strict=False))
    ),
)


@given(st.lists(RECORDS, max_size=4))
@settings(max_examples=300)
def test_both_ways_agree(records: list[dict[str, Json]]) -> None:
    texts = [written(record) for record in records]
    for text, found in zip(texts, plain_conversations(texts), strict=True):
        assert agree(text, found)


LISTS: dict[str, list[Json]] = {
    "messages": [*MESSAGES, {"role": "user", "content": "More?"}],
    "conversations": [*TURNS, {"from": "human", "value": "More?"}],
}


@pytest.mark.parametrize("listed", LISTS)
@pytest.mark.parametrize("length", [1, 2, 3])
def test_who_speaks_last_beside_two_odd_keys_is_no_matter(listed: str, length: int) -> None:
    keys = sorted({key for known in FORMATS if listed in known.keys for key in (*known.optional, *known.without)})
    values: list[Json] = ["", None, [], "Hi"]
    records: list[dict[str, Json]] = [
        {listed: LISTS[listed][:length], key: value, other: another}
        for key, other in combinations(keys, 2)
        for value in values
        for another in values
    ]
    texts = [written(record) for record in records]
    wrong = [text for text, found in zip(texts, plain_conversations(texts), strict=True) if not agree(text, found)]
    assert wrong == []
    assert len(records) > 1000


def test_an_empty_preferred_answer_is_refused_after_a_question_too() -> None:
    record: dict[str, Json] = {"messages": LISTS["messages"], "chosen": "", "rejected": []}
    with pytest.raises(RecordError) as caught:
        to_conversation(record)
    assert (caught.value.code, caught.value.json_path) == ("empty-answer", "$.chosen.content")
    assert read(record) is None
