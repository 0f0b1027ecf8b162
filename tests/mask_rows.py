"""Rows for tests of masks, and their masks by definition, one pair of tokens at a time."""

from __future__ import annotations

import os
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

BoolMatrix: TypeAlias = npt.NDArray[np.bool_]
Row: TypeAlias = tuple[list[int], list[int], list[int]]
"""`segment_type_ids`, `turn_ids`, `seq_lengths`."""

EXAMPLES = int(os.environ.get("ISMPACK_MASK_ROWS", "60"))
"""Random rows for each kind and form; `ISMPACK_MASK_ROWS=1000 pytest tests/test_masks.py tests/test_kernels.py`."""

Documents: TypeAlias = list[list[tuple[int, int]]]
"""Per document, per turn: tokens of the query and of the answer."""


def columns(documents: Documents) -> Row:
    """The row of these documents: user text and answers."""
    types: list[int] = []
    turns: list[int] = []
    turn = 0
    for document in documents:
        for query, answer in document:
            types += [1] * query + [2] * answer
            turns += [turn] * (query + answer)
            turn += 1
    return types, turns, [sum(map(sum, document)) for document in documents]


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """A valid row.

    Queries are of mixed types and may be empty, the first one too (the document then begins with an answer). A turn may
    lack its answer, a document may have one token, turns may be counted anew in each, and the row may be padded.
    """
    types: list[int] = []
    turns: list[int] = []
    lengths: list[int] = []
    turn = first_turn = draw(st.integers(0, 2))
    anew = draw(st.booleans())
    for _ in range(draw(st.integers(1, 3))):
        start = len(types)
        turn = first_turn if anew else turn
        for _ in range(draw(st.integers(1, 3))):
            query = draw(st.lists(st.sampled_from([1, 3, 5, 7]), max_size=4))
            answer = [2] * draw(st.integers(0 if query else 1, 3))
            types += query + answer
            turns += [turn] * len(query + answer)
            turn += 1
        lengths.append(len(types) - start)
    padding = draw(st.integers(0, 3))
    if padding:
        types += [0] * padding
        turns += [turn] * padding
        lengths.append(padding)
    return types, turns, lengths


def by_hand(row: Row, kind: str) -> BoolMatrix:
    """The mask by its definition."""
    types, _, lengths = row
    mask = np.zeros((len(types), len(types)), np.bool_)
    start = 0
    for length in lengths:
        document = range(start, start + length)
        for i in document:
            for j in document:
                mask[i, j] = j <= i or share_block(row, document, i, j, kind)
        start += length
    return mask


def share_block(row: Row, document: range, i: int, j: int, kind: str) -> bool:
    """Whether two tokens of one document, i before j, are in one block."""
    types, turns, _ = row
    if kind == "ism":
        return turns[i] == turns[j] and types[i] % 2 == 1 and types[j] % 2 == 1
    if kind == "mas":
        return types[i] in (1, 3) and all(types[k] == types[i] and turns[k] == turns[i] for k in range(i, j + 1))
    if kind == "prefix":
        return not any(turns[k] == turns[document[-1]] and types[k] % 2 == 0 for k in (i, j))
    return False
