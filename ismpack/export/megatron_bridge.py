"""NVIDIA Megatron-Bridge: packed Parquet.

Written for 0.6.2, reader `megatron.bridge.data.packing.parquet.GPTSFTPackedParquetDataset` (and its collator, in
`packing/gpt_sft.py`). Its Parquet reader came with 0.4.

    OUT/packed-00000.idx.parquet    one per shard; a directory, a glob or a file may be given
        input_ids     list<int32>   our rows, unpadded
        loss_mask     list<int8>    SHIFTED: 1 where the next token is a target
        seq_start_id  list<int32>   first token of each document

The collator cuts each document into inputs `ids[:-1]` and labels `ids[1:]` and takes `loss_mask[:-1]` for the labels,
so the mask must already be shifted by one (`fill_packing_strategy` does the same for its own chats). Documents become
`cu_seqlens` and position ids; attention is causal inside them.

A row group is one of our record batches: the reader loads a whole row group to give one row.
"""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter

import numpy as np
import pyarrow.parquet as pq

from ismpack.export.columns import next_is_target, starts_in_row
from ismpack.export.job import CAUSAL_ONLY, Job, Target
from ismpack.export.list_columns import ListColumn, list_schema, record_batch

_COLUMNS = {"input_ids": "int32", "loss_mask": "int8", "seq_start_id": "int32"}


def write(job: Job) -> tuple[str, ...]:
    """Write one Parquet file per shard."""
    schema = list_schema(_COLUMNS)
    stop_ids = np.array(job.dataset.manifest.stop_ids, np.int32)
    after_stop = 0
    for index, (_, batches) in enumerate(groupby(job.batches(), key=attrgetter("shard"))):
        path = job.folder / f"packed-{index:05d}.idx.parquet"
        with pq.ParquetWriter(str(path), schema) as writer:
            for batch in batches:
                shifted = next_is_target(batch)
                after_stop += int(np.count_nonzero(shifted & np.isin(batch.input_ids, stop_ids)))
                columns: dict[str, ListColumn] = {
                    "input_ids": (batch.input_ids, batch.token_offsets),
                    "loss_mask": (shifted, batch.token_offsets),
                    "seq_start_id": (starts_in_row(batch), batch.document_offsets),
                }
                writer.write_batch(record_batch(schema, columns), row_group_size=len(batch))
    return (
        (f"targets that follow a stop token carry no loss if it is the tokenizer's eos: {after_stop:,}",)
        if after_stop
        else ()
    )


def how_to_load(out: str, max_length: int) -> str:
    """The dataset's configuration."""
    return f"""\
GPTSFTDatasetConfig(
    dataset_root={out!r},
    seq_length={max_length},
    enable_offline_packing=True,
    offline_packing_specs=PackedSequenceSpecs(packed_sequence_size={max_length}, packed_train_data_path={out!r}),
    do_validation=False,
    do_test=False,
)  # micro_batch_size=1; answer_only_loss stays True"""


TARGET = Target(
    name="megatron-bridge",
    project="Megatron-Bridge 0.6.2",
    about="packed Parquet",
    packing="ours",
    lost=(
        CAUSAL_ONLY,
        "documents are not padded to a multiple, so context parallelism cannot split them (pad_seq_to_mult stays 1)",
    ),
    write=write,
    how_to_load=how_to_load,
)
