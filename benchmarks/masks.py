"""How long masks take to make, in every form, and what they cost in attention beside causal ones.

    python benchmarks/masks.py [DATASET ...] [--tokens 4096,8192,16384] [--rounds 7] [-o FILE]

Two parts:

- time: every form of the ISM mask of a made-up row, one row for each length. If torch is installed, also the
        `BlockMask` of `ismpack.torch` and the one that PyTorch's `create_block_mask` makes; their tables are compared
        first. Each round runs all in turn, and ratios are formed round by round.
- cost: pairs of tokens and blocks of 128 that attention computes over all rows of each DATASET (a directory that
        `ismpack convert` made), for each kind of mask beside a causal one.

Prints tables; -o writes all figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from suite.machine import machine, versions

import ismpack
from ismpack import masks
from ismpack.data import Pack

Row: TypeAlias = tuple[npt.NDArray[np.integer], npt.NDArray[np.integer], npt.NDArray[np.integer]]

FORMS: dict[str, Callable[..., object]] = {
    name: getattr(masks, name)
    for name in (
        "intervals", "segments", "flashmask", "magi_slices", "key_ranges", "splash", "varlen_gathered",
        "varlen_two_calls", "block_tables", "cost", "triplets", "dense", "inverted",
    )
}  # fmt: skip
OURS, TORCHS = "torch.flex.block_mask", "create_block_mask"
BLOCK = 128
LEAST_SECONDS = 0.02  # that a form runs in each round; a single call may be too short to be measured


def made_up_row(tokens: int) -> Row:
    """A row like packed chats: queries of about 70 tokens, answers of about 215, three turns to a document."""
    rng = np.random.default_rng(0)
    sizes = rng.lognormal(np.log([70, 215]), 0.7, (tokens // 100 + 2, 2)).astype(np.int64) + 1
    types = np.repeat(np.tile([1, 2], len(sizes)), sizes.ravel())[:tokens]
    turns = np.repeat(np.arange(len(sizes)), sizes.sum(axis=1))[:tokens]
    lengths = np.unique(turns // 3, return_counts=True)[1]
    return types.astype(np.uint8), turns.astype(np.int32), lengths.astype(np.int32)


def seconds_of(run: Callable[[], object]) -> float:
    """Seconds of one run, of as many as `LEAST_SECONDS` hold."""
    count, begin = 0, perf_counter()
    while True:
        run()
        count += 1
        if (taken := perf_counter() - begin) >= LEAST_SECONDS:
            return taken / count


def block_masks(row: Row) -> dict[str, Callable[[], object]]:
    """Both ways to a `BlockMask` on the CPU, whose tables are equal; none if torch is not installed."""
    try:
        import torch
        from torch.nn.attention.flex_attention import create_block_mask
    except ImportError:
        return {}
    from ismpack.torch.flex import block_mask, mask_mod

    lo, hi, _, _ = (torch.from_numpy(vector)[None] for vector in masks.intervals(*row))
    tokens = lo.shape[1]
    ours = lambda: block_mask(lo, hi, block_size=BLOCK)  # noqa: E731
    torchs = lambda: create_block_mask(  # noqa: E731
        mask_mod(lo, hi), 1, None, tokens, tokens, device="cpu", BLOCK_SIZE=BLOCK
    )
    found, expected = ours(), torchs()
    for name in ("kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices"):
        if not torch.equal(getattr(found, name), getattr(expected, name)):
            raise SystemExit(f"error: {name} of the two block masks differ at {tokens:,} tokens")
    return {OURS: ours, TORCHS: torchs}


def measure(tokens: int, rounds: int) -> dict[str, list[float]]:
    """Form -> its seconds in each round."""
    row = made_up_row(tokens)
    runs: dict[str, Callable[[], object]] = {name: lambda form=form: form(*row) for name, form in FORMS.items()}
    runs |= block_masks(row)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            seconds[name].append(seconds_of(run))
    return seconds


def spread(rounds: list[float]) -> dict[str, Any]:
    return {"median": median(rounds), "min": min(rounds), "max": max(rounds), "rounds": rounds}


def cost_of(directory: str) -> dict[str, Any]:
    """Totals of all rows of a dataset; those of kind triplets are of the expanded rows."""
    totals: dict[str, dict[str, int]] = {}
    query_tokens = 0
    for pack in ismpack.load(directory):
        query_tokens += int((pack.segment_type_ids & 1).sum())
        for kind, counted in costs(pack).items():
            sums = totals.setdefault(kind, {"pairs": 0, "blocks": 0, "tokens": 0})
            for name, value in counted.items():
                sums[name] += value
    causal = totals["causal"]
    for sums in totals.values():
        sums.update({f"{name}_ratio": sums[name] / causal[name] for name in ("pairs", "blocks", "tokens")})
    return {"dataset": Path(directory).name, "query_share": query_tokens / causal["tokens"], "kinds": totals}


def costs(pack: Pack) -> dict[str, dict[str, int]]:
    """Kind -> tokens, pairs and blocks of one row."""
    row = (pack.segment_type_ids, pack.turn_ids, pack.seq_lengths)
    found: dict[str, dict[str, int]] = {}
    for kind in masks.KINDS:
        cost = masks.cost(*row, kind=kind, block_size=BLOCK)
        found[kind] = {"pairs": cost.pairs, "blocks": cost.blocks, "tokens": len(pack)}
    new = masks.triplets(*row)
    cost = masks.cost(new.segment_type_ids, new.turn_ids, new.seq_lengths, kind="prefix", block_size=BLOCK)
    found["triplets"] = {"pairs": cost.pairs, "blocks": cost.blocks, "tokens": len(new.index)}
    return found


def print_times(times: Mapping[int, Mapping[str, list[float]]]) -> None:
    print(f"{'microseconds: median (lowest-highest)':<38}" + "".join(f"{f'{n:,} tokens':>34}" for n in times))
    for name in next(iter(times.values())):
        cells = [[1e6 * value for value in seconds[name]] for seconds in times.values()]
        shown = (f"{median(cell):,.0f} ({min(cell):,.0f}-{max(cell):,.0f})" for cell in cells)
        print(f"{name:<38}" + "".join(f"{cell:>34}" for cell in shown))
    if all(OURS in seconds for seconds in times.values()):
        cells = [ratios(seconds) for seconds in times.values()]
        shown = (f"{median(cell):,.1f} ({min(cell):,.1f}-{max(cell):,.1f})" for cell in cells)
        print(f"{f'times that {TORCHS} takes':<38}" + "".join(f"{cell:>34}" for cell in shown))


def ratios(seconds: Mapping[str, list[float]]) -> list[float]:
    """How many times as long as ours PyTorch's block mask takes, round by round."""
    return [theirs / ours for theirs, ours in zip(seconds[TORCHS], seconds[OURS], strict=True)]


def print_cost(cost: Mapping[str, Any]) -> None:
    print(f"\n{cost['dataset']}: {cost['query_share']:.0%} of the tokens are queries. Causal = 1:")
    print(f"{'kind':<12}{'tokens':>10}{'pairs':>10}{'blocks':>10}")
    for kind, sums in cost["kinds"].items():
        print(f"{kind:<12}{sums['tokens_ratio']:>10.2f}{sums['pairs_ratio']:>10.3f}{sums['blocks_ratio']:>10.3f}")


def torch_threads() -> int | None:
    """Threads that torch computes with, None if it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    return torch.get_num_threads()


def main() -> int:
    """Measure, print and write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="*")
    parser.add_argument("--tokens", type=lambda text: [int(n) for n in text.split(",")], default=[4096, 8192, 16384])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    before = machine(Path())
    times = {tokens: measure(tokens, arguments.rounds) for tokens in arguments.tokens}
    print_times(times)
    found = [cost_of(directory) for directory in arguments.dataset]
    for cost in found:
        print_cost(cost)
    if arguments.output is not None:
        content = {
            "schema": "ismpack.benchmark-masks/1",
            "machine": before | {"torch_threads": torch_threads()},
            "versions": versions(),
            "seconds": {n: {name: spread(rounds) for name, rounds in forms.items()} for n, forms in times.items()},
            "create_block_mask_times": {n: spread(ratios(forms)) for n, forms in times.items() if OURS in forms},
            "cost": found,
        }
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
