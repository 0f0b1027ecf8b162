"""Members of structs that are of type null: a key that no row has. They are dropped, as null is not having.

`datasets` writes them for every key that is always None. Arrow 26's `Array.view` gives them the length of an outer
array, which makes the whole column invalid, so they have to go before anything else is done with a column.
"""

from __future__ import annotations

import pyarrow as pa
from pyarrow import types as is_type


def has_null_member(type_: pa.DataType) -> bool:
    """Whether a struct in lists and structs has a member of type null."""
    if is_type.is_struct(type_):
        return any(is_type.is_null(field.type) or has_null_member(field.type) for field in type_.fields)
    return _is_list(type_) and has_null_member(type_.value_type)


def without_null_members(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows without such members.

    The columns that have them must be valid, checked in full.
    """
    columns = [_dropped(column) if has_null_member(column.type) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=schema_without_null_members(batch.schema))


def schema_without_null_members(schema: pa.Schema) -> pa.Schema:
    """The schema of such rows."""
    return pa.schema([field.with_type(_dropped_type(field.type)) for field in schema])


def _is_list(type_: pa.DataType) -> bool:
    return bool(is_type.is_list(type_) or is_type.is_large_list(type_))


def _dropped_type(type_: pa.DataType) -> pa.DataType:
    if not has_null_member(type_):
        return type_
    if is_type.is_struct(type_):
        return pa.struct(
            [field.with_type(_dropped_type(field.type)) for field in type_.fields if not is_type.is_null(field.type)]
        )
    return (pa.list_ if is_type.is_list(type_) else pa.large_list)(_dropped_type(type_.value_type))


def _dropped(column: pa.Array) -> pa.Array:
    type_ = column.type
    if not has_null_member(type_):
        return column
    if is_type.is_struct(type_):
        members = [_dropped(member) for member in column.flatten() if not is_type.is_null(member.type)]
        fields = list(_dropped_type(type_).fields)
        if not members:
            return pa.array([{} if valid else None for valid in column.is_valid().to_pylist()], pa.struct([]))
        return pa.StructArray.from_arrays(members, fields=fields, mask=column.is_null())
    import pyarrow.compute as pc  # noqa: PLC0415 - every start would pay for it

    lengths = pc.fill_null(pc.list_value_length(column), 0)
    offsets = pa.concat_arrays([pa.array([0], lengths.type), pc.cumulative_sum(lengths)])
    made = pa.ListArray if is_type.is_list(type_) else pa.LargeListArray
    return made.from_arrays(offsets, _dropped(column.flatten()), mask=column.is_null())
