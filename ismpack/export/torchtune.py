"""torchtune: packs as `torchtune.datasets.PackedDataset` makes them, and the function that a recipe loads them with.

Written for torchtune 0.6.1, whose recipes collate with `torchtune.data.padded_collate_packed`. It has no format of its
own on disk, so this is a dataset folder and `packed_dataset`, a dataset builder to name in a recipe's YAML.

    OUT/    what datasets.Dataset.save_to_disk writes; one row per row of ours, all of `max_length` tokens
        tokens     list<int32>   padded with 0
        labels     list<int32>   -100 = no loss; UNSHIFTED: the recipes of 0.6.1 shift (`labels[..., 1:]`)
        input_pos  list<int32>   anew with every document, padding included
        seq_lens   list<int32>   tokens per document; padding is one more document

The collator makes a causal mask inside each document of it. The development branch after 0.6.1 shifts labels in its
datasets instead of its recipes; `packed_dataset` refuses to load there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import metadata

import datasets
import numpy as np
import numpy.typing as npt

from ismpack.errors import DatasetError, UsageError
from ismpack.export.columns import even_offsets, labels, padded
from ismpack.export.job import Job, Target
from ismpack.export.list_columns import ListColumn, write_datasets_folder
from ismpack.masks import position_ids
from ismpack.reader import RowBatch
from ismpack.schema import IGNORE_INDEX

_COLUMNS = {"tokens": "int32", "labels": "int32", "input_pos": "int32", "seq_lens": "int32"}
_LAST_UNSHIFTED = (0, 6)
"""Release whose recipes still shift."""


def write(job: Job) -> tuple[str, ...]:
    """Write a dataset folder."""
    write_datasets_folder(job.folder, _COLUMNS, _batches(job), f"torchtune {job.dataset.manifest.fingerprint}")
    return job.padding(job.max_length)


def packed_dataset(tokenizer: object, *, directory: str, packed: bool = True) -> datasets.Dataset:
    """The dataset builder for a recipe's YAML: rows of int64 tensors.

    Args:
        tokenizer: The recipe's tokenizer; recipes pass it first. The rows are tokenized already.
        directory: Where the export stands.
        packed: Must be true; recipes read it to choose `padded_collate_packed`.

    Raises:
        UsageError: `bad-option`: `packed` is false, so the recipe would take a collator that drops the documents.
        DatasetError: `export-impossible`: the installed torchtune wants other labels.
    """
    del tokenizer
    if not packed:
        raise UsageError(
            "packed must be True for packs", code="bad-option", hint="Write `packed: True` under `dataset:`."
        )
    _check_version()
    return datasets.load_from_disk(directory).with_format("torch")


def _check_version() -> None:
    try:
        installed = metadata.version("torchtune")
    except metadata.PackageNotFoundError:
        return  # read outside of a recipe
    if tuple(map(int, installed.split(".")[:2])) > _LAST_UNSHIFTED:
        raise DatasetError(
            f"torchtune {installed} wants shifted labels, and this export holds unshifted ones",
            code="export-impossible",
            hint="Install torchtune 0.6.1.",
        )


def _batches(job: Job) -> Iterator[Mapping[str, ListColumn]]:
    width = job.max_length
    for batch in job.batches():
        lengths, offsets = _padded_lengths(batch, width)
        # Positions of padding are counted from 0 like those of any document.
        positions = position_ids(lengths)
        even = even_offsets(len(batch), width)
        yield {
            "tokens": (padded(batch.input_ids, batch.token_offsets, width, 0), even),
            "labels": (padded(labels(batch), batch.token_offsets, width, IGNORE_INDEX), even),
            "input_pos": (positions, even),
            "seq_lens": (lengths, offsets),
        }


def _padded_lengths(batch: RowBatch, width: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Tokens per document with padding as a last one, and int32[R + 1] row offsets of them."""
    missing = width - np.diff(batch.token_offsets)
    short = missing > 0
    lengths = np.insert(batch.seq_lengths, batch.document_offsets[1:][short], missing[short])
    added = np.concatenate([[0], np.cumsum(short)])
    return lengths.astype(np.int32), (batch.document_offsets + added).astype(np.int32)


def how_to_load(out: str, _: int) -> str:
    """The lines of a recipe's YAML."""
    return f"""\
dataset:
  _component_: ismpack.export.torchtune.packed_dataset
  directory: {json.dumps(out, ensure_ascii=False)}
  packed: True"""


TARGET = Target(
    name="torchtune",
    project="torchtune 0.6.1",
    about="dataset folder of packs, loaded by a builder of ismpack",
    packing="ours",
    lost=("trains plain causal, as the recipes' collator has it; with another collator its models take the ISM mask",),
    write=write,
    how_to_load=how_to_load,
)
