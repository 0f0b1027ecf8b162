"""The masks against the sentence of the paper, written as three loops."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ismpack import masks

BoolMatrix = npt.NDArray[np.bool_]
Row = tuple[list[int], list[int], list[int]]

# Two conversations. The first has two turns (user "u u", answer "a a"; user "u", answer "a"), the second one turn.
TYPES = [1, 1, 2, 2, 1, 2, 3, 1, 2]
TURNS = [0, 0, 0, 0, 1, 1, 2, 2, 2]
LENGTHS = [6, 3]


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """(segment_type_ids, turn_ids, seq_lengths) of a valid row: queries of mixed types, empty later queries too."""
    types: list[int] = []
    turns: list[int] = []
    lengths: list[int] = []
    turn = 0
    for _ in range(draw(st.integers(1, 3))):
        start = len(types)
        for n in range(draw(st.integers(1, 3))):
            query = draw(st.lists(st.sampled_from([1, 3, 5, 7]), min_size=1 if n == 0 else 0, max_size=4))
            answer = [2] * draw(st.integers(1, 3))
            types += query + answer
            turns += [turn] * (len(query) + len(answer))
            turn += 1
        lengths.append(len(types) - start)
    return types, turns, lengths


def by_hand(row: Row, kind: str) -> BoolMatrix:
    """The mask by its definition, one pair of tokens at a time."""
    types, turns, lengths = row
    document = [d for d, length in enumerate(lengths) for _ in range(length)]
    mask = np.zeros((len(types), len(types)), np.bool_)
    for i in range(len(types)):
        for j in range(len(types)):
            if document[i] == document[j]:
                mask[i, j] = j <= i or share_block(types, turns, document, i, j, kind)
    return mask


def share_block(types: list[int], turns: list[int], document: list[int], i: int, j: int, kind: str) -> bool:
    """Whether two tokens of one document, i before j, are in one block."""
    if kind == "ism":
        return turns[i] == turns[j] and types[i] != 2 and types[j] != 2
    if kind == "mas":
        between = range(i, j + 1)
        return types[i] in (1, 3) and all(types[k] == types[i] and turns[k] == turns[i] for k in between)
    if kind == "prefix":
        last = max(k for k in range(len(types)) if document[k] == document[i])
        return not any(turns[k] == turns[last] and types[k] == 2 for k in (i, j))
    return False


def from_intervals(row: Row, kind: masks.MaskKind) -> tuple[BoolMatrix, BoolMatrix]:
    """The mask twice: from the row intervals and from the column intervals."""
    lo, hi, top, bot = masks.intervals(*row, kind=kind)
    token = np.arange(len(lo))
    by_row = (token >= lo[:, None]) & (token < hi[:, None])
    by_column = (token[:, None] >= top) & (token[:, None] < bot)
    return by_row, by_column


def from_segments(row: Row, kind: masks.MaskKind) -> BoolMatrix:
    q_ranges, k_ranges, causal = masks.segments(*row, kind=kind)
    mask = np.zeros((len(row[0]), len(row[0])), np.bool_)
    for (q0, q1), (k0, k1), is_causal in zip(q_ranges, k_ranges, causal, strict=True):
        for q in range(q0, q1):
            mask[q, k0 : k1 - (q1 - 1 - q) if is_causal else k1] = True
    return mask


@settings(max_examples=500, deadline=None)
@given(row=rows())
def test_every_form_of_the_ism_mask_equals_its_definition(row: Row) -> None:
    assert_every_form_equals_the_definition(row, "ism")


@pytest.mark.parametrize("kind", ["causal", "mas", "prefix"])
@settings(max_examples=150, deadline=None)
@given(row=rows())
def test_every_form_of_the_other_masks_equals_their_definition(kind: masks.MaskKind, row: Row) -> None:
    assert_every_form_equals_the_definition(row, kind)


def assert_every_form_equals_the_definition(row: Row, kind: masks.MaskKind) -> None:
    expected = by_hand(row, kind)
    by_row, by_column = from_intervals(row, kind)
    assert np.array_equal(masks.dense(*row, kind=kind), expected)
    assert np.array_equal(by_row, expected)
    assert np.array_equal(by_column, expected)
    assert np.array_equal(from_segments(row, kind), expected)


@pytest.mark.parametrize("kind", ["ism", "mas", "causal"])
@settings(max_examples=100, deadline=None)
@given(row=rows())
def test_no_answer_token_is_seen_by_the_token_that_predicts_it(kind: masks.MaskKind, row: Row) -> None:
    hi = masks.intervals(*row, kind=kind).hi
    targets = np.flatnonzero(np.array(row[0]) == 2)
    assert (hi[targets - 1] <= targets).all()


def test_prefix_leaks_every_answer_but_the_last() -> None:
    hi = masks.intervals(TYPES, TURNS, LENGTHS, "prefix").hi
    assert [t for t in (2, 3, 5, 8) if hi[t - 1] > t] == [2, 3]


def drawn(mask: BoolMatrix) -> list[str]:
    return ["".join("#" if seen else "." for seen in line) for line in mask]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("ism", """
            ##.......
            ##.......
            ###......
            ####.....
            #####....
            ######...
            ......##.
            ......##.
            ......###"""),
        ("causal", """
            #........
            ##.......
            ###......
            ####.....
            #####....
            ######...
            ......#..
            ......##.
            ......###"""),
        ("mas", """
            ##.......
            ##.......
            ###......
            ####.....
            #####....
            ######...
            ......#..
            ......##.
            ......###"""),
        ("prefix", """
            #####....
            #####....
            #####....
            #####....
            #####....
            ######...
            ......##.
            ......##.
            ......###"""),
    ],
)  # fmt: skip
def test_dense_draws_the_picture_of_the_documentation(kind: masks.MaskKind, expected: str) -> None:
    assert drawn(masks.dense(TYPES, TURNS, LENGTHS, kind)) == expected.split()


def test_intervals_of_a_row_worked_by_hand() -> None:
    lo, hi, top, bot = masks.intervals(TYPES, TURNS, LENGTHS)
    assert lo.tolist() == [0, 0, 0, 0, 0, 0, 6, 6, 6]
    assert hi.tolist() == [2, 2, 3, 4, 5, 6, 8, 8, 9]
    assert top.tolist() == [0, 0, 2, 3, 4, 5, 6, 6, 8]
    assert bot.tolist() == [6, 6, 6, 6, 6, 6, 9, 9, 9]
    assert [v.dtype.name for v in (lo, hi, top, bot)] == ["int32"] * 4


def test_segments_of_a_row_worked_by_hand() -> None:
    q_ranges, k_ranges, causal = masks.segments(TYPES, TURNS, LENGTHS)
    assert q_ranges.tolist() == [[0, 2], [2, 4], [4, 5], [5, 6], [6, 8], [8, 9]]
    assert k_ranges.tolist() == [[0, 2], [0, 4], [0, 5], [0, 6], [6, 8], [6, 9]]
    assert causal.tolist() == [False, True, False, True, False, True]
    assert [v.dtype.name for v in (q_ranges, k_ranges, causal)] == ["int32", "int32", "bool"]


def test_causal_has_one_segment_per_document() -> None:
    q_ranges, k_ranges, causal = masks.segments(TYPES, TURNS, LENGTHS, "causal")
    assert q_ranges.tolist() == [[0, 6], [6, 9]]
    assert k_ranges.tolist() == [[0, 6], [6, 9]]
    assert causal.tolist() == [True, True]


def test_an_answer_right_after_an_answer_stays_causal() -> None:
    q_ranges, _, causal = masks.segments([1, 2, 2, 2], [0, 0, 1, 1], [4])
    assert q_ranges.tolist() == [[0, 1], [1, 4]]
    assert causal.tolist() == [False, True]


def test_mas_keeps_two_user_messages_apart_when_a_tool_result_stands_between() -> None:
    mask = masks.dense([1, 1, 5, 1, 1, 2], [0] * 6, [6], "mas")
    assert drawn(mask) == ["##....", "##....", "###...", "#####.", "#####.", "######"]


def test_an_empty_row_has_an_empty_mask() -> None:
    assert masks.dense([], [], []).shape == (0, 0)
    assert [v.shape for v in masks.intervals([], [], [])] == [(0,)] * 4
    assert [v.shape for v in masks.segments([], [], [])] == [(0, 2), (0, 2), (0,)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (([1, 2], [0], [2]), "segment_type_ids has 2 elements and turn_ids 1; they must be equal"),
        (([1, 2, 0], [0, 0, 0], [2]), "seq_lengths sum to 2, but the row has 3 tokens; rows are unpadded"),
        (([1, 2], [0, 0], [2, 0]), "seq_lengths must be 1 or more, got 0"),
        (([1, 2], [-1, -1], [2]), "turn_ids must be 0 or more, got -1"),
        (([1.0, 2.0], [0, 0], [2]), "segment_type_ids must be one-dimensional and hold integers, got float64[2]"),
        (([[1, 2]], [0, 0], [2]), "segment_type_ids must be one-dimensional and hold integers, got int64[1, 2]"),
        (([1, 2, 1], [0, 0, 0], [3]), "token 2 of the row breaks the order of turns"),
        (([1, 2, 2], [1, 1, 0], [3]), "token 2 of the row breaks the order of turns"),
    ],
)
def test_columns_that_do_not_fit_are_refused(row: tuple[object, object, object], message: str) -> None:
    for function in (masks.dense, masks.intervals, masks.segments):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            function(*row)  # type: ignore[arg-type]  # wrong on purpose


def test_turns_may_start_anew_in_a_new_document() -> None:
    assert masks.intervals([1, 2, 1, 2], [3, 3, 0, 0], [2, 2]).hi.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("casual", "unknown mask kind 'casual'; did you mean 'causal'?"),
        ("?", "unknown mask kind '?'; choose one of ism, causal, mas, prefix"),
    ],
)
def test_an_unknown_kind_names_the_nearest(kind: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        masks.dense(TYPES, TURNS, LENGTHS, kind)  # type: ignore[arg-type]  # wrong on purpose


def test_masks_import_nothing_but_numpy() -> None:
    code = "import sys, numpy; before = set(sys.modules); import ismpack.masks; print(*(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    foreign = {name for name in loaded if name.split(".")[0] not in {"numpy", *sys.stdlib_module_names}}
    assert foreign == {"ismpack", *(f"ismpack.masks{end}" for end in ("", ".compact", ".definition", ".kinds"))}
