"""Formats: every rule is a literal case in `cases/formats/<name>.json`; detection and its messages are here.

A case holds a record and either the conversation that it is (keys with default values left out) or its refusal.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ismpack.data import Conversation, Json, Message
from ismpack.errors import RecordError, UsageError
from ismpack.formats import FORMATS, Format, format_named, to_conversation
from ismpack.formats.values import decode_text

CASES = Path(__file__).parent / "cases" / "formats"
ALL_CASES = [
    pytest.param(path.stem, case, id=f"{path.stem}: {case['name']}")
    for path in sorted(CASES.glob("*.json"))
    for case in json.loads(path.read_text(encoding="utf-8"))
]
EACH_FORMAT = pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.name)


def plain(value: object) -> Any:
    """A conversation as JSON, without what has its default value; a message always shows its content."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if not isinstance(value, msgspec.Struct):
        return value
    shown = {}
    for name in value.__struct_fields__:
        held = getattr(value, name)
        if held not in (None, (), {}) or name in ("arguments", "content"):
            shown[name] = plain(held)
    return shown


def refusal(value: Json, name: str = "auto") -> RecordError:
    with pytest.raises(RecordError) as caught:
        to_conversation(value, format_named(name))
    return caught.value


# ------------------------------------------------------------------------------------------------------------- cases


@pytest.mark.parametrize(("name", "case"), ALL_CASES)
def test_case(name: str, case: dict[str, Any]) -> None:
    if "error" in case:
        error = refusal(case["record"])
        found = {"code": error.code, "path": error.json_path}
        if "hint" in case["error"]:
            found["hint"] = error.hint
        assert found == case["error"]
    else:
        found_name, conversation = to_conversation(case["record"])
        assert plain(conversation) == case["conversation"]
        assert found_name == name


@pytest.mark.parametrize(("name", "case"), ALL_CASES)
def test_naming_the_format_gives_the_same_as_detecting_it(name: str, case: dict[str, Any]) -> None:
    if "error" in case:
        detected, forced = refusal(case["record"]), refusal(case["record"], name)
        assert (forced.code, forced.json_path) == (detected.code, detected.json_path)
    else:
        assert to_conversation(case["record"], format_named(name)) == to_conversation(case["record"])


def test_every_format_has_a_case_file_and_every_case_file_a_format() -> None:
    assert sorted(path.stem for path in CASES.glob("*.json")) == sorted(known.name for known in FORMATS)


# ------------------------------------------------------------------------------------------------------------- table


@EACH_FORMAT
def test_a_format_describes_itself(known: Format) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", known.name)
    assert known.title
    assert known.keys.keys() <= known.example.keys()
    assert not known.keys.keys() & set(known.without)
    assert not set(known.keys) & set(known.optional)


@EACH_FORMAT
def test_the_example_of_a_format_is_read_by_that_format_alone(known: Format) -> None:
    assert [other.name for other in FORMATS if other.matches(known.example)] == [known.name]
    name, conversation = to_conversation(known.example)
    assert name == known.name
    assert [message.role for message in conversation.messages] == ["user", "assistant"]


# --------------------------------------------------------------------------------------------------------- detection


def test_formats_that_agree_count_as_the_first() -> None:
    record: Json = {
        "prompt": "Hi",
        "completion": "Hello",
        "instruction": "Hi",
        "output": "Hello",
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
    }
    expected = Conversation(
        messages=(Message(role="user", content="Hi"), Message(role="assistant", content="Hello")),
    )
    assert to_conversation(record) == ("messages", expected)


def test_formats_that_disagree_are_named() -> None:
    record: Json = {"instruction": "Hi", "input": "there", "output": "Hello", "prompt": "Hi", "completion": "Hello"}
    error = refusal(record)
    assert error.code == "ambiguous-format"
    assert error.message == "the record reads differently as alpaca and as prompt-completion"
    assert error.hint == "Choose with --format alpaca or --format prompt-completion, or remove one set of keys."
    assert to_conversation(record, format_named("prompt-completion"))[1].messages[0].content == "Hi"


def test_a_second_format_that_cannot_read_the_record_is_not_ignored() -> None:
    record: Json = {"prompt": "Hi", "completion": "Hello", "messages": [{"role": "Caller", "content": "Hi"}]}
    assert refusal(record).code == "unknown-role"
    assert to_conversation(record, format_named("prompt-completion"))[0] == "prompt-completion"


def test_an_unknown_format_lists_the_keys_and_the_nearest_format() -> None:
    error = refusal({"Instructions": "Hi", "outputs": "Hello", "id": 3, "meta": None})
    assert error.code == "unknown-format"
    assert error.message == (
        'no known format has the keys of this record; it has "Instructions" (text), "outputs" (text), '
        '"id" (a number), "meta" (null)'
    )
    assert error.hint == (
        "The nearest format is alpaca, with the keys instruction and output. "
        "--map describes another one; `ismpack formats` lists all."
    )


def test_an_unknown_format_far_from_all_names_none() -> None:
    assert refusal({"xyz": 1}).hint == "--map describes another one; `ismpack formats` lists all."
    assert refusal({}).message == "no known format has the keys of this record; it has none"


def test_a_record_with_the_keys_of_a_format_but_other_values_is_told_which() -> None:
    error = refusal({"dialog": [{"who": "a", "said": "Hi"}]})
    assert error.code == "unknown-format"
    assert error.message.endswith('it has "dialog" (a list of objects with "who", "said")')
    assert error.hint is not None
    assert error.hint.startswith("It has the keys of format dailydialog, but dialog is not list of texts. ")


def test_any_number_and_length_of_keys_is_told_in_a_few_lines() -> None:
    for record in ({f"id{number}": 1 for number in range(100_000)}, {"k" * 1_000_000: 1}):
        error = refusal(record)
        assert error.code == "unknown-format"
        assert len(error.message) <= 1001


def test_a_list_may_be_written_as_an_object_of_lists() -> None:
    listed: Json = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}
    columns: Json = {"conversations": {"from": ["human", "gpt"], "value": ["Hi", "Hello"]}}
    assert to_conversation(columns) == to_conversation(listed)
    error = refusal({"conversations": {"from": ["human", "gpt"], "value": ["Hi"]}})
    assert (error.code, error.message) == ("bad-messages", 'the lists "from" and "value" differ in length')


def test_null_is_not_having_inside_of_lists_too() -> None:
    record: Json = {
        "conversations": [
            {"from": None, "value": None, "role": "user", "content": "Hi"},
            {"from": None, "value": None, "role": "assistant", "content": "Hello"},
        ]
    }
    assert to_conversation(record)[0] == "conversations-messages"


def test_an_empty_value_does_not_keep_a_format_away() -> None:
    for empty in (None, "", [], {}):
        assert to_conversation({"problem": "1 + 1?", "solution": "2", "generations": empty})[0] == "problem-solution"


def test_many_or_long_keys_are_shortened() -> None:
    message = refusal({f"key{number}" + "x" * 100: number for number in range(20)}).message
    assert message.endswith("and 8 more")
    assert len(message) < 1000


@pytest.mark.parametrize("value", [None, 42, "x", [], True])
def test_a_value_that_is_no_object_is_refused(value: Json) -> None:
    assert refusal(value).code == "not-an-object"


def test_a_named_format_whose_keys_are_missing_is_refused() -> None:
    error = refusal({"prompt": "Hi"}, name="alpaca")
    assert error.code == "unknown-format"
    assert error.message == (
        'the record has no instruction and no output, which format alpaca needs; it has "prompt" (text)'
    )


def test_a_format_that_does_not_exist_is_a_usage_error() -> None:
    with pytest.raises(UsageError) as caught:
        format_named("message")
    assert caught.value.code == "bad-option"
    assert caught.value.hint == 'Did you mean "messages"? `ismpack formats` lists all.'
    assert format_named("alpaca").name == "alpaca"


# ------------------------------------------------------------------------------------------------------ JSON in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "a": 2}', "same key twice"),
        ("[NaN]", "NaN"),
        ("[1e999]", "out of range"),
        ('["\\ud800"]', "surrogates not allowed"),
        ("[" * 300 + "]" * 300, "too deeply"),
        ("[" * 100_000, "too deeply"),
        ("[" + "9" * 5000 + "]", "4300"),
        ("{} {}", "Extra data"),
        ("", "Expecting value"),
    ],
)
def test_json_in_text_is_as_strict_as_the_record(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode_text(text)


def test_json_in_text_may_nest_as_deep_as_a_record() -> None:
    text = "[" * 256 + "]" * 256
    assert decode_text(text) == json.loads(text)
