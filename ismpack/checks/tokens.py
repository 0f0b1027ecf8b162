"""Checks of tokens, turns, documents and sources inside rows: whole batches as numpy columns.

Most batches are clean, so the costly checks first ask a cheap question about all of it, and only look for tokens if the
answer is not "surely clean". What they then find, and nothing else, is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce

import numpy as np
import numpy.typing as npt

from ismpack import masks
from ismpack.checks.batch import Batch, positions
from ismpack.checks.report import Check, Problem
from ismpack.schema import IGNORE_INDEX, SOURCE_POSITION_BITS, SegmentType

STORED_TYPES = tuple(int(member) for member in SegmentType if member is not SegmentType.PADDING)
_TYPE_BITS = np.uint8(sum(1 << value for value in STORED_TYPES))
"""Bit v is set if type v exists. All are below 8; a shift by 8 or more leaves nothing."""


def id_range(batch: Batch) -> Iterable[Problem]:
    """Ids of the tokenizer."""
    ids, largest = batch.columns.input_ids, batch.rules.largest_id
    if ids.view(np.uint32).max() <= largest:  # seen as unsigned, negative ids are the largest of all
        return []
    wrong = np.flatnonzero((ids < 0) | (ids > largest))
    return batch.at(wrong, lambda t: f"token id {ids[t]} is outside 0..{largest}")


def segment_types(batch: Batch) -> Iterable[Problem]:
    """Padding is not stored either."""
    types = batch.columns.segment_type_ids
    if (_TYPE_BITS >> types & 1).min():
        return []
    known = reduce(np.logical_or, (types == value for value in STORED_TYPES))
    allowed = ", ".join(map(str, STORED_TYPES))
    return batch.at(np.flatnonzero(~known), lambda t: f"segment type {types[t]} does not exist; there are {allowed}")


def loss_values(batch: Batch) -> Iterable[Problem]:
    """A flag, not a weight."""
    loss = batch.columns.loss_mask
    if loss.max() <= 1:
        return []
    return batch.at(np.flatnonzero(loss > 1), lambda t: f"loss_mask is {loss[t]}; it is 0 or 1")


def loss_on_answers(batch: Batch) -> Iterable[Problem]:
    """Loss on a query trains the model to write the user's part, with the answer in sight."""
    types = batch.columns.segment_type_ids
    return batch.at(
        batch.stray_targets, lambda t: f"a token of segment type {types[t]} is a target; only answers (2) are"
    )


def answer_loss(batch: Batch) -> Iterable[Problem]:
    """A flag belongs to a message, so an answer is a target as a whole or not at all."""
    if batch.targets_are_answers:
        return []
    target = batch.is_target
    inside = batch.after_answer & batch.is_answer
    wrong = positions(inside[1:] & (target[1:] != target[:-1])) + 1
    return batch.at(wrong, lambda t: f"the answer is a target only {'from' if target[t] else 'up to'} this token")


def document_start(batch: Batch) -> Iterable[Problem]:
    """Otherwise the last token of the previous document would predict it."""
    starts = batch.document_starts
    query = (batch.columns.segment_type_ids[starts] & 1).astype(np.bool_)
    wrong = starts[~query | batch.is_target[starts]]
    return batch.at(wrong, lambda t: f"the document starts with {'a target' if batch.is_target[t] else 'an answer'}")


def document_end(batch: Batch) -> Iterable[Problem]:
    """Nothing after the last answer is kept."""
    last = batch.document_ends
    types = batch.columns.segment_type_ids
    wrong = last[~batch.is_answer[last]]
    return batch.at(wrong, lambda t: f"the document ends with segment type {types[t]}; it ends with an answer (2)")


def document_target(batch: Batch) -> Iterable[Problem]:
    """A document without one would only cost time."""
    if batch.is_target[batch.document_ends].all():
        return []
    trained = np.logical_or.reduceat(batch.is_target, batch.document_starts)
    return batch.at(batch.document_starts[~trained], lambda _: "no token of the document is a target")


def turn_steps(batch: Batch) -> Iterable[Problem]:
    """Turns are counted over the row, so they are unique in it. Where none opens, the turn id does not change."""
    turns, starts = batch.columns.turn_ids, batch.turn_starts
    rows = batch.columns.token_offsets[:-1]
    before = turns[starts - 1].astype(np.int64)
    before[np.searchsorted(starts, rows)] = -1
    wrong = starts[turns[starts] != before + 1]

    def say(token: int) -> str:
        if token in rows:
            return f"the row starts with turn {turns[token]}, not 0"
        rule = "is a new turn" if token in batch.document_starts else "stays in the turn or opens the next"
        return f"turn {turns[token]} follows turn {turns[token - 1]}; the token {rule}"

    return batch.at(wrong, say)


def turn_order(batch: Batch) -> Iterable[Problem]:
    """A turn is one query, possibly empty, then one answer."""
    unanswered = ~batch.is_answered
    unanswered[batch.first_turns - 1] = False  # a document's last turn is document-end's business
    followers = batch.turn_ends[unanswered] + 1
    resumed = positions(batch.after_answer > batch.is_answer)

    def say(token: int) -> str:
        if batch.opens_turn[token]:
            return "a turn opens before the one before it has an answer"
        return "a query follows an answer inside one turn"

    return batch.at(np.sort(np.append(followers, resumed)), say)


def stop_token(batch: Batch) -> Iterable[Problem]:
    """A model trained on an answer without one would not learn to stop."""
    if batch.rules.allow_unterminated:
        return []
    ids = batch.columns.input_ids
    ends = batch.turn_ends[batch.is_answered & batch.is_target[batch.turn_ends]]
    wrong = ends[~np.isin(ids[ends], batch.rules.stop_ids, kind="sort")]
    return batch.at(wrong, lambda t: f"the answer ends with token id {ids[t]}, which is no stop id")


def mask_leak(batch: Batch) -> Iterable[Problem]:
    """Proven on the mask itself: a target that is not the first token of its block is seen by the token before it.

    Only tokens of queries share blocks, so where no target is outside answers the mask need not be built. Turns out of
    order have no mask; `turn-steps` and `turn-order` report them.
    """
    if not len(batch.stray_targets):
        return []
    columns = batch.columns
    try:
        q_ranges, _, causal = masks.segments(columns.segment_type_ids, columns.turn_ids, columns.seq_lengths)
    except ValueError:
        return []
    starts = q_ranges[:, 0]
    inside = batch.is_target.copy()
    inside[starts] = False
    leaks = inside & np.repeat(~causal, np.diff(q_ranges)[:, 0])
    return batch.at(positions(leaks), lambda _: "the token that predicts this target sees it under the ISM mask")


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

    def count() -> npt.NDArray[np.int32]:
        starts = batch.document_starts.astype(np.int32)
        return np.arange(len(batch.columns.input_ids), dtype=np.int32) - np.repeat(starts, batch.columns.seq_lengths)

    return _derived(batch, "position_ids", count)


def derived_assistant_masks(batch: Batch) -> Iterable[Problem]:
    """TRL's name for the loss mask."""
    return _derived(batch, "assistant_masks", lambda: batch.columns.loss_mask)


def _derived(batch: Batch, name: str, expect: Callable[[], npt.NDArray[np.integer]]) -> Iterable[Problem]:
    stored = batch.columns.derived.get(name)
    if stored is None:
        return []
    expected = expect()
    wrong = positions(stored != expected)
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
