"""Pairs of an instruction and its answer: Alpaca, and prompt with completion."""

from __future__ import annotations

from dataclasses import replace

from ismpack.data import Conversation, Json, Message
from ismpack.errors import RecordError
from ismpack.formats.format import Format
from ismpack.formats.message import parse_messages
from ismpack.formats.openai import DIALECT
from ismpack.formats.record import conversation, message_list
from ismpack.formats.values import kind_of


def _matches_alpaca(record: dict[str, Json]) -> bool:
    return isinstance(record.get("instruction"), str) and isinstance(record.get("output"), str)


def _parse_alpaca(record: dict[str, Json]) -> Conversation:
    """The user says instruction and input on lines of their own, without one that is empty."""
    turns = [*_history(record), ("$.instruction", _question(record)), ("$.output", _text(record, "output"))]
    return _alternating(record, turns)


def _question(record: dict[str, Json]) -> str:
    given = _text(record, "input") if record.get("input") is not None else ""
    return "\n".join(text for text in (_text(record, "instruction"), given) if text)


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
            turns.append((f"{path}[{side}]", _as_text(text, f"{path}[{side}]")))
    return turns


def _matches_prompt_completion(record: dict[str, Json]) -> bool:
    return isinstance(record.get("prompt"), (str, list)) and isinstance(record.get("completion"), (str, list))


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
        return _alternating(
            record, [("$.prompt", _text(record, "prompt")), ("$.completion", _text(record, "completion"))]
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
    return replace(message, loss=False) if message.role == "assistant" and message.loss is None else message


def _alternating(record: dict[str, Json], turns: list[tuple[str, str]]) -> Conversation:
    """User and assistant in turn, from (path, text) pairs."""
    messages = [
        Message(role="assistant" if index % 2 else "user", content=text) for index, (_, text) in enumerate(turns)
    ]
    return conversation(record, messages, lambda index: turns[index][0])


def _text(record: dict[str, Json], key: str) -> str:
    return _as_text(record.get(key), f"$.{key}")


def _as_text(value: Json, path: str) -> str:
    if not isinstance(value, str):
        name = path.removeprefix("$.")
        raise RecordError(f"{name} is {kind_of(value)}, not text", code="bad-content", json_path=path)
    return value


ALPACA = Format(
    name="alpaca",
    title="Alpaca: instruction, perhaps input, and output; earlier turns in history",
    keys=("instruction", "output"),
    optional=("input", "history", "system", "system_prompt", "tools", "functions", "chat_template_kwargs"),
    example={"instruction": "Translate to French.", "input": "Good morning", "output": "Bonjour"},
    matches=_matches_alpaca,
    parse=_parse_alpaca,
)

PROMPT_COMPLETION = Format(
    name="prompt-completion",
    title="Prompt and completion: two texts, or two lists of messages",
    keys=("prompt", "completion"),
    optional=("tools", "functions", "system", "system_prompt", "chat_template_kwargs"),
    example={"prompt": "What is the capital of Peru?", "completion": "Lima."},
    matches=_matches_prompt_completion,
    parse=_parse_prompt_completion,
)
