"""XTuner V1: documents as JSON lines, and a preset that says which of them make a row.

Written for the main branch of XTuner in 2026, reader `xtuner.v1.datasets.preset_pack.PresetPackDataset` with
`JsonlDataset`; the releases on the package index (0.2.0) do not have it.

    OUT/documents.jsonl   one document per line: {"input_ids": [...], "labels": [...]}; the last line is padding
                          labels: -100 = no loss; in line with input_ids, `sft_llm_collator` shifts
    OUT/boundaries.npy    int64[R + 1]: the first slice of each row, and the end
    OUT/samples.npy       int64[slices, 6]: path, line, -1, -1, first token, end
    OUT/paths.json        the one path, absolute: XTuner compares it with the `anno_path` of its configuration
    OUT/order.npy         int64[R]: 0, 1, 2, ...; the order in which rows are taken, in every epoch
    OUT/pretokenized.py   the tokenize function, which passes the ids of a line through

A preset must fill each row exactly, so every shorter one ends with a slice of the line of padding. Documents become
`cu_seq_lens`; attention is causal inside them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

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
    samples = np.lib.format.open_memmap(job.folder / "samples.npy", "w+", np.int64, (slices, _FIELDS))
    boundaries = np.zeros(rows + 1, np.int64)
    row = line = done = 0
    with (job.folder / DOCUMENTS).open("wb") as file:
        for batch in job.batches():
            file.writelines(_lines(batch))
            table, counts = _slices(batch, line, padding=documents, width=job.max_length)
            samples[done : done + len(table)] = table
            boundaries[row + 1 : row + 1 + len(counts)] = done + np.cumsum(counts)
            row, line, done = row + len(counts), line + len(batch.seq_lengths), done + len(table)
        file.write(_line([0] * job.max_length, [IGNORE_INDEX] * job.max_length))
    samples.flush()
    np.save(job.folder / "boundaries.npy", boundaries)
    np.save(job.folder / "order.npy", np.arange(rows, dtype=np.int64))
    (job.folder / "paths.json").write_text(json.dumps([_documents_path(job.out)]) + "\n", encoding="utf-8")
    (job.folder / "pretokenized.py").write_text(PRETOKENIZED, encoding="utf-8")
    return ()


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
    lost=(CAUSAL_ONLY, "rows come in one order in every epoch; write another order.npy to change it"),
    write=write,
    how_to_load=how_to_load,
)
