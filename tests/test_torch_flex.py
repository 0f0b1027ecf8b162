"""Dense masks, mask functions and block masks against the definition and against torch's own construction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_rows import Documents, columns
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from ismpack import masks
from ismpack.errors import TrainingError
from ismpack.torch.dense import dense_mask
from ismpack.torch.flex import block_mask, mask_mod

TABLES = (
    "kv_num_blocks",
    "kv_indices",
    "full_kv_num_blocks",
    "full_kv_indices",
    "q_num_blocks",
    "q_indices",
    "full_q_num_blocks",
    "full_q_indices",
)


def batch(rows: list[Documents], kind: masks.MaskKind = "ism") -> tuple[Tensor, Tensor]:
    """lo and hi of the rows, padded to the longest with one more document of type 0."""
    padded = []
    longest = max(sum(columns(row)[2]) for row in rows)
    for row in rows:
        types, turns, lengths = columns(row)
        missing = longest - len(types)
        turn = max(turns) + 1
        padded.append(
            masks.intervals(types + [0] * missing, turns + [turn] * missing, lengths + [missing] * bool(missing), kind)
        )
    return tuple(torch.from_numpy(np.stack([getattr(row, name) for row in padded])) for name in ("lo", "hi"))


PACK: Documents = [[(2, 1), (0, 1)], [(3, 2)], [(1, 1)]]


def test_the_dense_mask_is_the_definition() -> None:
    lo, hi = batch([PACK])
    assert dense_mask(lo, hi)[0, 0].int().tolist() == [
        [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1],
    ]


def test_a_window_cuts_the_past_and_not_the_rest_of_the_query() -> None:
    lo, hi = batch([[[(4, 2)]]])
    assert dense_mask(lo, hi, window=2)[0, 0].int().tolist() == [
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1, 1],
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_float_mask_is_added_to_scores(dtype: torch.dtype) -> None:
    lo, hi = batch([[[(1, 1)], [(1, 1)]]])
    low = torch.finfo(dtype).min
    mask = dense_mask(lo, hi, dtype)
    assert mask.dtype == dtype
    assert mask[0, 0].tolist() == [[0, low, low, low], [0, 0, low, low], [low, low, 0, low], [low, low, 0, 0]]


def test_every_kind_of_mask_is_written_out() -> None:
    for kind in masks.KINDS:
        lo, hi = batch([PACK], kind)
        assert torch.equal(dense_mask(lo, hi)[0, 0], torch.from_numpy(masks.dense(*columns(PACK), kind=kind))), kind


def differing(ours: BlockMask, theirs: BlockMask) -> list[str]:
    """Names of the tables that are not bit for bit the same."""
    pairs = [(name, getattr(ours, name), getattr(theirs, name)) for name in TABLES]
    return [name for name, a, b in pairs if a.dtype != b.dtype or a.stride() != b.stride() or not torch.equal(a, b)]


def compared(rows: list[Documents], block_size: int, window: int | None = None) -> list[str]:
    lo, hi = batch(rows)
    ours = block_mask(lo, hi, block_size, window)
    theirs = create_block_mask(
        mask_mod(lo, hi, window), len(rows), None, lo.shape[1], lo.shape[1], device="cpu", BLOCK_SIZE=block_size
    )
    assert (ours.shape, ours.BLOCK_SIZE, ours.seq_lengths) == (theirs.shape, theirs.BLOCK_SIZE, theirs.seq_lengths)
    return differing(ours, theirs)


turns = st.tuples(st.integers(0, 40), st.integers(1, 40))
documents = st.lists(turns, min_size=1, max_size=4)
rows = st.lists(st.lists(documents, min_size=1, max_size=4), min_size=1, max_size=2)


@settings(max_examples=60, deadline=None)
@given(rows, st.sampled_from([16, 32, 64, 128]), st.sampled_from([None, None, 1, 5, 33, 1000]))
def test_block_masks_are_those_of_create_block_mask(batch: list[Documents], size: int, window: int | None) -> None:
    assert compared(batch, size, window) == []


@pytest.mark.parametrize("tokens", [1, 15, 16, 17, 128, 129, 300])
@pytest.mark.parametrize("size", [16, 128])
def test_any_length_of_row_fits_any_block(tokens: int, size: int) -> None:
    assert compared([[[(tokens - tokens // 3, 0), (0, tokens // 3)]] if tokens > 2 else [[(tokens, 0)]]], size) == []


def test_the_comparison_of_tables_can_fail() -> None:
    right = block_mask(*batch([PACK, PACK * 4]), 4)
    assert differing(right, block_mask(*batch([PACK, PACK * 4]), 4)) == []
    assert differing(right, block_mask(*batch([PACK, PACK * 4], "causal"), 4)) != []
    for name in TABLES:
        wrong = block_mask(*batch([PACK, PACK * 4]), 4)
        getattr(wrong, name).flatten()[-1] += 1
        assert differing(right, wrong) == [name]


def test_tables_of_a_small_row_by_hand() -> None:
    mask = block_mask(*batch([[[(3, 2), (2, 3)]]]), block_size=4)  # queries at 0-2 and 5-6; 10 tokens in 3 blocks
    # queries 0-3 see keys up to 2 or 3; 4-7 up to 4, 6, 6 and 7; of the last block only 8 and 9 exist, so none is whole
    assert mask.kv_num_blocks.tolist() == [[[1, 1, 3]]]
    assert mask.kv_indices.tolist() == [[[[0, 1, 2], [1, 0, 2], [0, 1, 2]]]]
    assert mask.full_kv_num_blocks.tolist() == [[[0, 1, 0]]]
    assert mask.full_kv_indices.tolist() == [[[[0, 1, 2], [0, 1, 2], [0, 1, 2]]]]
    assert mask.q_num_blocks.tolist() == [[[2, 2, 1]]]
    assert mask.full_q_num_blocks.tolist() == [[[1, 0, 0]]]


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
def test_flex_attention_applies_the_mask() -> None:
    lo, hi = batch([PACK * 2, [[(4, 3)]]])
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, lo.shape[1], 16, generator=generator).unbind()
    flex = flex_attention(q, k, v, block_mask=block_mask(lo, hi, 16, window=3))
    dense = torch.nn.functional.scaled_dot_product_attention(q, k, v, dense_mask(lo, hi, window=3))
    assert (flex - dense).abs().max() < 1e-6
    other = torch.nn.functional.scaled_dot_product_attention(q, k, v, dense_mask(lo, hi))
    assert (flex - other).abs().max() > 0.1


def test_vectors_that_do_not_fit_are_refused() -> None:
    lo, hi = batch([PACK])
    bad = [(lo[0], hi[0]), (lo, hi[:, 1:]), (lo.float(), hi.float()), (lo, hi.long())]
    for one, other in bad:
        for build in (dense_mask, block_mask, mask_mod):
            with pytest.raises(TrainingError, match="bad-batch"):
                build(one, other)
    with pytest.raises(TrainingError, match="sliding window of 0"):
        dense_mask(lo, hi, window=0)
    with pytest.raises(TrainingError, match="block_size must be 1"):
        block_mask(lo, hi, 0)
    with pytest.raises(TrainingError, match=r"mask-unsupported.*int64"):
        dense_mask(lo, hi, torch.int64)
