"""What is kept of a conversation for the next one: decisions, ways, and the ladder of the segmenter."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from chats import assistant, call, chat, result, system, user
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tracing import ANSWER, PROMPT, USER, D, T, W, answer, asks, chatml, engine, segments

from ismpack.data import (
    Bone,
    Conversation,
    Filled,
    Json,
    Message,
    Origin,
    Piece,
    PlainConversation,
    Segment,
    Skeleton,
    Slot,
)
from ismpack.errors import InternalError, RecordError
from ismpack.templates import ChatTemplate, Dialect, Segmentation, Segmenter, segment
from ismpack.templates.decisions import Decisions
from ismpack.templates.dialect import template_messages
from ismpack.templates.expressions import Guard, Leaves, Source, Symbol, compiled_guard
from ismpack.templates.operations import Op
from ismpack.templates.outline import Owner, outline
from ismpack.templates.skeletons import Way, way_of
from ismpack.templates.symbols import Alphabet
from ismpack.templates.traced import Traced

# ----------------------------------------------------------------------------------------------------------- decisions


@pytest.fixture(autouse=True)
def no_shape_is_common(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also shapes of nothing but roles are kept at their second sight, which the counts here tell apart."""
    monkeypatch.setattr("ismpack.templates.outline._SHORT", 0)


def about(leaf: int, *ops: Op) -> Symbol:
    source: Source = (leaf, ops)
    return Symbol([source])


STARTS: Guard = ("startswith", about(0), ("x",))
FILLED: Guard = ("filled", about(1), ())
LENGTH: Guard = ("length", about(0), ())
KEY = "shape"


def kept(table: Decisions[str], key: Hashable, guards: dict[Guard, Any], value: str) -> None:
    """Put a result twice, because the first sight of a key is not kept."""
    table.put(key, guards, value)
    table.put(key, guards, value)


def test_a_result_is_kept_from_the_second_sight_of_its_key_on() -> None:
    table: Decisions[str] = Decisions(8)
    assert table.find(KEY, ["x"]) is None
    table.put(KEY, {STARTS: True}, "way")
    assert table.find(KEY, ["x"]) is None
    table.put(KEY, {STARTS: True}, "way")
    assert table.find(KEY, ["xyz"]) == "way"


def test_the_second_sight_counts_for_the_key_whatever_the_answers_were() -> None:
    table: Decisions[str] = Decisions(8)
    table.put(KEY, {STARTS: True}, "with x")
    table.put(KEY, {STARTS: False}, "without x")
    assert (table.find(KEY, ["x"]), table.find(KEY, ["y"])) == (None, "without x")


def test_each_answer_leads_to_its_own_result() -> None:
    table: Decisions[str] = Decisions(8)
    kept(table, KEY, {STARTS: True, FILLED: True}, "x and more")
    kept(table, KEY, {STARTS: True, FILLED: False}, "x alone")
    kept(table, KEY, {STARTS: False, LENGTH: 2}, "two others")
    found = {leaves: table.find(KEY, leaves) for leaves in product(("x", "yz", "y", ""), ("", "m"))}
    assert found == {
        ("x", ""): "x alone",
        ("x", "m"): "x and more",
        ("yz", ""): "two others",
        ("yz", "m"): "two others",
        ("y", ""): None,
        ("y", "m"): None,
        ("", ""): None,
        ("", "m"): None,
    }


def test_keys_do_not_share_results() -> None:
    table: Decisions[str] = Decisions(8)
    kept(table, "one", {}, "first")
    assert (table.find("one", []), table.find("two", [])) == ("first", None)
    kept(table, "two", {STARTS: True}, "second")
    assert (table.find("one", ["x"]), table.find("two", ["x"])) == ("first", "second")


def test_the_questions_on_the_way_and_their_answers_are_given_back_in_order() -> None:
    table: Decisions[str] = Decisions(8)
    kept(table, KEY, {STARTS: False, LENGTH: 2, FILLED: True}, "way")
    guards: dict[Guard, Any] = {}
    assert table.find(KEY, ["yz", "m"], guards) == "way"
    assert list(guards.items()) == [(STARTS, False), (LENGTH, 2), (FILLED, True)]


def test_questions_that_were_asked_before_keep_their_place() -> None:
    table: Decisions[str] = Decisions(8)
    kept(table, KEY, {STARTS: False, LENGTH: 2}, "way")
    guards: dict[Guard, Any] = {FILLED: True, LENGTH: 2}
    assert table.find(KEY, ["yz"], guards) == "way"
    assert list(guards.items()) == [(FILLED, True), (LENGTH, 2), (STARTS, False)]


def test_nothing_is_given_back_if_nothing_is_found() -> None:
    table: Decisions[str] = Decisions(8)
    kept(table, KEY, {STARTS: True, LENGTH: 1}, "way")
    guards: dict[Guard, Any] = {}
    assert table.find(KEY, ["xy"], guards) is None
    assert table.find("other", ["x"], guards) is None
    assert guards == {}


def test_a_table_that_is_full_starts_anew() -> None:
    table: Decisions[str] = Decisions(2)
    for name in ("one", "two", "three"):
        kept(table, name, {}, name)
    assert [table.find(name, []) for name in ("one", "two", "three")] == [None, None, "three"]
    kept(table, "four", {}, "four")
    assert [table.find(name, []) for name in ("three", "four")] == ["three", "four"]


def test_ways_of_one_key_count_each() -> None:
    table: Decisions[str] = Decisions(2)
    for length in (1, 2, 3):
        kept(table, KEY, {LENGTH: length}, str(length))
    assert [table.find(KEY, ["x" * length]) for length in (1, 2, 3)] == [None, None, "3"]


def test_a_result_that_is_put_again_is_not_counted_again_and_not_replaced() -> None:
    table: Decisions[str] = Decisions(3)  # a question and two results
    for value in ("first", "second", "third", "fourth"):
        table.put(KEY, {LENGTH: 1}, value)
    kept(table, "other", {}, "other")
    assert (table.find(KEY, ["x"]), table.find("other", [])) == ("second", "other")


def test_a_cleared_table_remembers_which_keys_it_has_seen() -> None:
    table: Decisions[str] = Decisions(8)
    kept(table, KEY, {}, "way")
    table.clear()
    assert table.find(KEY, []) is None
    table.put(KEY, {}, "again")
    assert table.find(KEY, []) == "again"


def test_keys_that_were_seen_once_are_forgotten_after_many_others() -> None:
    table: Decisions[str] = Decisions(1)
    for number in range(17):
        table.put(number, {}, "x")
    table.put(0, {}, "x")  # of the first 16, of which nothing is known any more
    assert table.find(0, []) is None
    table.put(0, {}, "x")
    assert table.find(0, []) == "x"


def test_another_question_at_the_same_place_leaves_the_table_as_it_is() -> None:
    table: Decisions[str] = Decisions(8)
    kept(table, KEY, {STARTS: True}, "way")
    kept(table, KEY, {FILLED: True}, "other program")
    kept(table, KEY, {}, "no questions")
    kept(table, KEY, {STARTS: True, FILLED: True}, "more questions")
    assert table.find(KEY, ["x", "y"]) == "way"
    assert table.find(KEY, ["y", "y"]) is None


WORDS = ("", "x", "y", "xy", "yx", "xx y")
QUESTIONS: list[Guard] = [
    *((name, about(leaf), (part,)) for leaf in (0, 1) for name in ("startswith", "contains", "eq") for part in ("x", "y")),
    *(("length", about(leaf), ()) for leaf in (0, 1)),
    ("pieces_count", about(0), ("split", ("x", -1))),
    ("eq", about(0, ("strip", ())), (about(1),)),
]  # fmt: skip
PROGRAMS: st.SearchStrategy[Any] = st.recursive(
    st.text("abc", min_size=1, max_size=3),
    lambda inner: st.tuples(st.sampled_from(QUESTIONS), st.lists(inner, min_size=2, max_size=3)),
    max_leaves=12,
)


def run(program: Any, leaves: Leaves) -> tuple[dict[Guard, Any], str]:
    """What a program asks about data and the answers, in order, and what it gives. It asks nothing twice."""
    guards: dict[Guard, Any] = {}
    while not isinstance(program, str):
        guard, branches = program
        guards.setdefault(guard, compiled_guard(guard)(leaves))
        program = branches[hash(guards[guard]) % len(branches)]
    return guards, program


@settings(max_examples=150, deadline=None)
@given(
    st.lists(PROGRAMS, min_size=1, max_size=3),
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(WORDS), st.sampled_from(WORDS)), min_size=1, max_size=60
    ),
    st.sampled_from([1, 2, 5, 100]),
)  # fmt: skip
def test_what_is_found_is_what_the_program_gives(
    programs: list[Any], data: list[tuple[int, str, str]], capacity: int
) -> None:
    table: Decisions[tuple[int, str]] = Decisions(capacity)
    sights: dict[int, int] = {}
    for number, *leaves in data:
        key = number % len(programs)
        guards, value = run(programs[key], leaves)
        asked: dict[Guard, Any] = {}
        found = table.find(key, leaves, asked)
        if found is not None:
            assert (found, list(asked.items())) == ((key, value), list(guards.items()))
        else:
            assert asked == {}
            table.put(key, guards, (key, value))
            sights[key] = sights.get(key, 0) + 1
            again = table.find(key, leaves)
            if capacity == 100:  # nothing is forgotten
                assert again == ((key, value) if sights[key] > 1 else None)


# ----------------------------------------------------------------------------------------------------------- skeletons

OWNERS = {0: Owner(0, "content", False, Origin.DATA), 1: Owner(1, "content", False, Origin.ASSISTANT)}


def written(alphabet: Alphabet, *parts: str | Source) -> str:
    return alphabet.write([(part, None) if isinstance(part, str) else ("", part) for part in parts])


def way(*turns: tuple[tuple[str | Source, ...], tuple[str | Source, ...]]) -> Way:
    """The way of one sample of queries and answers, written in symbols."""
    alphabet = Alphabet()
    made: list[Segment] = []
    for turn, (asked, said) in enumerate(turns):
        question = (Piece(written(alphabet, *asked), USER), Piece("<p>", PROMPT))
        reply = (Piece(written(alphabet, *said), ANSWER),)
        made.append(Segment(pieces=question, is_answer=False, turn=turn, loss=False))
        made.append(Segment(pieces=reply, is_answer=True, turn=turn, loss=True))
    found = Segmentation((tuple(made),), ("w",), frozenset(["<e>"]), ((1,),))
    return way_of(found, alphabet, lambda source: OWNERS[source[0] % 2])


def test_a_way_is_a_skeleton_and_the_data_that_fills_it() -> None:
    made = way((("<u>", (0, ()), "</u>"), ((1, (("strip", ()),)), "<e>")))
    [cast] = made.casts
    assert cast.skeleton.bones == (
        Bone(
            slots=(Slot("<u>", USER, T), Slot(None, USER, D), Slot("</u>", USER, T), Slot("<p>", PROMPT, T)),
            is_answer=False,
            turn=0,
            loss=False,
        ),
        Bone(slots=(Slot(None, ANSWER, W), Slot("<e>", ANSWER, T)), is_answer=True, turn=0, loss=True),
    )
    assert (cast.origins, cast.bare) == ((D, W), ())
    assert (made.warnings, made.inferred_stops, made.answers, made.hits) == (("w",), frozenset(["<e>"]), ((1,),), 0)
    [sample] = made.fill(["q", " a "])
    assert isinstance(sample, Filled)
    assert sample.values == ("q", "a")
    assert sample.skeleton is cast.skeleton
    assert list(sample) == [
        Segment(
            pieces=(Piece("<u>", USER, T), Piece("q", USER, D), Piece("</u>", USER, T), Piece("<p>", PROMPT, T)),
            is_answer=False,
            turn=0,
            loss=False,
        ),
        answer(0, ("a", W), ("<e>", T)),
    ]


def test_data_that_is_filled_with_nothing_leaves_no_piece() -> None:
    made = way((("<u>", (0, ()), "</u>"), ((1, ()), "<e>")))
    [sample] = made.fill(["", ""])
    assert [[piece.text for piece in part.pieces] for part in sample] == [["<u>", "</u>", "<p>"], ["<e>"]]


def test_an_answer_without_template_text_may_be_empty() -> None:
    made = way((((0, ()),), ((1, ()), (3, ()))), (("<u>",), ((1, ()), "<e>")), (((0, ()), (2, ())), ((3, ()),)))
    [cast] = made.casts
    assert cast.bare == (range(1, 3), range(6, 7))
    for values, empty in (
        (["q", "a", "r", "b"], False),
        (["q", "", "r", "b"], False),
        (["", "", "", ""], True),
        (["q", "a", "r", ""], True),
    ):
        [sample] = made.fill(values)
        assert (values, cast.has_empty_answer(sample)) == (values, empty)


def test_the_same_data_may_fill_several_holes() -> None:
    [sample] = way((((0, ()), "-", (0, (("upper", ()),)), (0, ())), ((0, ()),))).fill(["q"])
    assert [part.text for part in sample] == ["q-Qq<p>", "q"]


def test_control_strings_are_looked_for_in_the_data_alone_and_by_its_origin() -> None:
    rules = engine(chatml(), control={"<think>": False}).rules
    made = way((("<|im_end|>", (0, ())), ((1, ()), "<|im_end|>")))
    for leaves, found in (
        (["q", "a"], None),
        (["<think>", "a"], "<think>"),
        (["q", "<think>"], None),
        (["q", "<|im_end|>"], "<|im_end|>"),
        (["<|im_", "end|>"], None),
        (["a<|im_start|>b<|im_end|>", "<|im_end|>"], "<|im_start|>"),
    ):
        assert (leaves, made.casts[0].control_string(made.fill(leaves)[0], rules)) == (leaves, found)


def test_skeletons_are_compared_by_identity() -> None:
    bones = (Bone(slots=(), is_answer=True, turn=0, loss=True),)
    assert Skeleton(bones) != Skeleton(bones)
    assert len({Skeleton(bones), Skeleton(bones)}) == 2


# ----------------------------------------------------------------------------------------------------------- segmenter


def turns(*texts: str) -> Conversation:
    return chat(*(user(text) if i % 2 == 0 else assistant(text) for i, text in enumerate(texts)))


def the_way(given: Segmenter, conversation: Conversation) -> Way:
    """The way that is kept for a conversation."""
    shape = outline(conversation, given.dialect)
    found = given._ways.find(shape[:2], shape.leaves)
    assert found is not None
    return found


def test_each_step_of_the_ladder_is_counted() -> None:
    given = engine(chatml("(m.content | indent(2) if 'slow' in m.content else m.content)"))
    assert given.counts == {"known": 0, "traced": 0, "reference": 0}
    counts = []
    for text in ("a", "b", "c", "slow", "slow", "slow", "d"):
        found = segments(given, turns("q", text))
        if text == "slow":
            assert [part.text for part in found] == [asks("q").text, "slow<|im_end|>"]
        else:
            assert found == [asks("q"), answer(0, (text, W), ("<|im_end|>", T))]
        counts.append(tuple(given.counts.values()))
    assert counts == [(0, 1, 0), (0, 2, 0), (1, 2, 0), (1, 2, 1), (1, 2, 2), (1, 2, 3), (2, 2, 3)]
    assert given.lost == {"the filter indent": 3}


def test_a_shape_that_comes_once_is_not_kept() -> None:
    given = engine(chatml())
    for count in range(1, 8):
        given.segment(turns(*["x"] * 2 * count))
    assert given.counts == {"known": 0, "traced": 7, "reference": 0}
    assert given._ways._roots == {}


def spoil(found: Way) -> None:
    """Let a way put its last piece of data in capitals, which the template does not."""
    [cast] = found.casts
    leaf, ops = cast.sources[-1]
    found.casts = (replace(cast, sources=[*cast.sources[:-1], (leaf, (*ops, ("upper", ())))], _values=None),)


def test_a_known_way_that_contradicts_the_template_is_an_internal_error_on_its_first_hit() -> None:
    plain = engine(chatml())
    given = Segmenter(ChatTemplate(plain.template.source, name="template of tests"), plain.dialect, plain.rules)
    for _ in range(2):
        given.segment(turns("What is it?", "a"))
    spoil(the_way(given, turns("What is it?", "a")))
    with pytest.raises(InternalError) as caught:
        given.segment(turns("Why is it so?", "b"))
    assert caught.value.message == (
        "a known way through the template of tests gives another text than the template, for the conversation of "
        "2 messages that begins with 'Why is it so?'"
    )


def test_every_so_many_hits_are_compared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ismpack.templates.segmenter._CHECK_EVERY", 4)
    given = engine(chatml())
    for _ in range(3):
        given.segment(turns("q", "a"))
    spoil(the_way(given, turns("q", "a")))
    for _ in range(2):  # hits 2 and 3
        assert segments(given, turns("q", "b"))[1].text == "B<|im_end|>"
    with pytest.raises(InternalError):
        given.segment(turns("q", "b"))


def test_a_plain_conversation_takes_the_way_of_its_messages_and_is_compared_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ismpack.templates.segmenter._CHECK_EVERY", 4)
    given = engine(chatml())
    asked = PlainConversation(("user", "assistant"), ["q", "b"], "messages")
    for _ in range(3):
        assert segments(given, turns("q", "b")) == list(given.segment(asked).samples[0])
    assert given.counts == {"known": 4, "traced": 2, "reference": 0}
    spoil(the_way(given, turns("q", "b")))
    for _ in range(3):  # hits 5 to 7
        assert given.segment(asked).samples[0][1].text == "B<|im_end|>"
    with pytest.raises(InternalError):
        given.segment(asked)


def test_a_template_that_reads_parts_knows_no_way_of_plain_roles() -> None:
    given = engine(chatml("m.content[0].text"))
    asked = PlainConversation(("user", "assistant"), ["q", "b"], "messages")
    assert given.dialect.text_roles.isdisjoint(asked.roles)
    for _ in range(3):
        assert [part.text for part in given.segment(asked).samples[0]] == [asks("q").text, "b<|im_end|>"]
    assert given.counts == {"known": 1, "traced": 2, "reference": 0}


def test_a_way_that_is_right_passes_every_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ismpack.templates.segmenter._CHECK_EVERY", 1)
    given = engine(chatml("m.content | trim"))
    for text in ("a", " b ", "c\n", "", "d"):
        found = segments(given, turns("q", text, "r", "e"))
        assert found[1].text == f"{text.strip()}<|im_end|>"
    assert given.counts == {"known": 3, "traced": 2, "reference": 0}


def test_a_comparison_sees_a_wrong_answer_of_a_rewritten_history() -> None:
    # Only the last answer is printed in full, so the stream is stitched from several renders.
    source = chatml("(m.content if loop.last or m.role == 'user' else m.content | upper)")
    given = engine(source)
    for text in ("a", "b"):
        found = given.segment(turns("q", text, "r", "c"))
        assert [part.text for part in found.samples[0] if part.is_answer] == [f"{text}<|im_end|>", "c<|im_end|>"]
        assert found.warnings == ("history-rewritten",)
    spoil(the_way(given, turns("q", "a", "r", "c")))
    with pytest.raises(InternalError):
        given.segment(turns("q", "a", "r", "c"))


def test_a_trace_that_contradicts_the_template_is_left_to_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    given = engine(chatml("m.content.upper()"))
    monkeypatch.setattr(Traced, "upper", Traced.lower)
    for text in ("a", "b", "c"):
        found = given.segment(turns("q", text))
        assert found == segment(turns("q", text), given.template, given.dialect, given.rules)
        assert found.samples[0][1].text == f"{text.upper()}<|im_end|>"
    assert given.counts == {"known": 0, "traced": 0, "reference": 3}
    assert given.lost == {"the traced text differs from the plain one": 3}


LOSES = "m.content.zfill(3)"


def test_lost_provenance_is_left_to_the_reference() -> None:
    given = engine(chatml(LOSES))
    for text in ("1234", "12345", "123456"):
        conversation = turns("1234", text)
        assert given.segment(conversation) == segment(conversation, given.template, given.dialect, given.rules)
    assert given.counts == {"known": 0, "traced": 0, "reference": 3}
    assert given.lost == {"the string method zfill": 3}


def test_control_strings_are_refused_with_the_reason_where_provenance_is_lost() -> None:
    given = engine(chatml(LOSES))
    with pytest.raises(RecordError) as caught:
        given.segment(turns("1<|im_end|>", "1234"))
    assert caught.value.code == "special-token-in-data"
    assert caught.value.message == (
        "the data holds '<|im_end|>', the text of a control token, and the chat template does something with the data "
        "that cannot be followed (the string method zfill), so the two cannot be told apart"
    )
    assert caught.value.hint == "Use a template that prints the data as it is, or change the data."
    assert given.counts == {"known": 0, "traced": 0, "reference": 1}


def test_control_strings_are_text_where_data_is_followed() -> None:
    given = engine(chatml())
    for _ in range(3):
        found = given.segment(turns("1<|im_end|>", "<|im_start|>"))
        assert list(found.samples[0]) == [asks("1<|im_end|>"), answer(0, ("<|im_start|>", W), ("<|im_end|>", T))]
        assert found.warnings == ("control-string-in-data",)
    assert given.segment(turns("1", "2")).warnings == ()


@pytest.mark.parametrize("body", ["m.content", LOSES])
def test_control_strings_are_refused_on_request_whatever_step_decides(body: str) -> None:
    given = engine(chatml(body), special_tokens_in_data="reject")
    for text in ("1234", "1234", "1234", "<|im_end|>", "<|im_end|>"):
        if text == "1234":
            given.segment(turns("1234", text))
            continue
        with pytest.raises(RecordError) as caught:
            given.segment(turns("1234", text))
        assert (caught.value.code, caught.value.message) == (
            "special-token-in-data",
            "the data holds '<|im_end|>', the text of a control token",
        )


def test_a_template_that_cannot_be_traced_at_all_is_left_to_the_reference() -> None:
    given = engine(chatml("('e' if 'e' in m.content != 'e' else '') + m.content"))
    assert segments(given, turns("e", "he"))[1] == answer(0, ("ehe<|im_end|>", T))
    with pytest.raises(RecordError, match="its code cannot be traced"):
        given.segment(turns("<|im_end|>", "he"))
    assert given.counts == {"known": 0, "traced": 0, "reference": 2}


def test_a_refusal_of_the_template_is_the_references() -> None:
    given = engine(
        "{% if messages[0].content == 'no' %}{{ raise_exception('not ' ~ messages[0].content) }}{% endif %}" + chatml()
    )
    for _ in range(3):
        with pytest.raises(RecordError) as caught:
            given.segment(turns("no", "a"))
        assert (caught.value.code, caught.value.message) == (
            "template-error",
            "the chat template refuses this conversation: not no",
        )
    assert segments(given, turns("q", "a")) == [asks("q"), answer(0, ("a", W), ("<|im_end|>", T))]


def test_an_answer_that_becomes_empty_is_refused_on_a_known_way_too() -> None:
    source = r"{% for m in messages %}{{ '\n' + m.role + ':' + m.content }}{% endfor %}{{ '\nassistant:' if add_generation_prompt }}"
    given = engine(source, allow_unterminated=True)
    for text in ("a", "b", "c"):
        assert segments(given, turns("q", text))[1] == answer(0, (text, W))
    with pytest.raises(RecordError) as caught:
        given.segment(turns("q", ""))
    assert caught.value.code == "empty-answer"


def test_a_position_that_other_data_does_not_have_is_no_crash() -> None:
    for body in ("index", "rindex"):
        given = engine(chatml(f"m.content[m.content.{body}('x'):]"))
        for text in ("x1", "x2", "x3"):
            assert segments(given, turns("x", text))[1].text == f"{text}<|im_end|>"
        with pytest.raises(RecordError) as caught:
            given.segment(turns("x", "y"))
        assert caught.value.message == "the chat template refuses this conversation: substring not found"


def test_a_question_about_very_many_pieces_of_data_is_no_crash() -> None:
    plain = engine(chatml("(m.content | map(attribute='text') | join | trim)"))
    dialect = Dialect(text_roles=frozenset(), part_roles=frozenset(["user", "assistant"]), text_arguments=False)
    given = Segmenter(plain.template, dialect, plain.rules)
    for _ in range(3):
        found = segments(given, chat(user(("q",) * 4000), assistant(("a",) * 4000)))
        assert found[1].text == "a" * 4000 + "<|im_end|>"
    given = engine(chatml("((m.content | map(attribute='text') | join) or 'none')"))
    given = Segmenter(given.template, dialect, given.rules)
    for _ in range(3):
        found = segments(given, chat(user(("q",) * 4000), assistant(("a",) * 4000)))
        assert found[1].text == "a" * 4000 + "<|im_end|>"


def test_names_that_are_joined_one_by_one_stay_data() -> None:
    given = engine(chatml("m.content + ','.join([m.name] | map('trim') if m.name is defined else [])"))
    for name in ("Ann", "Bob", "Cy", "<|im_end|>"):
        message = Message(role="user", content="q", name=name)
        found = given.segment(chat(message, assistant("a")))
        assert "".join(p.text for p in found.samples[0][0].pieces) == (
            f"<|im_start|>user\nq{name}<|im_end|>\n<|im_start|>assistant\n"
        )
        assert Piece("<|im_end|>\n", USER, T) in found.samples[0][0].pieces
        assert [p.text for p in found.samples[0][0].pieces if p.origin is D] == ["q", name]


def with_extra(**keys: Json) -> Conversation:
    return chat(Message(role="user", content="q", extra=keys), assistant("a"))


def test_keys_of_data_are_never_taken_for_the_tracers_own_names() -> None:
    given = engine(chatml("('' if m.x is not defined else 'yes ' if m.x.value else 'no ') + m.content"))
    values: list[Json] = [True, True, True, False, "", "x", {}, [0], None]
    for value in values:
        said = "yes " if value else "no "
        found = segments(given, with_extra(x={"value": value}))
        assert found[0].text == f"<|im_start|>user\n{said}q<|im_end|>\n<|im_start|>assistant\n"


# ------------------------------------------------------------------------------------------------------ bounded memory

MANY = [
    turns(*(f"{word}{i}" for i in range(2 * count))) for count in (1, 2, 3, 1, 2, 3) for word in ("x", " y ", "<z>", "")
]
BRANCHES = "('' if not m.content else m.content.strip() if m.content.startswith(' ') else m.content[1:] ~ m.content[0])"


def results(given: Segmenter) -> list[tuple[Sequence[Segment], ...]]:
    return [tuple(tuple(sample) for sample in given.segment(conversation).samples) for conversation in MANY * 2]


def test_a_small_table_of_ways_gives_the_same_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    large = engine(chatml(BRANCHES))
    expected = results(large)
    assert large.counts["known"] > 24
    monkeypatch.setattr("ismpack.templates.segmenter._WAYS", 2)
    small = engine(chatml(BRANCHES))
    assert results(small) == expected
    assert small._ways._count <= 32  # one way and its questions more
    assert small.counts["known"] < large.counts["known"]
    assert small.counts["reference"] == 0


def test_a_small_table_of_renders_gives_the_same_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = results(engine(chatml(BRANCHES)))
    monkeypatch.setattr("ismpack.templates.traced_renders._RENDERS", 3)
    small = engine(chatml(BRANCHES))
    assert results(small) == expected
    assert small._tracer is not None
    assert small._tracer.known._count <= 32  # one render and its questions more
    assert small.counts["reference"] == 0


def test_an_alphabet_that_fills_up_starts_anew_and_forgets_all_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = results(engine(chatml(BRANCHES)))
    monkeypatch.setattr("ismpack.templates.symbols.CAPACITY", 16)
    small = engine(chatml(BRANCHES))
    first = small._tracer
    assert results(small) == expected
    assert small._tracer is not first
    assert small._tracer is not None
    assert len(small._tracer.alphabet) < 24
    assert small.counts["reference"] == 0
    assert small.counts["known"] > 0


def test_compiled_expressions_are_bounded() -> None:
    for number in range(5):
        compiled_guard(("eq", about(0), (f"bounded {number}",)))
    size = compiled_guard.cache_info().maxsize
    assert size is not None
    assert size <= 1 << 16


# --------------------------------------------------------------------------------------------- known ways stay known


VARIED: dict[str, tuple[str, list[Conversation]]] = {
    "system": (chatml(), [chat(system(text), user("q"), assistant("a")) for text in ("s", "", "\n", "<|im_end|>")]),
    "stripped": (chatml("m.content | trim"), [turns(text, text + "a") for text in ("q", " ", "", "\tq\n", "<|im_end|> ")]),
    "tools": (
        chatml("m.content ~ (m.tool_calls | tojson if m.tool_calls else '') ~ (m.name or '')"),
        [
            chat(user(town), assistant("", calls=(call(town),)), result(town), assistant(f"It is {town}."))
            for town in ("Oslo", '"', "", "<|im_end|>")
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("title", VARIED)
def test_conversations_of_one_shape_need_no_more_than_two_traces(title: str) -> None:
    source, conversations = VARIED[title]
    given = engine(source)
    for conversation in conversations:
        found = given.segment(conversation)
        full = given.template.render(template_messages(conversation, given.dialect))
        assert full.startswith("".join(part.text for part in found.samples[0]))
    assert given.counts == {"known": len(conversations) - 2, "traced": 2, "reference": 0}


def test_a_short_chat_of_roles_and_texts_is_kept_at_its_first_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ismpack.templates.outline._SHORT", 4)
    given = engine(chatml())
    for texts, counts in (
        (("q", "a"), (0, 1)),
        (("r", "b"), (1, 1)),
        (("q", "a") * 3, (1, 2)),
        (("q", "a") * 3, (1, 3)),
    ):
        given.segment(turns(*texts))
        assert (given.counts["known"], given.counts["traced"]) == counts
