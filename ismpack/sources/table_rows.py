"""Rows of Arrow tables as JSON objects: which Arrow type becomes which JSON value.

A value that JSON can hold stays as it is. The others, none of which a conversation is made of:

    text, also categorical         text
    struct, list, map              object, list, object (a key that is no text becomes its JSON text)
    `arrow.json`                   the value that the JSON text is; `datasets` keeps values of mixed type in this way
    NaN and infinite numbers       null: a missing number, as pandas writes it
    date, time, timestamp          text as `2024-05-01 12:00:00.000`; in UTC where there is a time zone
    duration, decimal              text of the number; a duration counts its type's own unit
    binary                         base64 text
    any other extension type       its storage

`table_types.plain_batch` does the part that Arrow can do on whole batches, `TableRows` the rest.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.types as is_type

from ismpack.data import Json
from ismpack.errors import RecordError
from ismpack.sources.limits import MAX_RECORD_BYTES, shown
from ismpack.sources.strict import decode, refuse_deep
from ismpack.sources.table_types import JSON

Reading: TypeAlias = "Callable[[Any], Json]"
"""Makes JSON of what Arrow gives for a value other than null."""

_ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class TableRows:
    """Reads rows of one schema of plain types.

    Attributes:
        names: The columns.
        readings: How the values of each are read; None if they are JSON already.
        has_json: Some value is parsed, so that its depth is not known from the schema.
    """

    names: tuple[str, ...]
    readings: tuple[Reading | None, ...]
    has_json: bool

    @classmethod
    def of(cls, schema: pa.Schema) -> TableRows:
        """The reader for a schema of plain types."""
        has_json = any(_holds_json(type_) for type_ in schema.types)
        return cls(tuple(schema.names), tuple(map(_reading, schema.types)), has_json)

    def read(self, batch: pa.RecordBatch) -> Iterator[dict[str, Json] | RecordError]:
        """The rows of a batch in order; one that cannot be used comes as its error, without a location."""
        for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
            part = batch.slice(start, _ROWS_AT_ONCE)
            try:
                yield from self._rows(part)
            except RecordError:
                yield from (self._row(part.slice(i, 1)) for i in range(part.num_rows))

    def _rows(self, batch: pa.RecordBatch) -> list[dict[str, Json]]:
        if batch.nbytes > MAX_RECORD_BYTES:
            raise RecordError(
                f"the record is longer than {MAX_RECORD_BYTES:,} bytes",
                code="line-too-long",
                hint="Split it into several records.",
            )
        columns = [_values(*column) for column in zip(self.names, batch.columns, self.readings, strict=True)]
        rows: list[dict[str, Json]] = [dict(zip(self.names, row, strict=True)) for row in zip(*columns, strict=True)]
        if self.has_json:
            for row in rows:
                refuse_deep(row)
        return rows

    def _row(self, row: pa.RecordBatch) -> dict[str, Json] | RecordError:
        try:
            return self._rows(row)[0]
        except RecordError as error:
            return error


def _values(name: str, column: pa.Array, reading: Reading | None) -> list[Json]:
    try:
        values: list[Json] = column.to_pylist()
        return values if reading is None else [None if value is None else reading(value) for value in values]
    except UnicodeDecodeError as error:
        raise RecordError(
            f"column {shown(name)} holds text that is not UTF-8 ({error.reason})",
            code="invalid-utf8",
            json_path=f"$.{name}",
        ) from None
    except RecordError as error:
        raise RecordError(error.message, code=error.code, json_path=f"$.{name}", hint=error.hint) from None


def _reading(type_: pa.DataType) -> Reading | None:
    """How values of a plain type become JSON; None if they are JSON already."""
    if type_ == JSON:
        return _parsed
    if is_type.is_floating(type_):
        return _finite
    if is_type.is_map(type_):
        return _map_reading(_reading(type_.key_type), _reading(type_.item_type))
    if is_type.is_struct(type_):
        return _struct_reading({field.name: reading for field in type_.fields if (reading := _reading(field.type))})
    if is_type.is_list(type_) or is_type.is_large_list(type_):
        return _list_reading(_reading(type_.value_type))
    return _base64 if _holds_bytes(type_) else None


def _holds_bytes(type_: pa.DataType) -> bool:
    return bool(is_type.is_binary(type_) or is_type.is_large_binary(type_) or is_type.is_fixed_size_binary(type_))


def _holds_json(type_: pa.DataType) -> bool:
    return type_ == JSON or any(_holds_json(type_.field(i).type) for i in range(type_.num_fields))


def _finite(number: float) -> Json:
    return number if math.isfinite(number) else None


def _base64(data: bytes) -> Json:
    return base64.b64encode(data).decode()


def _parsed(text: str) -> Json:
    try:
        wrapped = decode(b'{"value":' + text.encode() + b"}")
    except RecordError as error:
        if error.code != "invalid-json":
            raise
        wrapped = {}
    if len(wrapped) != 1:  # none, or a text such as `1,"b":2`
        raise RecordError("a value of type JSON is not one JSON value", code="invalid-json")
    return wrapped["value"]


def _list_reading(inner: Reading | None) -> Reading | None:
    if inner is None:
        return None
    return lambda items: [None if item is None else inner(item) for item in items]


def _struct_reading(inner: dict[str, Reading]) -> Reading | None:
    if not inner:
        return None

    def read(struct: dict[str, Any]) -> Json:
        for name, reading in inner.items():
            if struct[name] is not None:
                struct[name] = reading(struct[name])
        return struct

    return read


def _map_reading(of_key: Reading | None, of_item: Reading | None) -> Reading:
    def read(pairs: list[tuple[Any, Any]]) -> Json:
        value: dict[str, Json] = {}
        for key, item in pairs:
            plain = key if of_key is None else of_key(key)
            name = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
            if name in value:
                raise RecordError(f"a map has the key {shown(name)} more than once", code="duplicate-key")
            value[name] = item if of_item is None or item is None else of_item(item)
        return value

    return read
