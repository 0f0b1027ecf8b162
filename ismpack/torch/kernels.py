"""Causal attention kernels over packed sequences: what `two_calls` is made of.

    CausalKernel    the shape of such a kernel; anything of this shape plugs in
    MathKernel      plain PyTorch, any device and float dtype; the reference
    VarlenKernel    the FlashAttention inside PyTorch: CUDA, float16 and bfloat16
    check_kernel    does a kernel compute what `two_calls` needs, on this device?

The layout is that of FlashAttention's variable-length functions: the tokens of all sequences lie end to end, sequence
`n` holds the tokens `[cu_seqlens[n], cu_seqlens[n + 1])`, and a token sees itself and what is before it there.

Letters used in shapes: N sequences, T tokens of all of them, H query heads, K key and value heads (H is a multiple of
K), D dimension of a head (of values it may differ, where the kernel allows that).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
import torch.nn.attention.varlen  # registers the operators of VarlenKernel
from torch import Tensor

from ismpack.errors import TrainingError

_CHECKED_LENGTHS = (1, 5, 130)
"""Sequences of `check_kernel`: one token, a few, and more than one tile of a kernel."""


_LSE_ROUNDING = 1e-3
"""What a kernel that computes in half precision may be off in its log-sum-exp, relatively."""


class Sequences(NamedTuple):
    """Which tokens form sequences, and how a token attends inside its own.

    Attributes:
        cu_seqlens: int32[N + 1], where each sequence starts and, last, T.
        max_seqlen: Tokens of the longest sequence.
        scale: Factor of the scores before softmax.
        window: A token sees itself and at most `window - 1` tokens before it. None: all before it.
    """

    cu_seqlens: Tensor
    max_seqlen: int
    scale: float
    window: int | None = None


class CausalKernel(Protocol):
    """Causal attention that hands out its log-sum-exp, and whose backward takes it from outside.

    FlashAttention 2 and 3 have this shape in `_flash_attn_varlen_forward` and `_flash_attn_varlen_backward`.
    """

    def __hash__(self) -> int:
        """Kernels are keys of the table of checked ones."""
        ...

    def forward(self, q: Tensor, k: Tensor, v: Tensor, sequences: Sequences) -> tuple[Tensor, Tensor]:
        """Attention of `q` [T, H, D] over `k` and `v` [T, K, D].

        Returns:
            `out` [T, H, D] in the dtype of `q`; `lse` [H, T], the natural logarithm of the sum over a token's keys of
            `exp(scale * score)`, in float32 or wider.
        """
        ...

    def backward(  # noqa: PLR0913, PLR0917 - what every flash backward takes
        self, dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, sequences: Sequences
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients `(dq, dk, dv)` for `dout` [T, H, D].

        `out` and `lse` are used as they come. They may belong to attention over more keys than these, and the
        gradients are then the share of these keys.
        """
        ...


@dataclass(frozen=True, slots=True)
class MathKernel:
    """Softmax attention written out, one sequence after the other; float16 and bfloat16 are computed in float32.

    Exact and simple rather than fast: takes H * n * n numbers of memory for a sequence of n tokens.
    """

    def forward(self, q: Tensor, k: Tensor, v: Tensor, sequences: Sequences) -> tuple[Tensor, Tensor]:
        """See `CausalKernel.forward`; values may have their own dimension."""
        outs, lses = [], []
        for part in _ranges(sequences):
            keys, values = (_spread(x[part], q.shape[1]) for x in (k, v))
            scores = _scores(_heads_first(q[part]), keys, sequences)
            lse = scores.logsumexp(-1, keepdim=True)
            outs.append(((scores - lse).exp() @ values).transpose(0, 1))
            lses.append(lse.squeeze(-1))
        return torch.cat(outs).to(q.dtype), torch.cat(lses, 1)

    def backward(  # noqa: PLR0913, PLR0917
        self, dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, sequences: Sequences
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `CausalKernel.backward`."""
        gradients = []
        for part in _ranges(sequences):
            queries, errors, outs = (_heads_first(x[part]) for x in (q, dout, out))
            keys, values = (_spread(x[part], q.shape[1]) for x in (k, v))
            weights = (_scores(queries, keys, sequences) - lse[:, part, None]).exp()
            mean = (errors * outs).sum(-1, keepdim=True)
            slope = weights * (errors @ values.mT - mean) * sequences.scale
            dk, dv = (_gathered(x, k.shape[1]) for x in (slope.mT @ queries, weights.mT @ errors))
            gradients.append(((slope @ keys).transpose(0, 1), dk, dv))
        dq, dk, dv = (torch.cat(pieces) for pieces in zip(*gradients, strict=True))
        return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype)


@dataclass(frozen=True, slots=True)
class VarlenKernel:
    """The FlashAttention that PyTorch 2.13 ships as `torch.nn.attention.varlen`: CUDA, float16 and bfloat16.

    Calls the two operators under `varlen_attn` themselves, since the public function's backward does not take a merged
    log-sum-exp. This project's tests check the operators' arguments, shapes and dtypes on fake tensors and have NOT run
    them on a GPU; `two_calls` therefore runs `check_kernel` before it uses this kernel for the first time.

    Source: https://docs.pytorch.org/docs/2.13/nn.attention.varlen.html
    """

    def forward(self, q: Tensor, k: Tensor, v: Tensor, sequences: Sequences) -> tuple[Tensor, Tensor]:
        """See `CausalKernel.forward`; values have the dimension of keys."""
        at, longest = sequences.cu_seqlens, sequences.max_seqlen
        causal, window = _flash_window(sequences)
        out, lse, _ = torch.ops.torch_attn._varlen_attn(
            q, k, v, at, at, longest, longest, causal, sequences.scale, window, q.shape[1] != k.shape[1]
        )
        return out, lse

    def backward(  # noqa: PLR0913, PLR0917
        self, dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, sequences: Sequences
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `CausalKernel.backward`."""
        at, longest = sequences.cu_seqlens, sequences.max_seqlen
        causal, window = _flash_window(sequences)
        no_dropout = torch.zeros(2, dtype=torch.uint64, device=q.device)  # the state of a generator never drawn from
        dq, dk, dv = torch.ops.torch_attn._varlen_attn_backward(
            dout, q, k, v, out, lse, at, at, longest, longest, causal, no_dropout, sequences.scale, window
        )
        return dq, dk, dv


def kernel_for(q: Tensor, v: Tensor) -> CausalKernel:
    """`VarlenKernel` for half precision on CUDA with equal head dimensions, else `MathKernel`."""
    half = q.dtype in {torch.float16, torch.bfloat16}
    return VarlenKernel() if q.is_cuda and half and q.shape[-1] == v.shape[-1] else MathKernel()


def check_kernel(kernel: CausalKernel, q: Tensor, k: Tensor, v: Tensor, window: int | None = None) -> None:
    """Compare a kernel with `MathKernel`, forward and backward, on random tensors like the given ones.

    The backward is fed a log-sum-exp and outputs of attention over more keys than it sees, as `two_calls` does. Takes
    milliseconds and leaves PyTorch's random state alone.

    Args:
        kernel: What to check.
        q: [*, H, D]; only its device, dtype, heads and dimensions matter, and so for the others.
        k: [*, K, D].
        v: [*, K, D].
        window: Also check a sliding window (of 7).

    Raises:
        TrainingError: `mask-unsupported`, the results differ by more than the dtype explains.
    """
    generator = torch.Generator().manual_seed(0)
    total = sum(_CHECKED_LENGTHS)

    def like(x: Tensor) -> Tensor:
        return torch.randn((total, *x.shape[-2:]), generator=generator).to(device=x.device, dtype=x.dtype)

    queries, keys, values, dout = like(q), like(k), like(v), like(q[..., : v.shape[-1]])
    cu_seqlens = torch.tensor([0, *_CHECKED_LENGTHS], device=q.device).cumsum(0, dtype=torch.int32)
    sequences = Sequences(cu_seqlens, max(_CHECKED_LENGTHS), q.shape[-1] ** -0.5, 7 if window else None)
    expected = MathKernel().forward(queries, keys, values, sequences)
    merged = (expected[0] * 0.5, expected[1] + 0.7)
    pairs = [
        ("forward", kernel.forward(queries, keys, values, sequences), expected),
        (
            "backward",
            kernel.backward(dout, queries, keys, values, *merged, sequences),
            MathKernel().backward(dout, queries, keys, values, *merged, sequences),
        ),
    ]
    for step, got, want in pairs:
        for ours, theirs in zip(got, want, strict=True):
            _compare(f"{type(kernel).__name__}.{step}", ours, theirs, q.dtype)


def _compare(what: str, got: Tensor, want: Tensor, dtype: torch.dtype) -> None:
    """Raise when two results differ by more than rounding explains; no log-sum-exp is rounded to half precision."""
    relative = 16 * torch.finfo(dtype).eps
    bound = max(1.0, float(want.abs().max())) * (relative if got.dtype == dtype else min(relative, _LSE_ROUNDING))
    difference = float((got - want).abs().max()) if got.shape == want.shape else float("nan")
    if not difference <= bound:
        raise TrainingError(
            f"{what} is off by {difference:.1e} ({bound:.1e} is rounding) for shape {list(got.shape)}",
            code="mask-unsupported",
            hint="Use another kernel: ismpack.torch.two_calls.register(MathKernel()) is slow and right everywhere.",
        )


def _flash_window(sequences: Sequences) -> tuple[bool, list[int]]:
    """FlashAttention's causal flag and window: tokens to the left of a token, itself not counted, and to its right."""
    if sequences.window is None:
        return True, [-1, 0]
    return False, [sequences.window - 1, 0]


def _ranges(sequences: Sequences) -> list[slice]:
    bounds = sequences.cu_seqlens.tolist()
    return [slice(start, end) for start, end in pairwise(bounds)]


def _scores(queries: Tensor, keys: Tensor, sequences: Sequences) -> Tensor:
    """[H, n, n] of one sequence, minus infinity where a token does not see."""
    token = torch.arange(queries.shape[1], device=queries.device)
    distance = token[:, None] - token
    seen = distance >= 0
    if sequences.window is not None:
        seen &= distance < sequences.window
    return (queries @ keys.mT * sequences.scale).masked_fill(~seen, float("-inf"))


def _heads_first(x: Tensor) -> Tensor:
    """[n, H, D] to [H, n, D], wide enough to compute in."""
    return x.transpose(0, 1).to(torch.promote_types(x.dtype, torch.float32))


def _spread(x: Tensor, heads: int) -> Tensor:
    """[n, K, D] to [H, n, D]: each key head once for every query head that reads it."""
    return _heads_first(x).repeat_interleave(heads // x.shape[1], 0)


def _gathered(x: Tensor, heads: int) -> Tensor:
    """[H, n, D] to [n, K, D]: gradients of a key head summed over the query heads that read it."""
    return x.reshape(heads, -1, *x.shape[1:]).sum(1).transpose(0, 1)
