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

from ismpack.templates.expressions import Source, Symbol
from ismpack.templates.lengths import fixed
from ismpack.templates.limits import check_length
from ismpack.templates.operations import Op, piece_places
from ismpack.templates.recorder import Recorder

Part: TypeAlias = "tuple[str, Source | None]"

_MOST_CHARACTERS = 256
_MOST_PIECES = 10_000
_MOST_OPERATIONS = 100


def traced(recorder: Recorder, parts: Iterable[Part]) -> str:
    """The text of the parts; plain if none of them is data."""
    kept = tuple([part for part in parts if part[0] or part[1] is not None])
    text = "".join([part[0] for part in kept])
    for part in kept:
        if part[1] is not None:
            return _made(text, kept, recorder)
    return text


def data(recorder: Recorder, text: str, source: Source) -> str:
    """A text that is data."""
    return _made(text, ((text, source),), recorder)


def marked(text: str) -> str:
    """The text as the filter `safe` gives it: it may be printed, but joined with others it would change them."""
    recorder = text._recorder if isinstance(text, Traced) else Recorder()
    made = _made(plain(text), parts_of(text), recorder)
    made._marked = True
    return made


def _made(text: str, parts: tuple[Part, ...], recorder: Recorder) -> Traced:
    made = str.__new__(Traced, text)
    made._parts, made._recorder, made._marked = parts, recorder, False
    return made


def plain(value: Any) -> Any:
    """A traced string as an ordinary one; anything else as it is."""
    return str.__getitem__(value, slice(None)) if type(value) is Traced else value


def parts_of(text: str) -> tuple[Part, ...]:
    """The parts of any text."""
    return text._parts if isinstance(text, Traced) else ((text, None),)


def symbol_of(text: str) -> Symbol:
    """How guards write a text."""
    return Symbol(part if source is None else source for part, source in parts_of(text))


def join(texts: Iterable[Any]) -> str:
    """Texts end to end; other values as `str` writes them."""
    pieces = [text if isinstance(text, str) else str(text) for text in texts]
    for piece in pieces:
        if type(piece) is Traced and piece._marked:
            piece._refuse_mark()
    return printed(pieces)


def printed(texts: Iterable[str]) -> str:
    """What a template prints, in one text."""
    pieces, length = list(texts), 0
    parts: list[Part] = []
    recorder: Recorder | None = None
    for piece in pieces:
        length += str.__len__(piece)
        if type(piece) is Traced:
            parts += piece._parts
            if not piece._marked or any(source is not None for _, source in piece._parts):
                recorder = piece._recorder  # marked text may be the template's
        elif piece:
            parts.append((piece, None))
    check_length(length)
    text = "".join(pieces)
    if recorder is None:
        return text
    recorder.spend(len(parts))
    return _made(text, tuple(parts), recorder)


class Traced(str):
    """A text some parts of which are data.

    Its own attributes begin with an underscore, so the sandbox keeps templates away from them.
    """

    __slots__ = ("_marked", "_parts", "_recorder")

    _parts: tuple[Part, ...]
    _recorder: Recorder
    _marked: bool

    # --- what it is made of

    def __str__(self) -> str:
        return self

    def __deepcopy__(self, _: object) -> str:
        return self

    @property
    def _single(self) -> Source | None:
        return self._parts[0][1] if len(self._parts) == 1 else None

    def _ask(self, name: str, args: tuple[Any, ...], answer: Any) -> Any:
        given = tuple(symbol_of(arg) if isinstance(arg, Traced) else self._literal(arg) for arg in args)
        return self._recorder.ask(name, symbol_of(self), given, answer)

    def _literal(self, arg: object) -> object:
        arg = fixed(arg)
        known = arg if type(arg) is tuple else (arg,)
        if not all(type(one) in (str, int, bool, type(None)) for one in known):
            self._recorder.lose(f"an argument of type {type(arg).__name__}")
        return arg

    def _refuse_mark(self) -> None:
        if self._marked:
            self._recorder.lose("text marked as safe that is not only printed")

    def _operate(self, name: str, args: tuple[Any, ...], result: str) -> str:
        """An operation that gives one text from one; data as argument is not followed."""
        self._refuse_mark()
        if self._single is None or any(isinstance(arg, Traced) for arg in args):
            self._recorder.lose(f"{name} on text of several parts, or with data as argument")
        leaf, ops = self._single
        if len(ops) >= _MOST_OPERATIONS:
            self._recorder.lose("very many operations on one text")
        op: Op = (name, tuple(map(self._literal, args)))
        return data(self._recorder, result, (leaf, (*ops, op)))

    def _cut(self, low: int, high: int) -> str:
        """A part of the text; cutting inside data fixes the length of what stands before."""
        self._refuse_mark()
        kept: list[Part] = []
        at = 0
        for text, source in self._parts:
            start, end = max(low - at, 0), min(high - at, len(text))
            if source is not None:
                self._recorder.ask("length", Symbol([source]), (), len(text))
            if start < end:
                kept.append((text[start:end], _sliced(source, start, end, len(text))))
            at += len(text)
        return traced(self._recorder, kept)

    # --- operations

    def __add__(self, other: str) -> str:
        return join((self, other)) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> str:
        return join((other, self)) if isinstance(other, str) else NotImplemented

    def __mul__(self, count: SupportsIndex) -> str:
        self._refuse_mark()
        times = operator.index(count)
        if times <= 0:
            return ""
        check_length(str.__len__(self) * times)
        self._recorder.spend(len(self._parts) * times)
        return traced(self._recorder, self._parts * times)

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
                self._recorder.lose("a slice with a step of text of several parts")
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
        if str.__len__(self) > _MOST_CHARACTERS:
            self._recorder.lose("a loop over the characters of a long text")
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
        self._refuse_mark()
        if isinstance(chars, Traced):
            self._recorder.lose(f"{name} with data as argument")
        parts = list(self._parts)
        if name != "rstrip":
            parts = _strip_end(self._recorder, parts, "lstrip", args, 0)
        if name != "lstrip":
            parts = _strip_end(self._recorder, parts, "rstrip", args, -1)
        return traced(self._recorder, parts)

    def _split(self, name: str, args: tuple[Any, ...]) -> list[str]:
        self._refuse_mark()
        args = tuple(map(self._literal, args))
        text = plain(self)
        if str.count(text, args[0] if args and args[0] else " ") > _MOST_PIECES:
            self._recorder.lose("a split into very many pieces")
        places = piece_places(text, name, args)
        source = self._single
        if source is None:
            self._ask("pieces", (name, args), places)
            return [self._cut(low, high) for low, high in places]
        self._recorder.ask("pieces_count", Symbol([source]), (name, args), len(places))
        leaf, ops = source
        return [
            data(self._recorder, text[low:high], (leaf, (*ops, (name, (*args, i)))))
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
            self._recorder.lose("splitlines with keepends")
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
        if isinstance(other, Traced) and other._parts == self._parts:
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

    def index(self, *args: Any) -> int:
        """As of `str`."""
        return self._found(self.find(*args))

    def rindex(self, *args: Any) -> int:
        """As of `str`."""
        return self._found(self.rfind(*args))

    def _found(self, at: int) -> int:
        if at < 0:
            raise ValueError("substring not found")
        return at

    def __repr__(self) -> str:
        self._recorder.lose("Python's way to write a string")


def _operation(name: str) -> Callable[..., str]:
    def operate(self: Traced, *args: Any) -> str:
        return self._operate(name, args, getattr(str, name)(plain(self), *map(plain, args)))

    return operate


def _question(name: str, code: str) -> Callable[..., Any]:
    def ask(self: Traced, *args: Any) -> Any:
        if code in ("lt", "le", "gt", "ge") and not isinstance(args[0], str):
            return NotImplemented
        return self._ask(code, args, getattr(str, name)(plain(self), *args))

    return ask


def _loss(name: str) -> Callable[..., NoReturn]:
    def lose(self: Traced, *_: object, **__: object) -> NoReturn:
        self._recorder.lose(f"the string method {name}")

    return lose


def _complete() -> None:
    """Give `Traced` every method of `str` that it does not have yet."""
    for name in ("replace", "upper", "lower", "capitalize", "title", "swapcase", "casefold", "removeprefix",
                 "removesuffix"):  # fmt: skip
        setattr(Traced, name, _operation(name))
    for name in ("startswith", "endswith", "find", "rfind", "count"):
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
