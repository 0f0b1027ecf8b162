"""Attention masks of a pack, rebuilt from three of its columns: `segment_type_ids`, `turn_ids`, `seq_lengths`.

All functions take the columns of one row (arrays or lists), most also a `kind`, and need nothing but numpy. Token `i`
is a row of the matrix (it attends), token `j` a column (it is attended to). Inside a document a token always sees
itself and everything before it; a kind only decides which tokens form *blocks*, whose tokens all see each other, see
`KINDS`.

The mask:

    dense             bool[T, T], the definition itself
    intervals         four int32[T] vectors: what each token sees, and by what it is seen
    segments          one query range and one key range per run of tokens that attend alike
    cost              visible pairs and blocks, beside those of a causal mask

The mask as a kernel wants it:

    block_tables      PyTorch flex_attention, forward of FlashAttention 4
    flashmask         FlashMask
    magi_slices       MagiAttention
    varlen_documents, varlen_gathered, varlen_two_calls
                      FlashAttention varlen, torch varlen_attn, xformers
    key_ranges        Tokamax
    splash            splash attention of JAX
    inverted          Transformer Engine, Megatron

The row around it:

    position_ids, document_ids, pad
    trainable         which tokens may carry loss under a kind
    triplets          prefix-LM: one document per answer; its mask is kind `prefix` on the new columns

Letters used in shapes: T tokens of the row, D documents, S segments.
"""

from __future__ import annotations

from ismpack.masks.blocks import BlockTables, Cost, block_tables, cost
from ismpack.masks.compact import Intervals, Segments, intervals, segments
from ismpack.masks.definition import dense
from ismpack.masks.kernels import (
    KeyRanges,
    MagiSlices,
    SplashMask,
    flashmask,
    inverted,
    key_ranges,
    magi_slices,
    splash,
)
from ismpack.masks.kinds import KINDS, MaskKind
from ismpack.masks.rows import Padded, Triplets, document_ids, pad, position_ids, trainable, triplets
from ismpack.masks.varlen import VarlenCall, varlen_documents, varlen_gathered, varlen_two_calls

__all__ = [
    "KINDS",
    "BlockTables",
    "Cost",
    "Intervals",
    "KeyRanges",
    "MagiSlices",
    "MaskKind",
    "Padded",
    "Segments",
    "SplashMask",
    "Triplets",
    "VarlenCall",
    "block_tables",
    "cost",
    "dense",
    "document_ids",
    "flashmask",
    "intervals",
    "inverted",
    "key_ranges",
    "magi_slices",
    "pad",
    "position_ids",
    "segments",
    "splash",
    "trainable",
    "triplets",
    "varlen_documents",
    "varlen_gathered",
    "varlen_two_calls",
]
