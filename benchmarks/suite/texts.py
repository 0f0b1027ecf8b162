"""The texts that `ismpack convert` really encodes, kept in files so that every engine gets the same ones.

They are what is left to encode when control tokens have been cut out and the template's own text has been encoded once:
the data of the conversations with the template's text around it. They are made by the product's own code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ismpack.data import Record, Segment
from ismpack.errors import RecordError
from ismpack.options import ConvertOptions
from ismpack.pipeline.inputs import conversation_of, input_files, records
from ismpack.pipeline.plan import make_plan
from ismpack.pipeline.toolkit import Toolkit, load_setup, make_toolkit
from ismpack.tokenization import SampleTokenizer
from suite.rounds import Outcome

BATCH_BYTES = 2 << 20
"""Text that is encoded in one call, about as much as `convert` does."""

_TEXTS, _ENDS, _ENGINE = "texts.bin", "ends.npy", "engine.json"
_FLUSH_SAMPLES = 1024


def write_texts(source: str, folder: str, path: str, template: str | None) -> Outcome:
    """Make the texts of a corpus: all of them end to end, where each ends, and the JSON to build engines from."""
    toolkit = make_toolkit(load_setup(ConvertOptions(tokenizer=path, chat_template=template)))
    encoded = toolkit.tokenizer("hf")
    lengths: list[int] = []
    with (Path(folder) / _TEXTS).open("wb") as file:
        for samples in _samples(source, toolkit):
            _write(encoded, samples, file, lengths)
    np.save(Path(folder) / _ENDS, np.cumsum(lengths, dtype=np.int64))
    # Without added tokens, as ismpack has it: none is to be found in these texts.
    plain = json.loads(toolkit.files.backend_json) | {"added_tokens": [], "post_processor": None}
    (Path(folder) / _ENGINE).write_text(json.dumps(plain, ensure_ascii=False), encoding="utf-8")
    return Outcome(figures={"texts": len(lengths), "bytes": sum(lengths)})


def engine_json(folder: str) -> str:
    """The tokenizer to build engines from."""
    return (Path(folder) / _ENGINE).read_text(encoding="utf-8")


def batches(folder: str) -> Iterator[list[str]]:
    """The texts, about 2 MB at a time."""
    ends = np.load(Path(folder) / _ENDS)
    with (Path(folder) / _TEXTS).open("rb") as file:
        first = 0
        while first < len(ends):
            start = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(ends, start + BATCH_BYTES, side="right")))
            text = file.read(int(ends[last - 1]) - start)
            cuts = [0, *(ends[first:last] - start).tolist()]
            yield [text[begin:end].decode() for begin, end in pairwise(cuts)]
            first = last


def _samples(source: str, toolkit: Toolkit) -> Iterator[list[Sequence[Segment]]]:
    """Segments of every conversation in the order in which `convert` comes to them, some at a time."""
    with input_files([source], None) as (files, spool):
        plan = make_plan(files, spool)
        found: list[Sequence[Segment]] = []
        for chunk in (chunk for partition in plan.partitions for chunk in partition):
            for record in records(chunk, toolkit.format):
                if not isinstance(record, Record):
                    continue
                try:
                    _, conversation = conversation_of(record, toolkit.format)
                    found += toolkit.segments(conversation).samples
                except RecordError:
                    continue
                if len(found) >= _FLUSH_SAMPLES:
                    yield found
                    found = []
        yield found


def _write(
    tokenizer: SampleTokenizer, samples: Sequence[Sequence[Segment]], file: BinaryIO, lengths: list[int]
) -> None:
    table, _ = tokenizer._cut(samples)
    texts = [text.encode() for text in table.runs]
    file.writelines(texts)
    lengths += map(len, texts)
