"""Records of one question and one answer, each under a key of its own.

All follow the same rules. A question in several parts is their texts on lines of their own, in the order of the table
(first what is asked, then what it is asked about), without those that are empty. `history` holds earlier turns, as
pairs of texts. A record that marks its answer as unwanted is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ismpack.data import Conversation, Json
from ismpack.errors import RecordError
from ismpack.formats.format import Format
from ismpack.formats.record import AROUND_KEYS, alternating, text_at, text_in
from ismpack.formats.shapes import TEXT, Shape
from ismpack.formats.transcripts.rendered_prompts import PLAIN_PROMPT, PLAIN_QUESTION
from ismpack.formats.transcripts.speaker_texts import PLAIN_INSTRUCTION
from ismpack.formats.values import decode_text, kind_of
from ismpack.formats.verdicts import PLAIN_VERDICT_KEYS, VERDICT_KEYS, refuse_undesired


def question(record: dict[str, Json], asked: tuple[str, ...]) -> str:
    """What the user says: the texts under these keys, of which only the first must be there.

    Raises:
        RecordError: `bad-content`.
    """
    first, *others = asked
    texts = [text_in(record, first), *(text_in(record, key) for key in others if record.get(key) is not None)]
    return "\n".join(text for text in texts if text)


def history(record: dict[str, Json]) -> list[tuple[str, str]]:
    """Earlier turns, as (JSON path, text), the user's first. Tables write them as JSON text, and none as empty text.

    Raises:
        RecordError: `bad-messages`, `bad-content`.
    """
    pairs = record.get("history")
    if isinstance(pairs, str) and pairs:
        try:
            pairs = decode_text(pairs)
        except ValueError as error:
            what = f"history is text that is not JSON: {error}"
            raise RecordError(what, code="bad-messages", json_path="$.history") from None
    if pairs in (None, ""):
        return []
    if not isinstance(pairs, list):
        raise RecordError(f"history is {kind_of(pairs)}, not a list", code="bad-messages", json_path="$.history")
    turns: list[tuple[str, str]] = []
    for index, pair in enumerate(pairs):
        path = f"$.history[{index}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise RecordError("an item of history is not a pair of texts", code="bad-messages", json_path=path)
        turns += [(f"{path}[{side}]", text_at(text, f"{path}[{side}]")) for side, text in enumerate(pair)]
    return turns


def pair_parser(
    asked: tuple[str, ...], answer: str, verdicts: tuple[str, ...]
) -> Callable[[dict[str, Json]], Conversation]:
    """The function that reads a question under some keys, and its answer under another, unless a verdict forbids it."""

    def parse(record: dict[str, Json]) -> Conversation:
        refuse_undesired(record, verdicts)
        turns = [*history(record), (f"$.{asked[0]}", question(record, asked)), (f"$.{answer}", text_in(record, answer))]
        return alternating(record, turns)

    return parse


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """A row of the table.

    Attributes:
        name: See `Format`, as `title`, `without`, `datasets` and `example`.
        title: As there.
        asked: Keys of the question's parts; the first must be there.
        answer: Key of the answer.
        shape: Shape of the question's first part.
        answer_shape: Shape of the answer.
        also: Other keys of the signature.
        without: As there.
        verdicts: Keys of what the record says of its own answer.
        datasets: As there.
        example: As there.
    """

    name: str
    title: str
    asked: tuple[str, ...]
    answer: str
    shape: Shape = PLAIN_QUESTION
    answer_shape: Shape = TEXT
    also: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = PLAIN_VERDICT_KEYS
    datasets: tuple[str, ...]
    example: dict[str, Json]

    def as_format(self) -> Format:
        keys = {**dict.fromkeys(self.also, TEXT), self.asked[0]: self.shape, self.answer: self.answer_shape}
        return Format(
            name=self.name,
            title=self.title,
            keys=keys,
            without=self.without,
            optional=(*(key for key in self.asked if key not in keys), "history", *self.verdicts, *AROUND_KEYS),
            datasets=self.datasets,
            example=self.example,
            parse=pair_parser(self.asked, self.answer, self.verdicts),
        )


_PLAIN_ALPACA = Shape(
    f"{PLAIN_QUESTION.words} that is no BELLE dialogue",
    lambda value: PLAIN_QUESTION.test(value) and PLAIN_INSTRUCTION.test(value),
    PLAIN_QUESTION.spoiled,
)

_SOME_TEXT = Shape("text that is not empty", lambda value: isinstance(value, str) and bool(value), TEXT.spoiled)

_PAIRS = (
    _Pair(
        name="alpaca",
        title="Alpaca: instruction, perhaps input, and output; earlier turns in history",
        asked=("instruction", "input"),
        answer="output",
        shape=_PLAIN_ALPACA,
        datasets=(
            "Alpaca",
            "GPT-4-LLM",
            "Chinese Alpaca",
            "BELLE",
            "COIG",
            "WizardLM Evol-Instruct",
            "MathInstruct",
            "AlpacaEval model outputs",
            "LLaMA-Factory alpaca with history",
        ),
        example={"instruction": "Translate to French.", "input": "Good morning", "output": "Bonjour"},
    ),
    _Pair(
        name="instruction-context-response",
        title="Dolly: instruction, context and response",
        asked=("instruction", "context"),
        answer="response",
        also=("context",),
        without=("input",),
        datasets=("Dolly",),
        example={
            "instruction": "Who wrote it?",
            "context": "Sofia's only novel is Dunes.",
            "response": "Sofia.",
            "category": "closed_qa",
        },
    ),
    _Pair(
        name="instruction-response",
        title="GPTeacher: instruction, perhaps input, and response",
        asked=("instruction", "input"),
        answer="response",
        without=("context", "conversations"),
        datasets=("GPTeacher", "Magicoder Evol-Instruct", "UltraInteract SFT"),
        example={"instruction": "Name a metal.", "input": "", "response": "Tin."},
    ),
    _Pair(
        name="prompt-response",
        title="ChatGLM, HelpSteer, BeaverTails: prompt and response; earlier turns in history",
        asked=("prompt",),
        answer="response",
        shape=PLAIN_PROMPT,
        verdicts=VERDICT_KEYS,
        datasets=("ChatGLM", "HelpSteer", "BeaverTails"),
        example={"prompt": "Name a metal.", "response": "Tin."},
    ),
    _Pair(
        name="prompt-generation",
        title="Metharme: prompt and generation",
        asked=("prompt",),
        answer="generation",
        shape=PLAIN_PROMPT,
        datasets=("Metharme",),
        example={"prompt": "Name a metal.", "generation": "Tin."},
    ),
    _Pair(
        name="question-answer",
        title="question, perhaps context, and answer, both texts",
        asked=("question", "context"),
        answer="answer",
        without=("choices", "options", "solution"),
        datasets=("Orca-Math", "GSM8K", "sql-create-context"),
        example={"question": "What is 2 + 2?", "answer": "4"},
    ),
    _Pair(
        name="question-solution",
        title="LIMO: question and its worked solution, the bare answer beside them",
        asked=("question",),
        answer="solution",
        answer_shape=_SOME_TEXT,
        without=(
            "choices",
            "options",
            "generations",
            "thinking_trajectories",
            "attempt",
            "deepseek_thinking_trajectory",
            "deepseek_attempt",
        ),
        datasets=("LIMO",),
        example={"question": "What is 2 + 2?", "solution": "Two and two make 4.", "answer": "4"},
    ),
    _Pair(
        name="question-response",
        title="OpenOrca: question and response, system_prompt beside them",
        asked=("question",),
        answer="response",
        datasets=("OpenOrca",),
        example={"system_prompt": "", "question": "What is 2 + 2?", "response": "4"},
    ),
    _Pair(
        name="query-response",
        title="MetaMath and ms-swift: query and response; earlier turns in history",
        asked=("query",),
        answer="response",
        datasets=("MetaMath", "ms-swift"),
        example={"query": "What is 2 + 2?", "response": "4"},
    ),
    _Pair(
        name="query-answer",
        title="CodeFeedback: query and answer",
        asked=("query",),
        answer="answer",
        datasets=("CodeFeedback",),
        example={"query": "What is 2 + 2?", "answer": "4"},
    ),
    _Pair(
        name="problem-solution",
        title="NuminaMath: problem and its worked solution",
        asked=("problem",),
        answer="solution",
        without=("generations",),
        datasets=("NuminaMath", "MATH", "Magicoder OSS-Instruct"),
        example={"problem": "What is 2 + 2?", "solution": "Two and two make 4.", "answer": "4"},
    ),
    _Pair(
        name="inputs-targets",
        title="FLAN: inputs and targets, both texts",
        asked=("inputs",),
        answer="targets",
        without=("definition",),
        datasets=("FLAN", "xP3", "Aya"),
        example={"inputs": "Is tin a metal?", "targets": "yes", "task": "qa"},
    ),
    _Pair(
        name="definition-inputs-targets",
        title="Natural Instructions: definition of the task, inputs and targets",
        asked=("definition", "inputs"),
        answer="targets",
        also=("inputs",),
        datasets=("Natural Instructions",),
        example={"definition": "Translate to French.", "inputs": "Good morning", "targets": "Bonjour"},
    ),
    _Pair(
        name="pretokenized",
        title="P3: inputs_pretokenized and targets_pretokenized, the texts beside lists of token ids",
        asked=("inputs_pretokenized",),
        answer="targets_pretokenized",
        datasets=("P3",),
        example={"inputs_pretokenized": "Is tin a metal?", "targets_pretokenized": "yes"},
    ),
    _Pair(
        name="kind-input-target",
        title="Firefly: kind, input and target",
        asked=("input",),
        answer="target",
        shape=PLAIN_PROMPT,
        also=("kind",),
        datasets=("Firefly",),
        example={"kind": "Dictionary", "input": "What is tin?", "target": "A metal."},
    ),
    _Pair(
        name="input-output",
        title="input and output, both texts",
        asked=("input",),
        answer="output",
        shape=PLAIN_PROMPT,
        without=("instruction",),
        datasets=("OpenCodeReasoning",),
        example={"input": "What is tin?", "output": "A metal."},
    ),
    _Pair(
        name="camel",
        title="CAMEL: message_1 asks, message_2 answers",
        asked=("message_1",),
        answer="message_2",
        also=("role_1",),
        datasets=("CAMEL",),
        example={"role_1": "Chemist_RoleType.ASSISTANT", "message_1": "What is tin?", "message_2": "A metal."},
    ),
)

TEXT_PAIR_FORMATS: tuple[Format, ...] = tuple(pair.as_format() for pair in _PAIRS)
