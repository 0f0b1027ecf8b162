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
from itertools import groupby
from typing import Any

import jinja2
import jinja2.nodes
from jinja2.runtime import Context, LoopContext, Macro, Undefined
from jinja2.utils import Cycler, Joiner
from jinja2.visitor import NodeTransformer

from ismpack.templates import growth
from ismpack.templates.environment import ChatTemplate, Sandbox, compile_template
from ismpack.templates.lengths import Length, fixed
from ismpack.templates.limits import check_length
from ismpack.templates.recorder import ProvenanceLostError
from ismpack.templates.traced import Part, Traced, join, marked, parts_of, plain, printed, symbol_of
from ismpack.templates.traced_json import TracedList, TracedMessage, TracedObject, holds_data, tojson

numbers.Number.register(Length)

_SAFE_FILTERS = frozenset(
    (
        *("attr", "batch", "capitalize", "d", "default", "dictsort", "first", "groupby", "items", "last", "list"),
        *("lower", "map", "max", "min", "reject", "rejectattr", "reverse", "select", "selectattr", "slice", "sort"),
        *("string", "unique", "upper"),
    )
)
"""Filters that only call methods of what they are given, or pass it on."""

_WITH_DATA_ARGUMENTS = frozenset(("d", "default", "select", "reject", "selectattr", "rejectattr"))
"""Those whose arguments may be data: a default, and what a test compares with."""

_MARKUP_FILTERS = ("e", "escape", "forceescape", "urlize", "xmlattr")
"""Filters that make a kind of text which changes what it is joined with."""

_OWNERS = (Traced, TracedObject, TracedList, TracedMessage, dict, list, tuple, LoopContext, Cycler, Joiner)
"""Whose methods may be given data: Python code, or C code that only compares."""

_TEXT_METHODS = frozenset(name for name in dir(str) if name[0] != "_")
_LOOP_FACTS = frozenset(["index", "index0", "revindex", "revindex0", "first", "last", "length", "previtem", "nextitem"])
_DICT_ATTRIBUTES = frozenset(dir(dict))
_ATTRIBUTES: dict[type, frozenset[str]] = {
    Traced: _TEXT_METHODS,
    TracedList: frozenset(dir(list)),
    TracedObject: _DICT_ATTRIBUTES,
    TracedMessage: _DICT_ATTRIBUTES,
}
"""What a template may see of our own types: what the types they stand for have."""

_CONVERSION = re.compile(r"%(?:\((?P<name>\w+)\))?(?P<kind>[%s])")


class TracedTemplate:
    """A chat template that renders to parts.

    Args:
        template: The template.

    Raises:
        ProvenanceLostError: The template cannot be traced at all.
    """

    def __init__(self, template: ChatTemplate) -> None:
        sandbox = _TracingSandbox(template.date)
        self._compiled = compile_template(sandbox, template.source, template.name)
        if sandbox.untraceable:
            raise ProvenanceLostError(sandbox.untraceable)

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
            parts += parts_of(piece)
        joined: list[Part] = []
        for is_data, group in groupby(parts, lambda part: part[1] is not None):
            run = list(group)
            joined += run if is_data else [("".join([text for text, _ in run]), None)]
        return [part for part in joined if part[0] or part[1] is not None]


class _TracingSandbox(Sandbox):
    concat = staticmethod(printed)  # type: ignore[assignment]

    def __init__(self, date: str | None) -> None:
        self.untraceable: str | None = None
        super().__init__(date)
        for name, function in list(self.filters.items()):
            if name not in _SAFE_FILTERS:
                self.filters[name] = _refusing(name, function, 0)
            elif name not in _WITH_DATA_ARGUMENTS:
                self.filters[name] = _refusing(name, function, 1)
        for name in ("select", "reject", "selectattr", "rejectattr"):
            self.filters[name] = _refusing(name, self.filters[name], 1, last=2)
        for name in _MARKUP_FILTERS:
            self.filters[name] = _markup
        self.filters |= {name: _on_lengths(self.filters[name]) for name in ("int", "float", "abs", "round")}
        self.filters |= {"join": _join_filter, "length": _length, "count": _length, "trim": _trim, "tojson": tojson}
        self.filters["format"] = growth.checked_filter("format", _format_filter)
        self.filters["replace"] = growth.checked_filter("replace", _replace_filter)
        self.filters |= {"_concat": lambda *texts: join(texts), "_in": _inside, "_mod": _modulo, "safe": _safe}
        self.tests |= {"in": _inside, "integer": _is_integer, "sameas": _is_same}
        self.tests |= {"iterable": _is_iterable, "sequence": _is_sequence}
        self.binop_table = {sign: _on_lengths(function) for sign, function in self.binop_table.items()}
        self._harmless = [value for name, value in self.globals.items() if name != "strftime_now"]

    def rewritten(self, tree: jinja2.nodes.Template) -> jinja2.nodes.Template:
        """Also turns `~`, `in` and `%` into calls."""
        operators = _Operators()
        rewritten: jinja2.nodes.Template = operators.visit(super().rewritten(tree))
        self.untraceable = operators.untraceable
        return rewritten

    def getattr(self, obj: Any, attribute: str) -> Any:
        """As in Jinja, but of our own types only what the type they stand for has."""
        kind = type(obj)
        if kind is dict and attribute not in _DICT_ATTRIBUTES:
            try:
                return obj[attribute]
            except KeyError:
                return self.undefined(obj=obj, name=attribute)
        if kind is LoopContext and attribute in _LOOP_FACTS:
            return getattr(obj, attribute)
        known = _ATTRIBUTES.get(kind)
        if known is None or attribute in known:
            return super().getattr(fixed(obj), attribute)
        return self._entry(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """As in Jinja, but of our own types only what the type they stand for has."""
        if type(obj) is dict and type(argument) is str and argument not in _DICT_ATTRIBUTES:
            return self.getattr(obj, argument)
        known = _ATTRIBUTES.get(type(obj))
        if known is None:
            return super().getitem(fixed(obj), argument)
        found = self._entry(obj, argument)
        name = plain(argument)
        is_attribute = isinstance(found, Undefined) and isinstance(name, str) and name in known
        return super().getattr(obj, name) if is_attribute else found

    def _entry(self, obj: Any, key: Any) -> Any:
        try:
            return obj[key]
        except (LookupError, TypeError, AttributeError):
            return self.undefined(obj=obj, name=plain(key))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as in Jinja
        """Calls of plain strings' methods with data are modelled or refused, and so are unknown functions."""
        given = {name: value for name, value in kwargs.items() if name not in ("_loop_vars", "_block_vars")}
        method = getattr(__obj, "__wrapped__", __obj)  # the sandbox wraps methods that may make long texts
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str) and not isinstance(owner, Traced):
            name = method.__name__
            if name == "join" and len(args) == 1 and type(owner) is str:
                return _joined(owner, args[0])
            if holds_data(*args, *given.values()):
                return _call_on_text(owner, name, args, given)
        elif holds_data(*args, *given.values()):
            known = isinstance(__obj, (Macro, LoopContext, *_OWNERS)) or any(__obj is one for one in __self._harmless)
            if not known and not (isinstance(owner, _OWNERS) or _is_ours(owner)):
                raise ProvenanceLostError(f"a call of {getattr(__obj, '__name__', type(__obj).__name__)} with data")
        return super().call(__context, __obj, *args, **kwargs)


def _is_ours(owner: Any) -> bool:
    """Whether a method belongs to an object of the sandbox (`dict.fromkeys`)."""
    return type(owner).__module__ == Sandbox.__module__


class _Operators(NodeTransformer):
    """Rewrites operators whose left operand decides, and whose right one may be data.

    Attributes:
        untraceable: What cannot be traced at all, if there is such a thing.
    """

    def __init__(self) -> None:
        self.untraceable: str | None = None

    def visit_ScopedEvalContextModifier(self, node: jinja2.nodes.Node) -> jinja2.nodes.Node:  # noqa: N802
        self.untraceable = "an autoescape block"
        return self.generic_visit(node)

    visit_EvalContextModifier = visit_ScopedEvalContextModifier  # noqa: N815

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
            self.untraceable = "a chain of comparisons with `in`"
            return node
        found = _call("_in", [node.expr, node.ops[0].expr], node)
        return found if node.ops[0].op == "in" else jinja2.nodes.Not(found, lineno=node.lineno)


def _call(name: str, operands: list[jinja2.nodes.Expr], at: jinja2.nodes.Node) -> jinja2.nodes.Filter:
    return jinja2.nodes.Filter(operands[0], name, operands[1:], [], None, None, lineno=at.lineno)


def _refusing(name: str, function: Callable[..., Any], first: int, last: int | None = None) -> Callable[..., Any]:
    """A filter whose arguments from `first` up to `last` must not be data; keywords never."""
    skipped = int(hasattr(function, "jinja_pass_arg"))
    end = None if last is None else skipped + last

    @functools.wraps(function)
    def refuse(*args: Any, **kwargs: Any) -> Any:
        if holds_data(*args[skipped + first : end], *kwargs.values()):
            raise ProvenanceLostError(f"the filter {name}")
        return function(*args, **kwargs)

    return refuse


def _markup(*_: Any, **__: Any) -> Any:
    raise ProvenanceLostError("escaped text")


def _trim(value: Any, chars: Any = None) -> str:
    text = value if isinstance(value, str) else str(value)
    if isinstance(chars, Traced) and not isinstance(text, Traced):
        raise ProvenanceLostError("strip with data as argument")
    return text.strip(chars)


def _on_lengths(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of numbers, which takes a text's length too."""
    return lambda *args, **kwargs: function(*map(fixed, args), **kwargs)


def _inside(value: Any, container: Any) -> bool:
    if isinstance(value, Traced) and isinstance(container, str) and not isinstance(container, Traced):
        return bool(value._recorder.ask("inside", symbol_of(value), (container,), str.__contains__(container, value)))
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


def _safe(value: Any) -> str:
    return marked(value if isinstance(value, str) else str(value))


def _is_iterable(value: Any) -> bool:
    return isinstance(value, str) or hasattr(value, "__iter__") or hasattr(value, "__getitem__")


def _is_sequence(value: Any) -> bool:
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")


def _is_same(value: Any, other: Any) -> bool:
    if holds_data(value, other):
        raise ProvenanceLostError("whether data is the same object")
    return value is other


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, Length))
