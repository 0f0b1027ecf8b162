"""Reads an export with Megatron-Bridge's own builder, dataset and collator.

`import megatron.bridge` registers every model, which takes CUDA libraries, so the package's own __init__ is not run; the
modules below it are the real ones. They are written for Python 3.12; 3.11 lacks one name of theirs.
"""

import importlib.util
import sys
import types
import typing

import numpy as np
import typing_extensions
from expected import read

typing.override = typing_extensions.override
ROOT = importlib.util.find_spec("megatron.bridge").submodule_search_locations[0]
for name in ("", ".data", ".data.builders"):
    module = types.ModuleType(f"megatron.bridge{name}")
    module.__path__ = [ROOT + name.replace(".", "/")]
    sys.modules[module.__name__] = module

from megatron.bridge.data.builders.gpt_sft import GPTSFTDatasetConfig, build_gpt_sft_split  # noqa: E402
from megatron.bridge.data.packing.config import PackedSequenceSpecs  # noqa: E402
from megatron.bridge.data.packing.parquet import GPTSFTPackedParquetDataset  # noqa: E402


def main() -> None:
    expected = read()
    names = {"GPTSFTDatasetConfig": GPTSFTDatasetConfig, "PackedSequenceSpecs": PackedSequenceSpecs}
    config = eval(expected.how_to_load, names)  # noqa: S307 - the printed lines themselves are what is checked
    config.validate()
    specs = config.offline_packing_specs
    eos = expected.stop_ids[0]
    dataset = build_gpt_sft_split(
        specs.packed_train_data_path,
        tokenizer=types.SimpleNamespace(eos_id=eos),
        seq_length=config.seq_length,
        memmap_workers=1,
        seed=1,
        packed_sequence_size=specs.packed_sequence_size,
        pad_seq_to_mult=specs.pad_seq_to_mult,
    )
    assert isinstance(dataset, GPTSFTPackedParquetDataset)
    assert len(dataset) == len(expected.rows)
    for row in range(len(dataset)):
        item = dataset[row]
        dataset.validate_row(row, item["input_ids"], item["loss_mask"], item["seq_boundaries"][:-1])
        batch = dataset.collate_fn([item])
        documents = expected.documents(row)
        ids = np.concatenate([document.ids[:-1] for document in documents])
        labels = np.concatenate([document.labels[1:] for document in documents])
        labels[ids == eos] = -100  # the loss of targets that follow eos, which the export's report counts
        tokens = slice(0, len(ids))
        trained = np.where(batch["loss_mask"][0], batch["labels"][0], -100)
        assert batch["tokens"][0][tokens].tolist() == ids.tolist()
        assert trained[tokens].tolist() == labels.tolist()
        assert not batch["loss_mask"][0][len(ids) :].any()
        lengths = [len(document.ids) - 1 for document in documents]
        assert batch["position_ids"][0][tokens].tolist() == [p for length in lengths for p in range(length)]
        assert batch["cu_seqlens_q"][0][: len(lengths) + 1].tolist() == [0, *np.cumsum(lengths).tolist()]


if __name__ == "__main__":
    main()
