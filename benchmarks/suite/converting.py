"""`ismpack convert` as its users run it: a process of its own, from the shell's point of view."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from suite.corpora import Corpora, Tokenizer
from suite.processes import Finished, run_ismpack
from suite.rounds import FailedError, Outcome


def convert(
    corpora: Corpora,
    corpus: str,
    *,
    workers: int,
    tokenizer: Tokenizer | None = None,
    engine: str = "auto",
    max_length: int | None = None,
) -> Outcome:
    """Time a whole run into a directory that is new each time.

    `wall` is all of it, from the start of the process to its end. `seconds` is `wall` without what goes by before work
    on the inputs begins, as the report tells it: tokenizer, template, worker processes. `startup` is the rest, to which
    the interpreter's own start and end belong. Tokenizers come from a cache that a run before has filled.

    Args:
        corpora: What there is.
        corpus: Name of the input.
        workers: Processes.
        tokenizer: Another one than the setting's.
        engine: Of the tokenizer.
        max_length: Another one than the setting's.
    """
    arguments = _arguments(corpora, workers, tokenizer, engine, max_length)
    with tempfile.TemporaryDirectory(dir=corpora.folder) as scratch:
        finished = _run(corpora.path(corpus), Path(scratch), arguments, corpora.cache)
        return outcome(finished, Path(scratch) / "out")


def peak_of_convert(corpora: Corpora, corpus: str, *, workers: int) -> int:
    """Peak memory of all processes of a run, in bytes."""
    arguments = _arguments(corpora, workers, None, "auto", None)
    with tempfile.TemporaryDirectory(dir=corpora.folder) as scratch:
        finished = _run(corpora.path(corpus), Path(scratch), arguments, corpora.cache, sample_memory=True)
        return finished.peak_bytes


def start(corpora: Corpora, corpus: str, *, workers: int, cached: bool) -> Outcome:
    """Time a run with a cache of tokenizers that is empty or filled; see `convert` for the figures."""
    arguments = _arguments(corpora, workers, None, "auto", None)
    with tempfile.TemporaryDirectory(dir=corpora.folder) as scratch:
        cache = corpora.cache if cached else Path(scratch) / "cache"
        return outcome(_run(corpora.path(corpus), Path(scratch), arguments, cache), Path(scratch) / "out")


def show_help() -> Outcome:
    """Time `ismpack --help`."""
    return Outcome(figures={"seconds": run_ismpack("--help").seconds})


def outcome(finished: Finished, out: Path) -> Outcome:
    """Figures of a run, and a fact that tells whether two runs wrote the same bytes.

    Raises:
        FailedError: The report lacks a key.
    """
    report = json.loads(finished.output)
    try:
        seconds = report["seconds"] - report["start_seconds"]
        figures = {"wall": finished.seconds, "seconds": seconds, "startup": finished.seconds - seconds}
        figures |= {name: report[name] for name in ("tokens", "rows", "fill", "conversations")}
        return Outcome(figures=figures, facts={"engine": report["engine"], "shards": _digest(out)})
    except KeyError as error:
        raise FailedError(f"the report of `ismpack convert --json` has no {error}") from error


def _arguments(
    corpora: Corpora, workers: int, tokenizer: Tokenizer | None, engine: str, max_length: int | None
) -> Sequence[str]:
    setting = corpora.setting
    return (
        *(tokenizer or setting.tokenizer).options,
        *("--max-length", str(max_length or setting.max_length)),
        *("--workers", str(workers), "--tokenizer-engine", engine),
    )


def _run(
    source: Path, scratch: Path, arguments: Sequence[str], cache: Path, *, sample_memory: bool = False
) -> Finished:
    command = ("convert", str(source), "-o", str(scratch / "out"), "--json", "--quiet", *arguments)
    return run_ismpack(*command, settings={"ISMPACK_CACHE": str(cache)}, sample_memory=sample_memory)


def _digest(out: Path) -> str:
    """One text for the bytes of all shards."""
    files = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["files"]
    return " ".join(entry["xxh3_128"][:16] for entry in files if entry["name"].startswith("shard-"))
