"""The mask in square blocks, for block-sparse kernels, and what it costs beside a causal one.

Nothing here looks at pairs of tokens. `lo` and `hi` never fall along a row and every token sees itself, so the keys
that a block of queries touches are one range, which its first and last query tell; the same holds for the keys that all
of its queries see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ismpack.masks.compact import Segments, segments
from ismpack.masks.kinds import MaskKind


class BlockTables(NamedTuple):
    """Which blocks of keys each block of queries needs; M = ceil(T / block_size) blocks, names are PyTorch's.

    Axes are batch (1), heads (1 = all alike), blocks of queries, and blocks of keys. `indices` begin with the blocks
    counted by `num_blocks`, ascending; after these come all others, ascending, which kernels do not read.

    Attributes:
        kv_num_blocks: int32[1, 1, M], blocks of which some pairs are visible and some not: the mask must be asked.
        kv_indices: int32[1, 1, M, M], their numbers.
        full_kv_num_blocks: int32[1, 1, M], blocks of which every pair is visible: the mask need not be asked.
        full_kv_indices: int32[1, 1, M, M], their numbers.
    """

    kv_num_blocks: npt.NDArray[np.int32]
    kv_indices: npt.NDArray[np.int32]
    full_kv_num_blocks: npt.NDArray[np.int32]
    full_kv_indices: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What attention over a row has to compute, beside causal attention over the same documents.

    Attributes:
        pairs: Pairs of tokens of which the first sees the second.
        causal_pairs: The same of kind `causal`.
        blocks: Blocks with at least one such pair: what a block-sparse kernel computes.
        causal_blocks: The same of kind `causal`.
    """

    pairs: int
    causal_pairs: int
    blocks: int
    causal_blocks: int

    @property
    def pair_ratio(self) -> float:
        """Pairs for each causal pair; 1 for an empty row."""
        return self.pairs / self.causal_pairs if self.causal_pairs else 1.0

    @property
    def block_ratio(self) -> float:
        """Blocks for each causal block; 1 for an empty row."""
        return self.blocks / self.causal_blocks if self.causal_blocks else 1.0


class _Edges(NamedTuple):
    """int64[M] each: what the first and the last token of each block of queries sees, `[lo, hi)`."""

    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    first_lo: npt.NDArray[np.int64]
    first_hi: npt.NDArray[np.int64]
    last_lo: npt.NDArray[np.int64]
    last_hi: npt.NDArray[np.int64]


def block_tables(
    segment_type_ids: npt.ArrayLike,
    turn_ids: npt.ArrayLike,
    seq_lengths: npt.ArrayLike,
    kind: MaskKind = "ism",
    *,
    block_size: int = 128,
) -> BlockTables:
    """The tables of PyTorch's `BlockMask`, without evaluating the mask: the same as `create_block_mask` makes.

    `BlockMask.from_kv_blocks(*map(torch.from_numpy, tables), BLOCK_SIZE=block_size, seq_lengths=(T, T), mask_mod=...)`;
    `mask_mod` is `lo[q] <= kv < hi[q]` with the vectors of `intervals`. The forward of FlashAttention 4 takes
    the same four in `BlockSparseTensorsTorch` (`mask_block_cnt`, `mask_block_idx`, `full_block_cnt`, `full_block_idx`,
    and `block_size=(block_size, block_size)`) where its tiles are that square; its backward wants the tables of the
    transposed mask, which are not made here. A last block that the
    row does not fill counts as partial.

    Args:
        segment_type_ids: integer[T], odd = query side.
        turn_ids: integer[T].
        seq_lengths: integer[D], tokens per document; they sum to T.
        kind: A key of `KINDS`.
        block_size: Tokens of a block, along queries and keys.

    Raises:
        ValueError: The kind is unknown, the columns do not fit each other, or a block has no tokens.

    Source: `torch.nn.attention.flex_attention`, `BlockMask` and `create_block_mask`.

    >>> [table[0, 0].tolist() for table in block_tables([1, 1, 1, 2], [0] * 4, [4], block_size=2)]
    [[1, 1], [[1, 0], [1, 0]], [1, 1], [[0, 1], [0, 1]]]
    """
    edges = _edges(segments(segment_type_ids, turn_ids, seq_lengths, kind), block_size)
    block = np.arange(len(edges.first))
    touched = (block >= (edges.first_lo // block_size)[:, None]) & (block < -(-edges.last_hi // block_size)[:, None])
    seen_by_all = (block >= -(-edges.last_lo // block_size)[:, None]) & (
        block < (edges.first_hi // block_size)[:, None]
    )
    full = seen_by_all & (edges.last - edges.first + 1 == block_size)[:, None]
    return BlockTables(*_table(touched & ~full), *_table(full))


def cost(
    segment_type_ids: npt.ArrayLike,
    turn_ids: npt.ArrayLike,
    seq_lengths: npt.ArrayLike,
    kind: MaskKind = "ism",
    *,
    block_size: int = 128,
) -> Cost:
    """Count visible pairs and blocks of a mask, and of kind `causal`.

    For triplets, give the expanded columns and kind `prefix`; the causal counts are then of the expanded row too.

    Args:
        segment_type_ids: integer[T], odd = query side.
        turn_ids: integer[T].
        seq_lengths: integer[D], tokens per document; they sum to T.
        kind: A key of `KINDS`.
        block_size: Tokens of a block, along queries and keys.

    Raises:
        ValueError: The kind is unknown, the columns do not fit each other, or a block has no tokens.

    >>> cost([1, 1, 1, 2], [0] * 4, [4], block_size=2)
    Cost(pairs=13, causal_pairs=10, blocks=4, causal_blocks=3)
    """
    runs = segments(segment_type_ids, turn_ids, seq_lengths, kind)
    edges = _edges(runs, block_size)
    before = edges.first_lo // block_size
    q_length = np.diff(runs.q_ranges).astype(np.int64)[~runs.causal]
    lengths = np.asarray(seq_lengths).astype(np.int64)
    causal_pairs = int((lengths * (lengths + 1) // 2).sum())
    return Cost(
        # A block adds what lies above the diagonal to what causal attention sees.
        pairs=causal_pairs + int((q_length * (q_length - 1) // 2).sum()),
        causal_pairs=causal_pairs,
        blocks=int((-(-edges.last_hi // block_size) - before).sum()),
        causal_blocks=int((edges.last // block_size + 1 - before).sum()),
    )


def _edges(runs: Segments, block_size: int) -> _Edges:
    if block_size < 1:
        raise ValueError(f"block_size must be 1 or more, got {block_size}")
    tokens = int(runs.q_ranges[-1, 1]) if len(runs.q_ranges) else 0
    first = np.arange(0, tokens, block_size)
    last = np.minimum(first + block_size, tokens) - 1
    return _Edges(first, last, *_seen(runs, first), *_seen(runs, last))


def _seen(runs: Segments, token: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Of each token, the half-open range of tokens that it sees."""
    run = np.searchsorted(runs.q_ranges[:, 0], token, side="right") - 1
    lo, hi = runs.k_ranges[run].astype(np.int64).T
    return lo, np.where(runs.causal[run], token + 1, hi)


def _table(needed: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """How many blocks each line needs, and their numbers followed by those of the others."""
    count = needed.sum(axis=1, dtype=np.int32)
    order = np.argsort(~needed, axis=1, kind="stable").astype(np.int32)
    return count[None, None], order[None, None]
