"""The shard's columns and segment types: the contract between the write side and every reader.

Three facts that differ between projects, fixed here:
- labels are unshifted: `loss_mask[i] == 1` means that token `i` itself is a target;
- the first token of a document is never a target (a document starts with a query);
- rows are unpadded; type 0 exists for collators that pad and is never stored.
"""

from __future__ import annotations

from enum import IntEnum

FORMAT_VERSION = 1
IGNORE_INDEX = -100

ROWS_PER_BATCH = 128
"""Rows of an Arrow record batch; the last one of a shard may have fewer."""

SOURCE_POSITION_BITS = 40
"""`source_ids` = file index << 40 | 0-based position in that file."""

MANIFEST_NAME = "manifest.json"
REJECTED_NAME = "rejected.jsonl"
RUN_NAME = "run.json"


class SegmentType(IntEnum):
    """Values of `segment_type_ids`. Odd = query side (bidirectional), even = answer side (causal)."""

    PADDING = 0
    USER = 1
    """User messages, and template text that no message owns."""
    ANSWER = 2
    SYSTEM = 3
    TOOL_RESULT = 5
    GENERATION_PROMPT = 7


SEGMENT_TYPE_NAMES: dict[int, str] = {member.value: member.name.lower() for member in SegmentType}

COLUMNS: dict[str, str] = {
    "input_ids": "int32",
    "segment_type_ids": "uint8",
    "turn_ids": "int32",
    "loss_mask": "uint8",
    "seq_lengths": "int32",
    "source_ids": "int64",
}
"""Column name -> element dtype; every column is a non-null list of non-null elements."""

DERIVED_COLUMNS: dict[str, str] = {
    "labels": "int32",
    "position_ids": "int32",
    "assistant_masks": "uint8",
}
"""Columns that `--with` adds; each follows from the stored ones."""

TOKEN_COLUMNS: tuple[str, ...] = ("input_ids", "segment_type_ids", "turn_ids", "loss_mask")
"""Stored columns with one element per token."""


def shard_name(index: int) -> str:
    """File name of shard `index`, as `shard-00017.arrow`."""
    return f"shard-{index:05d}.arrow"
