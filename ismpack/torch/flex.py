"""Masks for `torch.nn.attention.flex_attention`, built without looking at every pair of tokens.

A `BlockMask` says for each block of queries which blocks of keys it touches (the kernel evaluates `mask_mod` there) and
which it sees whole (it does not). `create_block_mask` learns that from the dense mask; the intervals tell it directly.

Letters used in shapes: B rows of the batch, T tokens of a row, N blocks of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from torch.nn.functional import pad

from ismpack.errors import TrainingError
from ismpack.torch.dense import lowest_seen

MaskMod: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""`(batch, head, query index, key index) -> bool`, all of them integer tensors without dimensions."""


def mask_mod(lo: Tensor, hi: Tensor, window: int | None = None) -> MaskMod:
    """The mask as a function of one pair of tokens, as flex attention wants it; two loads per pair.

    Args:
        lo: int32[B, T], see `dense_mask`.
        hi: int32[B, T].
        window: Sliding window in tokens, see `dense_mask`.

    Raises:
        TrainingError: `bad-batch`: lo and hi are no integers of one shape [B, T].

    Source: https://docs.pytorch.org/docs/stable/nn.attention.flex_attention.html
    """
    lower = lowest_seen(lo, hi, window)

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:  # noqa: ARG001
        return (key >= lower[batch, query]) & (key < hi[batch, query])

    return sees


def block_mask(lo: Tensor, hi: Tensor, block_size: int = 128, window: int | None = None) -> BlockMask:
    """The `BlockMask` that `create_block_mask(mask_mod(lo, hi, window), B, None, T, T)` gives, in O(T + N * N).

    All tables are equal to its tables, those of the backward pass too. T may be any length.

    Args:
        lo: int32[B, T], see `dense_mask`.
        hi: int32[B, T].
        block_size: Tokens per block, of queries and of keys.
        window: Sliding window in tokens, see `dense_mask`.

    Returns:
        A mask for all heads (its dimension of heads is 1), on the device of `lo`.

    Raises:
        TrainingError: `bad-batch`: lo and hi are no integers of one shape [B, T], or block_size is below 1.
    """
    if block_size < 1:
        raise TrainingError(f"block_size must be 1 or more, got {block_size}", code="bad-batch")
    touched, whole = _blocks(lowest_seen(lo, hi, window), hi, block_size)
    partial = touched & ~whole
    (kv_count, kv_index), (full_kv_count, full_kv_index) = _table(partial), _table(whole)
    (q_count, q_index), (full_q_count, full_q_index) = _table(partial.mT), _table(whole.mT)
    tokens = lo.shape[1]
    return BlockMask(
        seq_lengths=(tokens, tokens),
        kv_num_blocks=kv_count,
        kv_indices=kv_index,
        full_kv_num_blocks=full_kv_count,
        full_kv_indices=full_kv_index,
        q_num_blocks=q_count,
        q_indices=q_index,
        full_q_num_blocks=full_q_count,
        full_q_indices=full_q_index,
        BLOCK_SIZE=(block_size, block_size),
        mask_mod=mask_mod(lo, hi, window),
    )


def _blocks(lower: Tensor, hi: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """bool[B, N, N] twice: which block of keys each block of queries touches, and which it sees whole.

    The keys that a block of queries sees have no gap: intervals never fall along the row, each token sees itself, and a
    document starts where the one before it ends. So the lowest `lower` and the highest `hi` tell what is touched, and
    the highest `lower` and the lowest `hi` what every query sees.
    """
    rows, tokens = lower.shape
    count = -(-tokens // size)
    missing = count * size - tokens
    first_key = torch.arange(count, device=lower.device, dtype=lower.dtype) * size
    end_key = first_key + size

    def per_block(values: Tensor, filler: int) -> Tensor:
        return pad(values, (0, missing), value=filler).view(rows, count, size)

    # Queries beyond the row's end see nothing: they widen no range, and no query block with one sees a block whole.
    lowest, highest = per_block(lower, tokens).amin(-1, keepdim=True), per_block(hi, 0).amax(-1, keepdim=True)
    touched = (lowest < end_key) & (highest > first_key)
    last_start, first_end = per_block(lower, tokens).amax(-1, keepdim=True), per_block(hi, 0).amin(-1, keepdim=True)
    return touched, (last_start <= first_key) & (first_end >= end_key)


def _table(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """int32[B, 1, N], int32[B, 1, N, N]: per line how many blocks are set, and their numbers, the set ones first."""
    order = torch.argsort((~blocks).to(torch.int8), dim=-1, stable=True)
    return blocks.sum(-1, dtype=torch.int32)[:, None], order.to(torch.int32)[:, None].contiguous()
