"""Which samples a plan serves, and the plans that are kept.

Data can change where a segment is cut in three ways: it spells a token that a model writes, it begins or ends with
white space beside a token that strips it, or it is empty. The first two send a sample the general way; a skeleton has
another plan for each choice of empty holes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from operator import add
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from ismpack.data import Filled, Skeleton
from ismpack.tokenization.atoms import Block
from ismpack.tokenization.encoder import RunEncoder
from ismpack.tokenization.loader import WHITE_SPACE, ControlToken
from ismpack.tokenization.plans import Plan, PlanMaker, Recipe
from ismpack.tokenization.runs import Policy, RunCutter, RunTable, any_of

_MAX_KEPT = 2048
"""Plans that are kept, and as many skeletons that were seen once."""

_Key: TypeAlias = tuple[Skeleton, tuple[int, ...]]
_Value = TypeVar("_Value")


class Planner:
    """Cuts samples by plan. A plan is made when its skeleton comes by for the second time.

    Args:
        control_tokens: Every added token.
        cutter: The cutter of whole samples.
        encoder: The encoder of runs.
        is_refused: bool[largest id + 1], whether a run must not become this id.
        policy: What the text of a control token in data becomes.
        written_by_model: Control tokens that are tokens in an assistant's data too.
    """

    def __init__(
        self,
        control_tokens: Collection[ControlToken],
        cutter: RunCutter,
        encoder: RunEncoder,
        is_refused: npt.NDArray[np.bool_],
        policy: Policy,
        written_by_model: Collection[str],
    ) -> None:
        self._maker = PlanMaker(control_tokens, cutter, encoder, is_refused)
        self._never = policy == "control" or any(token.single_word or token.is_blank for token in control_tokens)
        # One pattern per first character, for texts that have it: looking for a character costs next to nothing.
        by_character = groupby(sorted(written_by_model), key=lambda content: content[:1])
        self._written = tuple((character, any_of(contents)) for character, contents in by_character)
        self._plans: dict[_Key, Plan | None] = {}
        self._seen_once: dict[_Key, None] = {}

    def cut(self, sample: Filled, table: RunTable) -> Block | None:
        """Append a sample's runs to a table, and return its atoms; None, and no change, if no plan serves it."""
        if self._never:
            return None
        values = sample.values
        empty: tuple[int, ...] = ()
        if not all(values):
            empty = tuple(hole for hole, value in enumerate(values) if not value)
            values = [value for value in values if value]
        plan = self._plan((sample.skeleton, empty))
        if plan is None or _is_stripped(plan, values):
            return None
        runs = _texts(plan.runs, values) if plan.heads is None else list(map(add, plan.heads, values))
        for character, pattern in self._written:
            for place in plan.watched:
                if character in runs[place] and pattern.search(runs[place]):
                    return None
        if plan.prefixes:
            first = len(table.runs)
            table.prefixes |= {first + place: _texts(recipes, values) for place, recipes in plan.prefixes.items()}
        table.runs += runs
        table.opening += plan.opening
        return plan.block

    def _plan(self, key: _Key) -> Plan | None:
        if key in self._plans:
            return self._plans[key]
        if key not in self._seen_once:
            _keep(self._seen_once, key, None)
            return None
        del self._seen_once[key]
        plan = self._maker.make(*key)
        _keep(self._plans, key, plan)
        return plan


def _texts(recipes: Sequence[Recipe], values: Sequence[str]) -> list[str]:
    return [text % tuple(values[start:stop]) for text, start, stop in recipes]


def _is_stripped(plan: Plan, values: Sequence[str]) -> bool:
    """Whether a value has white space where a control token swallows it."""
    if not (plan.first_guards or plan.last_guards):
        return False
    return any(values[hole][0] in WHITE_SPACE for hole in plan.first_guards) or any(
        values[hole][-1] in WHITE_SPACE for hole in plan.last_guards
    )


def _keep(kept: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Add an entry; the oldest makes room."""
    if len(kept) >= _MAX_KEPT:
        del kept[next(iter(kept))]
    kept[key] = value
