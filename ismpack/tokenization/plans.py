"""Plans: what samples of one skeleton have in common, cut and encoded once.

A skeleton is cut with a mark in every hole, by the same cutter that cuts whole samples. Runs without a mark are encoded
at once, and their ids stand among the control tokens'; what is left to do for a sample is to put its data into the
texts of the other runs.

    skeleton  <|im_start|>user\\n__<|im_end|>\\n<|im_start|>assistant\\n
    plan      151644 "user\\n%s" 151645 198 151644 77091 198
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ismpack.data import Filled, Origin, Segment, Skeleton
from ismpack.tokenization.atoms import Atoms, Block, encode_runs
from ismpack.tokenization.encoder import RunEncoder
from ismpack.tokenization.loader import ControlToken
from ismpack.tokenization.runs import RUN, RunCutter, RunTable

_PRIVATE_USE = range(0xE000, 0xF900)


class Recipe(NamedTuple):
    """A text with holes: `text % values[start:stop]`."""

    text: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Plan:
    """How samples become runs and atoms. Holes are counted without the empty ones.

    Attributes:
        runs: The runs that hold data.
        heads: The text before each run's value, if every run is a text and one value, as nearly all are; else None.
        opening: Whether each stands at text position 0.
        prefixes: Place in `runs` -> the run's text up to each boundary between two types inside it.
        atoms: Those of one sample; template text is ids already.
        block: The same as bytes.
        first_guards: Holes whose value must not begin with white space: a token before it would swallow that.
        last_guards: Holes whose value must not end with white space.
        watched: Places in `runs` of those with an assistant's data, which must not hold a token that a model writes.
    """

    runs: tuple[Recipe, ...]
    heads: tuple[str, ...] | None
    opening: tuple[bool, ...]
    prefixes: Mapping[int, tuple[Recipe, ...]]
    atoms: Atoms
    block: Block
    first_guards: tuple[int, ...]
    last_guards: tuple[int, ...]
    watched: tuple[int, ...]


class PlanMaker:
    """Makes plans for tokenizers whose cuts do not depend on what the data is, but for what a plan guards against.

    Args:
        control_tokens: Every added token; none is white space, none a single word.
        cutter: The cutter of whole samples, which takes no control token from data other than an assistant's.
        encoder: The encoder of runs.
        is_refused: bool[largest id + 1], whether a run must not become this id.
    """

    def __init__(
        self,
        control_tokens: Collection[ControlToken],
        cutter: RunCutter,
        encoder: RunEncoder,
        is_refused: npt.NDArray[np.bool_],
    ) -> None:
        self._tokens = {token.id: token for token in control_tokens}
        self._cutter = cutter
        self._encoder = encoder
        self._is_refused = is_refused
        self._characters = frozenset().union(*(token.content for token in control_tokens))

    def make(self, skeleton: Skeleton, empty: Collection[int]) -> Plan | None:
        """The plan for samples in which the holes `empty` and no others are empty.

        Returns:
            None if a hole counts as template text or template text as an assistant's, which makes cuts depend on the
            data, and if a run without a hole is refused.
        """
        slots = [slot for bone in skeleton.bones for slot in bone.slots]
        if any(slot.origin is (Origin.ASSISTANT if slot.text else Origin.TEMPLATE) for slot in slots):
            return None
        mark = self._mark([slot.text for slot in slots if slot.text])
        holes = list(skeleton.holes)
        marked = Filled(skeleton, ["" if k in empty else mark for k in range(len(holes))]).segments()
        table = self._cutter.cut([marked])
        is_open = [mark in text for text in table.runs]
        atoms = self._atoms(table, is_open, marked)
        if atoms is None:
            return None
        origins = [hole.origin for k, hole in enumerate(holes) if k not in empty]
        first_holes = [0, *accumulate(text.count(mark) for text in table.runs)]
        runs = [run for run, opened in enumerate(is_open) if opened]
        first_guards, last_guards = self._guards(table, runs, first_holes, mark)
        texts = [table.runs[run] for run in runs]
        return Plan(
            runs=tuple(_recipe(text, mark, first_holes[run]) for run, text in zip(runs, texts, strict=True)),
            heads=_heads(texts, mark),
            opening=tuple(table.opening[run] for run in runs),
            prefixes={
                place: tuple(_recipe(text, mark, first_holes[run]) for text in table.prefixes[run])
                for place, run in enumerate(runs)
                if run in table.prefixes
            },
            atoms=atoms,
            block=atoms.block(),
            first_guards=first_guards,
            last_guards=last_guards,
            watched=tuple(
                place
                for place, run in enumerate(runs)
                if Origin.ASSISTANT in origins[first_holes[run] : first_holes[run + 1]]
            ),
        )

    def _mark(self, texts: Sequence[str]) -> str:
        """A character that no text and no token has; neither white space nor a letter."""
        used = self._characters.union(*texts)
        return next(char for char in map(chr, _PRIVATE_USE) if char not in used)

    def _atoms(self, table: RunTable, is_open: Sequence[bool], sample: Sequence[Segment]) -> Atoms | None:
        """A sample's atoms, with the ids of the runs that have no hole; None if one of them is refused."""
        encoded = encode_runs(self._encoder, table.only(run for run, opened in enumerate(is_open) if not opened))
        if self._is_refused[encoded.ids].any():
            return None
        ids = np.array(table.atom_ids, np.int32)
        is_known = ids == RUN
        is_known[is_known] = ~np.array(is_open, np.bool_)[table.part_runs()]
        lengths = np.ones(len(ids), np.int64)
        lengths[is_known] = encoded.part_lengths
        ids = np.repeat(ids, lengths)
        ids[np.repeat(is_known, lengths)] = encoded.ids
        types = np.repeat(np.array(table.atom_types, np.uint8), lengths)
        return Atoms.of(ids, types, np.repeat(np.array(table.atom_segments, np.int32), lengths), sample)

    def _guards(
        self, table: RunTable, runs: Sequence[int], first_holes: Sequence[int], mark: str
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Holes right after a token that strips what follows, and holes right before one that strips what precedes."""
        run_atoms: dict[int, list[int]] = {}
        for atom, run in zip(np.flatnonzero(np.array(table.atom_ids) == RUN).tolist(), table.part_runs(), strict=True):
            run_atoms.setdefault(run, []).append(atom)
        neighbours = [None, *map(self._tokens.get, table.atom_ids), None]
        first_guards, last_guards = [], []
        for run in runs:
            before, after = neighbours[run_atoms[run][0]], neighbours[run_atoms[run][-1] + 2]
            if before is not None and before.rstrip and table.runs[run].startswith(mark):
                first_guards.append(first_holes[run])
            if after is not None and after.lstrip and table.runs[run].endswith(mark):
                last_guards.append(first_holes[run + 1] - 1)
        return tuple(first_guards), tuple(last_guards)


def _heads(texts: Sequence[str], mark: str) -> tuple[str, ...] | None:
    """Texts without the mark that ends them; None if one has another mark, or does not end in it."""
    is_simple = all(text.find(mark) == len(text) - 1 for text in texts)
    return tuple(text[:-1] for text in texts) if is_simple else None


def _recipe(text: str, mark: str, start: int) -> Recipe:
    return Recipe(text.replace("%", "%%").replace(mark, "%s"), start, start + text.count(mark))
