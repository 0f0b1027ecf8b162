"""Questions whose answers come with the thinking that led to them, each under a key of its own."""

from __future__ import annotations

from collections.abc import Callable

from ismpack.data import Conversation, Json, Message
from ismpack.errors import RecordError
from ismpack.formats.format import Format
from ismpack.formats.record import AROUND_KEYS, conversation, text_at, text_in
from ismpack.formats.shapes import TEXT, TEXTS, Shape
from ismpack.formats.transcripts.rendered_prompts import PLAIN_QUESTION


def _parser(asked: str, thought: str, answer: str) -> Callable[[dict[str, Json]], Conversation]:
    def parse(record: dict[str, Json]) -> Conversation:
        messages = [
            Message(role="user", content=text_in(record, asked)),
            Message(role="assistant", content=text_in(record, answer), reasoning=_thinking(record, thought)),
        ]
        return conversation(record, messages, lambda index: f"$.{(asked, answer)[index]}")

    return parse


def _thinking(record: dict[str, Json], key: str) -> str:
    """A text, or the only text of a list."""
    value = record.get(key)
    if not isinstance(value, list):
        return text_in(record, key)
    if len(value) != 1:
        raise RecordError(
            f"{key} holds {len(value)} texts for one answer",
            code="bad-content",
            json_path=f"$.{key}",
            hint="Keep the one that led to the answer.",
        )
    return text_at(value[0], f"$.{key}[0]")


def _thought(
    name: str, title: str, keys: tuple[str, str, str], thought: Shape, dataset: str, example: dict[str, Json]
) -> Format:
    """A format of a question, the thinking of shape `thought`, and the answer, under these three keys."""
    asked, thinking, answer = keys
    return Format(
        name=name,
        title=title,
        keys={asked: PLAIN_QUESTION, thinking: thought, answer: TEXT},
        optional=AROUND_KEYS,
        datasets=(dataset,),
        example=example,
        parse=_parser(asked, thinking, answer),
    )


REASONING_FORMATS: tuple[Format, ...] = (
    _thought(
        "thinking-trajectories",
        "s1K: question, thinking_trajectories (a list of one text) and attempt",
        ("question", "thinking_trajectories", "attempt"),
        TEXTS,
        "s1K",
        {"question": "What is 2 + 2?", "thinking_trajectories": ["Two and two."], "attempt": "4", "solution": "4"},
    ),
    _thought(
        "deepseek-trajectory",
        "s1K-1.1: question, deepseek_thinking_trajectory and deepseek_attempt",
        ("question", "deepseek_thinking_trajectory", "deepseek_attempt"),
        TEXT,
        "s1K-1.1",
        {"question": "What is 2 + 2?", "deepseek_thinking_trajectory": "Two and two.", "deepseek_attempt": "4"},
    ),
    _thought(
        "deepseek-reasoning",
        "OpenThoughts metadata: problem, deepseek_reasoning and deepseek_solution",
        ("problem", "deepseek_reasoning", "deepseek_solution"),
        TEXT,
        "OpenThoughts-114k metadata",
        {"problem": "What is 2 + 2?", "deepseek_reasoning": "Two and two.", "deepseek_solution": "4"},
    ),
    _thought(
        "complex-cot",
        "medical-o1: Question, Complex_CoT and Response",
        ("Question", "Complex_CoT", "Response"),
        TEXT,
        "medical-o1-reasoning-SFT",
        {"Question": "What is 2 + 2?", "Complex_CoT": "Two and two.", "Response": "4"},
    ),
)
