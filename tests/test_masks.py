"""The masks against the sentence of the paper, written as three loops; and what else a row needs."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_rows import EXAMPLES, BoolMatrix, Row, by_hand, rows

from ismpack import masks

# Two conversations. The first has two turns (user "u u", answer "a a"; user "u", answer "a"), the second one turn.
TYPES = [1, 1, 2, 2, 1, 2, 3, 1, 2]
TURNS = [0, 0, 0, 0, 1, 1, 2, 2, 2]
LENGTHS = [6, 3]


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


@pytest.mark.parametrize("kind", masks.KINDS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(row=rows())
def test_every_form_of_a_mask_equals_its_definition(kind: masks.MaskKind, row: Row) -> None:
    assert_every_form_equals_the_definition(row, kind)


@settings(max_examples=EXAMPLES, deadline=None)
@given(row=rows())
def test_every_form_of_the_triplet_mask_equals_its_definition(row: Row) -> None:
    new = masks.triplets(*row)
    expanded = (new.segment_type_ids.tolist(), new.turn_ids.tolist(), new.seq_lengths.tolist())
    assert_every_form_equals_the_definition(expanded, "prefix")


def assert_every_form_equals_the_definition(row: Row, kind: masks.MaskKind) -> None:
    expected = by_hand(row, kind)
    by_row, by_column = from_intervals(row, kind)
    assert np.array_equal(masks.dense(*row, kind=kind), expected)
    assert np.array_equal(by_row, expected)
    assert np.array_equal(by_column, expected)
    assert np.array_equal(from_segments(row, kind), expected)


@pytest.mark.parametrize("kind", masks.KINDS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(row=rows())
def test_what_is_trainable_no_token_sees_before_it_has_predicted_it(kind: masks.MaskKind, row: Row) -> None:
    mask = masks.dense(*row, kind=kind)
    for t in np.flatnonzero(masks.trainable(*row, kind=kind)):
        assert mask[t - 1, t - 1], "the token before predicts it, from the same document"
        assert mask[t, t - 1], "it is in the same document"
        assert not mask[:t, t].any(), "nothing before it sees it"


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


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"])
@pytest.mark.parametrize("kind", masks.KINDS)
def test_any_integers_will_do(kind: masks.MaskKind, dtype: str) -> None:
    row = [np.array(column, dtype) for column in (TYPES, TURNS, LENGTHS)]
    assert np.array_equal(masks.dense(*row, kind=kind), by_hand((TYPES, TURNS, LENGTHS), kind))
    for form in (masks.intervals, masks.segments):
        expected = form(TYPES, TURNS, LENGTHS, kind)
        assert all(np.array_equal(found, right) for found, right in zip(form(*row, kind), expected, strict=True))


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
        (([1, 2], [0, 0], [2.0]), "seq_lengths must be one-dimensional and hold integers, got float64[1]"),
        (([1, 2], [-1, -1], [2]), "turn_ids must be 0 or more, got -1"),
        (([1.0, 2.0], [0, 0], [2]), "segment_type_ids must be one-dimensional and hold integers, got float64[2]"),
        (([[1, 2]], [0, 0], [2]), "segment_type_ids must be one-dimensional and hold integers, got int64[1, 2]"),
        (([1, 2, 1], [0, 0, 0], [3]), "token 2 of the row breaks the order of turns"),
        (([1, 2, 2], [1, 1, 0], [3]), "token 2 of the row breaks the order of turns"),
    ],
)
def test_columns_that_do_not_fit_are_refused(row: tuple[object, object, object], message: str) -> None:
    for function in (masks.dense, masks.intervals, masks.segments, masks.trainable, masks.triplets):
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


def test_a_document_that_begins_with_an_answer_is_causal_until_its_first_query() -> None:
    assert drawn(masks.dense([2, 1, 1, 2], [0, 1, 1, 1], [4])) == ["#...", "###.", "###.", "####"]


def test_documents_of_one_token_see_themselves_alone() -> None:
    for kind in masks.KINDS:
        assert drawn(masks.dense([1, 2, 0], [0, 1, 2], [1, 1, 1], kind)) == ["#..", ".#.", "..#"]


def test_ids_of_two_documents_worked_by_hand() -> None:
    assert masks.position_ids(LENGTHS).tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2]
    assert masks.document_ids(LENGTHS).tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1]
    assert [masks.position_ids(LENGTHS).dtype.name, masks.document_ids(LENGTHS).dtype.name] == ["int32", "int32"]
    assert [masks.position_ids([]).tolist(), masks.document_ids([]).tolist()] == [[], []]


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([3, 0], "seq_lengths must be 1 or more, got 0"),
        ([[3]], "seq_lengths must be one-dimensional and hold integers, got int64[1, 1]"),
    ],
)
def test_lengths_that_are_none_are_refused(lengths: object, message: str) -> None:
    for function in (masks.position_ids, masks.document_ids, masks.varlen_documents):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            function(lengths)  # type: ignore[arg-type]  # wrong on purpose


def test_padding_is_one_more_document() -> None:
    types = np.array(TYPES, np.uint8)
    turns = np.array(TURNS, np.int32)
    padded = masks.pad(types, turns, LENGTHS, to=11)
    assert padded.segment_type_ids.tolist() == [*TYPES, 0, 0]
    assert padded.turn_ids.tolist() == [*TURNS, 3, 3]
    assert padded.seq_lengths.tolist() == [6, 3, 2]
    assert [v.dtype.name for v in padded] == ["uint8", "int32", "int64"]


def test_a_full_row_is_not_padded_and_a_longer_one_never_cut() -> None:
    assert [v.tolist() for v in masks.pad(TYPES, TURNS, LENGTHS, to=9)] == [TYPES, TURNS, LENGTHS]
    message = "the row has 9 tokens and cannot be padded to 8; rows are never cut"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        masks.pad(TYPES, TURNS, LENGTHS, to=8)


def test_an_empty_row_can_be_padded() -> None:
    assert [v.tolist() for v in masks.pad([], [], [], to=2)] == [[0, 0], [0, 0], [2]]


@pytest.mark.parametrize("kind", masks.KINDS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(row=rows(), missing=st.integers(1, 5))
def test_padding_changes_nothing_else_and_is_causal_and_no_target(kind: masks.MaskKind, row: Row, missing: int) -> None:
    tokens = len(row[0])
    padded = masks.pad(*row, to=tokens + missing)
    mask = masks.dense(*padded, kind=kind)
    assert np.array_equal(mask[:tokens, :tokens], masks.dense(*row, kind=kind))
    assert np.array_equal(mask[tokens:, tokens:], np.tri(missing, dtype=np.bool_))
    assert not mask[:tokens, tokens:].any()
    assert not mask[tokens:, :tokens].any()
    expected = [*masks.trainable(*row, kind=kind).tolist(), *[False] * missing]
    assert masks.trainable(*padded, kind=kind).tolist() == expected


def test_trainable_tokens_worked_by_hand() -> None:
    every = [False, False, True, True, False, True, False, False, True]
    for kind in ("ism", "causal", "mas"):
        assert masks.trainable(TYPES, TURNS, LENGTHS, kind).tolist() == every
    last = [False, False, False, False, False, True, False, False, True]
    assert masks.trainable(TYPES, TURNS, LENGTHS, "prefix").tolist() == last


def test_the_first_token_of_a_document_is_never_trainable() -> None:
    assert masks.trainable([1, 2, 2, 2], [0, 0, 1, 1], [2, 2]).tolist() == [False, True, False, True]


def test_triplets_of_a_row_worked_by_hand() -> None:
    new = masks.triplets(np.array(TYPES, np.uint8), TURNS, LENGTHS)
    assert new.index.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert new.segment_type_ids.tolist() == [1, 1, 2, 2, 1, 1, 2, 2, 1, 2, 3, 1, 2]
    assert new.turn_ids.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 3]
    assert new.seq_lengths.tolist() == [4, 6, 3]
    assert np.flatnonzero(new.trainable).tolist() == [2, 3, 9, 12]
    columns = (new.index, new.segment_type_ids, new.turn_ids, new.seq_lengths, new.trainable)
    assert [v.dtype.name for v in columns] == ["int64", "uint8", "int64", "int64", "bool"]


def test_answers_of_two_documents_are_two_triplets_though_they_meet_and_share_a_turn_id() -> None:
    new = masks.triplets([1, 2, 2], [0, 0, 0], [2, 1])
    assert (new.index.tolist(), new.seq_lengths.tolist(), new.turn_ids.tolist()) == ([0, 1, 2], [2, 1], [0, 0, 1])


def test_triplets_of_a_row_without_answers_are_none() -> None:
    new = masks.triplets([1, 1, 0], [0, 0, 1], [2, 1])
    assert [len(v) for v in (new.index, new.segment_type_ids, new.turn_ids, new.seq_lengths, new.trainable)] == [0] * 5


@settings(max_examples=EXAMPLES, deadline=None)
@given(row=rows())
def test_triplets_hold_each_turn_once_with_all_before_it(row: Row) -> None:
    types, turns, lengths = row
    index: list[int] = []
    targets: list[int] = []
    expected_lengths: list[int] = []
    starts = [sum(lengths[:d]) for d in range(len(lengths))]
    blocks = []
    for start, length in zip(starts, lengths, strict=True):
        for turn in sorted(set(turns[start : start + length])):
            answer = [t for t in range(start, start + length) if turns[t] == turn and types[t] == 2]
            if answer:
                index += range(start, answer[-1] + 1)
                targets += answer if answer[0] > start else answer[1:]
                expected_lengths.append(answer[-1] + 1 - start)
                prefix = answer[0] - start
                block = np.tri(expected_lengths[-1], dtype=np.bool_)
                block[:prefix, :prefix] = True
                blocks.append(block)
    new = masks.triplets(*row)
    assert new.index.tolist() == index
    assert new.seq_lengths.tolist() == expected_lengths
    assert new.segment_type_ids.tolist() == [types[t] for t in index]
    assert new.index[new.trainable].tolist() == targets
    mask = masks.dense(new.segment_type_ids, new.turn_ids, new.seq_lengths, "prefix")
    for start, block in zip(np.cumsum([0, *expected_lengths]), blocks, strict=False):
        assert np.array_equal(mask[start : start + len(block), start : start + len(block)], block)
    assert mask.sum() == sum(block.sum() for block in blocks)


def test_masks_import_nothing_but_numpy() -> None:
    code = "import sys, numpy; before = set(sys.modules); import ismpack.masks; print(*(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    foreign = {name for name in loaded if name.split(".")[0] not in {"numpy", *sys.stdlib_module_names}}
    files = ("", ".blocks", ".compact", ".definition", ".kernels", ".kinds", ".rows", ".varlen")
    assert foreign == {"ismpack", *(f"ismpack.masks{name}" for name in files)}
