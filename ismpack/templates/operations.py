"""Operations of templates on data: their names, what those that are ours do, and how much of the data they leave."""

from __future__ import annotations

import json
import re
from typing import Any, TypeAlias

from ismpack.data import Json

Op: TypeAlias = "tuple[str, tuple[Any, ...]]"

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

# Templates look for tags and line ends inside a text (`split('</think>')`), so data counts between them.
_TAG_OR_CHUNK = re.compile(r"(?P<tag><[^<>\n]*>)|[^<>\n]*[^<>\s][^<>\n]*")


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
