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
    overlong = np.flatnonzero(batch.lengths > max_length).tolist()
    if not overlong:
        return Fitted(batch=batch, refused={})
    offsets = batch.offsets
    kept = batch.lengths.astype(np.int64)
    refused: dict[int, RecordError] = {}
    turns = tokens = 0
    for i in overlong:
        lost_turns, error = 0, None
        kept[i] = 0
        if policy == "turns":
            here = slice(offsets[i], offsets[i + 1])
            kept[i], lost_turns, error = _leading_turns(batch.turn_ids[here], batch.loss_mask[here], max_length)
        elif policy == "error":
            error = _overlong(f"the conversation has {batch.lengths[i]:,} tokens and does not fit in {max_length:,}")
        if error:
            refused[i] = error
        elif kept[i]:
            turns += lost_turns
            tokens += int(batch.lengths[i] - kept[i])
    return Fitted(
        batch=_truncate(batch, kept),
        refused=refused,
        dropped=tuple(overlong) if policy == "drop" else (),
        cut=len(overlong) - len(refused) if policy == "turns" else 0,
        cut_turns=turns,
        cut_tokens=tokens,
    )


def _leading_turns(
    turn_ids: npt.NDArray[np.int32], loss_mask: npt.NDArray[np.uint8], max_length: int
) -> tuple[int, int, RecordError | None]:
    """Tokens kept and turns lost when one sample keeps its leading whole turns, or why it cannot."""
    ends = np.append(np.flatnonzero(np.diff(turn_ids)) + 1, len(turn_ids))
    fitting = int(np.searchsorted(ends, max_length, side="right"))
    if fitting == 0:
        return 0, 0, _overlong(f"the first turn has {ends[0]:,} tokens and does not fit in {max_length:,}")
    kept = int(ends[fitting - 1])
    if not loss_mask[:kept].any():
        message = f"no answer to train on is left in the {fitting} turns that fit in {max_length:,} tokens"
        return 0, 0, RecordError(message, code="no-target")
    return kept, len(ends) - fitting, None


def _overlong(message: str) -> RecordError:
    return RecordError(message, code="overlong", hint="Use a larger --max-length.")


def _truncate(batch: SampleBatch, kept: npt.NDArray[np.int64]) -> SampleBatch:
    """The first `kept[i]` tokens of each sample; samples with none are left out."""
    rest = batch.lengths - kept
    tokens = np.repeat(np.tile([True, False], len(kept)), np.stack([kept, rest], 1).ravel())
    return SampleBatch(
        input_ids=batch.input_ids[tokens],
        segment_type_ids=batch.segment_type_ids[tokens],
        turn_ids=batch.turn_ids[tokens],
        loss_mask=batch.loss_mask[tokens],
        lengths=kept[kept > 0].astype(np.int32),
        source_ids=batch.source_ids[kept > 0],
    )
