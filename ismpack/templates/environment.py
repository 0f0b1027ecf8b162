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
from ismpack.errors import IsmpackError, Location, RecordError, TokenizerError


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
        self.name = name
        self._variables = dict(variables or {})
        try:
            self._template = _environment(date).from_string(source)
        except TemplateSyntaxError as error:
            raise TokenizerError(
                f"the {name} is not valid Jinja: {error.message}",
                code="chat-template-invalid",
                location=Location(path=name, line=error.lineno),
            ) from error
        except Exception as error:  # Jinja compiles to Python, which has limits of its own
            raise TokenizerError(f"the {name} cannot be compiled: {error}", code="chat-template-invalid") from error

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
            RecordError: `template-error`, with the template's own message.
            TokenizerError: `chat-template-nondeterministic`.
        """
        try:
            return self._template.render(
                {"documents": None}
                | self._variables
                | dict(args or {})
                | {"messages": messages, "tools": tools and list(tools), "add_generation_prompt": add_generation_prompt}
            )
        except IsmpackError:
            raise
        except Exception as error:  # whatever foreign code raises is the template's refusal of this conversation
            text = str(error) or type(error).__name__
            raise RecordError(f"the chat template refuses this conversation: {text}", code="template-error") from error


def _environment(date: str | None) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols]
    )
    environment.filters["random"] = environment.globals["lipsum"] = _refuse_chance
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _clock(date)
    environment.globals["dict"] = _Dict()
    environment.globals["namespace"] = _Namespace
    return environment


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
