"""Arrow types: the few that a spooled table has, and how any other is brought to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pyarrow as pa
import pyarrow.types as is_type

Change: TypeAlias = "Callable[[pa.DataType], pa.DataType]"

JSON = pa.json_()
_BYTES = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
    JSON: pa.binary(),
}
_WITHOUT_VIEWS = {
    pa.string_view(): pa.large_string(),
    pa.binary_view(): pa.large_binary(),
    pa.float16(): pa.float32(),
}


class UnsupportedTypeError(TypeError):
    """Values of an Arrow type that no JSON value stands for."""


def plain_type(type_: pa.DataType) -> pa.DataType:
    """The type that holds the same values for `TableRows`.

    Raises:
        UnsupportedTypeError: There is none.
    """
    if is_type.is_interval(type_) or is_type.is_union(type_):
        raise UnsupportedTypeError(f"values of type {type_}")
    if is_type.is_temporal(type_) or is_type.is_decimal(type_):
        return pa.string()
    if isinstance(type_, pa.BaseExtensionType) and type_ != JSON:
        return plain_type(type_.storage_type)
    if is_type.is_dictionary(type_) or is_type.is_run_end_encoded(type_):
        return plain_type(type_.value_type)
    if is_type.is_fixed_size_list(type_) or is_type.is_list_view(type_) or is_type.is_large_list_view(type_):
        return pa.large_list(plain_type(type_.value_type))
    return _WITHOUT_VIEWS.get(type_) or _with_inner(type_, plain_type)


def bare_type(type_: pa.DataType) -> pa.DataType:
    """The type of the same memory without what needs a look at values: text is bytes, a time has no zone."""
    if type_ in _BYTES:
        return _BYTES[type_]
    if isinstance(type_, pa.BaseExtensionType):
        return bare_type(type_.storage_type)
    return pa.timestamp(type_.unit) if is_type.is_timestamp(type_) else _with_inner(type_, bare_type)


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The same columns in plain types, without metadata, and free to hold nulls.

    Raises:
        UnsupportedTypeError: A type is not supported.
    """
    return pa.schema([(field.name, plain_type(field.type)) for field in schema])


def plain_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows in plain types.

    Raises:
        UnsupportedTypeError: A type, or a value of a rare type, is not supported.
    """
    plain = plain_schema(batch.schema)
    columns = [_plain(column, type_) for column, type_ in zip(batch.columns, plain.types, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=plain)


def nesting(type_: pa.DataType) -> int:
    """How many types lie inside one another."""
    return 1 + max(map(nesting, _inner(type_)), default=0)


def _with_inner(type_: pa.DataType, change: Change) -> pa.DataType:
    """A type around changed inner types; a type that has none stays."""
    for fits, rebuild in _OUTER:
        if fits(type_):
            return rebuild(type_, change)
    return type_


_OUTER: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.DataType, Change], pa.DataType]], ...] = (
    (is_type.is_struct, lambda outer, change: pa.struct([(field.name, change(field.type)) for field in outer.fields])),
    (is_type.is_list, lambda outer, change: pa.list_(change(outer.value_type))),
    (is_type.is_large_list, lambda outer, change: pa.large_list(change(outer.value_type))),
    (is_type.is_fixed_size_list, lambda outer, change: pa.list_(change(outer.value_type), outer.list_size)),
    (is_type.is_list_view, lambda outer, change: pa.list_view(change(outer.value_type))),
    (is_type.is_large_list_view, lambda outer, change: pa.large_list_view(change(outer.value_type))),
    (is_type.is_map, lambda outer, change: pa.map_(change(outer.key_type), change(outer.item_type))),
    (
        is_type.is_dictionary,
        lambda outer, change: pa.dictionary(outer.index_type, change(outer.value_type), outer.ordered),
    ),
    (
        is_type.is_run_end_encoded,
        lambda outer, change: pa.run_end_encoded(outer.run_end_type, change(outer.value_type)),
    ),
)


def _plain(column: pa.Array, type_: pa.DataType) -> pa.Array:
    if type_ == column.type:
        return column
    bare = column.view(bare_type(column.type))
    if _needs_copy(bare.type):
        bare = _copied(bare)
    import pyarrow.compute as pc  # noqa: PLC0415 - every start would pay for it

    options = pc.CastOptions(target_type=_without_json(type_), allow_invalid_utf8=True)  # costs its row, in `TableRows`
    return bare.cast(options=options).view(type_)


def _needs_copy(type_: pa.DataType) -> bool:
    """Whether Arrow 26.0 has no cast for a type, or one that is wrong.

    The cast of a list view mixes up values; that of a text view follows what stands in the place of a null, which no
    validation looks at, and crashes.
    """
    if any(fits(type_) for fits in _VIEWS) or is_type.is_run_end_encoded(type_):
        return True
    if is_type.is_dictionary(type_) and _inner(type_.value_type):
        return True
    return any(map(_needs_copy, _inner(type_)))


def _copied(column: pa.Array) -> pa.Array:
    """The column, by way of Python values, in a type that `_needs_copy` does not hold for."""
    try:
        return pa.array(column.to_pylist(), _copied_type(column.type))
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UnsupportedTypeError(f"values of type {column.type}") from error


def _copied_type(type_: pa.DataType) -> pa.DataType:
    if is_type.is_dictionary(type_) or is_type.is_run_end_encoded(type_):
        return _copied_type(type_.value_type)
    if is_type.is_list_view(type_) or is_type.is_large_list_view(type_):
        return pa.large_list(_copied_type(type_.value_type))
    return pa.large_binary() if is_type.is_binary_view(type_) else _with_inner(type_, _copied_type)


_VIEWS = (is_type.is_list_view, is_type.is_large_list_view, is_type.is_binary_view)


def _inner(type_: pa.DataType) -> list[pa.DataType]:
    """The types right inside a type."""
    if isinstance(type_, pa.BaseExtensionType):
        return [type_.storage_type]
    if is_type.is_dictionary(type_):
        return [type_.value_type]
    return [type_.field(i).type for i in range(type_.num_fields)]


def _without_json(type_: pa.DataType) -> pa.DataType:
    return type_.storage_type if type_ == JSON else _with_inner(type_, _without_json)
