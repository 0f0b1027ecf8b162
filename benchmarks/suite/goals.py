"""What ismpack promises itself, and whether a benchmark bears it out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from suite.result import Result

LARGE_CORPUS = 380_000_000
"""Bytes from which a corpus counts as large."""

NOISE = 0.97
"""What still counts as no slower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A goal and what was found.

    Attributes:
        text: What is measured.
        bound: What is wanted.
        found: What was found; None if it was not measured.
        at_least: Whether `found` must reach `bound`, or else must not exceed it.
        unit: Of both.
    """

    text: str
    bound: float
    found: float | None
    at_least: bool
    unit: str

    @property
    def met(self) -> bool | None:
        """Whether it is met; None if it was not measured."""
        if self.found is None:
            return None
        return self.found >= self.bound if self.at_least else self.found <= self.bound

    def __str__(self) -> str:
        word = {True: "met", False: "MISSED", None: "not measured"}[self.met]
        found = "" if self.found is None else f"{self.found:,.4g}, "
        wanted = f"{'>=' if self.at_least else '<='} {self.bound:g} {self.unit}".rstrip()
        return f"{word:<13} {self.text}: {found}wanted {wanted}"


def goals(result: Result) -> list[Goal]:
    """Every goal."""
    return [*_speed(result), *_beside_others(result), *_tokenizers(result), *_scale(result), *_the_rest(result)]


def _speed(result: Result) -> Iterator[Goal]:
    n = result.workers
    yield _at_least(f"convert, {n} workers, without start-up", result.speed(f"convert-{n}"), 60, "MB/s")
    large = [name for name in (f"repeated-{n}", f"convert-{n}") if (result.size(name) or 0) >= LARGE_CORPUS]
    found = result.speed(large[0], "wall") if large else None
    yield _at_least(f"convert, {n} workers, with start-up, 380 MB or more", found, 70, "MB/s")
    yield _at_least(f"convert, {n} workers against 1, without start-up", _gain(result), 1.6, "times as fast")
    yield _at_most("start-up with an empty cache", result.figure("start-empty-many", "startup"), 4, "s")
    yield _at_most("start-up with a filled cache", result.figure("start-filled-many", "startup"), 1, "s")


def _beside_others(result: Result) -> Iterator[Goal]:
    n = result.workers
    mine = f"convert-{n}"
    engine = raw_engine(result)
    found = result.times(mine, f"encode-{engine}-{n}") if engine else None
    yield _at_most(f"convert against {engine or 'the bare engine'}, {n} of each", found, 3, "times its time")
    trl = f"trl-{n}"
    yield _at_least(
        "TRL against convert with start-up", result.times(trl, mine, "seconds", "wall"), 15, "times as long"
    )
    yield _at_least("TRL against convert without start-up", result.times(trl, mine), 25, "times as long")


def _tokenizers(result: Result) -> Iterator[Goal]:
    n = result.workers
    for name in result.names("other-"):
        yield _at_most(
            f"convert with {name.removeprefix('other-').removesuffix(f'-{n}')}",
            result.times(name, f"convert-{n}"),
            1.5,
            "times as long",
        )
    yield _at_most(
        "convert by HF tokenizers against encode_batch", result.times("convert-hf", "hf-1"), 1.15, "times as long"
    )


def _scale(result: Result) -> Iterator[Goal]:
    n = result.workers
    large, small = f"repeated-{n}", f"convert-{n}"
    times = result.content["setting"]["times"]
    yield _at_least(f"{times} x the corpus, speed without start-up", result.times(small, large), NOISE, "of 1 x")
    peak, before = result.peak(large), result.peak(small)
    yield _at_most(f"{times} x the corpus, peak memory of all processes", peak and peak / 1e9, 1.5, "GB")
    yield _at_most(f"{times} x the corpus, peak memory", peak and before and peak / before, 1.1, "of 1 x")


def _the_rest(result: Result) -> Iterator[Goal]:
    yield _at_most("versions of the shards, over all runs on the input", _versions_of_shards(result), 1, "")
    sorted_fill = result.figure(f"sorted-{result.workers}", "fill")
    yield _at_least("fill of the corpus sorted by length, rows of 4,096", sorted_fill, 0.99, "")
    yield _at_least("verify on one core", result.token_speed("verify"), 300, "Mtok/s")
    yield _at_most("packing ten million lengths", result.figure("assign-10000000"), 1, "s")


def raw_engine(result: Result) -> str | None:
    """The engine that `convert` took, if it was measured by itself too."""
    n = result.workers
    engines = result.facts(f"convert-{n}", "engine")
    return engines[0] if engines and result.has(f"encode-{engines[0]}-{n}") else None


def _gain(result: Result) -> float | None:
    return result.times("convert-1", f"convert-{result.workers}") if result.workers > 1 else None


def _versions_of_shards(result: Result) -> float | None:
    """How many versions of the shards there were: 1, if they are the same for any number of workers."""
    found = {fact for name in result.names("convert-") if name != "convert-hf" for fact in result.facts(name, "shards")}
    return float(len(found)) if found else None


def _at_least(text: str, found: float | None, bound: float, unit: str) -> Goal:
    return Goal(text=text, found=found, bound=bound, at_least=True, unit=unit)


def _at_most(text: str, found: float | None, bound: float, unit: str) -> Goal:
    return Goal(text=text, found=found, bound=bound, at_least=False, unit=unit)
