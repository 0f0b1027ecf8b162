"""Fresh processes: each measurement gets one, so that none finds another's caches warm or its heap torn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from suite.rounds import FailedError, NotMeasuredError, Outcome

SAMPLE_SECONDS = 0.05
"""How often memory is read."""

NOT_MEASURED = "not_measured"
"""Key by which a child says why it cannot measure."""

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A process that ended well.

    Attributes:
        output: Its standard output.
        seconds: Wall-clock time from its start to its end.
        peak_bytes: Peak memory of it and its descendants; 0 if it was not asked for.
    """

    output: str
    seconds: float
    peak_bytes: int


def run(command: Sequence[str], *, settings: Mapping[str, str] | None = None, sample_memory: bool = False) -> Finished:
    """Run a command to its end.

    Args:
        command: Program and arguments.
        settings: Environment variables besides ours.
        sample_memory: Also find out its peak memory, which slows it down a little.

    Raises:
        FailedError: It did not exit with 0.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as messages:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=messages, env=_environment(settings or {}))
        with process:
            peak = _watch(process) if sample_memory else 0
            code = process.wait()
        seconds = time.perf_counter() - began
        output.seek(0)
        messages.seek(0)
        if code:
            raise FailedError(f"{' '.join(command)}\nended with {code}: {messages.read()[-3000:].strip()}")
        return Finished(output=output.read(), seconds=seconds, peak_bytes=peak)


def run_ismpack(*arguments: str, settings: Mapping[str, str] | None = None, sample_memory: bool = False) -> Finished:
    """Run the command line program."""
    return run([sys.executable, "-m", "ismpack", *arguments], settings=settings, sample_memory=sample_memory)


def run_job(job: str, **arguments: object) -> Outcome:
    """Run one function of `suite.child` in a process of its own.

    Args:
        job: Its name there.
        arguments: Its arguments, which must be JSON.

    Raises:
        NotMeasuredError: The function says so.
        FailedError: It went wrong.
    """
    return job_outcome(run(job_command(job, **arguments)))


def job_command(job: str, **arguments: object) -> list[str]:
    """The command that runs one function of `suite.child`."""
    return [sys.executable, "-m", "suite.child", job, json.dumps(arguments)]


def job_outcome(finished: Finished) -> Outcome:
    """What a job printed.

    Raises:
        NotMeasuredError: It says that it cannot measure.
    """
    answer = json.loads(finished.output.splitlines()[-1])  # libraries may print before
    if NOT_MEASURED in answer:
        raise NotMeasuredError(answer[NOT_MEASURED])
    return Outcome(figures=answer["figures"], facts=answer["facts"])


def keep_to(cores: int) -> None:
    """Keep this process, and what it starts, to its first `cores` processors, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def can_sample() -> bool:
    """Whether the system tells the memory of processes so that what they share counts once."""
    return (_PROC / "self" / "smaps_rollup").exists()


def tree_bytes(root: int) -> int:
    """Proportional set size of a process and its descendants: memory that several share is counted once."""
    return sum(map(_pss, _tree(root)))


def _watch(process: subprocess.Popen[bytes]) -> int:
    """Highest memory of a process and its descendants, until it ends."""
    peak, ended = 0, threading.Event()

    def sample() -> None:
        nonlocal peak
        while not ended.wait(SAMPLE_SECONDS):
            peak = max(peak, tree_bytes(process.pid))

    watcher = threading.Thread(target=sample)
    watcher.start()
    process.wait()
    ended.set()
    watcher.join()
    return peak


def _tree(root: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and (parent := _parent(entry)) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    waiting = [root]
    while waiting:
        process = waiting.pop()
        yield process
        waiting += children.get(process, [])


def _parent(entry: Path) -> int | None:
    try:
        # The name of the program comes before, in brackets, and may hold anything.
        return int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except (OSError, IndexError):  # it has just ended
        return None


def _pss(process: int) -> int:
    try:
        lines = (_PROC / str(process) / "smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Ours, with this package and ismpack to be found, and no network for anyone."""
    package = find_spec("ismpack")
    homes = [str(Path(__file__).parent.parent)]
    if package is not None:
        homes.append(str(Path(cast("str", package.origin)).parent.parent))
    paths = os.pathsep.join([*homes, *filter(None, [os.environ.get("PYTHONPATH")])])
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return {**os.environ, "PYTHONPATH": paths, **offline, **settings}
