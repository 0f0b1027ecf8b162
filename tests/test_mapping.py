"""`--map`: a format in the user's words."""

from __future__ import annotations

from typing import Any

import pytest

from ismpack.data import Conversation, Json, Message
from ismpack.errors import RecordError, UsageError
from ismpack.formats import chosen_format, to_conversation

TALK = (Message(role="user", content="Hi"), Message(role="assistant", content="Hello"))


def read(record: Json, **mapping: str) -> Conversation:
    name, conversation = to_conversation(
        record, chosen_format("auto", {k.replace("_", "."): v for k, v in mapping.items()})
    )
    assert name == "map"
    return conversation


@pytest.mark.parametrize(
    ("record", "mapping"),
    [
        (
            {"dialog": [{"speaker": "user", "text": "Hi"}, {"speaker": "assistant", "text": "Hello"}]},
            {"messages": "dialog", "role": "speaker", "content": "text"},
        ),
        (
            {"messages": [{"who": "human", "content": "Hi"}, {"who": "gpt", "content": "Hello"}]},
            {"role": "who"},
        ),
        (
            {"messages": [{"role": "caller", "content": "Hi"}, {"role": "bot-2", "content": "Hello"}]},
            {"role_user": "caller|client", "role_assistant": "agent|bot-2"},
        ),
        (
            {"body": {"log": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}},
            {"messages": "body.log"},
        ),
        (
            {"body.log": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
            {"messages": "body.log"},
        ),
        ({"ask": "Hi", "reply": {"best": "Hello"}}, {"prompt": "ask", "completion": "reply.best"}),
        (
            {"dialog": '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]'},
            {"messages": "dialog"},
        ),
    ],
)
def test_a_mapping_reads_what_it_describes(record: Json, mapping: dict[str, str]) -> None:
    assert read(record, **mapping) == Conversation(messages=TALK)


def test_what_stands_around_the_messages_can_be_mapped() -> None:
    record: Json = {
        "persona": "Be kind.",
        "functions_available": [{"name": "f"}],
        "ask": "Hi",
        "reply": "Hello",
        "messages": "not read",
    }
    assert read(
        record, prompt="ask", completion="reply", system="persona", tools="functions_available"
    ) == Conversation(
        messages=(Message(role="system", content="Be kind."), *TALK),
        tools=({"type": "function", "function": {"name": "f"}},),
    )


def test_flags_and_calls_are_read_as_everywhere() -> None:
    record: Json = {
        "dialog": [
            {"speaker": "user", "text": "Hi"},
            {"speaker": "assistant", "text": "Hello", "weight": 0, "reasoning": "greet"},
        ]
    }
    assert read(record, messages="dialog", role="speaker", content="text").messages[1] == Message(
        role="assistant", content="Hello", reasoning="greet", loss=False
    )


@pytest.mark.parametrize(
    ("record", "code", "path", "message"),
    [
        (
            {"a": 1, "messages": []},
            "unknown-format",
            "$",
            'the record has no "dialog", which --map names; it has "a", "messages"',
        ),
        ({"dialog": {}}, "bad-messages", "$.dialog", "the messages are an object, not a list"),
        ({"dialog": [{"text": "Hi"}]}, "bad-message", "$.dialog[0].speaker", "the role of a message is missing"),
        (
            {"dialog": [{"speaker": "caller", "text": "Hi"}]},
            "unknown-role",
            "$.dialog[0].speaker",
            'a message has role "caller", which is not known',
        ),
    ],
)
def test_a_record_that_does_not_fit_is_refused(record: Json, code: str, path: str, message: str) -> None:
    with pytest.raises(RecordError) as caught:
        read(record, messages="dialog", role="speaker", content="text")
    assert (caught.value.code, caught.value.json_path, caught.value.message) == (code, path, message)


@pytest.mark.parametrize(
    ("mapping", "message", "hint"),
    [
        (
            {"mesages": "x"},
            '--map has no name "mesages"',
            "Did you mean messages? For example: --map messages=dialog,role=speaker,content=text.",
        ),
        (
            {"messages": ""},
            "--map messages= names no key",
            "For example: --map messages=dialog,role=speaker,content=text.",
        ),
        (
            {"role.user": "a||b"},
            "--map role.user=a||b names no key",
            "For example: --map messages=dialog,role=speaker,content=text.",
        ),
        ({"prompt": "q"}, "--map names prompt alone", "A pair of texts is prompt=KEY,completion=KEY."),
        (
            {"prompt": "q", "completion": "a", "role": "r"},
            "--map describes a list of messages and a pair of texts at once",
            "Keep one of the two.",
        ),
    ],
)
def test_a_wrong_mapping_is_a_usage_error(mapping: dict[str, str], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen_format("auto", mapping)
    assert (caught.value.code, caught.value.message, caught.value.hint) == ("bad-option", message, hint)


def test_a_mapping_and_a_format_exclude_each_other() -> None:
    with pytest.raises(UsageError) as caught:
        chosen_format("messages", {"role": "speaker"})
    assert caught.value.message == "--map and --format are given at once"


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, [[]], {"dialog": None}, {"dialog": [None]}, {"dialog": [[]]}])
def test_any_value_gives_a_conversation_or_a_refusal(value: Any) -> None:
    with pytest.raises(RecordError):
        read(value, messages="dialog")
