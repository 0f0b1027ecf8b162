"""Attention masks of a pack, rebuilt from three of its columns: `segment_type_ids`, `turn_ids`, `seq_lengths`.

    dense       bool[T, T], the definition itself
    intervals   four int32[T] vectors; what flex_attention, FlashMask and splash want
    segments    one query range and one key range per segment; what varlen and range kernels want

All take the columns of one row (arrays or lists) and a `kind`, and need nothing but numpy. Token `i` is a row of the
matrix (it attends), token `j` a column (it is attended to). Inside a document a token always sees itself and everything
before it; a kind only decides which tokens form *blocks*, whose tokens all see each other, see `KINDS`.

Letters used in shapes: T tokens of the row, D documents, S segments.
"""

from __future__ import annotations

from ismpack.masks.compact import Intervals, Segments, intervals, segments
from ismpack.masks.definition import dense
from ismpack.masks.kinds import KINDS, MaskKind

__all__ = ["KINDS", "Intervals", "MaskKind", "Segments", "dense", "intervals", "segments"]
