"""`PackDataset` and `PackStream`: every row once, the same order for any number of workers, and after any stop."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dataset_builder import Builder, row, source
from torch import distributed
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from ismpack.data import Pack
from ismpack.errors import UsageError
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


def test_the_end_of_an_epoch_is_the_start_of_the_next(twelve: Path) -> None:
    stream = PackStream(twelve, batch_size=5)
    list(stream)
    again = PackStream(twelve, batch_size=5)
    again.load_state_dict(stream.state_dict())
    assert again.epoch == 1
    assert [positions(batch) for batch in again] == epoch_of(stream, 1)


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
        ({"seed": -1}, "seed 0 or more"),
        ({"rank": 2, "world_size": 2}, "got rank=2, world_size=2"),
        ({"rank": -1, "world_size": 2}, "got rank=-1, world_size=2"),
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
    "ask", [lambda s: s.set_epoch(-1), lambda s: s.state_at(13), lambda s: s.state_at(-1)], ids=["epoch", "13", "-1"]
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
