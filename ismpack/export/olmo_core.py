"""OLMo-core: token ids, label mask and document boundaries, as open-instruct writes them for SFT.

Written for ai2-olmo-core 3.0.0, reader `olmo_core.data.NumpyPackedFSLDataset`.

    OUT/token_ids_part_00000.npy     uint32, raw: no header in spite of the name
    OUT/labels_mask_part_00000.npy   bool, one byte per token, raw: True = this token is a target
    OUT/token_ids_part_00000.csv.gz  `start,end` of each document, in tokens; one line each

One part per shard. The mask is in line with the token ids; `olmo_core.data.utils.get_labels` shifts. The reader packs
documents itself (best fit, one file at a time) and pads.

`use_array_if_local=False` is essential: without it the reader looks for eos tokens to find the ends of documents, and a
chat has one after every answer, so that each turn would become a document that cannot see the turns before it.
uint32 for every vocabulary: the reader takes the dtype from its configuration, and one that is guessed wrong is read as
other ids without an error.
"""

from __future__ import annotations

import glob
import gzip
from itertools import groupby
from operator import attrgetter

import numpy as np

from ismpack.export.columns import document_offsets
from ismpack.export.job import CAUSAL_ONLY, REPACKED, Job, Target


def write(job: Job) -> tuple[str, ...]:
    """Write three files per shard."""
    for index, (_, batches) in enumerate(groupby(job.batches(), key=attrgetter("shard"))):
        name = f"part_{index:05d}"
        ids_path, mask_path = (job.folder / f"{kind}_{name}.npy" for kind in ("token_ids", "labels_mask"))
        with (
            ids_path.open("wb") as ids,
            mask_path.open("wb") as mask,
            ids_path.with_suffix(".csv.gz").open("wb") as compressed,
            gzip.GzipFile("", "wb", fileobj=compressed, mtime=0) as lines,
        ):
            start = 0
            for batch in batches:
                ids.write(batch.input_ids.astype("<u4").data)
                mask.write((batch.loss_mask != 0).data)
                ends = (document_offsets(batch.seq_lengths).astype(np.int64) + start).tolist()
                lines.write("".join(map("{},{}\n".format, ends[:-1], ends[1:])).encode())
                start = ends[-1]
    return ()


def how_to_load(out: str, max_length: int) -> str:
    """The dataset's configuration."""
    return f"""\
NumpyPackedFSLDatasetConfig(
    tokenizer=tokenizer_config,
    paths=[{f"{glob.escape(out)}/token_ids_part_*.npy"!r}],
    label_mask_paths=[{f"{glob.escape(out)}/labels_mask_part_*.npy"!r}],
    expand_glob=True,
    dtype=NumpyDatasetDType.uint32,
    sequence_length={max_length},
    generate_doc_lengths=True,
    use_array_if_local=False,
    work_dir=work_dir,
)"""


TARGET = Target(
    name="olmo-core",
    project="ai2-olmo-core 3.0.0",
    about="token ids, label mask and document boundaries",
    packing="theirs",
    lost=(CAUSAL_ONLY, REPACKED),
    write=write,
    how_to_load=how_to_load,
)
