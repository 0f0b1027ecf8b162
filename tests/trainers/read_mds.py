"""Reads an export with MosaicML's own StreamingDataset, and writes it again with its MDSWriter: the same bytes."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import transformers  # noqa: F401 - before the stand-in, which it would take for an installed torchvision
from expected import absent, read

absent("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")
sys.modules["torchvision.datasets"].VisionDataset = object  # a base class of its image datasets

from streaming import MDSWriter, StreamingDataset  # noqa: E402

DTYPES = {
    "input_ids": "int32",
    "segment_type_ids": "uint8",
    "turn_ids": "int32",
    "loss_mask": "uint8",
    "seq_lengths": "int32",
    "source_ids": "int64",
}


def main() -> None:
    expected = read()
    dataset = StreamingDataset(local=expected.out, batch_size=1)
    assert len(dataset) == len(expected.rows)
    for sample, row in zip((dataset[index] for index in range(len(dataset))), expected.rows, strict=True):
        assert {name: values.dtype.name for name, values in sample.items()} == DTYPES
        assert {name: values.tolist() for name, values in sample.items()} == row
    with tempfile.TemporaryDirectory() as folder:
        with MDSWriter(out=folder, columns={name: f"ndarray:{dtype}" for name, dtype in DTYPES.items()}) as writer:
            for row in expected.rows:
                writer.write({name: np.array(row[name], dtype) for name, dtype in DTYPES.items()})
        for name in ("index.json", "shard.00000.mds"):
            assert (Path(folder) / name).read_bytes() == (Path(expected.out) / name).read_bytes()


if __name__ == "__main__":
    main()
