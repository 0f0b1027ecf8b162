"""Tasks done by processes of their own; one that dies is replaced, and what was under way is done again.

A pool of `concurrent.futures` breaks when one of its processes is killed (for lack of memory, as a rule): everything
under way is lost. Then a new pool is made and those tasks start anew, which costs time and nothing else, because a task
gives the same bytes each time. A task that was under way when two pools broke runs alone; if that breaks a third pool,
the run ends and says what the task was.

What goes between the processes goes by files in a folder of ours, and only their names by the pool's pipes: half a
message, left in a pipe by a process that was killed, would be waited for without end.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

from ismpack.errors import InternalError, OutputError, RunError, TokenizerError
from ismpack.pipeline.progress import Counts
from ismpack.pipeline.toolkit import Setup, make_toolkit
from ismpack.pipeline.work import Bench, Receipt, Task
from ismpack.tokenization import ONE_THREAD, EncodedTexts

_DEATHS_ALONE = 2
"""A task that was under way at so many deaths runs alone."""

_DEATHS_MOST = 3

_LOOK_SECONDS = 0.1
"""How often progress is read."""

_SETUP, _TEXTS, _ENCODED = "setup", "texts", "encoded"
"""Names of files between the processes, besides task-N and receipt-N."""

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
        self._folder = folder / "workers"
        self._folder.mkdir(exist_ok=True)
        _put(self._folder / _SETUP, setup)
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
        _put(self._folder / _TEXTS, list(texts))
        under_way: Future[None] | None = None
        with contextlib.suppress(BrokenProcessPool):  # seen again below
            under_way = self._submit(_encode, engine)

        def wait_for_it() -> EncodedTexts:
            future = under_way
            for _ in range(_DEATHS_MOST):
                try:
                    (future or self._submit(_encode, engine)).result()
                    return cast(EncodedTexts, _take(self._folder / _ENCODED))
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
        while todo := [task for task in tasks if task.index not in log.finished and log.is_wanted(task)]:
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
        futures: dict[Future[None], int] = {}
        try:
            while True:
                for place in sorted(set(range(width)) - places.keys()):
                    task = next(rest, None)
                    if task is not None and log.is_wanted(task):
                        places[place] = task
                        self._shared[3 * place : 3 * place + 3] = Counts()
                        _put(self._folder / f"task-{task.index}", task)
                        futures[self._submit(_do, task.index, place)] = place
                if not places:
                    return []
                for future in wait(futures, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED).done:
                    task = places[futures[future]]
                    future.result()  # the task may be lost, but it does not fail
                    del places[futures.pop(future)]
                    try:
                        receipt = cast(Receipt, _take(self._folder / f"receipt-{task.index}", last=True))
                    except Exception as error:  # whatever it is, `run` raises it
                        log.failures[task.index] = error
                    else:
                        log.finish(task, receipt)
                        yield receipt
                on_counts(log.done.plus(*map(self._look, places)))
        except BrokenProcessPool:
            self._replace_pool()
            return list(places.values())

    def _submit(self, function: Callable[..., _T], *arguments: object) -> Future[_T]:
        with _held_signals(), _unnamed_main():  # the first submission starts the processes
            return self._pool.submit(function, *arguments)

    def _look(self, place: int) -> Counts:
        return Counts(*self._shared[3 * place : 3 * place + 3])

    def _new_pool(self) -> ProcessPoolExecutor:
        arguments = (str(self._folder), self._shared)
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

    def is_wanted(self, task: Task) -> bool:
        """Whether no task before it has failed; then its own result is not needed any more."""
        return task.index < min(self.failures, default=task.index + 1)

    def finish(self, task: Task, receipt: Receipt) -> None:
        """Note what was done."""
        self.finished.add(task.index)
        read = sum(size for _, size in task.chunks)
        self.done = self.done.plus(Counts(read, receipt.tally.conversations, receipt.shard.tokens))


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


def _put(path: Path, value: object) -> None:
    """Leave something for another process, which sees all of it or nothing.

    Raises:
        OutputError: The folder cannot be written.
    """
    try:
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(pickle.dumps(value))
        temporary.rename(path)
    except OSError as error:
        raise OutputError(
            f"cannot write to the temporary folder {path.parent}: {error.strerror or error}",
            code="os-error",
            hint="Set TMPDIR to a folder with some room.",
        ) from error


def _take(path: Path, *, last: bool = False) -> object:
    """What was left; if that is an error, it is raised. Nobody comes for it after the last one."""
    value = pickle.loads(path.read_bytes())  # noqa: S301 - our own, from a folder of ours
    if last:
        path.unlink()
    if isinstance(value, Exception):
        raise value
    return value


@contextlib.contextmanager
def _unnamed_main() -> Iterator[None]:
    """Have new processes leave the program's main module alone.

    They would import it, as they do not know that nothing of it is needed, and a program that converts without asking
    whether it is the main module would start anew in each of them.
    """
    main = vars(sys.modules["__main__"])
    hidden: dict[str, Any] = {name: main[name] for name in ("__spec__", "__file__") if name in main}
    main["__spec__"] = None
    main.pop("__file__", None)
    try:
        yield
    finally:
        main.update(hidden)


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
_folder = Path()
_shared: _SharedCounts = None


def _start(folder: str, shared: _SharedCounts) -> None:
    """Prepare a process before its first task."""
    global _folder, _shared
    _folder, _shared = Path(folder), shared
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
        _bench = Bench(make_toolkit(cast(Setup, _take(_folder / _SETUP))))
    return _bench


def _warm_up(engine: str) -> None:
    with contextlib.suppress(TokenizerError):  # told to whoever uses the engine
        _tools().encode(engine, ["An engine puts off some of its loading until its first text."])


def _encode(engine: str) -> None:
    texts = cast("list[str]", _take(_folder / _TEXTS))
    _leave(_folder / _ENCODED, lambda: _tools().encode(engine, texts))


def _do(index: int, place: int) -> None:
    task = cast(Task, _take(_folder / f"task-{index}"))
    counts = Counts()

    def advance(*done: int) -> None:
        nonlocal counts
        counts = counts.plus(Counts(*done))
        _shared[3 * place : 3 * place + 3] = counts

    _leave(_folder / f"receipt-{index}", lambda: _tools().do(task, advance))


def _leave(path: Path, work: Callable[[], object]) -> None:
    """Leave the result of some work, or its error with the place where it arose."""
    try:
        result = work()
    except Exception as error:  # the process that takes it raises it
        error.add_note(traceback.format_exc())
        result = error
    try:
        _put(path, result)
    except (pickle.PicklingError, TypeError, AttributeError):  # an error of a library that cannot travel
        _put(path, InternalError(f"{type(result).__name__}: {result}"))
