"""JSON objects and lists as data: opaque until a template looks inside.

Tool arguments and definitions have endless shapes. As long as a template only prints them (`tojson`), one is a single
piece of data whatever it holds. A template that looks inside asks a question (which keys, what stands there), and only
then do two objects of different shape take different ways. Keys are data as much as values are.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NoReturn, SupportsIndex

from jinja2.runtime import Undefined

from ismpack.data import Json
from ismpack.templates.expressions import Source, Symbol
from ismpack.templates.growth import check_json_indent
from ismpack.templates.lengths import Length, fixed
from ismpack.templates.operations import CONSTANT, Op, entry_kind, entry_kinds, json_inner, json_text
from ismpack.templates.recorder import ProvenanceLostError, Recorder
from ismpack.templates.traced import Traced, data, join, parts_of, plain, traced

_WITHOUT_DATA = frozenset((str, int, bool, float, type(None)))


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

    _recorder: Recorder
    _source: Source
    _value: Any

    def _all(self) -> None:
        """The template sees all keys, and of what kind each value is."""
        self._recorder.ask("entries", Symbol([self._source]), (), entry_kinds(self._value))

    def _at(self, key: Any) -> Any:
        """The template sees one entry."""
        if isinstance(key, Traced):
            hash(key)  # which fixes it
        key = fixed(plain(key))
        if type(key) not in (str, int, bool, type(None)):
            self._recorder.lose(f"an entry at {type(key).__name__}")
        self._recorder.ask("entry", Symbol([self._source]), (key,), entry_kind(self._value, key))
        return self._entry(key)

    def _entry(self, key: Any) -> Any:
        return traced_value(self._recorder, self._value[key], _inside(self._source, key))

    def __bool__(self) -> bool:
        return bool(self._recorder.ask("filled_object", Symbol([self._source]), (), bool(self._value)))

    def __len__(self) -> int:
        return int(self._recorder.ask("length", Symbol([self._source]), (), len(self._value)))

    def __repr__(self) -> str:
        self._recorder.lose("Python's way to write an object or a list")

    __str__ = __repr__

    def __deepcopy__(self, _: object) -> Any:
        return self


class TracedObject(_Opaque, dict[str, Any]):
    """A JSON object that is data."""

    __slots__ = ("_recorder", "_source", "_value")

    def __init__(self, recorder: Recorder, value: dict[str, Json], source: Source) -> None:
        # The dict itself stays empty: C code that looks past the methods finds nothing, and the render then differs
        # from a plain one, which is noticed.
        self._recorder, self._source, self._value = recorder, source, value

    def __getitem__(self, key: str) -> Any:
        return self._at(key)

    def get(self, key: str, default: Any = None) -> Any:
        """As of a dict."""
        return self._at(key) if key in self else default

    def __contains__(self, key: object) -> bool:
        if isinstance(key, Traced):
            hash(key)
        name = plain(key)
        if type(name) is not str:
            return False
        self._recorder.ask("entry", Symbol([self._source]), (name,), entry_kind(self._value, name))
        return name in self._value

    def items(self) -> Any:
        """As of a dict, with keys that are data."""
        return [(key, self._entry(plain(key))) for key in self.keys()]

    def keys(self) -> Any:
        """As of a dict, with keys that are data."""
        self._all()
        leaf, ops = self._source
        return [data(self._recorder, key, (leaf, (*ops, (CONSTANT, (key,))))) for key in self._value]

    def values(self) -> Any:
        """As of a dict."""
        self._all()
        return [self._entry(key) for key in self._value]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __reversed__(self) -> Iterator[str]:
        return iter(self.keys()[::-1])

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

    __slots__ = ("_recorder", "_source", "_value")

    def __init__(self, recorder: Recorder, value: list[Json], source: Source) -> None:
        self._recorder, self._source, self._value = recorder, source, value

    def _items(self) -> list[Any]:
        self._all()
        return [self._entry(i) for i in range(len(self._value))]

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


class TracedMessage(dict[str, Any]):
    """A message that has keys of its own: going through it, a template meets them as data."""

    __slots__ = ("_keys",)

    def __init__(self, entries: dict[str, Any], keys: dict[str, str]) -> None:
        super().__init__(entries)
        self._keys = keys

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __reversed__(self) -> Iterator[str]:
        return iter(self.keys()[::-1])

    def keys(self) -> Any:
        """As of a dict."""
        return [self._keys.get(key, key) for key in dict.__iter__(self)]

    def items(self) -> Any:
        """As of a dict."""
        return [(self._keys.get(key, key), value) for key, value in dict.items(self)]


def holds_data(*values: Any) -> bool:
    """Whether data is among the values, or inside them; true for what cannot be looked into."""
    seen: set[int] = set()
    left = list(values)
    while left:
        value = left.pop()
        if type(value) in _WITHOUT_DATA or isinstance(value, Undefined):
            continue
        if type(value) not in (dict, list, tuple, TracedMessage):
            return True
        if id(value) not in seen:
            seen.add(id(value))
            left += [*dict.keys(value), *dict.values(value)] if isinstance(value, dict) else value
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
    if "\n" in str(indent) + "".join(map(str, separators or ())):
        raise ProvenanceLostError("tojson with line breaks as argument")
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
            leaf, ops = value._source
            yield data(value._recorder, json_text(value._value, *args), (leaf, (*ops, ("json_text", args))))
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
        return traced(text._recorder, kept)


def _complete(kind: type, base: type) -> None:
    """Make every method of the base that is not modelled give up: it would see an empty object or list."""

    def losing(name: str) -> Callable[..., NoReturn]:
        return lambda self, *_, **__: self._recorder.lose(f"the method {name} of an object or a list")

    kept = {*dir(object), "__getitem__", "__class_getitem__"} - {"__lt__", "__le__", "__gt__", "__ge__"}
    for name in {*dir(base), "__rmul__", "__mul__"} - set(vars(kind)) - set(vars(_Opaque)) - kept:
        setattr(kind, name, losing(name))
    for name in ("__lt__", "__le__", "__gt__", "__ge__"):
        setattr(kind, name, losing(name))


_complete(TracedObject, dict)
_complete(TracedList, list)
