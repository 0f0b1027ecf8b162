"""Who does the tasks of a run: this process, or several of their own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ismpack.pipeline.engine import likely_engine
from ismpack.pipeline.plan import likely_partitions
from ismpack.pipeline.progress import Clock, Counts
from ismpack.pipeline.toolkit import Toolkit
from ismpack.pipeline.work import Bench, Receipt, Task
from ismpack.pipeline.workers import Workers
from ismpack.sources import InputFile
from ismpack.tokenization import EncodedTexts


class Crew:
    """Does tasks in as many processes as there is work for. To be used in a `with` block.

    Args:
        toolkit: Tools of this process; other processes make their own.
        folder: A folder of ours.
        clock: Is told when processes are ready.

    Attributes:
        size: Processes that do tasks.
    """

    def __init__(self, toolkit: Toolkit, folder: Path, clock: Clock) -> None:
        self.size = 1
        self._clock = clock
        self._toolkit = toolkit
        self._folder = folder
        self._bench = Bench(toolkit)
        self._workers: Workers | None = None

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.dismiss()

    def expect(self, files: Sequence[InputFile]) -> None:
        """Have processes start now if these inputs make several partitions, as far as one can tell from their sizes."""
        stored = sum(map(_stored_bytes, files))
        if self._toolkit.options.limit is None and self._allowed(likely_partitions(stored)) > 1:
            self._workers = self._hire(self._allowed(likely_partitions(stored)))
            self._workers.warm_up(likely_engine(self._toolkit), self._clock.note_ready)

    def muster(self, partitions: int) -> None:
        """Have as many processes as there is work for."""
        self.size = self._allowed(partitions)
        if self.size == 1:
            self.dismiss()
        elif self._workers is None:
            self._workers = self._hire(self.size)

    def dismiss(self) -> None:
        """End the other processes; there may be none."""
        if self._workers is not None:
            self._workers.end()
            self._workers = None

    def encode(self, engine: str, texts: Sequence[str]) -> Callable[[], EncodedTexts]:
        """Begin to encode texts with an engine; what is returned waits for the result.

        Raises:
            TokenizerError: `tokenizer-engine-unfit`, when the result is asked for.
            RunError: `worker-died`, as above.
        """
        if self._workers is not None:
            return self._workers.encode(engine, texts)
        # In a thread, as both this engine and the one that it is compared with take their time to load.
        thread = ThreadPoolExecutor(1)
        result = thread.submit(self._bench.encode, engine, texts).result
        thread.shutdown(wait=False)
        return result

    def prepare(self, engine: str) -> None:
        """Have the engine loaded, if it is this process that does the tasks; others load it when they start.

        Raises:
            TokenizerError: `tokenizer-engine-unfit`.
        """
        if self._workers is None:
            self._bench.tokenizer(engine)

    def run(self, tasks: Sequence[Task], on_counts: Callable[[Counts], None]) -> Iterator[Receipt]:
        """Do tasks; their receipts come in any order.

        Args:
            tasks: What to do, by rising index.
            on_counts: Called now and then with what is done, tasks under way included.

        Raises:
            RecordError, InputError, OutputError: See `Bench.do`.
            RunError: `worker-died`.
        """
        if self._workers is not None:
            yield from self._workers.run(tasks, on_counts)
            return
        counts = Counts()

        def advance(*done: int) -> None:
            nonlocal counts
            counts = counts.plus(Counts(*done))
            on_counts(counts)

        for task in tasks:
            yield self._bench.do(task, advance)

    def _allowed(self, partitions: int) -> int:
        # A daemonic process may not have children; the dataset is the same without.
        most = 1 if multiprocessing.current_process().daemon else self._toolkit.options.workers
        return max(1, min(most, partitions))

    def _hire(self, count: int) -> Workers:
        return Workers(count, self._toolkit.setup, self._folder)


def _stored_bytes(file: InputFile) -> int:
    try:
        return Path(file.open_path).stat().st_size
    except OSError:
        return 0  # whoever reads it says what is wrong
