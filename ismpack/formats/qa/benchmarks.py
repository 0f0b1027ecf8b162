"""Benchmarks of dialogue: several questions, and their answers if the file has them."""

from __future__ import annotations

from collections.abc import Sequence

from ismpack.data import Conversation, Json, Role
from ismpack.errors import RecordError
from ismpack.formats.chat.sides import side
from ismpack.formats.format import Format
from ismpack.formats.record import AROUND_KEYS, conversation, dialogue, message_list, text_at
from ismpack.formats.shapes import TEXT, TEXTS, Shape, either, objects
from ismpack.formats.values import kind_of

_ID = Shape("text or number", lambda value: isinstance(value, (str, int)))
_TURNS = either(TEXTS, objects("content", without=("role",)))


def _parse_questions(record: dict[str, Json]) -> Conversation:
    reference = record.get("reference")
    items = message_list(reference, "$.reference") if reference not in (None, "", []) else []
    answers = [_text(item, f"$.reference[{index}]") if item is not None else None for index, item in enumerate(items)]
    return _interleaved(record, _texts(record.get("turns"), "$.turns"), answers)


def _parse_answers(record: dict[str, Json]) -> Conversation:
    choices = message_list(record.get("choices"), "$.choices")
    if record.get("turns") is None:
        raise RecordError(
            "the record holds a model's answers without the questions",
            code="no-question",
            json_path="$.choices",
            hint="Join it with its question file: the question's turns beside choices.",
        )
    if len(choices) != 1:
        message = f"the record has {len(choices)} choices of answers to the same questions"
        raise RecordError(message, code="bad-messages", json_path="$.choices", hint="Keep one of them.")
    choice = choices[0]
    if not isinstance(choice, dict):
        message = f"a choice is {kind_of(choice)}, not an object"
        raise RecordError(message, code="bad-message", json_path="$.choices[0]")
    answers = _texts(choice.get("turns"), "$.choices[0].turns")
    return _interleaved(record, _texts(record.get("turns"), "$.turns"), answers)


def _texts(value: Json, path: str) -> list[tuple[str, str]]:
    """The texts of a list, each written bare or as the content of an object, with their JSON paths."""
    return [_text(item, f"{path}[{index}]") for index, item in enumerate(message_list(value, path))]


def _text(item: Json, path: str) -> tuple[str, str]:
    text, where = (item.get("content"), f"{path}.content") if isinstance(item, dict) else (item, path)
    return where, text_at(text, where)


def _interleaved(
    record: dict[str, Json], asked: list[tuple[str, str]], answers: Sequence[tuple[str, str] | None]
) -> Conversation:
    """Each question followed by its answer, if it has one."""
    if extra := [answer for answer in answers[len(asked) :] if answer is not None]:
        raise RecordError(
            f"there are {len(answers)} answers to {len(asked)} questions", code="bad-messages", json_path=extra[0][0]
        )
    turns: list[tuple[Role, str, str]] = []
    for index, (path, text) in enumerate(asked):
        turns.append(("user", path, text))
        answer = answers[index] if index < len(answers) else None
        if answer is not None:
            turns.append(("assistant", *answer))
    return dialogue(record, turns)


def _parse_arena_hard(record: dict[str, Json]) -> Conversation:
    """Messages whose answers stand in an object, as `{"answer": text}`."""
    items = message_list(record.get("messages"), "$.messages")
    plain: list[Json] = []
    for index, item in enumerate(items):
        content = item.get("content") if isinstance(item, dict) else None
        if isinstance(item, dict) and isinstance(content, dict):
            path = f"$.messages[{index}].content.answer"
            plain.append({**item, "content": text_at(content.get("answer"), path)})
        else:
            plain.append(item)
    messages, text_path = side(plain, "$.messages")
    return conversation(record, messages, text_path)


BENCHMARK_FORMATS: tuple[Format, ...] = (
    Format(
        name="mt-bench",
        title="MT-Bench questions: question_id and turns, perhaps with reference answers",
        keys={"question_id": _ID, "turns": _TURNS},
        without=("choices",),
        optional=("reference", *AROUND_KEYS),
        datasets=("MT-Bench", "Arena-Hard questions"),
        example={"question_id": 1, "turns": ["Name a metal."], "reference": ["Tin."]},
        parse=_parse_questions,
    ),
    Format(
        name="mt-bench-answers",
        title="MT-Bench answers joined with their questions: question_id, turns and choices",
        keys={"question_id": _ID, "choices": objects("turns")},
        optional=("turns", *AROUND_KEYS),
        datasets=("MT-Bench answers", "Arena-Hard answers"),
        example={"question_id": 1, "turns": ["Name a metal."], "choices": [{"index": 0, "turns": ["Tin."]}]},
        parse=_parse_answers,
    ),
    Format(
        name="arena-hard",
        title="Arena-Hard v2 answers: messages whose answer is an object, and ans_id",
        keys={"ans_id": TEXT, "messages": objects("role")},
        optional=AROUND_KEYS,
        datasets=("Arena-Hard v2 answers",),
        example={
            "ans_id": "a1",
            "messages": [
                {"role": "user", "content": "Name a metal."},
                {"role": "assistant", "content": {"answer": "Tin."}},
            ],
        },
        parse=_parse_arena_hard,
    ),
)
