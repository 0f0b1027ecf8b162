"""Options that more than one command takes: which tokenizer and template, and what is trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import click

from ismpack.cli.console import option


def _template_arg(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """`K=V` pairs; V is JSON if it parses as JSON, else text."""
    arguments: dict[str, Any] = {}
    for pair in values:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise click.BadParameter(f"{pair!r} is not K=V with a variable name for K")
        try:
            arguments[key] = json.loads(value)
            json.dumps(arguments[key], allow_nan=False)
        except ValueError:  # text, or a number that JSON does not have
            arguments[key] = value
    return arguments


def _mapping(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """`name=key` pairs, several of them with commas in between."""
    mapping: dict[str, str] = {}
    for pair in (pair for value in values for pair in value.split(",")):
        name, equals, key = (part.strip() for part in pair.partition("="))
        if not equals or not name or not key:
            raise click.BadParameter(f"{pair!r} is not NAME=KEY, as in messages=dialog,role=speaker,content=text")
        if name in mapping:
            raise click.BadParameter(f"{name} is given twice")
        mapping[name] = key
    return mapping


_RECORDS = (
    option(
        "Input",
        "--format",
        default="auto",
        metavar="NAME",
        help="Read every record as this format (`ismpack formats`) instead of finding it for each.",
    ),
    option(
        "Input",
        "--map",
        multiple=True,
        metavar="NAME=KEY,...",
        callback=_mapping,
        help="Describe another format: messages, role, content, role.user, role.assistant, ... or prompt, completion; "
        "system, tools. KEY is the record's own key.",
    ),
    option("Input", "--limit", type=int, metavar="RECORDS", help="Use only the first records."),
)

_TEMPLATE = (
    option(
        "Template", "--chat-template", metavar="FILE", help="Jinja file to use instead of the tokenizer's template."
    ),
    option(
        "Template",
        "--template-arg",
        "template_args",
        multiple=True,
        metavar="K=V",
        callback=_template_arg,
        help="Variable for the template; V may be JSON. Repeatable.",
    ),
    option(
        "Template",
        "--stop-token",
        "stop_tokens",
        multiple=True,
        metavar="S",
        help="Added token that ends an answer, besides the tokenizer's own. Repeatable.",
    ),
    option("Template", "--date", metavar="YYYY-MM-DD", help="Date that the template's clock shows."),
    option("Template", "--default-system", metavar="TEXT", help="System message for conversations that have none."),
)

_TRAINING = (
    option("Training", "--loss", type=click.Choice(["all", "last"]), default="all", help="Answers to train on."),
    option(
        "Training",
        "--on-rewrite",
        type=click.Choice(["stitch", "split", "error"]),
        default="stitch",
        help="When the template changes earlier answers: keep each as it was generated, make one sample per answer, "
        "or reject.",
    ),
    option(
        "Training",
        "--allow-dropped",
        multiple=True,
        metavar="FIELD",
        help="Accept that the template never prints this field (content, reasoning_content, tool_calls, tools).",
    ),
    option(
        "Training",
        "--special-tokens-in-data",
        type=click.Choice(["text", "reject", "control"]),
        default="text",
        help="Text of a control token in the data: encode it as text, reject the record, or make it that token.",
    ),
    option("Training", "--allow-unterminated", is_flag=True, help="Accept answers that no control token closes."),
    option("Packing", "--max-length", type=int, default=4096, metavar="TOKENS", help="Tokens per row."),
    option(
        "Packing",
        "--overlong",
        type=click.Choice(["turns", "drop", "error"]),
        default="turns",
        help="Longer conversations: keep the leading whole turns, leave out, or reject.",
    ),
)


def record_options(command: Any) -> Any:
    """The options that decide how records are read."""
    return _decorate(command, _RECORDS)


def template_options(*, required: bool) -> Callable[[Any], Any]:
    """The options that name a tokenizer and its template."""
    tokenizer = option(
        "Template", "-t", "--tokenizer", required=required, metavar="T", help="Hub name, directory, or tokenizer.json."
    )
    return lambda command: _decorate(command, (tokenizer, *_TEMPLATE))


def template_only_options(command: Any) -> Any:
    """The same without the tokenizer, for a command whose argument it is."""
    return _decorate(command, _TEMPLATE)


def training_options(command: Any) -> Any:
    """The options that decide what is trained and what fits in a row."""
    return _decorate(command, _TRAINING)


def _decorate(command: Any, options: Sequence[Callable[[Any], Any]]) -> Any:
    for decorator in reversed(options):
        command = decorator(command)
    return command
