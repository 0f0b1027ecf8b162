"""The chat format: a list of messages with role and content, as OpenAI began it and nearly everybody writes it.

Anthropic, Bedrock, Cohere, Mistral, Gemini's tuning and ms-swift differ in role words, in the parts of a content and in
what stands around the messages; all of that is read here, so that one format is all there is to detect.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from ismpack.data import Conversation, Json, Message
from ismpack.errors import RecordError
from ismpack.formats.dialect import Dialect
from ismpack.formats.format import Format
from ismpack.formats.message import parse_message, parse_messages, text_paths
from ismpack.formats.parts import Placed
from ismpack.formats.record import AROUND_KEYS, conversation, message_list
from ismpack.formats.shapes import objects
from ismpack.formats.verdicts import VERDICT_KEYS, refuse_undesired

DIALECT = Dialect(
    role_key="role",
    content_key="content",
    roles={
        "system": "system",
        "developer": "developer",
        "user": "user",
        "assistant": "assistant",
        "tool": "tool",
        "function": "tool",
        "model": "assistant",  # Gemini's tuning data
        "System": "system",  # Cohere's tuning data, with User and Chatbot
        "User": "user",
        "Chatbot": "assistant",
        "tool_call": "assistant",  # ms-swift, with tool_response
        "tool_response": "tool",
    },
    call_roles=frozenset(("tool_call",)),
)


def chat(
    record: dict[str, Json], path: str = "$", answer: Sequence[Placed] = (), *, context: bool = False
) -> Conversation:
    """The conversation of an object with `messages`.

    Args:
        record: The object.
        path: Its JSON path.
        answer: Messages that follow, where the answer stands outside the object.
        context: Train nothing but the answer, unless a flag says more.
    """
    items = message_list(record.get("messages"), f"{path}.messages")
    asked = parse_messages(items, f"{path}.messages", DIALECT)
    where = text_paths(items, f"{path}.messages", DIALECT)
    if not answer:
        return conversation(record, asked, where, path=path)
    asked = as_context(asked) if context else asked
    return conversation(
        record,
        [*asked, *(message for _, message in answer)],
        lambda index: where(index) if index < len(asked) else answer[index - len(asked)][0],
        path=path,
    )


def as_context(messages: list[Message]) -> list[Message]:
    """Messages of a prompt: its author asks to train what comes after them, unless a flag says more."""
    return [
        structs.replace(message, loss=False) if message.role == "assistant" and message.loss is None else message
        for message in messages
    ]


def answer_at(item: Json, path: str) -> list[Placed]:
    """An answer that is one message at `path`.

    Raises:
        RecordError: `bad-message` if it is not the assistant's, or whatever is wrong with it.
    """
    messages = parse_message(item, path, DIALECT)
    if any(message.role != "assistant" for message in messages):
        raise RecordError("the answer is not an assistant's message", code="bad-message", json_path=f"{path}.role")
    return [(f"{path}.content", message) for message in messages]


def _parse(record: dict[str, Json]) -> Conversation:
    refuse_undesired(record)
    written = _answer_beside(record)
    if written is None:
        return chat(record)
    key, answer = written
    if chat(record).messages[-1].role != "assistant":
        return chat(record, answer=answer_at(answer, "$" if key == "content" else f"$.{key}"), context=key == "chosen")
    if key == "chosen":
        return chat(record)  # UltraFeedback's messages end with the chosen answer already
    raise RecordError(
        "the messages end with an assistant message, and content holds one more",
        code="bad-messages",
        json_path="$.content",
        hint="Join a prefilled answer and its continuation, or remove one of the two.",
    )


def _answer_beside(record: dict[str, Json]) -> tuple[str, Json] | None:
    """The answer that stands beside the messages, and its key.

    A log of Anthropic's API has it in `content`, with a `stop_reason`. LLaMA-Factory's preference pairs have it in
    `chosen`, with `rejected`: a message, also with from and value, or a text.
    """
    content, chosen = record.get("content"), record.get("chosen")
    if record.get("stop_reason") is not None and isinstance(content, str | list):
        return "content", {"role": "assistant", "content": content}
    if record.get("rejected") is None or not isinstance(chosen, str | dict):
        return None
    if isinstance(chosen, dict) and chosen.get("from") in ("gpt", "assistant"):
        chosen = chosen.get("value")
    return "chosen", chosen if isinstance(chosen, dict) else {"role": "assistant", "content": chosen}


MESSAGES = Format(
    name="messages",
    title="OpenAI chat and its relatives: messages with role and content, tool calls, reasoning and loss flags",
    keys={"messages": objects("role", telling=True)},
    without=("ans_id", "answers"),
    optional=(*AROUND_KEYS, *VERDICT_KEYS, "toolConfig", "content", "stop_reason", "chosen", "rejected"),
    datasets=(
        "OpenAI chat fine-tuning",
        "Anthropic Messages API",
        "Amazon Bedrock conversation",
        "Cohere fine-tuning",
        "Gemini tuning as messages",
        "Mistral fine-tuning",
        "Together",
        "Fireworks",
        "gpt-oss (Harmony)",
        "Multilingual-Thinking",
        "ms-swift agent",
        "LLaMA-Factory preference messages",
        "UltraChat-200k",
        "No Robots",
        "SmolTalk",
        "SmolTalk2",
        "Tulu 2",
        "Tulu 3",
        "AM-DeepSeek-R1",
        "OpenR1-Math",
        "Mixture-of-Thoughts",
        "Nemotron post-training",
    ),
    example={
        "messages": [
            {"role": "user", "content": "What is the capital of Peru?"},
            {"role": "assistant", "content": "Lima."},
        ]
    },
    parse=_parse,
)
