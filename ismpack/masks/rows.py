"""What a trainer needs of a row besides its mask: ids, padding, which answers may carry loss, triplet expansion.

Nothing here needs a special case elsewhere: padding is one more document, and an expanded row is a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ismpack.masks.kinds import MaskKind, check_lengths, check_row

_PADDING = 0
_ANSWER = 2


class Padded(NamedTuple):
    """The columns of a padded row.

    Attributes:
        segment_type_ids: integer[to], dtype as given; 0 = padding.
        turn_ids: integer[to], dtype as given; padding is a turn of its own.
        seq_lengths: int64[D], or int64[D + 1] if anything was added.
    """

    segment_type_ids: npt.NDArray[np.integer]
    turn_ids: npt.NDArray[np.integer]
    seq_lengths: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Triplets:
    """A row in which every answer comes once, at the end of a document of its own.

    Attributes:
        index: int64[N], which token of the original row each token is: `column[index]` expands any column of tokens.
        segment_type_ids: integer[N], dtype as given.
        turn_ids: int64[N], 0-based over the new row.
        seq_lengths: int64[number of answers], tokens per document; they sum to N.
        trainable: bool[N], the tokens of each document's last answer.
    """

    index: npt.NDArray[np.int64]
    segment_type_ids: npt.NDArray[np.integer]
    turn_ids: npt.NDArray[np.int64]
    seq_lengths: npt.NDArray[np.int64]
    trainable: npt.NDArray[np.bool_]


def position_ids(seq_lengths: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """Position of each token in its document, int32[T]: 0, 1, 2, ... and anew with every document.

    Args:
        seq_lengths: integer[D], tokens per document.

    Raises:
        ValueError: The lengths are not integers of 1 or more.

    >>> position_ids([3, 2]).tolist()
    [0, 1, 2, 0, 1]
    """
    lengths, ends = check_lengths(seq_lengths)
    total = int(ends[-1]) if len(ends) else 0
    starts = (ends - lengths).astype(np.int32)
    return np.arange(total, dtype=np.int32) - np.repeat(starts, lengths)


def document_ids(seq_lengths: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """Document of each token, int32[T], counted from 0.

    Args:
        seq_lengths: integer[D], tokens per document.

    Raises:
        ValueError: The lengths are not integers of 1 or more.

    >>> document_ids([3, 2]).tolist()
    [0, 0, 0, 1, 1]
    """
    lengths, _ = check_lengths(seq_lengths)
    return np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)


def pad(segment_type_ids: npt.ArrayLike, turn_ids: npt.ArrayLike, seq_lengths: npt.ArrayLike, to: int) -> Padded:
    """Pad a row at its end with one more document, of type 0.

    Under every kind that document is causal and no target, and no token of another document sees it. Every token of it
    sees itself, so that no softmax is over nothing.

    Args:
        segment_type_ids: integer[T], odd = query side.
        turn_ids: integer[T].
        seq_lengths: integer[D], tokens per document; they sum to T.
        to: Tokens that the row shall have. If it has them, nothing is added.

    Returns:
        `(segment_type_ids, turn_ids, seq_lengths)` of the padded row.

    Raises:
        ValueError: The row is longer, or the columns do not fit each other.

    >>> [column.tolist() for column in pad([1, 2], [0, 0], [2], to=5)]
    [[1, 2, 0, 0, 0], [0, 0, 1, 1, 1], [2, 3]]
    """
    row = check_row(segment_type_ids, turn_ids, seq_lengths)
    missing = to - len(row)
    if missing < 0:
        raise ValueError(f"the row has {len(row)} tokens and cannot be padded to {to}; rows are never cut")
    if not missing:
        return Padded(row.types, row.turns, row.lengths)
    # The row's turns may be counted from anywhere; turn ids are unique over a row.
    turn = int(row.turns.max()) + 1 if len(row) else 0
    return Padded(
        np.concatenate([row.types, np.full(missing, _PADDING, row.types.dtype)]),
        np.concatenate([row.turns, np.full(missing, turn, row.turns.dtype)]),
        np.append(row.lengths, missing),
    )


def trainable(
    segment_type_ids: npt.ArrayLike, turn_ids: npt.ArrayLike, seq_lengths: npt.ArrayLike, kind: MaskKind = "ism"
) -> npt.NDArray[np.bool_]:
    """Which tokens may carry loss under a kind: those that no token sees before it has predicted them.

    Args:
        segment_type_ids: integer[T], odd = query side.
        turn_ids: integer[T].
        seq_lengths: integer[D], tokens per document; they sum to T.
        kind: A key of `KINDS`.

    Returns:
        bool[T]: tokens of answers (type 2); for `prefix`, of the answer in each document's last turn alone. The first
        token of a document is never trainable: nothing predicts it. Loss is where this and `loss_mask` agree.

    Raises:
        ValueError: The kind is unknown or the columns do not fit each other.

    >>> trainable([1, 2, 1, 2, 2], [0, 0, 1, 1, 1], [5], "prefix").tolist()
    [False, False, False, True, True]
    """
    row = check_row(segment_type_ids, turn_ids, seq_lengths, kind)
    answer: npt.NDArray[np.bool_] = row.types == _ANSWER
    answer[row.starts] = False
    if kind == "prefix":
        answer &= row.turns == np.repeat(row.turns[row.starts + row.lengths - 1], row.lengths)
    return answer


def triplets(segment_type_ids: npt.ArrayLike, turn_ids: npt.ArrayLike, seq_lengths: npt.ArrayLike) -> Triplets:
    """Expand a row for prefix-LM: one document per answer, which holds everything up to that answer's end.

    The mask of the new row is the one of kind `prefix`: everything before the answer is one block. What no answer
    follows, as padding, has nothing to train and is left out: expand first, then pad.

    Args:
        segment_type_ids: integer[T], odd = query side.
        turn_ids: integer[T].
        seq_lengths: integer[D], tokens per document; they sum to T.

    Returns:
        The new columns, and where their tokens come from.

    Raises:
        ValueError: The columns do not fit each other.

    >>> expanded = triplets([1, 2, 1, 2], [0, 0, 1, 1], [4])
    >>> expanded.index.tolist(), expanded.seq_lengths.tolist()
    ([0, 1, 0, 1, 2, 3], [2, 4])
    """
    row = check_row(segment_type_ids, turn_ids, seq_lengths)
    # An answer ends where the next token is no answer, is of another turn, or is of another document.
    ends_here = row.types == _ANSWER
    goes_on = (ends_here[1:] & ends_here[:-1]) & (row.turns[1:] == row.turns[:-1])
    goes_on[row.starts[1:] - 1] = False
    ends_here[:-1] &= ~goes_on
    last = np.flatnonzero(ends_here)
    first = row.starts[np.searchsorted(row.starts, last, side="right") - 1]

    lengths = last + 1 - first
    starts = np.cumsum(lengths) - lengths
    index = np.arange(int(lengths.sum())) + np.repeat(first - starts, lengths)
    turns = row.turns.astype(np.int64)
    turns_held = turns[last] - turns[first] + 1
    shift = np.cumsum(turns_held) - turns_held - turns[first]
    types, new_turns = row.types[index], turns[index] + np.repeat(shift, lengths)
    return Triplets(index, types, new_turns, lengths, trainable(types, new_turns, lengths, "prefix"))
