"""What a target is given, what it says about itself, and the checks that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ismpack.errors import DatasetError, Location
from ismpack.export.columns import document_starts
from ismpack.reader import PackedDataset, RowBatch


@dataclass(slots=True)
class Tally:
    """What passed through one run over the rows."""

    rows: int = 0
    documents: int = 0
    tokens: int = 0
    loss_tokens: int = 0


class Job:
    """One export: the rows to write, where to, and what they were.

    Attributes:
        dataset: The dataset that is exported.
        folder: Where the files are written.
        out: Where the folder will stand when it is complete.
        max_length: Upper bound of the tokens of a row.
        tally: Counts of the last complete run over `batches`.
    """

    def __init__(self, dataset: PackedDataset, folder: Path, out: Path) -> None:
        self.dataset = dataset
        self.folder = folder
        self.out = out
        self.max_length = _max_length(dataset)
        self.tally = Tally()

    def batches(self) -> Iterator[RowBatch]:
        """Every row in order, checked for what every target relies on.

        Raises:
            DatasetError: `export-impossible`: a row is longer than the dataset's limit, or a document is empty or
                starts with a target, which no trainer can predict; `shard-damaged`.
        """
        tally = Tally()
        for batch in self.dataset.batches():
            _check(batch, self.max_length)
            tally.rows += len(batch)
            tally.documents += len(batch.seq_lengths)
            tally.tokens += len(batch.input_ids)
            tally.loss_tokens += int(np.count_nonzero(batch.loss_mask))
            yield batch
        self.tally = tally

    def padding(self, width: int) -> tuple[str, ...]:
        """What padding every row to one width costs, as a loss of a target; nothing if all rows are full."""
        tokens, padded = self.tally.tokens, self.tally.rows * width
        if tokens == padded:
            return ()
        return (f"rows are padded from {tokens:,} to {padded:,} tokens; the trainer computes all of them",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A trainer's file format.

    Attributes:
        name: What `--to` takes.
        project: The project and the version whose reader this was written for.
        about: What is written, in a few words.
        packing: Who decides which documents share a row: `ours` (our rows are kept) or `theirs`.
        lost: What this dataset says and the trainer will not do, one sentence each without a full stop.
        write: Writes the files of a job; returns further losses, which depend on the data.
        how_to_load: The lines that load what was written, given its path and the dataset's `max_length`.
        leaves: Names in the folder that the trainer itself makes there; they go when the export is replaced.
    """

    name: str
    project: str
    about: str
    packing: str
    lost: tuple[str, ...]
    write: Callable[[Job], tuple[str, ...]]
    how_to_load: Callable[[str, int], str]
    leaves: tuple[str, ...] = ()


CAUSAL_ONLY = "trains plain causal: this trainer has no place for the ISM mask"
"""The loss of every target but one."""

REPACKED = "this trainer packs the documents itself: which of them share a row changes, and none is cut"


def _max_length(dataset: PackedDataset) -> int:
    value = dataset.manifest.options.get("max_length")
    if type(value) is not int or value < 1:
        raise DatasetError(
            f"the manifest gives {value!r} as max_length",
            code="manifest-invalid",
            location=Location(path=str(dataset.directory)),
        )
    return value


def _check(batch: RowBatch, max_length: int) -> None:
    longest = int(np.diff(batch.token_offsets).max())
    if longest > max_length:
        raise _impossible(batch, f"has a row of {longest:,} tokens; the dataset's max_length is {max_length:,}")
    if not batch.seq_lengths.all():
        raise _impossible(batch, "has a document without tokens")
    if batch.loss_mask[document_starts(batch.seq_lengths)].any():
        raise _impossible(batch, "has a document whose first token is a target, which nothing can predict")


def _impossible(batch: RowBatch, what: str) -> DatasetError:
    return DatasetError(
        f"{batch.shard} {what}",
        code="export-impossible",
        hint="`ismpack verify` names the row. Convert the data again.",
    )
