"""Pairs of an instruction and its answer: Alpaca, and prompt with completion."""

from __future__ import annotations

from msgspec import structs

from ismpack.data import Conversation, Json, Message
from ismpack.errors import RecordError
from ismpack.formats.format import Format
from ismpack.formats.message import parse_messages
from ismpack.formats.openai import DIALECT
from ismpack.formats.record import AROUND_KEYS, alternating, conversation, message_list, text_at, text_in
from ismpack.formats.shapes import LIST, TEXT, either
from ismpack.formats.values import kind_of


def _parse_alpaca(record: dict[str, Json]) -> Conversation:
    """The user says instruction and input on lines of their own, without one that is empty."""
    turns = [*_history(record), ("$.instruction", _question(record)), ("$.output", text_in(record, "output"))]
    return alternating(record, turns)


def _question(record: dict[str, Json]) -> str:
    given = text_in(record, "input") if record.get("input") is not None else ""
    return "\n".join(text for text in (text_in(record, "instruction"), given) if text)


def _history(record: dict[str, Json]) -> list[tuple[str, str]]:
    history = record.get("history")
    if history is None:
        return []
    if not isinstance(history, list):
        raise RecordError(f"history is {kind_of(history)}, not a list", code="bad-messages", json_path="$.history")
    turns: list[tuple[str, str]] = []
    for index, pair in enumerate(history):
        path = f"$.history[{index}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise RecordError("an item of history is not a pair of texts", code="bad-messages", json_path=path)
        for side, text in enumerate(pair):
            turns.append((f"{path}[{side}]", text_at(text, f"{path}[{side}]")))
    return turns


def _parse_prompt_completion(record: dict[str, Json]) -> Conversation:
    if isinstance(record.get("label"), bool):
        raise RecordError(
            "a prompt and completion with a true or false label are preference data",
            code="unknown-format",
            json_path="$.label",
            hint="Keep the records whose label is true, without the label.",
        )
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
    messages: list[Message] = []
    paths: list[str] = []
    for key, items in (("prompt", prompt), ("completion", completion)):
        parsed = parse_messages(message_list(items, f"$.{key}"), f"$.{key}", DIALECT)
        messages += parsed if key == "completion" else map(_as_context, parsed)
        paths += [f"$.{key}[{index}].content" for index in range(len(items))]
    return conversation(record, messages, paths.__getitem__)


def _as_context(message: Message) -> Message:
    """A message of a prompt: its author asks to train the completion, unless a flag says more."""
    return structs.replace(message, loss=False) if message.role == "assistant" and message.loss is None else message


ALPACA = Format(
    name="alpaca",
    title="Alpaca: instruction, perhaps input, and output; earlier turns in history",
    keys={"instruction": TEXT, "output": TEXT},
    optional=("input", "history", *AROUND_KEYS),
    example={"instruction": "Translate to French.", "input": "Good morning", "output": "Bonjour"},
    parse=_parse_alpaca,
)

PROMPT_COMPLETION = Format(
    name="prompt-completion",
    title="Prompt and completion: two texts, or two lists of messages",
    keys={"prompt": either(TEXT, LIST), "completion": either(TEXT, LIST)},
    optional=AROUND_KEYS,
    example={"prompt": "What is the capital of Peru?", "completion": "Lima."},
    parse=_parse_prompt_completion,
)

INSTRUCTION_FORMATS: tuple[Format, ...] = (ALPACA, PROMPT_COMPLETION)
