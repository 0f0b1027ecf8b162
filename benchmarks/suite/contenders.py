"""Who takes part, by part of the benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from suite.converting import convert, peak_of_convert, show_help, start
from suite.corpora import Corpora
from suite.processes import can_sample, job_command, job_outcome, run, run_job
from suite.rounds import Contender, Outcome

ENGINES = ("fastokens", "gigatoken")
SORTED_LENGTH = 4096
"""Tokens per row for the sorted corpus."""


def contenders(corpora: Corpora, parts: Sequence[str]) -> list[Contender]:
    """The contenders of some parts, in the order in which they take turns."""
    return [contender for part in PARTS if part in parts for contender in PARTS[part](corpora)]


def _convert(corpora: Corpora) -> Iterator[Contender]:
    for workers in _widths(corpora):
        yield _converter(corpora, f"convert-{workers}", "input", workers)


def _encode(corpora: Corpora) -> Iterator[Contender]:
    for engine in ENGINES:
        for threads in _widths(corpora):
            yield _encoder(corpora, f"encode-{engine}-{threads}", "input", engine, threads)


def _hf(corpora: Corpora) -> Iterator[Contender]:
    for threads in _widths(corpora):
        yield _encoder(corpora, f"hf-{threads}", corpora.slice_name, "hf", threads)
    run_it = partial(convert, corpora, corpora.slice_name, workers=1, engine="hf")
    yield Contender(name="convert-hf", corpus=corpora.slice_name, run=run_it)


def _trl(corpora: Corpora) -> Iterator[Contender]:
    for processes in _widths(corpora):
        yield Contender(
            name=f"trl-{processes}",
            corpus=corpora.slice_name,
            run=partial(_prepare, corpora, processes),
            peak=partial(_peak_of_prepare, corpora, processes) if can_sample() else None,
        )


def _packing(corpora: Corpora) -> Iterator[Contender]:
    with_tokens, *without = corpora.setting.lengths
    for count in without:
        yield _job(f"assign-{count}", "assign", count=count, capacity=corpora.setting.max_length)
    sizes = {"count": with_tokens, "capacity": corpora.setting.max_length}
    yield _job(f"pack-{with_tokens}", "pack", **sizes)
    yield _job(f"pack-trl-{with_tokens}", "pack_with_trl", **sizes, together=False)
    yield _job(f"pack-trl-together-{with_tokens}", "pack_with_trl", **sizes, together=True)


def _verify(corpora: Corpora) -> Iterator[Contender]:
    for name in ("verify", "column_sums"):
        yield Contender(name=name, run=partial(_on_dataset, corpora, name))


def _startup(corpora: Corpora) -> Iterator[Contender]:
    yield Contender(name="help", run=show_help)
    for corpus, workers in (("tiny", 1), (corpora.slice_name, corpora.setting.workers)):
        size = "few" if corpus == "tiny" else "many"
        for cache in ("empty", "filled"):
            run_it = partial(start, corpora, corpus, workers=workers, cached=cache == "filled")
            yield Contender(name=f"start-{cache}-{size}", corpus=corpus, run=run_it)


def _scale(corpora: Corpora) -> Iterator[Contender]:
    workers = corpora.setting.workers
    yield _converter(corpora, f"repeated-{workers}", "repeated", workers)


def _sorted(corpora: Corpora) -> Iterator[Contender]:
    workers = corpora.setting.workers
    run_it = partial(convert, corpora, "sorted", workers=workers, max_length=SORTED_LENGTH)
    yield Contender(name=f"sorted-{workers}", corpus="sorted", run=run_it)


def _others(corpora: Corpora) -> Iterator[Contender]:
    workers = corpora.setting.workers
    for tokenizer in corpora.setting.others:
        run_it = partial(convert, corpora, "input", workers=workers, tokenizer=tokenizer)
        yield Contender(name=f"other-{tokenizer.name}-{workers}", corpus="input", run=run_it)


PARTS: dict[str, Callable[[Corpora], Iterator[Contender]]] = {
    "convert": _convert,
    "others": _others,
    "encode": _encode,
    "hf": _hf,
    "trl": _trl,
    "packing": _packing,
    "verify": _verify,
    "startup": _startup,
    "sorted": _sorted,
    "scale": _scale,
}
"""Part -> its contenders."""


def _widths(corpora: Corpora) -> list[int]:
    """Processes or threads: one, and several."""
    return sorted({1, corpora.setting.workers})


def _converter(corpora: Corpora, name: str, corpus: str, workers: int) -> Contender:
    return Contender(
        name=name,
        corpus=corpus,
        run=partial(convert, corpora, corpus, workers=workers),
        peak=partial(peak_of_convert, corpora, corpus, workers=workers) if can_sample() else None,
    )


def _encoder(corpora: Corpora, name: str, corpus: str, engine: str, threads: int) -> Contender:
    def encode() -> Outcome:
        return run_job("encode", engine=engine, threads=threads, folder=str(corpora.texts(corpus)))

    return Contender(name=name, corpus=corpus, run=encode)


def _prepare(corpora: Corpora, processes: int) -> Outcome:
    return job_outcome(run(_prepare_command(corpora, processes)))


def _peak_of_prepare(corpora: Corpora, processes: int) -> int:
    return run(_prepare_command(corpora, processes), sample_memory=True).peak_bytes


def _prepare_command(corpora: Corpora, processes: int) -> list[str]:
    setting = corpora.setting
    return job_command(
        "prepare",
        source=str(corpora.path(corpora.slice_name)),
        path=setting.tokenizer.path,
        template=setting.tokenizer.template,
        max_length=setting.max_length,
        processes=processes,
    )


def _job(name: str, job: str, **arguments: int) -> Contender:
    return Contender(name=name, run=partial(run_job, job, **arguments))


def _on_dataset(corpora: Corpora, job: str) -> Outcome:
    return run_job(job, directory=str(corpora.dataset))
