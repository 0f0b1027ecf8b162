"""Filters, tests and operators of the tracing sandbox: what happens to data that would otherwise be read unseen."""

from __future__ import annotations

import functools
import operator
import re
import string
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jinja2
from jinja2.runtime import Undefined

from ismpack.templates import growth
from ismpack.templates.lengths import Length, fixed
from ismpack.templates.recorder import ProvenanceLostError
from ismpack.templates.traced import Traced, join, marked, symbol_of
from ismpack.templates.traced_json import holds_data

_CONVERSION = re.compile(r"%(?:\((?P<name>\w+)\))?(?P<kind>[%s])")


def refusing(name: str, function: Callable[..., Any], first: int, last: int | None = None) -> Callable[..., Any]:
    """A filter whose arguments from `first` up to `last` must not be data; keywords never."""
    skipped = int(hasattr(function, "jinja_pass_arg"))
    end = None if last is None else skipped + last

    @functools.wraps(function)
    def refuse(*args: Any, **kwargs: Any) -> Any:
        if holds_data(*args[skipped + first : end], *kwargs.values()):
            raise ProvenanceLostError(f"the filter {name}")
        return function(*args, **kwargs)

    return refuse


def markup(*_: Any, **__: Any) -> Any:
    """Any filter that escapes: what it gives would change the data that is joined with it."""
    raise ProvenanceLostError("escaped text")


def trim(value: Any, chars: Any = None) -> str:
    """The filter `trim`."""
    text = value if isinstance(value, str) else str(value)
    if isinstance(chars, Traced) and not isinstance(text, Traced):
        raise ProvenanceLostError("strip with data as argument")
    return text.strip(chars)


def on_lengths(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of numbers, which takes a text's length too."""
    return lambda *args, **kwargs: function(*map(fixed, args), **kwargs)


def inside(value: Any, container: Any) -> bool:
    """The operator and test `in`."""
    if isinstance(value, Traced) and isinstance(container, str) and not isinstance(container, Traced):
        return bool(value._recorder.ask("inside", symbol_of(value), (container,), str.__contains__(container, value)))
    return value in container


def modulo(left: Any, right: Any) -> Any:
    """The operator `%`: a format keeps its parts if it only says %s."""
    if not isinstance(left, str):
        return operator.mod(left, right)
    if isinstance(left, Traced):
        raise ProvenanceLostError("data as format")
    if not holds_data(right):
        return growth.modulo(left, right)
    values = iter(right) if isinstance(right, tuple) else iter((right,))
    texts: list[Any] = []
    at = 0
    for found in _CONVERSION.finditer(left):
        texts.append(left[at : found.start()])
        at = found.end()
        if found["kind"] == "%":
            texts.append("%")
        else:
            texts.append(right[found["name"]] if found["name"] else next(values, None))
    texts.append(left[at:])
    if isinstance(right, tuple) and next(values, values) is not values:
        raise ProvenanceLostError("a format with values left over")
    if "%" in "".join(_CONVERSION.sub("", left)) or any(text is None for text in texts):
        raise ProvenanceLostError("a format other than %s")
    return join(texts)


def _format(template: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    texts: list[Any] = []
    number = 0
    for literal, field, spec, conversion in string.Formatter().parse(template):
        texts.append(literal)
        if field is None:
            continue
        if spec or conversion or not re.fullmatch(r"\w*", field):
            raise ProvenanceLostError("a format other than {}")
        if field == "" or field.isdigit():
            texts.append(args[int(field) if field else number])
            number += 1
        else:
            texts.append(kwargs[field])
    return join(texts)


def format_filter(value: Any, *args: Any, **kwargs: Any) -> Any:
    """The filter `format`."""
    return modulo(value if isinstance(value, str) else str(value), kwargs or args)


def call_on_text(owner: str, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """A method of a plain string that is given data."""
    if name == "join" and len(args) == 1 and not kwargs:
        return joined(owner, args[0])
    if name == "format":
        return _format(owner, args, kwargs)
    if name == "replace" and len(args) == 2 and not kwargs and type(args[0]) is str and args[0]:
        return joined(args[1], owner.split(args[0]))
    raise ProvenanceLostError(f"the string method {name} with data as argument")


def joined(separator: str, texts: Iterable[Any]) -> str:
    """Texts with a separator between them."""
    return join(piece for i, text in enumerate(texts) for piece in ((separator, text) if i else (text,)))


@jinja2.pass_eval_context
def join_filter(_: Any, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    """The filter `join`."""
    if attribute is not None:
        value = [_attribute(item, attribute) for item in value]
    return joined(d, value)


def _attribute(item: Any, attribute: str | int) -> Any:
    if isinstance(item, dict) and isinstance(attribute, str) and "." not in attribute:
        return item[attribute] if attribute in item else Undefined(obj=item, name=attribute)
    raise ProvenanceLostError("the filter join with an attribute path")


@jinja2.pass_eval_context
def replace_filter(_: Any, s: Any, old: str, new: str, count: int | None = None) -> str:
    """The filter `replace`."""
    if not holds_data(s, old, new, count):
        return str(s).replace(old, new, -1 if count is None else count)
    if isinstance(s, Traced):
        return s.replace(old, new) if count is None else s.replace(old, new, count)
    if isinstance(s, str) and count is None:
        return str(call_on_text(s, "replace", (old, new), {}))
    raise ProvenanceLostError("the filter replace")


def length(value: Any) -> Any:
    """The filter `length`: that of a text answers comparisons without being fixed."""
    return Length(value) if isinstance(value, Traced) else len(value)


def safe(value: Any) -> str:
    """The filter `safe`."""
    return marked(value if isinstance(value, str) else str(value))


def is_iterable(value: Any) -> bool:
    """The test `iterable`, which does not go through a text."""
    return isinstance(value, str) or hasattr(value, "__iter__") or hasattr(value, "__getitem__")


def is_sequence(value: Any) -> bool:
    """The test `sequence`."""
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")


def is_same(value: Any, other: Any) -> bool:
    """The test `sameas`: which object a text is, says nothing about other data."""
    if holds_data(value, other):
        raise ProvenanceLostError("whether data is the same object")
    return value is other


def is_integer(value: Any) -> bool:
    """The test `integer`."""
    return isinstance(value, (int, Length))
