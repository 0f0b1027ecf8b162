"""Lists of pairs: each item holds what the user says and what the model answers."""

from __future__ import annotations

from functools import partial

from ismpack.data import Conversation, Json, Message
from ismpack.errors import RecordError
from ismpack.formats.format import Format
from ismpack.formats.message import MEDIA_KEYS
from ismpack.formats.parts import not_text
from ismpack.formats.record import AROUND_KEYS, conversation, message_list, text_at, text_in
from ismpack.formats.shapes import objects
from ismpack.formats.values import kind_of

_LOSS_KEY = "output_with_loss"
"""XTuner's word on whether the answer of a pair is trained."""


def _parse(
    record: dict[str, Json],
    *,
    key: str,
    question: str,
    answer: str,
    before: str | None = None,
    unanswered: str | None = None,
) -> Conversation:
    """The conversation of a list of pairs.

    Args:
        record: The record.
        key: Key of the list.
        question: Key of what the user says.
        answer: Key of the answer.
        before: Key of a text that the user says on lines of its own before the first question.
        unanswered: Key by which an item says that its answer is yet to be made; an empty one is then none at all.
    """
    items = _pairs(record.get(key), f"$.{key}")
    system = _system(items, f"$.{key}")
    opening = text_in(record, before) if before is not None and record.get(before) is not None else ""
    messages = [Message(role="system", content=system)] if system else []
    paths = [f"$.{key}[0].system"] if system else []
    for index, item in enumerate(items):
        path = f"$.{key}[{index}]"
        asked = text_at(item.get(question), f"{path}.{question}")
        asked = "\n".join(text for text in (opening, asked) if text) if index == 0 else asked
        answered = text_at(item.get(answer), f"{path}.{answer}")
        messages.append(Message(role="user", content=asked))
        paths.append(f"{path}.{question}")
        if not answered and unanswered is not None and item.get(unanswered) is True:
            continue
        messages.append(Message(role="assistant", content=answered, loss=_loss(item, path)))
        paths.append(f"{path}.{answer}")
    return conversation(record, messages, paths.__getitem__)


def _pairs(value: Json, path: str) -> list[dict[str, Json]]:
    """The items, all of them objects and none with an image or the like."""
    pairs: list[dict[str, Json]] = []
    for index, item in enumerate(message_list(value, path)):
        here = f"{path}[{index}]"
        if not isinstance(item, dict):
            what = f"a pair is {kind_of(item)}, not an object"
            raise RecordError(what, code="bad-message", json_path=here)
        for key in MEDIA_KEYS:
            if item.get(key) not in (None, "", [], {}):
                raise not_text(key, f"{here}.{key}")
        pairs.append(item)
    return pairs


def _system(items: list[dict[str, Json]], path: str) -> str:
    """The system text that the first item has; later items may repeat it."""
    found = ""
    for index, item in enumerate(items):
        here = f"{path}[{index}].system"
        text = text_at(item["system"], here) if item.get("system") is not None else ""
        if index == 0:
            found = text
        elif text not in ("", found):
            raise RecordError(
                "system differs from that of the first item",
                code="bad-messages",
                json_path=here,
                hint="A conversation has one system text; write it in its first item.",
            )
    return found


def _loss(item: dict[str, Json], path: str) -> bool | None:
    flag = item.get(_LOSS_KEY)
    if not isinstance(flag, bool | None):
        what = f"{_LOSS_KEY} is {kind_of(flag)}, not true or false"
        raise RecordError(what, code="bad-message", json_path=f"{path}.{_LOSS_KEY}")
    return flag


HUMAN_ASSISTANT_PAIRS = Format(
    name="human-assistant-pairs",
    title="Pairs of human and assistant in conversation",
    keys={"conversation": objects("human", "assistant")},
    optional=AROUND_KEYS,
    datasets=("ShareGPT pair items (ms-swift, ShareGPT-Chinese-English-90k)",),
    example={"conversation": [{"human": "What is the capital of Peru?", "assistant": "Lima."}]},
    parse=partial(_parse, key="conversation", question="human", answer="assistant"),
)

INPUT_OUTPUT_PAIRS = Format(
    name="input-output-pairs",
    title="Pairs of input and output in conversation, perhaps with system in the first",
    keys={"conversation": objects("input", "output")},
    without=("chosen", "rejected"),
    optional=AROUND_KEYS,
    datasets=("Capybara / Pure-Dove", "XTuner"),
    example={"conversation": [{"input": "What is the capital of Peru?", "output": "Lima."}]},
    parse=partial(_parse, key="conversation", question="input", answer="output"),
)

QUESTION_ANSWER_PAIRS = Format(
    name="question-answer-pairs",
    title="Pairs of question and answer in conversations; an instruction is said before the first question",
    keys={"conversations": objects("question", "answer")},
    optional=("instruction", *AROUND_KEYS),
    datasets=("COIG multi-turn", "Question list"),
    example={"conversations": [{"question": "What is the capital of Peru?", "answer": "Lima."}]},
    parse=partial(_parse, key="conversations", question="question", answer="answer", before="instruction"),
)

_EVALUATION = partial(_parse, question="user", answer="sys", unanswered="do_inference")

MT_EVAL = Format(
    name="mt-eval",
    title="MT-Eval: pairs of user and sys in conv",
    keys={"conv": objects("user", "sys")},
    optional=("do_inference", *AROUND_KEYS),
    datasets=("MT-Eval",),
    example={"conv": [{"user": "What is the capital of Peru?", "sys": "Lima."}]},
    parse=partial(_EVALUATION, key="conv"),
)

MT_EVAL_CONVERSATION = Format(
    name="mt-eval-conversation",
    title="MT-Eval's extended MT-Bench: pairs of user and sys in conversation",
    keys={"conversation": objects("user", "sys")},
    optional=("do_inference", *AROUND_KEYS),
    datasets=("MT-Eval (extended MT-Bench)",),
    example={"conversation": [{"user": "What is the capital of Peru?", "sys": "Lima."}]},
    parse=partial(_EVALUATION, key="conversation"),
)

MT_BENCH_101 = Format(
    name="mt-bench-101",
    title="MT-Bench-101: pairs of user and bot in history",
    keys={"history": objects("user", "bot")},
    optional=AROUND_KEYS,
    datasets=("MT-Bench-101",),
    example={"history": [{"user": "What is the capital of Peru?", "bot": "Lima."}]},
    parse=partial(_parse, key="history", question="user", answer="bot"),
)

PAIR_FORMATS: tuple[Format, ...] = (
    HUMAN_ASSISTANT_PAIRS,
    INPUT_OUTPUT_PAIRS,
    QUESTION_ANSWER_PAIRS,
    MT_EVAL,
    MT_EVAL_CONVERSATION,
    MT_BENCH_101,
)
