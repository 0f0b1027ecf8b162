"""A finished dataset, opened for reading: rows at random, without copying, and only the shards that are asked for.

Rows are numpy views into memory-mapped files. Only a directory with a manifest is a dataset.
"""

from __future__ import annotations

import operator
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ismpack.data import Pack
from ismpack.errors import DatasetError, Location
from ismpack.manifest import InputEntry, Manifest, ShardEntry, read_manifest
from ismpack.schema import COLUMNS, DERIVED_COLUMNS, SOURCE_POSITION_BITS, TOKEN_COLUMNS

ListColumn: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[np.int32]]
"""Elements of all rows of one column (the dtype is `schema.COLUMNS`' for its name) and int32[R + 1] row offsets."""

# Names are joined to the directory and opened, so nothing that could leave it or confuse the system is let through.
_FILE_NAME = re.compile(r"(?!\.\.?(/|$))[\w.-]+(/(?!\.\.?(/|$))[\w.-]+)*")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RowBatch:
    """R consecutive rows of one shard, in columns: the elements of all rows end to end. Arrays are read-only.

    Attributes:
        shard: File name of the shard.
        first_row: Where the batch starts, counted over the dataset.
        input_ids: int32[T].
        segment_type_ids: uint8[T].
        turn_ids: int32[T], 0-based over each row.
        loss_mask: uint8[T].
        seq_lengths: int32[D].
        source_ids: int64[D].
        derived: Derived column -> its T elements, for those that the dataset stores.
        token_offsets: int32[R + 1], the first token of each row, and the end.
        document_offsets: int32[R + 1], the first document of each row, and the end.
    """

    shard: str
    first_row: int
    input_ids: npt.NDArray[np.int32]
    segment_type_ids: npt.NDArray[np.uint8]
    turn_ids: npt.NDArray[np.int32]
    loss_mask: npt.NDArray[np.uint8]
    seq_lengths: npt.NDArray[np.int32]
    source_ids: npt.NDArray[np.int64]
    derived: Mapping[str, npt.NDArray[np.integer]]
    token_offsets: npt.NDArray[np.int32]
    document_offsets: npt.NDArray[np.int32]

    def __len__(self) -> int:
        """Rows of the batch."""
        return len(self.token_offsets) - 1

    def pack(self, row: int) -> Pack:
        """Row `row` of the batch (0-based), as views."""
        tokens = slice(self.token_offsets[row], self.token_offsets[row + 1])
        documents = slice(self.document_offsets[row], self.document_offsets[row + 1])
        return Pack(
            input_ids=self.input_ids[tokens],
            segment_type_ids=self.segment_type_ids[tokens],
            turn_ids=self.turn_ids[tokens],
            loss_mask=self.loss_mask[tokens],
            seq_lengths=self.seq_lengths[documents],
            source_ids=self.source_ids[documents],
        )


class PackedDataset:
    """The rows of a dataset directory; opened with `load`.

    Shards are opened when a row of theirs is first asked for and stay mapped. Copies in other processes open their own,
    and only of this very dataset: one that replaces it in the meantime is refused.

    Attributes:
        directory: As given to `load`.
        manifest: The content of manifest.json.
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        """For `load`, which checks the directory first."""
        self.directory = directory
        self.manifest = manifest
        self._starts = list(accumulate((shard.rows for shard in manifest.shards), initial=0))
        self._opened: dict[int, list[RowBatch]] = {}

    def __len__(self) -> int:
        """Rows of the dataset."""
        return self._starts[-1]

    def __getitem__(self, row: SupportsIndex) -> Pack:
        """Row `row`, counted over the dataset (negative from the end).

        Raises:
            IndexError: There is no such row.
            DatasetError: `shard-damaged`; `dataset-replaced` or `not-a-dataset`, if another dataset or none stands in
                the directory by now.
        """
        index = operator.index(row)
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of a dataset that holds {len(self)}")
        index %= len(self)
        batches = self._shard(bisect_right(self._starts, index) - 1)
        batch = batches[bisect_right(batches, index, key=_first_row) - 1]
        return batch.pack(index - batch.first_row)

    def __iter__(self) -> Iterator[Pack]:
        """Every row in order."""
        for batch in self.batches():
            yield from map(batch.pack, range(len(batch)))

    def batches(self) -> Iterator[RowBatch]:
        """Every row in order, in the batches in which the shards store them."""
        for index in range(len(self.manifest.shards)):
            yield from self._shard(index)

    def source(self, source_id: int) -> str:
        """Where a document came from, as `chat.jsonl:17` (1-based line) or `chat.parquet#16` (0-based index).

        Raises:
            ValueError: The dataset has no such input.
        """
        return source_name(source_id, self.manifest.inputs)

    def __reduce__(self) -> tuple[object, ...]:
        """Worker processes reopen the directory instead of receiving its rows."""
        return _reopened, (self.directory, self.manifest.digest)

    def _shard(self, index: int) -> list[RowBatch]:
        if index not in self._opened:
            entry = self.manifest.shards[index]
            try:
                batches = _open_shard(self.directory / entry.name, entry, self._starts[index])
            finally:
                # Afterwards: what was the same dataset then was the same before. And if it is not, that is the reason
                # for whatever the shard was refused for.
                _check_same(self.directory, read_manifest(self.directory), self.manifest.digest)
            self._opened[index] = batches
        return self._opened[index]


def load(directory: str | Path) -> PackedDataset:
    """Open a dataset.

    Only the manifest is read and the size of each shard compared with it; `ismpack.verify` checks the rest.

    Raises:
        DatasetError: `not-a-dataset`, `manifest-invalid`, `newer-format`, or `shard-damaged` for a shard that is
            missing or has another size.
    """
    root = Path(directory)
    manifest = read_manifest(root)
    sizes = {entry.name: entry.bytes for entry in manifest.files}
    for shard in manifest.shards:
        path = root / shard.name
        if not is_file_name(shard.name):
            raise _damaged(path, "has a name that no file of a dataset has")
        try:
            size = path.stat().st_size
        except OSError as error:
            raise _damaged(path, f"cannot be opened: {error.strerror}") from error
        expected = sizes.get(shard.name, size)
        if size != expected:
            raise _damaged(path, f"has {size:,} bytes; the manifest says {expected:,}")
    return PackedDataset(root, manifest)


def _reopened(directory: Path, digest: str) -> PackedDataset:
    dataset = load(directory)
    _check_same(directory, dataset.manifest, digest)
    return dataset


def _check_same(directory: Path, found: Manifest, digest: str) -> None:
    if found.digest != digest:
        raise DatasetError(
            "the dataset was replaced by another one while it was read",
            code="dataset-replaced",
            location=Location(path=str(directory)),
            hint="Start the training anew, or convert into another directory while this one is in use.",
        )


def source_name(source_id: int, inputs: list[InputEntry]) -> str:
    """A value of `source_ids` for people: `name:line` (1-based) or `name#index` (0-based).

    Raises:
        ValueError: The id points to an input that does not exist.
    """
    file, position = int(source_id) >> SOURCE_POSITION_BITS, int(source_id) & ((1 << SOURCE_POSITION_BITS) - 1)
    if not 0 <= file < len(inputs):
        raise ValueError(f"source id {source_id} points to input {file}, but the dataset has {len(inputs)} inputs")
    entry = inputs[file]
    return f"{entry.name}:{position + 1}" if entry.unit == "line" else f"{entry.name}#{position}"


def list_columns(batch: pa.RecordBatch) -> dict[str, ListColumn]:
    """The known columns of a batch, without copying their elements; offsets start at 0.

    Args:
        batch: A valid batch whose known columns are lists of integers.

    Raises:
        ValueError: A column holds nulls.
    """
    columns: dict[str, ListColumn] = {}
    for name in batch.schema.names:
        if name in COLUMNS or name in DERIVED_COLUMNS:
            column = batch.column(name)
            if column.null_count or column.values.null_count:
                raise ValueError(f"column {name} holds nulls")
            # Not to_numpy: it imports pandas where that is installed.
            offsets, values = np.from_dlpack(column.offsets), np.from_dlpack(column.values)
            columns[name] = (values[offsets[0] : offsets[-1]], offsets - offsets[0])
    return columns


def row_batch(columns: Mapping[str, ListColumn], shard: str, first_row: int) -> RowBatch:
    """Put columns together whose rows have equal lengths."""
    return RowBatch(
        shard=shard,
        first_row=first_row,
        **{name: columns[name][0] for name in COLUMNS},
        derived={name: columns[name][0] for name in DERIVED_COLUMNS if name in columns},
        token_offsets=columns["input_ids"][1],
        document_offsets=columns["seq_lengths"][1],
    )


def list_type(dtype: str) -> pa.DataType:
    """The Arrow type of a column whose elements have this numpy dtype."""
    return pa.list_(pa.field("item", pa.from_numpy_dtype(np.dtype(dtype)), nullable=False))


def is_file_name(name: str) -> bool:
    """Whether a manifest may name this file: relative, forward slashes, plain characters, inside the directory."""
    return _FILE_NAME.fullmatch(name) is not None


def _open_shard(path: Path, entry: ShardEntry, first_row: int) -> list[RowBatch]:
    try:
        # The mapping outlives the file object: the arrays hold it, and no file descriptor stays open.
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
            _check_schema(path, stream.schema)
            stored = list(stream)
        batches = []
        for batch in stored:
            batch.validate(full=True)
            if batch.num_rows:
                batches.append(_aligned_batch(path, list_columns(batch), first_row))
                first_row += batch.num_rows
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(path, f"is not a readable Arrow stream: {error}") from error
    rows = sum(map(len, batches))
    if rows != entry.rows:
        raise _damaged(path, f"holds {rows:,} rows; the manifest says {entry.rows:,}")
    return batches


def _check_schema(path: Path, schema: pa.Schema) -> None:
    for name, dtype in COLUMNS.items():
        index = schema.get_field_index(name)
        if index < 0 or schema.field(index).type != list_type(dtype):
            raise _damaged(path, f"has no column {name} of type list<{dtype}>")


def _aligned_batch(path: Path, columns: Mapping[str, ListColumn], first_row: int) -> RowBatch:
    per_token = [name for name in columns if name in TOKEN_COLUMNS or name in DERIVED_COLUMNS]
    for names in (per_token, ["seq_lengths", "source_ids"]):
        if not all(np.array_equal(columns[name][1], columns[names[0]][1]) for name in names):
            raise _damaged(path, f"has columns of unequal length in row {first_row:,} or soon after it")
    return row_batch(columns, path.name, first_row)


def _first_row(batch: RowBatch) -> int:
    return batch.first_row


def _damaged(path: Path, what: str) -> DatasetError:
    return DatasetError(
        f"{path.name} {what}",
        code="shard-damaged",
        location=Location(path=str(path)),
        hint="Run `ismpack verify` on the directory to see all that is wrong with it, or convert again.",
    )
