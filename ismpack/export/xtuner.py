"""XTuner V1: documents as JSON lines, and a preset that says which of them make a row.

Written for the main branch of XTuner in 2026, reader `xtuner.v1.datasets.preset_pack.PresetPackDataset` with
`JsonlDataset`; the releases on the package index (0.2.0) do not have it.

    OUT/documents.jsonl   one document per line: {"input_ids": [...], "labels": [...]}; the last line is padding
                          labels: -100 = no loss; in line with input_ids, `sft_llm_collator` shifts
    OUT/boundaries.npy    int64[R + 1]: the first slice of each row, and the end
    OUT/samples.npy       int64[slices, 6]: path, line, -1, -1, first token, end
    OUT/paths.json        the one path, absolute: XTuner compares it with the `anno_path` of its configuration
    OUT/order.npy         int64[R]: the order in which rows are taken, in every epoch; shuffled, alike in every export
    OUT/pretokenized.py   the tokenize function, which passes the ids of a line through

With the default `short_pack_strategy="error"` a preset must fill each row exactly, so every shorter one ends with a
slice of the line of padding. Documents become `cu_seq_lens`; attention is causal inside them.

The sampler (`PresetSampler`) cuts the order to a multiple of the global batch, so that the same rows are left out in
every epoch. Since the order is shuffled they are not the end of the data. An order may name rows more than once, so a
user, who knows the global batch, can fill the last one.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt

from ismpack.export.columns import document_offsets, labels
from ismpack.export.job import CAUSAL_ONLY, Job, Target
from ismpack.reader import RowBatch
from ismpack.schema import IGNORE_INDEX

DOCUMENTS = "documents.jsonl"
_FIELDS = 6

PRETOKENIZED = '''\
"""XTuner V1 tokenize function for documents that are token ids already. Written by `ismpack export --to xtuner`."""

from pydantic import BaseModel
from xtuner.v1.datasets.utils import CachableTokenizeFunction, with_proxy_attention_flops


class Pretokenized(CachableTokenizeFunction):
    @with_proxy_attention_flops
    def __call__(self, item, **kwargs):
        return {"input_ids": item["input_ids"], "labels": item["labels"], "num_tokens": len(item["input_ids"])}

    def hash(self):
        return "ismpack-pretokenized-1"


class PretokenizedConfig(BaseModel):
    def build(self, tokenizer, tokenizer_hash=None, anno_name=None, **kwargs):
        return Pretokenized(tokenizer)
'''


def write(job: Job) -> tuple[str, ...]:
    """Write the documents, and the preset while they pass."""
    documents, slices = _count_slices(job)
    rows = job.tally.rows
    boundaries = np.zeros(rows + 1, np.int64)
    row = line = done = 0
    with (job.folder / DOCUMENTS).open("wb") as file, (job.folder / "samples.npy").open("wb") as samples:
        _npy_header(samples, (slices, _FIELDS))
        for batch in job.batches():
            file.writelines(_lines(batch))
            table, counts = _slices(batch, line, padding=documents, width=job.max_length)
            samples.write(table.data)
            boundaries[row + 1 : row + 1 + len(counts)] = done + np.cumsum(counts)
            row, line, done = row + len(counts), line + len(batch.seq_lengths), done + len(table)
        file.write(_line([0] * job.max_length, [IGNORE_INDEX] * job.max_length))
    # Sorting raw random numbers, because numpy promises the same raw stream in every version, not the same shuffle.
    order = np.argsort(np.random.PCG64(0).random_raw(rows), kind="stable")
    for name, values in (("boundaries", boundaries), ("order", order.astype(np.int64))):
        with (job.folder / f"{name}.npy").open("wb") as file:
            _npy_header(file, values.shape)
            file.write(values.data)
    (job.folder / "paths.json").write_text(json.dumps([_documents_path(job.out)]) + "\n", encoding="utf-8")
    (job.folder / "pretokenized.py").write_text(PRETOKENIZED, encoding="utf-8")
    return job.padding(job.max_length)


def _npy_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """The head of an .npy file of int64, whose values are written as they come.

    Not by `open_memmap`, which meets a full disk with SIGBUS, and not by `np.save`, whose error then has no reason.
    """
    np.lib.format.write_array_header_1_0(file, {"descr": "<i8", "fortran_order": False, "shape": shape})


def _count_slices(job: Job) -> tuple[int, int]:
    """Documents, and slices: one per document and one per row that is not full."""
    short = sum(int(np.count_nonzero(np.diff(batch.token_offsets) < job.max_length)) for batch in job.batches())
    return job.tally.documents, job.tally.documents + short


def _slices(
    batch: RowBatch, line: int, *, padding: int, width: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The slices of the batch's rows, and how many each row has.

    Args:
        batch: The rows.
        line: Line of the batch's first document.
        padding: Line of the padding.
        width: Tokens that a row shall have.
    """
    missing = width - np.diff(batch.token_offsets)
    short = missing > 0
    places = batch.document_offsets[1:][short]  # before the next row's first document
    lines = np.insert(np.arange(line, line + len(batch.seq_lengths)), places, padding)
    ends = np.insert(batch.seq_lengths.astype(np.int64), places, missing[short])
    table = np.zeros((len(lines), _FIELDS), np.int64)
    table[:, 1], table[:, 2], table[:, 3], table[:, 5] = lines, -1, -1, ends
    return table, np.diff(batch.document_offsets).astype(np.int64) + short


def _lines(batch: RowBatch) -> Iterator[bytes]:
    """One line per document."""
    targets = labels(batch)
    offsets = document_offsets(batch.seq_lengths).tolist()
    for start, end in itertools.pairwise(offsets):
        yield _line(batch.input_ids[start:end].tolist(), targets[start:end].tolist())


def _line(ids: list[int], targets: list[int]) -> bytes:
    return msgspec.json.encode({"input_ids": ids, "labels": targets}) + b"\n"


def _documents_path(out: str | Path) -> str:
    return str(Path(out).resolve() / DOCUMENTS)


def how_to_load(out: str, max_length: int) -> str:
    """The data loader's configuration."""
    return f"""\
# PYTHONPATH={out}, and: from pretokenized import PretokenizedConfig
DataloaderConfig(
    dataset_config_list=[
        {{"dataset": DatasetConfig(anno_path={_documents_path(out)!r}), "tokenize_fn": PretokenizedConfig()}},
    ],
    pack_level="preset",
    sampler_type="preset",
    group_by_length=False,
    pack_config_path={out!r},
    sampler_config_path={f"{out}/order.npy"!r},
    pack_max_length={max_length},
)"""


TARGET = Target(
    name="xtuner",
    project="XTuner V1 (main, 2026)",
    about="JSON lines of token ids, and a preset of packs",
    packing="ours",
    lost=(
        CAUSAL_ONLY,
        "rows come in one order in every epoch; write another order.npy, which may repeat rows, to change it",
        "rows at the end of that order which fill no global batch are trained in no epoch",
    ),
    write=write,
    how_to_load=how_to_load,
    leaves=("__pycache__",),
)
