"""The sandbox in which chat templates run: what transformers gives a template, minus chance and the clock.

A template is code from the hub, so it runs in Jinja's immutable sandbox and sees only plain JSON values. Compared with
transformers' own environment (`transformers.utils.chat_template_utils`) three things are missing on purpose, because
they would make two runs differ: the `random` filter, `lipsum()`, and today's date. `strftime_now` shows the date the
user froze with `--date`; a template that asks for the date without it is refused. The tests compare both environments
on every template at hand.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.utils
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ismpack.data import Json
from ismpack.errors import Location, TokenizerError
from ismpack.templates import growth
from ismpack.templates.limits import TESTS, Rewriter, limited, printed


class ChatTemplate:
    """A compiled chat template with the variables that every render sees.

    Args:
        source: Jinja text.
        variables: Special tokens (`bos_token`, ...) and template arguments.
        date: ISO date for `strftime_now`, or None.
        name: What to call the template in messages.

    Raises:
        TokenizerError: `chat-template-invalid`, with Jinja's message and line.
    """

    def __init__(
        self,
        source: str,
        *,
        variables: Mapping[str, Json] | None = None,
        date: str | None = None,
        name: str = "chat template",
    ) -> None:
        self.source = source
        self.variables = dict(variables or {})
        self.date = date
        self.name = name
        self._compiled = compile_template(Sandbox(date), source, name)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Json] | None = None,
        add_generation_prompt: bool = False,
        args: Mapping[str, Json] | None = None,
    ) -> str:
        """The text that the template prints for these messages.

        Args:
            messages: Dicts as transformers passes them (no None values).
            tools: Tool definitions.
            add_generation_prompt: Whether to open an assistant message at the end.
            args: Template arguments of this record; they win over the run's.

        Raises:
            RecordError: `template-error`, with the template's own message or the limit that it passed.
            TokenizerError: `chat-template-nondeterministic`.
        """
        context = context_variables(self, messages, tools=tools, add_generation_prompt=add_generation_prompt, args=args)
        with limited():
            template = self._compiled
            return printed(template.root_render_func(template.new_context(context)))


def context_variables(
    template: ChatTemplate,
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Json] | None,
    add_generation_prompt: bool,
    args: Mapping[str, Json] | None,
) -> dict[str, Any]:
    """The names that a render sees. The conversation wins over the record's arguments, and these over the run's."""
    return {
        "documents": None,
        **template.variables,
        **(args or {}),
        "messages": messages,
        "tools": tools and list(tools),
        "add_generation_prompt": add_generation_prompt,
    }


def compile_template(sandbox: Sandbox, source: str, name: str) -> jinja2.Template:
    """Jinja text to something that renders in this sandbox.

    Raises:
        TokenizerError: `chat-template-invalid`, with Jinja's message and line.
    """
    try:
        return sandbox.from_string(source)
    except TemplateSyntaxError as error:
        raise TokenizerError(
            f"the {name} is not valid Jinja: {error.message}",
            code="chat-template-invalid",
            location=Location(path=name, line=error.lineno),
        ) from error
    except Exception as error:  # Jinja compiles to Python, which has limits of its own
        raise TokenizerError(f"the {name} cannot be compiled: {error}", code="chat-template-invalid") from error


class Sandbox(ImmutableSandboxedEnvironment):
    """What template code can reach: Jinja's own, transformers' additions, and nothing that differs between runs.

    Args:
        date: ISO date for `strftime_now`, or None.
    """

    intercepted_binops = frozenset(growth.OPERATORS)
    wrap_str_format = growth.checked_method  # called for every attribute, so without a detour
    concat = staticmethod(printed)

    def __init__(self, date: str | None) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols])
        self.filters["random"] = self.globals["lipsum"] = _refuse_chance
        self.filters["tojson"] = _tojson
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = _clock(date)
        self.globals["dict"] = _Dict()
        self.globals["namespace"] = _Namespace
        self.filters |= {name: growth.checked_filter(name, function) for name, function in self.filters.items()}
        self.filters |= {"join": growth.join_filter, "sum": growth.sum_filter}
        self.binop_table |= growth.OPERATORS
        self.tests |= TESTS

    def rewritten(self, tree: jinja2.nodes.Template) -> jinja2.nodes.Template:
        """The parsed template as it shall be compiled. A subclass extends this."""
        Rewriter().visit(tree)
        return tree

    def _generate(
        self, source: jinja2.nodes.Template, name: str | None, filename: str | None, defer_init: bool = False
    ) -> str:
        return super()._generate(self.rewritten(source), name, filename, defer_init)


class _GenerationTag(jinja2.ext.Extension):
    """`{% generation %} ... {% endgeneration %}` prints its body; where answers lie, we find out ourselves."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own declaration of this attribute

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        # A call block, as in transformers, so that names set inside stay inside.
        return jinja2.nodes.CallBlock(self.call_method("_print"), [], [], body).set_lineno(line)

    def _print(self, caller: Callable[[], str]) -> str:
        return caller()


def _tojson(
    value: Json,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Like transformers' filter: no HTML escaping, which Jinja's own would do."""
    growth.check_json_indent(indent)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse_chance(*_: object, **__: object) -> NoReturn:
    raise TokenizerError(
        "the chat template asks for something random, which would make two runs differ",
        code="chat-template-nondeterministic",
    )


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _clock(date: str | None) -> Callable[[str], str]:
    def strftime_now(layout: str) -> str:
        if date is None:
            raise TokenizerError(
                "the chat template prints today's date, which would make two runs differ",
                code="chat-template-nondeterministic",
                hint="Freeze it: --date YYYY-MM-DD.",
            )
        return datetime.datetime.fromisoformat(date).strftime(layout)

    return strftime_now


class _Dict:
    """`dict(...)` and `dict.fromkeys(...)` without the type object, whose attributes lead out of the sandbox."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _Namespace(jinja2.utils.Namespace):
    """Jinja's namespace that takes no underscore name, so nothing reaches Python's internals through it."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # a template may use `self` as a name
        self, *positional = args
        attributes = dict(*positional, **kwargs)
        for name in attributes:
            _Namespace._refuse_private(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _Namespace._refuse_private(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def _refuse_private(name: object) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise SecurityError(f"a namespace cannot hold the name {name!r}")
