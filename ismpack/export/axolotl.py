"""Axolotl: a pre-tokenized dataset, one document per row.

Written for axolotl 0.19.0, reader `axolotl.utils.data.prepare_datasets` (an empty `type:`, recognised by its three
columns) and collator `V2BatchSamplerDataCollatorForSeq2Seq`.

    OUT/    what datasets.Dataset.save_to_disk writes
        input_ids       list<int32>   one document
        attention_mask  list<int8>    all 1
        labels          list<int32>   -100 = no loss; in line with input_ids, the model shifts

Our rows are taken apart, because Axolotl has no place for documents inside a row: it would let them attend to each
other, and with `sample_packing` it numbers the positions of a row straight through. Its own packing keeps documents
apart and whole, and puts them together anew.

What Axolotl prepares it finds again by its configuration alone, so that another export at the same place would not be
read; `dataset_prepared_path` inside OUT goes away with OUT.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np

from ismpack.export.columns import document_offsets, labels
from ismpack.export.job import CAUSAL_ONLY, REPACKED, Job, Target
from ismpack.export.list_columns import ListColumn, write_datasets_folder

_COLUMNS = {"input_ids": "int32", "attention_mask": "int8", "labels": "int32"}


def write(job: Job) -> tuple[str, ...]:
    """Write a dataset folder."""
    write_datasets_folder(job.folder, _COLUMNS, _batches(job), f"axolotl {job.dataset.manifest.fingerprint}")
    return ()


def _batches(job: Job) -> Iterator[Mapping[str, ListColumn]]:
    for batch in job.batches():
        offsets = document_offsets(batch.seq_lengths)
        yield {
            "input_ids": (batch.input_ids, offsets),
            "attention_mask": (np.ones(len(batch.input_ids), np.int8), offsets),
            "labels": (labels(batch), offsets),
        }


def how_to_load(out: str, max_length: int) -> str:
    """The lines of the training file."""
    return f"""\
datasets:
  - path: {json.dumps(out, ensure_ascii=False)}
    type:                # empty: already tokenized
dataset_prepared_path: {json.dumps(f"{out}/prepared", ensure_ascii=False)}
sequence_len: {max_length}
sample_packing: true
excess_length_strategy: raise
val_set_size: 0"""


TARGET = Target(
    name="axolotl",
    project="axolotl 0.19.0",
    about="pre-tokenized dataset folder, one document per row",
    packing="theirs",
    lost=(CAUSAL_ONLY, REPACKED),
    write=write,
    how_to_load=how_to_load,
    leaves=("prepared",),
)
