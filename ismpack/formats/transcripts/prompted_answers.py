"""Prompts that were written out as text with marks between the turns, each with an answer under a key of its own.

Such a prompt ends with the mark that opens the answer. Its own answers are context, as in every prompt: their author
asks to train what follows.
"""

from __future__ import annotations

from collections.abc import Callable

from ismpack.data import Conversation, Json, Message
from ismpack.errors import RecordError
from ismpack.formats.chat.openai import as_context
from ismpack.formats.chat.sides import Side, joined, side
from ismpack.formats.format import Format
from ismpack.formats.record import AROUND_KEYS, text_in
from ismpack.formats.shapes import TEXT, either, objects
from ismpack.formats.transcripts.rendered_prompts import (
    HELPSTEER,
    HELPSTEER_PROMPT,
    PLAIN_PROMPT,
    PROMPT_MARKS,
    RENDERED_PROMPT,
)
from ismpack.formats.transcripts.template_texts import LLAMA_3
from ismpack.formats.transcripts.turn_marks import answer_in, prompt_in
from ismpack.formats.verdicts import PLAIN_VERDICT_KEYS, VERDICT_KEYS, refuse_undesired


def _answering(
    prompt_key: str, answer_key: str, verdicts: tuple[str, ...] = ()
) -> Callable[[dict[str, Json]], Conversation]:
    """The function that reads a prompt under one key, and its answer under another, unless a verdict forbids it."""

    def parse(record: dict[str, Json]) -> Conversation:
        refuse_undesired(record, verdicts)
        prompt = text_in(record, prompt_key)
        marks = next((marks for marks in PROMPT_MARKS if marks.begins(prompt)), None)
        if marks is None:
            raise RecordError(
                f"{prompt_key} does not begin with the mark of a turn",
                code="bad-messages",
                json_path=f"$.{prompt_key}",
                hint=f"Known marks: {', '.join(marks.name for marks in PROMPT_MARKS)}.",
            )
        context = as_context(prompt_in(prompt, f"$.{prompt_key}", marks))
        answer = answer_in(text_in(record, answer_key), f"$.{answer_key}", marks)
        return joined(record, (context, lambda _: f"$.{prompt_key}"), _answer(answer, answer_key))

    return parse


def _parse_helpsteer(record: dict[str, Json]) -> Conversation:
    """The first question and the answer have no mark; with theirs the prompt is as NeMo writes it."""
    refuse_undesired(record)
    prompt = text_in(record, "prompt")
    first = "" if HELPSTEER.opening.match(prompt) else "<extra_id_1>User\n"
    rendered = f"{first}{prompt}\n<extra_id_1>Assistant\n"
    context = as_context(prompt_in(rendered, "$.prompt", HELPSTEER))
    if context[-1].role != "user":
        raise RecordError(
            "the last turn of the prompt is the assistant's, and response is one more",
            code="bad-messages",
            json_path="$.prompt",
            hint="A prompt ends with what the user says.",
        )
    answer = answer_in(text_in(record, "response"), "$.response", HELPSTEER)
    return joined(record, (context, lambda _: "$.prompt"), _answer(answer, "response"))


def _parse_nemotron(record: dict[str, Json]) -> Conversation:
    """Version 1 writes its input as text for Llama 3, later ones as messages."""
    if LLAMA_3.begins(record.get("input")):
        return _answering("input", "output")(record)
    context, path_of = side(record.get("input"), "$.input")
    return joined(record, (as_context(context), path_of), _answer(text_in(record, "output"), "output"))


def _answer(text: str, key: str) -> Side:
    return [Message(role="assistant", content=text)], lambda _: f"$.{key}"


_LLAMA_PROMPT = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhat is the capital of Peru?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)

PROMPTED_ANSWER_FORMATS: tuple[Format, ...] = (
    Format(
        name="rendered-completion",
        title="A prompt written out with turn marks, and its completion",
        keys={"prompt": RENDERED_PROMPT, "completion": TEXT},
        optional=(*VERDICT_KEYS, *AROUND_KEYS),
        datasets=("Anthropic Text Completions",),
        example={"prompt": "\n\nHuman: What is the capital of Peru?\n\nAssistant:", "completion": " Lima."},
        parse=_answering("prompt", "completion", VERDICT_KEYS),
    ),
    Format(
        name="rendered-generation",
        title="A prompt written out with turn marks, and its generation: logs of Llama models, Metharme",
        keys={"prompt": RENDERED_PROMPT, "generation": TEXT},
        optional=(*PLAIN_VERDICT_KEYS, *AROUND_KEYS),
        datasets=("Amazon Bedrock, Meta Llama", "Metharme text"),
        example={"prompt": _LLAMA_PROMPT, "generation": "Lima."},
        parse=_answering("prompt", "generation", PLAIN_VERDICT_KEYS),
    ),
    Format(
        name="helpsteer2-turns",
        title="HelpSteer2, several turns: prompt with <extra_id_1>Assistant and <extra_id_1>User, and response",
        keys={"prompt": HELPSTEER_PROMPT, "response": TEXT},
        optional=(*VERDICT_KEYS, *AROUND_KEYS),
        datasets=("HelpSteer2, several turns",),
        example={
            "prompt": "<extra_id_1>User\nWhat is the capital of Peru?",
            "response": "Lima.",
        },
        parse=_parse_helpsteer,
    ),
    Format(
        name="rendered-preference",
        title="A prompt written out with turn marks, with a chosen and a rejected answer",
        keys={"prompt": RENDERED_PROMPT, "chosen": PLAIN_PROMPT, "rejected": PLAIN_PROMPT},
        optional=AROUND_KEYS,
        datasets=("Dahoas/full-hh-rlhf", "Dahoas/rm-static", "mlabonne/chatml_dpo_pairs"),
        example={
            "prompt": "<|im_start|>user\nWhat is the capital of Peru?<|im_end|>\n<|im_start|>assistant\n",
            "chosen": "Lima.<|im_end|>\n",
            "rejected": "Quito.<|im_end|>\n",
        },
        parse=_answering("prompt", "chosen"),
    ),
    Format(
        name="nemotron",
        title="Llama-Nemotron: input as messages or as Llama 3 text, and output",
        keys={"input": either(LLAMA_3.shape, objects("role", "content")), "output": TEXT},
        optional=AROUND_KEYS,
        datasets=("nvidia/Llama-Nemotron-Post-Training-Dataset", "nvidia/Llama-Nemotron-Post-Training-Dataset-v1"),
        example={"input": [{"role": "user", "content": "What is the capital of Peru?"}], "output": "Lima."},
        parse=_parse_nemotron,
    ),
)
