"""What a template did with the data, written down so that it can be done again with other data.

A *source* is a leaf of the conversation (see `outline`) with the operations that the template applied to it:

    (3, (("strip", ()), ("split", ("</think>", 0))))          leaves[3].strip().split("</think>")[0]

A *symbol* is a text as the tracer knows it: template text (str) and sources in order. A *guard* is a question that the
template asked about a symbol, such as ("contains", symbol, ("</think>",)). Two conversations that answer all guards
alike took the same way through the template.

Sources and guards become Python expressions over `L` (the leaves), which is what makes asking them again cheap. They
hold nothing but literals and the operations listed here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

from ismpack.data import Json
from ismpack.errors import InternalError
from ismpack.templates.operations import (
    CONSTANT,
    CONTINUED,
    Op,
    covers,
    entry_kind,
    entry_kinds,
    json_inner,
    json_text,
    piece_places,
)

Source: TypeAlias = "tuple[int, tuple[Op, ...]]"


class Symbol(tuple[Any, ...]):
    """Template text (str) and sources, in order."""

    __slots__ = ()


Guard: TypeAlias = "tuple[str, Symbol, tuple[Any, ...]]"
Leaves: TypeAlias = "Sequence[Json]"

_PIECES = ("split", "rsplit", "splitlines", "partition", "rpartition")
_METHODS = frozenset(name for name in dir(str) if name[0] != "_")
_LITERALS = frozenset((str, int, bool, float, type(None), type(...)))
_COMPARISONS = {"eq": "==", "lt": "<", "gt": ">", "le": "<=", "ge": ">="}
_QUESTIONS = {
    "contains": "{1} in {0}",
    "inside": "{0} in {1}",
    "value": "{0}",
    "filled": "{0}!=''",
    "filled_object": "len({0})>0",
    "length": "len({0})",
    "length_is": "len({0})=={1}",
    "length_below": "len({0})<{1}",
    "pieces": "pieces({0},{1})",
    "pieces_count": "len(pieces({0},{1}))",
    "entry": "entry({0},{1})",
    "entries": "entries({0})",
    "covers": "covers({0},{1})",
}
"""Guards that are no method of a string."""


@functools.lru_cache(1 << 14)
def compiled_guard(guard: Guard) -> Callable[[Leaves], Any]:
    """A function that answers the guard for given leaves."""
    return _function(_guard_code(guard))


def compiled_values(sources: Sequence[Source]) -> Callable[[Leaves], tuple[str, ...]]:
    """A function that gives the text of each source for given leaves."""
    if len(sources) > 1 and not any(ops for _, ops in sources):
        return itemgetter(*[leaf for leaf, _ in sources])  # leaves as they are, which is the most common way
    return _function("(" + "".join([f"{_source_code(source)}," for source in sources]) + ")")


def value_of(source: Source, leaves: Leaves) -> Any:
    """What a source is for given leaves; for once, as compiling takes longer than looking."""
    leaf, ops = source
    value: Any = leaves[leaf]
    for name, args in ops:
        if name == CONSTANT:
            value = args[0]
        elif name == CONTINUED:
            value = value[args[0] :]
        elif name in _PIECES:
            value = getattr(value, name)(*args[:-1])[args[-1]]
        elif name == "item":
            value = value[args[0]]
        elif name == "slice":
            value = value[slice(*args)]
        elif name in ("json_text", "json_inner"):
            value = _NAMES[name](value, *args)
        else:
            value = getattr(value, name)(*args)
    return value


@functools.lru_cache(1 << 14)
def _function(code: str) -> Callable[[Leaves], Any]:
    compiled: Callable[[Leaves], Any] = eval(f"lambda L: {code}", dict(_NAMES))  # noqa: S307 - made of literals
    return compiled


def _source_code(source: Source) -> str:
    leaf, ops = source
    code = f"L[{leaf}]"
    for name, args in ops:
        if name == CONSTANT:
            code = _arg_code(args[0])
        elif name == CONTINUED:
            code = f"{code}[{_arg_code(args[0])}:]"
        elif name in _PIECES:
            code = f"{code}.{name}({_args_code(args[:-1])})[{_arg_code(args[-1])}]"
        elif name in ("item", "slice"):
            code = f"{code}[{_arg_code(args[0]) if name == 'item' else 'slice' + _arg_code(args)}]"
        elif name in ("json_text", "json_inner"):
            code = f"{name}({code},{_args_code(args)})"
        else:
            code = f"{code}.{_method(name)}({_args_code(args)})"
    return code


def _method(name: str) -> str:
    """A method's name that may be written into code."""
    if name not in _METHODS:
        raise InternalError(f"{name!r} is no method of a text")
    return name


def _symbol_code(symbol: Symbol) -> str:
    parts = [repr(part) if isinstance(part, str) else _source_code(part) for part in symbol]
    return f"''.join(({','.join(parts)},))" if len(parts) > 1 else parts[0] if parts else "''"


def _args_code(args: Iterable[Any]) -> str:
    return ",".join(map(_arg_code, args))


def _arg_code(arg: object) -> str:
    if isinstance(arg, Symbol):
        return _symbol_code(arg)
    if type(arg) is tuple:
        return f"({''.join(_arg_code(one) + ',' for one in arg)})"
    if type(arg) not in _LITERALS:
        raise InternalError(f"a question about data holds {type(arg).__name__}")
    return repr(arg)


def _guard_code(guard: Guard) -> str:
    name, symbol, args = guard
    text, given = _symbol_code(symbol), _args_code(args)
    if name in _COMPARISONS:
        return f"{text}{_COMPARISONS[name]}{given}"
    if name in _QUESTIONS:
        return _QUESTIONS[name].format(text, given)
    return f"{text}.{_method(name)}({given})"


_NAMES: dict[str, Any] = {
    "__builtins__": {"len": len, "slice": slice, "Ellipsis": ...},
    "json_text": json_text,
    "json_inner": json_inner,
    "entry": entry_kind,
    "entries": entry_kinds,
    "pieces": piece_places,
    "covers": covers,
}
"""All that compiled sources and guards can reach."""
