"""Where the next reading of a stream begins, known to the worker processes of a DataLoader as well.

A worker reads a copy of the stream. A persistent one keeps that copy over many epochs, and one started anew gets the
copy with a place in it that an earlier worker may have read from already. So the place lies in shared memory, and is
used once.
"""

from __future__ import annotations

import torch
from torch.utils.data import get_worker_info

_EPOCH, _FIRST, _VERSION, _TAKEN_BY, _IN_WORKERS = range(5)
_NOBODY = 0
_MAIN_PROCESS = -1


class Bookmark:
    """An epoch, and the batch of it with which the next reading begins. Copies in other processes share both.

    The batch is used by one reading: one `iter` in the main process, or one by each worker of a DataLoader. Later ones
    begin with batch 0, until the bookmark is moved.
    """

    def __init__(self) -> None:
        self._cells: torch.Tensor = torch.zeros(5, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._taken = 0
        self.move(0, 0)

    @property
    def epoch(self) -> int:
        """The epoch."""
        return int(self._cells[_EPOCH])

    @property
    def first(self) -> int:
        """The batch with which the first reading since the last move begins."""
        return int(self._cells[_FIRST])

    @property
    def in_workers(self) -> bool:
        """Whether the last reading was done by worker processes."""
        return bool(self._cells[_IN_WORKERS])

    def move(self, epoch: int, first: int) -> None:
        """Put the bookmark somewhere else, for every process."""
        self._cells[_EPOCH], self._cells[_FIRST] = epoch, first
        self._cells[_TAKEN_BY], self._cells[_IN_WORKERS] = _NOBODY, 0
        self._cells[_VERSION] += 1

    def take(self) -> int:
        """Begin a reading in this process: the batch it begins with."""
        worker = get_worker_info()
        self._cells[_IN_WORKERS] = int(worker is not None)
        # Workers of one reading share the seed that their DataLoader drew for it, so all of them may take the place,
        # and those of the next reading may not. Persistent ones keep the seed, but remember what they took.
        reader = _MAIN_PROCESS if worker is None else worker.seed - worker.id + 1
        version = int(self._cells[_VERSION])
        if self._taken == version or int(self._cells[_TAKEN_BY]) not in (_NOBODY, reader):
            return 0
        self._taken = version
        self._cells[_TAKEN_BY] = reader
        return self.first
