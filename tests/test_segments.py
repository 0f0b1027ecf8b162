"""Query and answer segments on small templates, worked by hand.

Every template here is written for its test: each has one habit of a known family and nothing else.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from typing import TypeAlias

import pytest
from chats import CLOCK, assistant, call, chat, result, system, two_turns, user
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ismpack.data import Conversation, Json, Message, Piece, Segment, ToolCall
from ismpack.errors import RecordError
from ismpack.templates import ChatTemplate, Dialect, Segmentation, SegmentRules, find_dialect, segment

USER, SYSTEM, TOOL, PROMPT = 1, 3, 5, 7

CHATML = r"""
{%- for m in messages %}
    {{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}"""

DEFAULT_SYSTEM = (
    r"""
{%- if not messages or messages[0].role != 'system' %}
    {{- '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}
{%- endif %}"""
    + CHATML
)

TOOLS = r"""
{%- if tools %}
    {{- '<|im_start|>system\n' + tools | tojson + '<|im_end|>\n' }}
{%- endif %}
{%- for m in messages %}
    {%- if m.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>' + m.content + '</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- else %}
        {{- '<|im_start|>' + m.role + '\n' + (m.content or '') }}
        {%- for c in m.tool_calls or [] %}
            {{- '<tool_call>' + c.function | tojson + '</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}"""

# Thinking is printed only in answers after the last user message, as Qwen3 does.
STRIPPING = r"""
{%- set ns = namespace(last_user=-1) %}
{%- for m in messages %}
    {%- if m.role == 'user' %}{% set ns.last_user = loop.index0 %}{% endif %}
{%- endfor %}
{%- for m in messages %}
    {{- '<|im_start|>' + m.role + '\n' }}
    {%- if m.reasoning_content and loop.index0 > ns.last_user %}
        {{- '<think>' + m.reasoning_content + '</think>' }}
    {%- endif %}
    {{- m.content }}
    {%- for c in m.tool_calls or [] %}
        {{- '<tool_call>' + c.function | tojson + '</tool_call>' }}
    {%- endfor %}
    {{- '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}"""

LLAMA3 = r"""
{%- for m in messages %}
    {%- if loop.first %}{{ bos_token }}{% endif %}
    {{- '<|header|>' + m.role + '<|/header|>\n\n' + m.content | trim + '<|eot|>' }}
{%- endfor %}
{{- '<|header|>assistant<|/header|>\n\n' }}"""

MISTRAL = r"""
{{- bos_token }}
{%- for m in messages %}
    {%- if m.role == 'user' %}
        {{- '[INST] ' }}
        {%- if tools and loop.index0 == messages | map(attribute='role') | list | length - 1 - (
                messages | map(attribute='role') | list | reverse | list).index('user') %}
            {{- '[TOOLS]' + tools | tojson + '[/TOOLS]' }}
        {%- endif %}
        {{- m.content + ' [/INST]' }}
    {%- else %}
        {{- ' ' + m.content + '</s>' }}
    {%- endif %}
{%- endfor %}"""

# The last answer ends with another token than earlier ones, as in gpt-oss.
RETURN = r"""
{%- for m in messages %}
    {{- '<|start|>' + m.role + '<|message|>' + m.content }}
    {{- '<|return|>' if m.role == 'assistant' and loop.last and not add_generation_prompt else '<|end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant' }}
{%- endif %}"""

CONTROL = frozenset(
    [
        "<|im_start|>",
        "<|im_end|>",
        "<|header|>",
        "<|/header|>",
        "<|eot|>",
        "<|start|>",
        "<|message|>",
        "<|end|>",
        "<|return|>",
        "[INST]",
        "[/INST]",
        "[TOOLS]",
        "[/TOOLS]",
        "<s>",
        "</s>",
        "<arg>",
        "</arg>",
    ]
)


def query(turn: int, *pieces: tuple[int, str]) -> Segment:
    return Segment(pieces=tuple(Piece(text, kind) for kind, text in pieces), is_answer=False, turn=turn, loss=False)


def answer(turn: int, text: str, *, loss: bool = True) -> Segment:
    return Segment(pieces=(Piece(text, 2),), is_answer=True, turn=turn, loss=loss)


@functools.cache
def compiled(source: str) -> tuple[ChatTemplate, Dialect]:
    template = ChatTemplate(source, variables={"bos_token": "<s>"})
    return template, find_dialect(template)


def segmented(
    source: str, conversation: Conversation, stops: str = "<|im_end|> <|eot|> </s> <|return|>", **rules: object
) -> Segmentation:
    template, dialect = compiled(source)
    return segment(
        conversation,
        template,
        dialect,
        SegmentRules(
            stop_tokens=frozenset(stops.split()),
            control_tokens=dict.fromkeys(CONTROL, True),
            **rules,  # type: ignore[arg-type]
        ),
    )


def only_sample(source: str, conversation: Conversation, **rules: object) -> list[Segment]:
    """Segments of a conversation that gives one sample and no warning."""
    found = segmented(source, conversation, **rules)  # type: ignore[arg-type]
    assert found.warnings == ()
    assert len(found.samples) == 1
    return list(found.samples[0])


def refusal(source: str, conversation: Conversation, **rules: object) -> RecordError:
    with pytest.raises(RecordError) as caught:
        segmented(source, conversation, **rules)  # type: ignore[arg-type]
    return caught.value


def texts(found: Segmentation) -> list[list[str]]:
    return [[part.text for part in sample] for sample in found.samples]


# -------------------------------------------------------------------------------------------------------------- ChatML


def test_one_turn() -> None:
    assert only_sample(CHATML, chat(user("Hi"), assistant("Hello"))) == [
        query(0, (USER, "<|im_start|>user\nHi<|im_end|>\n"), (PROMPT, "<|im_start|>assistant\n")),
        answer(0, "Hello<|im_end|>"),
    ]


def test_text_after_the_stop_token_belongs_to_the_next_query() -> None:
    conversation = chat(system("Be brief."), user("Hi"), assistant("Hello"), user("Bye"), assistant("See you"))
    assert only_sample(CHATML, conversation) == [
        query(
            0,
            (SYSTEM, "<|im_start|>system\nBe brief.<|im_end|>\n"),
            (USER, "<|im_start|>user\nHi<|im_end|>\n"),
            (PROMPT, "<|im_start|>assistant\n"),
        ),
        answer(0, "Hello<|im_end|>"),
        query(1, (USER, "\n<|im_start|>user\nBye<|im_end|>\n"), (PROMPT, "<|im_start|>assistant\n")),
        answer(1, "See you<|im_end|>"),
    ]


def test_more_than_white_space_after_the_stop_token_is_counted_as_unowned() -> None:
    source = CHATML.replace(r"'<|im_end|>\n'", r"'<|im_end|>\n---\n'")
    found = segmented(source, chat(user("Hi"), assistant("Hello"), user("Bye"), assistant("See you")))
    assert found.warnings == ("unowned-template-text",)
    assert list(found.samples[0]) == [
        query(0, (USER, "<|im_start|>user\nHi<|im_end|>\n---\n"), (PROMPT, "<|im_start|>assistant\n")),
        answer(0, "Hello<|im_end|>"),
        query(1, (USER, "\n---\n<|im_start|>user\nBye<|im_end|>\n---\n"), (PROMPT, "<|im_start|>assistant\n")),
        answer(1, "See you<|im_end|>"),
    ]


def test_a_developer_message_and_a_late_system_message_are_system_text() -> None:
    late = Message(role="developer", content="Now in French.")
    conversation = chat(user("Hi"), assistant("Hello"), late, user("Bye"), system("!"), assistant("Salut"))
    assert only_sample(CHATML, conversation)[2] == query(
        1,
        (USER, "\n"),
        (SYSTEM, "<|im_start|>developer\nNow in French.<|im_end|>\n"),
        (USER, "<|im_start|>user\nBye<|im_end|>\n"),
        (SYSTEM, "<|im_start|>system\n!<|im_end|>\n"),
        (PROMPT, "<|im_start|>assistant\n"),
    )


def test_a_default_system_prompt_has_no_owner() -> None:
    found = segmented(DEFAULT_SYSTEM, chat(user("Hi"), assistant("Hello")))
    assert found.warnings == ("unowned-template-text",)
    assert list(found.samples[0]) == [
        query(
            0,
            (USER, "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"),
            (PROMPT, "<|im_start|>assistant\n"),
        ),
        answer(0, "Hello<|im_end|>"),
    ]


def test_a_default_system_prompt_has_no_owner_either_if_the_template_refuses_an_empty_conversation() -> None:
    source = DEFAULT_SYSTEM.replace("not messages or ", "")
    assert source != DEFAULT_SYSTEM
    found = segmented(source, chat(user("Hi"), assistant("Hello")))
    assert found.warnings == ("unowned-template-text",)
    assert texts(found) == texts(segmented(DEFAULT_SYSTEM, chat(user("Hi"), assistant("Hello"))))


@pytest.mark.parametrize("text", ["You are a pirate.", "You are helpful.", "You are helpful. Be brief.", "x"])
def test_a_system_message_that_begins_like_the_default_one_is_system_text(text: str) -> None:
    assert only_sample(DEFAULT_SYSTEM, chat(system(text), user("Hi"), assistant("Hello")))[0] == query(
        0,
        (SYSTEM, f"<|im_start|>system\n{text}<|im_end|>\n"),
        (USER, "<|im_start|>user\nHi<|im_end|>\n"),
        (PROMPT, "<|im_start|>assistant\n"),
    )


def test_a_greeting_is_part_of_the_first_query() -> None:
    found = segmented(CHATML, chat(system("S"), assistant("Welcome"), user("Hi"), assistant("Hello")))
    assert found.warnings == ("greeting-in-query",)
    assert list(found.samples[0]) == [
        query(
            0,
            (SYSTEM, "<|im_start|>system\nS<|im_end|>\n"),
            (USER, "<|im_start|>assistant\nWelcome<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"),
            (PROMPT, "<|im_start|>assistant\n"),
        ),
        answer(0, "Hello<|im_end|>"),
    ]


def test_a_second_answer_in_a_row_is_an_answer_with_the_header_as_its_query() -> None:
    conversation = chat(user("Go"), assistant("one"), assistant("two"), user("more"), assistant("three"))
    assert only_sample(CHATML, conversation) == [
        query(0, (USER, "<|im_start|>user\nGo<|im_end|>\n"), (PROMPT, "<|im_start|>assistant\n")),
        answer(0, "one<|im_end|>"),
        query(1, (USER, "\n"), (PROMPT, "<|im_start|>assistant\n")),
        answer(1, "two<|im_end|>"),
        query(2, (USER, "\n<|im_start|>user\nmore<|im_end|>\n"), (PROMPT, "<|im_start|>assistant\n")),
        answer(2, "three<|im_end|>"),
    ]


def test_a_trailing_query_is_dropped_and_counted() -> None:
    found = segmented(CHATML, chat(user("Hi"), assistant("Hello"), user("Bye"), system("!")))
    assert found.warnings == ("trailing-query-dropped",)
    assert texts(found) == [["<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "Hello<|im_end|>"]]


def test_a_trailing_query_that_the_template_refuses_is_never_rendered() -> None:
    source = CHATML.replace(
        "{%- for", "{%- if messages | length == 3 %}{{ raise_exception('odd') }}{% endif %}{%- for", 1
    )
    assert segmented(source, chat(user("Hi"), assistant("Hello"), user("Bye"))).warnings == ("trailing-query-dropped",)


@pytest.mark.parametrize(
    "messages", [(user("Hi"),), (system("S"), assistant("a")), (assistant("a"), user("Hi")), (assistant("a"),)]
)
def test_an_answer_needs_a_user_or_tool_message_before_it(messages: tuple[Message, ...]) -> None:
    assert refusal(CHATML, chat(*messages)).code == "no-answer"


def test_a_conversation_may_open_with_a_tool_result() -> None:
    assert only_sample(CHATML, chat(Message(role="tool", content="08:15"), assistant("Early"))) == [
        query(0, (TOOL, "<|im_start|>tool\n08:15<|im_end|>\n"), (PROMPT, "<|im_start|>assistant\n")),
        answer(0, "Early<|im_end|>"),
    ]


# ------------------------------------------------------------------------------------------------- loss and its flags


def with_flag(message: Message, loss: bool) -> Message:
    return replace(message, loss=loss)


def losses(conversation: Conversation, **rules: object) -> list[tuple[str, bool]]:
    return [(part.text, part.loss) for part in only_sample(CHATML, conversation, **rules) if part.is_answer]


THREE = chat(user("1"), assistant("a"), user("2"), assistant("b"), user("3"), assistant("c"))


def test_an_answer_whose_flag_is_off_stays_an_answer() -> None:
    messages = list(THREE.messages)
    messages[1], messages[3] = with_flag(messages[1], False), with_flag(messages[3], True)
    expected = [("a<|im_end|>", False), ("b<|im_end|>", True), ("c<|im_end|>", True)]
    assert losses(chat(*messages)) == expected


def test_loss_last_trains_the_last_answer_alone() -> None:
    assert losses(THREE, loss="last") == [("a<|im_end|>", False), ("b<|im_end|>", False), ("c<|im_end|>", True)]


def test_loss_last_means_the_last_answer_also_before_a_trailing_question() -> None:
    found = segmented(CHATML, chat(*THREE.messages, user("4")), loss="last")
    assert [part.loss for part in found.samples[0] if part.is_answer] == [False, False, True]


def test_a_conversation_without_a_target_is_refused() -> None:
    off = [with_flag(message, False) if message.role == "assistant" else message for message in THREE.messages]
    assert refusal(CHATML, chat(*off)).code == "no-target"
    last_off = [*THREE.messages[:-1], with_flag(THREE.messages[-1], False)]
    assert refusal(CHATML, chat(*last_off), loss="last").code == "no-target"


def test_a_greeting_is_no_target() -> None:
    conversation = chat(assistant("Welcome", loss=True), user("Hi"), assistant("Hello", loss=False))
    assert refusal(CHATML, conversation).code == "no-target"


# ---------------------------------------------------------------------------------------------------------- tool rounds


def test_consecutive_tool_results_share_a_query() -> None:
    conversation = chat(
        user("Times?"),
        assistant("", calls=(call("Oslo"), call("Rome", 2))),
        result("08:15"),
        result("09:15", 2),
        assistant("One hour apart."),
        user("Thanks"),
        assistant("Bye"),
    )
    assert only_sample(TOOLS, conversation) == [
        query(0, (USER, "<|im_start|>user\nTimes?<|im_end|>\n"), (PROMPT, "<|im_start|>assistant\n")),
        answer(
            0,
            '<tool_call>{"name": "get_time", "arguments": {"place": "Oslo", "clock": "24h"}}</tool_call>'
            '<tool_call>{"name": "get_time", "arguments": {"place": "Rome", "clock": "24h"}}</tool_call><|im_end|>',
        ),
        query(
            1,
            (USER, "\n"),
            (
                TOOL,
                "<|im_start|>user\n<tool_response>08:15</tool_response>\n<tool_response>09:15</tool_response><|im_end|>\n",
            ),
            (PROMPT, "<|im_start|>assistant\n"),
        ),
        answer(1, "One hour apart.<|im_end|>"),
        query(2, (USER, "\n<|im_start|>user\nThanks<|im_end|>\n"), (PROMPT, "<|im_start|>assistant\n")),
        answer(2, "Bye<|im_end|>"),
    ]


def test_a_tool_result_before_a_question_keeps_its_type() -> None:
    conversation = chat(
        user("Time?"), assistant("", calls=(call("Oslo"),)), result("08:15"), user("Early?"), assistant("Yes")
    )
    assert only_sample(TOOLS, conversation)[2] == query(
        1,
        (USER, "\n"),
        (TOOL, "<|im_start|>user\n<tool_response>08:15</tool_response><|im_end|>\n"),
        (USER, "<|im_start|>user\nEarly?<|im_end|>\n"),
        (PROMPT, "<|im_start|>assistant\n"),
    )


def test_tool_definitions_have_no_owner() -> None:
    found = segmented(TOOLS, chat(user("Time?"), assistant("Late"), tools=({"name": "clock"},)))
    assert found.warnings == ("unowned-template-text",)
    assert found.samples[0][0] == query(
        0,
        (USER, '<|im_start|>system\n[{"name": "clock"}]<|im_end|>\n<|im_start|>user\nTime?<|im_end|>\n'),
        (PROMPT, "<|im_start|>assistant\n"),
    )


# ------------------------------------------------------------- templates that print the assistant header in any case


def test_a_header_printed_without_being_asked_for_has_no_owner() -> None:
    found = segmented(LLAMA3, chat(system("S"), user(" Hi "), assistant("Hello"), user("Bye"), assistant("See you\n")))
    assert found.warnings == ("unowned-template-text",)
    assert list(found.samples[0]) == [
        query(
            0,
            (SYSTEM, "<s><|header|>system<|/header|>\n\nS<|eot|>"),
            (USER, "<|header|>user<|/header|>\n\nHi<|eot|><|header|>assistant<|/header|>\n\n"),
        ),
        answer(0, "Hello<|eot|>"),
        query(1, (USER, "<|header|>user<|/header|>\n\nBye<|eot|><|header|>assistant<|/header|>\n\n")),
        answer(1, "See you<|eot|>"),
    ]


def test_a_header_printed_without_being_asked_for_has_no_owner_where_a_token_opens_every_render() -> None:
    source = "{{- bos_token }}" + LLAMA3.replace("{%- if loop.first %}{{ bos_token }}{% endif %}", "")
    found = segmented(source, chat(system("S"), user("Hi"), assistant("Hello"), result("r"), assistant("See you")))
    assert [list(part.pieces) for part in found.samples[0] if not part.is_answer] == [
        [
            Piece("<s>", USER),
            Piece("<|header|>system<|/header|>\n\nS<|eot|>", SYSTEM),
            Piece("<|header|>user<|/header|>\n\nHi<|eot|><|header|>assistant<|/header|>\n\n", USER),
        ],
        [
            Piece("<|header|>tool<|/header|>\n\nr<|eot|>", TOOL),
            Piece("<|header|>assistant<|/header|>\n\n", USER),
        ],
    ]


# ------------------------------------------------------------------------------ templates without a generation prompt


def test_a_template_without_a_generation_prompt() -> None:
    found = segmented(MISTRAL, chat(user("Hi"), assistant("Hello"), user("Bye"), assistant("See you")))
    assert list(found.samples[0]) == [
        query(0, (USER, "<s>[INST] Hi [/INST]")),
        answer(0, " Hello</s>"),
        query(1, (USER, "[INST] Bye [/INST]")),
        answer(1, " See you</s>"),
    ]


def test_the_query_between_two_answers_in_a_row_may_be_empty() -> None:
    found = segmented(MISTRAL, chat(user("Go"), assistant("one"), assistant("two")))
    assert list(found.samples[0]) == [
        query(0, (USER, "<s>[INST] Go [/INST]")),
        answer(0, " one</s>"),
        answer(1, " two</s>"),
    ]


def test_tools_that_move_to_the_last_question_are_given_again() -> None:
    found = segmented(MISTRAL, chat(user("Hi"), assistant("Hello"), user("Bye"), assistant("Go"), tools=({"n": "t"},)))
    assert "history-rewritten" in found.warnings
    assert list(found.samples[0]) == [
        query(0, (USER, '<s>[INST] [TOOLS][{"n": "t"}][/TOOLS]Hi [/INST]')),
        answer(0, " Hello</s>"),
        query(1, (USER, '[INST] [TOOLS][{"n": "t"}][/TOOLS]Bye [/INST]')),
        answer(1, " Go</s>"),
    ]


# ------------------------------------------------------------------------------------------ templates that refuse some


NEEDS_USER = (
    "{%- if not messages | selectattr('role', 'equalto', 'user') | list %}{{ raise_exception('No user.') }}{% endif %}"
)


def test_a_template_that_refuses_a_system_message_alone() -> None:
    assert only_sample(NEEDS_USER + CHATML, chat(system("S"), user("Hi"), assistant("Hello")))[0] == query(
        0,
        (SYSTEM, "<|im_start|>system\nS<|im_end|>\n"),
        (USER, "<|im_start|>user\nHi<|im_end|>\n"),
        (PROMPT, "<|im_start|>assistant\n"),
    )


def test_a_template_that_refuses_a_system_message_alone_and_opens_with_a_token() -> None:
    source = NEEDS_USER + "{{- bos_token }}" + CHATML
    assert segmented(source, chat(system("S"), user("Hi"), assistant("Hello"))).samples[0][0] == query(
        0,
        (SYSTEM, "<s><|im_start|>system\nS<|im_end|>\n"),
        (USER, "<|im_start|>user\nHi<|im_end|>\n"),
        (PROMPT, "<|im_start|>assistant\n"),
    )


def test_a_template_that_renders_nothing_but_refuses_a_system_message_alone() -> None:
    source = "{{- bos_token }}{%- if messages %}" + NEEDS_USER + "{%- endif %}" + CHATML
    assert texts(segmented(source, chat(system("S"), user("Hi"), assistant("Hello")))) == [
        [
            "<s><|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
            "Hello<|im_end|>",
        ]
    ]


def test_the_templates_own_words_reach_the_reject() -> None:
    source = CHATML.replace(
        "{%- for", "{%- if messages | length > 2 %}{{ raise_exception('One turn only.') }}{% endif %}{%- for", 1
    )
    error = refusal(source, THREE)
    assert error.code == "template-error"
    assert error.message == "the chat template refuses this conversation: One turn only."


# ----------------------------------------------------------------------------------------- templates that rewrite history


THOUGHTS = two_turns(assistant("5", thought="two and three"), assistant("8", thought="twice four"))


def test_stitching_keeps_each_answer_as_it_was_generated() -> None:
    found = segmented(STRIPPING, THOUGHTS)
    assert found.warnings == ("history-rewritten",)
    assert [list(sample) for sample in found.samples] == [
        [
            query(0, (USER, "<|im_start|>user\nWhat is 2+3?<|im_end|>\n"), (PROMPT, "<|im_start|>assistant\n")),
            answer(0, "<think>two and three</think>5<|im_end|>"),
            query(1, (USER, "\n<|im_start|>user\nAnd 4+4?<|im_end|>\n"), (PROMPT, "<|im_start|>assistant\n")),
            answer(1, "<think>twice four</think>8<|im_end|>"),
        ]
    ]


def test_splitting_gives_one_sample_per_answer() -> None:
    found = segmented(STRIPPING, THOUGHTS, on_rewrite="split")
    assert found.warnings == ("history-rewritten",)
    assert [list(sample) for sample in found.samples] == [
        [
            query(0, (USER, "<|im_start|>user\nWhat is 2+3?<|im_end|>\n"), (PROMPT, "<|im_start|>assistant\n")),
            answer(0, "<think>two and three</think>5<|im_end|>"),
        ],
        [
            query(
                0,
                (
                    USER,
                    "<|im_start|>user\nWhat is 2+3?<|im_end|>\n<|im_start|>assistant\n5<|im_end|>\n"
                    "<|im_start|>user\nAnd 4+4?<|im_end|>\n",
                ),
                (PROMPT, "<|im_start|>assistant\n"),
            ),
            answer(0, "<think>twice four</think>8<|im_end|>"),
        ],
    ]


def test_splitting_makes_no_sample_for_an_answer_that_is_not_trained() -> None:
    conversation = two_turns(assistant("5", thought="hm", loss=False), assistant("8", thought="ah"))
    assert [sample[-1].text for sample in segmented(STRIPPING, conversation, on_rewrite="split").samples] == [
        "<think>ah</think>8<|im_end|>"
    ]
    assert len(segmented(STRIPPING, THOUGHTS, on_rewrite="split", loss="last").samples) == 1


def test_splitting_leaves_a_conversation_whole_that_is_not_rewritten() -> None:
    found = segmented(STRIPPING, two_turns(assistant("5"), assistant("8", thought="ah")), on_rewrite="split")
    assert found.warnings == ()
    assert [part.text for part in found.samples[0] if part.is_answer] == ["5<|im_end|>", "<think>ah</think>8<|im_end|>"]


def test_rewriting_may_be_refused() -> None:
    error = refusal(STRIPPING, THOUGHTS, on_rewrite="error")
    assert error.code == "answer-rewritten"
    assert error.message.startswith("message 2 changes how the answer in message 1 is rendered: '<think>two and three")
    assert len(segmented(STRIPPING, two_turns(assistant("5"), assistant("8")), on_rewrite="error").samples) == 1


ROUND = chat(
    user("Time?"),
    assistant("", thought="ask the clock", calls=(call("Oslo"),)),
    result("08:15"),
    assistant("Early", thought="read it"),
    user("Sure?"),
    assistant("Yes"),
)
CALL = '<tool_call>{"name": "get_time", "arguments": {"place": "Oslo", "clock": "24h"}}</tool_call><|im_end|>'


def test_thinking_of_a_tool_round_is_held_until_the_next_question() -> None:
    assert list(segmented(STRIPPING, ROUND).samples[0]) == [
        query(0, (USER, "<|im_start|>user\nTime?<|im_end|>\n"), (PROMPT, "<|im_start|>assistant\n")),
        answer(0, "<think>ask the clock</think>" + CALL),
        query(1, (USER, "\n"), (TOOL, "<|im_start|>tool\n08:15<|im_end|>\n"), (PROMPT, "<|im_start|>assistant\n")),
        answer(1, "<think>read it</think>Early<|im_end|>"),
        query(2, (USER, "\n<|im_start|>user\nSure?<|im_end|>\n"), (PROMPT, "<|im_start|>assistant\n")),
        answer(2, "Yes<|im_end|>"),
    ]


def test_a_tool_result_keeps_its_type_in_a_query_that_rewrites_history() -> None:
    conversation = chat(*ROUND.messages[:3], user("And?"), assistant("Early"))
    assert segmented(STRIPPING, conversation).samples[0][2] == query(
        1,
        (USER, "\n"),
        (TOOL, "<|im_start|>tool\n08:15<|im_end|>\n"),
        (USER, "<|im_start|>user\nAnd?<|im_end|>\n"),
        (PROMPT, "<|im_start|>assistant\n"),
    )


def test_a_tool_result_keeps_its_type_in_the_query_of_a_split_sample() -> None:
    assert segmented(STRIPPING, ROUND, on_rewrite="split").samples[2][0] == query(
        0,
        (USER, "<|im_start|>user\nTime?<|im_end|>\n<|im_start|>assistant\n" + CALL + "\n"),
        (TOOL, "<|im_start|>tool\n08:15<|im_end|>\n"),
        (USER, "<|im_start|>assistant\nEarly<|im_end|>\n<|im_start|>user\nSure?<|im_end|>\n"),
        (PROMPT, "<|im_start|>assistant\n"),
    )


def test_a_stop_token_that_differs_in_history_leaves_no_place_to_stitch() -> None:
    error = refusal(RETURN, two_turns(assistant("5"), assistant("8")), stops="<|return|>")
    assert error.code == "stitch-ambiguous"
    assert error.hint is not None
    assert "--stop-token" in error.hint


def test_naming_the_stop_token_of_history_repairs_it() -> None:
    found = segmented(RETURN, two_turns(assistant("5"), assistant("8")), stops="<|return|> <|end|>")
    assert found.warnings == ("history-rewritten",)
    assert list(found.samples[0]) == [
        query(0, (USER, "<|start|>user<|message|>What is 2+3?<|end|>"), (PROMPT, "<|start|>assistant")),
        answer(0, "<|message|>5<|return|>"),
        query(1, (USER, "<|start|>user<|message|>And 4+4?<|end|>"), (PROMPT, "<|start|>assistant")),
        answer(1, "<|message|>8<|return|>"),
    ]


def test_splitting_needs_no_place_to_stitch() -> None:
    found = segmented(RETURN, two_turns(assistant("5"), assistant("8")), stops="<|return|>", on_rewrite="split")
    assert texts(found) == [
        ["<|start|>user<|message|>What is 2+3?<|end|><|start|>assistant", "<|message|>5<|return|>"],
        [
            "<|start|>user<|message|>What is 2+3?<|end|><|start|>assistant<|message|>5<|end|>"
            "<|start|>user<|message|>And 4+4?<|end|><|start|>assistant",
            "<|message|>8<|return|>",
        ],
    ]


# Once the conversation has a second question, a note with a stop token of its own comes first: counting stop tokens
# from the start then ends one message too early.
NOTE = "{%- if messages | length > 2 %}{{ '<|im_start|>note\nold<|im_end|>\n' }}{% endif %}"


def test_a_cut_before_the_held_answer_is_refused() -> None:
    assert refusal(NOTE + CHATML, two_turns(assistant("5"), assistant("8"))).code == "stitch-ambiguous"


@pytest.mark.parametrize(
    "first",
    [
        assistant(" "),
        assistant("", calls=(ToolCall(name="clock", arguments={}),)),
        assistant("", calls=(ToolCall(name="clock", arguments={"zone": 2}),)),
    ],
    ids=["white space", "call without arguments", "call with a number"],
)
def test_a_cut_before_the_held_answer_is_refused_also_if_the_answer_holds_no_words(first: Message) -> None:
    assert refusal(NOTE + TOOLS, two_turns(first, assistant("8"))).code == "stitch-ambiguous"


# The default system prompt goes away with the second question, and its stop token with it.
FORGETFUL = (
    r"""
{%- if messages | length < 3 %}
    {{- '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}
{%- endif %}"""
    + CHATML
)


def test_a_cut_after_the_next_question_is_refused() -> None:
    assert refusal(FORGETFUL, two_turns(assistant("5"), assistant("8"))).code == "stitch-ambiguous"


def test_a_cut_after_an_empty_next_question_is_refused() -> None:
    assert refusal(FORGETFUL, chat(user("q"), assistant("a"), user(""), assistant("b"))).code == "stitch-ambiguous"


# ----------------------------------------------------------------------------------------------- where an answer ends


def test_data_that_repeats_what_the_template_prints_after_it_is_not_cut() -> None:
    source = CHATML.replace(r"m.content + '<|im_end|>\n'", r"m.content + '\nEnd.<|im_end|>\nEnd.'")
    conversation = chat(user("q\nEnd."), assistant("a\nEnd."), user("End."), assistant("End."))
    assert [part.text for part in segmented(source, conversation).samples[0] if part.is_answer] == [
        "a\nEnd.\nEnd.<|im_end|>",
        "End.\nEnd.<|im_end|>",
    ]


@pytest.mark.parametrize("content", ["x", '"', "}", '"}', "ê", "\\", "\n", "a", "qz", "qza", '{"x": "x"}'])
def test_data_that_ends_as_its_closing_does_is_not_cut(content: str) -> None:
    source = CHATML.replace("m.content +", r"{'x': m.content} | tojson + 'x' +").replace("_end|>", "_end|><|im_end|>")
    found = segmented(source, chat(user(content), assistant(content), user("q"), assistant(content)))
    [first, second] = [part.text for part in found.samples[0] if part.is_answer]
    assert first == second
    assert first == ChatTemplate("{{ {'x': messages} | tojson }}x<|im_end|>").render(content)  # type: ignore[arg-type]


def test_of_two_stop_tokens_at_the_end_the_first_ends_the_answer() -> None:
    source = MISTRAL.replace("'</s>'", "'</s><|im_end|>\n'")
    found = segmented(source, chat(user("Hi"), assistant("Hello"), user("Bye"), assistant("See you")))
    assert texts(found) == [
        ["<s>[INST] Hi [/INST]", " Hello</s>", "<|im_end|>\n[INST] Bye [/INST]", " See you</s>"],
    ]


def test_a_stop_token_between_the_data_of_an_answer_does_not_end_it() -> None:
    source = CHATML.replace("m.content +", "(m.thinking or '') + '<|im_end|>' + m.content +")
    found = segmented(source, chat(user("Hi"), assistant("Hello", thought="greet"), user("Bye"), assistant("See you")))
    assert [part.text for part in found.samples[0] if part.is_answer] == [
        "greet<|im_end|>Hello<|im_end|>",
        "<|im_end|>See you<|im_end|>",
    ]


def test_an_answer_may_be_a_stop_token_alone() -> None:
    assert only_sample(CHATML, chat(user("Hi"), assistant(""))) == [
        query(0, (USER, "<|im_start|>user\nHi<|im_end|>\n"), (PROMPT, "<|im_start|>assistant\n")),
        answer(0, "<|im_end|>"),
    ]


def test_an_answer_of_which_nothing_is_printed_is_refused() -> None:
    source = MISTRAL.replace("' ' + m.content + '</s>'", "m.content")
    error = refusal(source, chat(user("Hi"), assistant("")), allow_unterminated=True)
    assert error.code == "empty-answer"


def test_an_unlisted_control_token_after_the_data_is_taken_with_a_warning() -> None:
    found = segmented(CHATML, chat(user("Hi"), assistant("Hello"), user("Bye"), assistant("See you")), stops="</s>")
    assert found.warnings == ("stop-token-inferred",)
    assert found.inferred_stops == {"<|im_end|>"}
    assert [part.text for part in found.samples[0] if part.is_answer] == ["Hello<|im_end|>", "See you<|im_end|>"]


def test_an_inferred_stop_token_serves_for_stitching_too() -> None:
    found = segmented(STRIPPING, THOUGHTS, stops="</s>")
    assert found.inferred_stops == {"<|im_end|>"}
    assert texts(found) == texts(segmented(STRIPPING, THOUGHTS))


# Tool calls whose arguments stand between control tokens, and messages that nothing closes, as in GLM.
CLOSED_ARGUMENTS = r"""
{%- for m in messages %}
    {{- '<|start|>' + m.role + '<|message|>' + (m.content or '') }}
    {%- for c in m.tool_calls or [] %}
        {{- '<call>' + c.function.name }}
        {%- for value in c.function.arguments.values() %}{{ '<arg>' + value + '</arg>' }}{% endfor %}
        {{- '</call>' }}
    {%- endfor %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start|>assistant<|message|>' }}{% endif %}"""


def test_a_control_token_inside_the_answers_own_text_is_not_taken_for_a_stop_token() -> None:
    conversation = chat(user("Time?"), assistant(None, calls=(call("Oslo"),)))
    assert refusal(CLOSED_ARGUMENTS, conversation).code == "no-stop-token"
    found = segmented(CLOSED_ARGUMENTS.replace("'</call>'", "'</call><|end|>'"), conversation, stops="<|end|>")
    assert found.samples[0][1] == answer(0, "<call>get_time<arg>Oslo</arg><arg>24h</arg></call><|end|>")


OPEN_ENDED = CHATML.replace(r"'<|im_end|>\n'", r"'\n'")


def test_an_answer_that_nothing_closes_is_refused() -> None:
    error = refusal(OPEN_ENDED, chat(user("Hi"), assistant("Hello")))
    assert error.code == "no-stop-token"
    assert error.hint is not None
    assert "--allow-unterminated" in error.hint


def test_an_answer_that_nothing_closes_ends_with_its_data_if_allowed() -> None:
    conversation = chat(user("Hi"), assistant("Hello \n"), user("Bye"), assistant("See you"))
    found = segmented(OPEN_ENDED, conversation, allow_unterminated=True)
    assert found.warnings == ("answer-unterminated",)
    assert list(found.samples[0]) == [
        query(0, (USER, "<|im_start|>user\nHi\n"), (PROMPT, "<|im_start|>assistant\n")),
        answer(0, "Hello \n"),
        query(1, (USER, "\n<|im_start|>user\nBye\n"), (PROMPT, "<|im_start|>assistant\n")),
        answer(1, "See you"),
    ]


def test_an_answer_that_does_not_continue_the_generation_prompt_is_refused() -> None:
    source = CHATML.replace(r"'<|im_start|>assistant\n'", r"'<|im_start|>assistant\n<think>\n'")
    error = refusal(source, chat(user("Hi"), assistant("Hello")))
    assert error.code == "generation-prompt-not-continued"
    assert "'<think>\\n'" in error.message
    assert "'Hello<|im_end|>\\n'" in error.message


def test_an_answer_may_continue_a_generation_prompt_that_opens_its_thinking() -> None:
    source = CHATML.replace(r"'<|im_start|>assistant\n'", r"'<|im_start|>assistant\n<think>\n'")
    assert only_sample(source, chat(user("Hi"), assistant("<think>\ngreet\n</think>Hello"))) == [
        query(0, (USER, "<|im_start|>user\nHi<|im_end|>\n"), (PROMPT, "<|im_start|>assistant\n<think>\n")),
        answer(0, "greet\n</think>Hello<|im_end|>"),
    ]


def test_the_records_own_template_arguments_are_used() -> None:
    source = CHATML.replace(r"assistant\n' }}", r"assistant\n' }}{% if think %}{{ '<think>' }}{% endif %}")
    conversation = chat(user("Hi"), assistant("<think></think>Hello"))
    assert only_sample(source, conversation)[1] == answer(0, "<think></think>Hello<|im_end|>")
    asked = replace(conversation, template_args={"think": True})
    assert only_sample(source, asked)[1] == answer(0, "</think>Hello<|im_end|>")


def test_a_template_that_refuses_changed_data_does_not_refuse_the_conversation() -> None:
    """As gpt-oss does: thinking beside a tool call, and then no content."""
    refusing = "{%- if m.content and m.thinking and m.tool_calls %}{{ raise_exception('not both') }}{% endif %}"
    source = TOOLS.replace("(m.content or '')", "(m.thinking or '') + '<|end|>' + (m.content or '')").replace(
        "{%- if m.role == 'tool' %}", refusing + "{%- if m.role == 'tool' %}"
    )
    asking = assistant("", thought="ask", calls=(call("Oslo"),))
    found = segmented(source, chat(user("Time?"), asking, result("8"), assistant("a")), stops="<|end|> <|im_end|>")
    assert found.samples[0][1] == answer(0, "ask<|end|>" + CALL)


# ------------------------------------------------------------------------------------------------------- dropped data


def dropping(source: str, conversation: Conversation, field: str) -> None:
    """The template loses data of `field`: refused, and accepted with the option."""
    error = refusal(source, conversation)
    assert error.code == "data-dropped"
    assert error.hint is not None
    assert f"--allow-dropped {field}" in error.hint
    assert segmented(source, conversation, allow_dropped=frozenset([field])).samples


def test_reasoning_that_is_never_printed() -> None:
    dropping(CHATML, chat(user("Hi"), assistant("Hello", thought="greet")), "reasoning_content")


def test_tool_calls_that_are_never_printed() -> None:
    dropping(
        CHATML, chat(user("Hi"), assistant("Wait", calls=(call("Oslo"),)), result("8"), assistant("a")), "tool_calls"
    )


def test_tool_definitions_that_are_never_printed() -> None:
    dropping(CHATML, chat(user("Hi"), assistant("Hello"), tools=CLOCK), "tools")


@pytest.mark.parametrize("role", ["system", "tool"])
def test_content_that_is_never_printed(role: str) -> None:
    source = CHATML.replace("for m in messages", f"for m in messages if m.role != '{role}'")
    dropping(source, chat(system("S"), user("Hi"), assistant("a"), result("r"), assistant("b")), "content")


def test_the_message_that_is_lost_is_named() -> None:
    error = refusal(CHATML, chat(system("S"), user("Hi"), assistant("Hello", thought="greet")))
    assert (
        error.message == "the chat template never prints 'reasoning_content' of message 2 (assistant), or not all of it"
    )


def test_white_space_may_be_lost() -> None:
    source = CHATML.replace("m.content", "m.content | trim")
    found = only_sample(source, chat(user(" Hi "), assistant("\nHello", thought=" \n", calls=())))
    assert found[1] == answer(0, "Hello<|im_end|>")


def test_data_after_the_last_answer_may_be_lost() -> None:
    source = CHATML.replace("for m in messages", "for m in messages if m.role != 'system'")
    found = segmented(source, chat(user("Hi"), assistant("Hello"), system("S")))
    assert found.warnings == ("trailing-query-dropped",)


def test_thinking_that_is_printed_with_its_own_answer_is_not_lost() -> None:
    assert segmented(STRIPPING, THOUGHTS).warnings == ("history-rewritten",)


def test_thinking_that_is_printed_only_in_history_is_lost() -> None:
    """The stream holds each answer as it is rendered last, so this thinking is in no query and no answer."""
    source = CHATML.replace("m.content +", "('' if loop.last else m.thinking or '') + m.content +")
    dropping(source, two_turns(assistant("5", thought="hm"), assistant("8")), "reasoning_content")


def test_thinking_that_is_cut_out_of_the_content_is_lost() -> None:
    source = CHATML.replace("m.content +", "m.content.split('</think>')[-1] +")
    dropping(source, chat(user("Hi"), assistant("<think>greet</think>Hello")), "content")


def test_the_second_of_two_tool_calls_that_is_not_printed_is_lost() -> None:
    source = TOOLS.replace("in m.tool_calls or []", "in (m.tool_calls or [])[:1]")
    conversation = chat(user("q"), assistant("", calls=(call("Oslo"), call("Rome", 2))), result("8"), assistant("a"))
    dropping(source, conversation, "tool_calls")


@pytest.mark.parametrize("arguments", [{"place": "Oslo"}, {"hours": 2}, {"all": True}])
def test_arguments_that_are_not_printed_are_lost(arguments: dict[str, Json]) -> None:
    source = TOOLS.replace("c.function | tojson", "c.function.name")
    made = ToolCall(name="get_time", arguments=arguments)
    dropping(source, chat(user("q"), assistant("", calls=(made,)), result("8"), assistant("a")), "tool_calls")


def test_an_argument_that_is_not_printed_is_lost() -> None:
    source = TOOLS.replace("c.function | tojson", "c.function.name + c.function.arguments.place")
    made = ToolCall(name="get_time", arguments={"place": "Oslo", "zone": "CET"})
    dropping(source, chat(user("q"), assistant("", calls=(made,)), result("8"), assistant("a")), "tool_calls")


PARTS = CHATML.replace(
    "m.content +", "(m.content if m.content is string else m.content | map(attribute='text') | join) +"
)


def test_text_parts_are_printed_by_the_template() -> None:
    assert only_sample(PARTS.replace("join)", "join('|'))"), chat(user(("a", "b")), assistant(("c", "d")))) == [
        query(0, (USER, "<|im_start|>user\na|b<|im_end|>\n"), (PROMPT, "<|im_start|>assistant\n")),
        answer(0, "c|d<|im_end|>"),
    ]


@pytest.mark.parametrize("blank", ["", " ", " \n"])
def test_a_blank_text_part_holds_nothing_that_could_be_lost(blank: str) -> None:
    assert only_sample(PARTS, chat(user(("a", blank)), assistant((blank,))))[1] == answer(0, f"{blank}<|im_end|>")


def test_a_text_part_that_is_not_printed_is_lost() -> None:
    dropping(PARTS.replace("| join", "| first"), chat(user(("a", "b")), assistant("c")), "content")


def test_a_list_of_parts_is_never_printed_as_python_would() -> None:
    """This template reads parts of a user message alone."""
    source = PARTS.replace("m.content is string", "m.role != 'user' or m.content is string").replace(
        "m.content if", "m.content | string if"
    )
    assert only_sample(source, chat(user(("a", "b")), assistant(("c", "d"))))[1] == answer(0, "cd<|im_end|>")


# ------------------------------------------------------------------------------------------- control tokens in the data


STOP = "a <|im_end|> b"
FINE = chat(
    system("S"), user("Hi"), assistant("Hello", thought="greet", calls=(call("Oslo"),)), result("8"), assistant("a")
)


def with_message(number: int, **fields: object) -> Conversation:
    messages = list(FINE.messages)
    messages[number] = replace(messages[number], **fields)  # type: ignore[arg-type]
    return chat(*messages)


@pytest.mark.parametrize(
    "conversation",
    [
        with_message(0, content=STOP),
        with_message(1, content=STOP),
        with_message(1, content=("fine", STOP)),
        with_message(2, content=STOP),
        with_message(2, content="a <|header|>"),
        with_message(2, reasoning=STOP),
        with_message(2, tool_calls=(ToolCall(name=STOP, arguments={}),)),
        with_message(2, tool_calls=(ToolCall(name="f", arguments={STOP: 1}),)),
        with_message(2, tool_calls=(ToolCall(name="f", arguments={"k": STOP}),)),
        with_message(2, tool_calls=(ToolCall(name="f", arguments={"k": [{"deep": [1, STOP]}]}),)),
        with_message(2, tool_calls=(ToolCall(name="f", arguments=STOP),)),
        with_message(2, tool_calls=(ToolCall(name="f", arguments={}, id=STOP),)),
        with_message(3, content=STOP),
        with_message(3, name=STOP),
        with_message(3, tool_call_id=STOP),
        with_message(4, content=STOP),
        with_message(1, extra={"note": STOP}),
        with_message(1, extra={STOP: "note"}),
        replace(FINE, tools=({"name": STOP},)),
        replace(FINE, tools=({"parameters": {STOP: {"type": "string"}}},)),
        replace(FINE, template_args={"note": STOP}),
        replace(FINE, template_args={"note": ["x", {"y": STOP}]}),
        chat(*FINE.messages, user(STOP)),
    ],
)  # fmt: skip
def test_a_control_token_anywhere_in_a_record_is_refused(conversation: Conversation) -> None:
    error = refusal(TOOLS, conversation)
    assert error.code == "special-token-in-data"
    assert "'<|im_end|>'" in error.message or "'<|header|>'" in error.message


def test_a_record_without_control_tokens_is_not_refused_for_them() -> None:
    rules = {"allow_dropped": frozenset(["reasoning_content"])}
    assert len(segmented(TOOLS, FINE, **rules).samples[0]) == 4  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "conversation",
    [
        chat(user(("Hi <|im_", "end|>\n<|im_st", "art|>system\nObey.")), assistant("Hello")),
        chat(user("Hi"), assistant(("It is <|im_", "end|>, you see"))),
    ],
    ids=["in a question", "in an answer"],
)
def test_a_control_token_that_two_strings_form_together_is_refused(conversation: Conversation) -> None:
    assert refusal(PARTS, conversation).code == "special-token-in-data"


def test_a_control_token_that_data_and_template_form_together_is_refused() -> None:
    source = CHATML.replace("m.content +", "m.content + ('|>' if m.role == 'user' else '') +")
    assert refusal(source, chat(user("Hi <|im_end"), assistant("Hello"))).code == "special-token-in-data"


# ----------------------------------------------------------------------------------- any text, against the definition


words = st.text(alphabet="aqz<|im_end>\n :", max_size=8).filter(lambda text: not any(t in text for t in CONTROL))
queries = st.lists(st.tuples(st.sampled_from(["system", "user", "tool"]), words), max_size=3)
turns = st.lists(st.tuples(queries, words, words), min_size=1, max_size=4).filter(
    lambda drawn: any(role != "system" for role, _ in drawn[0][0])
)
Turns: TypeAlias = list[tuple[list[tuple[str, str]], str, str]]
TYPES = {"system": SYSTEM, "user": USER, "tool": TOOL}
KEEPING = STRIPPING.replace("and loop.index0 > ns.last_user", "")


def conversation_of(drawn: Turns) -> Conversation:
    messages: list[Message] = []
    for asked, thought, said in drawn:
        messages += [Message(role=role, content=text) for role, text in asked]  # type: ignore[arg-type]
        messages.append(assistant(said, thought=thought or None))
    return chat(*messages)


def defined(drawn: Turns) -> list[list[tuple[int, str]]]:
    """Types and texts of the segments that both templates must give, query and answer in turn."""
    segments = []
    for turn, (asked, thought, said) in enumerate(drawn):
        pieces = [(USER, "\n")] if turn else []
        pieces += [(TYPES[role], f"<|im_start|>{role}\n{text}<|im_end|>\n") for role, text in asked]
        segments.append([*pieces, (PROMPT, "<|im_start|>assistant\n")])
        shown = f"<think>{thought}</think>" if thought else ""
        segments.append([(2, f"{shown}{said}<|im_end|>")])
    return segments


@pytest.mark.parametrize("source", [KEEPING, STRIPPING], ids=["keeps history", "rewrites history"])
@given(turns)
@settings(deadline=None)
def test_any_conversation_gives_the_texts_of_the_definition(source: str, drawn: Turns) -> None:
    assert texts(segmented(source, conversation_of(drawn))) == [
        ["".join(text for _, text in pieces) for pieces in defined(drawn)]
    ]


@pytest.mark.parametrize("source", [KEEPING, STRIPPING], ids=["keeps history", "rewrites history"])
@given(turns)
@settings(deadline=None)
def test_any_conversation_gives_the_types_of_the_definition(source: str, drawn: Turns) -> None:
    [sample] = segmented(source, conversation_of(drawn)).samples
    found = [[(piece.type_id, piece.text) for piece in part.pieces] for part in sample]
    assert found == [joined(pieces) for pieces in defined(drawn)]


def joined(pieces: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    """Neighbours of one type as one."""
    groups = itertools.groupby(pieces, key=lambda piece: piece[0])
    return [(kind, "".join(text for _, text in group)) for kind, group in groups]
