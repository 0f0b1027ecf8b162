"""Reads an export as torchtune's recipes do: from their YAML, through their collator, with their label shift."""

import numpy as np
import torch
from expected import block_causal, read, shifted
from omegaconf import OmegaConf
from torchtune import config
from torchtune.data import padded_collate_packed


def main() -> None:
    expected = read()
    section = OmegaConf.create(expected.how_to_load).dataset
    assert section.packed  # recipes read it here to choose the collator
    dataset = config.instantiate(section, None)
    assert len(dataset) == len(expected.rows)
    for row in range(len(dataset)):
        batch = padded_collate_packed([dataset[row]])
        documents = expected.documents(row)
        lengths = [len(document.ids) for document in documents]
        total = sum(lengths)
        assert batch["tokens"].shape == (1, expected.max_length)
        assert batch["tokens"][0][:total].tolist() == [i for document in documents for i in document.ids]
        assert batch["input_pos"][0][:total].tolist() == [i for length in lengths for i in range(length)]
        # What the recipes of 0.6.1 do in their loss step.
        labels = torch.hstack((batch["labels"][..., 1:], torch.full((1, 1), -100)))[0]
        assert labels[:total].tolist() == [i for document in documents for i in shifted(document.labels)]
        assert (labels[total:] == -100).all()
        if total < expected.max_length:
            lengths.append(expected.max_length - total)
        assert np.array_equal(batch["mask"][0].numpy(), block_causal(lengths))


if __name__ == "__main__":
    main()
