"""A small dataset directory, written by hand with pyarrow and plain loops: the other opinion about the format.

Nothing here comes from the project's writer or checks, so that a test of a reader or a check does not judge the code by
itself. Everything about the dataset may be edited before `write`, and every file of it afterwards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

Row = dict[str, list[int]]

STOP = 2
MAX_LENGTH = 16
ELEMENTS = {
    "input_ids": pa.int32(),
    "segment_type_ids": pa.uint8(),
    "turn_ids": pa.int32(),
    "loss_mask": pa.uint8(),
    "seq_lengths": pa.int32(),
    "source_ids": pa.int64(),
    "labels": pa.int32(),
    "position_ids": pa.int32(),
    "assistant_masks": pa.uint8(),
}
STORED = list(ELEMENTS)[:6]
DERIVED = list(ELEMENTS)[6:]


def list_field(name: str, element: pa.DataType, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, pa.list_(pa.field("item", element, nullable=False)), nullable=nullable)


def source(file: int, position: int) -> int:
    return file * 2**40 + position


def row(*documents: tuple[int, str]) -> Row:
    """A row from (source id, turns) pairs.

    Turns are separated by spaces and written as `query:answer`: segment types of the query, then the answer's 2s, with
    a final `-` when the answer carries no loss. Query tokens have ids from 10, answer tokens from 50; an answer ends
    with the stop id 2.
    """
    columns: Row = {name: [] for name in STORED}
    turn = 0
    for source_id, turns in documents:
        start = len(columns["input_ids"])
        for text in turns.split():
            query, answer = text.split(":")
            loss = 0 if answer.endswith("-") else 1
            length = len(answer.rstrip("-"))
            columns["input_ids"] += [10 + k for k in range(len(query))] + [50 + k for k in range(length - 1)] + [STOP]
            columns["segment_type_ids"] += [int(kind) for kind in query] + [2] * length
            columns["loss_mask"] += [0] * len(query) + [loss] * length
            columns["turn_ids"] += [turn] * (len(query) + length)
            turn += 1
        columns["seq_lengths"].append(len(columns["input_ids"]) - start)
        columns["source_ids"].append(source_id)
    return columns


def example_shards() -> list[list[Row]]:
    """Two shards, five rows, eight documents, 55 tokens."""
    return [
        [
            row((source(0, 4), "317:22 17:22"), (source(0, 0), "17:222")),
            row((source(0, 1), "117:2- :22 17:2"), (source(1, 0), "1:2"), (source(1, 2), "5:2")),
            row((source(0, 2), "1517:22")),
        ],
        [
            row((source(0, 3), "3117:222 57:2222")),
            row((source(1, 1), "17:22 17:2 1:2")),
        ],
    ]


def derived_columns(columns: Row) -> Row:
    labels = [i if loss else -100 for i, loss in zip(columns["input_ids"], columns["loss_mask"], strict=False)]
    positions = [position for length in columns["seq_lengths"] for position in range(length)]
    return {"labels": labels, "position_ids": positions, "assistant_masks": list(columns["loss_mask"])}


def seal(content: dict[str, Any]) -> None:
    """Write a manifest's own digest into it."""
    rest = {key: value for key, value in content.items() if key != "digest"}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    content["digest"] = hashlib.sha256(text.encode()).hexdigest()


class Builder:
    """A dataset to be written to `directory`; edit its attributes first."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.shards = example_shards()
        self.with_columns: list[str] = list(DERIVED)
        self.options: dict[str, Any] = {
            "max_length": MAX_LENGTH,
            "on_rewrite": "stitch",
            "allow_unterminated": False,
        }
        self.fields = {name: list_field(name, element) for name, element in ELEMENTS.items()}
        self.rows_per_batch = 2
        self.edit_batch: Callable[[pa.RecordBatch], pa.RecordBatch] = lambda batch: batch
        self.side_files = {
            "tokenizer/tokenizer.json": b"{}\n",
            "state.json": b"{}\n",
            "rejected.jsonl": b'{"code": "invalid-json"}\n{"code": "no-answer"}\n{"code": "no-answer"}\n',
        }

    @property
    def names(self) -> list[str]:
        return [f"shard-{index:05d}.arrow" for index in range(len(self.shards))]

    def write(self) -> Builder:
        self.directory.mkdir(parents=True, exist_ok=True)
        for name, rows in zip(self.names, self.shards, strict=True):
            self._write_shard(self.directory / name, rows)
        for name, content in self.side_files.items():
            (self.directory / name).parent.mkdir(exist_ok=True)
            (self.directory / name).write_bytes(content)
        (self.directory / "run.json").write_bytes(b"{}\n")
        self._save(self._manifest())
        return self

    def edit_file(self, name: str, edit: Callable[[bytes], bytes], *, reseal: bool = False) -> None:
        """Change a file; with `reseal` the manifest is made to agree."""
        path = self.directory / name
        path.write_bytes(edit(path.read_bytes()))
        if reseal:
            self.edit_manifest(lambda content: content.update(files=self._file_entries()))

    def edit_manifest(self, edit: Callable[[dict[str, Any]], object], *, reseal: bool = True) -> None:
        """Change the manifest, with a new digest of its own unless told otherwise."""
        content = json.loads((self.directory / "manifest.json").read_bytes())
        edit(content)
        self._save(content, reseal=reseal)

    def _save(self, content: dict[str, Any], *, reseal: bool = True) -> None:
        if reseal:
            seal(content)
        text = json.dumps(content, sort_keys=True, ensure_ascii=False, indent=1) + "\n"
        (self.directory / "manifest.json").write_bytes(text.encode())

    def _write_shard(self, path: Path, rows: list[Row]) -> None:
        names = [name for name in self.fields if name in STORED or name in self.with_columns]
        schema = pa.schema([self.fields[name] for name in names])
        full = [derived_columns(columns) | columns for columns in rows]
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
            for start in range(0, len(full), self.rows_per_batch):
                part = full[start : start + self.rows_per_batch]
                arrays = [pa.array([columns[name] for columns in part], self.fields[name].type) for name in names]
                stream.write_batch(self.edit_batch(pa.record_batch(arrays, schema=schema)))

    def _file_entries(self) -> list[dict[str, Any]]:
        entries = []
        for name in sorted([*self.names, *self.side_files]):
            raw = (self.directory / name).read_bytes()
            digests = {"xxh3_128": xxhash.xxh3_128(raw).hexdigest(), "sha256": hashlib.sha256(raw).hexdigest()}
            entries.append({"name": name, "bytes": len(raw), **digests})
        return entries

    def _manifest(self) -> dict[str, Any]:
        dtypes = {name: str(ELEMENTS[name]) for name in [*STORED, *self.with_columns]}
        return {
            "format_version": 1,
            "created_by": "dataset_builder",
            "fingerprint": "0" * 64,
            "options": self.options,
            "tokenizer_digest": "1" * 64,
            "template_digest": "2" * 64,
            "inputs": [
                {"name": "chat.jsonl", "bytes": 1, "sha256": "3" * 64, "unit": "line"},
                {"name": "more/chat.json", "bytes": 1, "sha256": "4" * 64, "unit": "index"},
            ],
            "stop_ids": [STOP],
            "control_ids": [1, 2, 3],
            "largest_id": 99,
            "segment_types": {
                "0": "padding", "1": "user", "2": "answer", "3": "system", "5": "tool_result", "7": "generation_prompt",
            },
            "columns": dtypes,
            "files": self._file_entries(),
            "shards": [shard_entry(name, rows) for name, rows in zip(self.names, self.shards, strict=True)],
            "totals": self._totals(),
            "formats": {"messages": 8},
            "rejected": {"invalid-json": 1, "no-answer": 2},
            "warnings": {},
        }  # fmt: skip

    def _totals(self) -> dict[str, Any]:
        rows = [columns for shard in self.shards for columns in shard]
        documents, tokens = count("seq_lengths", rows), count("input_ids", rows)
        sources = {source_id for columns in rows for source_id in columns["source_ids"]}
        conversations = len(sources) if self.options["on_rewrite"] == "split" else documents
        turns, triplet_tokens = count_turns(rows)
        return {
            "records": conversations + 3 + 1,
            "blank_lines": 0,
            "conversations": conversations,
            "rejected": 3,
            "dropped_by_option": 1,
            "samples": documents,
            "turns": turns,
            "tokens": tokens,
            "loss_tokens": sum(flag != 0 for columns in rows for flag in columns["loss_mask"]),
            "rows": len(rows),
            "fill": tokens / (len(rows) * self.options["max_length"]) if rows else 0.0,
            "triplet_tokens": triplet_tokens,
        }


def shard_entry(name: str, rows: list[Row]) -> dict[str, Any]:
    return {
        "name": name,
        "rows": len(rows),
        "documents": count("seq_lengths", rows),
        "tokens": count("input_ids", rows),
    }


def count(column: str, rows: list[Row]) -> int:
    return sum(len(columns[column]) for columns in rows)


def count_turns(rows: list[Row]) -> tuple[int, int]:
    """Turns, and over all turns the tokens of the document up to the turn's end."""
    turns = triplet_tokens = 0
    for columns in rows:
        start = 0
        for length in columns["seq_lengths"]:
            own = columns["turn_ids"][start : start + length]
            ends = [k + 1 for k in range(len(own)) if k + 1 == len(own) or own[k] != own[k + 1]]
            turns += len(ends)
            triplet_tokens += sum(ends)
            start += length
    return turns, triplet_tokens
