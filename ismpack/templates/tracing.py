"""The sandbox that renders data as `Traced` strings and lets nothing happen to them unseen.

Jinja compiles a template to Python, so most of what a template does to a string arrives at a method of `Traced`. The
rest is intercepted here: operators that C code would carry out on the left operand (`in`, `%`) and `~` are rewritten to
calls, filters and methods of plain strings that take data are replaced or refused, and joining keeps parts. What is not
known to be harmless raises `ProvenanceLostError`.
"""

from __future__ import annotations

import functools
import numbers
import operator
import re
import string
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jinja2
import jinja2.nodes
from jinja2.runtime import Context, LoopContext, Macro, Undefined
from jinja2.visitor import NodeTransformer

from ismpack.templates import growth
from ismpack.templates.environment import ChatTemplate, Sandbox, compile_template
from ismpack.templates.limits import check_length
from ismpack.templates.traced import Length, Part, ProvenanceLostError, Traced, join, parts_of, symbol_of
from ismpack.templates.traced_json import holds_data, tojson

numbers.Number.register(Length)

_SAFE_FILTERS = frozenset(
    [
        "attr",
        "batch",
        "capitalize",
        "d",
        "default",
        "dictsort",
        "first",
        "groupby",
        "items",
        "last",
        "list",
        "lower",
        "map",
        "max",
        "min",
        "reject",
        "rejectattr",
        "reverse",
        "select",
        "selectattr",
        "slice",
        "sort",
        "string",
        "trim",
        "unique",
        "upper",
    ]
)
"""Filters that only call methods of what they are given, or pass it on."""

_TEXT_METHODS = ("strip", "lstrip", "rstrip", "startswith", "endswith", "upper", "lower")
_LOOP_FACTS = ("index", "index0", "revindex", "revindex0", "first", "last", "length", "previtem", "nextitem")
_PLAIN_ATTRIBUTES: dict[type, frozenset[str]] = {
    Traced: frozenset(_TEXT_METHODS),
    LoopContext: frozenset(_LOOP_FACTS),
}
"""Attributes that any sandbox would allow."""

_DICT_ATTRIBUTES = frozenset(dir(dict))
_CONVERSION = re.compile(r"%(?:\((?P<name>\w+)\))?(?P<kind>[%s])")


class TracedTemplate:
    """A chat template that renders to parts.

    Args:
        template: The template.

    Raises:
        ProvenanceLostError: The template cannot be traced at all.
    """

    def __init__(self, template: ChatTemplate) -> None:
        self._compiled = compile_template(_TracingSandbox(template.date), template.source, template.name)

    def render(self, context: Mapping[str, Any]) -> list[Part]:
        """The parts that the template prints, neighbouring template text joined.

        Args:
            context: See `environment.context_variables`; data in it is traced.

        Raises:
            ProvenanceLostError: The template did something that cannot be followed. Also whatever the template raises.
        """
        parts: list[Part] = []
        template = self._compiled
        length = 0
        for piece in template.root_render_func(template.new_context(dict(context))):
            length += str.__len__(piece)
            check_length(length)
            for text, source in parts_of(piece):
                if source is None and parts and parts[-1][1] is None:
                    parts[-1] = (parts[-1][0] + text, None)
                elif text or source is not None:
                    parts.append((text, source))
        return parts


class _TracingSandbox(Sandbox):
    concat = staticmethod(join)  # type: ignore[assignment]

    def __init__(self, date: str | None) -> None:
        super().__init__(date)
        for name, function in list(self.filters.items()):
            if name not in _SAFE_FILTERS:
                self.filters[name] = _refusing(name, function)
        self.filters |= {"join": _join_filter, "length": _length, "count": _length}
        self.filters |= {name: _on_lengths(self.filters[name]) for name in ("int", "float", "abs", "round")}
        self.filters |= {"safe": _safe, "format": growth.checked_filter("format", _format_filter)}
        self.filters["replace"] = growth.checked_filter("replace", _replace_filter)
        self.filters["tojson"] = tojson
        self.filters |= {"_concat": lambda *texts: join(texts), "_in": _inside, "_mod": _modulo}
        self.tests |= {"in": _inside, "iterable": _is_iterable, "sequence": _is_sequence, "integer": _is_integer}
        self._harmless = [value for name, value in self.globals.items() if name != "strftime_now"]

    def rewritten(self, tree: jinja2.nodes.Template) -> jinja2.nodes.Template:
        """Also turns `~`, `in` and `%` into calls."""
        rewritten: jinja2.nodes.Template = _Operators().visit(super().rewritten(tree))
        return rewritten

    def getattr(self, obj: Any, attribute: str) -> Any:
        """As in Jinja, with a short way for the messages."""
        if type(obj) is dict and attribute not in _DICT_ATTRIBUTES:
            try:
                return obj[attribute]
            except KeyError:
                return self.undefined(obj=obj, name=attribute)
        if attribute in _PLAIN_ATTRIBUTES.get(type(obj), ()):
            return getattr(obj, attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """As in Jinja, with a short way for the messages."""
        if type(obj) is dict and type(argument) is str and argument not in _DICT_ATTRIBUTES:
            try:
                return obj[argument]
            except KeyError:
                return self.undefined(obj=obj, name=argument)
        return super().getitem(obj, argument)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as in Jinja
        """Calls of plain strings' methods with data are modelled or refused, and so are unknown functions."""
        given = {name: value for name, value in kwargs.items() if name not in ("_loop_vars", "_block_vars")}
        if holds_data(*args, *given.values()):
            method = getattr(__obj, "__wrapped__", __obj)  # the sandbox wraps str.format
            owner = getattr(method, "__self__", None)
            if type(owner) is str:
                return _call_on_text(owner, method.__name__, args, given)
            ours = isinstance(__obj, (Macro, LoopContext)) or any(__obj is one for one in __self._harmless)
            if owner is None and not ours:
                raise ProvenanceLostError(f"a call of {getattr(__obj, '__name__', type(__obj).__name__)} with data")
        return super().call(__context, __obj, *args, **kwargs)


class _Operators(NodeTransformer):
    """Rewrites operators whose left operand decides, and whose right one may be data."""

    def visit_Concat(self, node: jinja2.nodes.Concat) -> jinja2.nodes.Node:  # noqa: N802 - Jinja's name
        self.generic_visit(node)
        return _call("_concat", node.nodes, node)

    def visit_Mod(self, node: jinja2.nodes.Mod) -> jinja2.nodes.Node:  # noqa: N802 - Jinja's name
        self.generic_visit(node)
        return _call("_mod", [node.left, node.right], node)

    def visit_Compare(self, node: jinja2.nodes.Compare) -> jinja2.nodes.Node:  # noqa: N802 - Jinja's name
        self.generic_visit(node)
        if not any(operand.op in ("in", "notin") for operand in node.ops):
            return node
        if len(node.ops) > 1:
            raise ProvenanceLostError("a chain of comparisons with `in`")
        found = _call("_in", [node.expr, node.ops[0].expr], node)
        return found if node.ops[0].op == "in" else jinja2.nodes.Not(found, lineno=node.lineno)


def _call(name: str, operands: list[jinja2.nodes.Expr], at: jinja2.nodes.Node) -> jinja2.nodes.Filter:
    return jinja2.nodes.Filter(operands[0], name, operands[1:], [], None, None, lineno=at.lineno)


def _refusing(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that takes no data."""

    @functools.wraps(function)
    def refuse(*args: Any, **kwargs: Any) -> Any:
        if holds_data(*args, *kwargs.values()):
            raise ProvenanceLostError(f"the filter {name}")
        return function(*args, **kwargs)

    return refuse


def _on_lengths(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of numbers, which takes a text's length too."""
    return lambda value, *args, **kwargs: function(
        value.fixed() if isinstance(value, Length) else value, *args, **kwargs
    )


def _inside(value: Any, container: Any) -> bool:
    if isinstance(value, Traced) and type(container) is str:
        return bool(value.recorder.ask("inside", symbol_of(value), (container,), str.__contains__(container, value)))
    return value in container


def _modulo(left: Any, right: Any) -> Any:
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


def _format_filter(value: Any, *args: Any, **kwargs: Any) -> Any:
    return _modulo(value if isinstance(value, str) else str(value), kwargs or args)


def _call_on_text(owner: str, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """A method of a plain string that is given data."""
    if name == "join" and len(args) == 1 and not kwargs:
        return _joined(owner, args[0])
    if name == "format":
        return _format(owner, args, kwargs)
    if name == "replace" and len(args) == 2 and not kwargs and type(args[0]) is str and args[0]:
        return _joined(args[1], owner.split(args[0]))
    raise ProvenanceLostError(f"the string method {name} with data as argument")


def _joined(separator: str, texts: Iterable[Any]) -> str:
    return join(piece for i, text in enumerate(texts) for piece in ((separator, text) if i else (text,)))


@jinja2.pass_eval_context
def _join_filter(_: Any, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    if attribute is not None:
        value = [_attribute(item, attribute) for item in value]
    return _joined(d, value)


def _attribute(item: Any, attribute: str | int) -> Any:
    if isinstance(item, dict) and isinstance(attribute, str) and "." not in attribute:
        return item[attribute] if attribute in item else Undefined(obj=item, name=attribute)
    raise ProvenanceLostError("the filter join with an attribute path")


@jinja2.pass_eval_context
def _replace_filter(_: Any, s: Any, old: str, new: str, count: int | None = None) -> str:
    if not holds_data(s, old, new, count):
        return str(s).replace(old, new, -1 if count is None else count)
    if isinstance(s, Traced):
        return s.replace(old, new) if count is None else s.replace(old, new, count)
    if isinstance(s, str) and count is None:
        return str(_call_on_text(s, "replace", (old, new), {}))
    raise ProvenanceLostError("the filter replace")


def _length(value: Any) -> Any:
    return Length(value) if isinstance(value, Traced) else len(value)


def _safe(value: Any) -> Any:
    return value if isinstance(value, str) else str(value)


def _is_iterable(value: Any) -> bool:
    return isinstance(value, str) or hasattr(value, "__iter__") or hasattr(value, "__getitem__")


def _is_sequence(value: Any) -> bool:
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, Length))
