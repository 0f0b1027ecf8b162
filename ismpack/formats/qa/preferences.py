"""Preference data with a chosen and a rejected side. The chosen one is read.

`chosen` is a text, one message, or a list of them. A list that starts with what is asked is the whole conversation;
any other side follows the question, which is a text or a list of messages.

Only what was chosen is trained. Answers before the choice are context, whatever the layout, unless a flag says more:
those in the question or in its history, and those among the messages that chosen and rejected begin with alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ismpack.data import Conversation, Json, Message
from ismpack.errors import RecordError
from ismpack.formats.chat.openai import DIALECT, as_context
from ismpack.formats.chat.sides import Side, joined, shared_count, side
from ismpack.formats.format import Format
from ismpack.formats.lists.sharegpt import SHAREGPT
from ismpack.formats.message import parse_message
from ismpack.formats.qa.pairs import history, question
from ismpack.formats.qa.votes import VOTE_FORMATS
from ismpack.formats.record import AROUND_KEYS, conversation, message_list, text_at
from ismpack.formats.shapes import LIST, OBJECT, Shape, either, objects
from ismpack.formats.transcripts.rendered_prompts import PLAIN_PROMPT, PLAIN_QUESTION

_CHOSEN = either(PLAIN_PROMPT, LIST, OBJECT)
_LISTED = ("conversations", "trajectory")
"""Questions that are always messages; the list may be written as JSON text."""

_QUESTIONS = ("prompt", "question", "instruction", "input", "conversations", "trajectory")


def _parser(*asked: str) -> Callable[[dict[str, Json]], Conversation]:
    """The function that reads a question under these keys, if there are any, and the chosen side."""

    def parse(record: dict[str, Json]) -> Conversation:
        before, before_path = _before(record, asked)
        value = record.get("chosen")
        chosen, path = _side(value if asked else message_list(value, "$.chosen"), "$.chosen")
        chosen = _with_context(record, chosen)
        if _is_answer(chosen[0]):
            if not before:
                raise _contradiction("chosen starts with an answer, and nothing is asked before it")
            return joined(record, (before, before_path), (chosen, path))
        if asked and (isinstance(record.get(asked[0]), list) or asked[0] in _LISTED):
            chosen = _repeating(before, chosen, asked[0])
        return conversation(record, chosen, path)

    return parse


def _before(record: dict[str, Json], asked: tuple[str, ...]) -> Side:
    """What the chosen side follows."""
    if not asked:
        return [], lambda _: "$"
    first = asked[0]
    if isinstance(record.get(first), list) or first in _LISTED:
        messages, path = _side(message_list(record.get(first), f"$.{first}"), f"$.{first}")
        return as_context(messages), path
    turns = [*history(record), (f"$.{first}", question(record, asked))]
    messages = [
        Message(role="assistant" if index % 2 else "user", content=text) for index, (_, text) in enumerate(turns)
    ]
    return as_context(messages), lambda index: turns[index][0]


def _side(value: Json, path: str) -> Side:
    """The messages that a text, a message or a list of messages gives, in the words of the chat APIs or of ShareGPT."""
    if not isinstance(value, (dict, list)):
        return [Message(role="assistant", content=text_at(value, path))], lambda _: path
    first = value[0] if isinstance(value, list) and value else value
    if isinstance(first, dict) and "from" in first:
        return _sharegpt(value, path)
    if isinstance(value, dict):
        return parse_message(value, path, DIALECT), lambda _: f"{path}.content"
    return side(value, path)


def _sharegpt(value: list[Json] | dict[str, Json], path: str) -> Side:
    """One message with from and value, or a list of them."""
    is_list = isinstance(value, list)
    items: Json = value if isinstance(value, list) else [value]
    there = "$.conversations" if is_list else "$.conversations[0]"
    try:
        messages = list(SHAREGPT.parse({"conversations": items}).messages)
    except RecordError as error:
        where = path + (error.json_path or there).removeprefix(there)
        raise RecordError(error.message, code=error.code, json_path=where, hint=error.hint) from None
    return messages, lambda index: f"{path}[{index}].value" if is_list else f"{path}.value"


def _repeating(before: list[Message], chosen: list[Message], asked: str) -> list[Message]:
    """The chosen side that begins with what was asked, the answers in there as context."""
    repeated = as_context(chosen[: len(before)])
    if repeated != before:
        raise _contradiction(f"chosen starts neither with an answer nor with the messages of {asked}")
    return [*repeated, *chosen[len(before) :]]


def _with_context(record: dict[str, Json], chosen: list[Message]) -> list[Message]:
    """The chosen messages, those that the rejected side begins with too as context."""
    if len(chosen) < 2:
        return chosen
    items = _items(record.get("chosen"))
    shared = items[: shared_count(items, _items(record.get("rejected")))]
    leading = _side(shared, "$.chosen")[0] if shared else []
    if leading != chosen[: len(leading)]:
        leading.pop()  # items that are not shared go on with this message
    return [*as_context(leading), *chosen[len(leading) :]]


def _items(value: Json) -> list[Json]:
    """The items of a side that is a list; what is wrong with the rejected side does not matter."""
    try:
        return message_list(value, "$")
    except RecordError:
        return []


def _is_answer(message: Message) -> bool:
    return message.role in ("assistant", "tool")


def _contradiction(message: str) -> RecordError:
    return RecordError(
        message,
        code="bad-messages",
        json_path="$.chosen",
        hint="Chosen is the answer alone, or the whole conversation.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Preference:
    """A row of the table.

    Attributes:
        name: See `Format`, as `title`, `without` and `datasets`.
        title: As there.
        asked: Keys of the question's parts; the first must be there.
        shape: Shape of the question's first part.
        without: As there.
        datasets: As there.
        question: The question of the example.
        chosen: The chosen side of the example.
    """

    name: str
    title: str
    asked: tuple[str, ...]
    shape: Shape = PLAIN_PROMPT
    without: tuple[str, ...] = ()
    datasets: tuple[str, ...]
    question: Json = "Name a metal."
    chosen: Json = "Tin."

    def as_format(self) -> Format:
        first, *others = self.asked
        return Format(
            name=self.name,
            title=self.title,
            keys={first: self.shape, "chosen": _CHOSEN, "rejected": _CHOSEN},
            without=self.without,
            optional=(*others, "history", *AROUND_KEYS),
            datasets=self.datasets,
            example={first: self.question, "chosen": self.chosen, "rejected": "Wood."},
            parse=_parser(*self.asked),
        )


def _are_two_texts(value: Json) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(text, str) for text in value)


def _parse_ranked(record: dict[str, Json]) -> Conversation:
    outputs, path = record.get("output"), "$.output"
    if not isinstance(outputs, list) or not _are_two_texts(outputs):
        raise RecordError("output is not a better and a worse text", code="bad-content", json_path=path)
    return joined(record, _before(record, ("instruction", "input")), _side(outputs[0], f"{path}[0]"))


_TURNS: Json = [{"from": "human", "value": "Name a metal."}]

IMPLICIT = Format(
    name="implicit-preference",
    title="Two whole conversations: chosen and rejected lists of messages, and no prompt",
    keys={
        "chosen": either(objects("role"), objects("from")),
        "rejected": either(LIST, objects("role"), objects("from")),
    },
    without=_QUESTIONS,
    optional=AROUND_KEYS,
    datasets=("TRL implicit preference", "dpo-mix-7k"),
    example={
        "chosen": [{"role": "user", "content": "Name a metal."}, {"role": "assistant", "content": "Tin."}],
        "rejected": [{"role": "user", "content": "Name a metal."}, {"role": "assistant", "content": "Wood."}],
    },
    parse=_parser(),
)

RANKED = Format(
    name="ranked-outputs",
    title="LLaMA-Factory comparisons: instruction, perhaps input, and a better and a worse text in output",
    keys={"instruction": PLAIN_QUESTION, "output": Shape("list of two texts", _are_two_texts)},
    optional=("input", "history", *AROUND_KEYS),
    datasets=("LLaMA-Factory comparison_gpt4",),
    example={"instruction": "Name a metal.", "input": "", "output": ["Tin.", "Wood."]},
    parse=_parse_ranked,
)

_PREFERENCES = (
    _Preference(
        name="preference",
        title="TRL preference: prompt, chosen and rejected, as texts or lists of messages",
        asked=("prompt",),
        shape=either(PLAIN_PROMPT, LIST),
        datasets=("TRL preference", "UltraFeedback binarized"),
    ),
    _Preference(
        name="question-preference",
        title="Orca DPO pairs: question, chosen and rejected; system beside them",
        asked=("question",),
        datasets=("Intel/orca_dpo_pairs",),
    ),
    _Preference(
        name="instruction-preference",
        title="LLaMA-Factory alpaca preference: instruction, perhaps input, chosen and rejected",
        asked=("instruction", "input"),
        datasets=("LLaMA-Factory alpaca preference", "Magpie DPO"),
    ),
    _Preference(
        name="input-preference",
        title="distilabel pairs: input, chosen and rejected",
        asked=("input",),
        without=("instruction",),
        datasets=("distilabel-intel-orca-dpo-pairs",),
    ),
    _Preference(
        name="dialogue-preference",
        title="LLaMA-Factory ShareGPT preference: conversations up to the question, chosen and rejected messages",
        asked=("conversations",),
        shape=objects("from"),
        datasets=("LLaMA-Factory ShareGPT preference",),
        question=_TURNS,
        chosen={"from": "gpt", "value": "Tin."},
    ),
    _Preference(
        name="trajectory-preference",
        title="UltraInteract pairs: a trajectory of messages, chosen and rejected texts",
        asked=("trajectory",),
        shape=objects("from"),
        datasets=("UltraInteract pair",),
        question=_TURNS,
    ),
)

PREFERENCE_FORMATS: tuple[Format, ...] = (*(one.as_format() for one in _PREFERENCES), IMPLICIT, RANKED, *VOTE_FORMATS)
