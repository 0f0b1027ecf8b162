"""Reading a finished dataset: every check, and the least that reading all of it costs."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import numpy as np

from suite.processes import keep_to
from suite.rounds import FailedError, Outcome


def verify(directory: str) -> Outcome:
    """Time `ismpack.verify`, all checks and the xxh3 of every file, on one core; importing it is not in `seconds`."""
    keep_to(1)
    from ismpack.checks import verify as check

    begin = perf_counter()
    report = check(directory)
    seconds = perf_counter() - begin
    if not report.ok:
        raise FailedError(str(report))
    return Outcome(figures={"seconds": seconds, "tokens": report.tokens})


def column_sums(directory: str) -> Outcome:
    """Time `np.sum` over every column of every shard, mapped into memory, on one core; opening is not in `seconds`."""
    keep_to(1)
    import pyarrow as pa

    columns, tokens = [], 0
    for path in sorted(Path(directory).glob("*.arrow")):
        for batch in pa.ipc.open_stream(pa.memory_map(str(path))):
            columns += [batch.column(name).flatten().to_numpy(zero_copy_only=True) for name in batch.schema.names]
            tokens += len(batch.column("input_ids").flatten())
    begin = perf_counter()
    for column in columns:
        np.sum(column)
    return Outcome(figures={"seconds": perf_counter() - begin, "tokens": tokens})
