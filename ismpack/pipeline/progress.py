"""How far a run is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

Advance: TypeAlias = Callable[[int, int, int], None]
"""Takes what was done since the last call: bytes of text read, conversations and tokens made."""


class Counts(NamedTuple):
    """Bytes, conversations and tokens."""

    bytes: int = 0
    conversations: int = 0
    tokens: int = 0

    def plus(self, *others: Counts) -> Counts:
        """The sums."""
        return Counts(*map(sum, zip(self, *others, strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        bytes: Text read so far, in bytes.
        total_bytes: Text to read.
        conversations: Made so far.
        tokens: Made so far.
    """

    bytes: int
    total_bytes: int
    conversations: int
    tokens: int

    @classmethod
    def of(cls, counts: Counts, total_bytes: int) -> Progress:
        """Progress towards a number of bytes; those of a chunk are known about, so they never pass the total."""
        read = min(counts.bytes, total_bytes)
        return cls(bytes=read, total_bytes=total_bytes, conversations=counts.conversations, tokens=counts.tokens)


OnProgress: TypeAlias = Callable[[Progress], None]


class Clock:
    """Wall-clock time of a run.

    Attributes:
        start_seconds: What went by before the work on records began. Reading inputs for the plan is work, and left out,
            as far as nothing else was being waited for meanwhile.
    """

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._planning = (0.0, 0.0)
        self._ready = 0.0
        self.start_seconds = 0.0

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._began

    @contextlib.contextmanager
    def planning(self) -> Iterator[None]:
        """While the inputs are read for the plan."""
        begin = self.seconds
        try:
            yield
        finally:
            self._planning = (begin, self.seconds)

    def note_ready(self) -> None:
        """A process that was starting meanwhile is ready."""
        self._ready = self.seconds

    def end_start(self) -> None:
        """Everything is ready."""
        begin, end = self._planning
        self.start_seconds = self.seconds - max(0.0, end - max(begin, self._ready))
