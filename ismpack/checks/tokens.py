"""Checks of tokens, turns, documents and sources inside rows: whole batches as numpy columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
import numpy.typing as npt

from ismpack import masks
from ismpack.checks.report import Check, Problem
from ismpack.checks.rows import Rows
from ismpack.checks.rules import Rules
from ismpack.reader import RowBatch, row_batch
from ismpack.schema import IGNORE_INDEX, SOURCE_POSITION_BITS, SegmentType

Positions = npt.NDArray[np.int64]

STORED_TYPES = tuple(int(member) for member in SegmentType if member is not SegmentType.PADDING)


@dataclass(frozen=True, eq=False, kw_only=True)  # no slots: what several checks share is computed once
class Batch:
    """At least one row, all sound; arrays run over the T tokens or D documents of the whole batch.

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
    def row_starts(self) -> Positions:
        """int64[R]: first token of each row."""
        return self.columns.token_offsets[:-1].astype(np.int64)

    @cached_property
    def document_ends(self) -> Positions:
        """int64[D]: one past the last token of each document."""
        return np.cumsum(self.columns.seq_lengths, dtype=np.int64)

    @cached_property
    def document_starts(self) -> Positions:
        """int64[D]: first token of each document."""
        return self.document_ends - self.columns.seq_lengths

    @cached_property
    def opens_document(self) -> npt.NDArray[np.bool_]:
        """bool[T]: the token is the first of its document."""
        opens = np.zeros(len(self.columns.input_ids), np.bool_)
        opens[self.document_starts] = True
        return opens

    @cached_property
    def opens_turn(self) -> npt.NDArray[np.bool_]:
        """bool[T]: the token is the first of its turn; a document's first always is."""
        opens = self.opens_document.copy()
        opens[1:] |= self.columns.turn_ids[1:] != self.columns.turn_ids[:-1]
        return opens

    @cached_property
    def turn_ends(self) -> Positions:
        """int64[turns]: last token of each turn."""
        return np.append(np.flatnonzero(self.opens_turn[1:]), len(self.opens_turn) - 1)

    @cached_property
    def is_answer(self) -> npt.NDArray[np.bool_]:
        """bool[T]: the token is part of an answer."""
        answer: npt.NDArray[np.bool_] = self.columns.segment_type_ids == SegmentType.ANSWER
        return answer

    @cached_property
    def is_target(self) -> npt.NDArray[np.bool_]:
        """bool[T]: the token carries loss (any value but 0; `loss-values` finds the strange ones)."""
        target: npt.NDArray[np.bool_] = self.columns.loss_mask != 0
        return target

    def document_of(self, tokens: Positions) -> Positions:
        """The document of each token."""
        return np.searchsorted(self.document_starts, tokens, side="right") - 1

    def at(self, tokens: Positions, say: Callable[[int], str]) -> list[Problem]:
        """One problem for each row that holds some of `tokens`, about the first; `say` gets its position."""
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
            token=token - int(self.row_starts[row]),
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


def id_range(batch: Batch) -> Iterable[Problem]:
    """Ids of the tokenizer."""
    ids, largest = batch.columns.input_ids, batch.rules.largest_id
    if ids.min() >= 0 and ids.max() <= largest:
        return []
    wrong = np.flatnonzero((ids < 0) | (ids > largest))
    return batch.at(wrong, lambda t: f"token id {ids[t]} is outside 0..{largest}")


def segment_types(batch: Batch) -> Iterable[Problem]:
    """Padding is not stored either."""
    types = batch.columns.segment_type_ids
    known = reduce(np.logical_or, (types == value for value in STORED_TYPES))
    allowed = ", ".join(map(str, STORED_TYPES))
    return batch.at(np.flatnonzero(~known), lambda t: f"segment type {types[t]} does not exist; there are {allowed}")


def loss_values(batch: Batch) -> Iterable[Problem]:
    """A flag, not a weight."""
    loss = batch.columns.loss_mask
    return batch.at(np.flatnonzero(loss > 1), lambda t: f"loss_mask is {loss[t]}; it is 0 or 1")


def loss_on_answers(batch: Batch) -> Iterable[Problem]:
    """Loss on a query trains the model to write the user's part, with the answer in sight."""
    types = batch.columns.segment_type_ids
    wrong = np.flatnonzero(batch.is_target & ~batch.is_answer)
    return batch.at(wrong, lambda t: f"a token of segment type {types[t]} is a target; only answers (2) are")


def answer_loss(batch: Batch) -> Iterable[Problem]:
    """A flag belongs to a message, so an answer is a target as a whole or not at all."""
    answer, target = batch.is_answer, batch.is_target
    inside = answer[1:] & answer[:-1] & ~batch.opens_turn[1:]
    wrong = np.flatnonzero(inside & (target[1:] != target[:-1])) + 1
    return batch.at(wrong, lambda t: f"the answer is a target only {'from' if target[t] else 'up to'} this token")


def document_start(batch: Batch) -> Iterable[Problem]:
    """Otherwise the last token of the previous document would predict it."""
    starts = batch.document_starts
    query = (batch.columns.segment_type_ids[starts] & 1).astype(np.bool_)
    wrong = starts[~query | batch.is_target[starts]]
    return batch.at(wrong, lambda t: f"the document starts with {'a target' if batch.is_target[t] else 'an answer'}")


def document_end(batch: Batch) -> Iterable[Problem]:
    """Nothing after the last answer is kept."""
    last = batch.document_ends - 1
    types = batch.columns.segment_type_ids
    wrong = last[~batch.is_answer[last]]
    return batch.at(wrong, lambda t: f"the document ends with segment type {types[t]}; it ends with an answer (2)")


def document_target(batch: Batch) -> Iterable[Problem]:
    """A document without one would only cost time."""
    trained = np.logical_or.reduceat(batch.is_target, batch.document_starts)
    return batch.at(batch.document_starts[~trained], lambda _: "no token of the document is a target")


def turn_steps(batch: Batch) -> Iterable[Problem]:
    """Turns are counted over the row, so they are unique in it."""
    turns, opens = batch.columns.turn_ids, batch.opens_document
    step = np.empty_like(turns)
    np.subtract(turns[1:], turns[:-1], out=step[1:])
    step[batch.row_starts] = turns[batch.row_starts] + np.int32(1)
    # Seen as unsigned, every step but 0 and 1 is larger than 1.
    wrong = (step.view(np.uint32) > 1) | (opens & (step != 1))

    def say(token: int) -> str:
        if token in batch.row_starts:
            return f"the row starts with turn {turns[token]}, not 0"
        rule = "is a new turn" if opens[token] else "stays in the turn or opens the next"
        return f"turn {turns[token]} follows turn {turns[token - 1]}; the token {rule}"

    return batch.at(np.flatnonzero(wrong), say)


def turn_order(batch: Batch) -> Iterable[Problem]:
    """A turn is one query, possibly empty, then one answer."""
    answer, opens = batch.is_answer, batch.opens_turn
    unanswered = opens[1:] & ~batch.opens_document[1:] & ~answer[:-1]
    resumed = ~opens[1:] & answer[:-1] & ~answer[1:]

    def say(token: int) -> str:
        if opens[token]:
            return "a turn opens before the one before it has an answer"
        return "a query follows an answer inside one turn"

    return batch.at(np.flatnonzero(unanswered | resumed) + 1, say)


def stop_token(batch: Batch) -> Iterable[Problem]:
    """A model trained on an answer without one would not learn to stop."""
    if batch.rules.allow_unterminated:
        return []
    ids = batch.columns.input_ids
    ends = batch.turn_ends[(batch.is_answer & batch.is_target)[batch.turn_ends]]
    wrong = ends[~np.isin(ids[ends], batch.rules.stop_ids)]
    return batch.at(wrong, lambda t: f"the answer ends with token id {ids[t]}, which is no stop id")


def mask_leak(batch: Batch) -> Iterable[Problem]:
    """Proven on the mask itself: a target that is not the first token of its block is seen by the token before it.

    Turns out of order have no mask; `turn-steps` and `turn-order` report them.
    """
    columns = batch.columns
    try:
        q_ranges, _, causal = masks.segments(columns.segment_type_ids, columns.turn_ids, columns.seq_lengths)
    except ValueError:
        return []
    starts = q_ranges[:, 0]
    inside = batch.is_target.copy()
    inside[starts] = False
    leaks = np.logical_or.reduceat(inside, starts) & ~causal
    wrong = np.flatnonzero(inside & np.repeat(leaks, np.diff(q_ranges)[:, 0])) if leaks.any() else np.empty(0, np.int64)
    return batch.at(wrong, lambda _: "the token that predicts this target sees it under the ISM mask")


def source_range(batch: Batch) -> Iterable[Problem]:
    """The high 24 bits of a source id."""
    sources, inputs = batch.columns.source_ids, len(batch.rules.inputs)
    file = sources >> SOURCE_POSITION_BITS
    wrong = batch.document_starts[(file < 0) | (file >= inputs)]

    def say(token: int) -> str:
        source = sources[np.searchsorted(batch.document_starts, token)]
        return f"source id {source} points to input {source >> SOURCE_POSITION_BITS}; there are {inputs} inputs"

    return batch.at(wrong, say)


def derived_labels(batch: Batch) -> Iterable[Problem]:
    """Unshifted."""
    return _derived(batch, "labels", lambda: np.where(batch.is_target, batch.columns.input_ids, IGNORE_INDEX))


def derived_position_ids(batch: Batch) -> Iterable[Problem]:
    """Restart at 0 in every document."""

    def positions() -> npt.NDArray[np.int64]:
        return np.arange(len(batch.is_target)) - np.repeat(batch.document_starts, batch.columns.seq_lengths)

    return _derived(batch, "position_ids", positions)


def derived_assistant_masks(batch: Batch) -> Iterable[Problem]:
    """TRL's name for the loss mask."""
    return _derived(batch, "assistant_masks", lambda: batch.columns.loss_mask)


def _derived(batch: Batch, name: str, expect: Callable[[], npt.NDArray[np.integer]]) -> Iterable[Problem]:
    stored = batch.columns.derived.get(name)
    if stored is None:
        return []
    expected = expect()
    wrong = np.flatnonzero(stored != expected)
    return batch.at(wrong, lambda t: f"{name} is {stored[t]}; from the stored columns it is {expected[t]}")


TOKEN_CHECKS: tuple[Check[Batch], ...] = (
    Check("id-range", "Every token id lies in 0..largest_id.", id_range),
    Check("segment-types", "Every segment type is 1, 2, 3, 5 or 7.", segment_types),
    Check("turn-steps", "turn_ids start at 0, rise by 0 or 1, and by 1 at every document.", turn_steps),
    Check("turn-order", "Every turn is one query, possibly empty, then one answer.", turn_order),
    Check("document-start", "Every document starts on the query side, without loss.", document_start),
    Check("document-end", "Every document ends with an answer.", document_end),
    Check("document-target", "Every document has a target.", document_target),
    Check("loss-values", "loss_mask is 0 or 1.", loss_values),
    Check("loss-on-answers", "Only answer tokens are targets.", loss_on_answers),
    Check("answer-loss", "An answer is a target as a whole or not at all.", answer_loss),
    Check("stop-token", "Every trained answer ends with a stop token (unless --allow-unterminated).", stop_token),
    Check("mask-leak", "No target is seen, under the ISM mask, by the token that predicts it.", mask_leak),
    Check("source-range", "Every source id points to a listed input.", source_range),
    Check("derived-labels", "labels, if stored, are the ids of targets and -100 elsewhere.", derived_labels),
    Check("derived-position-ids", "position_ids, if stored, restart at 0 per document.", derived_position_ids),
    Check("derived-assistant-masks", "assistant_masks, if stored, equal loss_mask.", derived_assistant_masks),
)
