"""What tells one kind of mask from another: the block that each token belongs to."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

MaskKind: TypeAlias = Literal["ism", "causal", "mas", "prefix"]

KINDS: dict[MaskKind, str] = {
    "ism": "each query is one block; answers are causal",
    "causal": "no blocks: plain causal attention inside each document",
    "mas": "each run of system text and each run of user text is one block; all else is causal",
    "prefix": "everything before a document's last answer is one block; only that answer may carry loss",
}

NO_BLOCK = -1

# The types that are blocks of `mas` (arXiv 2412.18487); the header (7) and tool results (5) stay causal. What a row
# does not tell apart is one block: two user messages in a row, and a greeting or template text, which have type 1 too.
_USER = 1
_SYSTEM = 3


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Row:
    """The columns of one row, checked.

    Attributes:
        types: integer[T], `segment_type_ids`.
        turns: signed integer[T], `turn_ids`.
        lengths: int64[D], tokens per document.
        starts: int64[D], where each document starts.
    """

    types: npt.NDArray[np.integer]
    turns: npt.NDArray[np.integer]
    lengths: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Tokens of the row."""
        return len(self.types)

    @property
    def is_query(self) -> npt.NDArray[np.bool_]:
        """bool[T]: the token is on the query side (its type is odd)."""
        return (self.types & 1).astype(np.bool_)


def check_row(
    segment_type_ids: npt.ArrayLike, turn_ids: npt.ArrayLike, seq_lengths: npt.ArrayLike, kind: MaskKind = "causal"
) -> Row:
    """Check that the columns describe one unpadded row, so that each block is one run of tokens.

    Raises:
        ValueError: The kind is unknown, lengths disagree, or turns do not run query, answer, query, answer.
    """
    if kind not in KINDS:
        near = difflib.get_close_matches(str(kind), get_args(MaskKind), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(KINDS)}"
        raise ValueError(f"unknown mask kind {kind!r}; {hint}")
    types = _integers("segment_type_ids", segment_type_ids)
    turns = _integers("turn_ids", turn_ids)
    if turns.dtype.kind == "u":
        turns = turns.astype(np.int64)  # NO_BLOCK stands among turn ids, and would wrap around
    lengths, ends = check_lengths(seq_lengths)
    if len(types) != len(turns):
        raise ValueError(f"segment_type_ids has {len(types)} elements and turn_ids {len(turns)}; they must be equal")
    total = int(ends[-1]) if len(ends) else 0
    if total != len(types):
        raise ValueError(f"seq_lengths sum to {total}, but the row has {len(types)} tokens; rows are unpadded")
    row = Row(types=types, turns=turns, lengths=lengths, starts=ends - lengths)
    _check_turns(row)
    return row


def check_lengths(seq_lengths: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """int64[D] twice: tokens per document, and where each document ends.

    Raises:
        ValueError: They are not integers of 1 or more.
    """
    lengths = _integers("seq_lengths", seq_lengths).astype(np.int64)
    if len(lengths) and lengths.min() < 1:
        raise ValueError(f"seq_lengths must be 1 or more, got {lengths.min()}")
    return lengths, np.cumsum(lengths)


def block_keys(row: Row, kind: MaskKind) -> npt.NDArray[np.integer]:
    """integer[T]: tokens of one document with the same key share a block; `NO_BLOCK` means causal."""
    if kind == "ism":
        return np.where(row.is_query, row.turns, NO_BLOCK)
    if kind == "mas":
        # A run of one type, not the type itself: in user, tool, user the two user messages are two blocks.
        opens = np.zeros(len(row), np.bool_)
        opens[1:] = (np.diff(row.types) != 0) | (np.diff(row.turns) != 0)
        of_message = (row.types == _USER) | (row.types == _SYSTEM)
        return np.where(of_message, np.cumsum(opens), NO_BLOCK)
    if kind == "prefix":
        last_turn = np.repeat(row.turns[row.starts + row.lengths - 1], row.lengths)
        return np.where(row.is_query | (row.turns < last_turn), 0, NO_BLOCK)
    return np.full(len(row), NO_BLOCK, np.int32)


def _integers(name: str, values: npt.ArrayLike) -> npt.NDArray[np.integer]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise ValueError(f"{name} must be one-dimensional and hold integers, got {array.dtype}{list(array.shape)}")
    return array if array.size else array.astype(np.int32)


def _check_turns(row: Row) -> None:
    """Inside a document turn ids never fall, and a query after an answer opens a new turn."""
    if not len(row):
        return
    if row.turns.min() < 0:
        raise ValueError(f"turn_ids must be 0 or more, got {row.turns.min()}")
    before, after = row.turns[:-1], row.turns[1:]
    query = row.is_query
    bad = (after < before) | ((after == before) & query[1:] & ~query[:-1])
    bad[row.starts[1:] - 1] = False
    if bad.any():
        token = int(bad.argmax()) + 1
        raise ValueError(
            f"token {token} of the row breaks the order of turns: a turn is a query, then an answer, and turn ids rise"
        )
