"""Contenders that take turns, and what is kept of their figures.

Speed on a machine that others use too means little by itself; beside another contender's, seconds later, it means
something. So each round runs every contender once, in the same order, and ratios are formed round by round.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeAlias

Figures: TypeAlias = dict[str, float]
"""Seconds, counts and shares of one run, by name."""


class NotMeasuredError(Exception):
    """Why a contender cannot run here: it is not installed, or does not take this input."""


class FailedError(Exception):
    """A contender went wrong; nothing that is measured beside it can be trusted to be complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run of a contender gives.

    Attributes:
        figures: Numbers; each round has its own.
        facts: What must be the same in each round.
    """

    figures: Figures
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One thing to measure.

    Attributes:
        name: What it is called in results.
        run: Runs it once.
        corpus: The corpus whose bytes it takes, for MB/s; empty if it takes none.
        peak: Runs it once more and gives its peak memory in bytes, if that is wanted.
    """

    name: str
    run: Callable[[], Outcome]
    corpus: str = ""
    peak: Callable[[], int] | None = None


@dataclass(slots=True, kw_only=True)
class Measured:
    """All rounds of one contender.

    Attributes:
        corpus: As of the contender.
        rounds: Figure -> its value in each round.
        facts: Fact -> its values; more than one if rounds differ.
        peak_bytes: Peak memory of all its processes together, None where it was not measured.
    """

    corpus: str
    rounds: dict[str, list[float]] = field(default_factory=dict)
    facts: dict[str, list[str]] = field(default_factory=dict)
    peak_bytes: int | None = None

    def add(self, outcome: Outcome) -> None:
        """Add a round."""
        for name, value in outcome.figures.items():
            self.rounds.setdefault(name, []).append(value)
        for name, fact in outcome.facts.items():
            if fact not in self.facts.setdefault(name, []):
                self.facts[name].append(fact)

    def to_json(self) -> dict[str, object]:
        """With median, lowest and highest of each figure."""
        figures = {
            name: {"median": median(values), "min": min(values), "max": max(values), "rounds": values}
            for name, values in self.rounds.items()
        }
        return {"corpus": self.corpus, "figures": figures, "facts": self.facts, "peak_bytes": self.peak_bytes}


def take_turns(contenders: Iterable[Contender], count: int) -> tuple[dict[str, Measured], dict[str, str]]:
    """Run every contender `count` times, A B C A B C.

    Memory is measured in one more round: reading it every 50 ms takes part of a core, which would show in the times.

    Returns:
        What was measured, and why the others could not be.

    Raises:
        FailedError: A contender went wrong.
    """
    lineup = list(contenders)
    measured = {contender.name: Measured(corpus=contender.corpus) for contender in lineup}
    absent: dict[str, str] = {}
    for turn in range(1, count + 1):
        for contender in _present(lineup, absent):
            try:
                outcome = contender.run()
            except NotMeasuredError as reason:
                absent[contender.name] = str(reason)
                del measured[contender.name]
                say(f"{contender.name}: not measured, {reason}")
                continue
            measured[contender.name].add(outcome)
            shown = ", ".join(f"{name} {value:,.4g}" for name, value in outcome.figures.items())
            say(f"round {turn} of {count}, {contender.name}: {shown}")
    for contender in _present(lineup, absent):
        if contender.peak is not None:
            measured[contender.name].peak_bytes = peak = contender.peak()
            say(f"memory of {contender.name}: {peak / 1e6:,.0f} MB")
    return measured, absent


def say(text: str) -> None:
    """Tell what is going on, on standard error."""
    print(text, file=sys.stderr, flush=True)


def _present(contenders: Sequence[Contender], absent: dict[str, str]) -> Iterable[Contender]:
    return (contender for contender in contenders if contender.name not in absent)
