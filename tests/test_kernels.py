"""Each kernel's arguments against the dense mask, rebuilt by what the kernel's documentation says of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_rows import EXAMPLES, BoolMatrix, Row, rows
from torch.nn.attention.flex_attention import create_block_mask

from ismpack import masks
from ismpack.masks import MaskKind, VarlenCall

Rebuild: TypeAlias = Callable[[Row, MaskKind], BoolMatrix]

# A query of two tokens, an answer of two, a query of one, an answer; then a document of a query of two and an answer.
ROW: Row = ([1, 1, 2, 2, 1, 2, 3, 1, 2], [0, 0, 0, 0, 1, 1, 2, 2, 2], [6, 3])

KINDS = [*masks.KINDS, "triplets"]


def as_kind(row: Row, kind: str) -> tuple[Row, MaskKind]:
    """The row and the kind that stand for a name of `KINDS`."""
    if kind != "triplets":
        return row, kind  # type: ignore[return-value]  # all others are kinds
    new = masks.triplets(*row)
    return (new.segment_type_ids.tolist(), new.turn_ids.tolist(), new.seq_lengths.tolist()), "prefix"


def from_flashmask(row: Row, kind: MaskKind) -> BoolMatrix:
    bounds = masks.flashmask(*row, kind=kind)
    mask = np.ones((len(row[0]), len(row[0])), np.bool_)
    for key, (r1, r2) in enumerate(bounds[0, 0]):
        mask[r1:, key] = False
        mask[:r2, key] = False
    return mask


def from_magi_slices(row: Row, kind: MaskKind) -> BoolMatrix:
    slices = masks.magi_slices(*row, kind=kind)
    mask = np.zeros((len(row[0]), len(row[0])), np.bool_)
    rows_of_slices = 0
    for (q0, q1), (k0, k1), attn_type in zip(*slices, strict=True):
        rows_of_slices += q1 - q0
        for q in range(q0, q1):
            mask[q, k0 : {0: k1, 1: k1 - (q1 - 1 - q)}[int(attn_type)]] = True
    assert rows_of_slices == len(row[0]), "query ranges are disjoint"
    return mask


def from_key_ranges(row: Row, kind: MaskKind) -> BoolMatrix:
    ranges = masks.key_ranges(*row, kind=kind)
    key = np.arange(len(row[0]))
    mask: BoolMatrix = (key >= ranges.k_start[0][:, None]) & (key < ranges.k_end[0][:, None])
    return mask


def from_splash(row: Row, kind: MaskKind) -> BoolMatrix:
    """As JAX's own classes say it; `in_jax.py` asks them."""
    q_sequence, segment_ids = masks.splash(*row, kind=kind)
    causal = q_sequence[:, None] >= np.arange(len(q_sequence))
    return causal & (segment_ids[:, None] == segment_ids)


def from_inverted(row: Row, kind: MaskKind) -> BoolMatrix:
    return ~masks.inverted(*row, kind=kind).squeeze((0, 1))


def from_calls(calls: Iterable[VarlenCall], tokens: int) -> BoolMatrix:
    """What the calls see together; each pair of tokens may be computed once alone, as its weight would count twice."""
    times = np.zeros((tokens, tokens), int)
    for call in calls:
        longest = (0, 0)
        for n in range(len(call.cu_seqlens_q) - 1):
            queries = call.q_index[call.cu_seqlens_q[n] : call.cu_seqlens_q[n + 1]]
            keys = call.k_index[call.cu_seqlens_k[n] : call.cu_seqlens_k[n + 1]]
            for i, query in enumerate(queries):
                hidden = len(queries) - 1 - i if call.causal else 0
                times[query, keys[: len(keys) - hidden]] += 1
            longest = (max(longest[0], len(queries)), max(longest[1], len(keys)))
        assert longest == (call.max_seqlen_q, call.max_seqlen_k)
        assert len(call.q_index) == call.cu_seqlens_q[-1] > 0
        assert len(call.k_index) == call.cu_seqlens_k[-1]
    assert times.max(initial=0) <= 1
    return times.astype(np.bool_)


def from_varlen_gathered(row: Row, kind: MaskKind) -> BoolMatrix:
    calls = masks.varlen_gathered(*row, kind=kind)
    assert sorted(np.concatenate([call.q_index for call in calls], dtype=int) if calls else []) == list(
        range(len(row[0]))
    ), "every query is in one call"
    return from_calls(calls, len(row[0]))


def from_varlen_two_calls(row: Row, kind: MaskKind) -> BoolMatrix:
    calls = masks.varlen_two_calls(*row, kind=kind)
    assert all(call.causal and np.array_equal(call.cu_seqlens_q, call.cu_seqlens_k) for call in calls)
    return from_calls(calls, len(row[0]))


def from_block_tables(row: Row, kind: MaskKind, block_size: int = 3) -> BoolMatrix:
    tables = masks.block_tables(*row, kind=kind, block_size=block_size)
    dense = masks.dense(*row, kind=kind)
    mask = np.zeros_like(dense)
    blocks = -(-len(dense) // block_size)
    assert [table.shape for table in tables] == [(1, 1, blocks), (1, 1, blocks, blocks)] * 2
    count, index, full_count, full_index = (table[0, 0] for table in tables)
    for q in range(blocks):
        here = slice(q * block_size, (q + 1) * block_size)
        for k in index[q, : count[q]]:
            keys = slice(k * block_size, (k + 1) * block_size)
            assert dense[here, keys].any(), "nothing to compute"
            assert not dense[here, keys].all() or dense[here, keys].shape != (block_size, block_size), "it is full"
            mask[here, keys] = dense[here, keys]
        for k in full_index[q, : full_count[q]]:
            mask[here, k * block_size : (k + 1) * block_size] = True
        assert sorted(index[q]) == sorted(full_index[q]) == list(range(blocks))
    return mask


REBUILD: dict[str, Rebuild] = {
    "flashmask": from_flashmask,
    "magi_slices": from_magi_slices,
    "key_ranges": from_key_ranges,
    "splash": from_splash,
    "inverted": from_inverted,
    "varlen_gathered": from_varlen_gathered,
    "varlen_two_calls": from_varlen_two_calls,
    "block_tables": from_block_tables,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", REBUILD)
@settings(max_examples=EXAMPLES, deadline=None)
@given(row=rows())
def test_the_dense_mask_can_be_rebuilt(form: str, kind: str, row: Row) -> None:
    columns, of_kind = as_kind(row, kind)
    assert np.array_equal(REBUILD[form](columns, of_kind), masks.dense(*columns, kind=of_kind))


@pytest.mark.parametrize("form", REBUILD)
def test_each_form_tells_the_kinds_apart(form: str) -> None:
    row = ([1, 3, 2, 1, 1, 2], [0, 0, 0, 1, 1, 1], [6])
    rebuilt = {kind: REBUILD[form](row, kind).tobytes() for kind in masks.KINDS}
    assert len(set(rebuilt.values())) == 4


@pytest.mark.parametrize("form", REBUILD)
def test_an_empty_row_has_an_empty_form(form: str) -> None:
    assert REBUILD[form](([], [], []), "ism").shape == (0, 0)


@settings(max_examples=EXAMPLES, deadline=None)
@given(row=rows())
def test_documents_in_one_call_are_the_causal_mask(row: Row) -> None:
    call = masks.varlen_documents(row[2])
    assert np.array_equal(from_calls([call], len(row[0])), masks.dense(*row, kind="causal"))
    assert call.q_index.tolist() == call.k_index.tolist() == list(range(len(row[0])))


def test_flashmask_worked_by_hand() -> None:
    bounds = masks.flashmask(*ROW)
    assert bounds.tolist() == [[[[6, 0], [6, 0], [6, 2], [6, 3], [6, 4], [6, 5], [9, 6], [9, 6], [9, 8]]]]
    assert bounds.dtype.name == "int32"


def test_flashmask_of_documents_is_the_example_of_its_documentation() -> None:
    # Case (f) of flashmask_attention: three documents of 4, 3 and 3 tokens, each one block.
    bounds = masks.flashmask([1] * 10, [0] * 4 + [1] * 3 + [2] * 3, [4, 3, 3])
    assert bounds[0, 0].tolist() == [[4, 0]] * 4 + [[7, 4]] * 3 + [[10, 7]] * 3


def test_magi_slices_worked_by_hand() -> None:
    slices = masks.magi_slices(*ROW)
    assert slices.q_ranges.tolist() == [[0, 2], [2, 4], [4, 5], [5, 6], [6, 8], [8, 9]]
    assert slices.k_ranges.tolist() == [[0, 2], [0, 4], [0, 5], [0, 6], [6, 8], [6, 9]]
    assert slices.attn_type_map.tolist() == [0, 1, 0, 1, 0, 1]
    assert [v.dtype.name for v in slices] == ["int32"] * 3


def test_key_ranges_worked_by_hand() -> None:
    ranges = masks.key_ranges(*ROW)
    assert ranges.k_start.tolist() == [[0, 0, 0, 0, 0, 0, 6, 6, 6]]
    assert ranges.k_end.tolist() == [[2, 2, 3, 4, 5, 6, 8, 8, 9]]
    assert [v.dtype.name for v in ranges] == ["int32"] * 2


def test_splash_worked_by_hand() -> None:
    mask = masks.splash(*ROW)
    assert mask.q_sequence.tolist() == [1, 1, 2, 3, 4, 5, 7, 7, 8]
    assert mask.segment_ids.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1]
    assert [v.dtype.name for v in mask] == ["int32"] * 2


def test_inverted_worked_by_hand() -> None:
    mask = masks.inverted([1, 1, 2], [0, 0, 0], [3])
    assert mask.tolist() == [[[[False, False, True], [False, False, True], [False, False, False]]]]
    assert mask.dtype.name == "bool"


def test_varlen_documents_worked_by_hand() -> None:
    call = masks.varlen_documents(ROW[2])
    assert call.cu_seqlens_q.tolist() == call.cu_seqlens_k.tolist() == [0, 6, 9]
    assert (call.max_seqlen_q, call.max_seqlen_k, call.causal) == (6, 6, True)
    assert [v.dtype.name for v in call[:4]] == ["int64", "int64", "int32", "int32"]


def test_varlen_gathered_worked_by_hand() -> None:
    blocks, rest = masks.varlen_gathered(*ROW)
    assert (blocks.causal, rest.causal) == (False, True)
    assert blocks.q_index.tolist() == [0, 1, 4, 6, 7]
    assert blocks.k_index.tolist() == [0, 1, 0, 1, 2, 3, 4, 6, 7]
    assert blocks.cu_seqlens_q.tolist() == [0, 2, 3, 5]
    assert blocks.cu_seqlens_k.tolist() == [0, 2, 7, 9]
    assert (blocks.max_seqlen_q, blocks.max_seqlen_k) == (2, 5)
    assert rest.q_index.tolist() == [2, 3, 5, 8]
    assert rest.k_index.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert rest.cu_seqlens_q.tolist() == [0, 2, 3, 4]
    assert rest.cu_seqlens_k.tolist() == [0, 4, 10, 13]
    assert (rest.max_seqlen_q, rest.max_seqlen_k) == (2, 6)


def test_varlen_two_calls_worked_by_hand() -> None:
    documents, blocks = masks.varlen_two_calls([1, 1, 1, 2, 1, 2, 1, 1, 2], [0] * 4 + [1] * 2 + [2] * 3, [6, 3])
    assert documents.cu_seqlens_q.tolist() == [0, 6, 9]
    # Of the queries [0, 3) and [6, 8); the query of one token, 4, sees nothing beyond causal.
    assert blocks.q_index.tolist() == [1, 0, 6]
    assert blocks.k_index.tolist() == [2, 1, 7]
    assert blocks.cu_seqlens_q.tolist() == blocks.cu_seqlens_k.tolist() == [0, 2, 3]
    assert (blocks.max_seqlen_q, blocks.max_seqlen_k, blocks.causal) == (2, 2, True)
    assert [v.dtype.name for v in blocks[:4]] == ["int64", "int64", "int32", "int32"]


def test_calls_without_queries_are_left_out() -> None:
    assert [call.causal for call in masks.varlen_gathered([1, 1], [0, 0], [2])] == [False]
    assert [call.causal for call in masks.varlen_gathered(*ROW, kind="causal")] == [True]
    assert len(masks.varlen_two_calls([1, 2], [0, 0], [2])) == 1


def test_block_tables_worked_by_hand() -> None:
    tables = masks.block_tables(*ROW, block_size=2)
    # Blocks of 2: queries 0-1, 2-3, 4-5, 6-7 and 8 alone. Tokens 0 to 5 are one document.
    assert tables.full_kv_num_blocks.tolist() == [[[1, 1, 2, 1, 0]]]
    assert tables.full_kv_indices[0, 0, 2].tolist() == [0, 1, 2, 3, 4]
    assert tables.full_kv_indices[0, 0, 3].tolist() == [3, 0, 1, 2, 4]
    assert tables.kv_num_blocks.tolist() == [[[0, 1, 1, 0, 2]]]
    assert tables.kv_indices[0, 0, 1].tolist() == [1, 0, 2, 3, 4]
    assert tables.kv_indices[0, 0, 4].tolist() == [3, 4, 0, 1, 2]
    assert [v.dtype.name for v in tables] == ["int32"] * 4


@pytest.mark.parametrize("kind", masks.KINDS)
@settings(max_examples=EXAMPLES // 3 + 1, deadline=None)
@given(row=rows(), block_size=st.integers(1, 8))
def test_block_tables_are_those_of_create_block_mask(kind: MaskKind, row: Row, block_size: int) -> None:
    dense = torch.from_numpy(masks.dense(*row, kind=kind))
    tokens = len(dense)
    expected = create_block_mask(
        lambda _b, _h, q, kv: dense[q, kv], None, None, tokens, tokens, device="cpu", BLOCK_SIZE=block_size
    )
    tables = masks.block_tables(*row, kind=kind, block_size=block_size)
    for name, table in tables._asdict().items():
        assert torch.equal(torch.from_numpy(table), getattr(expected, name)), name


def test_cost_worked_by_hand() -> None:
    # Documents of 6 and 3 tokens: 21 + 6 pairs. Two queries of 2 tokens add a pair each, the one of 1 token none.
    cost = masks.cost(*ROW, block_size=2)
    assert (cost.pairs, cost.causal_pairs) == (29, 27)
    assert (cost.blocks, cost.causal_blocks) == (1 + 2 + 3 + 1 + 2, 1 + 2 + 3 + 1 + 2)
    assert (cost.pair_ratio, cost.block_ratio) == (29 / 27, 1.0)
    # One query of 4 tokens: the block above the diagonal is needed too.
    cost = masks.cost([1, 1, 1, 1, 2], [0] * 5, [5], block_size=2)
    assert (cost.pairs, cost.causal_pairs, cost.blocks, cost.causal_blocks) == (21, 15, 7, 6)


def test_an_empty_row_costs_nothing() -> None:
    cost = masks.cost([], [], [])
    assert (cost.pairs, cost.blocks, cost.pair_ratio, cost.block_ratio) == (0, 0, 1.0, 1.0)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(row=rows(), block_size=st.integers(1, 8))
def test_cost_counts_pairs_and_blocks_of_the_dense_mask(kind: str, row: Row, block_size: int) -> None:
    columns, of_kind = as_kind(row, kind)
    cost = masks.cost(*columns, kind=of_kind, block_size=block_size)
    assert (cost.pairs, cost.blocks) == counted(masks.dense(*columns, kind=of_kind), block_size)
    assert (cost.causal_pairs, cost.causal_blocks) == counted(masks.dense(*columns, kind="causal"), block_size)


def counted(dense: BoolMatrix, block_size: int) -> tuple[int, int]:
    """Visible pairs, and blocks that hold any."""
    cuts = range(0, len(dense), block_size)
    blocks = sum(dense[q : q + block_size, k : k + block_size].any() for q in cuts for k in cuts)
    return int(dense.sum()), int(blocks)


@pytest.mark.parametrize("block_size", [0, -1])
def test_a_block_without_tokens_is_refused(block_size: int) -> None:
    message = f"^block_size must be 1 or more, got {block_size}$"
    with pytest.raises(ValueError, match=message):
        masks.block_tables(*ROW, block_size=block_size)
    with pytest.raises(ValueError, match=message):
        masks.cost(*ROW, block_size=block_size)


def test_columns_that_do_not_fit_are_refused() -> None:
    message = re.escape("segment_type_ids has 2 elements and turn_ids 1; they must be equal")
    functions = (
        masks.flashmask, masks.magi_slices, masks.key_ranges, masks.splash, masks.inverted,
        masks.varlen_gathered, masks.varlen_two_calls, masks.block_tables, masks.cost,
    )  # fmt: skip
    for function in functions:
        with pytest.raises(ValueError, match=f"^{message}$"):
            function([1, 2], [0], [2])
