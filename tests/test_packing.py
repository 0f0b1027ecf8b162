"""Bins against a one-by-one reference, rows worked by hand, and what happens to samples that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ismpack.data import SampleBatch
from ismpack.packing import fit, pack
from ismpack.packing.bins import assign_rows


def lengths(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def batch(*samples: list[tuple[int, int]]) -> SampleBatch:
    """Samples given as turns of (query tokens, answer tokens); ids count up through the batch."""
    types = [[1] * q + [2] * a for turns in samples for q, a in turns]
    turn_ids = [[t] * (q + a) for turns in samples for t, (q, a) in enumerate(turns)]
    flat = np.array([x for part in types for x in part], np.uint8)
    return SampleBatch(
        input_ids=np.arange(len(flat), dtype=np.int32),
        segment_type_ids=flat,
        turn_ids=np.array([x for part in turn_ids for x in part], np.int32),
        loss_mask=(flat == 2).astype(np.uint8),
        lengths=np.array([sum(q + a for q, a in turns) for turns in samples], np.int32),
        source_ids=np.arange(100, 100 + len(samples)),
    )


def best_fit_one_by_one(values: list[int], capacity: int) -> list[int]:
    """Space left in each row, sorted, by the textbook algorithm."""
    spaces: list[int] = []
    for value in sorted(values, reverse=True):
        fitting = [space for space in spaces if space >= value]
        if fitting:
            spaces[spaces.index(min(fitting))] -= value
        else:
            spaces.append(capacity - value)
    return sorted(spaces)


@given(st.integers(1, 40).flatmap(lambda c: st.tuples(st.just(c), st.lists(st.integers(1, c), max_size=50))))
def test_best_fit_decreasing_leaves_the_spaces_of_the_one_by_one_algorithm(case: tuple[int, list[int]]) -> None:
    capacity, values = case
    rows = assign_rows(lengths(*values), capacity, "bfd")
    count = rows.max() + 1 if len(rows) else 0
    used = np.bincount(rows, weights=values, minlength=count).astype(int)
    assert sorted((capacity - used).tolist()) == best_fit_one_by_one(values, capacity)


def test_best_fit_decreasing_on_the_example_of_its_docstring() -> None:
    assert assign_rows(lengths(6, 5, 4, 4, 3, 2), 10, "bfd").tolist() == [0, 1, 0, 1, 2, 2]


def test_sequential_opens_a_row_when_the_next_sample_does_not_fit() -> None:
    assert assign_rows(lengths(4, 4, 3, 9, 1, 10), 10, "sequential").tolist() == [0, 0, 1, 2, 2, 3]


def test_none_gives_every_sample_its_own_row() -> None:
    assert assign_rows(lengths(1, 1, 1), 10, "none").tolist() == [0, 1, 2]


@pytest.mark.parametrize("values", [(0, 3), (3, 11)])
def test_a_length_that_no_row_can_hold_is_refused(values: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="from 1 to 10"):
        assign_rows(lengths(*values), 10, "bfd")


@pytest.mark.parametrize("method", ["bfd", "sequential", "none"])
def test_nothing_packs_into_no_row(method: str) -> None:
    packed = pack(batch(), 10, method, seed=1)
    assert len(packed) == 0
    assert packed.turn_ids.dtype == np.int32


def test_turns_count_through_the_row() -> None:
    samples = batch([(1, 1), (2, 1)], [(3, 1)], [(1, 2)])
    packed = pack(samples, 9, "sequential", seed=1)
    assert packed.row_tokens.tolist() == [9, 3]
    assert packed.row_documents.tolist() == [2, 1]
    assert packed.seq_lengths.tolist() == [5, 4, 3]
    assert packed.turn_ids.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2, 0, 0, 0]
    assert packed.input_ids.tolist() == list(range(12))
    assert packed.source_ids.tolist() == [100, 101, 102]


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=2), max_size=30))
def test_every_sample_lies_whole_in_one_row(samples: list[list[tuple[int, int]]]) -> None:
    given_batch = batch(*samples)
    packed = pack(given_batch, 12, "bfd", seed=3)
    ends = np.cumsum(packed.seq_lengths)
    found = {
        int(source): packed.input_ids[end - length : end].tolist()
        for source, length, end in zip(packed.source_ids, packed.seq_lengths, ends, strict=True)
    }
    expected = {
        100 + i: list(range(int(given_batch.offsets[i]), int(given_batch.offsets[i + 1]))) for i in range(len(samples))
    }
    assert found == expected
    assert packed.row_tokens.max(initial=0) <= 12
    assert packed.row_documents.sum() == len(samples)


def test_rows_are_shuffled_by_the_seed_and_documents_of_a_row_stay_in_input_order() -> None:
    samples = batch(*[[(1, n)] for n in (8, 7, 6, 5, 4, 1)])
    first, again, other = (pack(samples, 9, "bfd", seed=seed) for seed in (1, 1, 5))
    assert first.row_tokens.tolist() == again.row_tokens.tolist()
    assert first.row_tokens.tolist() != other.row_tokens.tolist()
    assert sorted(first.row_tokens.tolist()) == sorted(other.row_tokens.tolist()) == [5, 6, 8, 9, 9]
    shared = [first.source_ids[i : i + 2].tolist() for i in range(5)]
    assert [102, 105] in shared


def test_turns_keeps_the_leading_whole_turns_that_fit() -> None:
    samples = batch([(1, 1)], [(2, 2), (2, 1), (1, 1)], [(1, 2)])
    fitted = fit(samples, 7, "turns")
    assert fitted.batch.lengths.tolist() == [2, 7, 3]
    assert fitted.batch.input_ids.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13]
    assert fitted.batch.source_ids.tolist() == [100, 101, 102]
    assert (fitted.cut, fitted.cut_turns, fitted.cut_tokens) == (1, 1, 2)
    assert fitted.refused == {}


def test_turns_refuses_a_sample_whose_first_turn_does_not_fit() -> None:
    fitted = fit(batch([(5, 3), (1, 1)], [(1, 1)]), 7, "turns")
    assert {i: error.code for i, error in fitted.refused.items()} == {0: "overlong"}
    assert "the first turn has 8 tokens and does not fit in 7" in str(fitted.refused[0])
    assert fitted.batch.source_ids.tolist() == [101]
    assert (fitted.cut, fitted.cut_turns, fitted.cut_tokens) == (0, 0, 0)


def test_turns_refuses_a_sample_that_keeps_no_target() -> None:
    samples = batch([(1, 1), (4, 4)])
    samples.loss_mask[:2] = 0
    fitted = fit(samples, 7, "turns")
    assert {i: error.code for i, error in fitted.refused.items()} == {0: "no-target"}
    assert len(fitted.batch) == 0


def test_drop_leaves_out_and_error_refuses_what_is_too_long() -> None:
    samples = batch([(1, 1)], [(4, 4)])
    dropped, refused = fit(samples, 7, "drop"), fit(samples, 7, "error")
    assert dropped.dropped == (1,)
    assert dropped.refused == {}
    assert refused.dropped == ()
    assert {i: error.code for i, error in refused.refused.items()} == {1: "overlong"}
    assert dropped.batch.input_ids.tolist() == refused.batch.input_ids.tolist() == [0, 1]


def test_samples_that_fit_pass_unchanged() -> None:
    samples = batch([(1, 1)], [(4, 3)])
    assert fit(samples, 7, "turns").batch is samples
