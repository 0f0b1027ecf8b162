"""The unit of work: one partition to one shard and one receipt.

What comes of a task depends on the task alone. It does not matter which process does it, when, or how often: the same
bytes are written under the same name, and the same receipt is given.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ismpack.manifest import FileEntry
from ismpack.pipeline.partition import Partition, Sized
from ismpack.pipeline.progress import Advance
from ismpack.pipeline.tally import ShardFacts, Tally
from ismpack.pipeline.toolkit import Toolkit
from ismpack.schema import shard_name
from ismpack.shards import Staging, write_shard
from ismpack.tokenization import EncodedTexts, SampleTokenizer

_COLLECT_AFTER = (100_000, 50, 1000)
"""New objects until the garbage collector looks: millions of them live for a moment here, and hardly any in a cycle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One partition.

    Attributes:
        index: Number of the partition and of its shard.
        chunks: What to read.
        seed: Seed of its random numbers.
        limit: Read only this many records.
        target: The output directory; the shard is written to what is built beside it.
        engine: What encodes text.
    """

    index: int
    chunks: tuple[Sized, ...]
    seed: int
    limit: int | None
    target: Path
    engine: str

    def __str__(self) -> str:
        first, last = self.chunks[0][0], self.chunks[-1][0]
        return f"partition {self.index} (from {first.file.path} at {first.start:,} to {last.file.path} at {last.end:,})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What came of a task.

    Attributes:
        index: Number of the partition.
        tally: What was counted.
        file: The shard as a file.
        shard: The shard as rows of tokens.
    """

    index: int
    tally: Tally
    file: FileEntry
    shard: ShardFacts


class Bench:
    """Does tasks, one after another, with the same tools.

    Args:
        toolkit: The tools.
    """

    def __init__(self, toolkit: Toolkit) -> None:
        self._toolkit = toolkit
        self._tokenizers: dict[str, SampleTokenizer] = {}

    def tokenizer(self, engine: str) -> SampleTokenizer:
        """The tokenizer with an engine; one is kept.

        Raises:
            TokenizerError: `tokenizer-engine-unfit`.
        """
        if engine not in self._tokenizers:
            self._tokenizers.clear()  # an engine takes hundreds of megabytes
            self._tokenizers[engine] = self._toolkit.tokenizer(engine)
        return self._tokenizers[engine]

    def encode(self, engine: str, texts: Sequence[str]) -> EncodedTexts:
        """Encode texts with an engine, to be compared with another one's.

        Raises:
            TokenizerError: `tokenizer-engine-unfit`.
        """
        return self.tokenizer(engine).encoder.encode_texts(texts)

    def do(self, task: Task, advance: Advance) -> Receipt:
        """Convert a partition and write its shard. Its tokens are gone when this returns.

        Raises:
            RecordError: The first bad record, with `--on-error stop`.
            InputError, OutputError: An input changed, or the shard cannot be written.
        """
        partition = Partition(self._toolkit, self.tokenizer(task.engine), advance)
        facts = ShardFacts(name=shard_name(task.index))
        with _rare_collection():
            packs = facts.count(partition.run(task.chunks, task.seed, task.limit))
            put = partial(write_shard, batches=packs, with_columns=self._toolkit.options.with_columns)
            file = Staging(task.target).write(facts.name, put)
        return Receipt(index=task.index, tally=partition.tally, file=file, shard=facts)


@contextlib.contextmanager
def _rare_collection() -> Iterator[None]:
    """The garbage collector kept out of the hot loop, where it finds nothing and takes a sixth of the time."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
