"""Texts with marks between turns: the splitter against a slow one that walks through a text, and hostile records.

What each way of writing means is in `cases/formats/`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ismpack.data import Conversation, Json, Message
from ismpack.errors import RecordError
from ismpack.formats import to_conversation
from ismpack.formats.format import Format
from ismpack.formats.transcripts import TRANSCRIPT_FORMATS
from ismpack.formats.transcripts.rendered_prompts import PLAIN_PROMPT, PROMPT_MARKS
from ismpack.formats.transcripts.speaker_texts import HUMAN_ASSISTANT, PLAIN_INSTRUCTION
from ismpack.formats.transcripts.template_texts import CHATML, INST, LLAMA_3, METHARME, TEMPLATE_MARKS, ZEPHYR
from ismpack.formats.transcripts.turn_marks import Marks, Turn, split

EACH_MARKS = pytest.mark.parametrize("marks", PROMPT_MARKS, ids=lambda marks: marks.name)
EACH_FORMAT = pytest.mark.parametrize("known", TRANSCRIPT_FORMATS, ids=lambda known: known.name)

PIECES = (
    *("\n\nHuman:", "\n\nAssistant:", "Human:"),
    *("<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>\n", "<|im_start|>"),
    *("<|start_header_id|>user<|end_header_id|>\n\n", "<|start_header_id|>", "<|eot_id|>", "<|eom_id|>"),
    *("<start_of_turn>model\n", "<start_of_turn>user\n", "<end_of_turn>", "<bos>"),
    *("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "</s>", "<s>"),
    *("<|user|>\n", "<|assistant|>\n", "<|model|>", "<|end|>", "<|endoftext|>", "<|begin_of_text|>"),
    *(" ", "\n", "a", "ß", "<", "|>", "[/"),
)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def walked(text: str, marks: Marks) -> list[Turn] | None:
    """What `split` returns, one character after another; None where it refuses."""
    head = ""
    bodies: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        opening = marks.opening.match(text, position)
        if opening and opening.end() > position:
            bodies.append(([word for word in opening.groups() if word is not None][-1], ""))
            position = opening.end()
            continue
        if bodies:
            bodies[-1] = (bodies[-1][0], bodies[-1][1] + text[position])
        else:
            head += text[position]
        position += 1
    if not bodies or without(marks.around, head).strip() not in ("", marks.preamble):
        return None
    turns = [walked_turn(word, body, marks) for word, body in bodies]
    if None in turns or (marks.must_close and any(turn and turn.closing is None for turn in turns[:-1])):
        return None
    words = [word for word, _ in bodies]
    for place, word in enumerate(words):
        if word in marks.after and (place == 0 or words[place - 1] not in marks.after[word]):
            return None
    return [turn for turn in turns if turn]


def walked_turn(word: str, body: str, marks: Marks) -> Turn | None:
    said, tail, closing = body, "", None
    for end in range(len(body)):
        token = next((token for token in marks.closings if body[end:].startswith(token)), None)
        if token:
            said, tail, closing = body[:end], body[end + len(token) :], token
            break
    if without(marks.around, tail).strip() or any(token in said for token in (*marks.around, *marks.foreign)):
        return None
    return Turn(word=word, text=said if marks.exact else said.strip(), closing=closing)


def without(tokens: tuple[str, ...], text: str) -> str:
    for token in tokens:
        text = "".join(text.split(token))
    return text


@EACH_MARKS
@given(text=TEXTS)
def test_the_splitter_finds_what_a_walk_through_the_text_finds(marks: Marks, text: str) -> None:
    expected = walked(text, marks)
    if expected is None:
        with pytest.raises(RecordError, match=marks.name):
            split(text, "$.text", marks)
    else:
        assert split(text, "$.text", marks) == expected


# ------------------------------------------------------------------------------------------------------------- shapes


@given(text=TEXTS)
def test_no_text_begins_as_two_templates_do(text: str) -> None:
    assert sum(marks.begins(text) for marks in TEMPLATE_MARKS) <= 1


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("\n\nHuman: Hi\n\nAssistant:", HUMAN_ASSISTANT),
        ("<|im_start|>user\nHi<|im_end|>", CHATML),
        ("\n<|begin_of_text|><|start_header_id|>user<|end_header_id|>", LLAMA_3),
        ("<s> [INST] Hi", INST),
        ("<|user|>\nHi\n<|assistant|>\n", ZEPHYR),
        ("<|system|>Be kind.<|user|>Hi<|model|>", METHARME),
    ],
)
def test_a_rendered_prompt_is_known_by_its_first_mark(text: str, marks: Marks) -> None:
    assert [known for known in PROMPT_MARKS if known.begins(text)] == [marks]
    assert not PLAIN_PROMPT.test(text)


@pytest.mark.parametrize(
    "text", ["", "Hi", "Human: Hi", "\nHuman: Hi", "What is [INST]?", "<|im_start|>Hi", "<|user|> asks", "<s>"]
)
def test_a_plain_prompt_may_speak_of_marks(text: str) -> None:
    assert PLAIN_PROMPT.test(text)


@pytest.mark.parametrize("text", ["Human: who wins, Human: or Assistant:?", "Human:\nAssistant: Hi", "Name a metal."])
def test_an_instruction_is_a_dialogue_only_if_it_ends_where_the_answer_begins(text: str) -> None:
    assert PLAIN_INSTRUCTION.test(text)
    assert not PLAIN_INSTRUCTION.test("Human:Hi\nAssistant: ")


# ------------------------------------------------------------------------------------------------------------ hostile


ODD: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def mutated(draw: Callable[[st.SearchStrategy[Json]], Json], value: Json) -> Json:
    """A value in which one thing, at any depth, is another."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(value)))
        assert isinstance(key, str)
        return {**value, key: mutated(draw, value[key])}
    if isinstance(value, str) and draw(st.booleans()):
        cut = draw(st.integers(0, len(value)))
        assert isinstance(cut, int)
        return value[:cut] + str(draw(TEXTS)) + value[cut + len(value) // 4 :]
    return draw(ODD)


def outcome(known: Format, record: dict[str, Json]) -> RecordError | None:
    """The refusal of a record; None if it is a conversation."""
    try:
        assert isinstance(known.parse(record), Conversation)
    except RecordError as error:
        return error
    return None


@EACH_FORMAT
@given(data=st.data())
def test_a_hostile_record_gives_a_conversation_or_its_refusal(known: Format, data: st.DataObject) -> None:
    record = mutated(data.draw, known.example)
    if not isinstance(record, dict):
        record = {key: data.draw(ODD) for key in known.keys}
    refused = outcome(known, record)
    assert refused is None or (refused.json_path or "").startswith("$")


SLOW = (*PIECES, "\\", "'", '"', "{", "1 ", "<functioncall>", "### Human:", "\nHuman:", "[Human]:", '("', '"),')


@EACH_FORMAT
def test_time_grows_with_the_text_and_no_faster(known: Format) -> None:
    """Work that grows with the square of these texts takes minutes."""
    started = time.perf_counter()
    for piece in SLOW:
        text = piece * (100_000 // len(piece))
        record = {key: value + text if isinstance(value, str) else value for key, value in known.example.items()}
        known.matches(record)
        outcome(known, record)
    assert time.perf_counter() - started < 10


CHATML_TEXT = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("text", [CHATML_TEXT, "Q\n<extra_id_1>Assistant\nA\n<extra_id_1>User\nR"])
@pytest.mark.parametrize(
    ("question", "rest"),
    [
        ("instruction", {"output": "a"}),
        ("instruction", {"response": "a"}),
        ("question", {"answer": "a"}),
        ("question", {"solution": "a"}),
        ("question", {"response": "a"}),
        ("question", {"thinking_trajectories": ["t"], "attempt": "a"}),
        ("query", {"response": "a"}),
        ("query", {"answer": "a"}),
        ("problem", {"solution": "a"}),
        ("inputs", {"targets": "a"}),
        ("instruction", {"output": ["a", "b"]}),
        ("instruction", {"instances": [{"input": "", "output": "a"}]}),
    ],
)
def test_a_question_that_a_template_wrote_out_is_never_one_message(text: str, question: str, rest: Json) -> None:
    assert isinstance(rest, dict)
    with pytest.raises(RecordError) as caught:
        to_conversation({question: text, **rest})
    assert caught.value.code == "unknown-format"


def test_a_long_text_of_thought_tags_is_text() -> None:
    text = "<|begin_of_thought|>" + "<|end_of_thought|> <|begin_of_solution|>" * 25_000
    record: Json = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": text}]}
    assert len(text) > 1_000_000
    assert to_conversation(record)[1].messages[1] == Message(role="assistant", content=text)
