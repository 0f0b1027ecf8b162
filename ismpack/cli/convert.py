"""`ismpack convert`."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import click

from ismpack.cli.console import Command, Console, option, print_json, printable
from ismpack.cli.options import record_options, template_options, training_options

_CONTROL_GROUP = Path("/sys/fs/cgroup")

_WORKER_BYTES = 1 << 30
"""Memory that a worker may need, generously."""

EXAMPLES = """\b
Examples:
  ismpack convert sample_data/chat.jsonl --tokenizer sample_data/tokenizer -o out
  ismpack convert sample_data/*.json* --tokenizer sample_data/tokenizer --max-length 2048 --max-rejected 1 -o out2
  cat sample_data/alpaca.jsonl | ismpack convert - --tokenizer sample_data/tokenizer -o out3 --json
"""


def _columns(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",")) if value else ()


def _default_workers() -> int:
    """One per core that this process may use, and no more than there are gigabytes of memory for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, *period = _container_limit("cpu.max")
    processors = min(cores, quota / period[0] if period else math.inf)
    memory = min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_container_limit("memory.max"))
    return max(1, math.ceil(min(processors, memory // _WORKER_BYTES)))


def _container_limit(name: str) -> list[float]:
    """The numbers of a limit of control groups, version 2; infinite where there is none."""
    try:
        words = (_CONTROL_GROUP / name).read_text(encoding="ascii").split()
        return [math.inf if word == "max" else float(word) for word in words] or [math.inf]
    except (OSError, ValueError):
        return [math.inf]


def _limit_threads(workers: int) -> None:
    """Where one process does all the work, the engines start no more threads than workers were allowed."""
    for name in ("RAYON_NUM_THREADS", "FASTOKENS_BPE_THREADS"):
        os.environ.setdefault(name, str(workers))


@click.command("convert", cls=Command, epilog=EXAMPLES)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@option("Output", "-o", "--output", required=True, metavar="DIR", help="Where the dataset goes; appears when complete.")
@option("Output", "--overwrite", is_flag=True, help="Replace the dataset at DIR once the new one is complete.")
@option(
    "Output",
    "--with",
    "with_columns",
    metavar="COLS",
    callback=_columns,
    help="Also store labels, position_ids, assistant_masks (comma-separated).",
)
@record_options
@option(
    "Input",
    "--on-error",
    type=click.Choice(["skip", "stop"]),
    default="skip",
    help="List bad records in rejected.jsonl, or stop at the first.",
)
@option(
    "Input",
    "--max-rejected",
    type=float,
    default=0.01,
    metavar="RATE",
    help="Publish nothing if a larger share (and more than 10 records) is rejected.",
)
@template_options(required=True)
@training_options
@option(
    "Packing",
    "--packing",
    type=click.Choice(["bfd", "sequential", "none"]),
    default="bfd",
    help="Best-fit-decreasing, in input order, or one conversation per row.",
)
@option(
    "Run",
    "--workers",
    type=int,
    metavar="N",
    help="Processes that convert, each on one core.  [default: one per core that memory suffices for]",
)
@option(
    "Run",
    "--tokenizer-engine",
    type=click.Choice(["auto", "fastokens", "gigatoken", "hf"]),
    default="auto",
    help="What encodes text. Before it is used, it is compared with hf, the reference; auto takes the fastest.",
)
@option("Run", "--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@option("Run", "-v", "--verbose", is_flag=True, help="Say what each warning counts.")
@option("Run", "-q", "--quiet", is_flag=True, help="Print errors only.")
@click.pass_obj
def command(
    console: Console,
    /,
    inputs: tuple[str, ...],
    output: str,
    workers: int | None,
    as_json: bool,
    verbose: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Convert chat files to a dataset of packed rows.

    INPUT is a file (JSON lines, JSON, CSV, Parquet, Arrow; plain or compressed), a glob, a directory, a dataset on the
    hub (hf:NAME[@REVISION][:SPLIT]), or - for standard input. The format of each record is detected; `ismpack formats
    INPUT` shows as what.
    """
    console.quiet, console.json = quiet, as_json
    options["workers"] = _default_workers() if workers is None else workers
    _limit_threads(options["workers"])
    with console.meter("converting") as on_progress:
        from ismpack.pipeline import WARNINGS, convert

        report = convert(inputs, output, stdin=getattr(sys.stdin, "buffer", None), on_progress=on_progress, **options)
    if report.facts and report.facts.engine.fallback:
        console.warning("tokenizer-engine-replaced", f"{report.facts.engine.fallback}; hf encoded, which is slower")
    for token in report.inferred_stops:
        console.warning("stop-token-inferred", f"{token!r} closes answers but is not listed as stop token; it was used")
    if report.rejected:
        console.warning("records-rejected", f"{report.totals.rejected:,} records were rejected; see rejected.jsonl")
    for code, count in sorted(report.warnings.items()):
        if verbose:
            console.note(f"note[{code}]: {count:,} ({WARNINGS[code]})")
    if as_json:
        print_json(report.to_json())
    elif not quiet:
        click.echo(printable(str(report)))
        name = json.dumps(output, ensure_ascii=False)
        click.echo(f"  load with      datasets.load_from_disk({name})  or  ismpack.load({name})")
