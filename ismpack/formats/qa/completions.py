"""Text or messages that are given, and what a model writes after them: prompt and completion, segments."""

from __future__ import annotations

import re

from ismpack.data import Conversation, Json
from ismpack.errors import RecordError
from ismpack.formats.chat.openai import as_context
from ismpack.formats.chat.sides import joined, side
from ismpack.formats.format import Format
from ismpack.formats.record import AROUND_KEYS, alternating, message_list, text_at, text_in
from ismpack.formats.shapes import LIST, TEXT, either, objects
from ismpack.formats.transcripts.rendered_prompts import PLAIN_PROMPT
from ismpack.formats.values import kind_of, shown
from ismpack.formats.verdicts import VERDICT_KEYS, refuse_undesired

_CONTROL = re.compile(r"<\|[^|<>]{1,40}\|>|</?s>|\[/?INST\]|<(?:bos|eos|start_of_turn|end_of_turn)>")


def _parse_prompt_completion(record: dict[str, Json]) -> Conversation:
    refuse_undesired(record)
    prompt, completion = record.get("prompt"), record.get("completion")
    if not isinstance(prompt, list) and not isinstance(completion, list):
        return alternating(
            record, [("$.prompt", text_in(record, "prompt")), ("$.completion", text_in(record, "completion"))]
        )
    if not isinstance(prompt, list) or not isinstance(completion, list):
        raise RecordError(
            f"prompt is {kind_of(prompt)}, but completion is {kind_of(completion)}",
            code="bad-messages",
            json_path="$.completion",
            hint="Give both as text, or both as lists of messages.",
        )
    asked, path = side(prompt, "$.prompt")
    return joined(record, (as_context(asked), path), side(completion, "$.completion"))


def _parse_segments(record: dict[str, Json]) -> Conversation:
    """Segments that are trained are answers, what stands before each is its query; neighbours of a kind are one text.

    The text is meant for a model without a template, so a control token in it is refused: a template would print its
    own around it.
    """
    turns: list[tuple[str, str]] = []
    trained = True
    for index, item in enumerate(message_list(record.get("segments"), "$.segments")):
        path = f"$.segments[{index}]"
        label, text = _segment(item, path)
        if label and not turns:
            raise RecordError(
                "the first segment is trained, and nothing is asked before it",
                code="bad-messages",
                json_path=f"{path}.label",
                hint="Give a query first, as a segment whose label is false.",
            )
        if turns and label is trained:
            turns[-1] = (turns[-1][0], turns[-1][1] + text)
        else:
            turns.append((f"{path}.text", text))
        trained = label
    return alternating(record, turns)


def _segment(item: Json, path: str) -> tuple[bool, str]:
    if not isinstance(item, dict):
        raise RecordError(f"a segment is {kind_of(item)}, not an object", code="bad-message", json_path=path)
    label, text = item.get("label"), text_at(item.get("text"), f"{path}.text")
    if not isinstance(label, bool):
        what = f"the label of a segment is {kind_of(label)}, not true or false"
        raise RecordError(what, code="bad-message", json_path=f"{path}.label")
    if found := _CONTROL.search(text):
        raise RecordError(
            f"a segment holds the control token {shown(found[0])}",
            code="bad-content",
            json_path=f"{path}.text",
            hint="The text is laid out for one model already. Write what was said as messages, without its tokens.",
        )
    return label, text


PROMPT_COMPLETION = Format(
    name="prompt-completion",
    title="Prompt and completion: two texts, or two lists of messages; with label, those that are wanted",
    keys={"prompt": either(PLAIN_PROMPT, LIST), "completion": either(TEXT, LIST)},
    optional=(*VERDICT_KEYS, *AROUND_KEYS),
    datasets=("TRL prompt-completion", "TRL unpaired preference (KTO)", "Amazon Bedrock text"),
    example={"prompt": "What is the capital of Peru?", "completion": "Lima."},
    parse=_parse_prompt_completion,
)

SEGMENTS = Format(
    name="segments",
    title="Axolotl input_output: segments of text, each with a label that says whether it is trained",
    keys={"segments": objects("label", "text")},
    optional=AROUND_KEYS,
    datasets=("Axolotl input_output",),
    example={
        "segments": [
            {"label": False, "text": "What is the capital of Peru?"},
            {"label": True, "text": "Lima."},
        ]
    },
    parse=_parse_segments,
)

COMPLETION_FORMATS: tuple[Format, ...] = (PROMPT_COMPLETION, SEGMENTS)
