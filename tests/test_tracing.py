"""Traced rendering: every character knows where it came from, and every question about the data is written down.

Two kinds of tests. Worked by hand: the parts of a render with their sources, and the questions that must have been
recorded. And one property, asked of everything a template can do to data: trace it on one conversation's data; if
another's answers all questions alike, then the parts filled with the other's data are what plain Python or Jinja gives
for the other. Otherwise the tracer must say that it lost track.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pytest
from chats import CHATS, DATE, assistant, chat, user
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ismpack.data import Conversation, Json, Message, Origin, Piece, Segment, ToolCall
from ismpack.errors import RecordError, TokenizerError
from ismpack.templates import ChatTemplate, Dialect, Segmenter, SegmentRules, find_dialect
from ismpack.templates.expressions import Guard, Source, Symbol, compiled_guard, compiled_values, value_of
from ismpack.templates.limits import limited
from ismpack.templates.operations import CONSTANT, Op, covers, piece_places
from ismpack.templates.outline import TOOLS, Owner, outline, visit_leaves
from ismpack.templates.recorder import ProvenanceLostError, Recorder
from ismpack.templates.symbols import Alphabet
from ismpack.templates.traced import Part, Traced, parts_of, plain
from ismpack.templates.traced_json import tojson, traced_value
from ismpack.templates.tracing import TracedTemplate

NAMES = "abc"
"""What the leaves are called in the small templates: leaf 0 is `a`."""


@pytest.fixture(autouse=True)
def no_shape_is_common(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also shapes of nothing but roles are kept at their second sight, which the counts here tell apart."""
    monkeypatch.setattr("ismpack.templates.outline._SHORT", 0)


class Traces(NamedTuple):
    """What a traced render gives."""

    parts: list[Part]
    guards: dict[Guard, Any]


@functools.cache
def template(source: str) -> ChatTemplate:
    return ChatTemplate(source, date=DATE)


@functools.cache
def traced_template(source: str) -> TracedTemplate:
    return TracedTemplate(template(source))


def trace(source: str, *leaves: Json) -> Traces:
    """Render a template in which leaf 0 is called `a`, leaf 1 `b`."""
    recorder = Recorder()
    named = {NAMES[i]: traced_value(recorder, leaf, (i, ())) for i, leaf in enumerate(leaves)}
    try:
        with limited():
            parts = traced_template(source).render(named)
    except RecordError as error:
        if isinstance(error.__cause__, ProvenanceLostError):
            raise error.__cause__ from None
        raise
    return Traces(parts, recorder.guards)


def render(source: str, *leaves: Json) -> str:
    """The same without tracing."""
    return template(source).render([], args=dict(zip(NAMES, leaves, strict=False)))


def of(leaf: int, *ops: Op) -> Source:
    return leaf, ops


def about(*symbol: str | Source) -> Symbol:
    return Symbol(symbol)


A, B = of(0), of(1)


def agree(guards: Mapping[Guard, Any], leaves: Sequence[Json]) -> bool:
    """Whether other data gives the same answers; asked in order, up to the first other answer."""
    return all(compiled_guard(guard)(leaves) == answer for guard, answer in guards.items())


def filled(parts: Sequence[Part], leaves: Sequence[Json]) -> str:
    """The parts with other data."""
    sources = [source for _, source in parts if source is not None]
    compiled = compiled_values(sources)(leaves)
    assert tuple(value_of(source, leaves) for source in sources) == compiled
    values = iter(compiled)
    return "".join(text if source is None else next(values) for text, source in parts)


def lost(source: str, *leaves: Json) -> str:
    """Why tracing gives up."""
    with pytest.raises(ProvenanceLostError) as caught:
        trace(source, *leaves)
    return str(caught.value)


def check_follows(source: str, cases: Sequence[tuple[Json, ...]]) -> int:
    """The property of a template: each case traced, and tried on each other. Returns how many pairs agreed."""
    agreed = 0
    plain_texts: list[str | None] = []
    for case in cases:
        try:
            plain_texts.append(render(source, *case))
        except RecordError:
            plain_texts.append(None)
    for case, expected in zip(cases, plain_texts, strict=True):
        if expected is None:
            continue
        try:
            found = trace(source, *case)
        except (ProvenanceLostError, RecordError):
            continue
        if "".join(text for text, _ in found.parts) != expected:
            continue  # it is compared with a plain render, and the reference decides
        for other, text in zip(cases, plain_texts, strict=True):
            if agree(found.guards, other):
                assert (other, filled(found.parts, other)) == (other, text)
                agreed += other != case
    return agreed


# -------------------------------------------------------------------- the pitfalls, each named after what triggers it

CHATML = r"""
{%- for m in messages %}
    {{- '<|im_start|>' + m.role + '\n' + BODY + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\nPROMPT' }}
{%- endif %}"""

USER, TOOL, PROMPT, ANSWER = 1, 5, 7, 2
T, D, W = Origin.TEMPLATE, Origin.DATA, Origin.ASSISTANT


def chatml(body: str = "m.content", prompt: str = "") -> str:
    return CHATML.replace("BODY", body).replace("PROMPT", prompt)


def engine(source: str, **options: Any) -> Segmenter:
    """A segmenter under a template; `control` adds control tokens, `variables` names."""
    control = {"<|im_start|>": True, "<|im_end|>": True, **options.pop("control", {})}
    made = ChatTemplate(source, variables=options.pop("variables", {}), date=options.pop("date", None))
    rules = SegmentRules(stop_tokens=frozenset(["<|im_end|>"]), control_tokens=control, **options)
    return Segmenter(made, find_dialect(made), rules)


def segments(given: Segmenter, conversation: Conversation) -> list[Segment]:
    found = given.segment(conversation)
    assert len(found.samples) == 1
    return list(found.samples[0])


def query(turn: int, *pieces: tuple[str, int, Origin]) -> Segment:
    return Segment(pieces=tuple(Piece(*piece) for piece in pieces), is_answer=False, turn=turn, loss=False)


def answer(turn: int, *pieces: tuple[str, Origin]) -> Segment:
    made = tuple(Piece(text, ANSWER, origin) for text, origin in pieces)
    return Segment(pieces=made, is_answer=True, turn=turn, loss=True)


def asks(text: str, *closing: str) -> Segment:
    """The first query of a ChatML conversation with one user message."""
    end, prompt = closing or ("<|im_end|>\n", "<|im_start|>assistant\n")
    return query(0, ("<|im_start|>user\n", USER, T), (text, USER, D), (end, USER, T), (prompt, PROMPT, T))


def test_str_of_a_list_or_an_object_is_lost() -> None:
    leaves: list[Json] = [["x"], {"x": "y"}, [], {}]
    for leaf in leaves:
        for source in ("{{ a }}", "{{ a | string }}", "{{ a ~ '' }}", "{{ '%s' % a }}", "{{ '{}'.format(a) }}"):
            assert lost(source, leaf) == "Python's way to write an object or a list"
    for source in ("{{ [a] }}", "{{ {'k': a} }}", "{{ (a, 1) | string }}", "{{ [a] ~ '' }}", "{{ '%s' % [a] }}"):
        assert lost(source, "x") == "Python's way to write a string"


def test_str_of_a_list_of_parts_falls_back_to_the_reference() -> None:
    given = engine(chatml("m.content | string"))
    reads_parts = Dialect(text_roles=frozenset(), part_roles=frozenset(["user", "assistant"]), text_arguments=False)
    given = Segmenter(given.template, reads_parts, given.rules)
    found = segments(given, chat(user("q"), assistant("a")))
    assert [part.text for part in found] == [
        "<|im_start|>user\n[{'type': 'text', 'text': 'q'}]<|im_end|>\n<|im_start|>assistant\n",
        "[{'type': 'text', 'text': 'a'}]<|im_end|>",
    ]
    assert given.counts == {"known": 0, "traced": 0, "reference": 1}
    assert given.lost == {"Python's way to write a string": 1}


def test_data_that_begins_with_the_end_of_the_generation_prompt() -> None:
    given = engine(chatml(prompt=r"<think>\n"))
    thinks = chat(user("q"), assistant("<think>\nhm</think>5"))
    for thought in ("hm</think>5", "ha</think>6", "x", ""):
        conversation = chat(user("q"), assistant(f"<think>\n{thought}"))
        answers = [(thought, W), ("<|im_end|>", T)] if thought else [("<|im_end|>", T)]
        assert segments(given, conversation) == [
            asks("q", "<|im_end|>\n", "<|im_start|>assistant\n<think>\n"),
            answer(0, *answers),
        ]
    assert given.counts == {"known": 2, "traced": 2, "reference": 0}
    for other in ("5", "<think>", "<think>5", ""):
        with pytest.raises(RecordError) as caught:
            given.segment(chat(user("q"), assistant(other)))
        assert caught.value.code == "generation-prompt-not-continued"
    assert given.segment(thinks).samples[0][1].text == "hm</think>5<|im_end|>"
    assert (given.counts["known"], given.counts["traced"]) == (3, 2)


def test_in_on_a_constant() -> None:
    assert trace("{{ a in 'xyz' }}", "y") == ([("True", None)], {("inside", about(A), ("xyz",)): True})
    assert trace("{{ a not in 'xyz' }}", "y") == ([("False", None)], {("inside", about(A), ("xyz",)): True})
    assert trace("{{ 'y' in a }}", "xy") == ([("True", None)], {("contains", about(A), ("y",)): True})
    assert trace("{{ a in b }}", "y", "xy") == ([("True", None)], {("contains", about(B), (about(A),)): True})
    assert trace("{{ a is in 'xyz' }}", "w") == ([("False", None)], {("inside", about(A), ("xyz",)): False})
    assert trace("{{ a in ['x', 'y'] }}", "y") == (
        [("True", None)],
        {("eq", about(A), ("x",)): False, ("eq", about(A), ("y",)): True},
    )
    assert trace("{{ a in {'y': 1} }}", "w").guards == {("value", about(A), ()): "w"}


def test_a_chain_of_comparisons_with_in_is_left_to_the_reference() -> None:
    given = engine(chatml("('e' if 'e' in m.content != 'e' else '') + m.content"))
    assert segments(given, chat(user("e"), assistant("he")))[1].text == "ehe<|im_end|>"
    assert (given.counts["reference"], given.lost) == (1, {"a chain of comparisons with `in`": 1})


def test_tilde() -> None:
    assert trace("{{ 'p' ~ a ~ 1 ~ b }}", "x", "y") == ([("p", None), ("x", A), ("1", None), ("y", B)], {})


def test_plus() -> None:
    assert trace("{{ 'p' + a + 'q' }}", "x") == ([("p", None), ("x", A), ("q", None)], {})


def test_the_filter_join() -> None:
    assert trace("{{ [a, 'm', b] | join(', ') }}", "x", "y") == (
        [("x", A), (", m, ", None), ("y", B)],
        {},
    )
    assert trace("{{ [{'k': a}, {'k': b}] | join(attribute='k') }}", "x", "y").parts == [("x", A), ("y", B)]
    assert trace("{{ ['m', 'n'] | join(a) }}", "x").parts == [("m", None), ("x", A), ("n", None)]
    assert trace("{{ [a, b] | map('upper') | join('+') }}", "x", "y").parts == [
        ("X", of(0, ("upper", ()))),
        ("+", None),
        ("Y", of(1, ("upper", ()))),
    ]


def test_replace_that_puts_data_in() -> None:
    expected: Any = ([("p", None), ("x", A), ("q", None)], {})
    assert trace("{{ 'p@q' | replace('@', a) }}", "x") == expected
    assert trace("{{ 'p@q'.replace('@', a) }}", "x") == expected
    assert lost("{{ 'p@q'.replace(a, '') }}", "@") == "the string method replace with data as argument"
    assert lost("{{ 'p@q' | replace('@', a, 1) }}", "x") == "the filter replace"
    assert lost("{{ a.replace('@', b) }}", "@", "x") == "replace on text of several parts, or with data as argument"


def test_replace_inside_data() -> None:
    op: Op = ("replace", ("@", "-"))
    assert trace("{{ a | replace('@', '-') }}", "p@q") == ([("p-q", of(0, op))], {})
    assert trace("{{ a.replace('@', '-', 1) }}", "p@@").parts == [("p-@", of(0, ("replace", ("@", "-", 1))))]


def test_tojson() -> None:
    assert trace("{{ a | tojson }}", {"k": "x"}) == (
        [('{"k": "x"}', of(0, ("json_text", (False, None, None, False, 0))))],
        {},
    )
    assert trace("{{ {'k': [a, 1, none]} | tojson }}", 'x"y') == (
        [('{"k": ["', None), (r"x\"y", of(0, ("json_inner", (False,)))), ('", 1, null]}', None)],
        {},
    )
    assert trace("{{ ('p' ~ a) | tojson }}", "\n").parts == [
        ('"p', None),
        ("\\n", of(0, ("json_inner", (False,)))),
        ('"', None),
    ]


def test_join_of_a_constant() -> None:
    assert trace("{{ '-'.join([a, 'm', b]) }}", "x", "y") == ([("x", A), ("-m-", None), ("y", B)], {})


def test_join_of_data() -> None:
    assert trace("{{ a.join(['m', 'n']) }}", "x") == ([("m", None), ("x", A), ("n", None)], {})


def test_percent_and_format() -> None:
    expected: Any = ([("x", A), ("|3|%", None)], {})
    assert trace("{{ '%s|%s|%%' % (a, 3) }}", "x") == expected
    assert trace("{{ '%s|%s|%%' | format(a, 3) }}", "x") == expected
    assert trace("{{ '%(k)s|3|%%' % {'k': a} }}", "x") == expected
    assert trace("{{ '{}|{}|%'.format(a, 3) }}", "x") == expected
    assert trace("{{ '{0}|{n}|%'.format(a, n=3) }}", "x") == expected
    assert trace("{{ '{{}}{}'.format(a) }}", "{}") == ([("{}", None), ("{}", A)], {})
    assert lost("{{ a % 3 }}", "%s") == "data as format"
    assert lost("{{ a.format(3) }}", "{}") == "the string method format"
    assert lost("{{ '%5s' % a }}", "x") == "a format other than %s"
    assert lost("{{ '%r' % a }}", "x") == "a format other than %s"
    assert lost("{{ '{:>5}'.format(a) }}", "x") == "a format other than {}"
    assert lost("{{ '{0.real}'.format(a) }}", "x") == "a format other than {}"


def test_calls_in_loops_and_blocks_are_given_names_of_data_besides_their_arguments() -> None:
    # Jinja passes _loop_vars and _block_vars, which hold the loop's data; range() takes none of it.
    looped = "{% for c in [a] %}{% for i in range(2) %}{{ c }}{{ i }}{% endfor %}{% endfor %}"
    assert trace(looped, "x") == ([("x", A), ("0", None), ("x", A), ("1", None)], {})
    block = "{% block k %}{% set c = a %}{% for i in range(1) %}{{ c }}{% endfor %}{% endblock %}"
    assert trace(block, "x") == ([("x", A)], {})
    dated = "{% for c in [a] %}{{ strftime_now('%Y') }}{{ c }}{% endfor %}"
    assert trace(dated, "x") == ([("2024", None), ("x", A)], {})


def test_is_iterable_and_is_sequence_ask_nothing() -> None:
    source = "{{ a is iterable }}{{ a is sequence }}{{ a is string }}{{ a is mapping }}{{ a is number }}"
    text, mapping = "TrueTrueTrueFalseFalse", "TrueTrueFalseTrueFalse"
    for leaf, expected in {"x": text, "": text}.items():
        assert trace(source, leaf) == ([(expected, None)], {})
    assert trace(source, ["x"]) == ([("TrueTrueFalseFalseFalse", None)], {})
    assert trace(source, {"k": "x"}) == ([(mapping, None)], {})


def test_macros_set_blocks_call_blocks_and_filter_blocks_keep_parts() -> None:
    expected: Any = ([("[", None), ("x", A), ("]", None)], {})
    assert trace("{% macro m(t) %}[{{ t }}]{% endmacro %}{{ m(a) }}", "x") == expected
    assert trace("{% macro m(t, n=1) %}[{{ t }}]{% endmacro %}{{ m(t=a) }}", "x") == expected
    assert trace("{% macro m() %}[{{ varargs | join }}]{% endmacro %}{{ m(a) }}", "x") == expected
    assert trace("{% macro m() %}[{{ kwargs.t }}]{% endmacro %}{{ m(t=a) }}", "x") == expected
    assert trace("{% set t %}[{{ a }}]{% endset %}{{ t }}", "x") == expected
    assert trace("{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}{{ a }}{% endcall %}", "x") == expected
    assert trace("{% macro m() %}[{{ caller(a) }}]{% endmacro %}{% call(t) m() %}{{ t }}{% endcall %}", "x") == expected
    assert trace("{% generation %}[{{ a }}]{% endgeneration %}", "x") == expected
    assert trace("{% filter string %}[{{ a }}]{% endfilter %}", "x") == expected
    assert trace("{% set n = namespace(t='[') %}{% set n.t = n.t + a %}{{ n.t ~ ']' }}", "x") == expected
    assert (
        trace("[{% if a is string %}{{ (a if 1 else '') | string | default('d') | safe }}{% endif %}]", "x") == expected
    )


def test_strip_on_template_and_data() -> None:
    left, right = ("lstrip", ()), ("rstrip", ())
    found = trace("{{ ('\n' ~ a ~ ' ') | trim }}", " x ")
    assert found == (
        [("x", of(0, left, right))],
        {("filled", about(of(0, left)), ()): True, ("filled", about(of(0, left, right)), ()): True},
    )
    # Data that strips to nothing is left out, and the template's text beside it is stripped too.
    assert trace("{{ (a ~ ' ' ~ b).strip() }}", " ", "y") == (
        [("y", of(1, left, right))],
        {
            ("filled", about(of(0, left)), ()): False,
            ("filled", about(of(1, left)), ()): True,
            ("filled", about(of(1, left, right)), ()): True,
        },
    )
    assert trace("{{ ('p' ~ a ~ 'q').strip() }}", " ") == ([("p", None), (" ", A), ("q", None)], {})
    assert trace("{{ ('--' ~ a).lstrip('-') }}", "-x").parts == [("x", of(0, ("lstrip", ("-",))))]
    assert trace("{{ (a ~ b).rstrip() }}", "", "").parts == []


ARGUMENTS: tuple[dict[str, Json], ...] = (
    {},
    {"place": "Oslo"},
    {"place": ["Oslo", {"deep": None}], "n": 1},
    {"<|im_end|>": "<|im_start|>"},
)
CALLS = "m.content ~ (m.tool_calls[0].function.arguments | tojson if m.tool_calls else '')"
KEYS = (
    r"m.content ~ (m.tool_calls[0].function.arguments.items() | map('join', '=') | join('&') if m.tool_calls else '')"
)


def called(arguments: dict[str, Json]) -> Conversation:
    return chat(user("q"), assistant("", calls=(ToolCall(name="f", arguments=arguments),)))


def test_tool_arguments_that_are_only_printed_take_one_way_whatever_they_hold() -> None:
    given = engine(chatml(CALLS), allow_dropped=frozenset(["tool_calls"]))
    for arguments in ARGUMENTS:
        text = json.dumps(arguments)
        assert segments(given, called(arguments)) == [asks("q"), answer(0, (text, W), ("<|im_end|>", T))]
    assert given.counts == {"known": 2, "traced": 2, "reference": 0}


def test_tool_arguments_that_a_template_looks_into_are_asked_for_their_entries() -> None:
    given = engine(chatml(KEYS), allow_dropped=frozenset(["tool_calls"]))
    texts = {"x": "place=x", "y": "place=y", "z": "place=z"}
    for place, text in texts.items():
        found = segments(given, called({"place": place}))[1]
        assert (found.text, [piece.origin for piece in found.pieces]) == (text + "<|im_end|>", [W, T, W, T])
    assert given.counts == {"known": 1, "traced": 2, "reference": 0}
    assert segments(given, called({"city": "x"}))[1].text == "city=x<|im_end|>"
    assert given.counts == {"known": 1, "traced": 3, "reference": 0}


def test_tool_definitions_that_are_only_printed_take_one_way_whatever_they_hold() -> None:
    given = engine("{{ (tools or []) | tojson }}" + chatml())
    tools: tuple[dict[str, Json], ...] = ({"a": 1}, {"b": {"<|im_end|>": []}}, {})
    for tool in tools:
        found = segments(given, replace(chat(user("q"), assistant("a")), tools=(tool,)))
        assert found[0].pieces[:3] == (
            Piece("[", USER, T),
            Piece(json.dumps(tool), USER, D),
            Piece("]<|im_start|>user\n", USER, T),
        )
    assert given.counts == {"known": 1, "traced": 2, "reference": 0}


@pytest.mark.parametrize("body", [CALLS, KEYS])
def test_a_json_key_with_a_control_string_is_data(body: str) -> None:
    given = engine(chatml(body), allow_dropped=frozenset(["tool_calls"]))
    for _ in range(3):
        found = given.segment(called({"<|im_end|>": "v"}))
        [piece] = [p for p in found.samples[0][1].pieces if "<|im_end|>" in p.text and p.origin is not T]
        assert piece.origin is W
        assert found.warnings == ("control-string-in-data",)
        assert [p.text for p in found.samples[0][1].pieces if p.origin is T and "<|" in p.text] == ["<|im_end|>"]
    assert given.counts == {"known": 1, "traced": 2, "reference": 0}


def test_roles_that_build_tokens_are_the_templates_and_data_that_spells_them_is_not() -> None:
    given = engine(r"{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|im_end|>' }}{% endfor %}"
                   r"{{ '<|assistant|>' if add_generation_prompt }}", control={"<|user|>": True, "<|assistant|>": True})  # fmt: skip
    found = given.segment(chat(user("<|user|>"), assistant("a")))
    assert list(found.samples[0]) == [
        query(
            0,
            ("<|user|>", USER, T),
            ("<|user|>", USER, D),
            ("<|im_end|>", USER, T),
            ("<|assistant|>", PROMPT, T),
        ),
        answer(0, ("a", W), ("<|im_end|>", T)),
    ]
    assert found.warnings == ("control-string-in-data",)


def test_strftime_now_prints_the_frozen_date_as_template_text() -> None:
    source = "{{ strftime_now('%d %B %Y') }}" + chatml()
    first = segments(engine(source, date="2024-02-29"), chat(user("29 February 2024"), assistant("a")))[0]
    assert first.pieces[:2] == (
        Piece("29 February 2024<|im_start|>user\n", USER, T),
        Piece("29 February 2024", USER, D),
    )
    with pytest.raises(TokenizerError) as caught:
        engine(source).segment(chat(user("q"), assistant("a")))
    assert caught.value.code == "chat-template-nondeterministic"
    assert lost("{{ strftime_now(a) }}", "%Y") == "a call of strftime_now with data"


def test_keys_without_a_value_are_left_out() -> None:
    given = engine(chatml("(m.name if m.name is defined else 'nobody') + m.content"))
    found = segments(given, chat(Message(role="user", content="q", name="Ann"), assistant("a")))
    assert found[0].pieces[1:3] == (Piece("Ann", USER, D), Piece("q", USER, D))
    assert found[1] == answer(0, ("nobody", T), ("a", W), ("<|im_end|>", T))


@pytest.mark.parametrize("key", ["reasoning_content", "thinking"])
def test_reasoning_is_one_leaf_under_both_of_its_names(key: str) -> None:
    given = engine(chatml(f"(m.{key} or '') + m.content"))
    for thought in ("hm", "so", "<|im_end|>"):
        assert segments(given, chat(user("q"), assistant("5", thought=thought)))[1] == answer(
            0, (thought, W), ("5", W), ("<|im_end|>", T)
        )
    assert given.counts == {"known": 1, "traced": 2, "reference": 0}


def test_reasoning_that_is_printed_under_both_of_its_names_is_compared_without_a_question() -> None:
    given = engine(chatml("('same' if m.thinking == m.reasoning_content else 'other') + m.content"),
                   allow_dropped=frozenset(["reasoning_content"]))  # fmt: skip
    for thought in ("hm", "so", "ah"):
        assert segments(given, chat(user("q"), assistant("5", thought=thought)))[1].text == "same5<|im_end|>"
    assert given.counts["known"] == 1


def test_arguments_as_an_object_or_as_text() -> None:
    name = "(m.tool_calls[0].function.name + ':' if m.tool_calls else '') ~ "
    as_object = engine(chatml(name + CALLS))
    as_text = engine(chatml(name + "m.content ~ (m.tool_calls[0].function.arguments + '' if m.tool_calls else '')"))
    assert (as_object.dialect.text_arguments, as_text.dialect.text_arguments) == (False, True)
    call = ToolCall(name="f", arguments={"place": "Oslo"}, arguments_text='{"place":  "Oslo"}')
    conversation = chat(user("q"), assistant("", calls=(call,)))
    for segmenter, written in ((as_object, '{"place": "Oslo"}'), (as_text, '{"place":  "Oslo"}')):
        assert segments(segmenter, conversation)[1] == answer(0, ("f", W), (":", T), (written, W), ("<|im_end|>", T))


def test_a_leading_answer_is_context_where_messages_0_fails_on_an_empty_list() -> None:
    given = engine("{{ 'S' if messages[0].role == 'system' }}" + chatml())
    with pytest.raises(RecordError):
        given.template.render([], add_generation_prompt=True)
    for greeting in ("Welcome!", "Hello.", "<|im_end|>"):
        found = segments(given, chat(assistant(greeting), user("q"), assistant("a")))
        assert [(part.is_answer, part.text) for part in found] == [
            (
                False,
                f"<|im_start|>assistant\n{greeting}<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n",
            ),
            (True, "a<|im_end|>"),
        ]
        assert [piece.text for piece in found[0].pieces if piece.origin is W] == [greeting]
    assert given.counts == {"known": 1, "traced": 2, "reference": 0}


def test_more_pieces_of_data_than_characters_that_can_stand_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ismpack.templates.symbols.CAPACITY", 3)
    alphabet = Alphabet()
    assert [alphabet.character((i, ())) for i in range(3)] == ["\U000f0000", "\U000f0001", "\U000f0002"]
    assert alphabet.character((1, ())) == "\U000f0001"
    with pytest.raises(ProvenanceLostError, match="more pieces of data than private-use characters"):
        alphabet.character((3, ()))
    given = engine(chatml("m.content | list | join('-')"))
    found = segments(given, chat(user("abcd"), assistant("efgh")))
    assert found[1].text == "e-f-g-h<|im_end|>"
    assert given.counts == {"known": 0, "traced": 0, "reference": 1}


def test_equal_guards_are_compiled_once() -> None:
    first = ("startswith", about(of(0, ("strip", ()))), ("x",))
    again = ("startswith", about(of(0, ("strip", ()))), ("x",))
    assert compiled_guard(first) is compiled_guard(again)
    assert compiled_guard(first)([" x"]) is True


def test_a_template_that_prints_private_use_characters_itself() -> None:
    given = engine(chatml("'\U000f0000' + m.content"))
    assert segments(given, chat(user("q"), assistant("a")))[1].text == "\U000f0000a<|im_end|>"
    assert given.lost == {"the template prints private-use characters": 1}


def test_data_may_hold_private_use_characters() -> None:
    given = engine(chatml())
    for text in ("\U000f0000", "x\U0010fffd", "\U000f0001\U000f0000"):
        assert segments(given, chat(user(text), assistant(text))) == [
            asks(text),
            answer(0, (text, W), ("<|im_end|>", T)),
        ]
    assert given.counts == {"known": 1, "traced": 2, "reference": 0}


# --------------------------------------------------------------------------------------------- what C code would not see

OBJECT: dict[str, Json] = {"x": "1", "y": "2"}
UNSEEN: dict[str, Sequence[tuple[Json, ...]]] = {
    # An argument that gives its items one by one, or is a view of a dict.
    "{{ ','.join([a] | map('upper')) }}": [("x",), ("y",)],
    "{{ ','.join({'k': a}.values()) }}": [("x",), ("y",)],
    "{{ ','.join(a.items() | map('last')) }}": [(OBJECT,), ({"x": "3", "y": "4"},)],
    "{{ ','.join(a | map(attribute='k')) }}": [([{"k": "x"}],), ([{"k": "y"}],)],
    # Text that escapes what it is joined with.
    "{% autoescape true %}{{ a }}{% endautoescape %}": [("x",), ("<",)],
    "{% autoescape true %}{{ a ~ 'x' }}{% endautoescape %}": [("x",), ("<",)],
    "{{ ('-' | escape) + a }}": [("x",), ("<",)],
    "{{ a + ('-' | escape) }}": [("x",), ("<",)],
    "{{ ('-' | escape).join([a, 'y']) }}": [("x",), ("<",)],
    "{{ ('%s' | escape) % a }}": [("x",), ("<",)],
    "{{ ('{}' | escape).format(a) }}": [("x",), ("<",)],
    "{{ [a, '-' | escape] | join }}": [("x",), ("<",)],
    "{{ a in ('-x' | escape) }}": [("x",), ("<",)],
    # Data as an argument of a filter that is given a plain text.
    "{{ 'xyx' | trim(a) }}": [("x",), ("y",)],
    "{{ [['p', 'q']] | map(attribute=a) | join }}": [("0",), ("1",)],
    "{{ ['p'] | map('attr', a) | map('string') | join }}": [("foo",), ("bar",)],
    "{{ [[1, 2], [3]] | sort(attribute=a) | first | length }}": [("0",), ("length",)],
    "{{ 'xyz'[a] is defined }}": [("foo",), ("upper",)],
    # What `dict` and `list` do without asking a subclass.
    "{{ a | last }}": [({},), ({"k": 1},)],
    "{{ a | reverse | list | length }}": [({},), ({"k": 1},)],
    "{{ a < [1] }}": [([],), ([2],)],
    "{{ a > b }}{{ a <= b }}{{ a >= b }}": [([], []), ([1], []), ([], [1])],
    "{{ [a, b] | sort | map('join') | join('-') }}": [(["x"], ["y"]), (["y"], ["x"])],
    "{{ (a * 2) | length }}": [([],), (["x"],)],
    "{{ dict(a) | length }}": [({},), ({"k": 1},)],
    "{% macro m() %}{{ kwargs | length }}{% endmacro %}{{ m(**a) }}": [({},), ({"k": 1},)],
    "{% macro m() %}{{ varargs | length }}{% endmacro %}{{ m(*a) }}": [([],), ([1],)],
    # The tracer's own names.
    "{{ 'y' if a.value else 'n' }}": [({"value": True},), ({"value": False},), ({},)],
    "{{ a.source is defined }}{{ a.recorder is defined }}": [({"source": 1, "recorder": 1},), ({},)],
    "{{ a.value.value }}": [({"value": {"value": "x"}},), ({"value": {"value": "y"}},)],
    # A key that is data.
    "{{ a[b] }}": [(OBJECT, "x"), (OBJECT, "y"), (OBJECT, "z")],
    "{% for k in a.r %}{{ a.p[k] }}{% endfor %}": [({"r": ["x"], "p": OBJECT},), ({"r": ["y"], "p": OBJECT},)],
    "{{ a.get(b) }}": [(OBJECT, "x"), (OBJECT, "y"), (OBJECT, "z")],
    "{{ {'x': 1, 'y': 2}[a] }}": [("x",), ("y",)],
    # Numbers that are equal and are not written alike.
    "{{ a.k }}": [({"k": 0.0},), ({"k": -0.0},), ({"k": 0},), ({"k": False},), ({"k": 1},), ({"k": True},)],
    "{{ a | join }}": [([0.0],), ([-0.0],), ([0],), ([1.0],), ([True],)],
    # JSON inside JSON, indented by line ends.
    r"{{ {'k': a} | tojson(indent='\n') }}": [({},), ({"x": 1},)],
    r"{{ {'k': a} | tojson(indent=1, separators=(',\n', ':')) }}": [({},), ({"x": 1, "y": 2},)],
    # Identity.
    "{{ a is sameas b }}": [("x" * 9, "x" * 9), ("x", "x")],
    "{{ a | length is sameas 2 }}": [("x" * 300,), ("xy",)],
    # A position that other data does not have.
    "{{ a.index('x') }}": [("x",), ("yx",), ("y",)],
    "{{ a.rindex('x') }}": [("x",), ("yx",), ("y",)],
    "{{ a.index(b) }}": [("x", "x"), ("yx", "x"), ("y", "x")],
}


@pytest.mark.parametrize("source", UNSEEN)
def test_what_happens_to_data_in_c_code_is_followed_or_given_up(source: str) -> None:
    check_follows(source, UNSEEN[source])


@pytest.mark.parametrize("source", [source for source in UNSEEN if "join" in source or "escape" in source])
def test_data_never_becomes_template_text(source: str) -> None:
    """Not even if the questions would tell other data apart: control strings in it would be taken for the template's."""
    for case in UNSEEN[source]:
        leaf = "QQQ" if isinstance(case[0], str) else json.loads(json.dumps(case[0]).replace('"x"', '"QQQ"'))
        try:
            found = trace(source, leaf, *case[1:])
        except (ProvenanceLostError, RecordError):
            continue
        assert not [text for text, of_ in found.parts if of_ is None and "QQQ" in text]


# --------------------------------------------------------------------------------------- the property, for expressions

WORDS = ("", " ", "x", "y", "X", "xy", " x ", "x,y", "ab<t>cd", "<t>", "1")
TEXTS: list[tuple[Json, ...]] = [(a, b) for a in WORDS for b in ("x", "1 ")]
OBJECT_LEAVES: list[Json] = [
    {}, {"x": "v"}, {"x": "w"}, {"x": ""}, {"x": 1}, {"x": True}, {"x": 1.0}, {"x": None}, {"y": "v"}, {"x": "v", "y": "w"},
    {"x": "w", "y": "v"}, {"y": "w", "x": "v"}, {"x": {"x": "v"}}, {"x": {"x": "w"}}, {"x": ["v", "w"]}, {"x": ["v"]},
]  # fmt: skip
OBJECTS: list[tuple[Json, ...]] = [(leaf, "x") for leaf in OBJECT_LEAVES]
LIST_LEAVES: list[Json] = [
    [], ["x"], ["y"], ["x", "y"], ["y", "x"], ["x", "x"], [1], [True], [1, 2], [None], [["x"]], [["y"]], [{"x": "v"}],
    [{"x": "w"}], [{"x": "v"}, {"x": "w"}], [{"x": "w"}, {"x": "v"}],
]  # fmt: skip
LISTS: list[tuple[Json, ...]] = [(leaf, "x") for leaf in LIST_LEAVES]

OF_TEXTS = """
    a ~ b; a + 'x' + b; (a ~ b) | trim; a | trim('x'); (a ~ 'x').strip('x'); a | upper | lower; a | capitalize; a.title()
    a[0]; a[-1]; a[5] is defined; a[1:]; a[:-1]; a[::-1]; (a ~ b)[1:3]; (a ~ '.')[-2]; a | first; a | last; a | list | join('-')
    a | reverse; a | sort | join; a | unique | join; a | min; a | batch(2) | map('join') | join('/'); a | list | length
    a == b; a != 'x'; a < b; a >= 'x'; 'x' <= a; a is eq 'x'; a is lower; a is upper; a in ['x', 'y']; a in 'xyz'; b in a; 'x' in a ~ b
    a and 'full'; a or 'empty'; not a; a | default('d', true); 'full' if a.strip() else 'blank'; a if a else b
    a.startswith('x'); a.endswith(('y', 'x')); (a ~ b).startswith(b); a.find('x'); a.count('x'); a.isdigit(); a.isspace(); a.isupper()
    a.split(',') | join('+'); a.split() | length; a.split('<t>')[0]; a.split('<t>')[-1]; a.rsplit('<t>', 1) | first; a.partition('<t>')[2]
    a.rpartition(',') | join('|'); (a ~ '<t>' ~ b).split('<t>') | join('+'); a.splitlines() | join; (a ~ b).split() | last
    a.removeprefix('x'); a.removesuffix('y'); a | replace('x', 'zz'); a.replace('x', '', 1); 'p@q' | replace('@', a); a.casefold(); a.swapcase()
    a * 2; 3 * a; '%s-%s' % (a, b); '{}{n}'.format(a, n=b); '%s' | format(a); a.join(['p', 'q']); ','.join([a, b]); [a, b] | join(a)
    a | tojson; [a, {'k': b}] | tojson; {a: b} | tojson; {a: 1, 'x': 2} | dictsort | map('last') | join; [a, b] | sort | join; [a, b] | max
    a | length; (a ~ b) | length; a | length > 1; [a, b] | map('length') | join; [a, b] | select('in', ['x', 'y']) | list | length
    [a, b, 'x'] | unique | join; [{'k': a}, {'k': b}] | groupby('k') | length; [{'k': a}] | selectattr('k', 'equalto', 'x') | list | length
    [a, b] | reject('eq', 'x') | join; [{'k': a}] | map(attribute='k') | join; {'x': 1}.get(a, 2); {'x': 1}[a]; [a].index('x') if a == 'x'
    [a, b].count('x'); (a, b) == (b, a); [a] + [b] == ['x', 'x']; a is string; a is iterable; a is sequence; a is defined; a is none
    a is filter; cycler(a, b).next(); namespace(k=a).k; dict(k=a).k; a | string | safe; a | attr('upper') is defined; a.foo is defined
    range(a | length) | join; 'abc'[a | length:]; a[b | length:]; a | count; loop is defined ~ a; (a, b) | join('-'); [[a], [b]] | map('first') | join
"""
STATEMENTS = (
    "{% for c in a %}{{ loop.index }}{{ c }}{% endfor %}",
    "{% for c in a if c != 'x' %}{{ c }}{% else %}none{% endfor %}",
    "{% for c in a.split(',') %}{{ c }}{% if not loop.last %};{% endif %}{% endfor %}",
    "{% set n = namespace(s='') %}{% for c in a %}{% set n.s = c ~ n.s %}{% endfor %}{{ n.s }}",
    "{% for c in [a, b] %}{% if loop.changed(c) %}{{ c }}{% endif %}{% endfor %}",
    "{% for c in [a, b, 'x'] %}{% if loop.previtem == c %}={% endif %}{{ loop.cycle(c, '.') }}{% endfor %}",
    "{% macro m(t, d=b) %}{{ t }}{{ d }}{% if t %}!{% endif %}{% endmacro %}{{ m(a) }}{{ m(b, d='') | trim }}",
    "{% set t %} {{ a }} {% endset %}{{ t | trim }}{{ t | length }}",
    "{% filter trim | upper %} {{ a }}{% endfilter %}",
    "{% if a.strip() == b.strip() %}same{% elif 'x' in a %}x{% else %}{{ b }}{% endif %}",
    "{% set j = joiner(a) %}{{ j() }}{{ j() }}{{ j() }}",
    "{% if '</t>' in a %}{{ a.split('</t>')[1] }}{% elif '<t>' in a %}{{ a.split('<t>')[1].lstrip('c') }}{% endif %}",
)
OF_OBJECTS = """
    a.x; a['x']; a.get('x'); a.get('x', 'd'); a.get(b); a[b]; a.x is defined; 'x' in a; b in a; 'q' not in a; a.x.x; a.x is string
    a.items() | map('join', '=') | join('&'); a | items | map('first') | join; a | dictsort | map('join') | join(','); a.keys() | list | join
    a | dictsort(by='value') | map('first') | join if a.x is string and a.y is string; a.values() | list | length; a | list | join; a | length
    a.keys() | sort | join; 'full' if a else 'empty'; a == {'x': 'v'}; a != {}; a == a; a.copy() | length; dict(a) | length; dict(a, z=1) | length
    a is mapping; a is sequence; a is iterable; a is string; a is number; a.x is number; a.x is boolean; a.x is none; a.x is mapping
    a | tojson; [a, 1] | tojson; {'k': a} | tojson(indent=2); a.x | tojson; a.x == 1; a.x is true; a.x ~ '' if a.x is string; a.items() | length
    a | first; a | sort | first; a.x | length if a.x is string or a.x is iterable; a.x | join if a.x is iterable; (a.x, 1) | first is string
    a | tojson(sort_keys=true); a | tojson(ensure_ascii=true, separators=(',', ':')); [a] | map(attribute='x') | first is defined; a.x or 'd'
    a | string; a ~ ''; a.items() | list | string
"""
OF_LISTS = """
    a[0]; a[-1]; a[0] is string; a[7] is defined; a | first; a | last; a[1:] | length; a | length; a | join(','); a | map('string') | join
    'x' in a; b in a; 1 in a; a == ['x']; a != []; a == a; 'full' if a else 'empty'; a | reverse | list | length; a | reverse | first
    (a + ['z']) | length; (['z'] + a) | length; (a + a) | length; a | tojson; {'k': a} | tojson(indent='  '); a.count('x')
    a.index('x') if 'x' in a; a | unique | list | length if a[0] is string; a | sort | join if a and a[0] is string; a | map(attribute='x') | map('string') | join
    a | selectattr('x', 'defined') | list | length; a | select('string') | join; a | batch(2) | list | length; a[0][0]; a[0].x; a is iterable; a is mapping
    a | groupby('x') | length if a and a[0] is mapping; a.copy() | length; a[::-1] | first is string; [a, a] | map('length') | sum; a is sequence
    a | string; a | items | list if a is mapping; a | min if a and a[0] is string
"""
LOOPS = (
    "{% for k, v in a.items() %}{{ k }}={{ v if v is string else v | tojson }};{% endfor %}",
    "{% for k in a %}{{ k }}{{ a[k] is string }}{% if k == 'x' %}!{% endif %}{{ a[k] | tojson }}{% endfor %}",
    "{% for k, v in a | dictsort %}{{ loop.index0 }}{{ k | upper }}{% endfor %}",
    "{% macro show(v) %}{% if v is mapping %}{% for k in v %}{{ k }}:{{ show(v[k]) }}{% endfor %}{% elif v is string %}{{ v }}"
    "{% elif v is iterable %}{% for i in v %}{{ show(i) }},{% endfor %}{% else %}{{ v }}{% endif %}{% endmacro %}{{ show(a) }}",
    "{% for i in a %}{{ loop.index }}/{{ loop.length }}{{ i | tojson }}{% endfor %}",
)


def expressions(listed: str) -> list[str]:
    return ["{{ " + part.strip() + " }}" for line in listed.splitlines() for part in line.split(";") if part.strip()]


@pytest.mark.parametrize("source", [*expressions(OF_TEXTS), *STATEMENTS])
def test_texts_that_answer_alike_are_rendered_alike(source: str) -> None:
    check_follows(source, TEXTS)


@pytest.mark.parametrize("source", [*expressions(OF_OBJECTS), *LOOPS])
def test_objects_that_answer_alike_are_rendered_alike(source: str) -> None:
    check_follows(source, OBJECTS)


@pytest.mark.parametrize("source", [*expressions(OF_LISTS), *LOOPS[3:]])
def test_lists_that_answer_alike_are_rendered_alike(source: str) -> None:
    check_follows(source, LISTS)


LOST_EXPRESSIONS = {
    "{{ a | string }}",
    "{{ a ~ '' }}",
    "{{ a.items() | list | string }}",
    "{{ [a, a] | map('length') | sum }}",
}


@pytest.mark.parametrize(
    ("listed", "cases"),
    [(OF_TEXTS, TEXTS), (OF_OBJECTS, OBJECTS), (OF_LISTS, LISTS)],
    ids=["texts", "objects", "lists"],
)
def test_expressions_do_not_tell_all_data_apart(listed: str, cases: list[tuple[Json, ...]]) -> None:
    assert {source for source in expressions(listed) if not check_follows(source, cases)} <= LOST_EXPRESSIONS


# ------------------------------------------------------------------------------------------- the property, for methods

Action = Callable[..., Any]


def as_values(found: Any) -> Any:
    """What a method gave, with iterators read."""
    return list(found) if isinstance(found, Iterator) else found


def replayed(found: Any, leaves: Sequence[Json]) -> Any:
    """What was found on traced data, with other data."""
    if isinstance(found, str):
        return filled(parts_of(found), leaves)
    return type(found)(replayed(item, leaves) for item in found) if isinstance(found, (list, tuple)) else found


def shown(found: Any) -> Any:
    """What was found, as plain values, made from what Python sees and not from the parts."""
    return type(found)(map(shown, found)) if isinstance(found, (list, tuple)) else plain(found)


def check_action(action: Action, mine: Sequence[Json], others: Sequence[Sequence[Json]]) -> str:
    """The property of something done to texts. Returns how it ended."""
    recorder = Recorder()
    texts = [traced_value(recorder, leaf, (i, ())) for i, leaf in enumerate(mine)]
    try:
        found = as_values(action(*texts))
    except ProvenanceLostError:
        return "lost"
    except (IndexError, ValueError, TypeError) as error:
        for other in [mine, *others]:
            if agree(recorder.guards, other):
                with pytest.raises(type(error)):
                    action(*other)
        return "refused"
    guards = dict(recorder.guards)
    assert shown(found) == as_values(action(*mine))
    for other in [mine, *others]:
        if agree(guards, other):
            assert replayed(found, other) == as_values(action(*other))
    return "followed"


CHARACTERS = (
    "", " ", "a", "A", "ab", "ba", " ab ", "a,b", ",", "aa", "ß", "İx", "a\nb\r\n", "1", "<t>a<t>", "a\tb", "ǆ\u2028é", "²", "{}", "%s",
)  # fmt: skip
NONE: list[tuple[Any, ...]] = [()]
OTHER: list[tuple[Any, ...]] = [("a",), ("ab",), ("",)]
SUBSTRING: list[tuple[Any, ...]] = [("a",), ("",), ("a", 1), ("a", 0, 1), ("a", None, -1)]
AFFIX: list[tuple[Any, ...]] = [*SUBSTRING, (("a", "<"),), ((),)]
STRIP: list[tuple[Any, ...]] = [(), (None,), ("a",), ("<t>",), ("",)]
SPLIT: list[tuple[Any, ...]] = [(), (",",), (None, 1), (",", 1), ("<t>",), ("a", 0), ("",)]
SEPARATED: list[tuple[Any, ...]] = [(",",), ("<t>",), ("",)]
WIDTHS: list[tuple[Any, ...]] = [(5,), (5, "-")]
TIMES: list[tuple[Any, ...]] = [(0,), (2,), (-1,)]
CALLS_OF: dict[str, list[tuple[Any, ...]]] = {
    **dict.fromkeys(("__add__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__contains__"), OTHER),
    **dict.fromkeys(("find", "rfind", "index", "rindex", "count"), SUBSTRING),
    **dict.fromkeys(("startswith", "endswith"), AFFIX),
    **dict.fromkeys(("strip", "lstrip", "rstrip"), STRIP),
    **dict.fromkeys(("split", "rsplit"), SPLIT),
    **dict.fromkeys(("partition", "rpartition"), SEPARATED),
    **dict.fromkeys(("removeprefix", "removesuffix"), OTHER),
    **dict.fromkeys(("center", "ljust", "rjust"), WIDTHS),
    **dict.fromkeys(("__mul__", "__rmul__"), TIMES),
    "__getitem__": [(0,), (-1,), (2,), *((slice(*bounds),) for bounds in ((1, None), (None, -1), (0, 2), (-2, None), (None, None, -1), (5, 1)))],
    "__format__": [("",), (">5",)],
    "__mod__": [("x",), (("x",),)],
    "__rmod__": [("%s",)],
    "encode": [(), ("utf-8",)],
    "expandtabs": [(), (2,)],
    "format": [("x",)],
    "format_map": [({"k": "x"},)],
    "join": [(["x", "y"],), ([],), ("xy",)],
    "replace": [("a", "b"), ("a", ""), ("", "-"), ("a", "bb", 1)],
    "splitlines": [(), (True,)],
    "translate": [({97: "b"},)],
    "zfill": [(3,)],
    "maketrans": [("a", "b")],
}  # fmt: skip
# No template can call these: the sandbox gives out no name with an underscore, and no operator leads to them.
OUT_OF_REACH = {
    "__class__", "__delattr__", "__dir__", "__doc__", "__getattribute__", "__getnewargs__", "__getstate__", "__init__",
    "__init_subclass__", "__new__", "__reduce__", "__reduce_ex__", "__setattr__", "__sizeof__", "__subclasshook__",
}  # fmt: skip
LOST = {
    "__format__", "__mod__", "__repr__", "__rmod__", "center", "encode", "expandtabs", "format", "format_map", "ljust", "maketrans", "rjust",
    "translate", "zfill",
}  # fmt: skip
METHODS = sorted(set(dir(str)) - OUT_OF_REACH)


def method(name: str, args: tuple[Any, ...]) -> Action:
    return lambda text: getattr(text, name)(*args)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_a_text_is_followed_or_lost(name: str) -> None:
    ends = set()
    for args in CALLS_OF.get(name, NONE):
        for text in CHARACTERS:
            ends.add(check_action(method(name, args), [text], [[other] for other in CHARACTERS]))
    assert ends & {"lost", "followed"} == ({"lost"} if name in LOST else {"followed", "lost"} & ends)
    assert ("followed" in ends) == (name not in LOST)


COMPOSITES: dict[str, Action] = {
    "template around data": lambda text: "<t>" + text + "\n ",
    "data around template": lambda text: text + "," + text,
    "template before data": lambda text: " a" + text,
    "data twice": lambda text: text + text,
}
LOST_IN_COMPOSITES = {
    *LOST,
    "upper",
    "lower",
    "capitalize",
    "title",
    "swapcase",
    "casefold",
    "replace",
    "removeprefix",
    "removesuffix",
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_template_and_data_is_followed_or_lost(name: str) -> None:
    ends = set()
    for args in CALLS_OF.get(name, NONE):
        for text, make in itertools.product(CHARACTERS[::2], COMPOSITES.values()):
            action: Action = lambda given, make=make, args=args: getattr(make(given), name)(*args)  # noqa: E731
            ends.add(check_action(action, [text], [[other] for other in CHARACTERS]))
    assert ("followed" in ends) == (name not in LOST_IN_COMPOSITES)


def test_no_method_is_inherited_unseen() -> None:
    own = {name for name in dir(str) if getattr(Traced, name) is not getattr(str, name)}
    assert set(METHODS) - own == set()


SHORT = st.text(st.sampled_from("aAb ,<\nßé"), max_size=5)
NUMBER = st.integers(-3, 5)
BOUND = st.none() | NUMBER
STEPS: st.SearchStrategy[tuple[str, tuple[Any, ...]]] = st.one_of(
    st.tuples(st.sampled_from(["strip", "lstrip", "rstrip"]), st.just(()) | st.tuples(SHORT)),
    st.tuples(st.sampled_from(["split", "rsplit"]), st.tuples(st.none() | SHORT.filter(bool), st.integers(-1, 3))),
    st.tuples(st.sampled_from(["partition", "rpartition"]), st.tuples(SHORT.filter(bool))),
    st.tuples(st.sampled_from(["removeprefix", "removesuffix", "__add__", "__contains__", "__eq__", "__lt__", "__ge__"]), st.tuples(SHORT)),
    st.tuples(st.sampled_from(["startswith", "endswith", "find", "rfind", "count"]), st.tuples(SHORT) | st.tuples(SHORT, NUMBER)),
    st.tuples(st.just("replace"), st.tuples(SHORT, SHORT) | st.tuples(SHORT, SHORT, NUMBER)),
    st.tuples(st.just("__getitem__"), st.tuples(NUMBER | st.builds(slice, BOUND, BOUND, st.none() | st.sampled_from([1, -1, 2])))),
    st.tuples(st.just("__mul__"), st.tuples(st.integers(0, 2))),
    st.tuples(st.sampled_from(["upper", "lower", "title", "casefold", "splitlines", "__len__", "__iter__", "isalpha", "isspace"]), st.just(())),
)  # fmt: skip


def chain(steps: Sequence[tuple[str, tuple[Any, ...]]], start: Callable[..., Any]) -> Action:
    """One method after another; of several texts the next method is given the last, and then all are joined."""

    def action(*texts: str) -> Any:
        at: Any = start(*texts)
        for name, args in steps:
            if isinstance(at, (list, tuple)):
                if not at:
                    return at
                at = at[-1] + "|" + at[0]
            if not isinstance(at, str):
                return at
            at = as_values(getattr(at, name)(*args))
        return at

    return action


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=4), SHORT, st.lists(SHORT, min_size=1, max_size=6))
def test_methods_one_after_another_on_data(
    steps: list[tuple[str, tuple[Any, ...]]], mine: str, others: list[str]
) -> None:
    check_action(chain(steps, lambda text: text), [mine], [[other] for other in others])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(STEPS, min_size=1, max_size=4),
    st.tuples(SHORT, SHORT, SHORT),
    st.tuples(SHORT, SHORT),
    st.lists(st.tuples(SHORT, SHORT), min_size=1, max_size=6),
)
def test_methods_one_after_another_on_template_and_data(
    steps: list[tuple[str, tuple[Any, ...]]],
    around: tuple[str, str, str],
    mine: tuple[str, str],
    others: list[tuple[str, str]],
) -> None:
    check_action(chain(steps, lambda a, b: around[0] + a + around[1] + b + around[2]), mine, others)


TWO_TEXTS: dict[str, Action] = {
    name: (lambda a, b, name=name: getattr(a, name)(b))
    for name in (
        "__add__", "__contains__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "startswith", "endswith", "find", "rfind",
        "count", "index", "rindex", "strip", "split", "partition", "removeprefix", "join",
    )
} | {
    "replace old": lambda a, b: a.replace(b, "-"),
    "replace new": lambda a, b: a.replace("a", b),
    "in a tuple": lambda a, b: a.startswith((b, "x")),
    "between": lambda a, b: "a" < a < b,
    "in a list": lambda a, b: a in ["x", b],
    "as a key": lambda a, b: {a: 1}.get(b),
    "sorted": lambda a, b: sorted([a, b, "a"]),
    "same": lambda a, b: (a + b) == (b + a),
}  # fmt: skip


@pytest.mark.parametrize("name", TWO_TEXTS)
def test_data_given_to_a_method_of_data(name: str) -> None:
    texts = ("", "a", "ab", "ba", "b", "aa")
    for mine in itertools.product(texts, repeat=2):
        check_action(TWO_TEXTS[name], mine, list(itertools.product(texts, repeat=2)))


def test_a_question_about_the_same_data_is_not_asked() -> None:
    assert trace("{{ a == a }}{{ (a ~ 'x') != (a ~ 'x') }}", "q") == ([("TrueFalse", None)], {})


def test_where_pieces_of_a_text_stand() -> None:
    assert piece_places("a,b,", "split", (",", -1)) == ((0, 1), (2, 3), (4, 4))
    assert piece_places("  a  b ", "split", (None, -1)) == ((2, 3), (5, 6))
    assert piece_places("  a  b ", "split", (None, 1)) == ((2, 3), (5, 7))
    assert piece_places("  a  b ", "rsplit", (None, 1)) == ((0, 3), (5, 6))
    assert piece_places("a,b,c", "rsplit", (",", 1)) == ((0, 3), (4, 5))
    assert piece_places("a\r\nb\n", "splitlines", ()) == ((0, 1), (3, 4))
    assert piece_places("a<t>b", "partition", ("<t>",)) == ((0, 1), (1, 4), (4, 5))
    assert piece_places("ab", "partition", ("<t>",)) == ((0, 2), (2, 2), (2, 2))
    assert piece_places("ab", "rpartition", ("<t>",)) == ((0, 0), (0, 0), (0, 2))


# ------------------------------------------------------------------------------------------------------------- lengths

COMPARED = {
    "== 2": ("length_is", 2, False), "!= 2": ("length_is", 2, False), "< 2": ("length_below", 2, False), "<= 2": ("length_below", 3, False),
    "> 2": ("length_below", 3, False), ">= 2": ("length_below", 2, False), "is eq 3": ("length_is", 3, True), "is lt 4": ("length_below", 4, True),
    "in [3]": ("length_is", 3, True),
}  # fmt: skip


@pytest.mark.parametrize("comparison", COMPARED)
def test_a_length_that_is_compared_asks_no_more_than_the_comparison(comparison: str) -> None:
    name, number, said = COMPARED[comparison]
    assert trace(f"{{{{ a | length {comparison} }}}}", "xyz").guards == {(name, about(A), (number,)): said}
    composite = about("p", A, B)
    assert trace(f"{{{{ ('p' ~ a ~ b) | count {comparison} }}}}", "x", "y").guards == {
        (name, composite, (number,)): said
    }


@pytest.mark.parametrize("comparison", ["2 == {}", "2 != {}", "2 < {}", "2 <= {}", "2 > {}", "2 >= {}"])
def test_a_length_on_the_right_is_compared_too(comparison: str) -> None:
    source = "{{ " + comparison.format("a | length") + " }}"
    [(name, symbol, _)] = trace(source, "xyz").guards
    assert (name in ("length_is", "length_below"), symbol) == (True, about(A))


def test_a_length_as_a_truth_value_asks_whether_there_is_text() -> None:
    for source in ("{{ 'y' if a | length else 'n' }}", "{{ not (a | length) }}", "{{ a | length and 1 }}"):
        assert trace(source, "xyz").guards == {("filled", about(A), ()): True}


LENGTHS = """
    a | length == 2; a | length != 2; a | length < 2; a | length <= 2; a | length > 2; a | length >= 2; 2 < a | length; 1 < a | length < 3
    a | length == b | length; a | length < b | length; a | length >= b | length; a | length == 2.0; a | length < 1.5; a | length == true; a | length == 'x'
    a | length + 1; 1 + (a | length); (a | length) - 1; 9 - (a | length); (a | length) * 2; 2 * (a | length); (a | length) / 2; 6 / (1 + (a | length))
    (a | length) // 2; 7 // (1 + (a | length)); (a | length) % 2; 7 % (1 + (a | length)); (a | length) ** 2; 2 ** (a | length); -(a | length); +(a | length)
    (a | length) * (b | length); (a | length) - (b | length); (a | length) is odd; (a | length) is even; (a | length) is divisibleby(2)
    (a | length) is number; (a | length) is integer; (a | length) is float; (a | length) is string; (a | length) is boolean; a | length is none
    (a | length) | string; (a | length) | int; (a | length) | float; (a | length) | abs; (a | length) | round; (a | length) ~ 'x'; (a | length) | tojson
    [a | length] | tojson; {'n': a | length} | tojson; range(a | length) | list | length; [1, 2, 3, 4, 5, 6, 7, 8, 9][a | length]; 'abcdefghi'[a | length:]
    {1: 'x', 2: 'y'}[a | length]; {1: 'x'}.get(a | length, 'd'); a | length in [1, 2]; [a | length, b | length] | max; [a | length, 3] | sort | first
    [a, b] | map('length') | join(','); [a, b] | map('length') | max; a[:b | length]; b[a | length] is defined; 'x' * (a | length); (a | length) * 'x'
    a.find('x', b | length); a.split(',', b | length) | length; '%s' % (a | length); '{}'.format(a | length); (a | length,) | join
    a | length if a | length else 'none'; (a | length, 1) == (2, 1); a | length is eq 2; a | length is gt 1; (a | length) | default(0); [a | length] == [2]
"""
FLOATS = "1.5 * (a | length); (a | length) / 2.0; 3.0 - (a | length); (a | length) // 1.5; 7.5 % (1 + (a | length)); (a | length) + 0.5; 1.5 < a | length"


@pytest.mark.parametrize("source", expressions(LENGTHS))
def test_lengths_that_answer_alike_are_rendered_alike(source: str) -> None:
    check_follows(source, TEXTS)


@pytest.mark.parametrize("source", expressions(FLOATS))
def test_a_length_counts_with_fractions(source: str) -> None:
    found = trace(source, "xyz")
    assert found == ([(render(source, "xyz"), None)], {("length", about(A), ()): 3})


def test_all_uses_of_lengths_are_followed() -> None:
    assert [source for source in expressions(LENGTHS) if not check_follows(source, TEXTS)] == []


# -------------------------------------------------------------------------------------------------------------- tojson


class Hole(NamedTuple):
    """Where a leaf stands in a value that the template made."""

    leaf: int


def filled_in(value: Any, leaves: Sequence[Any]) -> Any:
    if isinstance(value, Hole):
        return leaves[value.leaf]
    if isinstance(value, dict):
        return {filled_in(key, leaves): filled_in(item, leaves) for key, item in value.items()}
    return [filled_in(item, leaves) for item in value] if isinstance(value, list) else value


SCALARS = st.none() | st.booleans() | st.integers(-3, 10**20) | st.floats(allow_nan=False, allow_infinity=False)
STRINGS = st.text(st.sampled_from('ab"\\/\n\té\u2028\x00😀<'), max_size=4)
JSONS = st.recursive(
    SCALARS | STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STRINGS, inner, max_size=3),
    max_leaves=5,
)
LEAF_SETS = st.tuples(STRINGS, STRINGS, st.dictionaries(STRINGS, JSONS, max_size=3), st.lists(JSONS, max_size=3))
HOLES = st.sampled_from([Hole(0), Hole(1), Hole(2), Hole(3)])
MADE = st.recursive(
    SCALARS | STRINGS | HOLES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(STRINGS | st.sampled_from([Hole(0), Hole(1)]), inner, max_size=3)
    ),
    max_leaves=6,
)
SEPARATORS = st.sampled_from([None, (",", ":"), (", ", " = "), (";", "")])
INDENTS = st.sampled_from([None, 0, 1, 2, -1, True, "", "\t", "--"])
STYLES = st.fixed_dictionaries(
    {"ensure_ascii": st.booleans(), "indent": INDENTS, "separators": SEPARATORS, "sort_keys": st.booleans()}
)


@settings(max_examples=120, deadline=None)
@given(MADE, LEAF_SETS, st.lists(LEAF_SETS, max_size=2), STYLES)
def test_tojson_writes_what_json_dumps_writes(
    made: Any, mine: tuple[Json, ...], others: list[tuple[Json, ...]], style: dict[str, Any]
) -> None:
    def write(leaves: Sequence[Json]) -> str:
        return json.dumps(filled_in(made, leaves), **style)

    recorder = Recorder()
    value = filled_in(made, [traced_value(recorder, leaf, (i, ())) for i, leaf in enumerate(mine)])
    found = tojson(value, **style)
    guards = dict(recorder.guards)
    assert "".join(text for text, _ in parts_of(found)) == plain(found) == write(mine)
    for other in [mine, *others, (mine[0], mine[1], *others[0][2:]) if others else mine]:
        if agree(guards, other):
            assert filled(parts_of(found), other) == write(other)


def test_tojson_asks_for_the_order_of_keys_that_are_data() -> None:
    found = trace("{{ {a: 1, 'm': 2} | tojson(sort_keys=true) }}", "k")
    assert found.parts == [('{"', None), ("k", of(0, ("json_inner", (False,)))), ('": 1, "m": 2}', None)]
    assert agree(found.guards, ["k"])
    assert not agree(found.guards, ["z"])


def test_tojson_with_data_as_argument_is_lost() -> None:
    for source in ("{{ [a] | tojson(indent=a) }}", "{{ [a] | tojson(separators=(a, a)) }}", "{{ [a] | tojson(a) }}"):
        assert lost(source, " ") == "tojson with data as argument"


# ------------------------------------------------------------------------------------------------- objects and lists


def test_an_object_is_asked_only_for_what_the_template_reads() -> None:
    thing: dict[str, Json] = {"x": "v", "y": 1}
    x = of(0, ("item", ("x",)))
    assert trace("{{ a.x }}", thing) == ([("v", x)], {("entry", about(A), ("x",)): "text"})
    assert trace("{{ a['y'] }}", thing) == ([("1", None)], {("entry", about(A), ("y",)): ("int", "1")})
    assert trace("{{ a.z is defined }}", thing) == ([("False", None)], {("entry", about(A), ("z",)): None})
    assert trace("{{ 'x' in a }}", thing).guards == {("entry", about(A), ("x",)): "text"}
    assert trace("{{ a.get('x') }}", thing).parts == [("v", x)]
    assert trace("{{ 'y' if a else 'n' }}", thing).guards == {("filled_object", about(A), ()): True}
    assert trace("{{ a | length }}", thing).guards == {("length", about(A), ()): 2}
    assert trace("{{ a.x.upper() }}", thing).parts == [("V", of(0, ("item", ("x",)), ("upper", ())))]


@pytest.mark.parametrize("pairs", ["a.items()", "a | items", "a | dictsort"])
def test_keys_are_data_whose_value_the_entries_fix(pairs: str) -> None:
    source = "{% for k, v in " + pairs + " %}{{ k }}={{ v }};{% endfor %}"
    key, value = of(0, (CONSTANT, ("x",))), of(0, ("item", ("x",)))
    found = trace(source, {"x": "v"})
    assert found == (
        [("x", key), ("=", None), ("v", value), (";", None)],
        {("entries", about(A), ()): (("x", "text"),)},
    )
    assert filled(found.parts, [{"x": "w"}]) == "x=w;"


def test_values_of_an_object_in_an_object() -> None:
    ways = [("item", ("x",)), ("item", ("y",))]
    found = trace("{{ a.x.y }}", {"x": {"y": "v"}})
    assert found == (
        [("v", of(0, *ways))],
        {("entry", about(A), ("x",)): "object", ("entry", about(of(0, ways[0])), ("y",)): "text"},
    )


def test_a_list_is_asked_for_the_kinds_of_its_items() -> None:
    found = trace("{{ a[0] }}{{ a | length }}", ["x", 1, None, {"k": 1}, []])
    kinds = ("text", ("int", "1"), ("NoneType", "None"), "object", "list")
    assert found.parts == [("x", of(0, ("item", (0,)))), ("5", None)]
    assert found.guards == {("entries", about(A), ()): kinds, ("length", about(A), ()): 5}


def test_equal_objects_are_compared_key_by_key() -> None:
    x = of(0, ("item", ("x",)))
    assert trace("{{ a == {'x': 'v'} }}", {"x": "v"}) == (
        [("True", None)],
        {("entries", about(A), ()): (("x", "text"),), ("eq", about(x), ("v",)): True},
    )
    assert trace("{{ a == a }}{{ a != a }}", {"x": "v"}) == ([("TrueFalse", None)], {})


def test_objects_and_lists_cannot_be_changed() -> None:
    for source in ("{{ a.update({}) }}", "{{ a.pop('x') }}", "{{ a.setdefault('x', 1) }}", "{{ a.clear() }}"):
        with pytest.raises(RecordError, match="unsafe"):
            trace(source, {"x": "v"})
    for source in ("{{ a.append(1) }}", "{{ a.sort() }}", "{{ a.extend([]) }}", "{{ a.reverse() }}"):
        with pytest.raises(RecordError, match="unsafe"):
            trace(source, ["x"])


def test_numbers_and_truth_values_are_told_apart_in_objects() -> None:
    found = trace("{{ a.x }}", {"x": 1})
    assert [agree(found.guards, [{"x": other}]) for other in (1, True, 1.0, 2, "1", None)] == [True, *[False] * 5]


# ---------------------------------------------------------------------------------------------------- data printed whole

WHOLE: tuple[Op, ...] = ()
COVERED: dict[str, tuple[Json, tuple[tuple[Op, ...], ...], bool]] = {
    "a text as it is": ("some text", (WHOLE,), True),
    "a text not at all": ("some text", (), False),
    "white space not at all": (" \n", (), True),
    "nothing at all": ("", (), True),
    "a tag not at all": ("<think>\n</think>", (), True),
    "a stripped text": (" x ", ((("strip", ()),),), True),
    "stripped of letters": ("xyx", ((("strip", ("x",)),),), False),
    "what stands after a tag": ("<think>a</think>b", ((("split", ("</think>", -1, 1)),),), False),
    "both sides of a tag": (
        "a</think>b",
        ((("split", ("</think>", -1, 0)),), (("split", ("</think>", -1, 1)),)),
        True,
    ),
    "the last of two tags": (
        "a</t>b</t>c",
        ((("split", ("</t>", -1, 0)),), (("split", ("</t>", -1, 2)),)),
        False,
    ),
    "all but the tag's inside, stripped": ("<t>a</t>\n\nb", ((("rsplit", ("</t>", 1, 1)), ("lstrip", ())),), False),
    "a line that is cut": ("one\ntwo", ((("splitlines", (0,)),),), False),
    "all lines": ("one\ntwo", ((("splitlines", (0,)),), (("splitlines", (1,)),)), True),
    "the first characters": ("abc", ((("slice", (0, 2, None)),),), False),
    "the last characters": ("abc", ((("slice", (1, None, None)),),), True),
    "two slices": ("abc", ((("slice", (0, 1, None)),), (("slice", (1, None, None)),)), True),
    "one character": ("abc", ((("item", (0,)),),), False),
    "the last character": ("abc", ((("item", (-1,)),),), True),
    "a removed beginning": ("xabc", ((("removeprefix", ("x",)),),), True),
    "a removed end": ("abcx", ((("removesuffix", ("x",)),),), False),
    "an absent end removed": ("abc", ((("removesuffix", ("x",)),),), True),
    "parts around a separator": (
        "k: v",
        ((("partition", (":", 0)),), (("partition", (":", 2)),)),
        True,
    ),
    "in capitals": ("abc", ((("upper", ()),),), True),
    "cut after a change": ("abc", ((("upper", ()), ("slice", (0, 1, None))),), False),
    "as JSON": ("abc", ((("json_inner", (False,)),),), True),
    "an object as JSON": ({"k": 1}, ((("json_text", (False, None, None, False, 0)),),), True),
    "an empty object": ({}, (), True),
    "an object of which nothing is printed": ({"k": "v"}, (), False),
    "an object whose text is printed": ({"k": "v"}, ((("item", ("k",)),),), True),
    "one of two texts": ({"k": "v", "l": "w"}, ((("item", ("k",)),),), False),
    "a stripped text of an object": ({"k": " v "}, ((("item", ("k",)), ("strip", ())),), True),
    "a null need not be printed": ({"k": None}, (), True),
    "a number that nobody read": ({"k": 1}, (), False),
    "an object in an object": ({"k": {"l": "v"}}, ((("item", ("k",)), ("item", ("l",))),), True),
    "an object in an object as JSON": (
        {"k": {"l": 1}},
        ((("item", ("k",)), ("json_text", (False, None, None, False, 0))),),
        True,
    ),
    "a list": (["v", "w"], ((("item", (0,)),), (("item", (1,)),)), True),
    "a list but its end": (["v", "w"], ((("item", (0,)),),), False),
    "an empty list": ([], (), True),
}  # fmt: skip


@pytest.mark.parametrize("title", COVERED)
def test_whether_all_of_a_leaf_is_printed(title: str) -> None:
    value, printed, expected = COVERED[title]
    assert covers(value, printed, ()) is expected
    assert compiled_guard(("covers", about(A), (printed, ())))([value]) is expected


def test_numbers_are_printed_if_they_were_read() -> None:
    assert covers({"k": 1}, (), (("k",),))
    assert covers({"k": 1, "l": True}, (), ((...,),))
    assert not covers({"k": 1, "l": True}, (), (("k",),))
    assert covers({"k": {"l": 1}}, (), (("k", "l"),))
    assert not covers({"k": {"l": 1}}, (), (("k",),))
    assert covers([1, 2], (), ((...,),))
    assert covers([{"l": 1}], (), ((0, "l"),))
    assert covers([{"l": 1}], (), ((..., "l"),))


def test_data_of_which_a_part_is_left_out_is_refused_even_on_a_known_way() -> None:
    given = engine(chatml("m.content.split('#')[0]"))
    for text in ("a", "b", "c"):
        assert segments(given, chat(user("q"), assistant(text)))[1].text == f"{text}<|im_end|>"
    assert given.counts["known"] == 1
    for text in ("a#b", "a#", "c#d"):
        with pytest.raises(RecordError) as caught:
            given.segment(chat(user("q"), assistant(text)))
        assert caught.value.code == "data-dropped"


# --------------------------------------------------------------------------------------------------- shape and leaves

DIALECTS = [
    Dialect(
        text_roles=frozenset(["user", "assistant", "system", "tool"]), part_roles=frozenset(), text_arguments=False
    ),
    Dialect(text_roles=frozenset(["tool"]), part_roles=frozenset(["user", "assistant", "system"]), text_arguments=True),
]


@pytest.mark.parametrize("title", CHATS)
def test_leaves_stand_in_the_order_in_which_they_are_traced(title: str) -> None:
    conversation = replace(CHATS[title], template_args={"mode": "short", "n": 1, "opts": {"k": []}})
    for dialect in DIALECTS:
        visited: list[Json] = []
        visit_leaves(conversation, dialect, lambda value, _, visited=visited: visited.append(value))
        assert visited == outline(conversation, dialect).leaves


def test_every_leaf_has_an_owner() -> None:
    call = ToolCall(name="f", arguments={"k": 1}, id="i")
    conversation = Conversation(
        messages=(
            user("q"),
            assistant("a", thought="t", calls=(call,)),
            Message(role="tool", content="r", name="f", extra={"more": {"k": 1}, "n": 1}),
        ),
        tools=({"t": 1},),
        template_args={"mode": "short"},
    )
    owners: list[Owner] = []
    visit_leaves(conversation, DIALECTS[0], lambda _, owner: owners.append(owner))
    assert owners == [
        Owner(TOOLS, "tools", False, D),
        Owner(TOOLS, "template_args", False, D),
        Owner(0, "content", False, D),
        Owner(1, "content", False, W),
        Owner(1, "tool_calls", True, W),
        Owner(1, "tool_calls", False, W),
        Owner(1, "id", False, W),
        Owner(1, "reasoning_content", False, W),
        Owner(2, "content", False, D),
        Owner(2, "name", False, D),
        Owner(2, "more", False, D),
    ]


def extra(**keys: Json) -> Conversation:
    return chat(Message(role="user", content="q", extra=keys), assistant("a"))


def test_shapes_are_equal_if_only_texts_and_json_differ() -> None:
    dialect = DIALECTS[0]
    for one, other in (
        (chat(user("q"), assistant("a")), chat(user(""), assistant("<|im_end|>"))),
        (called({"k": 1}), called({"l": [], "m": None})),
        (extra(more={"k": 1}), extra(more={"l": 2})),
    ):
        assert outline(one, dialect)[:2] == outline(other, dialect)[:2]


def test_shapes_differ_if_anything_else_does() -> None:
    shapes = [
        outline(conversation, DIALECTS[1])[:2]
        for conversation in (
            chat(user("q"), assistant("a")),
            chat(user("q"), user("a")),
            chat(user("q"), assistant("a"), user("r")),
            chat(user(("q", "r")), assistant("a")),
            chat(user("q"), assistant("a", loss=False)),
            chat(user("q"), assistant("a", loss=True)),
            chat(user("q"), assistant("a", thought="t")),
            chat(user("q"), assistant(None, thought="t")),
            called({}),
            chat(Message(role="user", content="q", name="Ann"), assistant("a")),
            extra(n=1),
            extra(n=True),
            extra(n=1.0),
            extra(n=2),
            extra(n=None),
            extra(n="1"),
            extra(n=[]),
            extra(n={}),
            extra(m=1),
            replace(chat(user("q"), assistant("a")), tools=({},)),
            replace(chat(user("q"), assistant("a")), template_args={"n": 1}),
            replace(chat(user("q"), assistant("a")), template_args={"n": True}),
            replace(chat(user("q"), assistant("a")), template_args={"n": "x"}),
        )
    ]
    assert len({hash(shape) for shape in shapes}) == len(shapes)
    assert all(one != other for one, other in itertools.combinations(shapes, 2))


def test_minus_zero_has_a_shape_of_its_own() -> None:
    given = engine(chatml("(m.n ~ ' ' if m.n is defined else '') + m.content"))
    for number in (0.0, 0.0, 0.0, -0.0, -0.0, -0.0):
        assert segments(given, extra(n=number))[0].text == (
            f"<|im_start|>user\n{number} q<|im_end|>\n<|im_start|>assistant\n"
        )
