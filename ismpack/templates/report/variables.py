"""The variables that a template reads and a user may set with `--template-arg`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator

import jinja2
import jinja2.meta
from jinja2 import nodes

from ismpack.templates.report.markers import TAG

# What every render sets, and what Jinja and transformers offer as functions.
_GIVEN = frozenset([
    "messages", "tools", "add_generation_prompt", "documents", "raise_exception", "strftime_now", "range", "dict",
    "namespace", "lipsum", "cycler", "joiner", "loop", "self", "caller", "varargs", "kwargs",
    "bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token",
])  # fmt: skip


def free_variables(source: str) -> list[str]:
    """Variables that decide what the template prints and that it does not set itself, sorted.

    A name that the template assigns counts only if it asks before whether somebody else did: `x is defined`,
    `x | default(...)`, `{% set x = x or ... %}`.
    """
    tree = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"]).parse(_without_markers(source))  # noqa: S701
    assigned = _first_lines(_assigned(tree))
    asked = _first_lines(_asked(tree))
    return sorted(
        name
        for name in jinja2.meta.find_undeclared_variables(tree) - _GIVEN
        if name not in assigned or asked.get(name, sys.maxsize) <= assigned[name]
    )


def _assigned(tree: nodes.Template) -> Iterator[tuple[str, int]]:
    for name in tree.find_all(nodes.Name):
        if name.ctx in ("store", "param"):
            yield name.name, name.lineno
    for macro in tree.find_all(nodes.Macro):
        yield macro.name, 0


def _asked(tree: nodes.Template) -> Iterator[tuple[str, int]]:
    for question in tree.find_all((nodes.Test, nodes.Filter)):
        if question.name in ("defined", "undefined", "default", "d") and isinstance(question.node, nodes.Name):
            yield question.node.name, question.lineno
    for assign in tree.find_all(nodes.Assign):
        value = assign.node
        if isinstance(value, nodes.Or) and isinstance(value.left, nodes.Name):
            yield value.left.name, assign.lineno


def _first_lines(places: Iterable[tuple[str, int]]) -> dict[str, int]:
    lines: dict[str, int] = {}
    for name, line in places:
        lines[name] = min(line, lines.get(name, line))
    return lines


def _without_markers(source: str) -> str:
    """The template with its generation blocks as plain ones, which every Jinja reads."""

    def plain(tag: re.Match[str]) -> str:
        return f"{tag['open']} {'endif' if tag['end'] else 'if true'} {tag['close']}"

    return TAG.sub(plain, source)
