"""ShareGPT and its many relatives: a list of messages with from and value.

What is a convention of its own and is read as what it means:

- A turn of `function_call` holds tool calls (see `_read_calls`) and belongs to the answer right before it, if there is
  one.
- A whole answer of the form `<|begin_of_thought|>..<|end_of_thought|> <|begin_of_solution|>..<|end_of_solution|>`
  (OpenThoughts, Sky-T1) is reasoning and content, each without the white space around it.

Hermes' `<tool_call>` and `<tool_response>` blocks stay text: its system message lists the tools and prescribes that
very text, and the blocks are JSON, Python literals or neither. Tools that a system message lists between `<tools>` and
`</tools>` are not passed to the chat template a second time.
"""

from __future__ import annotations

import re
from functools import partial

from msgspec import structs

from ismpack.data import Conversation, Json, Message, ToolCall
from ismpack.formats.dialect import Dialect
from ismpack.formats.format import Format
from ismpack.formats.message import parse_messages, text_paths
from ismpack.formats.record import AROUND_KEYS, conversation, message_list
from ismpack.formats.shapes import objects
from ismpack.formats.tools import calls_in_text, function_call
from ismpack.formats.verdicts import VERDICT_KEYS, refuse_undesired

_CALL_WORDS = ("function_call", "function-call", "tool_call")
_THOUGHT_TAGS = ("<|begin_of_thought|>", "<|end_of_thought|>", "<|begin_of_solution|>", "<|end_of_solution|>")
_THOUGHT = re.compile(r"\s*{}(.*){}\s*{}(.*){}\s*".format(*map(re.escape, _THOUGHT_TAGS)), re.DOTALL)
_THINK = re.compile(r"\s*(<think>.*?</think>)(.*)", re.DOTALL)
_QUOTED_CALL = re.compile(r"""\s*\{\s*"name"\s*:\s*"([^"\\]*)"\s*,\s*"arguments"\s*:\s*'(.*)'\s*\}\s*""", re.DOTALL)


def _read_calls(text: Json, path: str) -> tuple[str | None, tuple[ToolCall, ...]]:
    """The calls in a text, and a `<think>` block before them.

    They are a call as JSON, a list of them, or a call as Glaive writes it, with its arguments (which are JSON) in
    single quotes: `{"name": "f", "arguments": '{"x": 1}'}`.
    """
    if not isinstance(text, str):
        return None, calls_in_text(text, path)
    thought = _THINK.fullmatch(text)
    rest = thought[2] if thought else text
    quoted = _QUOTED_CALL.fullmatch(rest)
    if quoted is None:
        calls = calls_in_text(rest, path)
    else:
        calls = (function_call({"name": quoted[1], "arguments": quoted[2]}, path),)
    return thought[1] if thought else None, calls


DIALECT = Dialect(
    role_key="from",
    content_key="value",
    roles={
        "system": "system",
        "human": "user",
        "user": "user",
        "User": "user",  # NeMo, with Assistant
        "gpt": "assistant",
        "assistant": "assistant",
        "Assistant": "assistant",
        "bot": "assistant",
        "model": "assistant",
        "chatgpt": "assistant",
        "bing": "assistant",
        "bard": "assistant",
        **dict.fromkeys(_CALL_WORDS, "assistant"),
        "observation": "tool",
        "tool": "tool",
        "tool_response": "tool",
        "function": "tool",
        "function_response": "tool",
        "function-response": "tool",
        "ipython": "tool",
    },
    call_roles=frozenset(_CALL_WORDS),
    read_calls=_read_calls,
)


def _parse(record: dict[str, Json], key: str) -> Conversation:
    refuse_undesired(record)
    items = message_list(record.get(key), f"$.{key}")
    messages = [_without_thought_tags(message) for message in parse_messages(items, f"$.{key}", DIALECT)]
    around = record if not _lists_tools(record, messages) else {**record, "tools": None}
    return conversation(around, messages, text_paths(items, f"$.{key}", DIALECT))


def _lists_tools(record: dict[str, Json], messages: list[Message]) -> bool:
    """Whether the text of the system message lists the tools."""
    first = messages[0].content if messages and messages[0].role == "system" else None
    texts = (record.get("system"), record.get("system_prompt"), first)
    return any(isinstance(text, str) and "<tools>" in text and "</tools>" in text for text in texts)


def _without_thought_tags(message: Message) -> Message:
    """The message, with its thought as reasoning if its whole text is a tagged thought and a tagged solution."""
    if message.role != "assistant" or type(message.content) is not str or message.reasoning is not None:
        return message
    # The count comes first: with several of a tag the pattern would take time with the square of the length.
    if any(message.content.count(tag) != 1 for tag in _THOUGHT_TAGS):
        return message
    found = _THOUGHT.fullmatch(message.content)
    if found is None:
        return message
    return structs.replace(message, reasoning=found[1].strip(), content=found[2].strip())


SHAREGPT = Format(
    name="sharegpt",
    title="ShareGPT: conversations with from and value; function_call and observation for tools",
    keys={"conversations": objects("from", telling=True)},
    without=("chosen", "rejected"),
    optional=(*VERDICT_KEYS, *AROUND_KEYS),
    datasets=(
        "ShareGPT / Vicuna / FastChat",
        "ShareGPT4V / LLaVA (rows without an image)",
        "LLaMA-Factory ShareGPT with tools",
        "OpenHermes 2.5",
        "SlimOrca",
        "Puffin",
        "BELLE multi-turn",
        "Hermes function calling v1",
        "ToolACE",
        "APIGen-MT",
        "ToolBench",
        "NeMo chat SFT",
        "AgentInstruct",
        "OpenThoughts",
        "Magpie",
    ),
    example={
        "conversations": [
            {"from": "human", "value": "What is the capital of Peru?"},
            {"from": "gpt", "value": "Lima."},
        ]
    },
    parse=partial(_parse, key="conversations"),
)

SHAREGPT_ITEMS = Format(
    name="sharegpt-items",
    title="ShareGPT as it was collected: items with from and value",
    keys={"items": objects("from", "value")},
    optional=(*VERDICT_KEYS, *AROUND_KEYS),
    datasets=("Vicuna raw",),
    example={
        "items": [{"from": "human", "value": "What is the capital of Peru?"}, {"from": "chatgpt", "value": "Lima."}]
    },
    parse=partial(_parse, key="items"),
)

SHAREGPT_MESSAGES = Format(
    name="sharegpt-messages",
    title="ShareGPT's from and value under messages",
    keys={"messages": objects("from", "value")},
    without=("chosen", "rejected"),
    optional=(*VERDICT_KEYS, *AROUND_KEYS),
    datasets=("LLaMA-Factory (column messages)",),
    example={
        "messages": [{"from": "human", "value": "What is the capital of Peru?"}, {"from": "gpt", "value": "Lima."}]
    },
    parse=partial(_parse, key="messages"),
)
