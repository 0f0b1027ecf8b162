"""Texts that a chat template made: ChatML, Llama, Mistral, Zephyr and Gemma, taken apart into messages again.

Tool definitions and calls that a template wrote into such a text cannot be told from what was said, except by their own
control tokens; a text with those is refused, all else stays in the text of its message.
"""

from __future__ import annotations

import re

from ismpack.data import Conversation, Json, Role
from ismpack.formats.format import Format
from ismpack.formats.record import AROUND_KEYS, conversation, text_in
from ismpack.formats.transcripts.turn_marks import Marks, messages_in

RENDERED_BESIDE: tuple[str, ...] = ("messages", "conversations", "conversation", "instruction")
"""Keys of conversations beside which `text` is the same conversation as a template rendered it (Unsloth, Alpaca)."""

CHATML = Marks(
    name="ChatML",
    start=re.compile(r"\s*+(?:<s>|<\|begin_of_text\|>|<\|endoftext\|>)?+\s*+<\|im_start\|>[^\n<]*+\n"),
    opening=re.compile(r"<\|im_start\|>([^\n<]*+)\n?"),
    roles={
        "system": "system",
        "developer": "developer",
        "user": "user",
        "assistant": "assistant",
        "tool": "tool",
        "function": "tool",
    },
    closings=("<|im_end|>",),
    must_close=True,
    around=("<s>", "</s>", "<|begin_of_text|>", "<|endoftext|>"),
    exact=True,
)

LLAMA_3 = Marks(
    name="Llama 3",
    start=re.compile(r"\s*+(?:<\|begin_of_text\|>)?+\s*+<\|start_header_id\|>"),
    opening=re.compile(r"<\|start_header_id\|>([^\n<]*+)<\|end_header_id\|>\n{0,2}+"),
    roles={"system": "system", "user": "user", "assistant": "assistant", "ipython": "tool", "tool": "tool"},
    closings=("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"),
    must_close=True,
    around=("<|begin_of_text|>", "<|end_of_text|>"),
    foreign=("<|python_tag|>", "<|start_header_id|>", "<|end_header_id|>"),
    exact=True,
)

GEMMA = Marks(
    name="Gemma",
    start=re.compile(r"\s*+(?:<bos>)?+\s*+<start_of_turn>[^\n<]*+\n"),
    opening=re.compile(r"<start_of_turn>([^\n<]*+)\n?"),
    roles={"user": "user", "model": "assistant"},
    closings=("<end_of_turn>",),
    must_close=True,
    around=("<bos>", "<eos>"),
    exact=True,
)

INST = Marks(
    name="Llama 2 or Mistral",
    start=re.compile(r"\s*+(?:<s>)?+\s*+\[(?:INST|SYSTEM_PROMPT)\]"),
    # The system text of Llama 2 stands inside the first user turn, <<SYS>> to <</SYS>>, and counts as a turn before it.
    opening=re.compile(r"\[INST\]\s*+<<(SYS)>>|<<(/SYS)>>|\[(SYSTEM_PROMPT|/?INST)\]"),
    roles={"SYS": "system", "/SYS": "user", "SYSTEM_PROMPT": "system", "INST": "user", "/INST": "assistant"},
    closings=("</s>", "[/SYSTEM_PROMPT]"),
    around=("<s>",),
    after={"/SYS": ("SYS",), "/INST": ("INST", "/SYS")},
    foreign=("<<SYS>>", "[AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]"),
)

_ZEPHYR_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}

ZEPHYR = Marks(
    name="Zephyr",
    start=re.compile(r"\s*+(?:<s>)?+\s*+<\|(?:system|user)\|>[ \t]*+\n[\s\S]*<\|assistant\|>"),
    # At the start of a line, or right after the token that closed the turn before (Phi-3, StableLM, Tulu).
    opening=re.compile(r"(?:^|(?<=>))<\|(system|user|assistant)\|>", re.MULTILINE),
    roles=_ZEPHYR_ROLES,
    closings=("</s>", "<|end|>", "<|endoftext|>"),
    around=("<s>", "<|endoftext|>"),
)

METHARME = Marks(
    name="Metharme",
    start=re.compile(r"\s*+<\|(?:system|user)\|>[\s\S]*<\|model\|>"),
    opening=re.compile(r"<\|(system|user|model)\|>"),
    roles={"system": "system", "user": "user", "model": "assistant"},
)

TEMPLATE_MARKS: tuple[Marks, ...] = (CHATML, LLAMA_3, GEMMA, INST, ZEPHYR)
"""No text begins as two of them do."""


def text_format(name: str, marks: Marks, title: str, datasets: tuple[str, ...], example: str) -> Format:
    """The format of records that hold a whole conversation as `text`, with these marks."""

    def parse(record: dict[str, Json]) -> Conversation:
        messages = messages_in(text_in(record, "text"), "$.text", marks)
        return conversation(record, messages, lambda _: "$.text")

    return Format(
        name=name,
        title=title,
        keys={"text": marks.shape},
        without=RENDERED_BESIDE,
        optional=AROUND_KEYS,
        datasets=datasets,
        example={"text": example},
        parse=parse,
    )


TEMPLATE_TEXT_FORMATS: tuple[Format, ...] = (
    text_format(
        "chatml-text",
        CHATML,
        "ChatML as text: <|im_start|>role, what is said, <|im_end|>",
        ("ChatML text", "Qwen text"),
        "<|im_start|>user\nWhat is the capital of Peru?<|im_end|>\n<|im_start|>assistant\nLima.<|im_end|>\n",
    ),
    text_format(
        "llama-text",
        LLAMA_3,
        "Llama 3 as text: <|start_header_id|>role<|end_header_id|>, what is said, <|eot_id|>",
        ("Llama 3 text",),
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhat is the capital of Peru?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nLima.<|eot_id|>",
    ),
    text_format(
        "inst-text",
        INST,
        "Llama 2 or Mistral as text: [INST] question [/INST] answer, with <<SYS>> for the system text",
        ("Llama 2 text", "Mistral text", "mlabonne/guanaco-llama2-1k"),
        "<s>[INST] What is the capital of Peru? [/INST] Lima. </s>",
    ),
    text_format(
        "zephyr-text",
        ZEPHYR,
        "Zephyr, Phi-3, StableLM or Tulu as text: <|user|> and <|assistant|> on lines of their own",
        ("Zephyr text", "Phi-3 text", "Tulu text"),
        "<|user|>\nWhat is the capital of Peru?</s>\n<|assistant|>\nLima.</s>\n",
    ),
    text_format(
        "gemma-text",
        GEMMA,
        "Gemma as text: <start_of_turn>user or model, what is said, <end_of_turn>",
        ("Gemma text",),
        "<bos><start_of_turn>user\nWhat is the capital of Peru?<end_of_turn>\n"
        "<start_of_turn>model\nLima.<end_of_turn>\n",
    ),
)
