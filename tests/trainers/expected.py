"""What a reader must find. Imported by the scripts that run in the trainers' environments; needs numpy alone."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np


@dataclass(frozen=True)
class Document:
    """One document: its ids, and its labels with -100 where there is no loss, in line with the ids."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Expected:
    """A dataset as the trainer should see it."""

    out: str
    rows: list[dict[str, list[int]]]
    max_length: int
    stop_ids: list[int]
    largest_id: int
    how_to_load: str

    def documents(self, row: int) -> list[Document]:
        columns = self.rows[row]
        labels = np.where(columns["loss_mask"], columns["input_ids"], -100)
        ends = np.cumsum(columns["seq_lengths"]).tolist()
        return [
            Document(tuple(columns["input_ids"][end - length : end]), tuple(labels[end - length : end].tolist()))
            for end, length in zip(ends, columns["seq_lengths"], strict=True)
        ]

    def all_documents(self) -> list[Document]:
        return [document for row in range(len(self.rows)) for document in self.documents(row)]


def read() -> Expected:
    """From the command line: the export, and the JSON file that describes it."""
    return Expected(out=sys.argv[1], **json.loads(Path(sys.argv[2]).read_text()))


def shifted(labels: tuple[int, ...]) -> list[int]:
    """The label of each position: the target of the next token."""
    return [*labels[1:], -100]


def block_causal(lengths: list[int]) -> np.ndarray:
    """bool[T, T]: causal inside each document."""
    document = np.repeat(np.arange(len(lengths)), lengths)
    return (document[:, None] == document) & np.tri(len(document), dtype=bool)


def word_tokenizer(largest_id: int) -> object:
    """A Hugging Face tokenizer whose words are its ids, for readers that want one."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({str(i): i for i in range(largest_id + 1)}, unk_token="0"))  # noqa: S106
    special = {"pad_token": "0", "eos_token": "2"}
    return PreTrainedTokenizerFast(tokenizer_object=words, padding_side="right", **special)


def absent(*modules: str) -> None:
    """Stand-ins for modules that a project imports and reading token ids does not use."""
    for name in modules:
        sys.modules[name] = MagicMock()
