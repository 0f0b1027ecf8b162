"""The mask as calls of a kernel for sequences of different lengths that knows causal and full attention alone.

Such kernels are `flash_attn_varlen_func` of FlashAttention 2 and 3, `torch.nn.attention.varlen.varlen_attn`, and
xformers' (`BlockDiagonalMask` or `BlockDiagonalCausalFromBottomRightMask`, whose `from_seqlens` takes two lists,
`np.diff(cu_seqlens_q).tolist()` and the same of k). A call is made with tokens picked from the row, and its result put
back:

    out[call.q_index] = kernel(q[call.q_index], k[call.k_index], v[call.k_index], call.cu_seqlens_q, ...)

`q`, `k`, `v` are [T, heads, dim]. Causal is aligned bottom right: in a pair of q and k sequences the last query sees
every key, and each earlier query one key less (FlashAttention since 2.1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ismpack.masks.compact import segments
from ismpack.masks.kinds import MaskKind, check_lengths


class VarlenCall(NamedTuple):
    """One call of a variable-length kernel; argument names are FlashAttention's.

    Attributes:
        q_index: int64[Q], token of the row of each query.
        k_index: int64[K], token of the row of each key and value.
        cu_seqlens_q: int32[N + 1], where each sequence of queries starts in `q_index`, and the end.
        cu_seqlens_k: int32[N + 1], the same for keys.
        max_seqlen_q: Longest sequence of queries.
        max_seqlen_k: Longest sequence of keys.
        causal: True: causal, aligned bottom right. False: every query of a sequence sees every key of it.
    """

    q_index: npt.NDArray[np.int64]
    k_index: npt.NDArray[np.int64]
    cu_seqlens_q: npt.NDArray[np.int32]
    cu_seqlens_k: npt.NDArray[np.int32]
    max_seqlen_q: int
    max_seqlen_k: int
    causal: bool


def varlen_documents(seq_lengths: npt.ArrayLike) -> VarlenCall:
    """Kind `causal`, in one causal call over the row as it is: both indices are 0 to T.

    Args:
        seq_lengths: integer[D], tokens per document.

    Raises:
        ValueError: The lengths are not integers of 1 or more.

    >>> varlen_documents([3, 2]).cu_seqlens_q.tolist()
    [0, 3, 5]
    """
    lengths, ends = check_lengths(seq_lengths)
    documents = np.stack([ends - lengths, ends], axis=1)
    return _call(documents, documents, causal=True)


def varlen_gathered(
    segment_type_ids: npt.ArrayLike, turn_ids: npt.ArrayLike, seq_lengths: npt.ArrayLike, kind: MaskKind = "ism"
) -> tuple[VarlenCall, ...]:
    """Any kind, in a full call for blocks and a causal one for the rest; every query is in exactly one of them.

    Each segment brings a copy of the keys and values of its document up to its own end, since sequences of keys cannot
    overlap: about as many as triplet expansion has tokens. `varlen_two_calls` needs none, but wants the kernel's LSE.

    Args:
        segment_type_ids: integer[T], odd = query side.
        turn_ids: integer[T].
        seq_lengths: integer[D], tokens per document; they sum to T.
        kind: A key of `KINDS`.

    Returns:
        The calls that have any queries, so at most two.

    Raises:
        ValueError: The kind is unknown or the columns do not fit each other.

    Source: FlashAttention, docstring of `flash_attn_varlen_func`.

    >>> calls = varlen_gathered([1, 1, 2], [0, 0, 0], [3])
    >>> [(call.causal, call.q_index.tolist(), call.k_index.tolist()) for call in calls]
    [(False, [0, 1], [0, 1]), (True, [2], [0, 1, 2])]
    """
    q_ranges, k_ranges, causal = segments(segment_type_ids, turn_ids, seq_lengths, kind)
    parts = ((False, ~causal), (True, causal))
    return tuple(_call(q_ranges[part], k_ranges[part], causal=flag) for flag, part in parts if part.any())


def varlen_two_calls(
    segment_type_ids: npt.ArrayLike, turn_ids: npt.ArrayLike, seq_lengths: npt.ArrayLike, kind: MaskKind = "ism"
) -> tuple[VarlenCall, ...]:
    """Any kind, in two causal calls whose results are merged: documents, and what blocks see beyond causal.

    In a block that is the strict upper triangle, and causal attention on the block turned around: its queries without
    the last token, and its keys without the first, both from the end to the start. The calls share no pair of tokens.
    With the log-sum-exp of each (`return_attn_probs`, `return_lse` or the like), `lse = logaddexp(lse1, lse2)` and
    `out = exp(lse1 - lse) * out1 + exp(lse2 - lse) * out2` for tokens in `q_index` of the second call; all others keep
    the first call's. Each call's own backward, given the MERGED `out` and `lse`, adds up to the gradient.
    No key is copied twice in a call, and no pair is computed that is not visible.

    Args:
        segment_type_ids: integer[T], odd = query side.
        turn_ids: integer[T].
        seq_lengths: integer[D], tokens per document; they sum to T.
        kind: A key of `KINDS`.

    Returns:
        The calls that have any queries: the second is missing if no block has two tokens, both if the row is empty.

    Raises:
        ValueError: The kind is unknown or the columns do not fit each other.

    >>> calls = varlen_two_calls([1, 1, 1, 2], [0, 0, 0, 0], [4])
    >>> [(call.q_index.tolist(), call.k_index.tolist()) for call in calls]
    [([0, 1, 2, 3], [0, 1, 2, 3]), ([1, 0], [2, 1])]
    """
    q_ranges, _, causal = segments(segment_type_ids, turn_ids, seq_lengths, kind)
    if not len(q_ranges):
        return ()
    documents = varlen_documents(seq_lengths)
    blocks = q_ranges[~causal & (q_ranges[:, 1] - q_ranges[:, 0] > 1)]
    if not len(blocks):
        return (documents,)
    start, end = blocks.T
    queries, keys = np.stack([start, end - 1], axis=1), np.stack([start + 1, end], axis=1)
    second = _call(queries, keys, causal=True)
    # Turned around, token t of the range [s, e) changes places with s + e - 1 - t.
    lengths = np.diff(second.cu_seqlens_q)
    q_index = np.repeat(queries.sum(axis=1) - 1, lengths) - second.q_index
    k_index = np.repeat(keys.sum(axis=1) - 1, lengths) - second.k_index
    return documents, second._replace(q_index=q_index, k_index=k_index)


def _call(q_ranges: npt.NDArray[np.integer], k_ranges: npt.NDArray[np.integer], *, causal: bool) -> VarlenCall:
    """The call in which each half-open range of queries sees the range of keys beside it."""
    q_index, cu_seqlens_q = _laid_out(q_ranges)
    k_index, cu_seqlens_k = _laid_out(k_ranges)
    q_longest, k_longest = (int(np.diff(starts).max(initial=0)) for starts in (cu_seqlens_q, cu_seqlens_k))
    return VarlenCall(q_index, k_index, cu_seqlens_q, cu_seqlens_k, q_longest, k_longest, causal)


def _laid_out(ranges: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """The numbers of all ranges end to end, and where each range starts in them."""
    lengths = ranges[:, 1].astype(np.int64) - ranges[:, 0]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    index = np.arange(offsets[-1]) + np.repeat(ranges[:, 0] - offsets[:-1], lengths)
    return index, offsets.astype(np.int32)
