"""The sandbox that renders data as `Traced` strings and lets nothing happen to them unseen.

Jinja compiles a template to Python, so most of what a template does to a string arrives at a method of `Traced`. The
rest is intercepted here: operators that C code would carry out on the left operand (`in`, `%`) and `~` are rewritten to
calls, filters and methods of plain strings that take data are replaced or refused, and joining keeps parts. What is not
known to be harmless raises `ProvenanceLostError`.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
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
from ismpack.templates.traced import Part, Traced, join, parts_of, plain, printed
from ismpack.templates.traced_filters import (
    call_on_text,
    format_filter,
    inside,
    is_integer,
    is_iterable,
    is_same,
    is_sequence,
    join_filter,
    joined,
    length,
    markup,
    modulo,
    on_lengths,
    refusing,
    replace_filter,
    safe,
    trim,
)
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
_LOOP_FACTS = ("index", "index0", "revindex", "revindex0", "first", "last", "length", "previtem", "nextitem")
_HARMLESS: dict[type, frozenset[str]] = {
    LoopContext: frozenset(_LOOP_FACTS),
    Traced: frozenset(("strip", "lstrip", "rstrip", "startswith", "endswith", "upper", "lower")),
}
"""Attributes that any sandbox would allow, without asking it."""

_DICT_ATTRIBUTES = frozenset(dir(dict))
_ATTRIBUTES: dict[type, frozenset[str]] = {
    Traced: _TEXT_METHODS,
    TracedList: frozenset(dir(list)),
    TracedObject: _DICT_ATTRIBUTES,
    TracedMessage: _DICT_ATTRIBUTES,
}
"""What a template may see of our own types: what the types they stand for have."""


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
                self.filters[name] = refusing(name, function, 0)
            elif name not in _WITH_DATA_ARGUMENTS:
                self.filters[name] = refusing(name, function, 1)
        for name in ("select", "reject", "selectattr", "rejectattr"):
            self.filters[name] = refusing(name, self.filters[name], 1, last=2)
        for name in _MARKUP_FILTERS:
            self.filters[name] = markup
        self.filters |= {name: on_lengths(self.filters[name]) for name in ("int", "float", "abs", "round")}
        self.filters |= {"join": join_filter, "length": length, "count": length, "trim": trim, "tojson": tojson}
        self.filters["format"] = growth.checked_filter("format", format_filter)
        self.filters["replace"] = growth.checked_filter("replace", replace_filter)
        self.filters |= {"_concat": lambda *texts: join(texts), "_in": inside, "_mod": modulo, "safe": safe}
        self.tests |= {"in": inside, "integer": is_integer, "sameas": is_same}
        self.tests |= {"iterable": is_iterable, "sequence": is_sequence}
        self.binop_table = {sign: on_lengths(function) for sign, function in self.binop_table.items()}
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
        if attribute in _HARMLESS.get(kind, ()):
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
                return joined(owner, args[0])
            if holds_data(*args, *given.values()):
                return call_on_text(owner, name, args, given)
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
