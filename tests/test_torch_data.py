"""`PackDataset` and `PackStream`: every row once, the same order for any number of workers, and after any stop."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from dataset_builder import Builder, row, source
from torch import distributed
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from ismpack.data import Pack
from ismpack.errors import DatasetError, UsageError
from ismpack.torch.data import PackDataset, PackStream

torch.set_num_threads(1)

ROWS = 12

quiet_torchdata = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")  # torchdata calls it

Batches = list[list[int]]


def build(directory: Path, rows: int) -> Path:
    """A dataset in two shards whose row k holds one document, from position k of its input."""
    builder = Builder(directory)
    every = [row((source(0, k), "17:22")) for k in range(rows)]
    builder.shards = [every[: rows // 3], every[rows // 3 :]]
    return builder.write().directory


@pytest.fixture(scope="session")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("stream") / "dataset", ROWS)


def positions(batch: list[Pack]) -> list[int]:
    """Stands where a collator would: it runs in the worker, and its result is sent."""
    return [int(pack.source_ids[0]) for pack in batch]


def loader(stream: PackStream, workers: int = 0, **options: Any) -> DataLoader[list[int]]:
    return DataLoader(stream, batch_size=None, collate_fn=positions, num_workers=workers, **options)


def stateful(stream: PackStream, workers: int, **options: Any) -> Any:
    return StatefulDataLoader(stream, batch_size=None, collate_fn=positions, num_workers=workers, **options)


def epoch_of(stream: PackStream, epoch: int) -> Batches:
    """What an uninterrupted run reads, without a DataLoader."""
    fresh = PackStream(
        stream.rows.directory,
        batch_size=stream._batch_size,
        seed=stream._seed,
        rank=stream._rank,
        world_size=stream._world_size,
        drop_last=stream._drop_last,
    )
    fresh.set_epoch(epoch)
    return [positions(batch) for batch in fresh]


def flat(batches: Batches) -> list[int]:
    return [k for batch in batches for k in batch]


# the dataset of rows


def test_rows_come_by_number(twelve: Path) -> None:
    dataset = PackDataset(twelve)
    assert len(dataset) == ROWS
    assert [int(dataset[k].source_ids[0]) for k in range(ROWS)] == list(range(ROWS))
    assert dataset[-1].input_ids.tolist() == [10, 11, 50, 2]
    with pytest.raises(IndexError):
        dataset[ROWS]


def test_a_sampler_and_forked_workers_read_rows(twelve: Path) -> None:
    batches = DataLoader(PackDataset(twelve), batch_size=5, collate_fn=positions, num_workers=1)
    assert list(batches) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]


def test_a_copy_reopens_the_directory(twelve: Path) -> None:
    dataset = pickle.loads(pickle.dumps(PackDataset(twelve)))  # noqa: S301
    assert positions([dataset[7]]) == [7]


# the order of a stream


def test_the_order_is_fixed_by_seed_and_epoch(twelve: Path) -> None:
    stream = PackStream(twelve, batch_size=5, seed=3)
    first = [[11, 4, 6, 1, 5], [7, 0, 3, 8, 9], [2, 10]]
    assert [positions(batch) for batch in stream] == first
    assert [positions(batch) for batch in stream] == first
    stream.set_epoch(1)
    assert flat([positions(batch) for batch in stream]) == [9, 0, 6, 7, 10, 5, 8, 2, 1, 4, 3, 11]
    assert len(stream) == 3


def test_the_order_is_what_its_docstring_says(twelve: Path) -> None:
    numbers = np.random.PCG64(np.random.SeedSequence(7, spawn_key=(2,))).random_raw(ROWS).tolist()
    assert flat(epoch_of(PackStream(twelve, seed=7), 2)) == sorted(range(ROWS), key=numbers.__getitem__)


def test_epochs_and_seeds_differ(twelve: Path) -> None:
    orders = [tuple(flat(epoch_of(PackStream(twelve, seed=s), e))) for s in range(4) for e in range(4)]
    assert len(set(orders)) == 16
    assert all(sorted(order) == list(range(ROWS)) for order in orders)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 6, 12])
def test_ranks_share_every_row_exactly_once(twelve: Path, world_size: int) -> None:
    ranks = [PackStream(twelve, batch_size=2, rank=rank, world_size=world_size) for rank in range(world_size)]
    read = [flat(epoch_of(stream, 0)) for stream in ranks]
    assert sorted(flat(read)) == list(range(ROWS))
    assert {len(own) for own in read} == {ROWS // world_size}
    assert {len(stream) for stream in ranks} == {-(-ROWS // world_size // 2)}


def test_rows_that_cannot_be_dealt_out_evenly(twelve: Path) -> None:
    order = flat(epoch_of(PackStream(twelve), 0))
    for drop_last, expected in ((False, order + order[:3]), (True, order[:10])):
        ranks = [PackStream(twelve, rank=rank, world_size=5, drop_last=drop_last) for rank in range(5)]
        read = [flat(epoch_of(stream, 0)) for stream in ranks]
        assert read == [expected[rank::5] for rank in range(5)]
        assert {len(stream) for stream in ranks} == {len(expected) // 5}


def test_fewer_rows_than_ranks_repeat_until_every_rank_has_one(tmp_path: Path) -> None:
    directory = build(tmp_path / "two", 2)
    order = flat(epoch_of(PackStream(directory), 0))
    assert [flat(epoch_of(PackStream(directory, rank=rank, world_size=5), 0)) for rank in range(5)] == [
        [order[0]], [order[1]], [order[0]], [order[1]], [order[0]],
    ]  # fmt: skip


# workers


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # 3 workers on 2 cores
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_batches(twelve: Path, workers: int) -> None:
    stream = PackStream(twelve, batch_size=1, rank=0, world_size=3, drop_last=False)
    assert list(loader(stream, workers)) == epoch_of(stream, 0)


def test_persistent_workers_follow_the_epoch(twelve: Path) -> None:
    stream = PackStream(twelve, batch_size=5)
    batches = loader(stream, 2, persistent_workers=True)
    for epoch in (0, 1, 5):
        stream.set_epoch(epoch)
        assert list(batches) == epoch_of(stream, epoch)


def test_spawned_workers_follow_the_epoch_and_the_place(twelve: Path) -> None:
    stream = PackStream(twelve, batch_size=5)
    stream.load_state_dict(PackStream(twelve, batch_size=5).state_at(1))
    batches = loader(stream, 1, persistent_workers=True, multiprocessing_context="spawn")
    assert list(batches) == epoch_of(stream, 0)[1:]
    stream.set_epoch(1)
    assert list(batches) == epoch_of(stream, 1)
    with pytest.raises(UsageError, match="the workers of a DataLoader read this stream"):
        stream.state_dict()


# stopping and resuming


def saved(state: Any) -> Any:
    return json.loads(json.dumps(state))


@pytest.mark.parametrize("done", [0, 1, 3, 5])
def test_a_state_resumes_where_it_stopped(twelve: Path, done: int) -> None:
    stream = PackStream(twelve, batch_size=2, seed=1)
    stream.set_epoch(4)
    batches = iter(loader(stream))
    for _ in range(done):
        next(batches)
    state = saved(stream.state_dict())
    assert state == stream.state_at(done)

    again = PackStream(twelve, batch_size=2, seed=1)
    again.load_state_dict(state)
    assert again.epoch == 4
    assert again.state_dict() == state
    again.set_epoch(4)  # the loop over epochs begins with this one
    assert [positions(batch) for batch in again] == epoch_of(stream, 4)[done:]
    assert [positions(batch) for batch in again] == epoch_of(stream, 4)


def test_a_state_names_all_that_decides_the_batches(twelve: Path) -> None:
    stream = PackStream(twelve, batch_size=2, seed=9, rank=1, world_size=3, drop_last=True)
    assert stream.state_at(2) == {
        "dataset": stream.rows.manifest.digest,
        "seed": 9,
        "epoch": 0,
        "batches": 2,
        "batch_size": 2,
        "world_size": 3,
        "drop_last": True,
    }


def test_a_state_serves_every_rank(twelve: Path) -> None:
    state = PackStream(twelve, rank=0, world_size=2).state_at(4)
    other = PackStream(twelve, rank=1, world_size=2)
    other.load_state_dict(state)
    assert [positions(batch) for batch in other] == epoch_of(other, 0)[4:]


def at_the_end_of(epoch: int, directory: Path) -> PackStream:
    """A fresh stream that loaded the state after the last of three batches."""
    stream = PackStream(directory, batch_size=5)
    stream.set_epoch(epoch)
    list(stream)
    again = PackStream(directory, batch_size=5)
    again.load_state_dict(saved(stream.state_dict()))
    return again


def test_after_the_end_of_an_epoch_the_loop_goes_on_with_the_next(twelve: Path) -> None:
    stream = at_the_end_of(3, twelve)
    assert stream.epoch == 4
    read = []
    for epoch in range(stream.epoch, 6):
        stream.set_epoch(epoch)
        assert stream.epoch == epoch
        read.append([positions(batch) for batch in stream])
    assert read == [epoch_of(stream, 4), epoch_of(stream, 5)]


def test_a_finished_epoch_is_not_read_again_by_who_counts_epochs_himself(twelve: Path) -> None:
    stream = at_the_end_of(3, twelve)
    read = []
    for epoch in range(3, 5):
        stream.set_epoch(epoch)
        read.append([positions(batch) for batch in stream])
        assert (stream.epoch, stream.state_at(3)["epoch"]) == (epoch, epoch)
    assert read == [[], epoch_of(stream, 4)]


def test_a_state_at_a_loaded_end_is_that_end_or_the_next_start(twelve: Path) -> None:
    stream = at_the_end_of(3, twelve)
    assert [(stream.state_at(n)["epoch"], stream.state_at(n)["batches"]) for n in (3, 0)] == [(3, 3), (4, 0)]
    assert stream.state_dict() == stream.state_at(3)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loaded_place_is_not_lost_to_another_epoch(twelve: Path, workers: int) -> None:
    stream = PackStream(twelve, batch_size=2)
    stream.load_state_dict(stream.state_at(4) | {"epoch": 2})
    for other in (0, 1, 3):
        with pytest.raises(
            UsageError, match=rf"set_epoch\({other}\) would lose .* after batch 4 of epoch 2"
        ) as refused:
            stream.set_epoch(other)
        assert refused.value.code == "state-mismatch"
    stream.set_epoch(2)
    assert list(loader(stream, workers)) == epoch_of(stream, 2)[4:]
    stream.set_epoch(0)
    assert list(loader(stream, workers)) == epoch_of(stream, 0)


def test_the_next_epoch_after_a_loaded_end_is_not_lost_either(twelve: Path) -> None:
    stream = at_the_end_of(3, twelve)
    stream.set_epoch(4)
    with pytest.raises(UsageError, match="after batch 0 of epoch 4"):
        stream.set_epoch(0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_accelerate_cannot_lose_a_loaded_place(twelve: Path) -> None:
    stream = PackStream(twelve, batch_size=2)
    stream.load_state_dict(stream.state_at(3) | {"epoch": 2})
    stream.set_epoch(2)
    own = DataLoader(stream, batch_size=None, collate_fn=lambda batch: torch.tensor(positions(batch)))
    try:
        prepared = Accelerator(cpu=True).prepare(own)  # it counts epochs from 0
        with pytest.raises(UsageError, match=r"set_epoch\(0\) would lose") as refused:
            next(iter(prepared))
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    assert "not the DataLoader" in str(refused.value.hint)


def test_a_state_of_another_epoch_than_was_asked_for_is_refused(twelve: Path) -> None:
    stream = PackStream(twelve, batch_size=2)
    state = stream.state_at(4) | {"epoch": 2}
    stream.set_epoch(1)
    with pytest.raises(UsageError, match=r"after batch 4 of epoch 2; set_epoch\(1\) was called") as refused:
        stream.load_state_dict(state)
    assert refused.value.code == "state-mismatch"
    list(stream)
    stream.load_state_dict(state)  # an epoch that was read is no longer asked for
    assert [positions(batch) for batch in stream] == epoch_of(stream, 2)[4:]


def test_copies_in_one_process_go_their_own_ways(twelve: Path) -> None:
    stream = PackStream(twelve, batch_size=5)
    stream.load_state_dict(stream.state_at(1))
    for copied in (copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))):  # noqa: S301
        workers = loader(copied, 1, persistent_workers=True)
        assert list(workers) == epoch_of(stream, 0)[1:]
        copied.set_epoch(1)
        assert list(workers) == epoch_of(stream, 1)
        with pytest.raises(UsageError, match="the workers of a DataLoader read this stream"):
            copied.state_dict()
    assert stream.state_dict() == stream.state_at(1)


def test_a_stream_can_be_put_back_again_and_again(twelve: Path) -> None:
    stream = PackStream(twelve, batch_size=2)
    for done in (4, 1, 5):
        stream.load_state_dict(stream.state_at(done))
        assert [positions(batch) for batch in stream] == epoch_of(stream, 0)[done:]


def test_an_older_iterator_does_not_move_the_place(twelve: Path) -> None:
    stream = PackStream(twelve)
    older, newer = iter(stream), iter(stream)
    next(newer)
    list(older)
    assert stream.state_dict() == stream.state_at(1)


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_resume_at_a_counted_batch(twelve: Path, persistent: bool) -> None:
    stream = PackStream(twelve, batch_size=2)
    batches = iter(loader(stream, 2))
    read = [next(batches) for _ in range(3)]
    state = saved(stream.state_at(3))

    again = PackStream(twelve, batch_size=2)
    again.load_state_dict(state)
    resumed = loader(again, 2, persistent_workers=persistent)
    assert read + list(resumed) == epoch_of(stream, 0)
    # The place is used once: whoever forgets set_epoch gets a whole epoch, not the same rest again.
    assert list(resumed) == epoch_of(stream, 0)


def test_the_main_process_does_not_guess_how_far_workers_are(twelve: Path) -> None:
    stream = PackStream(twelve)
    batches = iter(loader(stream, 1))
    next(batches)
    with pytest.raises(UsageError) as refused:
        stream.state_dict()
    assert refused.value.code == "state-mismatch"
    assert refused.value.hint is not None
    assert "state_at" in refused.value.hint
    stream.set_epoch(1)
    assert stream.state_dict()["epoch"] == 1
    next(iter(stream))
    assert stream.state_dict()["batches"] == 1


@quiet_torchdata
@pytest.mark.parametrize("done", [1, 4])
@pytest.mark.parametrize("workers", [0, 2])
def test_stateful_data_loaders_resume(twelve: Path, workers: int, done: int) -> None:
    stream = PackStream(twelve, batch_size=2, seed=5)
    stream.set_epoch(2)
    first = stateful(stream, workers)
    batches = iter(first)
    read = [next(batches) for _ in range(done)]
    state = first.state_dict()
    del batches

    other = PackStream(twelve, batch_size=2, seed=5)
    second = stateful(other, workers)
    second.load_state_dict(state)
    other.set_epoch(2)
    assert read + list(second) == epoch_of(stream, 2)
    other.set_epoch(3)
    assert list(second) == epoch_of(stream, 3)


@quiet_torchdata
@pytest.mark.parametrize("workers", [0, 1])
def test_stateful_data_loaders_resume_after_a_whole_epoch(twelve: Path, workers: int) -> None:
    stream = PackStream(twelve, batch_size=5)
    first = stateful(stream, workers)
    list(first)
    state = first.state_dict()

    other = PackStream(twelve, batch_size=5)
    second = stateful(other, workers)
    second.load_state_dict(state)
    other.set_epoch(1)
    assert list(second) == epoch_of(stream, 1)


@quiet_torchdata
@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("workers", [0, 2])
def test_stateful_data_loaders_agree_on_a_state_after_the_last_batch(twelve: Path, workers: int, epoch: int) -> None:
    stream = PackStream(twelve, batch_size=5)
    stream.set_epoch(epoch)
    first = stateful(stream, workers)
    batches = iter(first)
    for _ in range(3):
        next(batches)
    state = first.state_dict()  # the training loop has not been told yet that the epoch ends here
    del batches

    for begin in (epoch, epoch + 1):
        other = PackStream(twelve, batch_size=5)
        second = stateful(other, workers)
        second.load_state_dict(state)
        read = []
        for now in range(begin, epoch + 2):
            other.set_epoch(now)
            read.append(list(second))
        assert read == [[], epoch_of(stream, epoch + 1)][begin - epoch :]


@quiet_torchdata
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stateful_data_loader_makes_the_epoch_known(twelve: Path, workers: int) -> None:
    stream = PackStream(twelve, batch_size=2)
    stream.set_epoch(2)
    first = stateful(stream, workers)
    next(iter(first))
    state = first.state_dict()

    other = PackStream(twelve, batch_size=2)
    second = stateful(other, workers)
    second.load_state_dict(state)
    next(iter(second))
    assert other.epoch == 2
    assert other.state_at(2) == stream.state_at(2)


@quiet_torchdata
@pytest.mark.parametrize("done", [1, 5])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stateful_data_loader_in_another_epoch_is_refused(twelve: Path, workers: int, done: int) -> None:
    stream = PackStream(twelve, batch_size=2)  # after 5 of 6 batches the first of two workers is done, the other not
    stream.set_epoch(0)
    first = stateful(stream, workers)
    batches = iter(first)
    for _ in range(done):
        next(batches)
    state = first.state_dict()
    del batches

    other = PackStream(twelve, batch_size=2)
    second = stateful(other, workers)
    second.load_state_dict(state)
    other.set_epoch(1)
    with pytest.raises((UsageError, RuntimeError), match=r"of epoch 0; set_epoch\(1\) was called"):
        list(second)


@quiet_torchdata
def test_persistent_stateful_workers_use_a_state_once(twelve: Path) -> None:
    stream = PackStream(twelve, batch_size=2)
    first = stateful(stream, 1)
    next(iter(first))
    state = first.state_dict()
    in_worker = state["_snapshot"]["_worker_snapshots"]["worker_0"]["dataset_state"]
    assert in_worker == stream.state_at(1) | {"worker": 0, "workers": 1}

    other = PackStream(twelve, batch_size=2)
    second = stateful(other, 1, persistent_workers=True)
    second.load_state_dict(state)
    assert list(second) == epoch_of(stream, 0)[1:]
    other.set_epoch(1)
    assert list(second) == epoch_of(stream, 1)


# refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "0" * 64}, "saved with dataset '0000"),
        ({"seed": 2}, "saved with seed 2, and this stream has 0"),
        ({"batch_size": 2}, "saved with batch_size 2, and this stream has 1"),
        ({"world_size": 2}, "saved with world_size 2, and this stream has 1"),
        ({"drop_last": True}, "saved with drop_last True, and this stream has False"),
        ({"batches": 13}, "after batch 13 of epoch 0; epochs have 12 batches"),
        ({"batches": -1}, "after batch -1 of epoch 0"),
        ({"epoch": -1}, "after batch 3 of epoch -1"),
        ({"worker": 0, "workers": 2}, "this state has batch_size, .*, worker, workers, world_size"),
    ],
)
def test_a_state_of_something_else_is_refused(twelve: Path, change: dict[str, Any], message: str) -> None:
    stream = PackStream(twelve)
    stream.load_state_dict(stream.state_at(3))
    with pytest.raises(UsageError, match=message) as refused:
        stream.load_state_dict(stream.state_at(3) | change)
    assert refused.value.code == "state-mismatch"


def test_something_that_is_no_state_is_refused(twelve: Path) -> None:
    with pytest.raises(UsageError, match="this state has nothing"):
        PackStream(twelve).load_state_dict({})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"batch_size": 2.0}, "batch_size must be a whole number, got 2.0"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
        ({"seed": "3"}, "seed must be a whole number, got '3'"),
        ({"drop_last": "no"}, "drop_last must be True or False, got 'no'"),
        ({"rank": "0", "world_size": "2"}, "rank must be a whole number, got '0'"),
        ({"rank": 2, "world_size": 2}, "got rank=2, world_size=2"),
        ({"rank": -1, "world_size": 2}, "rank must be 0 or more, got -1"),
        ({"rank": 0}, "got rank=0, world_size=None"),
        ({"world_size": 2}, "got rank=None, world_size=2"),
        ({"rank": 0, "world_size": 13, "drop_last": True}, "holds 12 rows, too few to give one to each of 13 ranks"),
    ],
)
def test_options_that_make_no_sense_are_refused(twelve: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        PackStream(twelve, **options)
    assert refused.value.code == "bad-option"


@pytest.mark.parametrize(
    "ask",
    [
        lambda s: s.set_epoch(-1),
        lambda s: s.set_epoch("1"),
        lambda s: s.state_at(13),
        lambda s: s.state_at(-1),
        lambda s: s.state_at(1.0),
    ],
    ids=["epoch -1", "epoch '1'", "13", "-1", "1.0"],
)
def test_places_that_do_not_exist_are_refused(twelve: Path, ask: Callable[[PackStream], object]) -> None:
    with pytest.raises(UsageError) as refused:
        ask(PackStream(twelve))
    assert refused.value.code == "bad-option"


def test_a_dataset_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the dataset holds 0 rows"):
        PackStream(build(tmp_path / "none", 0))


@pytest.fixture
def two_processes() -> Iterator[None]:
    distributed.init_process_group("fake", store=FakeStore(), rank=1, world_size=2)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("two_processes")
def test_a_process_group_must_say_what_each_process_reads(twelve: Path) -> None:
    with pytest.raises(UsageError, match="one of 2 processes, and would read what each of them reads"):
        PackStream(twelve)
    assert len(PackStream(twelve, rank=0, world_size=1)) == ROWS


@pytest.mark.usefixtures("two_processes")
def test_a_process_group_that_comes_later_is_seen_when_reading(twelve: Path) -> None:
    distributed.destroy_process_group()
    stream = PackStream(twelve)
    told = PackStream(twelve, rank=0, world_size=1)
    distributed.init_process_group("fake", store=FakeStore(), rank=1, world_size=2)
    with pytest.raises(UsageError, match="one of 2 processes"):
        iter(stream)
    assert len(list(told)) == ROWS


def test_what_torchrun_says_is_enough(twelve: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="one of 2 processes") as refused:
        PackStream(twelve)
    assert refused.value.code == "bad-option"
    assert len(PackStream(twelve, rank=1, world_size=2)) == ROWS // 2
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert len(PackStream(twelve)) == ROWS


def test_whole_numbers_of_numpy_make_states_that_json_holds(twelve: Path) -> None:
    two: Any = np.int64(2)
    one: Any = np.int64(1)
    stream = PackStream(twelve, batch_size=two, seed=two, rank=one, world_size=two)
    stream.set_epoch(two)
    assert saved(stream.state_at(one)) == PackStream(twelve, batch_size=2, seed=2, rank=0, world_size=2).state_at(1) | {
        "epoch": 2
    }


# a dataset that changes


def test_a_dataset_replaced_while_it_is_read_is_not_mixed_in(tmp_path: Path) -> None:
    directory = build(tmp_path / "dataset", ROWS)
    stream = PackStream(directory)
    batches = iter(stream)
    stream.rows[0]  # the first shard is mapped, the second is not
    sent = pickle.dumps(stream)
    shutil.rmtree(directory)
    builder = Builder(directory)
    every = [row((source(0, 100 + k), "17:22")) for k in range(ROWS)]
    builder.shards = [every[:4], every[4:]]
    builder.write()
    assert positions([stream.rows[3]]) == [3]
    for read in (lambda: list(batches), lambda: pickle.loads(sent)):  # noqa: S301
        with pytest.raises(DatasetError, match="was replaced by another one while it was read"):
            read()
