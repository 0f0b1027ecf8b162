"""MosaicML Streaming: MDS shards with all of our columns.

Written for mosaicml-streaming 0.13.0, reader `streaming.StreamingDataset`. The library is not used to write: it asks
for versions of numpy and transformers that cannot be installed beside ours, and its format is small.

    OUT/shard.00000.mds    at most 64 MiB: uint32 samples, uint32[samples + 1] offsets, configuration (JSON), samples
    OUT/index.json         the shards and their columns; without compression and hashes

A sample is a row: the columns of `schema.COLUMNS` under their own names, as `ndarray:DTYPE`, unpadded. `loss_mask` is
unshifted. Since nothing is left out, a sample makes a `Pack` again, and every mask of ismpack can be had for it.

There is no `labels` and no `tokens` column, on purpose: llm-foundry's finetuning dataset reads `input_ids` and `labels`
as prompt and response, and its text dataset trains on every one of `tokens`. Without them both stop with an error.

Source of the format: `streaming/base/format/mds/{writer,reader,encodings}.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ismpack.data import Pack
from ismpack.export.job import Job, Target
from ismpack.schema import COLUMNS

SIZE_LIMIT = 1 << 26
"""Bytes of a shard, the library's default; only a single larger row makes a larger one."""

_NAMES = sorted(COLUMNS)
_CONFIG = {
    "column_encodings": [f"ndarray:{COLUMNS[name]}" for name in _NAMES],
    "column_names": _NAMES,
    "column_sizes": [None] * len(_NAMES),
    "compression": None,
    "format": "mds",
    "hashes": [],
    "size_limit": SIZE_LIMIT,
    "version": 2,
}
_HEADER = json.dumps(_CONFIG, sort_keys=True).encode()
_WORD = 4


def write(job: Job) -> tuple[str, ...]:
    """Write the shards and their index."""
    shards = []
    for index, samples in enumerate(_shards(job)):
        basename = f"shard.{index:05d}.mds"
        size = _write_shard(job.folder / basename, samples)
        data = {"basename": basename, "bytes": size, "hashes": {}}
        shards.append({**_CONFIG, "raw_data": data, "samples": len(samples), "zip_data": None})
    text = json.dumps({"shards": shards, "version": 2}, sort_keys=True)
    (job.folder / "index.json").write_text(text, encoding="utf-8")
    return ()


def _shards(job: Job) -> Iterator[list[bytes]]:
    """Samples of one shard after the other."""
    empty = 2 * _WORD + len(_HEADER)
    samples: list[bytes] = []
    size = empty
    for batch in job.batches():
        for row in range(len(batch)):
            sample = _sample(batch.pack(row))
            if samples and size + len(sample) + _WORD > SIZE_LIMIT:
                yield samples
                samples, size = [], empty
            samples.append(sample)
            size += len(sample) + _WORD
    if samples:
        yield samples


def _sample(pack: Pack) -> bytes:
    columns = [_array(getattr(pack, name)) for name in _NAMES]
    return np.array([len(column) for column in columns], "<u4").tobytes() + b"".join(columns)


def _array(values: npt.NDArray[np.integer]) -> bytes:
    """One axis, its length in the smallest of uint8, uint16, uint32, then the elements."""
    length = len(values)
    code = 0 if length < 1 << 8 else 1 if length < 1 << 16 else 2
    return bytes([1 << 2 | code]) + length.to_bytes(1 << code, "little") + values.tobytes()


def _write_shard(path: Path, samples: list[bytes]) -> int:
    count = len(samples)
    start = (2 + count) * _WORD + len(_HEADER)
    offsets = start + np.cumsum([0, *map(len, samples)], dtype=np.int64)
    head = np.array([count], "<u4").tobytes() + offsets.astype("<u4").tobytes() + _HEADER
    with path.open("wb") as file:
        file.write(head)
        file.writelines(samples)
    return int(offsets[-1])


def how_to_load(out: str, _: int) -> str:
    """The data loader."""
    return f"""\
collate = install_ism(model).collator()  # from ismpack.torch import install_ism
loader = StreamingDataLoader(
    StreamingDataset(local={out!r}, batch_size=1),
    batch_size=1,
    collate_fn=lambda samples: collate([Pack(**sample) for sample in samples]),  # from ismpack.data import Pack
)"""


TARGET = Target(
    name="mds",
    project="mosaicml-streaming 0.13.0",
    about="MDS shards with all columns",
    packing="ours",
    lost=(),
    write=write,
    how_to_load=how_to_load,
)
