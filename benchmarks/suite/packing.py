"""Lengths into rows."""

from __future__ import annotations

import os
import tempfile
from time import perf_counter

import numpy as np
import numpy.typing as npt

from suite.processes import keep_to
from suite.rounds import NotMeasuredError, Outcome

MEDIAN, SIGMA = 350, 1.0
"""Of the lognormal distribution that lengths are drawn from; about that of real conversations."""


def lengths_of(count: int, capacity: int) -> npt.NDArray[np.int32]:
    """Lengths from 1 to `capacity`, the same each time."""
    drawn = np.random.default_rng(0).lognormal(np.log(MEDIAN), SIGMA, count)
    return np.clip(drawn, 1, capacity).astype(np.int32)


def assign(count: int, capacity: int) -> Outcome:
    """Time `assign_rows`, which finds the row of every length, on one core."""
    keep_to(1)
    from ismpack.packing.bins import assign_rows

    lengths = lengths_of(count, capacity)
    begin = perf_counter()
    rows = assign_rows(lengths, capacity, "bfd")
    return _outcome(perf_counter() - begin, lengths, int(rows.max()) + 1, capacity)


def pack(count: int, capacity: int) -> Outcome:
    """Time `packing.pack`, which finds the rows and lays out four columns of tokens in them, on one core."""
    keep_to(1)
    from ismpack.data import SampleBatch
    from ismpack.packing import pack as pack_rows

    lengths = lengths_of(count, capacity)
    total = int(lengths.sum())
    batch = SampleBatch(
        input_ids=np.zeros(total, np.int32),
        segment_type_ids=np.ones(total, np.uint8),
        turn_ids=np.zeros(total, np.int32),
        loss_mask=np.zeros(total, np.uint8),
        lengths=lengths,
        source_ids=np.arange(count, dtype=np.int64),
    )
    begin = perf_counter()
    rows = sum(len(packs) for packs in pack_rows([batch], capacity, "bfd", 0))
    return _outcome(perf_counter() - begin, lengths, rows, capacity)


def pack_with_trl(count: int, capacity: int, *, together: bool) -> Outcome:
    """Time `trl.pack_dataset`, strategy bfd, on one core; its rows hold two columns, as after TRL's preparation.

    Args:
        count: Samples.
        capacity: Tokens per row.
        together: Pack all samples at once, as ismpack does; else a thousand at a time, which is what TRL does unless it
            is told otherwise.
    """
    keep_to(1)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HF_DATASETS_CACHE"] = cache
        try:
            from trl import pack_dataset  # type: ignore[attr-defined]
        except ImportError as error:
            raise NotMeasuredError("trl is not installed") from error
        import pyarrow as pa
        from datasets import Dataset, disable_progress_bars

        disable_progress_bars()
        lengths = lengths_of(count, capacity)
        ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        column = pa.LargeListArray.from_arrays(ends, np.zeros(ends[-1], np.int32))
        data = Dataset(pa.table({"input_ids": column, "labels": column}))
        begin = perf_counter()
        packed = pack_dataset(data, capacity, "bfd", {"batch_size": count} if together else None)
        return _outcome(perf_counter() - begin, lengths, len(packed), capacity)


def _outcome(seconds: float, lengths: npt.NDArray[np.int32], rows: int, capacity: int) -> Outcome:
    fill = int(lengths.sum(dtype=np.int64)) / (rows * capacity)
    return Outcome(figures={"seconds": seconds, "lengths": len(lengths), "rows": rows, "fill": fill})
