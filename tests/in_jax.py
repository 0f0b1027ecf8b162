"""Tests that need JAX, for `test_jax.py` to run in a process of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash_kernel
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as splash_mask
from mask_rows import EXAMPLES, Row, rows

import ismpack
from ismpack import masks
from ismpack.masks import MaskKind

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "examples"))

import jax_attention  # noqa: E402


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> str:
    target = tmp_path_factory.mktemp("jax") / "out"
    data = ROOT / "sample_data"
    ismpack.convert(
        [data / "alpaca.jsonl", data / "chat.jsonl"], target, tokenizer=str(data / "tokenizer"), max_length=192
    )
    return str(target)


def test_attention_of_the_example_equals_numpy(directory: str) -> None:
    row = ismpack.load(directory)[0]
    states = np.random.default_rng(0).normal(size=(3, len(row), 2, 8)).astype(np.float32)
    lo, hi, _, _ = ismpack.masks.intervals(row.segment_type_ids, row.turn_ids, row.seq_lengths)
    found = jax_attention.ism_attention(*states, lo, hi)
    query, key, value = states.astype(np.float64)
    scores = np.einsum("qhw,khw->hqk", query, key) / np.sqrt(8)
    allowed = ismpack.masks.dense(row.segment_type_ids, row.turn_ids, row.seq_lengths)
    weights = np.exp(np.where(allowed, scores, -np.inf))
    weights /= weights.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found, np.einsum("hqk,khw->qhw", weights, value), atol=1e-5)
    causal = ismpack.masks.intervals(row.segment_type_ids, row.turn_ids, row.seq_lengths, "causal")
    other = jax_attention.ism_attention(*states, causal.lo, causal.hi)
    assert np.abs(found - other).max() > 0.1, "the mask matters"


def test_the_example_is_compiled_once_for_all_rows(directory: str, capsys: pytest.CaptureFixture[str]) -> None:
    attention = jax_attention.ism_attention
    jax.clear_caches()
    jax_attention.main([directory, "--rows", "3"])
    assert attention._cache_size() == 1
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize("kind", masks.KINDS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(row=rows())
def test_the_mask_class_of_splash_attention_rebuilds_the_dense_mask(kind: MaskKind, row: Row) -> None:
    q_sequence, segment_ids = masks.splash(*row, kind=kind)
    causal = splash_mask.CausalMask((len(row[0]), len(row[0])))
    causal.q_sequence = q_sequence
    found = np.asarray(causal[:, :] & (segment_ids[:, None] == segment_ids), np.bool_)
    assert np.array_equal(found, masks.dense(*row, kind=kind))


def test_splash_attention_itself_takes_the_mask() -> None:
    """The kernel of JAX, interpreted on the CPU: two documents of two turns, queries of 40 tokens and more."""
    types, turns, lengths = [], [], [130, 126]
    for turn, (query, answer) in enumerate([(40, 30), (50, 10), (60, 20), (45, 1)]):
        types += [1] * query + [2] * answer
        turns += [turn] * (query + answer)
    splash = masks.splash(types, turns, lengths)
    mask = splash_mask.CausalMask((256, 256))
    mask.q_sequence = splash.q_sequence
    sizes = dict.fromkeys(("q", "kv", "kv_compute", "q_dkv", "kv_dkv", "kv_dkv_compute", "q_dq", "kv_dq"), 128)
    kernel = splash_kernel.make_splash_mha(
        splash_mask.MultiHeadMask([mask]),
        head_shards=1,
        q_seq_shards=1,
        block_sizes=splash_kernel.BlockSizes(**{f"block_{name}": size for name, size in sizes.items()}),
        interpret=True,
    )
    query, key, value = jax.random.normal(jax.random.key(0), (3, 1, 256, 128))
    ids = jnp.array(splash.segment_ids)
    found = kernel(query, key, value, segment_ids=splash_kernel.SegmentIds(q=ids, kv=ids))

    def reference(kind: MaskKind) -> npt.NDArray[np.floating]:
        scores = np.where(masks.dense(types, turns, lengths, kind), np.array(query[0] @ key[0].T, np.float64), -np.inf)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True) @ np.array(value[0], np.float64)

    assert np.abs(found[0] - reference("ism")).max() < 1e-4
    assert np.abs(found[0] - reference("causal")).max() > 0.1
