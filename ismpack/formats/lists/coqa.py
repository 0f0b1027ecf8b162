"""CoQA: questions about a passage, each with its answer."""

from __future__ import annotations

from dataclasses import dataclass

from ismpack.data import Conversation, Json
from ismpack.errors import RecordError
from ismpack.formats.format import Format
from ismpack.formats.record import AROUND_KEYS, alternating, message_list, text_at, text_in
from ismpack.formats.shapes import LIST, TEXT, TEXTS, either, holding, objects
from ismpack.formats.values import kind_of


@dataclass(frozen=True, slots=True)
class _Entry:
    """A question or an answer; `turn` is None where the record does not number them."""

    path: str
    text: str
    turn: Json


def _parse(record: dict[str, Json]) -> Conversation:
    """The user gives the passage, a blank line and the first question; then questions and answers alternate."""
    questions, answers = _entries(record.get("questions"), "$.questions"), _entries(record.get("answers"), "$.answers")
    if len(questions) != len(answers):
        raise RecordError(
            f"there are {len(questions)} questions, but {len(answers)} answers",
            code="bad-messages",
            json_path="$.answers",
        )
    turns: list[tuple[str, str]] = []
    for question, answer in zip(questions, answers, strict=True):
        if None not in (question.turn, answer.turn) and question.turn != answer.turn:
            what = "an answer is of another turn than its question"
            raise RecordError(what, code="bad-messages", json_path=answer.path)
        asked = question.text if turns else f"{text_in(record, 'story')}\n\n{question.text}"
        turns += [(question.path, asked), (answer.path, answer.text)]
    return alternating(record, turns)


def _entries(value: Json, path: str) -> list[_Entry]:
    """Questions or answers: objects with `input_text`, bare texts, or an object that holds all the texts."""
    if isinstance(value, dict):
        path = f"{path}.input_text"
        value = value.get("input_text")
    return [_entry(item, f"{path}[{index}]") for index, item in enumerate(message_list(value, path))]


def _entry(item: Json, path: str) -> _Entry:
    if isinstance(item, str):
        return _Entry(path, item, None)
    if not isinstance(item, dict):
        what = f"a question or answer is {kind_of(item)}, not text or an object"
        raise RecordError(what, code="bad-message", json_path=path)
    path = f"{path}.input_text"
    return _Entry(path, text_at(item.get("input_text"), path), item.get("turn_id"))


COQA = Format(
    name="coqa",
    title="CoQA: a story, questions and answers; the story is said before the first question",
    keys={
        "story": TEXT,
        "questions": either(objects("input_text"), TEXTS),
        "answers": either(objects("input_text"), holding(input_text=LIST)),
    },
    optional=AROUND_KEYS,
    datasets=("CoQA",),
    example={
        "story": "Ada lives in Lima.",
        "questions": [{"input_text": "Where does Ada live?", "turn_id": 1}],
        "answers": [{"input_text": "In Lima.", "turn_id": 1}],
    },
    parse=_parse,
)
