"""Rows that can be read side by side, and what the checks of tokens want to know about them; each fact is found once.

A fact about every token is one byte per token and one or two comparisons, which numpy does for dozens of tokens at a
time. Whatever needs more is asked only about the tokens that open or end a turn or a document, which are few.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ismpack.checks.report import Problem
from ismpack.checks.rows import Flags, Rows
from ismpack.checks.rules import Rules
from ismpack.reader import RowBatch, row_batch
from ismpack.schema import SegmentType

Positions = npt.NDArray[np.int64]

_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False, kw_only=True)  # no slots: facts are kept in the instance
class Batch:
    """At least one row, all sound; arrays run over the T tokens, D documents or N turns of the whole batch.

    Attributes:
        columns: The columns.
        shard_rows: int64[R], rows of the shard.
        first_row: Row of the dataset at which the shard starts.
        rules: What the manifest promises.
    """

    columns: RowBatch
    shard_rows: npt.NDArray[np.int64]
    first_row: int
    rules: Rules

    @cached_property
    def document_ends(self) -> Positions:
        """int64[D]: last token of each document."""
        return np.cumsum(self.columns.seq_lengths, dtype=np.int64) - 1

    @cached_property
    def document_starts(self) -> Positions:
        """int64[D]: first token of each document."""
        return self.document_ends - self.columns.seq_lengths + 1

    @cached_property
    def opens_turn(self) -> Flags:
        """bool[T]: the token is the first of its turn; a document's first always is."""
        turns = self.columns.turn_ids
        opens = np.empty(len(turns), np.bool_)
        np.not_equal(turns[1:], turns[:-1], out=opens[1:])
        opens[self.document_starts] = True
        return opens

    @cached_property
    def turn_starts(self) -> Positions:
        """int64[N]: first token of each turn."""
        return np.flatnonzero(self.opens_turn)

    @cached_property
    def turn_ends(self) -> Positions:
        """int64[N]: last token of each turn."""
        return np.append(self.turn_starts[1:], len(self.opens_turn)) - 1

    @cached_property
    def first_turns(self) -> Positions:
        """int64[D]: the first turn of each document, as an index into turns."""
        return np.searchsorted(self.turn_starts, self.document_starts)

    @cached_property
    def is_answer(self) -> Flags:
        """bool[T]: the token is part of an answer."""
        # int(): numpy would compare with a member of an enum in int64, at twenty times the cost.
        answer: Flags = self.columns.segment_type_ids == int(SegmentType.ANSWER)
        return answer

    @cached_property
    def is_target(self) -> Flags:
        """bool[T]: the token carries loss (any value but 0; `loss-values` finds the strange ones)."""
        target: Flags = self.columns.loss_mask != 0
        return target

    @cached_property
    def is_answered(self) -> Flags:
        """bool[N]: the turn ends with an answer."""
        return self.is_answer[self.turn_ends]

    @cached_property
    def after_answer(self) -> Flags:
        """bool[T]: the token before it is an answer's, and of the same turn."""
        after = np.zeros(len(self.is_answer), np.bool_)
        np.greater(self.is_answer[:-1], self.opens_turn[1:], out=after[1:])
        return after

    @cached_property
    def targets_are_answers(self) -> bool:
        """All tokens of answers are targets and no others: most often so, and then loss can break few rules."""
        return np.array_equal(self.is_target, self.is_answer)

    @cached_property
    def stray_targets(self) -> Positions:
        """int64[]: targets outside answers."""
        return _NONE if self.targets_are_answers else positions(self.is_target > self.is_answer)

    @property
    def turns_per_document(self) -> Positions:
        """int64[D]."""
        return np.diff(self.first_turns, append=len(self.turn_starts))

    @property
    def triplet_tokens(self) -> int:
        """Over all turns, the tokens of the document up to the turn's end."""
        return int((self.turn_ends + 1).sum() - self.document_starts @ self.turns_per_document)

    def at(self, tokens: Positions, say: Callable[[int], str]) -> list[Problem]:
        """One problem for each row that holds some of `tokens` (rising), about the first; `say` gets its position."""
        if not len(tokens):
            return []
        rows = np.searchsorted(self.columns.token_offsets, tokens, side="right") - 1
        hit_rows, first, counts = np.unique(rows, return_index=True, return_counts=True)
        return [
            self._problem(int(row), int(tokens[index]), int(count), say)
            for row, index, count in zip(hit_rows, first, counts, strict=True)
        ]

    def _problem(self, row: int, token: int, count: int, say: Callable[[int], str]) -> Problem:
        document = int(np.searchsorted(self.document_starts, token, side="right")) - 1
        return Problem(
            message=say(token),
            shard=self.columns.shard,
            row=self.first_row + int(self.shard_rows[row]),
            shard_row=int(self.shard_rows[row]),
            document=document - int(self.columns.document_offsets[row]),
            token=token - int(self.columns.token_offsets[row]),
            source=self.rules.source(int(self.columns.source_ids[document])),
            count=count,
        )


def batch_of(rows: Rows) -> Batch | None:
    """The batch of rows that are sound; None when there are none."""
    if not len(rows.shard_rows):
        return None
    return Batch(
        columns=row_batch(rows.columns, rows.shard, rows.first_row + int(rows.shard_rows[0])),
        shard_rows=rows.shard_rows,
        first_row=rows.first_row,
        rules=rows.rules,
    )


def positions(flags: Flags) -> Positions:
    """int64[]: where flags are set. Asking first whether any is set costs a tenth of listing none."""
    return np.flatnonzero(flags) if flags.any() else _NONE
