"""Datasets for PyTorch: rows by number, and a shuffled stream of batches that can be stopped and resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from ismpack.data import Pack
from ismpack.errors import UsageError
from ismpack.reader import load
from ismpack.torch.bookmark import Bookmark
from ismpack.torch.options import bad_option, refuse_several_processes, share, whole_number

State: TypeAlias = "dict[str, str | int | bool]"
"""A place in a stream, as plain values that JSON can hold."""


class PackDataset(Dataset[Pack]):
    """The rows of a dataset directory by number, as `Pack`s: numpy views into the mapped shards.

    For trainers that bring their own sampler, as those of Hugging Face do. Worker processes may be forked or spawned.

    Args:
        directory: What `ismpack convert -o DIR` wrote.

    Attributes:
        rows: The dataset that is read, with its manifest.

    Raises:
        DatasetError: `not-a-dataset`, `manifest-invalid`, `newer-format` or `shard-damaged`.
    """

    def __init__(self, directory: str | Path) -> None:
        self.rows = load(directory)

    def __len__(self) -> int:
        """Rows of the dataset."""
        return len(self.rows)

    def __getitem__(self, row: SupportsIndex) -> Pack:
        """Row `row`, counted over the dataset.

        Raises:
            IndexError: There is no such row.
            DatasetError: `shard-damaged`, `dataset-replaced`.
        """
        return self.rows[row]


@dataclass(slots=True)
class _Cursor:
    """The batch that a reading gives next, and its epoch."""

    epoch: int
    batch: int


class PackStream(IterableDataset[list[Pack]]):
    """Batches of rows in an order shuffled anew for every epoch, one share of them per rank.

    Use it with `DataLoader(stream, batch_size=None, collate_fn=Collator(), num_workers=...)`. The n-th batch of a rank
    is the same for any number of workers, and for a run that was stopped and resumed.

    The order of an epoch follows from (seed, epoch, number of rows) alone: numpy's PCG64 seeded through SeedSequence,
    whose raw numbers numpy promises never to change, sorted. Rank r of W has rows r, r + W, ... of that order; every
    rank has equally many.

    Call `set_epoch` before each epoch, or every epoch has the order of the first. To resume, hand `load_state_dict` a
    state of `state_at(batches)`, or of `state_dict()` if nothing reads ahead of the training loop, and go on with
    `for epoch in range(stream.epoch, epochs): stream.set_epoch(epoch)`. A state does not depend on the rank, so one
    serves all of them.

    torchdata's `StatefulDataLoader` saves the place itself, workers and all, and comes back with as many workers. It
    loads when it is iterated, so the training loop keeps the number of the epoch, and says it with `set_epoch` before.

    One DataLoader per stream, and under accelerate prepare model and optimizer but not the DataLoader. On several
    processes a prepared one hands out what rank 0 reads, so the rows of the others are never trained on; that cannot be
    seen from here. It also sets epochs by a count of its own, which is refused where it would lose a loaded place.

    Args:
        directory: What `ismpack convert -o DIR` wrote.
        batch_size: Rows per batch of this rank; the last one of an epoch may have fewer.
        seed: Decides the order, with the epoch.
        rank: Which share this process reads; ranks that hold parts of one model (tensor, pipeline or context parallel)
            read the same. None: 0 of 1, which is refused where several processes train.
        world_size: How many shares there are.
        drop_last: If the rows cannot be dealt out evenly: True leaves the last few of the epoch's order out, False
            gives some of its first rows to a second rank, as torch's `DistributedSampler` does.

    Attributes:
        rows: The dataset that is read, with its manifest.

    Raises:
        DatasetError: `not-a-dataset`, `manifest-invalid`, `newer-format` or `shard-damaged`.
        UsageError: `bad-option`.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        batch_size: int = 1,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
    ) -> None:
        self.rows = load(directory)
        self._batch_size, self._seed = whole_number("batch_size", batch_size, 1), whole_number("seed", seed, 0)
        if not isinstance(drop_last, bool):
            raise bad_option(f"drop_last must be True or False, got {drop_last!r}")
        self._drop_last = drop_last
        self._reads_all = rank is None and world_size is None
        self._rank, self._world_size = share(rank, world_size)
        if not self._rows_per_rank:
            raise bad_option(
                f"the dataset holds {len(self.rows)} rows, too few to give one to each of {self._world_size} ranks",
                hint="Use fewer ranks, drop_last=False, or a smaller --max-length, which makes more rows.",
            )
        self._bookmark = Bookmark()
        self._cursor: _Cursor | None = None
        self._resumed: _Cursor | None = None  # in a worker: the place that StatefulDataLoader handed it

    def __len__(self) -> int:
        """Batches of this rank in an epoch."""
        return (self._rows_per_rank + self._batch_size - 1) // self._batch_size

    @property
    def epoch(self) -> int:
        """The epoch to go on with; if a loaded place is the end of one, the next."""
        place = self._bookmark
        return place.epoch + 1 if place.loaded and place.first == len(self) else place.epoch

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; to the epoch where the stream already is: stay at the same place in it.

        Workers that are persistent follow as well, from their DataLoader's next `iter` on.

        Raises:
            UsageError: `bad-option`; `state-mismatch`: a loaded place lies in another epoch and was not read yet.
        """
        epoch, place = whole_number("epoch", epoch, 0), self._bookmark
        if epoch != place.epoch:
            self._cursor = None
        if not place.loaded:
            place.ask(epoch)
        elif epoch not in (place.epoch, self.epoch):
            raise _mismatch(
                f"set_epoch({epoch}) would lose the loaded place, after batch {place.first} of epoch {place.epoch}: "
                "nothing was read from there yet",
                hint="Go on with `for epoch in range(stream.epoch, epochs)`. accelerate sets epochs by a count of its "
                "own: prepare model and optimizer, not the DataLoader.",
            )
        elif epoch != place.epoch:
            place.load(epoch, 0)

    def __iter__(self) -> Iterator[list[Pack]]:
        """The batches of the epoch, in a worker its share of them; from the place of a loaded state, if one is new.

        Raises:
            DatasetError: `shard-damaged`, `dataset-replaced`.
            UsageError: `bad-option`: several processes train by now, and this one does not know its share.
        """
        if self._reads_all:
            refuse_several_processes()
        worker = get_worker_info()
        stride = worker.num_workers if worker else 1
        first = self._bookmark.take() + (worker.id if worker else 0)
        self._cursor = self._resumed or _Cursor(self._bookmark.epoch, first)
        self._resumed = None
        return self._read(self._cursor, stride)

    def state_dict(self) -> State:
        """The place after the last batch that the newest iterator over this stream gave.

        That is one batch ahead of the training loop if a wrapper around the DataLoader fetches ahead in this process
        (accelerate's does); use `state_at` there.

        Raises:
            UsageError: `state-mismatch`: workers read the stream, and this process does not know how far.
        """
        worker = get_worker_info()
        if worker is None and self._bookmark.in_workers:
            raise _mismatch(
                "the workers of a DataLoader read this stream, and run ahead of what it has given out",
                hint="Use stream.state_at(batches trained on in this epoch), or torchdata's StatefulDataLoader.",
            )
        if self._cursor:
            return self._state(self._cursor.epoch, self._cursor.batch)
        return self._state(self._bookmark.epoch, self._bookmark.first)

    def state_at(self, batches: int) -> State:
        """The place after the first `batches` batches of this rank in the current epoch.

        Right for any loader; with `StatefulDataLoader` once it is iterated, since it loads its state only then.

        Args:
            batches: Counted from the start of the epoch, those before an earlier resumption included.

        Raises:
            UsageError: `bad-option`.
        """
        batches = whole_number("batches", batches, 0)
        if batches > len(self):
            raise bad_option(f"an epoch has {len(self)} batches; there is no place after {batches}")
        # At a loaded end of an epoch, all its batches are that end, and none are the start of the next.
        return self._state(self._bookmark.epoch if batches == len(self) else self.epoch, batches)

    def load_state_dict(self, state: Mapping[str, str | int | bool]) -> None:
        """Begin the next reading at a saved place; at the end of an epoch, that reading gives nothing.

        Raises:
            UsageError: `state-mismatch`: the state is of another dataset or of other settings, or of another epoch than
                the one that was just asked for with `set_epoch`.
        """
        place, worker, asked = self._checked(state), get_worker_info(), self._bookmark.asked
        if asked == place.epoch + 1 and place.batch >= len(self):
            # How far a worker's next batch lies beyond the end is its turn among the workers, wherever that stands.
            place = _Cursor(asked, place.batch - len(self))
        if asked not in (None, place.epoch):
            raise _mismatch(
                f"the state stands after batch {place.batch} of epoch {place.epoch}; set_epoch({asked}) was called",
                hint=f"Call set_epoch({place.epoch}), or set no epoch before the state is loaded.",
            )
        self._cursor = None
        if worker:
            self._resumed = place
            self._bookmark.follow(place.epoch)
        else:
            self._bookmark.load(place.epoch, place.batch)

    def _checked(self, state: Mapping[str, str | int | bool]) -> _Cursor:
        """The place that a state names, if it is a place in this stream."""
        expected = self._settings()
        if {*state} != {*expected, "epoch", "batches"}:
            raise _mismatch(
                f"a place in this stream has {', '.join(sorted({*expected, 'epoch', 'batches'}))}; "
                f"this state has {', '.join(sorted(state)) or 'nothing'}",
                hint="A state of StatefulDataLoader goes back to a StatefulDataLoader with as many workers.",
            )
        for name, value in expected.items():
            if state[name] != value:
                raise _mismatch(f"the state was saved with {name} {state[name]!r}, and this stream has {value!r}")
        epoch, batches = int(state["epoch"]), int(state["batches"])
        # A worker's place is that of its next batch, which may lie beyond the end.
        if epoch < 0 or batches < 0 or (get_worker_info() is None and batches > len(self)):
            raise _mismatch(f"the state stands after batch {batches} of epoch {epoch}; epochs have {len(self)} batches")
        return _Cursor(epoch, batches)

    @property
    def _rows_per_rank(self) -> int:
        return (len(self.rows) if self._drop_last else len(self.rows) + self._world_size - 1) // self._world_size

    def _read(self, cursor: _Cursor, stride: int) -> Iterator[list[Pack]]:
        order = _order(len(self.rows), self._seed, cursor.epoch)
        # np.resize repeats the order from its start where rows are missing, as often as it takes.
        mine = np.resize(order, self._rows_per_rank * self._world_size)[self._rank :: self._world_size]
        while cursor.batch < len(self):
            start = cursor.batch * self._batch_size
            batch = [self.rows[row] for row in mine[start : start + self._batch_size]]
            cursor.batch += stride
            yield batch

    def _settings(self) -> State:
        return {
            "dataset": self.rows.manifest.digest,
            "seed": self._seed,
            "batch_size": self._batch_size,
            "world_size": self._world_size,
            "drop_last": self._drop_last,
            **_worker_part(),
        }

    def _state(self, epoch: int, batches: int) -> State:
        return self._settings() | {"epoch": epoch, "batches": batches}


def _worker_part() -> State:
    """What the state of one worker has besides: its batches are `worker`, `worker + workers`, ... of the rank's."""
    worker = get_worker_info()
    return {"worker": worker.id, "workers": worker.num_workers} if worker else {}


def _order(count: int, seed: int, epoch: int) -> npt.NDArray[np.intp]:
    """A permutation of `range(count)`, the same with every version of numpy."""
    # Not Generator.permutation: numpy may change how that uses the random numbers (NEP 19).
    numbers = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(epoch,))).random_raw(count)
    return np.argsort(numbers, kind="stable")


def _mismatch(message: str, hint: str | None = None) -> UsageError:
    return UsageError(message, code="state-mismatch", hint=hint)
