"""Dense 4-D masks from intervals: what `scaled_dot_product_attention` and eager attention take.

Letters used in shapes: B rows of the batch, T tokens of a row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ismpack.errors import TrainingError


def dense_mask(lo: Tensor, hi: Tensor, dtype: torch.dtype = torch.bool, window: int | None = None) -> Tensor:
    """Write the intervals out: token `i` of row `b` sees the tokens `[lo[b, i], hi[b, i])`.

    A row that sees nothing cannot occur: every token sees itself, padding too (it is one more document).

    Args:
        lo: int32[B, T], from `ismpack.masks.intervals` or the batch of a `Collator` (`ism_lo`).
        hi: int32[B, T].
        dtype: `torch.bool`: True where a token attends, for `scaled_dot_product_attention`. A float type: 0 where it
            attends and the type's lowest number elsewhere, to be added to the scores, for eager attention.
        window: Sliding window in tokens, the token itself among them: token `i` sees nothing before `i - window + 1`.
            What it sees after itself, in its own query, is not cut; Gemma 3 does the same between image tokens.

    Returns:
        dtype[B, 1, T, T], on the device of `lo`; the 1 stands for the heads.

    Raises:
        TrainingError: `bad-batch`: lo and hi are no integers of one shape [B, T]; `mask-unsupported`: dtype is an
            integer.
    """
    lower = lowest_seen(lo, hi, window)
    token = torch.arange(lo.shape[1], device=lo.device, dtype=lo.dtype)
    seen = ((token >= lower[..., None]) & (token < hi[..., None]))[:, None]
    if dtype == torch.bool:
        return seen
    if not dtype.is_floating_point:
        raise TrainingError(
            f"a mask of {dtype} means nothing to attention",
            code="mask-unsupported",
            hint="Use torch.bool for sdpa, the model's own float type for eager attention.",
        )
    return torch.zeros(seen.shape, dtype=dtype, device=lo.device).masked_fill_(~seen, torch.finfo(dtype).min)


def lowest_seen(lo: Tensor, hi: Tensor, window: int | None) -> Tensor:
    """int32[B, T]: the first token that each token sees, sliding window included.

    Raises:
        TrainingError: `bad-batch`: lo and hi are no integers of one shape [B, T], or the window is below 1.
    """
    if lo.ndim != 2 or lo.shape != hi.shape or lo.dtype != hi.dtype or lo.dtype not in (torch.int32, torch.int64):
        raise TrainingError(
            f"lo is {lo.dtype}{list(lo.shape)} and hi {hi.dtype}{list(hi.shape)}; both must be integers [B, T]",
            code="bad-batch",
            hint="They are the first two vectors of ismpack.masks.intervals, one row each per row of the batch.",
        )
    if window is None:
        return lo
    if window < 1:
        raise TrainingError(f"a sliding window of {window} tokens leaves a token nothing to see", code="bad-batch")
    return torch.maximum(lo, torch.arange(lo.shape[1], device=lo.device, dtype=lo.dtype) - (window - 1))
