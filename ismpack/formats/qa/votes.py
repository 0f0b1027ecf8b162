"""Two answers to one question, and a vote between them. The winner is read; without one the record is left out."""

from __future__ import annotations

from collections.abc import Callable

from ismpack.data import Conversation, Json, Message
from ismpack.errors import RecordError
from ismpack.formats.chat.openai import as_context
from ismpack.formats.chat.sides import joined, side
from ismpack.formats.format import Format
from ismpack.formats.record import AROUND_KEYS, alternating, conversation, message_list, text_at, text_in
from ismpack.formats.shapes import LIST, TEXT, Shape, either, objects
from ismpack.formats.transcripts.rendered_prompts import PLAIN_QUESTION
from ismpack.formats.values import kind_of, shown
from ismpack.formats.verdicts import undesired

_ANY = Shape("any value", lambda _: True)
_TEXTS = either(TEXT, LIST)
_ARENA_WINNERS = {"model_a": "conversation_a", "model_b": "conversation_b"}
_ARENA_TIES = ("tie", "tie (bothbad)", "both_bad")


def _parse_arena(record: dict[str, Json]) -> Conversation:
    winner = text_in(record, "winner")
    if winner in _ARENA_TIES:
        raise undesired(f"the vote is {shown(winner)}, so no answer won", "$.winner")
    if winner not in _ARENA_WINNERS:
        raise RecordError(
            f"the winner is {shown(winner)}, which is not known",
            code="bad-content",
            json_path="$.winner",
            hint=f"Known words: {', '.join((*_ARENA_WINNERS, *_ARENA_TIES))}.",
        )
    key = _ARENA_WINNERS[winner]
    messages, path = side(record.get(key), f"$.{key}")
    return conversation(record, messages, path)


def _parse_arena_votes(record: dict[str, Json]) -> Conversation:
    won = [side for side in ("a", "b") if record.get(f"winner_model_{side}") in (1, "1")]
    if not won:
        raise undesired("neither model won the vote", "$.winner_model_a")
    if len(won) > 1:
        raise RecordError("both models won the vote", code="bad-content", json_path="$.winner_model_b")
    key = f"response_{won[0]}"
    asked, answers = message_list(record.get("prompt"), "$.prompt"), message_list(record.get(key), f"$.{key}")
    if len(asked) != len(answers):
        message = f"prompt holds {len(asked)} texts, but {key} holds {len(answers)}"
        raise RecordError(message, code="bad-messages", json_path=f"$.{key}")
    turns: list[tuple[str, str]] = []
    for index, (text, answer) in enumerate(zip(asked, answers, strict=True)):
        for name, value in (("prompt", text), (key, answer)):
            turns.append((f"$.{name}[{index}]", text_at(value, f"$.{name}[{index}]")))
    return alternating(record, turns)


def _parse_scored_context(record: dict[str, Json]) -> Conversation:
    """The conversation up to the answers, and the one that the score prefers: below 0 the first, above 0 the second."""
    score = _number(record, "overall_preference")
    if score == 0:
        raise undesired("overall_preference is 0, so no answer won", "$.overall_preference")
    key = "response1" if score < 0 else "response2"
    asked, path = side(record.get("context"), "$.context")
    answer = Message(role="assistant", content=text_in(record, key))
    return joined(record, (as_context(asked), path), ([answer], lambda _: f"$.{key}"))


def _voted(asked: str, winner: Callable[[dict[str, Json]], str]) -> Callable[[dict[str, Json]], Conversation]:
    """The function that reads one question and the answer under the key that `winner` names."""

    def parse(record: dict[str, Json]) -> Conversation:
        key = winner(record)
        return alternating(record, [(f"$.{asked}", text_in(record, asked)), (f"$.{key}", text_in(record, key))])

    return parse


def _safe_winner(record: dict[str, Json]) -> str:
    """The better answer, unless the record itself calls it unsafe."""
    number = _number(record, "better_response_id")
    if number not in (0, 1):
        raise _unknown_vote("better_response_id", number, "0 or 1")
    flag = f"is_response_{number:.0f}_safe"
    if record.get(flag) is False:
        raise undesired(f"{flag} is false: the record marks the better answer as unsafe", f"$.{flag}")
    return f"response_{number:.0f}"


def _reddit_winner(record: dict[str, Json]) -> str:
    number = _number(record, "labels")
    if number not in (0, 1):
        raise _unknown_vote("labels", number, "1 for human_ref_A or 0 for human_ref_B")
    return "human_ref_A" if number == 1 else "human_ref_B"


def _annotated_winner(record: dict[str, Json]) -> str:
    """AlpacaEval: from 1 (the first) to 2 (the second), perhaps between them; older files write 0 for a draw."""
    path = "$.preference"
    if record.get("preference") is None:
        raise undesired("preference is null, so no answer won", path)
    number = _number(record, "preference")
    if number in (0, 1.5):
        raise undesired("preference says that neither answer is better", path)
    if not 1 <= number <= 2:
        raise _unknown_vote("preference", number, "1 to 2")
    return "output_1" if number < 1.5 else "output_2"


def _number(record: dict[str, Json], key: str) -> float:
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RecordError(f"{key} is {kind_of(value)}, not a number", code="bad-content", json_path=f"$.{key}")
    return value


def _unknown_vote(key: str, number: float, known: str) -> RecordError:
    return RecordError(f"{key} is {number}", code="bad-content", json_path=f"$.{key}", hint=f"Known: {known}.")


_ASKED: Json = {"role": "user", "content": "Name a metal."}

VOTE_FORMATS: tuple[Format, ...] = (
    Format(
        name="arena",
        title="Chatbot Arena: two conversations and the winner, model_a or model_b",
        keys={"conversation_a": objects("role"), "conversation_b": objects("role"), "winner": TEXT},
        optional=AROUND_KEYS,
        datasets=("Chatbot Arena conversations", "MT-Bench human judgments", "Arena human preference 140k"),
        example={
            "conversation_a": [_ASKED, {"role": "assistant", "content": "Tin."}],
            "conversation_b": [_ASKED, {"role": "assistant", "content": "Wood."}],
            "winner": "model_a",
        },
        parse=_parse_arena,
    ),
    Format(
        name="arena-votes",
        title="Arena human preference 55k: prompt, response_a and response_b as lists of texts, winner_model_a and _b",
        keys={
            "prompt": _TEXTS,
            "response_a": _TEXTS,
            "response_b": _TEXTS,
            "winner_model_a": _ANY,
            "winner_model_b": _ANY,
        },
        optional=AROUND_KEYS,
        datasets=("Arena human preference 55k",),
        example={
            "prompt": '["Name a metal."]',
            "response_a": '["Tin."]',
            "response_b": '["Wood."]',
            "winner_model_a": 1,
            "winner_model_b": 0,
        },
        parse=_parse_arena_votes,
    ),
    Format(
        name="scored-context",
        title="HelpSteer: a conversation in context, response1, response2, and overall_preference below or above 0",
        keys={"context": objects("role"), "response1": TEXT, "response2": TEXT, "overall_preference": _ANY},
        optional=AROUND_KEYS,
        datasets=("HelpSteer3",),
        example={"context": [_ASKED], "response1": "Tin.", "response2": "Wood.", "overall_preference": -2},
        parse=_parse_scored_context,
    ),
    Format(
        name="better-response",
        title="PKU-SafeRLHF: prompt, response_0, response_1, better_response_id, and whether each is safe",
        keys={"prompt": PLAIN_QUESTION, "response_0": TEXT, "response_1": TEXT, "better_response_id": _ANY},
        optional=("is_response_0_safe", "is_response_1_safe", *AROUND_KEYS),
        datasets=("PKU-SafeRLHF",),
        example={"prompt": "Name a metal.", "response_0": "Wood.", "response_1": "Tin.", "better_response_id": 1},
        parse=_voted("prompt", _safe_winner),
    ),
    Format(
        name="human-references",
        title="SHP: a post in history, two comments, and labels: 1 for human_ref_A",
        keys={"history": PLAIN_QUESTION, "human_ref_A": TEXT, "human_ref_B": TEXT, "labels": _ANY},
        optional=AROUND_KEYS,
        datasets=("SHP",),
        example={"history": "Which metal?", "human_ref_A": "Tin.", "human_ref_B": "Wood.", "labels": 1},
        parse=_voted("history", _reddit_winner),
    ),
    Format(
        name="annotations",
        title="AlpacaEval annotations: instruction, output_1, output_2, and preference from 1 to 2",
        keys={"instruction": PLAIN_QUESTION, "output_1": TEXT, "output_2": TEXT, "preference": _ANY},
        optional=AROUND_KEYS,
        datasets=("AlpacaEval annotations",),
        example={"instruction": "Name a metal.", "output_1": "Wood.", "output_2": "Tin.", "preference": 1.99},
        parse=_voted("instruction", _annotated_winner),
    ),
)
