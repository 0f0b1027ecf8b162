"""What the two calls of `ismpack.torch.two_calls` need to know about a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ismpack.errors import TrainingError


class Reads:
    """How many attention layers have read a plan.

    No dataclass, for FSDP with mixed precision gives each layer a copy of every dataclass among its arguments, but the
    object of any other class as it is.
    """

    def __init__(self) -> None:
        self.count = 0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Plan:
    """How the two calls read a batch; one plan serves all layers.

    The B rows count as one sequence of B * T tokens, row after row.

    Attributes:
        shape: `(B, T)`.
        documents: int32[documents + 1], where each document starts and, last, B * T.
        max_document: Tokens of the longest document.
        reversed_queries: int64[U], the tokens that see later ones, from the last to the first. Their keys are
            the tokens `reversed_queries + 1`.
        queries: int32[queries + 1], where each query starts in `reversed_queries` and, last, U.
        max_query: Tokens of the longest query there; 0 if there is none.
        reads: Counts the attention layers that have read the plan, or a copy of it. See `check_read`.
    """

    shape: tuple[int, int]
    documents: Tensor
    max_document: int
    reversed_queries: Tensor
    queries: Tensor
    max_query: int
    reads: Reads

    def check_read(self, model: str) -> None:
        """To be asked after a forward pass: a model whose attention ignored the plan attended to something else.

        Raises:
            TrainingError: `mask-unsupported`, no layer has read the plan.
        """
        if not self.reads.count:
            raise TrainingError(
                f"no attention layer of {model} asked for the mask: it does not call transformers' AttentionInterface",
                code="mask-unsupported",
                hint="Use attn_implementation 'sdpa' or 'eager'.",
            )


def plan(lo: Tensor, hi: Tensor) -> Plan:
    """Read the plan off the intervals of a batch, on its device and without a loop.

    The host waits for the device a few times, for sizes that kernels take as numbers: once per forward pass, not per
    layer.

    Args:
        lo: int[B, T], the first token that each token sees: the start of its document.
        hi: int[B, T], the end of what each token sees: the end of its query, or `t + 1`.

    Raises:
        TrainingError: `bad-batch`, these are no intervals of documents and queries that cover the rows.
    """
    token = _check_intervals(lo, hi)
    rows, length = lo.shape
    sees_later = (hi > token + 1).flatten()
    reversed_queries = sees_later.nonzero().flatten().flip(0)
    row_start = torch.arange(rows, device=lo.device)[:, None] * length
    documents = _bounds((lo == token).flatten())
    queries = _bounds(_first_of_runs((hi + row_start).flatten()[reversed_queries]))
    longest = torch.stack([documents.diff().max(), queries.diff().max() if len(queries) > 1 else queries[0]])
    max_document, max_query = longest.tolist()
    return Plan(
        shape=(rows, length),
        documents=documents,
        max_document=max_document,
        reversed_queries=reversed_queries,
        queries=queries,
        max_query=max_query,
        reads=Reads(),
    )


def _check_intervals(lo: Tensor, hi: Tensor) -> Tensor:
    """Positions [T], once it is sure that documents and blocks are runs of tokens that fill every row."""
    whole = not (lo.is_floating_point() or hi.is_floating_point())
    if lo.shape != hi.shape or lo.ndim != 2 or not lo.numel() or not whole:
        raise TrainingError(
            f"ism_lo and ism_hi must be integers of one shape [rows, tokens], got {lo.dtype}{list(lo.shape)} and "
            f"{hi.dtype}{list(hi.shape)}",
            code="bad-batch",
        )
    token = torch.arange(lo.shape[1], device=lo.device)
    good = (token < hi) & (hi <= lo.shape[1])
    good[:, 0] &= lo[:, 0] == 0
    good[:, 1:] &= (lo[:, 1:] == lo[:, :-1]) | (lo[:, 1:] == token[1:])
    in_block = hi[:, :-1] > token[1:]
    good[:, 1:] &= ~in_block | ((hi[:, 1:] == hi[:, :-1]) & (lo[:, 1:] == lo[:, :-1]))
    if not good.all():
        row, at = (int(x) for x in (~good).nonzero()[0])
        raise TrainingError(
            f"token {at} of row {row} has the interval [{int(lo[row, at])}, {int(hi[row, at])}), which does not "
            "continue its document and query",
            code="bad-batch",
            hint="Take ism_lo and ism_hi from ismpack.torch.Collator or ismpack.masks.intervals; pad with one causal "
            "document.",
        )
    return token


def _first_of_runs(values: Tensor) -> Tensor:
    """bool like `values`: True where a run of equal values starts."""
    first = torch.ones_like(values, dtype=torch.bool)
    first[1:] = values[1:] != values[:-1]
    return first


def _bounds(first: Tensor) -> Tensor:
    """int32[runs + 1]: where runs start and, last, where they end, as kernels want it."""
    start = first.nonzero().flatten()
    return torch.cat([start, start.new_tensor([len(first)])]).to(torch.int32)
