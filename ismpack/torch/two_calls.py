"""ISM attention out of two calls of a plain causal kernel.

What a token sees under ISM is what causal attention over its document shows it and, for a query token, the later tokens
of its query. The second part is causal attention too, over the query read backwards:

    causal      every document                           token t sees tokens ..t
    later       every query, reversed, shifted by one    token t sees tokens t+1..end of its query

The two are disjoint, so their results merge by log-sum-exp into exact attention. The backward of each piece is the
kernel's own backward fed the merged output and log-sum-exp; gradients add up. So no kernel needs to know about masks,
no key is copied per turn, and the work is that of the visible pairs. The same holds for the kinds `mas` and `prefix`.

    model = AutoModelForCausalLM.from_pretrained(name, attn_implementation=NAME)    # after importing this module
    install_ism(model)                                                              # turns ism_lo, ism_hi into the plan

Letters used in shapes: B rows, T tokens of a row, H query heads, K key and value heads, D head dimension.
"""

from __future__ import annotations

from functools import cache
from typing import NoReturn, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ismpack.errors import TrainingError
from ismpack.torch.kernels import CausalKernel, MathKernel, Sequences, check_kernel, kernel_for
from ismpack.torch.plan import Plan, plan
from ismpack.torch.support import imports

__all__ = ["NAME", "Plan", "plan", "register", "two_calls"]

NAME = "ism_two_calls"
"""What the attention is called in transformers, as in `model.set_attn_implementation(NAME)`."""

_REFUSED = {
    "softcap": "caps its attention scores (softcap)",
    "s_aux": "has attention sinks (s_aux)",
    "position_bias": "adds a bias to its attention scores (position_bias)",
    "sinks": "has attention sinks (sinks)",
    "indices": "attends to chosen tokens (indices)",
    "block_indices": "attends to chosen blocks (block_indices)",
    "cache": "is served by continuous batching (a paged cache)",
}
"""Arguments of an attention function that change its result in a way that causal kernels do not offer."""


def two_calls(  # noqa: PLR0913
    q: Tensor,
    k: Tensor,
    v: Tensor,
    plan: Plan,
    *,
    scale: float | None = None,
    window: int | None = None,
    kernel: CausalKernel | None = None,
) -> Tensor:
    """Attention under the mask of `plan`, differentiable once.

    Args:
        q: [B * T, H, D], the rows end to end.
        k: [B * T, K, D]; H is a multiple of K.
        v: [B * T, K, D].
        plan: The batch's plan.
        scale: Factor of the scores; `D ** -0.5` by default.
        window: A token sees at most `window - 1` tokens before it, and all later ones of its query.
        kernel: The causal kernel of both calls; by default what `kernel_for` picks. Any but `MathKernel` is compared
            with it before its first use.

    Returns:
        [B * T, H, D].

    Raises:
        TrainingError: `bad-batch`, the plan is of another batch, or heads do not fit; `mask-unsupported`, the kernel
            computes something else.
    """
    tokens = plan.shape[0] * plan.shape[1]
    if not tokens == len(q) == len(k) == len(v):
        raise TrainingError(
            f"the plan is of {tokens} tokens, but attention got {len(q)} queries and {len(k)} keys", code="bad-batch"
        )
    if q.shape[1] % k.shape[1]:
        raise TrainingError(f"{q.shape[1]} query heads are no multiple of {k.shape[1]} key heads", code="bad-batch")
    kernel = kernel or kernel_for(q, v)
    if not isinstance(kernel, MathKernel):
        _check_once(kernel, q.device, q.dtype, (q.shape[1:], k.shape[1:], v.shape[1:]), window is not None)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    with torch.autocast(q.device.type, enabled=False):  # kernels choose their own precision
        out = _TwoCalls.apply(q, k, v, plan, scale, window, kernel)  # type: ignore[no-untyped-call]
    return cast("Tensor", out)


@cache
def _check_once(
    kernel: CausalKernel, device: torch.device, dtype: torch.dtype, heads: tuple[torch.Size, ...], windowed: bool
) -> None:
    with torch.no_grad():
        q, k, v = (torch.empty((0, *size), device=device, dtype=dtype) for size in heads)
        check_kernel(kernel, q, k, v)
        if windowed:
            check_kernel(kernel, q, k, v, 1)


class _Context(FunctionCtx):
    """What the backward of `_TwoCalls` finds."""

    saved_tensors: tuple[Tensor, ...]
    plan: Plan
    causal: Sequences
    later: Sequences
    kernel: CausalKernel


class _TwoCalls(torch.autograd.Function):
    """The two calls and their merge."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - autograd passes arguments by position
        ctx: _Context,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        plan: Plan,
        scale: float,
        window: int | None,
        kernel: CausalKernel,
    ) -> Tensor:
        ctx.plan, ctx.kernel = plan, kernel
        ctx.causal = Sequences(plan.documents, plan.max_document, scale, window)
        # A window hides only what is far behind, so later tokens of the query stay in sight.
        ctx.later = Sequences(plan.queries, plan.max_query, scale)
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        out, lse = kernel.forward(q, k, v, ctx.causal)
        if plan.max_query:
            at = plan.reversed_queries
            later, later_lse = kernel.forward(q[at], k[at + 1], v[at + 1], ctx.later)
            # Only tokens that see something later take part, so no lse is minus infinity.
            merged = torch.logaddexp(lse[:, at], later_lse)
            share = _weights(lse[:, at] - merged) * out[at] + _weights(later_lse - merged) * later
            out[at] = share.to(out.dtype)
            lse[:, at] = merged
        ctx.save_for_backward(q, k, v, out, lse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, dout: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(dout.device.type, enabled=False):
            return *_gradients(ctx, dout.contiguous()), None, None, None, None


def _gradients(ctx: _Context, dout: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v, out, lse = ctx.saved_tensors
    dq, dk, dv = ctx.kernel.backward(dout, q, k, v, out, lse, ctx.causal)
    if ctx.plan.max_query:
        at = ctx.plan.reversed_queries
        key = at + 1
        more = ctx.kernel.backward(dout[at], q[at], k[key], v[key], out[at], lse[:, at].contiguous(), ctx.later)
        # No token is listed twice, so this adds each gradient once.
        dq[at] += more[0]
        dk[key] += more[1]
        dv[key] += more[2]
    return dq, dk, dv


def _weights(log: Tensor) -> Tensor:
    """[H, U] logarithms to [U, H, 1] factors."""
    return log.exp().mT[..., None]


def register(kernel: CausalKernel | None = None) -> None:
    """Make `NAME` known to transformers; importing this module does it with the default kernel.

    Args:
        kernel: Use this kernel from now on, for all models whose attention is `NAME`; None: what `kernel_for` picks.
    """

    def attention(  # noqa: PLR0913, PLR0917 - the signature is transformers'
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        dropout: float = 0.0,
        sliding_window: int | None = None,
        ism_plan: Plan | None = None,
        **kwargs: object,
    ) -> tuple[Tensor, None]:
        """[B, H, T, D] in, [B, T, H, D] out."""
        _refuse_what_kernels_lack(module, dropout, kwargs)
        if ism_plan is None:
            return _with_explicit_mask(module, query, key, value, attention_mask, scaling)
        _refuse_unknown_layers(module, sliding_window)
        if attention_mask is not None or query.shape[2] != key.shape[2]:
            _refuse(module, "was given an attention mask or cached keys beside ism_lo and ism_hi")
        if ism_plan.shape != (query.shape[0], query.shape[2]):
            raise TrainingError(
                f"the plan is of a batch {list(ism_plan.shape)}, but attention got {[query.shape[0], query.shape[2]]}",
                code="bad-batch",
            )
        ism_plan.reads.count += 1
        q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in _autocast(query, key, value))
        out = two_calls(q, k, v, ism_plan, scale=scaling, window=sliding_window, kernel=kernel)
        return out.view(*ism_plan.shape, *out.shape[1:]), None

    AttentionInterface.register(NAME, attention)


def _autocast(*tensors: Tensor) -> list[Tensor]:
    """The tensors as PyTorch's own attention would get them: in the dtype of an autocast region that is on."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return list(tensors)
    return [x.to(torch.get_autocast_dtype(device)) for x in tensors]


def _refuse_what_kernels_lack(module: nn.Module, dropout: float, others: dict[str, object]) -> None:
    for name, reason in _REFUSED.items():
        if others.get(name) is not None:
            _refuse(module, reason)
    if dropout:
        _refuse(module, f"drops attention weights out (attention_dropout {dropout})")
    if not others.get("is_causal", getattr(module, "is_causal", True)):
        _refuse(module, "is not causal to begin with (an encoder or cross attention)")


def _refuse_unknown_layers(module: nn.Module, window: int | None) -> None:
    """A layer whose type restricts attention must have said so in its call, since no mask says it here."""
    config, index = getattr(module, "config", None), getattr(module, "layer_idx", None)
    types, stated = getattr(config, "layer_types", None), getattr(config, "sliding_window", None)
    if types is None or index is None:
        if window is None and stated is not None and imports(module, "create_sliding_window_causal_mask"):
            _refuse(module, f"calls attention without its sliding window of {stated}")
        return
    if types[index] not in {"full_attention", "sliding_attention"}:
        _refuse(module, f"has attention of the kind {types[index]}")
    if (types[index] == "sliding_attention") != (window is not None):
        _refuse(module, f"is of the kind {types[index]}, but calls attention with sliding_window {window}")


def _refuse(module: nn.Module, reason: str) -> NoReturn:
    raise TrainingError(
        f"{type(module).__name__} {reason}, which {NAME} cannot compute",
        code="mask-unsupported",
        hint="Use attn_implementation 'sdpa', or 'eager' where the model has no sdpa.",
    )


def _with_explicit_mask(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None
) -> tuple[Tensor, None]:
    """Attention without a plan: only under a mask that says it all, as in `ismpack.torch.inference`."""
    if mask is None or mask.ndim != 4:
        raise TrainingError(
            f"{NAME} got neither a plan nor a 4-D mask and would have to guess that attention is causal",
            code="mask-missing",
            hint="Call install_ism(model) and give the batch ism_lo and ism_hi. Models that pass no keyword arguments "
            "on to their attention (StableLM, Nemotron) need another attn_implementation.",
        )
    out, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=scaling)
    return out, None


register()
