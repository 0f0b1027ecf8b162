"""What `inspect` shows: exact pages for small rows, and rules that hold for any row whatever its text."""

from __future__ import annotations

import itertools
import json
import re
import tracemalloc
import unicodedata
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ismpack import masks
from ismpack.data import Conversation, Message, Pack, ToolCall
from ismpack.view import (
    ConversationView,
    PackView,
    Screen,
    conversation_facts,
    facts,
    mask_facts,
    render_conversation,
    render_mask,
    render_tokens,
)
from ismpack.view.characters import ASCII, UNICODE, Marks, control_units, token_units
from ismpack.view.mask import shade_levels

Token = tuple[str, int, int, int]  # text (control if in brackets), segment type, turn, loss
SGR = re.compile(r"\x1b\[[\d;]*m")

PLAIN = Screen(width=80)


def view_of(*documents: list[Token], sources: list[str] | None = None, title: str = "out, row 7") -> PackView:
    tokens = [token for document in documents for token in document]
    texts = [text for text, *_ in tokens]
    columns = np.array([rest for _, *rest in tokens], np.int32).reshape(-1, 3).T
    return PackView(
        pack=Pack(
            input_ids=np.arange(len(tokens), dtype=np.int32) + 100,
            segment_type_ids=columns[0].astype(np.uint8),
            turn_ids=columns[1],
            loss_mask=columns[2].astype(np.uint8),
            seq_lengths=np.array([len(document) for document in documents], np.int32),
            source_ids=np.arange(len(documents), dtype=np.int64),
        ),
        texts=texts,
        control=np.array([text.startswith("<|") for text in texts], np.bool_),
        sources=sources or [f"chat.jsonl:{k + 1}" for k in range(len(documents))],
        title=title,
    )


CAPITAL: list[Token] = [
    ("<|sys|>", 3, 0, 0),
    ("Be", 3, 0, 0),
    (" brief", 3, 0, 0),
    (".\n", 3, 0, 0),
    ("<|user|>", 1, 0, 0),
    ("Cap", 1, 0, 0),
    ("ital", 1, 0, 0),
    (" of", 1, 0, 0),
    (" 法国", 1, 0, 0),
    ("?", 1, 0, 0),
    ("<|bot|>", 7, 0, 0),
    ("Paris", 2, 0, 1),
    ("!", 2, 0, 1),
    ("<|end|>", 2, 0, 1),
    ("\n", 1, 1, 0),
    ("Thanks", 1, 1, 0),
    ("<|bot|>", 7, 1, 0),
    (":)", 2, 1, 0),
]
TOOL: list[Token] = [("ls", 1, 2, 0), ("\x1b[2J", 5, 2, 0), ("a\tb", 2, 2, 1)]


def test_a_row_reads_as_labelled_spans() -> None:
    assert render_tokens(view_of(CAPITAL, TOOL), PLAIN).splitlines() == [
        "out, row 7",
        "2 documents   21 tokens   3 turns   4 targets (19%)",
        "",
        "▌ trained   │ new token, as at a space   ⟦x⟧ control token   ↵ newline   ⇥ tab",
        r"\ escape of what cannot be shown",
        "",
        "document 0   chat.jsonl:1   18 tokens   2 turns   3 targets (17%)",
        "turn type    tokens loss",
        "   0 system       4    0   ⟦<|sys|>⟧Be brief│.↵",
        "   0 user         6    0   ⟦<|user|>⟧Cap│ital of 法国│?",
        "   0 prompt       1    0   ⟦<|bot|>⟧",
        "   0 answer       3    3 ▌ Paris│!⟦<|end|>⟧",
        "   1 user         2    0   ↵│Thanks",
        "   1 prompt       1    0   ⟦<|bot|>⟧",
        "   1 answer       1    0   :)",
        "",
        "document 1   chat.jsonl:2   3 tokens   1 turn   1 target (33%)",
        "turn type    tokens loss",
        "   2 user         1    0   ls",
        r"   2 tool         1    0   \x1b[2J",
        "   2 answer       1    1 ▌ a⇥b",
    ]


def test_a_narrow_screen_has_labels_above_the_text() -> None:
    assert render_tokens(view_of(CAPITAL[4:14]), Screen(width=24)).splitlines() == [
        "out, row 7",
        "",
        "▌ trained",
        "│ new token, as at a",
        "space",
        "⟦x⟧ control token",
        "",
        "document 0",
        "chat.jsonl:1   10 tokens",
        "1 turn   3 targets (30%)",
        "turn 0 user, 6 tokens,",
        "loss 0",
        "  ⟦<|user|>⟧Cap│ital of",
        "   法国│?",
        "turn 0 prompt, 1 token,",
        "loss 0",
        "  ⟦<|bot|>⟧",
        "turn 0 answer, 3 tokens,",
        "loss 3",
        "▌ Paris│!⟦<|end|>⟧",
    ]


def test_ascii_shows_other_characters_as_escapes() -> None:
    lines = render_tokens(view_of(CAPITAL[4:14]), Screen(ascii=True)).splitlines()
    assert r"   0 user         6    0   ^<|user|>^Cap|ital of \u6cd5\u56fd|?" in lines
    assert "   0 answer       3    3 # Paris|!^<|end|>^" in lines


def test_a_document_taken_from_a_row_keeps_its_number() -> None:
    view = view_of(TOOL)
    view = PackView(
        pack=view.pack, texts=view.texts, control=view.control, sources=view.sources, title="x", first_document=5
    )
    assert "document 5   chat.jsonl:1   3 tokens   1 turn   1 target (33%)" in render_tokens(view, PLAIN)


def test_a_token_wider_than_a_line_says_that_it_goes_on() -> None:
    lines = render_tokens(view_of([("-" * 30, 1, 0, 0), ("a", 2, 0, 1)]), Screen(width=20)).splitlines()
    start = lines.index("  " + "-" * 18)
    assert lines[start + 1] == "  ↪" + "-" * 12


def test_the_rest_of_a_character_has_a_mark() -> None:
    text = render_tokens(view_of([("😀", 1, 0, 0), ("", 1, 0, 0), ("a", 2, 0, 1)]), PLAIN)
    assert "   0 user         2    0   😀│▫" in text
    assert "▫ rest of the character before" in text


def test_answers_with_and_without_loss_are_told_apart() -> None:
    lines = render_tokens(view_of([("q", 1, 0, 0), ("a", 2, 0, 0), ("b", 2, 0, 1)]), PLAIN).splitlines()
    assert lines[-2:] == ["   0 answer       1    0   a", "   0 answer       1    1 ▌ b"]


def test_color_underlines_exactly_the_trained_tokens() -> None:
    colored = render_tokens(view_of(CAPITAL), Screen(color=True))
    underlined = re.findall(r"\x1b\[(?:\d+;)*4m(.*?)\x1b\[0m", colored)
    assert underlined == ["Paris", "!", "⟦<|end|>⟧"]


def test_color_only_adds_styles_and_takes_the_edges() -> None:
    screen = Screen(color=True)
    body = SGR.sub("", render_tokens(view_of(CAPITAL), screen)).splitlines()
    assert "   0 user         6    0   ⟦<|user|>⟧Capital of 法国?" in body
    assert "   0 answer       3    3 ▌ Paris!⟦<|end|>⟧" in body


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" a b", " a·b"),
        (" ", " "),
        ("   ", "···"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\u202e\u200b\ufe0f\xa0", r"\u202e\u200b\ufe0f\u00a0"),
        ("\udce4", r"\xe4"),
        ("\U000e0041", r"\U000e0041"),
        (r"\frac", r"\frac"),
        (r"\x1b", r"\\x1b"),
        ("\\ a", r"\\·a"),
        ("\\\x1b", r"\\\x1b"),
        ("a│b", r"a\│b"),
        ("\u0301a\u0301", "◌\u0301a\u0301"),
        ("\r\n", r"\x0d↵"),
    ],
)
def test_each_character_is_visible_and_harmless(text: str, shown: str) -> None:
    assert "".join(token_units(text, UNICODE)) == shown


def test_a_control_token_escapes_only_its_own_marks() -> None:
    assert "".join(control_units("<|a b⟧|>", UNICODE)) == r"⟦<|a b\⟧|>⟧"


TRICKY = [
    "\\",
    "x1b",
    "u00e9",
    "n",
    "+",
    "a",
    "\x1b",
    "\n",
    " ",
    "│",
    "·",
    "|",
    "~",
    "◌",
    "\u0301",
    "é",
    "\ufe0f",
    "\udce1",
]


@pytest.mark.parametrize("marks", [UNICODE, ASCII, Screen(color=True).marks])
def test_different_texts_never_look_the_same(marks: Marks) -> None:
    texts = {"".join(parts) for length in range(4) for parts in itertools.product(TRICKY, repeat=length)}
    assert len({"".join(token_units(text, marks)) for text in texts}) == len(texts)


@st.composite
def views(draw: st.DrawFn) -> PackView:
    """A valid row with any text at all in its tokens, file names and title."""
    anything = st.text(st.characters(), max_size=12)
    documents: list[list[Token]] = []
    turn = 0
    for _ in range(draw(st.integers(1, 3))):
        document: list[Token] = []
        for _ in range(draw(st.integers(1, 3))):
            query = draw(st.lists(st.tuples(anything, st.sampled_from([1, 3, 5, 7])), min_size=1, max_size=5))
            answer = draw(st.lists(anything, min_size=1, max_size=5))
            loss = draw(st.integers(0, 1))
            document += [(text, kind, turn, 0) for text, kind in query] + [(text, 2, turn, loss) for text in answer]
            turn += 1
        documents.append(document)
    sources = draw(st.lists(anything, min_size=len(documents), max_size=len(documents)))
    return view_of(*documents, sources=sources, title=draw(anything))


SCREENS = st.builds(Screen, width=st.integers(20, 100), color=st.booleans(), ascii=st.booleans())


def columns_of(line: str) -> int:
    """Columns of a line in a terminal: wide characters two, combining marks none."""
    wide = sum(unicodedata.east_asian_width(char) in ("W", "F") for char in line)
    return len(line) + wide - sum(unicodedata.category(char) in ("Mn", "Me") for char in line)


def check_page(page: str, screen: Screen) -> None:
    assert page.endswith("\n")
    plain = SGR.sub("", page) if screen.color else page
    for line in plain.removesuffix("\n").split("\n"):
        assert columns_of(line) <= screen.width
        assert line.isprintable()
        assert line.isascii() or not screen.ascii


@given(views(), SCREENS)
def test_no_text_breaks_out_of_the_page(view: PackView, screen: Screen) -> None:
    check_page(render_tokens(view, screen), screen)
    check_page(render_mask(view.pack, screen), screen)


@given(views(), SCREENS, st.text(st.characters(), max_size=40))
def test_no_record_breaks_out_of_the_page(view: PackView, screen: Screen, text: str) -> None:
    call = ToolCall(name=text, arguments={"a": text})
    message = Message(role="assistant", content=text, reasoning=text, name=text, loss=True, tool_calls=(call,))
    record = ConversationView(
        source=text,
        format_name="messages",
        conversation=Conversation(messages=(message, Message(role="user", content=(text, text)))),
        warnings=[text],
        view=view,
    )
    check_page(render_conversation(record, screen), screen)
    assert json.loads(json.dumps(conversation_facts(record)))["warnings"] == [text]


@given(views())
def test_a_page_shows_every_token_once(view: PackView) -> None:
    """Without escapes, marks and labels the stream is the texts; compared by their ASCII letters and digits."""
    streams = render_tokens(view, Screen(width=100)).split("turn type    tokens loss\n")[1:]
    shown = "\n".join(line[27:] for stream in streams for line in stream.split("\n\ndocument")[0].split("\n"))
    hexadecimal = "[0-9a-f]"
    escapes = rf"\\(x{hexadecimal}{{2}}|u{hexadecimal}{{4}}|U{hexadecimal}{{8}})"
    assert letters(re.sub(escapes, "", shown.replace(r"\\", ""))) == letters("".join(view.texts))


def letters(text: str) -> str:
    return "".join(char for char in text if char.isalnum() and char.isascii())


def test_a_small_mask_has_one_line_per_token() -> None:
    view = view_of(
        [("q", 3, 0, 0), ("r", 1, 0, 0), ("a", 2, 0, 1), ("s", 1, 1, 0), ("t", 7, 1, 0), ("b", 2, 1, 1)],
        [("u", 1, 2, 0), ("c", 2, 2, 1)],
    )
    assert render_mask(view.pack, PLAIN).splitlines() == [
        "ism mask: each query is one block; answers are causal",
        "8 tokens   2 documents   26 visible pairs, 1.08 x causal",
        "row attends   column is attended to   1 line = 2 columns = 1 token   █ visible",
        "d document   U user, A answer, S system, P prompt   number: turn",
        "▌ holds targets",
        "",
        "         ┌d0──────────d1──┐",
        "d0  S0   │████            │",
        "    U0   │████            │",
        "    A0  ▌│██████          │",
        "    U1   │██████████      │",
        "    P1   │██████████      │",
        "    A1  ▌│████████████    │",
        "d1  U2   ├            ██  │",
        "    A2  ▌│            ████│",
        "         └────────────────┘",
    ]


def test_a_large_mask_is_scaled_down() -> None:
    view = view_of(
        [("q", 1, 0, 0)] * 16 + [("a", 2, 0, 1)] * 16,
        [("q", 1, 1, 0)] * 8 + [("a", 2, 1, 1)] * 8,
    )
    lines = render_mask(view.pack, Screen(width=24, ascii=True)).splitlines()
    assert "1 line = 2 columns = 8" in lines
    assert lines[-8:] == [
        "         +d0------d1--+",
        "d0  U0   |####        |",
        "         |####        |",
        "    A0  #|####*.      |",
        "        #|######*.    |",
        "d1  U1   +        ##  |",
        "    A1  #|        ##*.|",
        "         +------------+",
    ]


@settings(max_examples=60)
@given(views(), st.integers(1, 9), st.sampled_from(sorted(masks.KINDS)))
def test_shades_are_shares_of_the_dense_mask(view: PackView, lines: int, kind: masks.MaskKind) -> None:
    pack = view.pack
    columns = (pack.segment_type_ids, pack.turn_ids, pack.seq_lengths)
    lines = min(lines, len(pack))
    edges = np.arange(lines + 1) * len(pack) // lines
    lo, hi, _, _ = masks.intervals(*columns, kind)
    levels = shade_levels(lo, hi, edges)
    fine = np.repeat(masks.dense(*columns, kind), 2 * lines, axis=1)  # each token 2R wide, so that blocks cut no cell
    for line in range(lines):
        for column in range(2 * lines):
            block = fine[edges[line] : edges[line + 1], column * len(pack) : (column + 1) * len(pack)]
            share = Fraction(int(block.sum()), block.size)
            assert levels[line, column] == (0 if share == 0 else 4 if share == 1 else 1 + int(3 * share))


def test_a_long_row_needs_no_matrix() -> None:
    types = np.tile(np.repeat(np.array([1, 2], np.uint8), 512), 32)
    turns: npt.NDArray[np.int32] = np.repeat(np.arange(32, dtype=np.int32), 1024)
    pack = Pack(
        input_ids=turns,
        segment_type_ids=types,
        turn_ids=turns,
        loss_mask=types // np.uint8(2),
        seq_lengths=np.array([32768], np.int32),
        source_ids=np.zeros(1, np.int64),
    )
    tracemalloc.start()
    page = render_mask(pack, PLAIN)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "32,768 tokens   1 document   541,073,408 visible pairs" in page
    assert peak < 20_000_000  # all pairs as bits would take 134 million bytes


def test_targets_that_a_mask_gives_away_are_counted() -> None:
    view = view_of([("q", 1, 0, 0), ("a", 2, 0, 1), ("r", 1, 1, 0), ("b", 2, 1, 1)])
    warning = "warning: 1 target visible to the token that predicts it; no loss there under this mask"
    assert warning in render_mask(view.pack, Screen(width=100), kind="prefix")
    assert "warning" not in render_mask(view.pack, PLAIN)


def test_mask_facts_count_pairs() -> None:
    pack = view_of([("q", 1, 0, 0), ("r", 1, 0, 0), ("a", 2, 0, 1)]).pack
    assert mask_facts(pack) == {
        "kind": "ism",
        "tokens": 3,
        "documents": 1,
        "visible_pairs": 7,
        "causal_pairs": 6,
        "visible_to_causal": pytest.approx(7 / 6),
    }


def test_facts_hold_every_token_once() -> None:
    view = view_of([("q", 1, 0, 0), ("\udce4", 2, 0, 1)], [("<|u|>", 1, 1, 0)])
    assert facts(view) == {
        "title": "out, row 7",
        "token_count": 3,
        "turn_count": 2,
        "target_count": 1,
        "documents": [
            {
                "document": 0,
                "source": "chat.jsonl:1",
                "token_count": 2,
                "turn_count": 1,
                "target_count": 1,
                "segments": [
                    segment("user", 0, False, [token(0, 0, "q", "user", 0)]),
                    segment("answer", 0, True, [token(1, 1, "\ufffd", "answer", 0, loss=True)]),
                ],
            },
            {
                "document": 1,
                "source": "chat.jsonl:2",
                "token_count": 1,
                "turn_count": 1,
                "target_count": 0,
                "segments": [segment("user", 1, False, [token(2, 0, "<|u|>", "user", 1, control=True)])],
            },
        ],
    }


def test_columns_that_do_not_belong_together_are_refused() -> None:
    view = view_of(TOOL)
    with pytest.raises(ValueError, match="seq_lengths sum to 3, but there are 3 tokens, 2 texts and 3 control flags"):
        PackView(pack=view.pack, texts=view.texts[:2], control=view.control, sources=view.sources, title="x")
    with pytest.raises(ValueError, match="1 documents, but 0 sources"):
        PackView(pack=view.pack, texts=view.texts, control=view.control, sources=[], title="x")


def segment(kind: str, turn: int, loss: bool, tokens: list[dict[str, object]]) -> dict[str, object]:
    text = "".join(str(token["text"]) for token in tokens)
    return {
        "turn": turn,
        "type": kind,
        "is_answer": kind == "answer",
        "loss": loss,
        "token_count": len(tokens),
        "text": text,
        "tokens": tokens,
    }


def token(
    index: int, position: int, text: str, kind: str, turn: int, *, control: bool = False, loss: bool = False
) -> dict[str, object]:
    return {
        "index": index,
        "position": position,
        "id": 100 + index,
        "text": text,
        "control": control,
        "turn": turn,
        "type": kind,
        "loss": loss,
    }


RECORD = ConversationView(
    source="chats.jsonl:3",
    format_name="messages",
    conversation=Conversation(
        messages=(
            Message(role="system", content="Be brief.\nAnd kind."),
            Message(role="user", content="What is the weather in Köln? " * 3),
            Message(
                role="assistant",
                content=None,
                reasoning="Ask the tool.",
                tool_calls=(ToolCall(name="weather", arguments={"city": "Köln"}),),
                loss=False,
            ),
            Message(role="tool", content="21", name="weather"),
            Message(role="assistant", content="21 °C.", loss=True),
        ),
        tools=({"type": "function"},),
    ),
    warnings=["the template does not print name"],
    view=None,
)


def test_a_record_reads_as_messages_then_warnings_then_tokens() -> None:
    assert render_conversation(RECORD, PLAIN).splitlines() == [
        "chats.jsonl:3   format messages   5 messages   1 tool",
        "",
        "   0 system             Be brief. …+10",
        "   1 user               What is the weather in Köln? What is the weather in …+36",
        "   2 assistant loss off reasoning: Ask the tool.",
        '                        calls weather {"city": "Köln"}',
        "   3 tool               name: weather",
        "                        21",
        "   4 assistant loss on  21 °C.",
        "",
        "warning: the template does not print name",
    ]
    record = ConversationView(
        source=RECORD.source,
        format_name=RECORD.format_name,
        conversation=RECORD.conversation,
        warnings=[],
        view=view_of(CAPITAL),
    )
    page = render_conversation(record, PLAIN)
    assert page.endswith("21 °C.\n\n" + render_tokens(view_of(CAPITAL), PLAIN))
