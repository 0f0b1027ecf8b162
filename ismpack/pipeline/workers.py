"""Tasks done by processes of their own; one that dies is replaced, and what was under way is done again.

A pool of `concurrent.futures` breaks when one of its processes is killed (for lack of memory, as a rule): everything
under way is lost. Then a new pool is made and those tasks start anew, which costs time and nothing else, because a task
gives the same bytes each time. A task that was under way when two pools broke runs alone; if that breaks a third pool,
the run ends and says what the task was.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from ismpack.errors import RunError, TokenizerError
from ismpack.pipeline.progress import Counts
from ismpack.pipeline.toolkit import Setup, make_toolkit
from ismpack.pipeline.work import Bench, Receipt, Task
from ismpack.tokenization import ONE_THREAD, EncodedTexts

_DEATHS_ALONE = 2
"""A task that was under way at so many deaths runs alone."""

_DEATHS_MOST = 3

_LOOK_SECONDS = 0.1
"""How often progress is read."""

_ENDINGS = (signal.SIGINT, signal.SIGTERM)

_T = TypeVar("_T")

_SharedCounts: TypeAlias = Any
"""A shared array of C integers: three for each place of a task that is under way."""


class Workers:
    """Processes that do tasks, until `end`. They start when there is something to do.

    Args:
        count: How many.
        setup: What each builds its tools from.
        folder: A folder of ours, where the setup is left for them.
    """

    def __init__(self, count: int, setup: Setup, folder: Path) -> None:
        self.count = count
        self._context = _Context()
        # By a file: what a process is given at its start holds up the start of the next one.
        self._setup_path = folder / "setup"
        self._setup_path.write_bytes(pickle.dumps(setup))
        self._shared: _SharedCounts = self._context.RawArray("q", 3 * count)
        self._pool = self._new_pool()

    def warm_up(self, engine: str, on_ready: Callable[[], None]) -> None:
        """Have the processes start and build their tools while something else is done here.

        Args:
            engine: What they load.
            on_ready: Called each time that one has done so, in another thread.
        """
        with contextlib.suppress(BrokenProcessPool):  # seen again by what comes next
            for _ in range(self.count):
                self._submit(_warm_up, engine).add_done_callback(lambda _: on_ready())

    def encode(self, engine: str, texts: Sequence[str]) -> Callable[[], EncodedTexts]:
        """Begin to encode texts in one of the processes; what is returned waits for the result.

        Raises:
            TokenizerError: `tokenizer-engine-unfit`, when the result is asked for.
            RunError: `worker-died`, as above.
        """
        under_way: Future[EncodedTexts] | None = None
        with contextlib.suppress(BrokenProcessPool):  # seen again below
            under_way = self._submit(_encode, engine, texts)

        def wait_for_it() -> EncodedTexts:
            future = under_way
            for _ in range(_DEATHS_MOST):
                try:
                    return (future or self._submit(_encode, engine, texts)).result()
                except BrokenProcessPool:
                    self._replace_pool()
                    future = None
            raise _died("loaded the tokenizer")

        return wait_for_it

    def run(self, tasks: Sequence[Task], on_counts: Callable[[Counts], None]) -> Iterator[Receipt]:
        """Do tasks; their receipts come in any order.

        Args:
            tasks: What to do, by rising index.
            on_counts: Called now and then with what is done, tasks under way included.

        Raises:
            RunError: `worker-died`. Also what a task raises: of several the one with the lowest index, so that it does
                not depend on chance which error is shown.
        """
        log = _Log()
        while todo := [task for task in tasks if task.index not in log.finished]:
            suspects = [task for task in todo if log.deaths[task.index] >= _DEATHS_ALONE]
            lost = yield from self._attempt(suspects[:1] or todo, 1 if suspects else self.count, log, on_counts)
            log.deaths.update(task.index for task in lost)
            for task in lost:
                if log.deaths[task.index] >= _DEATHS_MOST:
                    raise _died(f"converted {task}")
            if log.failures:
                raise log.failures[min(log.failures)]

    def _attempt(
        self, tasks: Sequence[Task], width: int, log: _Log, on_counts: Callable[[Counts], None]
    ) -> Generator[Receipt, None, list[Task]]:
        """Do tasks, `width` at a time; if the pool breaks, replace it and return those that were under way."""
        rest = iter(tasks)
        places: dict[int, Task] = {}  # a place for each that is under way, or about to be
        futures: dict[Future[Receipt], int] = {}
        try:
            while True:
                for place in sorted(set(range(width)) - places.keys()):
                    task = None if log.failures else next(rest, None)
                    if task is not None:
                        places[place] = task
                        self._shared[3 * place : 3 * place + 3] = Counts()
                        futures[self._submit(_do, task, place)] = place
                if not places:
                    return []
                for future in wait(futures, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED).done:
                    receipt = log.outcome(places[futures[future]], future)
                    del places[futures.pop(future)]
                    if receipt is not None:
                        yield receipt
                on_counts(log.done.plus(*map(self._look, places)))
        except BrokenProcessPool:
            self._replace_pool()
            return list(places.values())

    def _submit(self, function: Callable[..., _T], *arguments: object) -> Future[_T]:
        with _held_signals():  # the first submission starts the processes
            return self._pool.submit(function, *arguments)

    def _look(self, place: int) -> Counts:
        return Counts(*self._shared[3 * place : 3 * place + 3])

    def _new_pool(self) -> ProcessPoolExecutor:
        arguments = (str(self._setup_path), self._shared)
        return ProcessPoolExecutor(self.count, self._context, initializer=_start, initargs=arguments)

    def end(self) -> None:
        """End the processes at once."""
        self._context.kill_all()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _replace_pool(self) -> None:
        self.end()
        self._pool = self._new_pool()


@dataclass(slots=True)
class _Log:
    """What became of tasks so far."""

    finished: set[int] = field(default_factory=set)
    done: Counts = field(default_factory=Counts)
    deaths: Counter[int] = field(default_factory=Counter)
    failures: dict[int, Exception] = field(default_factory=dict)

    def outcome(self, task: Task, future: Future[Receipt]) -> Receipt | None:
        """The receipt of a task; None if it failed.

        Raises:
            BrokenProcessPool: The task was lost.
        """
        try:
            receipt = future.result()
        except BrokenProcessPool:
            raise
        except Exception as error:  # whatever it is, `run` raises it
            self.failures[task.index] = error
            return None
        self.finished.add(task.index)
        read = sum(size for _, size in task.chunks)
        self.done = self.done.plus(Counts(read, receipt.tally.conversations, receipt.shard.tokens))
        return receipt


class _Context(SpawnContext):
    """Starts processes as `spawn` does, and remembers them."""

    def __init__(self) -> None:
        super().__init__()
        self._children: list[SpawnProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[override] # noqa: N802 - the pool's way
        """A process that is not started yet."""
        process = SpawnProcess(*args, **kwargs)
        self._children.append(process)
        return process

    def kill_all(self) -> None:
        """End every process at once: none of them holds anything that is not written yet, or is wanted."""
        for process in self._children:
            if process.pid is not None:
                process.kill()
        self._children.clear()


@contextlib.contextmanager
def _held_signals() -> Iterator[None]:
    """Have Ctrl-C and SIGTERM wait: a pool that is halfway through its start cannot be ended.

    Processes that start meanwhile begin with these signals blocked, so that Ctrl-C, which reaches them as well, does
    not make each of them print where it was.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs handlers in the main thread alone
        return
    came: list[int] = []
    handlers = {number: signal.signal(number, lambda number, _: came.append(number)) for number in _ENDINGS}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if came:
            signal.raise_signal(came[0])


def _died(what: str) -> RunError:
    return RunError(
        f"a worker process was killed each of the {_DEATHS_MOST} times that one {what}",
        code="worker-died",
        hint="Most likely memory ran out: use fewer --workers.",
    )


# What follows runs in a worker process.

_bench: Bench | None = None
_setup_path = ""
_shared: _SharedCounts = None


def _start(setup_path: str, shared: _SharedCounts) -> None:
    """Prepare a process before its first task."""
    global _setup_path, _shared
    _setup_path, _shared = setup_path, shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends the others
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)
    os.environ.update(ONE_THREAD)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
    os._exit(1)


def _tools() -> Bench:
    global _bench  # noqa: PLW0603 - a process is given tasks, and nothing to keep in between
    if _bench is None:
        _bench = Bench(make_toolkit(pickle.loads(Path(_setup_path).read_bytes())))  # noqa: S301 - our own, from a folder of ours
    return _bench


def _warm_up(engine: str) -> None:
    with contextlib.suppress(TokenizerError):  # told to whoever uses the engine
        _tools().encode(engine, ["An engine puts off some of its loading until its first text."])


def _encode(engine: str, texts: Sequence[str]) -> EncodedTexts:
    return _tools().encode(engine, texts)


def _do(task: Task, place: int) -> Receipt:
    counts = Counts()

    def advance(*done: int) -> None:
        nonlocal counts
        counts = counts.plus(Counts(*done))
        _shared[3 * place : 3 * place + 3] = counts

    return _tools().do(task, advance)
