"""LLaMA-Factory: a dataset for `tokenized_path`.

Written for llamafactory 0.9.5, reader `llamafactory.data.loader.get_dataset` (`datasets.load_from_disk`) and collator
`SFTDataCollatorWith4DAttentionMask`.

    OUT/    what datasets.Dataset.save_to_disk writes; one row per row of ours, all of one length
        input_ids       list<int32>   padded with 0
        attention_mask  list<int32>   which document of the row, from 1; 0 = padding
        position_ids    list<int32>   anew with every document
        labels          list<int32>   -100 = no loss; in line with input_ids, the model shifts

Rows have one length, the longest row's rounded up to a multiple of 8, because the collator pads `input_ids` to such a
multiple and not `position_ids`.
`neat_packing` is what makes it read the document numbers: without it every token that is not padding attends to all
before it in the row, across documents, and nothing says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np

from ismpack.export.columns import document_numbers, even_offsets, labels, padded
from ismpack.export.job import CAUSAL_ONLY, Job, Target
from ismpack.export.list_columns import ListColumn, write_datasets_folder
from ismpack.masks import position_ids
from ismpack.schema import IGNORE_INDEX

_COLUMNS = {"input_ids": "int32", "attention_mask": "int32", "position_ids": "int32", "labels": "int32"}
_MULTIPLE = 8


def write(job: Job) -> tuple[str, ...]:
    """Write a dataset folder."""
    origin = f"llama-factory {job.dataset.manifest.fingerprint}"
    longest = max(int(np.diff(batch.token_offsets).max()) for batch in job.batches())
    width = -(-longest // _MULTIPLE) * _MULTIPLE
    write_datasets_folder(job.folder, _COLUMNS, _batches(job, width), origin)
    return job.padding(width)


def _batches(job: Job, width: int) -> Iterator[Mapping[str, ListColumn]]:
    for batch in job.batches():
        columns = {
            "input_ids": (batch.input_ids, 0),
            "attention_mask": (document_numbers(batch), 0),
            "position_ids": (position_ids(batch.seq_lengths), 0),
            "labels": (labels(batch), IGNORE_INDEX),
        }
        offsets = even_offsets(len(batch), width)
        yield {
            name: (padded(values, batch.token_offsets, width, fill), offsets)
            for name, (values, fill) in columns.items()
        }


def how_to_load(out: str, max_length: int) -> str:
    """The lines of the training file."""
    return f"""\
stage: sft
dataset: identity        # must be given, is not read
tokenized_path: {json.dumps(out, ensure_ascii=False)}
neat_packing: true       # without it documents attend to each other
cutoff_len: {max_length}
per_device_train_batch_size: 1"""


TARGET = Target(
    name="llama-factory",
    project="llamafactory 0.9.5",
    about="dataset folder for tokenized_path",
    packing="ours",
    lost=(CAUSAL_ONLY,),
    write=write,
    how_to_load=how_to_load,
)
