"""Time of attention, forward and backward, under the ISM mask beside a causal one. Needs a CUDA device and torch.

    python benchmarks/attention.py DATASET [--tokens 8192,16384,32768] [--rows 8] [--rounds 5] [-o FILE]

Rows of DATASET (a directory that `ismpack convert` made) are laid end to end until no other fits, and padded to each
number of tokens. Each round runs all of these on each row in turn, with random bfloat16 q, k, v:

- flex ism:       compiled flex_attention with the `BlockMask` of `ismpack.torch` and kind `ism`
- flex causal:    the same with kind `causal`, so causal inside each document
- two calls:      ISM by two causal calls of a variable-length kernel, merged (`ismpack.torch.two_calls`)
- varlen causal:  FlashAttention with `cu_seqlens` of the documents: flash_attn if installed, else torch's varlen_attn

The two of ISM must agree, and the two causal ones, before anything is timed. Prints the median time per step and its
ratio to flex causal; making the mask is timed apart. Without CUDA it says so and exits with 2.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from suite.machine import machine, versions
from torch.nn.attention.flex_attention import flex_attention

import ismpack
from ismpack import masks

Row: TypeAlias = tuple[npt.NDArray[np.integer], npt.NDArray[np.integer], npt.NDArray[np.integer]]
Attention: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""q, k, v of [1, heads, T, dim] to out of the same shape."""

FLEX = torch.compile(flex_attention, dynamic=False)
torch._dynamo.config.fail_on_recompile_limit_hit = True  # in place of going on without a kernel, and slowly


def rows_of(directory: str, tokens: int) -> Iterator[Row]:
    """Rows of exactly so many tokens: rows of the dataset end to end, then padding."""
    held: list[Row] = []
    size = 0
    for pack in ismpack.load(directory):
        if len(pack) > tokens:
            raise SystemExit(f"error: a row of the dataset has {len(pack):,} tokens, more than {tokens:,}")
        if size + len(pack) > tokens:
            yield joined(held, tokens)
            held, size = [], 0
        turns = pack.turn_ids + (int(held[-1][1][-1]) + 1 if held else 0)
        held.append((pack.segment_type_ids, turns, pack.seq_lengths))
        size += len(pack)


def joined(rows: list[Row], tokens: int) -> Row:
    types, turns, lengths = (np.concatenate(columns) for columns in zip(*rows, strict=True))
    return masks.pad(types, turns, lengths, to=tokens)


def contenders(row: Row) -> tuple[dict[str, Attention], dict[str, float]]:
    """What attends over this row, and the milliseconds that each mask took."""
    from ismpack.torch import block_mask, two_calls

    found: dict[str, Attention] = {}
    making: dict[str, float] = {}
    for kind in ("ism", "causal"):
        lo, hi = (torch.from_numpy(v)[None].cuda() for v in masks.intervals(*row, kind=kind)[:2])
        making[f"flex {kind}"] = milliseconds(lambda lo=lo, hi=hi: block_mask(lo, hi))
        mask = block_mask(lo, hi)
        found[f"flex {kind}"] = lambda q, k, v, mask=mask: FLEX(q, k, v, block_mask=mask, enable_gqa=True)
        if kind == "ism":
            making["two calls"] = milliseconds(lambda lo=lo, hi=hi: two_calls.plan(lo, hi))
            plan = two_calls.plan(lo, hi)
            found["two calls"] = unpadded(lambda q, k, v, plan=plan: two_calls.two_calls(q, k, v, plan))
    call = masks.varlen_documents(row[2])
    starts = torch.from_numpy(call.cu_seqlens_q).cuda()
    found["varlen causal"] = varlen(starts, call.max_seqlen_q)
    return found, making


def varlen(starts: torch.Tensor, longest: int) -> Attention:
    """Causal attention inside each document by a FlashAttention kernel."""
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError:
        from torch.nn.attention.varlen import varlen_attn

        def run(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return varlen_attn(q, k, v, starts, starts, longest, longest, window_size=(-1, 0), enable_gqa=True)
    else:

        def run(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return flash_attn_varlen_func(q, k, v, starts, starts, longest, longest, causal=True)

    return unpadded(run)


def unpadded(run: Attention) -> Attention:
    """For attention that takes [T, heads, dim]."""
    return lambda q, k, v: run(*(x[0].transpose(0, 1) for x in (q, k, v))).transpose(0, 1)[None]


def milliseconds(run: Callable[[], object]) -> float:
    """Of the device's clock, for one run after another has warmed up."""
    run()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end)


def measure(directory: str, tokens: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of each contender over all rows and rounds, and of making its mask."""
    torch.manual_seed(0)
    shapes = [(1, heads, tokens, arguments.dim) for heads in (arguments.heads, arguments.kv_heads, arguments.kv_heads)]
    q, k, v = (torch.randn(shape, device="cuda", dtype=torch.bfloat16, requires_grad=True) for shape in shapes)
    times: dict[str, list[float]] = {}
    making: dict[str, list[float]] = {}
    rows = list(islice(rows_of(directory, tokens), arguments.rows))
    if not rows:
        raise SystemExit(f"error: the dataset does not fill a row of {tokens:,} tokens")
    costs = [masks.cost(*row) for row in rows]
    for row in rows:
        found, made = contenders(row)
        for name, value in made.items():
            making.setdefault(name, []).append(value)
        for one, other in (("varlen causal", "flex causal"), ("two calls", "flex ism")):
            torch.testing.assert_close(found[one](q, k, v), found[other](q, k, v), atol=2e-2, rtol=2e-2)
        for _ in range(arguments.rounds):
            for name, attention in found.items():
                step = lambda attention=attention: attention(q, k, v).sum().backward()  # noqa: E731
                times.setdefault(name, []).append(milliseconds(step))
    ratios = [ism / causal for ism, causal in zip(times["flex ism"], times["flex causal"], strict=True)]
    blocks = sum(cost.blocks for cost in costs) / sum(cost.causal_blocks for cost in costs)
    return {"rows": len(rows), "step": times, "mask": making, "ism_times_causal": ratios, "blocks_ratio": blocks}


def main() -> int:
    """Measure, print and write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--tokens", type=lambda text: [int(n) for n in text.split(",")], default=[8192, 16384, 32768])
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--kv-heads", type=int, default=8)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("error: no CUDA device; this benchmark runs flex_attention and FlashAttention on one", file=sys.stderr)
        return 2
    device = torch.cuda.get_device_name()
    found = {tokens: measure(arguments.dataset, tokens, arguments) for tokens in arguments.tokens}
    print(f"{device}, torch {torch.__version__}: {arguments.heads} heads, {arguments.kv_heads} of k and v")
    for tokens, content in found.items():
        print(
            f"\n{tokens:,} tokens, {content['rows']} rows; ISM needs {content['blocks_ratio']:.3f} x the causal blocks"
        )
        for name, values in content["step"].items():
            print(f"{name:<16}{median(values):>10.3f} ms ({min(values):.3f}-{max(values):.3f})")
        print(f"ism / causal    {median(content['ism_times_causal']):>10.3f}")
    if arguments.output is not None:
        told = {
            "device": device,
            "torch": torch.__version__,
            **vars(arguments),
            "dataset": Path(arguments.dataset).name,
        }
        told["output"] = None
        content = {"machine": machine(Path()), "versions": versions(), "setting": told, "measured": found}
        arguments.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
