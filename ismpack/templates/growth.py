"""What in a template makes long texts from short ones, each behind a check that knows the length beforehand.

Operators, methods and filters keep their own meaning and their own errors; a check that does not understand its
arguments lets them pass, and Python then refuses them in its own words.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import BuiltinMethodType, MethodType
from typing import Any

import jinja2
import jinja2.filters
from jinja2.nodes import EvalContext
from jinja2.sandbox import SandboxedEnvironment, SandboxedEscapeFormatter, SandboxedFormatter
from markupsafe import Markup

from ismpack.templates import limits
from ismpack.templates.limits import check_bits, check_items, check_length, checked

_DEPTH = 256  # no record is nested more deeply
_DIGITS = re.compile(r"\d+")

# ------------------------------------------------------------------------------------------------------------ operators


def multiply(left: Any, right: Any) -> Any:
    """`left * right`."""
    if isinstance(left, int) and isinstance(right, int):
        check_bits(left.bit_length() + right.bit_length())
    elif isinstance(left, int) or isinstance(right, int):
        times, value = (left, right) if isinstance(left, int) else (right, left)
        if isinstance(value, (str, bytes)):
            check_length(_length(value) * times)
        elif isinstance(value, (list, tuple)):
            check_items(len(value) * times)
    return left * right


def power(left: Any, right: Any) -> Any:
    """`left ** right`."""
    if isinstance(left, int) and isinstance(right, int):
        check_bits(left.bit_length() * right)
    return left**right


def modulo(left: Any, right: Any) -> Any:
    """`left % right`; of a text, what C's printf does."""
    if isinstance(left, (str, bytes)):
        _ask(check_percent, left, right)
        return checked(left % right)
    return left % right


def check_percent(text: str | bytes, given: Any) -> None:
    """Refuses `text % given` if it may get too long: by widths and precisions, or by long texts put in often."""
    plain = str.__str__(text) if isinstance(text, str) else text.decode("latin-1")
    values: Collection[Any] = given.values() if isinstance(given, Mapping) else given
    if not isinstance(given, (Mapping, tuple)):
        values = (given,)
    times = str.count(plain, "%(") if isinstance(given, Mapping) else 1
    widths = sum(int(digits) for digits in _DIGITS.findall(plain[str.find(plain, "%") :]))
    if "*" in plain:
        widths += sum(abs(value) for value in values if isinstance(value, int))
    check_length(_length(text) + widths + times * sum(map(_length, values)))


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {"*": multiply, "**": power, "%": modulo}
"""What `binop_table` gets. `+` and `~` are too common for that, see `limits.Rewriter`."""

# -------------------------------------------------------------------------------------------------------------- methods


def checked_method(environment: SandboxedEnvironment, value: Any) -> Callable[..., Any] | None:
    """The same method behind a check, and `str.format` kept inside the sandbox; None for a value that needs neither."""
    if not isinstance(value, (MethodType, BuiltinMethodType)):
        return None
    name, owner = value.__name__, value.__self__
    if name in ("format", "format_map"):
        return _formatting(environment, value) if isinstance(owner, str) else None
    check = _METHODS.get(name)
    if check is None or not isinstance(owner, (str, bytes, int)):
        return None
    if check is _check_split and _length(owner) <= limits.MAX_ITEMS:  # it cannot be too much, and is used often
        return None

    @functools.wraps(value)
    def call(*args: Any, **kwargs: Any) -> Any:
        if name == "join" and args and isinstance(args[0], Iterator):
            args = (list(args[0]), *args[1:])  # it gives its items only once
        _ask(check, owner, *args, **kwargs)
        return value(*args, **kwargs)

    return call


def _check_width(_: Any, width: int = 80, *__: Any, **___: Any) -> None:
    check_length(width)


def _check_tabs(text: str, tabsize: int = 8) -> None:
    check_length(_length(text) + _count(text, "\t") * tabsize)


def _check_bytes(_: int, length: int = 1, *__: Any, **___: Any) -> None:
    check_length(length)


def _check_replace(text: Any, old: Any, new: Any, count: int | None = -1) -> None:
    if _length(new) > _length(old):
        found = _count(text, old) if count is None or count < 0 else min(count, _count(text, old))
        check_length(_length(text) + found * (_length(new) - _length(old)))


def _check_translate(text: str, table: Mapping[int, Any]) -> None:
    if isinstance(table, Mapping):
        check_length(_length(text) * max(map(_length, table.values()), default=1))


def _check_join(separator: Any, pieces: Collection[Any]) -> None:
    check_length(sum(map(_length, pieces)) + _length(separator) * len(pieces))


def _check_split(text: Any, sep: Any = None, *_: Any, **__: Any) -> None:
    check_items(_count(text, sep) if isinstance(sep, (str, bytes)) else _length(text) // 2)


_METHODS: dict[str, Callable[..., None]] = {
    "center": _check_width,
    "expandtabs": _check_tabs,
    "join": _check_join,
    "ljust": _check_width,
    "replace": _check_replace,
    "rjust": _check_width,
    "rsplit": _check_split,
    "split": _check_split,
    "splitlines": _check_split,
    "to_bytes": _check_bytes,
    "translate": _check_translate,
    "zfill": _check_width,
}


class _Measured(SandboxedFormatter):
    """Counts what is put into a format, field by field."""

    made = 0

    def format_field(self, value: Any, format_spec: str) -> Any:
        for digits in _DIGITS.findall(format_spec):
            check_length(int(digits))
        text = super().format_field(value, format_spec)
        self.made += len(text)
        check_length(self.made)
        return text


class _MeasuredMarkup(_Measured, SandboxedEscapeFormatter):
    """The same for text that a template has escaped."""


def _formatting(environment: SandboxedEnvironment, method: Any) -> Callable[..., str]:
    text = method.__self__

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        fields: Mapping[str, Any] = kwargs
        if method.__name__ == "format_map":
            if kwargs:
                raise TypeError("format_map() takes no keyword arguments")
            if len(args) != 1:
                raise TypeError(f"format_map() takes exactly one argument ({len(args)} given)")
            fields, args = args[0], ()
        if isinstance(text, Markup):
            return type(text)(_MeasuredMarkup(environment, escape=text.escape).vformat(text, args, fields))
        return type(text)(_Measured(environment).vformat(text, args, fields))

    return call


# -------------------------------------------------------------------------------------------------------------- filters


def checked_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter behind the check for filters of this name; itself if there is none."""
    check = _FILTERS.get(name)
    if check is None:
        return function
    skipped = int(hasattr(function, "jinja_pass_arg"))

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        _ask(check, *args[skipped:], **kwargs)
        return checked(function(*args, **kwargs))

    return call


def _check_indent(text: str, width: int | str = 4, *_: Any, **__: Any) -> None:
    lines = len(str.splitlines(text)) + 1
    check_length(_length(text) + lines * (width if isinstance(width, int) else _length(width)))


def _check_wrap(text: str, *args: Any, wrapstring: str | None = None, **_: Any) -> None:
    check_length(_length(text) * (1 + max(map(_length, (*args, wrapstring)))))


def _check_replace_filter(s: Any, old: Any, new: Any, count: int | None = None) -> None:
    text, part, other = (value if isinstance(value, str) else str(value) for value in (s, old, new))
    _check_replace(text, part, other, count)


def _check_format(text: Any, *args: Any, **kwargs: Any) -> None:
    check_percent(text, kwargs or args)


def _check_batch(_: Any, linecount: int, *__: Any, **___: Any) -> None:
    check_items(linecount)


def _check_slice(_: Any, slices: int, *__: Any, **___: Any) -> None:
    check_items(slices)


def _check_list(value: Any) -> None:
    check_items(_length(value))


def _check_round(_: Any, precision: int = 0, *__: Any, **___: Any) -> None:
    check_bits(4 * abs(precision))


_FILTERS: dict[str, Callable[..., None]] = {
    "batch": _check_batch,
    "center": _check_width,
    "format": _check_format,
    "indent": _check_indent,
    "list": _check_list,
    "replace": _check_replace_filter,
    "round": _check_round,
    "slice": _check_slice,
    "wordwrap": _check_wrap,
}


@jinja2.pass_eval_context
def join_filter(context: EvalContext, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> Any:
    """Jinja's `join`."""
    if attribute is not None:
        value = map(jinja2.filters.make_attrgetter(context.environment, attribute), value)
    pieces = list(value)
    _ask(_check_join, d, pieces)
    return checked(jinja2.filters.sync_do_join(context, pieces, d))


@jinja2.pass_environment
def sum_filter(
    environment: jinja2.Environment, iterable: Iterable[Any], attribute: str | int | None = None, start: Any = 0
) -> Any:
    """Jinja's `sum`, which also joins lists."""
    if not isinstance(start, (list, tuple)):
        return jinja2.filters.sync_do_sum(environment, iterable, attribute, start)
    if attribute is not None:
        iterable = map(jinja2.filters.make_attrgetter(environment, attribute), iterable)
    return functools.reduce(lambda total, item: checked(operator.add(total, item)), iterable, start)


def check_json_indent(indent: int | str | None) -> None:
    """Refuses an indentation with which JSON may get too long."""
    if indent:
        check_length(_DEPTH * (indent if isinstance(indent, int) else _length(indent)))


def _ask(check: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    try:
        check(*args, **kwargs)
    except (TypeError, ValueError, AttributeError):
        return  # the operation itself will say what is wrong


def _length(value: object) -> int:
    """Characters of a text, without asking a text that traces what is asked of it; 0 for anything else."""
    return str.__len__(value) if isinstance(value, str) else len(value) if isinstance(value, bytes) else 0


def _count(text: Any, part: Any) -> int:
    return str.count(text, part) if isinstance(text, str) else bytes.count(text, part)
