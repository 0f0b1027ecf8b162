"""Where the next reading of a stream begins, known to the worker processes of a DataLoader as well.

A worker reads a copy of the stream. A persistent one keeps that copy over many epochs, and one started anew gets the
copy with a place in it that an earlier worker may have read from already. So the place lies in shared memory, and is
used once.
"""

from __future__ import annotations

import torch
from torch.utils.data import get_worker_info

_EPOCH, _FIRST, _PUT_BY, _VERSION, _TAKEN_BY, _IN_WORKERS = range(6)
_NOBODY = 0
_ASKED, _LOADED = 1, 2
_MAIN_PROCESS = -1


class Bookmark:
    """An epoch, and the batch of it with which the next reading begins. Copies in other processes share both.

    The batch is used by one reading: one `iter` in the main process, or one by each worker of a DataLoader. Later ones
    begin with batch 0, until the bookmark is moved. Copies made in the same process are independent.
    """

    def __init__(self) -> None:
        self._cells: torch.Tensor = torch.zeros(6, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._taken = -1

    def __setstate__(self, state: dict[str, object]) -> None:
        """After `copy.deepcopy` or a plain pickle, whose cells are no longer shared; those of a worker still are."""
        self.__dict__.update(state)
        self._cells.share_memory_()  # type: ignore[no-untyped-call]

    @property
    def epoch(self) -> int:
        """The epoch."""
        return int(self._cells[_EPOCH])

    @property
    def first(self) -> int:
        """The batch with which the first reading since the last move begins."""
        return int(self._cells[_FIRST])

    @property
    def loaded(self) -> bool:
        """Whether a saved place was loaded, and no reading has begun there."""
        return self._unread and int(self._cells[_PUT_BY]) == _LOADED

    @property
    def asked(self) -> int | None:
        """The epoch, if it was asked for and no reading of it has begun."""
        return self.epoch if self._unread and int(self._cells[_PUT_BY]) == _ASKED else None

    @property
    def in_workers(self) -> bool:
        """Whether the last reading was done by worker processes."""
        return bool(self._cells[_IN_WORKERS])

    def ask(self, epoch: int) -> None:
        """Go to the start of an epoch; in the same epoch, stay."""
        if epoch != self.epoch:
            self._move(epoch, 0)
        self._cells[_PUT_BY] = _ASKED

    def load(self, epoch: int, first: int) -> None:
        """Go to a saved place, which counts as read by nobody."""
        self._move(epoch, first)
        self._cells[_PUT_BY] = _LOADED

    def follow(self, epoch: int) -> None:
        """In a worker that has a place of its own: tell the others the epoch of it."""
        self._cells[_EPOCH] = epoch

    def take(self) -> int:
        """Begin a reading in this process: the batch it begins with."""
        self._cells[_IN_WORKERS] = int(get_worker_info() is not None)
        if not self._unread:
            return 0
        self._taken = int(self._cells[_VERSION])
        self._cells[_TAKEN_BY] = self._reader
        return self.first

    def _move(self, epoch: int, first: int) -> None:
        self._cells[_EPOCH], self._cells[_FIRST] = epoch, first
        self._cells[_TAKEN_BY], self._cells[_IN_WORKERS] = _NOBODY, 0
        self._cells[_VERSION] += 1

    @property
    def _reader(self) -> int:
        # Workers of one reading share the seed that their DataLoader drew for it, so all of them may take the place,
        # and those of the next reading may not. Persistent ones keep the seed, but remember what they took.
        worker = get_worker_info()
        return _MAIN_PROCESS if worker is None else worker.seed - worker.id + 1

    @property
    def _unread(self) -> bool:
        """Whether the place is free for a reading in this process."""
        return self._taken != int(self._cells[_VERSION]) and int(self._cells[_TAKEN_BY]) in (_NOBODY, self._reader)
