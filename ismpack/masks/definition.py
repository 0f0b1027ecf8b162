"""The dense mask, written as the paper defines it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ismpack.masks.kinds import NO_BLOCK, MaskKind, block_keys, check_row


def dense(
    segment_type_ids: npt.ArrayLike, turn_ids: npt.ArrayLike, seq_lengths: npt.ArrayLike, kind: MaskKind = "ism"
) -> npt.NDArray[np.bool_]:
    """Which token may attend to which.

    Args:
        segment_type_ids: integer[T], odd = query side.
        turn_ids: integer[T].
        seq_lengths: integer[D], tokens per document; they sum to T.
        kind: A key of `KINDS`.

    Returns:
        bool[T, T]; `[i, j]` is True where token `i` attends to token `j`: both are in one document, and `j` is not
        after `i` or is in the same block. Takes T * T bytes.

    Raises:
        ValueError: The kind is unknown or the columns do not fit each other.

    Source: arXiv 2408.00539.

    >>> dense([1, 1, 2], [0, 0, 0], [3]).astype(int).tolist()
    [[1, 1, 0], [1, 1, 0], [1, 1, 1]]
    """
    row = check_row(segment_type_ids, turn_ids, seq_lengths, kind)
    token = np.arange(len(row))
    document = np.repeat(np.arange(len(row.lengths)), row.lengths)
    key = block_keys(row, kind)
    not_after = token <= token[:, None]
    same_block = (key == key[:, None]) & (key != NO_BLOCK)
    mask: npt.NDArray[np.bool_] = (document == document[:, None]) & (not_after | same_block)
    return mask
