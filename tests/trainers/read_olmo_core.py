"""Reads an export with OLMo-core's own configuration, dataset and label shift."""

import tempfile
from collections import Counter

from expected import Document, read
from olmo_core.data import NumpyDatasetDType, NumpyPackedFSLDatasetConfig, TokenizerConfig
from olmo_core.data.utils import get_labels


def main() -> None:
    expected = read()
    with tempfile.TemporaryDirectory() as work_dir:
        tokenizer = TokenizerConfig(
            vocab_size=expected.largest_id + 1, eos_token_id=expected.stop_ids[0], pad_token_id=0
        )
        names = {
            "NumpyPackedFSLDatasetConfig": NumpyPackedFSLDatasetConfig,
            "NumpyDatasetDType": NumpyDatasetDType,
            "tokenizer_config": tokenizer,
            "work_dir": work_dir,
        }
        dataset = eval(expected.how_to_load, names).build()  # noqa: S307 - the printed lines are what is checked
        dataset.prepare()
        found: Counter[Document] = Counter()
        for index in range(len(dataset)):
            item = dataset[index]
            batch = {"input_ids": item["input_ids"][None], "label_mask": item["label_mask"][None]}
            shifted = get_labels(batch)[0].tolist()
            start = 0
            for length in item["doc_lens"].tolist():
                ids = item["input_ids"][start : start + length].tolist()
                labels = [-100, *shifted[start : start + length - 1]]
                assert start == 0 or shifted[start - 1] == -100  # nothing is predicted across documents
                if item["label_mask"][start : start + length].any():
                    found[Document(tuple(ids), tuple(labels))] += 1
                start += length
            assert start == expected.max_length
    assert found == Counter(expected.all_documents())


if __name__ == "__main__":
    main()
