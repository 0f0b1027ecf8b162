"""Strings that remember which data they came from.

`Traced` behaves as the text it holds and carries parts beside it, each either template text or a source (see
`expressions`). Whatever a template does with such a string is done to the parts as well: joining lists them, `strip`
adds an operation to a source, and a question (`startswith`, `==`, truth) is written into the recorder as a guard.

Three rules make this sound. Every string method is overridden: one that is not modelled reports that provenance is
lost. An operation whose result depends on the data in a way that no operation can express (a position, a hash) fixes
the data by a guard on exactly what it depends on. And what C code would do unseen (`in` on a constant, `%`, `join`) is
intercepted by the sandbox in `tracing`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, SupportsIndex, TypeAlias

from ismpack.templates.expressions import CONSTANT, Guard, Op, Source, Symbol, piece_places
from ismpack.templates.limits import check_length

Part: TypeAlias = "tuple[str, Source | None]"


class ProvenanceLostError(Exception):
    """A template did something with data that the tracer does not follow."""


class Recorder:
    """What a render asked about the data.

    Attributes:
        guards: Guard -> answer, in the order in which they were asked.
    """

    def __init__(self) -> None:
        self.guards: dict[Guard, Any] = {}

    def ask(self, name: str, symbol: Symbol, args: tuple[Any, ...], answer: Any) -> Any:
        """Write down a question; returns its answer."""
        if any(_varies(part) for part in (*symbol, *(p for arg in args if isinstance(arg, Symbol) for p in arg))):
            self.guards.setdefault((name, symbol, args), answer)
        return answer

    def lose(self, reason: str) -> NoReturn:
        """Give up on this render."""
        raise ProvenanceLostError(reason)


def _varies(part: str | Source) -> bool:
    return not isinstance(part, str) and not (part[1] and part[1][-1][0] == CONSTANT)


def traced(recorder: Recorder, parts: Iterable[Part]) -> str:
    """The text of the parts; plain if none of them is data."""
    kept = tuple([part for part in parts if part[0] or part[1] is not None])
    text = "".join([part[0] for part in kept])
    for part in kept:
        if part[1] is not None:
            made = str.__new__(Traced, text)
            made.parts, made.recorder = kept, recorder
            return made
    return text


def data(recorder: Recorder, text: str, source: Source) -> str:
    """A text that is data."""
    made = str.__new__(Traced, text)
    made.parts, made.recorder = ((text, source),), recorder
    return made


def plain(value: Any) -> Any:
    """A traced string as an ordinary one; anything else as it is."""
    return str.__getitem__(value, slice(None)) if type(value) is Traced else value


def parts_of(text: str) -> tuple[Part, ...]:
    """The parts of any text."""
    return text.parts if isinstance(text, Traced) else ((text, None),)


def symbol_of(text: str) -> Symbol:
    """How guards write a text."""
    return Symbol(part if source is None else source for part, source in parts_of(text))


def join(texts: Iterable[Any]) -> str:
    """Texts end to end; other values as `str` writes them."""
    parts: list[Part] = []
    recorder: Recorder | None = None
    for text in texts:
        if type(text) is Traced:
            recorder = text.recorder
            parts += text.parts
        else:
            written = text if isinstance(text, str) else str(text)
            parts += parts_of(written)
            recorder = written.recorder if isinstance(written, Traced) else recorder
    check_length(sum([len(part[0]) for part in parts]))
    return "".join([part[0] for part in parts]) if recorder is None else traced(recorder, parts)


class Traced(str):
    """A text some parts of which are data.

    Attributes:
        parts: (text, source) each; the source of template text is None.
        recorder: Where questions are written down.
    """

    __slots__ = ("parts", "recorder")

    parts: tuple[Part, ...]
    recorder: Recorder

    # --- what it is made of

    def __str__(self) -> str:
        return self

    def __deepcopy__(self, _: object) -> str:
        return self

    @property
    def _single(self) -> Source | None:
        return self.parts[0][1] if len(self.parts) == 1 else None

    def _ask(self, name: str, args: tuple[Any, ...], answer: Any) -> Any:
        given = tuple(symbol_of(arg) if isinstance(arg, Traced) else self._literal(arg) for arg in args)
        return self.recorder.ask(name, symbol_of(self), given, answer)

    def _literal(self, arg: object) -> object:
        if isinstance(arg, Length):
            return arg.fixed()
        known = arg if isinstance(arg, tuple) else (arg,)
        if not all(type(one) in (str, int, bool, type(None)) for one in known):
            self.recorder.lose(f"an argument of type {type(arg).__name__}")
        return arg

    def _operate(self, name: str, args: tuple[Any, ...], result: str) -> str:
        """An operation that gives one text from one; data as argument is not followed."""
        if self._single is None or any(isinstance(arg, Traced) for arg in args):
            self.recorder.lose(f"{name} on text of several parts, or with data as argument")
        leaf, ops = self._single
        op: Op = (name, tuple(map(self._literal, args)))
        return data(self.recorder, result, (leaf, (*ops, op)))

    def _cut(self, low: int, high: int) -> str:
        """A part of the text; cutting inside data fixes the length of what stands before."""
        kept: list[Part] = []
        at = 0
        for text, source in self.parts:
            start, end = max(low - at, 0), min(high - at, len(text))
            if source is not None:
                self.recorder.ask("length", Symbol([source]), (), len(text))
            if start < end:
                kept.append((text[start:end], _sliced(source, start, end, len(text))))
            at += len(text)
        return traced(self.recorder, kept)

    # --- operations

    def __add__(self, other: str) -> str:
        return join((self, other)) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> str:
        return join((other, self)) if isinstance(other, str) else NotImplemented

    def __mul__(self, count: SupportsIndex) -> str:
        return join([self] * operator.index(count))

    __rmul__ = __mul__

    def join(self, texts: Iterable[str]) -> str:
        """As of `str`."""
        return join(piece for i, text in enumerate(texts) for piece in ((self, text) if i else (text,)))

    def __getitem__(self, index: SupportsIndex | slice) -> str:
        if isinstance(index, slice):
            start, stop, step = (_number(bound) for bound in (index.start, index.stop, index.step))
            if self._single is not None:
                return self._operate("slice", (start, stop, step), plain(self)[slice(start, stop, step)])
            low, high, step = slice(start, stop, step).indices(str.__len__(self))
            if step != 1:
                self.recorder.lose("a slice with a step of text of several parts")
            return self._cut(low, max(low, high))
        at, size = operator.index(index), str.__len__(self)
        has = -size <= at < size
        # Whether there is such a place is a question of its own: a template takes another way if there is none.
        self._ask("length_below", (at + 1 if at >= 0 else -at,), not has)
        if not has:
            raise IndexError("string index out of range")
        if self._single is not None:
            return self._operate("item", (at,), plain(self)[at])
        return self._cut(at % size, at % size + 1)

    def __iter__(self) -> Iterator[str]:
        return iter([self._cut(i, i + 1) for i in range(len(self))])

    def strip(self, chars: str | None = None, /) -> str:
        """As of `str`."""
        return self._strip("strip", chars)

    def lstrip(self, chars: str | None = None, /) -> str:
        """As of `str`."""
        return self._strip("lstrip", chars)

    def rstrip(self, chars: str | None = None, /) -> str:
        """As of `str`."""
        return self._strip("rstrip", chars)

    def _strip(self, name: str, chars: str | None) -> str:
        args = () if chars is None else (chars,)
        if self._single is not None:
            return self._operate(name, args, getattr(str, name)(self, *args))
        if isinstance(chars, Traced):
            self.recorder.lose(f"{name} with data as argument")
        parts = list(self.parts)
        if name != "rstrip":
            parts = _strip_end(self.recorder, parts, "lstrip", args, 0)
        if name != "lstrip":
            parts = _strip_end(self.recorder, parts, "rstrip", args, -1)
        return traced(self.recorder, parts)

    def _split(self, name: str, args: tuple[Any, ...]) -> list[str]:
        if any(isinstance(arg, Traced) for arg in args):
            self.recorder.lose(f"{name} with data as argument")
        text = plain(self)
        places = piece_places(text, name, args)
        source = self._single
        if source is None:
            self._ask("pieces", (name, args), places)
            return [self._cut(low, high) for low, high in places]
        self.recorder.ask("pieces_count", Symbol([source]), (name, args), len(places))
        leaf, ops = source
        return [
            data(self.recorder, text[low:high], (leaf, (*ops, (name, (*args, i)))))
            for i, (low, high) in enumerate(places)
        ]

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        """As of `str`."""
        return self._split("split", (sep, _number(maxsplit)))

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        """As of `str`."""
        return self._split("rsplit", (sep, _number(maxsplit)))

    def splitlines(self, keepends: bool = False) -> list[str]:
        """As of `str`."""
        if keepends:
            self.recorder.lose("splitlines with keepends")
        return self._split("splitlines", ())

    def partition(self, sep: str, /) -> tuple[str, ...]:  # type: ignore[override]
        """As of `str`."""
        return tuple(self._split("partition", (sep,)))

    def rpartition(self, sep: str, /) -> tuple[str, ...]:  # type: ignore[override]
        """As of `str`."""
        return tuple(self._split("rpartition", (sep,)))

    # --- questions

    def __contains__(self, text: str) -> bool:  # type: ignore[override]
        return bool(self._ask("contains", (text,), str.__contains__(self, text)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str):
            return False
        if isinstance(other, Traced) and other.parts == self.parts:
            return True
        return bool(self._ask("eq", (other,), plain(self) == plain(other)))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __bool__(self) -> bool:
        return bool(self._ask("filled", (), str.__len__(self) > 0))

    def __len__(self) -> int:
        return int(self._ask("length", (), str.__len__(self)))

    def __hash__(self) -> int:
        self._ask("value", (), plain(self))
        return str.__hash__(self)

    def __repr__(self) -> str:
        self.recorder.lose("Python's way to write a string")


class Length:
    """The length of a text, as the filter `length` gives it: comparing it asks no more than the comparison.

    Any other use fixes the length.
    """

    __slots__ = ("_text",)

    def __init__(self, text: Traced) -> None:
        self._text = text

    def fixed(self) -> int:
        """The length as a number, written down as a guard."""
        return len(self._text)

    def _is(self, number: int) -> bool:
        return bool(self._text._ask("length_is", (number,), str.__len__(self._text) == number))

    def _below(self, number: int) -> bool:
        return bool(self._text._ask("length_below", (number,), str.__len__(self._text) < number))

    def __eq__(self, other: object) -> bool:
        return self._is(other) if type(other) is int else self.fixed() == _fixed(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: Any) -> bool:
        return self._below(other) if type(other) is int else bool(self.fixed() < _fixed(other))

    def __le__(self, other: Any) -> bool:
        return self._below(other + 1) if type(other) is int else bool(self.fixed() <= _fixed(other))

    def __gt__(self, other: Any) -> bool:
        return not self <= other

    def __ge__(self, other: Any) -> bool:
        return not self < other

    def __bool__(self) -> bool:
        return bool(self._text)

    def __index__(self) -> int:
        return self.fixed()

    def __hash__(self) -> int:
        return hash(self.fixed())

    def __str__(self) -> str:
        return str(self.fixed())


def _fixed(value: Any) -> Any:
    return value.fixed() if isinstance(value, Length) else value


def _arithmetic(name: str) -> Callable[..., Any]:
    def operate(self: Length, *others: Any) -> Any:
        return getattr(self.fixed(), name)(*map(_fixed, others))

    return operate


_NUMBER_METHODS = (
    "add radd sub rsub mul rmul floordiv rfloordiv truediv rtruediv mod rmod pow rpow divmod rdivmod neg pos abs int "
    "float round"
)
for _name in _NUMBER_METHODS.split():
    setattr(Length, f"__{_name}__", _arithmetic(f"__{_name}__"))


def _operation(name: str) -> Callable[..., str]:
    def operate(self: Traced, *args: Any) -> str:
        return self._operate(name, args, getattr(str, name)(plain(self), *map(plain, args)))

    return operate


def _question(name: str, code: str) -> Callable[..., Any]:
    def ask(self: Traced, *args: Any) -> Any:
        return self._ask(code, args, getattr(str, name)(plain(self), *args))

    return ask


def _loss(name: str) -> Callable[..., NoReturn]:
    def lose(self: Traced, *_: object, **__: object) -> NoReturn:
        self.recorder.lose(f"the string method {name}")

    return lose


def _complete() -> None:
    """Give `Traced` every method of `str` that it does not have yet."""
    for name in ("replace", "upper", "lower", "capitalize", "title", "swapcase", "casefold", "removeprefix",
                 "removesuffix"):  # fmt: skip
        setattr(Traced, name, _operation(name))
    for name in ("startswith", "endswith", "find", "rfind", "index", "rindex", "count"):
        setattr(Traced, name, _question(name, name))
    for name in dir(str):
        if name.startswith("is"):
            setattr(Traced, name, _question(name, name))
    for name, code in {"__lt__": "lt", "__le__": "le", "__gt__": "gt", "__ge__": "ge"}.items():
        setattr(Traced, name, _question(name, code))
    kept = set(dir(object)) - {"__format__"} | {"__getnewargs__"}
    for name in set(dir(str)) - set(vars(Traced)) - kept:
        setattr(Traced, name, _loss(name))
    for name in ("__format__", "__rmod__"):
        setattr(Traced, name, _loss(name))


_complete()


def _number(value: Any) -> int | None:
    return None if value is None else operator.index(value)


def _sliced(source: Source | None, start: int, end: int, size: int) -> Source | None:
    if source is None or (start == 0 and end == size):
        return source
    leaf, ops = source
    return leaf, (*ops, ("slice", (start, end, None)))


def _strip_end(recorder: Recorder, parts: list[Part], name: str, args: tuple[Any, ...], end: int) -> list[Part]:
    """Strip one end of a text of several parts: data that strips to nothing lets the next part be stripped."""
    parts = list(parts)
    while parts:
        text, source = parts[end]
        left = getattr(str, name)(text, *args)
        if source is not None:
            leaf, ops = source
            source = (leaf, (*ops, (name, args)))
            recorder.ask("filled", Symbol([source]), (), bool(left))
        parts[end] = (left, source)
        if left:
            break
        parts.pop(end)
    return parts
