"""Exports, read back with nothing but the libraries that the formats are made of.

`tests/trainers/check.py` reads them with the trainers' own classes.
"""

from __future__ import annotations

import gzip
import json
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from dataset_builder import Builder, Row, row, source
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ismpack.cli import export as cli
from ismpack.cli.console import Console
from ismpack.errors import DatasetError, IsmpackError, OutputError, UsageError
from ismpack.export import TARGETS, export, mds
from ismpack.export.job import Job
from ismpack.export.torchtune import packed_dataset
from ismpack.export.xtuner import PRETOKENIZED

torch.set_num_threads(1)

Document = tuple[list[int], list[int]]
"""Ids, and labels in line with them."""

NO = -100
MARK = "ismpack-export.json"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two shards of one row each, of 9 and 3 tokens; rows hold at most 10.

    row 0    10 11 50  2 10  2 | 10 11  2      row 1    10 50  2
    target          x  x     x          x                   x  x
    """
    builder = Builder(tmp_path / "small")
    builder.shards = [
        [row((source(0, 0), "17:22 1:2"), (source(0, 1), "17:2"))],
        [row((source(0, 2), "1:22"))],
    ]
    builder.options["max_length"] = 10
    return builder.write().directory


@pytest.fixture
def odd(tmp_path: Path) -> Builder:
    """The shared example: answers without loss, an answer right after an answer, one-turn documents."""
    return Builder(tmp_path / "odd").write()


# Layouts, worked by hand


def test_megatron_bridge_gets_parquet_with_a_shifted_mask(small: Path, tmp_path: Path) -> None:
    export(small, "megatron-bridge", tmp_path / "out")
    first, second = (pq.read_table(tmp_path / "out" / f"packed-0000{index}.idx.parquet") for index in (0, 1))
    assert first.to_pydict() == {
        "input_ids": [[10, 11, 50, 2, 10, 2, 10, 11, 2]],
        "loss_mask": [[0, 1, 1, 0, 1, 0, 0, 1, 0]],
        "seq_start_id": [[0, 6]],
    }
    assert second.to_pydict() == {"input_ids": [[10, 50, 2]], "loss_mask": [[1, 1, 0]], "seq_start_id": [[0]]}
    assert [str(column.type.value_type) for column in first.schema] == ["int32", "int8", "int32"]


def test_megatron_bridge_row_groups_are_our_batches(odd: Builder, tmp_path: Path) -> None:
    export(odd.directory, "megatron-bridge", tmp_path / "out")
    metadata = pq.read_metadata(tmp_path / "out" / "packed-00000.idx.parquet")
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [2, 1]


def test_olmo_core_gets_raw_arrays_and_boundaries(small: Path, tmp_path: Path) -> None:
    export(small, "olmo-core", tmp_path / "out")
    out = tmp_path / "out"
    assert (out / "token_ids_part_00000.npy").read_bytes() == struct.pack("<9I", 10, 11, 50, 2, 10, 2, 10, 11, 2)
    assert (out / "labels_mask_part_00000.npy").read_bytes() == bytes([0, 0, 1, 1, 0, 1, 0, 0, 1])
    assert gzip.decompress((out / "token_ids_part_00000.csv.gz").read_bytes()) == b"0,6\n6,9\n"
    assert (out / "token_ids_part_00001.npy").read_bytes() == struct.pack("<3I", 10, 50, 2)
    assert gzip.decompress((out / "token_ids_part_00001.csv.gz").read_bytes()) == b"0,3\n"


def test_olmo_core_counts_boundaries_over_all_batches_of_a_shard(odd: Builder, tmp_path: Path) -> None:
    export(odd.directory, "olmo-core", tmp_path / "out")
    text = gzip.decompress((tmp_path / "out" / "token_ids_part_00000.csv.gz").read_bytes()).decode()
    assert text.split() == ["0,9", "9,14", "14,23", "23,25", "25,27", "27,33"]


def test_xtuner_gets_documents_and_a_preset_that_fills_every_row(small: Path, tmp_path: Path) -> None:
    export(small, "xtuner", tmp_path / "out")
    out = tmp_path / "out"
    assert [json.loads(line) for line in (out / "documents.jsonl").read_text().splitlines()] == [
        {"input_ids": [10, 11, 50, 2, 10, 2], "labels": [NO, NO, 50, 2, NO, 2]},
        {"input_ids": [10, 11, 2], "labels": [NO, NO, 2]},
        {"input_ids": [10, 50, 2], "labels": [NO, 50, 2]},
        {"input_ids": [0] * 10, "labels": [NO] * 10},
    ]
    assert np.load(out / "samples.npy").tolist() == [
        [0, 0, -1, -1, 0, 6],
        [0, 1, -1, -1, 0, 3],
        [0, 3, -1, -1, 0, 1],  # the row holds 9 of 10 tokens
        [0, 2, -1, -1, 0, 3],
        [0, 3, -1, -1, 0, 7],
    ]
    assert np.load(out / "boundaries.npy").tolist() == [0, 3, 5]
    assert sorted(np.load(out / "order.npy").tolist()) == [0, 1]
    assert {np.load(out / f"{name}.npy").dtype for name in ("samples", "boundaries", "order")} == {np.dtype(np.int64)}
    assert json.loads((out / "paths.json").read_text()) == [str(out / "documents.jsonl")]


def test_xtuner_adds_no_padding_to_a_full_row(small: Path, tmp_path: Path) -> None:
    builder = Builder(small)
    builder.shards = [[row((source(0, 0), "1117:222 17:2"))], [row((source(0, 2), "1:22"))]]
    builder.options["max_length"] = 10
    export(builder.write().directory, "xtuner", tmp_path / "out")
    assert np.load(tmp_path / "out" / "samples.npy")[:, [1, 5]].tolist() == [[0, 10], [1, 3], [2, 7]]
    assert np.load(tmp_path / "out" / "boundaries.npy").tolist() == [0, 1, 3]


def test_the_xtuner_order_is_shuffled_and_never_changes(small: Path, tmp_path: Path) -> None:
    # XTuner leaves the end of the order out in every epoch; it must not be the end of the data.
    builder = Builder(small)
    builder.shards = [[row((source(0, line), "1:2")) for line in range(8)]]
    report = export(builder.write().directory, "xtuner", tmp_path / "out")
    assert np.load(tmp_path / "out" / "order.npy").tolist() == [3, 2, 1, 6, 0, 7, 4, 5]
    assert "rows at the end of that order which fill no global batch are trained in no epoch" in report.lost


def test_the_xtuner_tokenize_function_passes_ids_through(monkeypatch: pytest.MonkeyPatch) -> None:
    # XTuner V1 is on no package index, so the two names that the file imports are stood in for.
    utils, pydantic = ModuleType("xtuner.v1.datasets.utils"), ModuleType("pydantic")
    utils.CachableTokenizeFunction = type("CachableTokenizeFunction", (list,), {})  # takes a tokenizer, here text
    utils.with_proxy_attention_flops = lambda function: function
    pydantic.BaseModel = object
    for name in ("xtuner", "xtuner.v1", "xtuner.v1.datasets"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, utils.__name__, utils)
    monkeypatch.setitem(sys.modules, "pydantic", pydantic)
    names: dict[str, Any] = {"__name__": "pretokenized"}
    exec(compile(PRETOKENIZED, "pretokenized.py", "exec"), names)  # noqa: S102 - our own text
    function = names["PretokenizedConfig"]().build("tokenizer", tokenizer_hash="x", anno_name="y")
    assert function({"input_ids": [5, 6], "labels": [NO, 6]}) == {
        "input_ids": [5, 6],
        "labels": [NO, 6],
        "num_tokens": 2,
    }
    assert isinstance(function.hash(), str)


def test_llama_factory_gets_numbered_documents_in_rows_of_one_length(small: Path, tmp_path: Path) -> None:
    export(small, "llama-factory", tmp_path / "out")
    rows = datasets.load_from_disk(str(tmp_path / "out"))
    assert rows[0] == {
        "input_ids": [10, 11, 50, 2, 10, 2, 10, 11, 2, *[0] * 7],
        "attention_mask": [1, 1, 1, 1, 1, 1, 2, 2, 2, *[0] * 7],
        "position_ids": [0, 1, 2, 3, 4, 5, 0, 1, 2, *[0] * 7],
        "labels": [NO, NO, 50, 2, NO, 2, NO, NO, 2, *[NO] * 7],
    }
    assert rows[1] == {
        "input_ids": [10, 50, 2, *[0] * 13],
        "attention_mask": [1, 1, 1, *[0] * 13],
        "position_ids": [0, 1, 2, *[0] * 13],
        "labels": [NO, 50, 2, *[NO] * 13],
    }
    assert {feature.feature.dtype for feature in rows.features.values()} == {"int32"}


def test_llama_factory_pads_to_the_longest_row_and_no_further(small: Path, tmp_path: Path) -> None:
    builder = Builder(small)
    builder.shards = [[row((source(0, 2), "1:22"))], [row((source(0, 0), "17:22 1:2"))]]
    builder.options["max_length"] = 100
    export(builder.write().directory, "llama-factory", tmp_path / "out")
    assert [len(item["labels"]) for item in datasets.load_from_disk(str(tmp_path / "out"))] == [8, 8]


def test_axolotl_gets_one_document_per_row(small: Path, tmp_path: Path) -> None:
    export(small, "axolotl", tmp_path / "out")
    rows = datasets.load_from_disk(str(tmp_path / "out"))
    assert rows.to_list() == [
        {"input_ids": [10, 11, 50, 2, 10, 2], "attention_mask": [1] * 6, "labels": [NO, NO, 50, 2, NO, 2]},
        {"input_ids": [10, 11, 2], "attention_mask": [1] * 3, "labels": [NO, NO, 2]},
        {"input_ids": [10, 50, 2], "attention_mask": [1] * 3, "labels": [NO, 50, 2]},
    ]


def test_torchtune_gets_padded_packs_whose_lengths_count_padding(small: Path, tmp_path: Path) -> None:
    export(small, "torchtune", tmp_path / "out")
    rows = datasets.load_from_disk(str(tmp_path / "out"))
    assert rows.to_list() == [
        {
            "tokens": [10, 11, 50, 2, 10, 2, 10, 11, 2, 0],
            "labels": [NO, NO, 50, 2, NO, 2, NO, NO, 2, NO],
            "input_pos": [0, 1, 2, 3, 4, 5, 0, 1, 2, 0],
            "seq_lens": [6, 3, 1],
        },
        {
            "tokens": [10, 50, 2, *[0] * 7],
            "labels": [NO, 50, 2, *[NO] * 7],
            "input_pos": [0, 1, 2, 0, 1, 2, 3, 4, 5, 6],
            "seq_lens": [3, 7],
        },
    ]


def test_the_torchtune_builder_gives_tensors(small: Path, tmp_path: Path) -> None:
    export(small, "torchtune", tmp_path / "out")
    item = packed_dataset(None, directory=str(tmp_path / "out"), packed=True)[1]
    assert {name: (values.dtype, len(values)) for name, values in item.items()} == {
        "tokens": (torch.int64, 10),
        "labels": (torch.int64, 10),
        "input_pos": (torch.int64, 10),
        "seq_lens": (torch.int64, 2),
    }
    with pytest.raises(UsageError, match="packed must be True") as refusal:
        packed_dataset(None, directory=str(tmp_path / "out"), packed=False)
    assert refusal.value.code == "bad-option"


def test_the_torchtune_builder_refuses_a_version_that_wants_shifted_labels(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(small, "torchtune", tmp_path / "out")
    for version in ("0.6.1", "0.7.0.dev20250801+cpu"):
        package = tmp_path / version / f"torchtune-{version}.dist-info"
        package.mkdir(parents=True)
        (package / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torchtune\nVersion: {version}\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path / "0.6.1")
        assert len(packed_dataset(None, directory=str(tmp_path / "out"))) == 2
    monkeypatch.syspath_prepend(tmp_path / "0.7.0.dev20250801+cpu")
    with pytest.raises(DatasetError, match=r"torchtune 0\.7\.0\.dev20250801\+cpu wants shifted labels") as caught:
        packed_dataset(None, directory=str(tmp_path / "out"))
    assert caught.value.code == "export-impossible"


def test_mds_bytes(small: Path, tmp_path: Path) -> None:
    export(small, "mds", tmp_path / "out")
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    config = {
        key: index["shards"][0][key] for key in index["shards"][0] if key not in ("raw_data", "samples", "zip_data")
    }
    assert index["version"] == 2
    assert index["shards"][0]["samples"] == 2
    assert config["column_names"] == [
        "input_ids", "loss_mask", "segment_type_ids", "seq_lengths", "source_ids", "turn_ids"
    ]  # fmt: skip
    assert config["column_encodings"][:2] == ["ndarray:int32", "ndarray:uint8"]
    header = json.dumps(config, sort_keys=True).encode()
    raw = (tmp_path / "out" / "shard.00000.mds").read_bytes()
    assert index["shards"][0]["raw_data"] == {"basename": "shard.00000.mds", "bytes": len(raw), "hashes": {}}
    start = 4 + 12 + len(header)
    # Row 1: three tokens, one document. A column is: axes and width of the length, the length, the elements.
    second = b"".join(
        [
            struct.pack("<6I", 14, 5, 5, 6, 10, 14),
            struct.pack("<BB3i", 4, 3, 10, 50, 2),
            bytes([4, 3, 0, 1, 1]),
            bytes([4, 3, 1, 2, 2]),
            struct.pack("<BBi", 4, 1, 3),
            struct.pack("<BBq", 4, 1, 2),
            struct.pack("<BB3i", 4, 3, 0, 0, 0),
        ]
    )
    assert raw[:16] == struct.pack("<4I", 2, start, len(raw) - len(second), len(raw))
    assert raw[16:start] == header
    assert raw[-len(second) :] == second


def test_mds_lengths_take_the_smallest_integer() -> None:
    heads = [mds._array(np.zeros(length, np.uint8))[:5] for length in (255, 256, 65535, 65536)]
    assert heads == [b"\x04\xff\0\0\0", b"\x05\0\x01\0\0", b"\x05\xff\xff\0\0", b"\x06\0\0\x01\0"]


def test_mds_begins_a_new_shard_at_its_limit(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mds, "SIZE_LIMIT", 400)
    export(small, "mds", tmp_path / "out")
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert [shard["samples"] for shard in index["shards"]] == [1, 1]
    assert [ids for ids, _ in read_mds(tmp_path / "out")] == [[10, 11, 50, 2, 10, 2], [10, 11, 2], [10, 50, 2]]


# Every target gives back the same documents and targets


def read_parquet(out: Path) -> list[Document]:
    found = []
    for path in sorted(out.glob("*.parquet")):
        for item in pq.read_table(path).to_pylist():
            ids, mask = item["input_ids"], [0, *item["loss_mask"][:-1]]
            for start, end in zip(item["seq_start_id"], [*item["seq_start_id"][1:], len(ids)], strict=True):
                found.append(
                    (ids[start:end], [i if m else NO for i, m in zip(ids[start:end], mask[start:end], strict=True)])
                )
    return found


def read_olmo(out: Path) -> list[Document]:
    found = []
    for path in sorted(out.glob("token_ids_part_*.npy")):
        ids = np.fromfile(path, "<u4").tolist()
        mask = np.fromfile(path.with_name(path.name.replace("token_ids", "labels_mask")), np.bool_).tolist()
        for line in gzip.decompress(path.with_suffix(".csv.gz").read_bytes()).decode().splitlines():
            start, end = map(int, line.split(","))
            found.append(
                (ids[start:end], [i if m else NO for i, m in zip(ids[start:end], mask[start:end], strict=True)])
            )
    return found


def read_preset(out: Path) -> list[Document]:
    lines = [json.loads(line) for line in (out / "documents.jsonl").read_text().splitlines()]
    samples, boundaries = np.load(out / "samples.npy").tolist(), np.load(out / "boundaries.npy").tolist()
    found = []
    order = np.load(out / "order.npy").tolist()
    assert sorted(order) == list(range(len(boundaries) - 1))
    for position in range(len(order)):
        slices = samples[boundaries[position] : boundaries[position + 1]]
        assert sum(end - start for *_, start, end in slices) == len(lines[-1]["input_ids"])  # exactly full
        found += [
            (lines[line]["input_ids"][start:end], lines[line]["labels"][start:end])
            for _, line, _, _, start, end in slices
            if line != len(lines) - 1
        ]
    return found


def read_numbered(out: Path) -> list[Document]:
    found = []
    for item in datasets.load_from_disk(str(out)):
        for number in range(1, max(item["attention_mask"]) + 1):
            where = [k for k, value in enumerate(item["attention_mask"]) if value == number]
            assert [item["position_ids"][k] for k in where] == list(range(len(where)))
            found.append(([item["input_ids"][k] for k in where], [item["labels"][k] for k in where]))
    return found


def read_axolotl(out: Path) -> list[Document]:
    return [(item["input_ids"], item["labels"]) for item in datasets.load_from_disk(str(out))]


def read_torchtune(out: Path) -> list[Document]:
    found = []
    for item in datasets.load_from_disk(str(out)):
        start = 0
        for length in item["seq_lens"]:
            part = slice(start, start + length)
            assert item["input_pos"][part] == list(range(length))
            if any(label != NO for label in item["labels"][part]):
                found.append((item["tokens"][part], item["labels"][part]))
            start += length
        assert start == len(item["tokens"])
    return found


def read_mds(out: Path) -> list[Document]:
    found = []
    for shard in json.loads((out / "index.json").read_text())["shards"]:
        raw = (out / shard["raw_data"]["basename"]).read_bytes()
        count = struct.unpack("<I", raw[:4])[0]
        offsets = struct.unpack(f"<{count + 1}I", raw[4 : 8 + 4 * count])
        for start, end in pairwise(offsets):
            sample, columns = raw[start:end], {}
            position = 4 * len(shard["column_names"])
            sizes = struct.unpack(f"<{len(shard['column_names'])}I", sample[:position])
            for name, encoding, size in zip(shard["column_names"], shard["column_encodings"], sizes, strict=True):
                data = sample[position : position + size]
                elements = np.frombuffer(data[1 + (1 << (data[0] & 3)) :], encoding.removeprefix("ndarray:"))
                columns[name] = elements.tolist()
                position += size
            found += expected_documents([columns])
    return found


READERS: dict[str, Callable[[Path], list[Document]]] = {
    "megatron-bridge": read_parquet,
    "olmo-core": read_olmo,
    "xtuner": read_preset,
    "llama-factory": read_numbered,
    "axolotl": read_axolotl,
    "torchtune": read_torchtune,
    "mds": read_mds,
}


def expected_documents(rows: list[Row]) -> list[Document]:
    found = []
    for columns in rows:
        start = 0
        for length in columns["seq_lengths"]:
            part = slice(start, start + length)
            ids, mask = columns["input_ids"][part], columns["loss_mask"][part]
            found.append((ids, [i if m else NO for i, m in zip(ids, mask, strict=True)]))
            start += length
    return found


def test_every_target_is_read_back() -> None:
    assert list(READERS) == list(TARGETS) == list(cli.TARGETS)


@pytest.mark.parametrize("target", READERS)
def test_every_target_keeps_documents_and_targets(odd: Builder, tmp_path: Path, target: str) -> None:
    export(odd.directory, target, tmp_path / "out")
    assert READERS[target](tmp_path / "out") == expected_documents([r for shard in odd.shards for r in shard])


def turns() -> st.SearchStrategy[str]:
    turn = st.builds("{}:{}".format, st.text("1357", min_size=1, max_size=4), st.sampled_from(["2", "22", "2222"]))
    return st.lists(turn, min_size=1, max_size=3).map(" ".join)


def packs() -> st.SearchStrategy[Row]:
    return st.lists(turns(), min_size=1, max_size=4).map(lambda texts: row(*((source(0, 0), text) for text in texts)))


@given(shards=st.lists(st.lists(packs(), min_size=1, max_size=4), min_size=1, max_size=2), spare=st.integers(0, 3))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_dataset_comes_back(tmp_path_factory: pytest.TempPathFactory, shards: list[list[Row]], spare: int) -> None:
    folder = tmp_path_factory.mktemp("any")
    builder = Builder(folder / "dataset")
    builder.shards = shards
    builder.options["max_length"] = max(len(r["input_ids"]) for shard in shards for r in shard) + spare
    directory = builder.write().directory
    for target, reader in READERS.items():
        export(directory, target, folder / target)
        assert reader(folder / target) == expected_documents([r for shard in shards for r in shard]), target


# Reports


def test_the_report_counts_what_was_written(odd: Builder, tmp_path: Path) -> None:
    report = export(odd.directory, "olmo-core", tmp_path / "out")
    assert (report.rows, report.documents, report.tokens, report.loss_tokens) == (5, 8, 55, 25)
    assert report.target == "olmo-core"
    assert report.packing == "theirs"
    assert report.files == (
        MARK,
        "labels_mask_part_00000.npy",
        "labels_mask_part_00001.npy",
        "token_ids_part_00000.csv.gz",
        "token_ids_part_00000.npy",
        "token_ids_part_00001.csv.gz",
        "token_ids_part_00001.npy",
    )
    assert set(report.files) == {path.name for path in (tmp_path / "out").iterdir()}
    assert report.lost[0].startswith("trains plain causal")
    assert "use_array_if_local=False" in report.how_to_load
    assert f"{tmp_path / 'out'}/token_ids_part_*.npy" in report.how_to_load


def test_every_target_but_mds_says_that_ism_is_lost(odd: Builder, tmp_path: Path) -> None:
    for target in TARGETS:
        report = export(odd.directory, target, tmp_path / target)
        assert any("plain causal" in sentence for sentence in report.lost) == (target != "mds")
        assert str(tmp_path / target) in report.how_to_load


def test_megatron_bridge_counts_targets_that_follow_a_stop_token(odd: Builder, small: Path, tmp_path: Path) -> None:
    # Only `117:2- :22` has an answer right after an answer; its collator zeroes the loss where the input is eos.
    lost = export(odd.directory, "megatron-bridge", tmp_path / "odd-out").lost
    assert lost[-1] == "targets that follow a stop token carry no loss if it is the tokenizer's eos: 1"
    assert not any("stop token" in sentence for sentence in export(small, "megatron-bridge", tmp_path / "out").lost)


@pytest.mark.parametrize(("target", "padded"), [("torchtune", 20), ("xtuner", 20), ("llama-factory", 32)])
def test_padding_is_counted(small: Path, tmp_path: Path, target: str, padded: int) -> None:
    note = f"rows are padded from 12 to {padded} tokens; the trainer computes all of them"
    assert note in export(small, target, tmp_path / "out").lost


def test_full_rows_are_not_said_to_be_padded(small: Path, tmp_path: Path) -> None:
    builder = Builder(small)
    builder.shards = [[row((source(0, 0), "17:22 1:2 1:2"))]]
    builder.options["max_length"] = 8
    builder.write()
    for target in ("torchtune", "xtuner", "llama-factory"):
        assert not any("padded from" in sentence for sentence in export(small, target, tmp_path / target).lost)


def test_mds_takes_its_collator_from_a_model_with_the_hook(small: Path, tmp_path: Path) -> None:
    lines = export(small, "mds", tmp_path / "out").how_to_load
    assert lines.splitlines()[0].startswith("collate = install_ism(model).collator()")


@pytest.mark.parametrize("target", TARGETS)
def test_the_same_dataset_gives_the_same_bytes(small: Path, tmp_path: Path, target: str) -> None:
    export(small, target, tmp_path / "a")
    export(small, target, tmp_path / "b")
    names = {path.name for path in (tmp_path / "a").iterdir()} - {"paths.json"}  # XTuner wants the place itself
    assert names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


# The folder


def test_an_export_appears_whole_and_readable_by_others(small: Path, tmp_path: Path) -> None:
    export(small, "axolotl", tmp_path / "new" / "out")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]
    assert stat.S_IMODE((tmp_path / "new" / "out").stat().st_mode) & 0o500 == 0o500
    content = json.loads((tmp_path / "new" / "out" / MARK).read_text())
    assert content["dataset"] == json.loads((small / "manifest.json").read_text())["digest"]
    assert content["loss_tokens"] == 6


def refusal(error: type[IsmpackError], run: Callable[[], object]) -> str:
    with pytest.raises(error) as caught:
        run()
    return caught.value.code


def test_an_earlier_export_is_replaced_only_on_request(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(small, "axolotl", out)
    assert refusal(OutputError, lambda: export(small, "mds", out)) == "output-exists"
    assert (out / "state.json").is_file()
    export(small, "mds", out, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["index.json", MARK, "shard.00000.mds"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "small"]


def test_files_of_the_user_inside_an_export_are_never_removed(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(small, "axolotl", out)
    (out / "prepared").mkdir()  # Axolotl's own
    export(small, "axolotl", out, overwrite=True)
    (out / "notes.txt").write_text("keep")
    with pytest.raises(OutputError, match=r"holds 'notes\.txt', which no export wrote") as caught:
        export(small, "axolotl", out, overwrite=True)
    assert caught.value.code == "output-exists"
    assert (out / "notes.txt").read_text() == "keep"
    (out / "notes.txt").unlink()
    export(small, "mds", out, overwrite=True)
    (out / "prepared").mkdir()  # nobody's, in an export for another trainer
    assert refusal(OutputError, lambda: export(small, "mds", out, overwrite=True)) == "output-exists"


@pytest.mark.parametrize("mark", ["", "[]", '{"files": 1}'])
def test_a_mark_that_says_nothing_marks_no_export(small: Path, tmp_path: Path, mark: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MARK).write_text(mark)
    assert refusal(OutputError, lambda: export(small, "mds", tmp_path / "out", overwrite=True)) == "output-exists"


def test_two_runs_at_once(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    codes = []

    def write(job: Job) -> tuple[str, ...]:
        codes.append(refusal(OutputError, lambda: export(small, "mds", out)))
        return mds.write(job)

    monkeypatch.setitem(TARGETS, "mds", replace(mds.TARGET, write=write))
    export(small, "mds", out)
    assert codes == ["output-locked"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "small"]


@pytest.mark.parametrize("before", [None, "mds"])
def test_what_took_the_place_meanwhile_stays(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    out = tmp_path / "out"
    if before:
        export(small, before, out)
    export(small, "axolotl", tmp_path / "other")

    def write(job: Job) -> tuple[str, ...]:
        if before:
            out.rename(tmp_path / "before")
        (tmp_path / "other").rename(out)
        return mds.write(job)

    monkeypatch.setitem(TARGETS, "mds", replace(mds.TARGET, write=write))
    assert refusal(OutputError, lambda: export(small, "mds", out, overwrite=before is not None)) == "output-exists"
    assert (out / "state.json").is_file()
    assert not (tmp_path / "out.ismpack-export").exists()


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


KILLED_AFTER = """
import os, signal, sys
from pathlib import Path
from ismpack.export import export

name, rename = sys.argv[3], Path.rename
def rename_and_die(path, target):
    rename(path, target)
    if Path(target).name == name:
        os.kill(os.getpid(), signal.SIGKILL)
Path.rename = rename_and_die
export(sys.argv[1], "mds", sys.argv[2], overwrite=True)
"""


@pytest.mark.parametrize(("name", "standing"), [("old", "state.json"), ("out", "index.json")])
def test_the_next_run_puts_right_what_a_killed_one_left(small: Path, tmp_path: Path, name: str, standing: str) -> None:
    out = tmp_path / "out"
    export(small, "axolotl", out)
    assert python(KILLED_AFTER, small, out, name).returncode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *["out"] * (name == "out"),
        "out.ismpack-export",
        "small",
    ]
    assert refusal(OutputError, lambda: export(small, "mds", out)) == "output-exists"
    assert (out / MARK).is_file()
    assert (out / standing).is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "small"]


def test_a_half_built_export_is_cleared_away(small: Path, tmp_path: Path) -> None:
    half = tmp_path / "out.ismpack-export" / "new"
    half.mkdir(parents=True)
    (half / "stale").write_text("")
    export(small, "mds", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["index.json", MARK, "shard.00000.mds"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "small"]


def test_the_folder_where_a_run_works_is_no_link_and_no_dataset(small: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    (tmp_path / "out.ismpack-export").symlink_to(tmp_path / "mine")
    assert refusal(OutputError, lambda: export(small, "mds", tmp_path / "out")) == "output-unwritable"
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"
    dataset = small.rename(tmp_path / "data.ismpack-export")
    assert refusal(UsageError, lambda: export(dataset, "mds", tmp_path / "data")) == "output-inside-input"
    assert (dataset / "manifest.json").is_file()


FULL_DISK = """
import resource, sys
from ismpack.errors import OutputError
from ismpack.export import TARGETS, export

resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
for target in TARGETS:
    try:
        export(sys.argv[1], target, sys.argv[2])
    except OutputError as error:
        print(target, error.code, error.message)
"""


def test_a_disk_that_fills_up_is_an_error_that_names_the_place(small: Path, tmp_path: Path) -> None:
    run = python(FULL_DISK, small, tmp_path / "out")
    found = [line.split(" (")[0] for line in run.stdout.splitlines()]
    assert found == [f"{name} output-unwritable cannot write {tmp_path / 'out'}: File too large" for name in TARGETS]
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_the_current_directory_is_a_place(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    export(small, "mds", ".")
    assert (tmp_path / "here" / "index.json").is_file()


def test_a_link_is_called_a_link(small: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "empty")
    with pytest.raises(OutputError, match="is a symbolic link") as caught:
        export(small, "mds", tmp_path / "out")
    assert caught.value.code == "output-exists"


def test_nothing_else_is_ever_replaced(small: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    (tmp_path / "file").write_text("keep")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for name in ("mine", "file", "link"):
        run = partial(export, small, "mds", tmp_path / name, overwrite=True)
        assert refusal(OutputError, run) == "output-exists"
    assert (tmp_path / "mine" / "notes.txt").read_text() == (tmp_path / "file").read_text() == "keep"


def test_an_empty_folder_is_taken(small: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(small, "mds", tmp_path / "out")
    assert (tmp_path / "out" / "index.json").is_file()


def test_dataset_and_export_never_lie_inside_each_other(small: Path, tmp_path: Path) -> None:
    for place in (small, small / "sub", tmp_path):
        assert refusal(UsageError, partial(export, small, "mds", place)) == "output-inside-input"


def test_a_place_that_cannot_be_written(small: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert refusal(OutputError, lambda: export(small, "mds", tmp_path / "file" / "out")) == "output-unwritable"


@pytest.mark.parametrize("target", TARGETS)
def test_what_fails_half_way_leaves_nothing_behind(small: Path, tmp_path: Path, target: str) -> None:
    builder = Builder(small)
    builder.shards = [[row((source(0, 0), "1:2"))], [row((source(0, 1), "1:2"))]]
    builder.options["max_length"] = 10
    builder.shards[1][0]["loss_mask"][0] = 1
    builder.write()
    assert refusal(DatasetError, lambda: export(small, target, tmp_path / "out")) == "export-impossible"
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


# Refusals


def test_an_unknown_target_is_refused_with_the_list(small: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no export target 'nemo'") as caught:
        export(small, "nemo", tmp_path / "out")
    assert caught.value.code == "bad-option"
    assert "megatron-bridge" in str(caught.value.hint)


def test_a_row_longer_than_the_dataset_allows_is_refused(small: Path, tmp_path: Path) -> None:
    builder = Builder(small)
    builder.shards = [[row((source(0, 0), "1111:2222222"))]]
    builder.options["max_length"] = 10
    builder.write()
    with pytest.raises(DatasetError, match="row of 11 tokens; the dataset's max_length is 10") as caught:
        export(small, "llama-factory", tmp_path / "out")
    assert caught.value.code == "export-impossible"


def test_a_document_without_tokens_is_refused(small: Path, tmp_path: Path) -> None:
    builder = Builder(small)
    columns = row((source(0, 0), "1:2"))
    columns["seq_lengths"], columns["source_ids"] = [2, 0], [0, 0]
    builder.shards = [[columns]]
    builder.write()
    for target in TARGETS:
        with pytest.raises(DatasetError, match="a document without tokens") as caught:
            export(small, target, tmp_path / "out")
        assert caught.value.code == "export-impossible"


def test_a_dataset_without_rows_is_refused(small: Path, tmp_path: Path) -> None:
    builder = Builder(small)
    builder.shards = [[]]
    builder.write()
    assert refusal(DatasetError, lambda: export(small, "mds", tmp_path / "out")) == "export-impossible"


def test_a_manifest_without_a_length_is_refused(small: Path, tmp_path: Path) -> None:
    builder = Builder(small).write()
    builder.edit_manifest(lambda content: content["options"].pop("max_length"))
    assert refusal(DatasetError, lambda: export(small, "mds", tmp_path / "out")) == "manifest-invalid"


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    assert refusal(DatasetError, lambda: export(tmp_path / "none", "mds", tmp_path / "out")) == "not-a-dataset"


# The command


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(cli.command, list(arguments), obj=Console(), catch_exceptions=False)


def test_the_command_prints_what_was_written_and_how_to_load_it(small: Path, tmp_path: Path) -> None:
    result = invoke(str(small), "--to", "llama-factory", "-o", str(tmp_path / "out"))
    assert result.exit_code == 0
    assert "2 rows, 3 documents, 12 tokens, 6 of them targets" in result.stdout
    assert "trains plain causal" in result.stdout
    assert f'tokenized_path: "{tmp_path / "out"}"' in result.stdout


def test_the_command_prints_one_json_object(small: Path, tmp_path: Path) -> None:
    arguments = (str(small), "--to", "mds", "-o", str(tmp_path / "out"), "--json")
    content = json.loads(invoke(*arguments).stdout)
    assert content["schema"] == "ismpack.export/1"
    assert (content["target"], content["rows"], content["lost"]) == ("mds", 2, [])
    assert json.loads(invoke(*arguments, "--overwrite").stdout) == content


def test_the_command_knows_only_its_targets(small: Path, tmp_path: Path) -> None:
    result = invoke(str(small), "--to", "nemo", "-o", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "'megatron-bridge', 'olmo-core', 'xtuner'" in result.output
