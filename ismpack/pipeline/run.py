"""The whole write side on one screen: inputs to a published dataset."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from ismpack.checks import verify
from ismpack.errors import UNDESIRED, InternalError, RunError, UsageError
from ismpack.options import ConvertOptions
from ismpack.pipeline.crew import Crew
from ismpack.pipeline.engine import choose_engine
from ismpack.pipeline.identity import finished_dataset, identity, refuse_foreign_files
from ismpack.pipeline.inputs import input_files, typed_inputs
from ismpack.pipeline.oddities import repeats
from ismpack.pipeline.plan import Plan, make_plan
from ismpack.pipeline.progress import Clock, OnProgress, Progress
from ismpack.pipeline.publish import rejected_lines, write_manifest, write_run, write_side_files
from ismpack.pipeline.report import ConvertReport, RunFacts
from ismpack.pipeline.tally import ShardFacts, Tally
from ismpack.pipeline.toolkit import load_setup, make_toolkit
from ismpack.pipeline.work import Receipt, Task
from ismpack.schema import MANIFEST_NAME
from ismpack.shards import Staging, open_staging, repair
from ismpack.sources import InputFile

_TOLERATED_REJECTS = 10
"""So many bad records never stop a run, whatever their share."""

_HOPELESS_REJECTS = 1_000
"""So many bad records and no good one, at the end of a partition, end a run: the inputs are not what they should be."""

_SIBLINGS = (".ismpack-tmp", ".ismpack-old", ".rejected.jsonl")
"""What a run may write beside the output directory."""


def convert(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    stdin: BinaryIO | None = None,
    on_progress: OnProgress = lambda _: None,
    **options: Any,
) -> ConvertReport:
    """Convert chat files to a dataset of packed rows.

    Args:
        inputs: Files, globs, directories, or `-` for `stdin`.
        output: The dataset's directory; appears only when the dataset is complete.
        overwrite: Replace another dataset that stands there.
        stdin: What `-` reads.
        on_progress: Called now and then with how far the run is.
        options: Fields of `ConvertOptions`; `tokenizer` is required.

    Raises:
        UsageError, InputError, TokenizerError, OutputError: The run is not possible.
        RecordError: The first bad record, with `on_error="stop"`.
        RunError: Too many records were rejected, none was left, or workers were killed; nothing is published.
    """
    clock = Clock()
    settings = ConvertOptions.from_keywords(**options)
    typed = typed_inputs(inputs)
    target = _target(output)
    with contextlib.ExitStack() as stack:
        files, spool = stack.enter_context(input_files(typed, stdin))
        _refuse_overlap(typed, files, target)
        refuse_foreign_files(target, _rejected_beside(target))
        repair(target)
        toolkit = make_toolkit(load_setup(settings))
        crew = stack.enter_context(Crew(toolkit, spool, clock))
        if not (target / MANIFEST_NAME).exists():
            crew.expect(files)
        with clock.planning():
            plan = make_plan(files, spool, settings.limit)
        done = finished_dataset(target, identity(plan, toolkit), overwrite=overwrite)
        if done is not None:
            return ConvertReport.of(done, output=str(output), seconds=clock.seconds)
        crew.muster(len(plan.partitions))
        engine = choose_engine(toolkit, plan, crew)
        crew.prepare(engine.name)
        replaces = _manifest_bytes(target)
        staging = stack.enter_context(open_staging(target))
        stack.callback(crew.dismiss)  # nobody writes there any more when it is cleared
        clock.end_start()
        tally, shards = _write_shards(plan, engine.name, crew, staging, on_progress)
        crew.dismiss()
        _refuse_failed_run(plan, settings, tally, target)
        write_side_files(staging, plan, toolkit, tally, shards)
        manifest = write_manifest(staging, plan, toolkit, tally, shards)
        _check_own_work(staging)
        facts = RunFacts.of(clock, crew.size, engine, tally, settings)
        write_run(staging, {"inputs": typed, "output": str(output), **facts.to_json()})
        staging.commit(replaces)
        _rejected_beside(target).unlink(missing_ok=True)
        return ConvertReport.of(manifest, output=str(output), seconds=clock.seconds, facts=facts)


def _write_shards(
    plan: Plan, engine: str, crew: Crew, staging: Staging, on_progress: OnProgress
) -> tuple[Tally, list[ShardFacts]]:
    """Run every partition; each gives one shard."""
    tasks = [
        Task(
            index=index,
            chunks=chunks,
            seed=plan.seed(index),
            limit=plan.limit,
            target=staging.target,
            engine=engine,
        )
        for index, chunks in enumerate(plan.sized_partitions())
    ]
    total = plan.text_bytes
    tally, shards = Tally(), list[ShardFacts]()
    receipts = crew.run(tasks, lambda counts: on_progress(Progress.of(counts, total)))
    for receipt in _in_order(receipts):
        tally.add(receipt.tally)
        shards.append(receipt.shard)
        staging.files.append(receipt.file)
        if not tally.conversations and len(tally.rejected) >= _HOPELESS_REJECTS:
            break  # chunks of every part of the inputs were read, and none held anything; the run fails
    tally.warnings["duplicate-conversation"] = repeats(tally.digests)
    for scan in plan.scans:
        scan.refuse_change()
        tally.warnings["empty-input"] += not scan.text_bytes
        tally.warnings["misnamed-input"] += scan.is_misnamed
    tally.rejected.sort(key=lambda entry: entry[0])
    return tally, shards


def _in_order(receipts: Iterable[Receipt]) -> Iterator[Receipt]:
    """Receipts by their index, each as soon as all before it are there: nothing may depend on who was faster."""
    early: dict[int, Receipt] = {}
    following = 0
    for receipt in receipts:
        early[receipt.index] = receipt
        while following in early:
            yield early.pop(following)
            following += 1


def _refuse_failed_run(plan: Plan, options: ConvertOptions, tally: Tally, target: Path) -> None:
    """Publish nothing when there is nothing, or when too much was bad; the rejects are kept beside the target."""
    if tally.records == 0:
        raise RunError("the inputs hold no record, so nothing was published", code="no-records")
    rejected = len(tally.rejected)
    too_many = rejected > _TOLERATED_REJECTS and rejected > options.max_rejected * tally.records
    if tally.conversations and not too_many:
        return
    undesired = tally.warnings[UNDESIRED]
    why = "they mark their own answers as unwanted" if undesired == tally.dropped else "--overlong drop left them out"
    hint = f"None was rejected: {why}"
    if rejected:
        beside = _rejected_beside(target)
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(rejected_lines(tally.rejected, plan.inputs))
        hint = f"The reasons are in {beside}"
    if not tally.conversations:
        message = f"none of the {tally.records:,} records read gave a conversation, so nothing was published"
        raise RunError(message, code="nothing-to-train", hint=f"{hint}.")
    raise RunError(
        f"{rejected:,} of {tally.records:,} records were rejected, more than --max-rejected {options.max_rejected:g} "
        "allows, so nothing was published",
        code="too-many-rejects",
        hint=f"{hint}; to publish all the same, raise --max-rejected.",
    )


def _check_own_work(staging: Staging) -> None:
    """The reader's checks over what was just written: a fault of ours must not reach a trainer."""
    report = verify(staging.path)
    if not report.ok:
        raise InternalError(f"the finished dataset does not verify: {report.findings[0]}")


def _target(output: str | os.PathLike[str]) -> Path:
    """The directory that a dataset is to become; a symbolic link stands for what it points to."""
    name = os.fspath(output)
    if not name or any("\ud800" <= character <= "\udfff" for character in name):
        problem = "is not UTF-8, which Arrow needs" if name else "is empty"
        raise UsageError(f"the name of the output directory {problem}", code="bad-option")
    path = Path(output)
    return path.resolve() if path.is_symlink() or path.name in ("", "..") else path


def _refuse_overlap(typed: Sequence[str], files: Sequence[InputFile], target: Path) -> None:
    """Check that no input lies where the run writes, and that no input directory would take in what it writes."""
    place = target.resolve()
    ours = [place, *(place.with_name(f"{place.name}{end}") for end in _SIBLINGS)]
    for file in files:
        path = Path(file.open_path).resolve()
        if any(one in (path, *path.parents) for one in ours):
            raise UsageError(
                f"the input {file.path} lies where the run writes: {target}",
                code="output-inside-input",
                hint="Choose an output directory apart from the inputs.",
            )
    for path in map(Path, typed):
        if path.is_dir() and path.resolve() in place.parents:
            raise UsageError(
                f"the output directory {target} lies inside the input directory {path}",
                code="output-inside-input",
                hint="The next run would read what this one writes. Choose a directory apart from the inputs.",
            )


def _manifest_bytes(target: Path) -> bytes | None:
    path = target / MANIFEST_NAME
    return path.read_bytes() if path.exists() else None


def _rejected_beside(target: Path) -> Path:
    return target.with_name(f"{target.name}.rejected.jsonl")
