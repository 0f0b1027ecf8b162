"""Bins against a one-by-one reference, rows worked by hand, and what happens to samples that do not fit."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ismpack.data import PackBatch, SampleBatch
from ismpack.options import Overlong, Packing
from ismpack.packing import fit, pack, row_bound
from ismpack.packing import rows as rows_module
from ismpack.packing.bins import assign_rows

TOKENS = ("input_ids", "segment_type_ids", "turn_ids", "loss_mask")
METHODS: tuple[Packing, ...] = get_args(Packing)


def joined(batches: Iterable[PackBatch]) -> PackBatch:
    """Batches of packs end to end; there is at least one."""
    parts = list(batches)
    return PackBatch(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in PackBatch.__slots__})


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


def test_best_fit_decreasing_places_samples_of_one_length_together() -> None:
    # 7 7 7 7 open rows 0 to 3, 4 4 4 4 rows 4 and 5; the threes go to rows 0 to 2, 2 and 1 to what is tightest.
    assert assign_rows(lengths(4, 7, 3, 7, 4, 3, 7, 4, 3, 7, 1, 4, 2), 10, "bfd").tolist() == [
        4, 0, 0, 1, 4, 1, 2, 5, 2, 3, 5, 5, 4
    ]  # fmt: skip


def test_of_rows_with_the_same_space_the_one_filled_last_goes_first() -> None:
    assert assign_rows(lengths(8, 5, 3, 2), 10, "bfd").tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batches", [[], [batch()], [batch(), batch()]])
def test_nothing_packs_into_no_row(method: Packing, batches: list[SampleBatch]) -> None:
    packed = joined(pack(batches, 10, method, seed=1))
    assert len(packed) == 0
    assert {name: str(getattr(packed, name).dtype) for name in PackBatch.__slots__} == {
        "input_ids": "int32", "segment_type_ids": "uint8", "turn_ids": "int32", "loss_mask": "uint8",
        "seq_lengths": "int32", "source_ids": "int64", "row_tokens": "int32", "row_documents": "int32",
    }  # fmt: skip


def test_turns_count_through_the_row() -> None:
    samples = batch([(1, 1), (2, 1)], [(3, 1)], [(1, 2)])
    packed = joined(pack([samples], 9, "sequential", seed=1))
    assert packed.row_tokens.tolist() == [9, 3]
    assert packed.row_documents.tolist() == [2, 1]
    assert packed.seq_lengths.tolist() == [5, 4, 3]
    assert packed.turn_ids.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2, 0, 0, 0]
    assert packed.input_ids.tolist() == list(range(12))
    assert packed.source_ids.tolist() == [100, 101, 102]


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=2), max_size=30))
def test_every_sample_lies_whole_in_one_row(samples: list[list[tuple[int, int]]]) -> None:
    given_batch = batch(*samples)
    packed = joined(pack([given_batch], 12, "bfd", seed=3))
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
    first, again, other = (joined(pack([samples], 9, "bfd", seed=seed)) for seed in (1, 1, 5))
    assert first.row_tokens.tolist() == again.row_tokens.tolist()
    assert first.row_tokens.tolist() != other.row_tokens.tolist()
    assert sorted(first.row_tokens.tolist()) == sorted(other.row_tokens.tolist()) == [5, 6, 8, 9, 9]
    shared = [first.source_ids[i : i + 2].tolist() for i in range(5)]
    assert [102, 105] in shared


def one_document_after_another(batches: Sequence[SampleBatch], max_length: int, method: Packing, seed: int) -> dict:
    """The columns of `pack`, by loops."""
    documents = [
        {name: getattr(one, name)[start:stop].tolist() for name in TOKENS} | {"source": int(source)}
        for one in batches
        for start, stop, source in zip(one.offsets[:-1], one.offsets[1:], one.source_ids, strict=True)
    ]
    rows = assign_rows(lengths(*(len(document["input_ids"]) for document in documents)), max_length, method).tolist()
    place = list(range(len(set(rows))))
    if method == "bfd":
        raw = np.random.PCG64(seed).random_raw(len(place))
        place.sort(key=lambda row: raw[row])
    packed: dict[str, list] = {name: [] for name in PackBatch.__slots__}
    for row in range(len(place)):
        members = [document for document, old in zip(documents, rows, strict=True) if place[old] == row]
        turns = 0
        for document in members:
            packed["turn_ids"] += [turns + turn for turn in document["turn_ids"]]
            turns += document["turn_ids"][-1] + 1
            packed["seq_lengths"].append(len(document["input_ids"]))
            packed["source_ids"].append(document["source"])
            for name in ("input_ids", "segment_type_ids", "loss_mask"):
                packed[name] += document[name]
        packed["row_tokens"].append(sum(len(document["input_ids"]) for document in members))
        packed["row_documents"].append(len(members))
    return packed


CHATS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=2)


@given(
    st.lists(st.lists(CHATS, max_size=9), max_size=4), st.sampled_from(METHODS), st.integers(0, 2), st.integers(1, 30)
)
def test_rows_are_what_laying_out_one_document_after_another_gives(
    chats: list[list[list[tuple[int, int]]]], method: Packing, seed: int, rows: int
) -> None:
    batches = [batch(*samples) for samples in chats]
    expected = one_document_after_another(batches, 12, method, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "ROWS_PER_BATCH", rows)
        packed = joined(pack(batches, 12, method, seed))
    assert {name: getattr(packed, name).tolist() for name in PackBatch.__slots__} == expected


def test_rows_come_in_batches_and_no_more_than_one_is_held_besides_the_samples() -> None:
    batches = [batch(*[[(100, 400)]] * 500) for _ in range(8)]
    size = sum(getattr(one, name).nbytes for one in batches for name in TOKENS)
    tracemalloc.start()
    try:
        sizes = [(len(packs), len(packs.input_ids)) for packs in pack(batches, 5000, "bfd", seed=1)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sizes == [(128, 640_000), (128, 640_000), (128, 640_000), (16, 80_000)]
    assert peak < size


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
    samples = batch([(1, 1), (1, 1)], [(1, 1), (1, 2), (4, 4)])
    samples.loss_mask[4:] = 0
    fitted = fit(samples, 7, "turns")
    assert {i: error.code for i, error in fitted.refused.items()} == {1: "no-target"}
    assert "no answer to train on is left in the 2 turns that fit in 7 tokens" in str(fitted.refused[1])
    assert fitted.batch.source_ids.tolist() == [100]


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


@dataclass
class Expected:
    kept: list[list[int]]
    refused: dict[int, str]
    dropped: tuple[int, ...] = ()
    cut: tuple[int, int, int] = (0, 0, 0)


def fitted_one_by_one(samples: SampleBatch, max_length: int, policy: Overlong) -> Expected:
    """What `fit` leaves: ids of each sample kept, and the rest, by loops."""
    result = Expected(kept=[], refused={})
    for i, (start, stop) in enumerate(zip(samples.offsets[:-1].tolist(), samples.offsets[1:].tolist(), strict=True)):
        ids, turns = samples.input_ids[start:stop].tolist(), samples.turn_ids[start:stop].tolist()
        if len(ids) <= max_length:
            result.kept.append(ids)
        elif policy == "drop":
            result.dropped += (i,)
        elif policy == "error":
            result.refused[i] = "overlong"
        else:
            end = max_length
            while end and turns[end] == turns[end - 1]:
                end -= 1
            if not end:
                result.refused[i] = "overlong"
            elif not any(samples.loss_mask[start : start + end].tolist()):
                result.refused[i] = "no-target"
            else:
                result.kept.append(ids[:end])
                cut, cut_turns, cut_tokens = result.cut
                result.cut = cut + 1, cut_turns + len(set(turns[end:])), cut_tokens + len(ids) - end
    return result


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=4), max_size=9),
    st.integers(1, 12),
    st.sampled_from(get_args(Overlong)),
    st.data(),
)
def test_fitting_is_what_fitting_one_by_one_gives(
    chats: list[list[tuple[int, int]]], max_length: int, policy: Overlong, data: st.DataObject
) -> None:
    samples = batch(*chats)
    for start, turns in zip(samples.offsets.tolist(), chats, strict=False):
        if data.draw(st.booleans()):  # without loss on the first answer
            samples.loss_mask[start : start + sum(turns[0])] = 0
    fitted = fit(samples, max_length, policy)
    expected = fitted_one_by_one(samples, max_length, policy)
    left = fitted.batch
    ends = left.offsets.tolist()
    assert [left.input_ids[a:b].tolist() for a, b in pairwise(ends)] == expected.kept
    for name in ("segment_type_ids", "turn_ids", "loss_mask"):  # the ids are positions in the batch
        assert getattr(left, name).tolist() == getattr(samples, name)[left.input_ids].tolist()
    firsts = [ids[0] for ids in expected.kept]
    assert left.source_ids.tolist() == (99 + np.searchsorted(samples.offsets, firsts, "right")).tolist()
    assert {i: error.code for i, error in fitted.refused.items()} == expected.refused
    assert fitted.dropped == expected.dropped
    assert (fitted.cut, fitted.cut_turns, fitted.cut_tokens) == expected.cut


# The least number of rows


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        pytest.param({}, 0, id="nothing"),
        pytest.param({10: 3}, 3, id="full rows"),
        pytest.param({1: 21}, 3, id="tokens by capacity"),
        pytest.param({6: 3}, 3, id="longer than half"),
        pytest.param({5: 3}, 2, id="half"),
        pytest.param({7: 3, 4: 3}, 5, id="too long to share"),
        pytest.param({7: 2, 6: 1, 4: 3}, 4, id="one of them shares"),
        pytest.param({7: 3, 3: 3}, 3, id="pairs"),
    ],
)
def test_the_least_number_of_rows_by_hand(samples: dict[int, int], expected: int) -> None:
    assert row_bound(samples, 10) == expected


@pytest.mark.parametrize("samples", [{0: 1}, {11: 1}, {-1: 1, 3: 1}])
def test_there_is_no_bound_for_what_no_row_can_hold(samples: dict[int, int]) -> None:
    with pytest.raises(ValueError, match="from 1 to 10"):
        row_bound(samples, 10)


def fewest_rows(values: Sequence[int], capacity: int) -> int:
    """The true optimum, by trying every set of samples as the next row."""

    @cache
    def rows(left: int) -> int:
        if not left:
            return 0
        first = left & -left
        others = left ^ first
        best, chosen = len(values), others
        while True:
            row = first | chosen
            if sum(value for k, value in enumerate(values) if row >> k & 1) <= capacity:
                best = min(best, 1 + rows(left ^ row))
            if not chosen:
                return best
            chosen = chosen - 1 & others

    return rows((1 << len(values)) - 1)


@given(st.integers(1, 20).flatmap(lambda c: st.tuples(st.just(c), st.lists(st.integers(1, c), max_size=7))))
def test_no_packing_needs_fewer_rows_than_the_bound(case: tuple[int, list[int]]) -> None:
    capacity, values = case
    bound = row_bound(Counter(values), capacity)
    assert max(-(-sum(values) // capacity), sum(2 * value > capacity for value in values)) <= bound
    assert bound <= fewest_rows(values, capacity)
    assert 2 * fewest_rows(values, capacity) <= 3 * bound  # proven of this bound: no more than half too few
