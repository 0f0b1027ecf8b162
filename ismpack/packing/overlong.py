"""Samples that are longer than a row: keep the leading whole turns, or leave the sample out. Never half a turn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ismpack.data import SampleBatch
from ismpack.errors import RecordError
from ismpack.options import Overlong


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Fitted:
    """What is left of a batch when every sample fits.

    Attributes:
        batch: The samples that fit, cut or whole, in order.
        refused: Index in the original batch -> why the sample cannot be used (`overlong` or `no-target`).
        dropped: Indices in the original batch that `--overlong drop` leaves out.
        cut: Samples that lost turns.
        cut_turns: Turns that were cut off.
        cut_tokens: Tokens that were cut off.
    """

    batch: SampleBatch
    refused: dict[int, RecordError]
    dropped: tuple[int, ...] = ()
    cut: int = 0
    cut_turns: int = 0
    cut_tokens: int = 0


def fit(batch: SampleBatch, max_length: int, policy: Overlong) -> Fitted:
    """Make every sample at most `max_length` tokens long.

    Args:
        batch: Samples of any length.
        max_length: Tokens per row.
        policy: `turns` keeps the leading whole turns that fit, `drop` leaves the sample out, `error` refuses it.
    """
    overlong = np.flatnonzero(batch.lengths > max_length)
    if not len(overlong):
        return Fitted(batch=batch, refused={})
    if policy == "turns":
        return _leading_turns(batch, max_length, overlong)
    return Fitted(
        batch=_truncate(batch, overlong, np.zeros_like(overlong)),
        dropped=tuple(overlong.tolist()) if policy == "drop" else (),
        refused={
            i: _overlong(f"the conversation has {batch.lengths[i]:,} tokens and does not fit in {max_length:,}")
            for i in overlong.tolist()
            if policy == "error"
        },
    )


def _leading_turns(batch: SampleBatch, max_length: int, overlong: npt.NDArray[np.int64]) -> Fitted:
    """Cut the samples `overlong` after as many turns as fit; refuse those of which no turn or no target is left."""
    starts, stops = batch.offsets[overlong], batch.offsets[overlong + 1]
    begins = np.empty(len(batch.turn_ids) + 1, np.bool_)
    np.not_equal(batch.turn_ids[1:], batch.turn_ids[:-1], out=begins[1:-1])
    begins[batch.offsets] = True
    edges = np.flatnonzero(begins)  # where turns begin, and the end
    first, last = np.searchsorted(edges, starts), np.searchsorted(edges, starts + max_length, side="right") - 1
    ends = edges[last]
    refused: dict[int, RecordError] = {}
    for k in np.flatnonzero(~_has_target(batch.loss_mask, starts, ends)).tolist():
        if last[k] == first[k]:
            tokens = edges[first[k] + 1] - starts[k]
            error = _overlong(f"the first turn has {tokens:,} tokens and does not fit in {max_length:,}")
        else:
            fitting = f"the {last[k] - first[k]} turns that fit in {max_length:,} tokens"
            error = RecordError(f"no answer to train on is left in {fitting}", code="no-target")
        refused[int(overlong[k])] = error
    is_cut = ~np.isin(overlong, list(refused))
    return Fitted(
        batch=_truncate(batch, overlong, np.where(is_cut, ends - starts, 0)),
        refused=refused,
        cut=int(is_cut.sum()),
        cut_turns=int((np.searchsorted(edges, stops) - last)[is_cut].sum()),
        cut_tokens=int((stops - ends)[is_cut].sum()),
    )


def _has_target(
    loss_mask: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Whether a token of each range is a target; ranges do not reach the end of the batch."""
    found = np.maximum.reduceat(loss_mask, np.stack([starts, ends], 1).ravel())[::2]
    return (found > 0) & (starts < ends)  # of an empty range, `reduceat` gives the token that stands there


def _overlong(message: str) -> RecordError:
    return RecordError(message, code="overlong", hint="Use a larger --max-length.")


def _truncate(batch: SampleBatch, cut: npt.NDArray[np.int64], kept: npt.NDArray[np.int64]) -> SampleBatch:
    """The first `kept[k]` tokens of each sample `cut[k]`, and all of the others; samples with none are left out."""
    lengths = batch.lengths.copy()
    lengths[cut] = kept
    starts = [0, *batch.offsets[cut + 1].tolist()]
    stops = [*(batch.offsets[cut] + kept).tolist(), len(batch.input_ids)]
    parts = list(map(slice, starts, stops))
    return SampleBatch(
        input_ids=np.concatenate([batch.input_ids[part] for part in parts]),
        segment_type_ids=np.concatenate([batch.segment_type_ids[part] for part in parts]),
        turn_ids=np.concatenate([batch.turn_ids[part] for part in parts]),
        loss_mask=np.concatenate([batch.loss_mask[part] for part in parts]),
        lengths=lengths[lengths > 0],
        source_ids=batch.source_ids[lengths > 0],
    )
