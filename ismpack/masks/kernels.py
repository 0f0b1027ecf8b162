"""The mask as the arguments of kernels that take ranges, ids or a dense mask; numpy arrays, ready to be copied over.

Every function takes the columns of one row and a kind; its docstring names the kernel, the arguments to give it, and
how the kernel reads them. Arrays with a batch axis are joined along it for a batch of equally long rows. The tests
rebuild the dense mask from what each kernel's documentation says (for splash, with its own mask class); they run none
of these kernels, which need a GPU or a TPU.

`varlen` holds the forms for variable-length kernels, `blocks` the ones for block-sparse kernels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ismpack.masks.compact import intervals, segments
from ismpack.masks.definition import dense
from ismpack.masks.kinds import MaskKind
from ismpack.masks.rows import document_ids


class MagiSlices(NamedTuple):
    """Arguments of MagiAttention, by their names.

    Attributes:
        q_ranges: int32[S, 2], half-open; disjoint, they cover the row.
        k_ranges: int32[S, 2], half-open.
        attn_type_map: int32[S]. 0: full. 1: causal, aligned bottom right.
    """

    q_ranges: npt.NDArray[np.int32]
    k_ranges: npt.NDArray[np.int32]
    attn_type_map: npt.NDArray[np.int32]


class KeyRanges(NamedTuple):
    """Arguments of Tokamax' `Mask`, by their names.

    Attributes:
        k_start: int32[1, T], first key that each token sees; the first axis is heads.
        k_end: int32[1, T], one past the last key that it sees.
    """

    k_start: npt.NDArray[np.int32]
    k_end: npt.NDArray[np.int32]


class SplashMask(NamedTuple):
    """A causal mask with positions of its own, and document ids, for splash attention.

    Attributes:
        q_sequence: int32[T], the last key that each token sees.
        segment_ids: int32[T], the document of each token; the same for queries and keys.
    """

    q_sequence: npt.NDArray[np.int32]
    segment_ids: npt.NDArray[np.int32]


def flashmask(
    segment_type_ids: npt.ArrayLike, turn_ids: npt.ArrayLike, seq_lengths: npt.ArrayLike, kind: MaskKind = "ism"
) -> npt.NDArray[np.int32]:
    """`startend_row_indices` of FlashMask, int32[1, 1, T, 2]: batch, heads (1 = all alike), keys, bounds.

    For `paddle.nn.functional.flashmask_attention` and the PyTorch binding in PaddlePaddle/flash-attention, called with
    `causal=False`. Key `j` has bounds `(r1, r2)`: hidden from rows `r1` and later (its document has ended), and from
    rows before `r2` (its block has not begun).

    Args:
        segment_type_ids: integer[T], odd = query side.
        turn_ids: integer[T].
        seq_lengths: integer[D], tokens per document; they sum to T.
        kind: A key of `KINDS`.

    Raises:
        ValueError: The kind is unknown or the columns do not fit each other.

    Source: FlashMask, arXiv 2410.01359; documentation of `flashmask_attention`, case (f).

    >>> flashmask([1, 1, 2], [0, 0, 0], [3]).tolist()
    [[[[3, 0], [3, 0], [3, 2]]]]
    """
    _, _, top, bot = intervals(segment_type_ids, turn_ids, seq_lengths, kind)
    return np.stack([bot, top], axis=1)[None, None]


def magi_slices(
    segment_type_ids: npt.ArrayLike, turn_ids: npt.ArrayLike, seq_lengths: npt.ArrayLike, kind: MaskKind = "ism"
) -> MagiSlices:
    """Slices for MagiAttention: `flex_flash_attn_func(q, k, v, **slices._asdict())`.

    `q`, `k`, `v` are [T, heads, dim]. Older versions want the longest range of each side too (`max_seqlen_q`,
    `max_seqlen_k`). As the query ranges are disjoint, `disable_fwd_atomic_reduction=True` may be set.

    Args:
        segment_type_ids: integer[T], odd = query side.
        turn_ids: integer[T].
        seq_lengths: integer[D], tokens per document; they sum to T.
        kind: A key of `KINDS`.

    Raises:
        ValueError: The kind is unknown or the columns do not fit each other.

    Source: MagiAttention, docstring of `flex_flash_attn_func`.

    >>> [v.tolist() for v in magi_slices([1, 1, 2], [0, 0, 0], [3])]
    [[[0, 2], [2, 3]], [[0, 2], [0, 3]], [0, 1]]
    """
    q_ranges, k_ranges, causal = segments(segment_type_ids, turn_ids, seq_lengths, kind)
    return MagiSlices(q_ranges, k_ranges, causal.astype(np.int32))


def key_ranges(
    segment_type_ids: npt.ArrayLike, turn_ids: npt.ArrayLike, seq_lengths: npt.ArrayLike, kind: MaskKind = "ism"
) -> KeyRanges:
    """Key ranges for Tokamax: `Mask(**ranges._asdict())`, with `is_causal=False` (it would cut blocks in half).

    The mask is for the op (`DotProductAttention`); the public `tokamax.dot_product_attention` takes a dense mask alone,
    `dense`. Row `i` sees keys `k_start[i]` up to, not including, `k_end[i]`.

    Args:
        segment_type_ids: integer[T], odd = query side.
        turn_ids: integer[T].
        seq_lengths: integer[D], tokens per document; they sum to T.
        kind: A key of `KINDS`.

    Raises:
        ValueError: The kind is unknown or the columns do not fit each other.

    Source: Tokamax, docstring of `Mask`.

    >>> [v.tolist() for v in key_ranges([1, 1, 2], [0, 0, 0], [3])]
    [[[0, 0, 0]], [[2, 2, 3]]]
    """
    lo, hi, _, _ = intervals(segment_type_ids, turn_ids, seq_lengths, kind)
    return KeyRanges(lo[None], hi[None])


def splash(
    segment_type_ids: npt.ArrayLike, turn_ids: npt.ArrayLike, seq_lengths: npt.ArrayLike, kind: MaskKind = "ism"
) -> SplashMask:
    """Splash attention of JAX Pallas: a causal mask over positions in which a block's tokens all stand at its end.

    Make `CausalMask((T, T))`, set its `q_sequence` to this one, and give the kernel `SegmentIds(q=segment_ids,
    kv=segment_ids)`. Token `i` then sees `j` if `q_sequence[i] >= j` and both are of one document. `q_sequence` lives
    on the host and the kernel is made for it, so a mask that changes with each batch compiles anew; the dynamic-mask
    kernel takes `dense` instead. T must be a multiple of the kernel's block size, see `pad`.

    Args:
        segment_type_ids: integer[T], odd = query side.
        turn_ids: integer[T].
        seq_lengths: integer[D], tokens per document; they sum to T.
        kind: A key of `KINDS`.

    Raises:
        ValueError: The kind is unknown or the columns do not fit each other.

    Source: `jax.experimental.pallas.ops.tpu.splash_attention`, `CausalMask` and `SegmentIds`.

    >>> [v.tolist() for v in splash([1, 1, 2, 1, 2], [0, 0, 0, 1, 1], [3, 2])]
    [[1, 1, 2, 3, 4], [0, 0, 0, 1, 1]]
    """
    hi = intervals(segment_type_ids, turn_ids, seq_lengths, kind).hi
    return SplashMask(hi - np.int32(1), document_ids(seq_lengths))


def inverted(
    segment_type_ids: npt.ArrayLike, turn_ids: npt.ArrayLike, seq_lengths: npt.ArrayLike, kind: MaskKind = "ism"
) -> npt.NDArray[np.bool_]:
    """The dense mask turned around, bool[1, 1, T, T]: batch, heads, queries, keys; True = may NOT attend.

    What Transformer Engine (`attn_mask_type="arbitrary"`) and Megatron (`AttnMaskType.arbitrary`) take as
    `attention_mask`. Transformer Engine runs such masks in its unfused backend only. Takes T * T bytes.

    Args:
        segment_type_ids: integer[T], odd = query side.
        turn_ids: integer[T].
        seq_lengths: integer[D], tokens per document; they sum to T.
        kind: A key of `KINDS`.

    Raises:
        ValueError: The kind is unknown or the columns do not fit each other.

    Source: Transformer Engine, `DotProductAttention`; Megatron-LM, `get_ltor_masks_and_position_ids`.

    >>> inverted([1, 1, 2], [0, 0, 0], [3]).astype(int).tolist()
    [[[[0, 0, 1], [0, 0, 1], [0, 0, 0]]]]
    """
    mask = dense(segment_type_ids, turn_ids, seq_lengths, kind)
    return np.logical_not(mask, out=mask)[None, None]
