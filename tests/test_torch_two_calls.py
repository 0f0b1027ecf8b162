"""Two causal calls against the dense mask: attention alone, and inside models of transformers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import MODELS, VOCABULARY, build, tiny_model
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AttentionInterface, PreTrainedModel

from ismpack import masks
from ismpack.errors import TrainingError
from ismpack.torch.hook import install_ism
from ismpack.torch.kernels import MathKernel, Sequences, VarlenKernel, check_kernel, kernel_for
from ismpack.torch.two_calls import NAME, plan, register, two_calls

torch.set_num_threads(1)

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """Columns of one row, as lists."""

    types: list[int]
    turns: list[int]
    lengths: list[int]

    def intervals(self, kind: masks.MaskKind = "ism") -> tuple[Tensor, Tensor]:
        lo, hi, _, _ = masks.intervals(self.types, self.turns, self.lengths, kind)
        return torch.from_numpy(lo), torch.from_numpy(hi)


def row_of(documents: list[list[tuple[int, int]]]) -> Row:
    """Documents as lists of turns (query tokens, answer tokens)."""
    types: list[int] = []
    turns: list[int] = []
    lengths: list[int] = []
    turn = 0
    for document in documents:
        before = len(types)
        for query, answer in document:
            types += [1] * query + [2] * answer
            turns += [turn] * (query + answer)
            turn += 1
        lengths.append(len(types) - before)
    return Row(types, turns, lengths)


def batch_of(rows: list[Row], kind: masks.MaskKind = "ism") -> tuple[Tensor, Tensor]:
    """`lo`, `hi` [B, T]: shorter rows get one causal document of padding, as the collator's."""
    length = max(len(row.types) for row in rows)
    los, his = [], []
    for row in rows:
        lo, hi = row.intervals(kind)
        end = torch.arange(len(lo), length, dtype=torch.int32)
        los.append(torch.cat([lo, torch.full_like(end, len(lo))]))
        his.append(torch.cat([hi, end + 1]))
    return torch.stack(los), torch.stack(his)


def dense_attention(q: Tensor, k: Tensor, v: Tensor, lo: Tensor, hi: Tensor, window: int | None = None) -> Tensor:
    """The obvious way: every score, masked. [B * T, H, D]."""
    rows, length = lo.shape
    token = torch.arange(length)
    seen = (token >= lo[..., None]) & (token < hi[..., None])
    if window is not None:
        seen &= token > token[:, None] - window
    split = [x.view(rows, length, *x.shape[1:]).transpose(1, 2) for x in (q, k, v)]
    keys, values = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in split[1:])
    scores = (split[0] @ keys.mT) / math.sqrt(q.shape[-1])
    out = scores.masked_fill(~seen[:, None], -math.inf).softmax(-1) @ values
    return out.transpose(1, 2).flatten(0, 1)


def random_qkv(tokens: int, heads: int, kv_heads: int, dims: tuple[int, int], dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    shapes = [(tokens, heads, dims[0]), (tokens, kv_heads, dims[0]), (tokens, kv_heads, dims[1])]
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def worst_difference(lo: Tensor, hi: Tensor, qkv: list[Tensor], window: int | None = None) -> float:
    """Largest difference to dense attention in the output and in all gradients."""
    ours = two_calls(*qkv, plan(lo, hi), window=window)
    dense = dense_attention(*qkv, lo, hi, window)
    dout = torch.randn(ours.shape, generator=torch.Generator().manual_seed(7), dtype=ours.dtype)
    pairs = [(ours, dense)]
    pairs += zip(torch.autograd.grad(ours, qkv, dout), torch.autograd.grad(dense, qkv, dout), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


# --- the plan


def test_plan_literal():
    # Document 0: query of 3, answer of 1, query of 1, answer of 2; document 1: query of 2, answer of 1; padding of 2.
    row = row_of([[(3, 1), (1, 2)], [(2, 1)]])
    lo, hi = batch_of([row, row_of([[(1, 11)]])])
    got = plan(lo, hi)
    assert got.shape == (2, 12)
    assert got.documents.tolist() == [0, 7, 10, 12, 24]
    assert got.documents.dtype == torch.int32
    assert got.max_document == 12
    assert got.reversed_queries.tolist() == [7, 1, 0]
    assert got.queries.tolist() == [0, 1, 3]
    assert got.max_query == 2


def test_plan_without_a_query_that_sees_later():
    got = plan(*batch_of([row_of([[(1, 2)], [(0, 3)]])]))
    assert (got.reversed_queries.tolist(), got.queries.tolist(), got.max_query) == ([], [0], 0)
    assert got.documents.tolist() == [0, 3, 6]


@pytest.mark.parametrize(
    ("lo", "hi", "token"),
    [
        ([0, 0, 0], [2, 2, 2], 2),  # sees nothing of itself
        ([0, 0, 0], [1, 2, 4], 2),  # sees past the row
        ([1, 1, 1], [1, 2, 3], 0),  # starts before itself is reached
        ([0, 0, 1], [1, 2, 3], 2),  # its document starts neither here nor where that of its neighbour does
        ([0, 0, 0], [3, 2, 3], 1),  # one query, two ends
        ([0, 1, 1], [2, 2, 3], 1),  # a query across two documents
        ([0, 0, -1], [1, 2, 3], 2),
    ],
)
def test_plan_refuses_what_is_no_mask_of_documents_and_queries(lo, hi, token):
    with pytest.raises(TrainingError, match=f"token {token} of row 1") as caught:
        plan(torch.tensor([[0, 0, 0], lo]), torch.tensor([[1, 2, 3], hi]))
    assert caught.value.code == "bad-batch"


@pytest.mark.parametrize(
    ("lo", "hi"),
    [
        (torch.zeros(1, 3, dtype=torch.int32), torch.zeros(1, 2, dtype=torch.int32)),
        (torch.zeros(3, dtype=torch.int32), torch.zeros(3, dtype=torch.int32)),
        (torch.zeros(0, 3, dtype=torch.int32), torch.zeros(0, 3, dtype=torch.int32)),
        (torch.zeros(1, 3), torch.zeros(1, 3)),
    ],
)
def test_plan_refuses_other_shapes_and_dtypes(lo, hi):
    with pytest.raises(TrainingError, match="must be integers of one shape"):
        plan(lo, hi)


# --- attention alone

document = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=4).filter(
    lambda turns: sum(map(sum, turns)) > 0
)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.lists(document, min_size=1, max_size=3), min_size=1, max_size=3),
    kind=st.sampled_from(list(masks.KINDS)),
    heads=st.sampled_from([(1, 1), (4, 2), (3, 1)]),
    dims=st.sampled_from([(4, 4), (6, 3)]),
    window=st.sampled_from([None, 1, 3]),
)
def test_equals_the_dense_mask(rows, kind, heads, dims, window):
    lo, hi = batch_of([row_of(documents) for documents in rows], kind)
    assert worst_difference(lo, hi, random_qkv(lo.numel(), *heads, dims, torch.float64), window) <= 1e-10


@pytest.mark.parametrize(
    "documents",
    [
        [[(0, 1)]],  # a document of one token
        [[(1, 0)]],
        [[(1, 2), (1, 1)]],  # queries of one token
        [[(0, 4), (3, 1)]],  # answer first
        [[(2, 2), (0, 2), (2, 1)]],  # an empty query
        [[(6, 0)]],  # nothing but a query
        [[(2, 1)], [(1, 0)], [(3, 2)]],
    ],
)
def test_equals_the_dense_mask_at_the_edges(documents):
    lo, hi = batch_of([row_of(documents), row_of([[(4, 3)]])])
    assert worst_difference(lo, hi, random_qkv(lo.numel(), 4, 2, (8, 8), torch.float64)) <= 1e-10


def test_two_tokens_by_hand():
    # One head of one dimension, a query of two tokens: both see both, scores are q * k.
    lo, hi = torch.tensor([[0, 0]]), torch.tensor([[2, 2]])
    q, k = torch.tensor([[[1.0]], [[0.0]]]), torch.tensor([[[0.0]], [[math.log(3.0)]]])
    v = torch.tensor([[[1.0]], [[5.0]]])
    out = two_calls(q, k, v, plan(lo, hi))
    assert out.flatten().tolist() == pytest.approx([(1 * 1 + 3 * 5) / 4, (1 + 5) / 2])


def test_scores_far_apart_stay_finite():
    # Scores differ by hundreds: a merge that leaves logarithms would overflow.
    lo, hi = batch_of([row_of([[(6, 3)]])])
    q, k, v = random_qkv(lo.numel(), 2, 2, (8, 8), torch.float64)
    qkv = [(q * 30).detach().requires_grad_(), (k * 30).detach().requires_grad_(), v]
    assert worst_difference(lo, hi, qkv) <= 1e-10


def test_without_the_second_call_the_difference_shows():
    lo, hi = batch_of([row_of([[(3, 2)]])])
    qkv = random_qkv(lo.numel(), 2, 1, (4, 4), torch.float64)
    causal = two_calls(*qkv, plan(lo, torch.arange(1, lo.shape[1] + 1)[None]))
    difference = (causal - dense_attention(*qkv, lo, hi)).abs().amax((1, 2))
    assert (difference[:2] > 1e-2).all()
    assert (difference[2:] < 1e-12).all()


def test_float32_and_bfloat16():
    lo, hi = batch_of([row_of([[(5, 3), (4, 2)], [(7, 1)]])])
    assert worst_difference(lo, hi, random_qkv(lo.numel(), 4, 2, (8, 8), torch.float32)) <= 1e-5
    half = random_qkv(lo.numel(), 4, 2, (8, 8), torch.bfloat16)
    wide = [x.detach().double() for x in half]
    out = two_calls(*half, plan(lo, hi))
    assert out.dtype == torch.bfloat16
    assert (out.double() - dense_attention(*wide, lo, hi)).abs().max() < 0.02


def test_second_derivatives_are_refused():
    lo, hi = batch_of([row_of([[(2, 1)]])])
    qkv = random_qkv(lo.numel(), 1, 1, (2, 2), torch.float64)
    (dq,) = torch.autograd.grad(two_calls(*qkv, plan(lo, hi)).square().sum(), qkv[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dq.sum().backward()


def test_a_plan_of_another_batch_is_refused():
    lo, hi = batch_of([row_of([[(2, 1)]])])
    qkv = random_qkv(4, 1, 1, (2, 2), torch.float64)
    with pytest.raises(TrainingError, match="the plan is of 3 tokens") as caught:
        two_calls(*qkv, plan(lo, hi))
    assert caught.value.code == "bad-batch"


# --- kernels


@dataclass(frozen=True)
class Spoilt:
    """A kernel that is wrong in one way."""

    how: str

    def forward(self, q: Tensor, k: Tensor, v: Tensor, sequences: Sequences) -> tuple[Tensor, Tensor]:
        if self.how == "window":
            sequences = sequences._replace(window=sequences.window and sequences.window + 1)
        if self.how == "causal" and sequences.window is None:  # right only with a window
            sequences = sequences._replace(window=100)
        out, lse = MathKernel().forward(q, k, v, sequences)
        return out, {"lse in base 2": lse / math.log(2), "lse transposed": lse.mT, "lse + 0.05": lse + 0.05}.get(
            self.how, lse
        )

    def backward(self, dout, q, k, v, out, lse, sequences):  # noqa: PLR0917
        if self.how == "own lse":  # a backward that recomputes what it was handed
            out, lse = MathKernel().forward(q, k, v, sequences)
        return MathKernel().backward(dout, q, k, v, out, lse, sequences)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", ["window", "causal", "lse in base 2", "lse transposed", "lse + 0.05", "own lse"])
def test_a_wrong_kernel_is_found_before_its_first_use(how, dtype):
    lo, hi = batch_of([row_of([[(2, 1)]])])
    qkv = random_qkv(lo.numel(), 2, 1, (4, 4), dtype)
    with pytest.raises(TrainingError, match=r"Spoilt\.(forward|backward)") as caught:
        two_calls(*qkv, plan(lo, hi), window=2, kernel=Spoilt(how))
    assert caught.value.code == "mask-unsupported"


def test_a_right_kernel_passes_the_check():
    state = torch.get_rng_state()
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        check_kernel(Spoilt("not at all"), *random_qkv(3, 4, 2, (8, 6), dtype), window=2)
    assert torch.equal(torch.get_rng_state(), state)


def test_which_kernel():
    q = torch.zeros(3, 2, 4)
    assert kernel_for(q, q) == MathKernel()
    with FakeTensorMode():
        q = torch.zeros(3, 2, 4, dtype=torch.bfloat16, device="cuda")
        assert kernel_for(q, q) == VarlenKernel()
        narrow = torch.zeros(3, 2, 3, dtype=torch.bfloat16, device="cuda")
        assert kernel_for(q, narrow) == MathKernel()
        wide = torch.zeros(3, 2, 4, device="cuda")
        assert kernel_for(wide, wide) == MathKernel()


class Operators(TorchDispatchMode):
    """Keeps the arguments of the operators of `torch.nn.attention.varlen`, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, dict[str, object]] = {}

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if operator.namespace == "torch_attn":
            names = [argument.name for argument in operator._schema.arguments]
            self.calls[operator._schema.name] = dict(zip(names, args, strict=False)) | (kwargs or {})
        return operator(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("window", "causal", "window_size"),
    [(None, True, [-1, 0]), (3, False, [2, 0])],  # FlashAttention does not count the token itself
)
def test_varlen_kernel_fits_its_operators(window, causal, window_size):
    """Arguments, shapes and dtypes only: nothing is computed on a fake tensor."""
    lo, hi = batch_of([row_of([[(5, 3), (4, 2)], [(7, 1)]])])
    read = plan(lo, hi)
    with FakeTensorMode(allow_non_fake_inputs=True):
        q = torch.zeros(22, 4, 8, dtype=torch.bfloat16, device="cuda")
        k = torch.zeros(22, 2, 8, dtype=torch.bfloat16, device="cuda")
        at = torch.zeros(len(read.documents), dtype=torch.int32, device="cuda")
        sequences = Sequences(at, read.max_document, 0.5, window)
        with Operators() as operators:
            out, lse = VarlenKernel().forward(q, k, k, sequences)
        assert (out.shape, out.dtype) == (q.shape, torch.bfloat16)
        assert (lse.shape, lse.dtype) == ((4, 22), torch.float32)
        with operators:
            dq, dk, dv = VarlenKernel().backward(q, q, k, k, out, lse, sequences)
        assert (dq.shape, dk.shape, dv.shape) == (q.shape, k.shape, k.shape)
    common = {"max_q": 14, "max_k": 14, "is_causal": causal, "scale": 0.5, "window_size": window_size}
    forward, backward = (
        operators.calls["torch_attn::_varlen_attn"],
        operators.calls["torch_attn::_varlen_attn_backward"],
    )
    assert forward["enable_gqa"] is True
    for call in (forward, backward):
        assert {name: call[name] for name in common} == common
        assert call["cu_seq_q"] is call["cu_seq_k"] is at
    assert backward["out"] is out
    assert backward["lse"] is lse


# --- inside models of transformers

BATCH = [row_of([[(4, 3), (0, 2), (3, 2)], [(5, 1)]]), row_of([[(1, 6)], [(2, 2), (6, 1)]])]
"""Rows of 20 and 18 tokens: a batch with padding."""

UNFIT = {"gemma2": "softcap", "gpt-oss": "s_aux"}


def batch(rows: list[Row] = BATCH) -> dict[str, Tensor]:
    lo, hi = batch_of(rows)
    ids = torch.randint(3, VOCABULARY, lo.shape, generator=torch.Generator().manual_seed(3))
    types = torch.zeros_like(ids)
    for at, row in enumerate(rows):
        types[at, : len(row.types)] = torch.tensor(row.types)
    return {"input_ids": ids, "labels": ids.where(types == 2, -100), "ism_lo": lo, "ism_hi": hi}


def loss_and_gradients(model: PreTrainedModel, rows: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    handle = install_ism(model)
    result = model(**rows)
    result.loss.backward()
    handle.remove()
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return torch.cat([result.loss.detach()[None], result.logits.detach().flatten()]), gradients


def worst_step_difference(model: PreTrainedModel, reference: PreTrainedModel) -> float:
    """Largest difference in the loss, the logits and the gradients of one training step."""
    (ours, gradients), (theirs, expected) = (loss_and_gradients(one, batch()) for one in (model, reference))
    assert gradients.keys() == expected.keys()
    assert max(float(one.abs().max()) for one in expected.values()) > 1e-3
    pairs = [(ours, theirs), *((gradients[name], expected[name]) for name in expected)]
    return max(float((a - b).abs().max()) for a, b in pairs)


def test_llama_training_step():
    model, reference = (tiny_model("llama", attention).double().train() for attention in (NAME, "sdpa"))
    assert worst_step_difference(model, reference) <= 1e-10
    for one in (model, reference):
        torch.optim.SGD(one.parameters(), lr=0.1).step()
        one.zero_grad()
    assert worst_step_difference(model, reference) <= 1e-10


@pytest.mark.parametrize("name", [name for name in MODELS if name not in UNFIT])
def test_training_step_of_other_architectures(name):
    # Attention dropout is 0 in these configurations but for GPT-2's.
    options = {
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "embedding_dropout": 0.0,
        "hidden_dropout": 0.0,
    }
    tiny = MODELS[name]
    model, reference = (
        build(tiny.model_type, {**tiny.options, **options}, attention).train() for attention in (NAME, "sdpa")
    )
    assert worst_step_difference(model, reference) <= 2e-5


@pytest.mark.parametrize("name", UNFIT)
def test_models_whose_scores_are_more_than_causal_attention_are_refused(name):
    model = tiny_model(name, NAME)
    install_ism(model)
    with pytest.raises(TrainingError, match=UNFIT[name]) as caught:
        model(**batch())
    assert caught.value.code == "mask-unsupported"


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
def test_gradient_checkpointing():
    model, reference = (tiny_model("llama", attention).double().train() for attention in (NAME, "sdpa"))
    model.gradient_checkpointing_enable()
    assert worst_step_difference(model, reference) <= 1e-10


class Recording:
    """The reference kernel, keeping what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def forward(self, q: Tensor, k: Tensor, v: Tensor, sequences: Sequences) -> tuple[Tensor, Tensor]:
        assert all(x.is_contiguous() for x in (q, k, v)), "as flash kernels want it"
        self.calls.append((len(q), sequences.max_seqlen, q.dtype, k.dtype, v.dtype, torch.is_autocast_enabled("cpu")))
        return MathKernel().forward(q, k, v, sequences)

    def backward(self, dout, q, k, v, out, lse, sequences):  # noqa: PLR0917
        assert all(x.is_contiguous() for x in (dout, q, k, v, out, lse)), "as flash kernels want it"
        self.calls.append(("backward", torch.is_autocast_enabled("cpu")))
        return MathKernel().backward(dout, q, k, v, out, lse, sequences)


@pytest.fixture
def recording() -> Iterator[Recording]:
    """The kernel of every model whose attention is `NAME`, as long as the test runs."""
    kernel = Recording()
    register(kernel)
    yield kernel
    register()


def test_a_kernel_of_ones_own(recording):
    model = tiny_model("llama", NAME)
    install_ism(model)
    model(**batch())
    # The check before the first use, then two calls per layer: 40 tokens in documents of at most 14, and the tokens
    # that see later ones: 3 + 2 + 4 of the first row, 1 + 5 of the second.
    sizes = [call[:2] for call in recording.calls if call[0] != "backward"]
    assert sizes == [(136, 130), *[(40, 14), (15, 5)] * 2]


def test_autocast(recording):
    # Under autocast the query and key norms of Qwen 3 give float32, and its values are bfloat16.
    model, reference = (tiny_model("qwen3", attention).train() for attention in (NAME, "sdpa"))
    with torch.autocast("cpu", torch.bfloat16):
        (ours, gradients), (theirs, expected) = (loss_and_gradients(one, batch()) for one in (model, reference))
    half = torch.bfloat16
    assert recording.calls[2:] == [
        *[(40, 14, half, half, half, False), (15, 5, half, half, half, False)] * 2,
        *[("backward", False)] * 4,
    ]
    assert float(ours[0]) == pytest.approx(float(theirs[0]), abs=0.02)
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=0.1, atol=0.02)


def test_a_batch_without_a_plan_is_never_causal_in_silence():
    model = tiny_model("llama", NAME)  # without install_ism nothing reads ism_lo and ism_hi
    for rows in (batch(), {"input_ids": batch()["input_ids"]}):
        with pytest.raises(TrainingError, match="neither a plan nor a 4-D mask") as caught:
            model(**rows)
        assert caught.value.code == "mask-missing"


def test_a_model_that_does_not_ask_for_the_plan_shows():
    read = plan(batch()["ism_lo"], batch()["ism_hi"])
    ids = batch()["input_ids"]
    xglm = build("xglm", {"d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4}, "eager")
    xglm(input_ids=ids, use_cache=False, ism_plan=read)
    with pytest.raises(TrainingError, match="no attention layer of XGLM asked") as caught:
        read.check_read("XGLM")
    assert caught.value.code == "mask-unsupported"
    tiny_model("llama", NAME)(input_ids=ids, use_cache=False, ism_plan=read)
    read.check_read("Llama")
    assert read.reads.count == 2


@pytest.mark.parametrize("train", [True, False])
def test_such_a_model_is_refused_after_install(train: bool):
    xglm = build("xglm", {"d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4}, NAME).train(train)
    install_ism(xglm)
    with pytest.raises(TrainingError, match="no attention layer of XGLMModel asked"):
        xglm(**batch())


def test_fsdp_with_mixed_precision():
    """It gives each layer a copy of every dataclass among its arguments, so a plan may be read in copies alone."""
    model, reference = (tiny_model("llama", attention).train() for attention in (NAME, "sdpa"))
    install_ism(model)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        for module in (*model.model.layers, model):
            fully_shard(module, mesh=mesh, mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))
        result = model(**batch())
        result.loss.backward()
    finally:
        torch.distributed.destroy_process_group()
    assert result.logits.dtype == torch.bfloat16
    install_ism(reference)
    assert result.loss.item() == pytest.approx(reference(**batch()).loss.item(), abs=0.02)
    assert all(weight.grad.to_local().isfinite().all() for weight in model.parameters())


def test_a_window_that_only_the_mask_knows_is_refused():
    """PhiMoE has a sliding window and does not hand it to attention."""
    sizes = {"num_local_experts": 2, "num_experts_per_tok": 2}
    model = build("phimoe", {**sizes, "sliding_window": 4}, NAME)
    install_ism(model)
    with pytest.raises(TrainingError, match="without its sliding window of 4"):
        model(**batch())
    model = build("phimoe", {**sizes, "sliding_window": None}, NAME)
    install_ism(model)
    assert model(**batch()).logits.isfinite().all()


@pytest.mark.parametrize("name", ["softcap", "s_aux", "position_bias", "sinks", "indices", "block_indices", "cache"])
def test_what_a_causal_kernel_cannot_do_is_refused(name):
    lo, hi = batch_of(BATCH)
    q = torch.zeros(*lo.shape, 2, 4).transpose(1, 2)
    attention = AttentionInterface()[NAME]
    attention(torch.nn.Module(), q, q, q, None, ism_plan=plan(lo, hi))
    with pytest.raises(TrainingError, match=name) as caught:
        attention(torch.nn.Module(), q, q, q, None, ism_plan=plan(lo, hi), **{name: 1.0})
    assert caught.value.code == "mask-unsupported"


def test_heads_that_do_not_fit():
    lo, hi = batch_of(BATCH)
    q, k = torch.zeros(lo.numel(), 3, 4), torch.zeros(lo.numel(), 2, 4)
    with pytest.raises(TrainingError, match="3 query heads are no multiple of 2 key heads") as caught:
        two_calls(q, k, k, plan(lo, hi))
    assert caught.value.code == "bad-batch"


def test_attention_dropout_is_refused_where_it_acts():
    model = build("llama", {"attention_dropout": 0.1}, NAME)
    install_ism(model)
    model(**batch())
    with pytest.raises(TrainingError, match=r"attention_dropout 0\.1"):
        model.train()(**batch())


@pytest.mark.parametrize(
    ("model_type", "options", "message"),
    [
        # Has a window in its configuration and leaves it to the mask alone.
        (
            "qwen2_moe",
            {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4},
            "sliding_window None",
        ),
        ("llama4_text", {"layer_types": ["chunked_attention", "full_attention"]}, "of the kind chunked_attention"),
    ],
)
def test_layers_that_do_not_say_what_they_are(model_type, options, message):
    experts = {"num_experts": 2, "num_local_experts": 2, "num_experts_per_tok": 1, "head_dim": 8}
    model = build(model_type, {**experts, **options}, NAME)
    read = plan(batch()["ism_lo"], batch()["ism_hi"])
    with pytest.raises(TrainingError, match=message) as caught:
        model(input_ids=batch()["input_ids"], use_cache=False, ism_plan=read)
    assert caught.value.code == "mask-unsupported"


def test_attention_that_is_not_causal_is_refused():
    model = tiny_model("llama", NAME)
    model.model.layers[1].self_attn.is_causal = False
    with pytest.raises(TrainingError, match="not causal to begin with"):
        model(input_ids=batch()["input_ids"], use_cache=False, ism_plan=plan(batch()["ism_lo"], batch()["ism_hi"]))


def test_what_cannot_go_with_a_plan():
    model, ids = tiny_model("llama", NAME), batch()["input_ids"]
    read = plan(batch()["ism_lo"], batch()["ism_hi"])
    mask = torch.ones(2, 1, 20, 20, dtype=torch.bool)
    cache = model(input_ids=ids, attention_mask=mask, use_cache=True).past_key_values
    for more in ({"attention_mask": mask}, {"past_key_values": cache}):
        with pytest.raises(TrainingError, match="an attention mask or cached keys") as caught:
            model(input_ids=ids, ism_plan=read, **more)
        assert caught.value.code == "mask-unsupported"
    with pytest.raises(TrainingError, match=r"plan is of a batch \[2, 20\], but attention got \[1, 20\]") as caught:
        model(input_ids=ids[:1], ism_plan=read, use_cache=False)
    assert caught.value.code == "bad-batch"
