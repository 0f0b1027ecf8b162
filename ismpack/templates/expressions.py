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
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from ismpack.data import Json
from ismpack.errors import InternalError

Op: TypeAlias = "tuple[str, tuple[Any, ...]]"
Source: TypeAlias = "tuple[int, tuple[Op, ...]]"


class Symbol(tuple[Any, ...]):
    """Template text (str) and sources, in order."""

    __slots__ = ()


Guard: TypeAlias = "tuple[str, Symbol, tuple[Any, ...]]"
Leaves: TypeAlias = "Sequence[Json]"

CONSTANT = "constant"
"""Operation of data whose value other guards fix, such as a key of an object that the template looked into."""

CONTINUED = "continued"
"""Operation of data whose first characters are the end of the generation prompt."""

CUTTING = frozenset(
    (
        *("split", "rsplit", "splitlines", "partition", "rpartition"),
        *("slice", "item", "removeprefix", "removesuffix", CONSTANT),
    )
)
"""Operations that may leave out data other than white space."""

STRIPPING = frozenset(("strip", "lstrip", "rstrip"))
"""Operations that mostly change nothing."""

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

# Templates look for tags and line ends inside a text (`split('</think>')`), so data counts between them.
_TAG_OR_CHUNK = re.compile(r"(?P<tag><[^<>\n]*>)|[^<>\n]*[^<>\s][^<>\n]*")


@functools.lru_cache(1 << 14)
def compiled_guard(guard: Guard) -> Callable[[Leaves], Any]:
    """A function that answers the guard for given leaves."""
    return _function(_guard_code(guard))


def compiled_values(sources: Iterable[Source]) -> Callable[[Leaves], list[str]]:
    """A function that gives the text of each source for given leaves."""
    return _function("[" + ",".join(map(_source_code, sources)) + "]")


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


def json_text(
    value: Json,
    ensure_ascii: bool,
    indent: int | str | None,
    separators: tuple[str, str] | None,
    sort_keys: bool,
    depth: int,
) -> str:
    """A value as the filter `tojson` prints it inside `depth` levels of other values."""
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    if indent is None or not depth:
        return text
    return text.replace("\n", "\n" + (" " * indent if isinstance(indent, int) else indent) * depth)


def json_inner(text: str, ensure_ascii: bool) -> str:
    """A string as JSON writes it, without its quotes."""
    return json.dumps(text, ensure_ascii=ensure_ascii)[1:-1]


def entry_kind(value: Any, key: str | int) -> object:
    """What stands at a key of an object or a place of a list: a kind of data, or a number and the like itself."""
    try:
        return _kind(value[key])
    except (KeyError, IndexError, TypeError):
        return None


def entry_kinds(value: Any) -> tuple[object, ...]:
    """Keys and kinds of all that an object or list holds."""
    if isinstance(value, dict):
        return tuple((key, _kind(item)) for key, item in value.items())
    return tuple(_kind(item) for item in value)


def _kind(value: Json) -> object:
    if isinstance(value, (str, dict, list)):
        return "text" if isinstance(value, str) else "object" if isinstance(value, dict) else "list"
    return (type(value).__name__, repr(value))  # 0.0 and -0.0 are equal, and are printed differently


def piece_places(text: str, method: str, args: tuple[Any, ...]) -> tuple[tuple[int, int], ...]:
    """Where the pieces that a splitting method gives stand in the text."""
    pieces = getattr(text, method)(*args)
    if method == "splitlines":
        kept = text.splitlines(keepends=True)
    elif method in ("partition", "rpartition"):
        kept = pieces
    elif args and args[0] is not None:
        kept = [piece + args[0] for piece in pieces]
    else:  # white space is between the pieces, and none of them begins with it but the first of rsplit
        kept = []
    places, at = [], 0
    for i, piece in enumerate(pieces):
        at = at if kept else text.index(piece, at)
        places.append((at, at + len(piece)))
        at += len(kept[i]) if kept else len(piece)
    return tuple(places)


def covers(value: Json, printed: tuple[tuple[Op, ...], ...], read: tuple[tuple[Any, ...], ...]) -> bool:
    """Whether all of a leaf's data is printed.

    White space, and tags such as `<think>`, need not be.

    Args:
        value: The leaf.
        printed: Operations of each source of the leaf that is printed.
        read: Paths inside the leaf whose numbers and truth values the template has read.
    """
    if not isinstance(value, str) and _covers_json(value, printed):
        return True
    if isinstance(value, str):
        return _covers_text(value, printed)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        inner = tuple(ops[1:] for ops in printed if ops and ops[0] == ("item", (key,)))
        deeper = tuple(path[1:] for path in read if path and path[0] in (key, ...))
        if isinstance(item, (str, dict, list)):
            if not covers(item, inner, deeper):
                return False
        elif item is not None and () not in deeper:
            return False
    return True


def _covers_json(value: Json, printed: tuple[tuple[Op, ...], ...]) -> bool:
    """Whether a value is printed by `tojson`, in one piece (perhaps without its brackets) or in several."""
    for first in dict.fromkeys(ops[0] for ops in printed if ops and ops[0][0] == "json_text"):
        rest = tuple(ops[1:] for ops in printed if ops and ops[0] == first)
        inner = (("slice", (1, -1, None)),)
        if inner in rest or _covers_text(json_text(value, *first[1]), rest):
            return True
    return False


def _covers_text(text: str, printed: tuple[tuple[Op, ...], ...]) -> bool:
    for first in dict.fromkeys(ops[0] for ops in printed if ops and ops[0][0] == "json_inner"):
        if _covers_text(json_inner(text, *first[1]), tuple(ops[1:] for ops in printed if ops and ops[0] == first)):
            return True
    shown = [_shown(text, ops) for ops in printed]
    for chunk in _TAG_OR_CHUNK.finditer(text):
        if chunk["tag"]:
            continue
        last = chunk.start() + len(chunk[0].rstrip()) - 1
        if not any(low <= last < high for low, high in shown):
            return False
    return True


def may_cut(op: Op) -> bool:
    """Whether an operation may leave out data other than white space."""
    return op[0] in CUTTING and op not in (("slice", (None, None, -1)), ("slice", (None, None, None)))


def _shown(text: str, ops: tuple[Op, ...]) -> tuple[int, int]:
    """Which part of the text is left after the operations, as far as they only cut."""
    low, high = 0, len(text)
    for place, (name, args) in enumerate(ops):
        here = text[low:high]
        match name:
            case _ if name in STRIPPING:
                start = len(here) - len(here.lstrip(*args)) if name != "rstrip" else 0
                end = len(here.rstrip(*args)) if name != "lstrip" else len(here)
                low, high = low + start, low + max(start, end)
            case "split" | "rsplit" | "splitlines" | "partition" | "rpartition":
                start, end = piece_places(here, name, args[:-1])[args[-1]]
                low, high = low + start, low + end
            case "slice" if args[2] in (None, 1):
                start, end, _ = slice(*args).indices(len(here))
                low, high = low + start, low + max(start, end)
            case "item":
                at = args[0] % len(here)
                low, high = low + at, low + at + 1
            case "removeprefix" | "removesuffix":
                left = getattr(here, name)(*args)
                low, high = (high - len(left), high) if name == "removeprefix" else (low, low + len(left))
            case _ if name != CONTINUED:  # changed: what is cut from it later cannot be found in the text
                cut_later = any(map(may_cut, ops[place + 1 :]))
                return (low, low) if cut_later else (low, high)
    return low, high


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
