"""Reads an export with Axolotl's own dataset preparation, packing sampler and collator."""

import os
from collections import Counter

os.environ.update(AXOLOTL_DO_NOT_TRACK="1", DO_NOT_TRACK="1", HF_HUB_OFFLINE="1")

import numpy as np
import yaml
from axolotl.utils.collators import V2BatchSamplerDataCollatorForSeq2Seq
from axolotl.utils.data.sft import prepare_datasets
from axolotl.utils.dict import DictDefault
from axolotl.utils.samplers import MultipackBatchSampler, get_dataset_lengths
from expected import Document, read, word_tokenizer
from torch.utils.data import SequentialSampler


def main() -> None:
    expected = read()
    tokenizer = word_tokenizer(expected.largest_id)
    config = yaml.safe_load(expected.how_to_load)
    run = {
        "dataset_num_proc": 1, "seed": 1, "num_epochs": 1, "world_size": 1,
        "micro_batch_size": 1, "batch_size": 1, "gradient_accumulation_steps": 1, "dataloader_num_workers": 0,
        "sample_packing_group_size": 1000, "sample_packing_bin_size": 200,
    }  # fmt: skip
    rows, *_ = prepare_datasets(DictDefault(config | run), tokenizer)
    sampler = MultipackBatchSampler(
        SequentialSampler(rows),
        batch_size=1,
        batch_max_len=config["sequence_len"],
        lengths=get_dataset_lengths(rows),
        group_size=1000,
        bin_size=200,
        num_processes=1,
    )
    collate = V2BatchSamplerDataCollatorForSeq2Seq(tokenizer=tokenizer, padding=True, return_tensors="pt")
    found: Counter[Document] = Counter()
    for batch in sampler:
        packed = collate([[rows[index] for index in indices] for indices in batch])
        found.update(documents(*(packed[name][0].tolist() for name in ("input_ids", "labels", "attention_mask"))))
        starts = np.flatnonzero(np.diff(packed["attention_mask"][0], prepend=0))
        assert np.flatnonzero(packed["position_ids"][0] == 0).tolist() == starts.tolist()
    assert found == Counter(expected.all_documents())


def documents(ids: list[int], labels: list[int], numbers: list[int]) -> list[Document]:
    """The documents of a packed row, told apart by their number in its attention mask."""
    ends = [*np.flatnonzero(np.diff(numbers)) + 1, len(ids)]
    starts = [0, *ends[:-1]]
    return [Document(tuple(ids[s:e]), tuple(labels[s:e])) for s, e in zip(starts, ends, strict=True)]


if __name__ == "__main__":
    main()
