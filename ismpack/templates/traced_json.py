"""JSON objects and lists as data: opaque until a template looks inside.

Tool arguments and definitions have endless shapes. As long as a template only prints them (`tojson`), one is a single
piece of data whatever it holds. A template that looks inside asks a question (which keys, what stands there), and only
then do two objects of different shape take different ways. Keys are data as much as values are.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, SupportsIndex

from ismpack.data import Json
from ismpack.templates.expressions import CONSTANT, Op, Source, Symbol, entry_kind, entry_kinds, json_inner, json_text
from ismpack.templates.growth import check_json_indent
from ismpack.templates.traced import Length, ProvenanceLostError, Recorder, Traced, data, join, parts_of, plain, traced


def traced_value(recorder: Recorder, value: Json, source: Source) -> Any:
    """Any JSON value as data; numbers and the like stay as they are."""
    if isinstance(value, str):
        return data(recorder, value, source)
    if isinstance(value, dict):
        return TracedObject(recorder, value, source)
    return TracedList(recorder, value, source) if isinstance(value, list) else value


def _inside(source: Source, key: str | int) -> Source:
    leaf, ops = source
    return leaf, (*ops, ("item", (key,)))


class _Opaque:
    """What objects and lists share: the value, its source, and the two questions."""

    __slots__ = ()

    recorder: Recorder
    source: Source
    value: Any

    def _all(self) -> None:
        """The template sees all keys, and of what kind each value is."""
        self.recorder.ask("entries", Symbol([self.source]), (), entry_kinds(self.value))

    def _at(self, key: Any) -> Any:
        """The template sees one entry."""
        key = plain(key) if not isinstance(key, Length) else key.fixed()
        self.recorder.ask("entry", Symbol([self.source]), (key,), entry_kind(self.value, key))
        return self._entry(key)

    def _entry(self, key: Any) -> Any:
        return traced_value(self.recorder, self.value[key], _inside(self.source, key))

    def __bool__(self) -> bool:
        return bool(self.recorder.ask("filled_object", Symbol([self.source]), (), bool(self.value)))

    def __len__(self) -> int:
        return int(self.recorder.ask("length", Symbol([self.source]), (), len(self.value)))

    def __repr__(self) -> str:
        self.recorder.lose("Python's way to write an object or a list")

    __str__ = __repr__

    def __deepcopy__(self, _: object) -> Any:
        return self


class TracedObject(_Opaque, dict[str, Any]):
    """A JSON object that is data."""

    __slots__ = ("recorder", "source", "value")

    def __init__(self, recorder: Recorder, value: dict[str, Json], source: Source) -> None:
        # The dict itself stays empty: C code that looks past the methods finds nothing, and the render then differs
        # from a plain one, which is noticed.
        self.recorder, self.source, self.value = recorder, source, value

    def __getitem__(self, key: str) -> Any:
        return self._at(key)

    def get(self, key: str, default: Any = None) -> Any:
        """As of a dict."""
        return self._at(key) if key in self else default

    def __contains__(self, key: object) -> bool:
        name = plain(key)
        if not isinstance(name, str):
            return False
        self._pin(key)
        self.recorder.ask("entry", Symbol([self.source]), (name,), entry_kind(self.value, name))
        return name in self.value

    def _pin(self, key: object) -> None:
        if isinstance(key, Traced):
            hash(key)

    def items(self) -> Any:
        """As of a dict, with keys that are data."""
        return [(key, self._entry(plain(key))) for key in self.keys()]

    def keys(self) -> Any:
        """As of a dict, with keys that are data."""
        self._all()
        leaf, ops = self.source
        return [data(self.recorder, key, (leaf, (*ops, (CONSTANT, (key,))))) for key in self.value]

    def values(self) -> Any:
        """As of a dict."""
        self._all()
        return [self._entry(key) for key in self.value]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Mapping) and dict(self.items()) == dict(other.items()))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__: ClassVar[None]

    def copy(self) -> dict[str, Any]:
        """As of a dict."""
        return dict(self.items())


class TracedList(_Opaque, list[Any]):
    """A JSON list that is data."""

    __slots__ = ("recorder", "source", "value")

    def __init__(self, recorder: Recorder, value: list[Json], source: Source) -> None:
        self.recorder, self.source, self.value = recorder, source, value

    def _items(self) -> list[Any]:
        self._all()
        return [self._entry(i) for i in range(len(self.value))]

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        if isinstance(index, slice):
            return self._items()[index]
        return self._items()[operator.index(index)]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items())

    def __reversed__(self) -> Iterator[Any]:
        return iter(self._items()[::-1])

    def __contains__(self, value: object) -> bool:
        return value in self._items()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, list) and self._items() == list(other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__: ClassVar[None]

    def __add__(self, other: list[Any]) -> list[Any]:
        return self._items() + list(other)

    def __radd__(self, other: list[Any]) -> list[Any]:
        return list(other) + self._items()

    def index(self, value: Any, *args: Any) -> int:
        """As of a list."""
        return self._items().index(value, *args)

    def count(self, value: Any) -> int:
        """As of a list."""
        return self._items().count(value)

    def copy(self) -> list[Any]:
        """As of a list."""
        return self._items()


def holds_data(*values: Any) -> bool:
    """Whether data is among the values, or inside them."""
    for value in values:
        if isinstance(value, (Traced, Length, _Opaque)):
            return True
        if isinstance(value, dict) and holds_data(*value.keys(), *value.values()):
            return True
        if isinstance(value, (list, tuple)) and holds_data(*value):
            return True
    return False


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """The sandbox's filter `tojson` for values that hold data."""
    if not holds_data(value):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    if holds_data(ensure_ascii, indent, separators, sort_keys) or not (
        indent is None or isinstance(indent, (int, str))
    ):
        raise ProvenanceLostError("tojson with data as argument")
    check_json_indent(indent)
    separators = None if separators is None else (str(separators[0]), str(separators[1]))
    return join(_Writer(bool(ensure_ascii), indent, separators, bool(sort_keys)).write(value, 0))


class _Writer:
    """Writes JSON in pieces, as `json.dumps` does with the same arguments."""

    def __init__(
        self, ensure_ascii: bool, indent: int | str | None, separators: tuple[str, str] | None, sort_keys: bool
    ) -> None:
        self.ensure_ascii, self.indent, self.separators, self.sort_keys = ensure_ascii, indent, separators, sort_keys
        self.comma, self.colon = separators or (", " if indent is None else ",", ": ")

    def write(self, value: Any, depth: int) -> Iterator[str]:
        if isinstance(value, _Opaque):
            args = (self.ensure_ascii, self.indent, self.separators, self.sort_keys, depth)
            leaf, ops = value.source
            yield data(value.recorder, json_text(value.value, *args), (leaf, (*ops, ("json_text", args))))
        elif isinstance(value, Traced):
            yield from ('"', self._inner(value), '"')
        elif isinstance(value, Length):
            yield str(value)
        elif isinstance(value, dict) and value:
            keys = sorted(value) if self.sort_keys else list(value)
            yield from self._list("{}", [[*self._key(key), *self.write(value[key], depth + 1)] for key in keys], depth)
        elif isinstance(value, (list, tuple)) and value:
            yield from self._list("[]", [list(self.write(item, depth + 1)) for item in value], depth)
        else:
            yield json.dumps(value, ensure_ascii=self.ensure_ascii)

    def _key(self, key: Any) -> Iterator[str]:
        if isinstance(key, Traced):
            yield from self.write(key, 0)
        else:
            yield json.dumps(key if isinstance(key, str) else next(iter(json.loads(json.dumps({key: 0})))),
                             ensure_ascii=self.ensure_ascii)  # fmt: skip
        yield self.colon

    def _list(self, brackets: str, items: list[list[str]], depth: int) -> Iterator[str]:
        step = " " * self.indent if isinstance(self.indent, int) else self.indent
        inner = "" if step is None else "\n" + step * (depth + 1)
        yield brackets[0]
        for i, item in enumerate(items):
            yield (self.comma if i else "") + inner
            yield from item
        yield ("" if step is None else "\n" + step * depth) + brackets[1]

    def _inner(self, text: Traced) -> str:
        """The parts of a text as JSON writes them inside quotes: character by character, so part by part."""
        op: Op = ("json_inner", (self.ensure_ascii,))
        kept = [
            (json_inner(part, self.ensure_ascii), None if source is None else (source[0], (*source[1], op)))
            for part, source in parts_of(text)
        ]
        return traced(text.recorder, kept)
