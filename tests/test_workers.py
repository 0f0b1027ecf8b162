"""Several processes give the bytes of one, whatever happens to them; and none outlives its run."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from test_convert import tree_digest

import ismpack
from ismpack.errors import CODES, InputError, InternalError, IsmpackError, Location, RecordError, RunError
from ismpack.manifest import FileEntry
from ismpack.options import ConvertOptions
from ismpack.pipeline import Progress
from ismpack.pipeline.inputs import input_files
from ismpack.pipeline.plan import make_plan
from ismpack.pipeline.progress import Clock, Counts
from ismpack.pipeline.run import _in_order
from ismpack.pipeline.tally import ShardFacts, Tally
from ismpack.pipeline.toolkit import load_setup, make_toolkit
from ismpack.pipeline.work import Receipt, Task
from ismpack.pipeline.workers import Workers

CHATS = 600
PARTITIONS = 8


@pytest.fixture
def small_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little text makes many partitions."""
    monkeypatch.setattr("ismpack.pipeline.plan.CHUNK_BYTES", 2_000)
    monkeypatch.setattr("ismpack.pipeline.plan.MIN_PARTITION_BYTES", 16_000)
    monkeypatch.setattr("ismpack.pipeline.plan.MAX_PARTITION_BYTES", 16_000)


@pytest.fixture
def chats(tmp_path: Path) -> str:
    """One file of 600 short chats, about 107 kB."""
    path = tmp_path / "chats.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for i in range(CHATS):
            messages = [
                {"role": "user", "content": f"What comes after {i}? " + "Please. " * (i % 7)},
                {"role": "assistant", "content": f"{i + 1}. " + "Of course. " * (i % 11)},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
    return str(path)


def kill_workers(count: int = 1) -> int:
    """Kill some of this process's children as the kernel does when memory runs out."""
    killed = 0
    for child in multiprocessing.active_children()[:count]:
        if child.pid is not None:
            os.kill(child.pid, signal.SIGKILL)
            killed += 1
    return killed


@pytest.mark.usefixtures("small_partitions")
def test_any_number_of_workers_gives_the_same_bytes(chats: str, tmp_path: Path, sample_tokenizer: str) -> None:
    digests = []
    for workers in (1, 2, 3, 7):
        report = ismpack.convert(chats, tmp_path / f"out{workers}", tokenizer=sample_tokenizer, workers=workers)
        assert report.facts is not None
        assert (report.facts.workers, report.shards) == (workers, PARTITIONS)
        digests.append(tree_digest(tmp_path / f"out{workers}"))
    assert digests[1:] == digests[:1] * 3
    assert multiprocessing.active_children() == []


@pytest.mark.usefixtures("small_partitions")
def test_the_work_of_a_killed_worker_is_done_again(chats: str, tmp_path: Path, sample_tokenizer: str) -> None:
    ismpack.convert(chats, tmp_path / "one", tokenizer=sample_tokenizer)
    killed = 0

    def kill_once(progress: Progress) -> None:
        nonlocal killed
        if not killed and progress.conversations:
            killed = kill_workers()

    report = ismpack.convert(chats, tmp_path / "two", tokenizer=sample_tokenizer, workers=2, on_progress=kill_once)
    assert killed == 1
    assert report.totals.conversations == CHATS
    assert tree_digest(tmp_path / "two") == tree_digest(tmp_path / "one")


@pytest.mark.usefixtures("small_partitions")
def test_workers_that_were_killed_while_they_had_nothing_to_do_are_replaced(
    chats: str, tmp_path: Path, sample_tokenizer: str
) -> None:
    report = ismpack.convert(chats, tmp_path / "a", tokenizer=sample_tokenizer, workers=2)
    toolkit = make_toolkit(load_setup(ConvertOptions(tokenizer=sample_tokenizer)))
    workers = Workers(2, toolkit.setup, tmp_path)
    try:
        workers.encode("hf", ["Hello."])()
        wait_until(lambda: kill_workers(count=100) == 0)
        (tmp_path / "b.ismpack-tmp").mkdir()
        with input_files([chats], None) as (files, spool):
            plan = make_plan(files, spool)
            tasks = [
                Task(index=i, chunks=chunks, seed=plan.seed(i), limit=None, target=tmp_path / "b", engine="hf")
                for i, chunks in enumerate(list(plan.sized_partitions())[:2])
            ]
            receipts = list(workers.run(tasks, lambda _: None))
    finally:
        workers.end()
    assert sorted(receipt.index for receipt in receipts) == [0, 1]
    assert sum(receipt.shard.tokens for receipt in receipts) < report.totals.tokens


@contextlib.contextmanager
def every_worker_killed() -> Iterator[None]:
    """Kill each child soon after it appears."""
    over = threading.Event()

    def kill_on() -> None:
        while not over.wait(0.05):
            kill_workers(count=100)

    thread = threading.Thread(target=kill_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.usefixtures("small_partitions")
def test_workers_that_always_die_end_the_run_with_advice(chats: str, tmp_path: Path, sample_tokenizer: str) -> None:
    with every_worker_killed(), pytest.raises(RunError) as caught:
        ismpack.convert(chats, tmp_path / "out", tokenizer=sample_tokenizer, workers=2)
    assert caught.value.code == "worker-died"
    assert caught.value.message.startswith(
        "a worker process was killed each of the 3 times that one converted partition "
    )
    assert caught.value.hint == "Most likely memory ran out: use fewer --workers."
    assert [path.name for path in tmp_path.iterdir()] == ["chats.jsonl"]


@pytest.mark.usefixtures("small_partitions")
def test_the_first_bad_record_is_named_whatever_worker_finds_it(
    chats: str, tmp_path: Path, sample_tokenizer: str
) -> None:
    lines = Path(chats).read_text(encoding="utf-8").splitlines(keepends=True)
    bad = Path(tmp_path / "bad.jsonl")
    bad.write_text("".join('{"messages": 1}\n' if i in (20, 60, 300, 301) else line for i, line in enumerate(lines)))
    errors = set()
    for workers in (1, 2, 3):
        with pytest.raises(RecordError) as caught:
            ismpack.convert(str(bad), tmp_path / "out", tokenizer=sample_tokenizer, workers=workers, on_error="stop")
        errors.add(str(caught.value))
    assert len(errors) == 1
    report = [
        ismpack.convert(str(bad), tmp_path / f"out{workers}", tokenizer=sample_tokenizer, workers=workers)
        for workers in (1, 3)
    ]
    assert [r.totals.rejected for r in report] == [4, 4]
    assert tree_digest(tmp_path / "out1") == tree_digest(tmp_path / "out3")


@pytest.mark.usefixtures("small_partitions")
def test_an_input_that_shrinks_is_refused_from_a_worker(chats: str, tmp_path: Path, sample_tokenizer: str) -> None:
    def shrink(progress: Progress) -> None:
        os.truncate(chats, 50)

    with pytest.raises(InputError, match="changed since it was first read"):
        ismpack.convert(chats, tmp_path / "out", tokenizer=sample_tokenizer, workers=2, on_progress=shrink)
    assert [path.name for path in tmp_path.iterdir()] == ["chats.jsonl"]


@pytest.mark.usefixtures("small_partitions")
@pytest.mark.parametrize("workers", [1, 2])
def test_progress_rises_to_all_there_is(chats: str, tmp_path: Path, sample_tokenizer: str, workers: int) -> None:
    seen: list[Progress] = []
    report = ismpack.convert(
        chats, tmp_path / "out", tokenizer=sample_tokenizer, workers=workers, on_progress=seen.append
    )
    size = Path(chats).stat().st_size
    assert all(a.bytes <= b.bytes <= size and b.total_bytes == size for a, b in pairwise(seen))
    assert (seen[-1].conversations, seen[-1].tokens) == (CHATS, report.totals.tokens)
    assert seen[-1].bytes > size * 0.99


SCRIPT = """
import signal
import ismpack.pipeline.plan as plan
from ismpack.cli import main
plan.CHUNK_BYTES = 2_000
plan.MIN_PARTITION_BYTES = plan.MAX_PARTITION_BYTES = 16_000
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
"""
"""The command line with small partitions, also where a shell started the tests in the background, with SIGINT ignored
for all children."""


def test_inputs_without_hope_end_the_run_alike_and_at_once_however_large_the_receipts(
    tmp_path: Path, sample_tokenizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CHUNK_BYTES", "MIN_PARTITION_BYTES", "MAX_PARTITION_BYTES"):
        monkeypatch.setattr(f"ismpack.pipeline.plan.{name}", 100_000)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"messages": 1}\n' * 60_000)
    said = set()
    for workers in (1, 3):
        with pytest.raises(RunError) as caught:
            ismpack.convert(str(bad), tmp_path / "out", tokenizer=sample_tokenizer, workers=workers)
        said.add(str(caught.value))
        assert len((tmp_path / "out.rejected.jsonl").read_bytes()) > 1 << 16
    assert len(said) == 1


@pytest.mark.usefixtures("small_partitions")
def test_one_good_record_far_behind_many_bad_ones_is_found_by_any_number_of_workers(
    chats: str, tmp_path: Path, sample_tokenizer: str
) -> None:
    bad = tmp_path / "a.jsonl"
    bad.write_text('{"messages": 1}\n' * 2_000)
    inputs = [str(bad), chats]
    for workers in (1, 3):
        output = tmp_path / f"out{workers}"
        report = ismpack.convert(inputs, output, tokenizer=sample_tokenizer, workers=workers, max_rejected=1.0)
        assert (report.totals.conversations, report.totals.rejected) == (CHATS, 2_000)
    assert tree_digest(tmp_path / "out1") == tree_digest(tmp_path / "out3")


GUARDLESS = """
import ismpack.pipeline.plan as plan
plan.CHUNK_BYTES = 2_000
plan.MIN_PARTITION_BYTES = plan.MAX_PARTITION_BYTES = 16_000
import ismpack
print("begun")
report = ismpack.convert({chats!r}, {output!r}, tokenizer={tokenizer!r}, workers=2)
print(report.facts.workers, report.totals.conversations)
"""


@pytest.mark.parametrize("way", ["file", "stdin"])
def test_a_program_that_does_not_ask_whether_it_is_the_main_module_runs_once(
    chats: str, tmp_path: Path, sample_tokenizer: str, way: str
) -> None:
    program = GUARDLESS.format(chats=chats, output=str(tmp_path / "out"), tokenizer=sample_tokenizer)
    script = tmp_path / "program.py"
    script.write_text(program)
    arguments = [sys.executable, str(script)] if way == "file" else [sys.executable, "-"]
    done = subprocess.run(arguments, input=program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"begun\n2 {CHATS}\n"


def convert_quietly(chats: str, output: str, tokenizer: str) -> None:
    ismpack.convert(chats, output, tokenizer=tokenizer, workers=2)


@pytest.mark.usefixtures("small_partitions")
def test_a_daemonic_process_does_all_itself(chats: str, tmp_path: Path, sample_tokenizer: str) -> None:
    context = multiprocessing.get_context("spawn")
    arguments = (chats, str(tmp_path / "out"), sample_tokenizer)
    process = context.Process(target=convert_quietly, args=arguments, daemon=True)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert ismpack.verify(tmp_path / "out").ok


def children_of(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_no_worker_outlives_its_run(
    chats: str, tmp_path: Path, sample_tokenizer: str, number: signal.Signals, code: int
) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    arguments = ["convert", chats, "-t", sample_tokenizer, "-o", str(tmp_path / "out"), "--workers", "2"]
    (tmp_path / "spool").mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path / "spool")}
    run = subprocess.Popen(
        [sys.executable, str(script), *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    wait_until(lambda: len(children_of(run.pid)) >= 2 or run.poll() is not None)
    workers = children_of(run.pid)
    if number == signal.SIGINT:
        os.killpg(run.pid, number)  # as a terminal does
    else:
        run.send_signal(number)
    _, said = run.communicate()
    assert run.returncode == code, said
    wait_until(lambda: not any(worker.is_running() for worker in workers))
    if number != signal.SIGKILL:
        assert said == f"{'interrupted' if number == signal.SIGINT else 'terminated'}; nothing half-written is left\n"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["chats.jsonl", "run.py", "spool"]
        assert not any((tmp_path / "spool").iterdir())


ERRORS = [
    RecordError("no role", code="unknown-role", json_path="$.messages[0]", location=Location(path="a", line=3)),
    InputError("gone", code="input-unreadable", location=Location(path="a"), hint="Look."),
    InternalError("broken"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_come_from_another_process_as_they_were(error: IsmpackError) -> None:
    assert error.code in CODES
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert (str(copy), copy.args) == (str(error), error.args)


def test_receipts_are_taken_by_their_index_whoever_is_faster() -> None:
    def receipt(index: int) -> Receipt:
        file = FileEntry(name=f"{index}", bytes=0, xxh3_128="", sha256="")
        return Receipt(index=index, tally=Tally(), file=file, shard=ShardFacts(name=f"{index}"))

    taken: list[str] = []

    def arriving() -> Iterator[Receipt]:
        for index, before in ((2, []), (0, []), (1, ["0"]), (3, ["0", "1", "2"])):
            assert taken == before
            yield receipt(index)

    for one in _in_order(arriving()):
        taken.append(one.shard.name)  # noqa: PERF401 - looked at on the way
    assert taken == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("ready", "start"),
    [
        pytest.param(None, 6.0, id="nothing else was waited for: planning, from 1 to 3, is left out"),
        pytest.param(0.5, 6.0, id="what was waited for was there before"),
        pytest.param(2.0, 7.0, id="half of the planning was in its shadow"),
        pytest.param(5.0, 8.0, id="all of it was"),
    ],
)
def test_the_start_is_what_a_run_without_input_would_take_to_begin(
    monkeypatch: pytest.MonkeyPatch, ready: float | None, start: float
) -> None:
    now = 100.0
    monkeypatch.setattr("ismpack.pipeline.progress.time.perf_counter", lambda: now)
    clock = Clock()
    moments = {1.0: "begin", 3.0: "end", 8.0: "over"} | ({ready: "ready"} if ready is not None else {})
    planning = clock.planning()
    for moment, what in sorted(moments.items()):
        now = 100.0 + moment
        match what:
            case "begin":
                planning.__enter__()
            case "end":
                planning.__exit__(None, None, None)
            case "ready":
                clock.note_ready()
            case "over":
                clock.end_start()
    assert clock.start_seconds == start


def test_counts_are_added_field_by_field() -> None:
    assert Counts(1, 2, 3).plus(Counts(10, 20, 30), Counts(100, 200, 300)) == Counts(111, 222, 333)
    assert Counts(1, 2, 3).plus() == Counts(1, 2, 3)
