"""`ismpack formats`."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from ismpack.cli.console import Command, Console, option, print_json
from ismpack.cli.options import record_options

if TYPE_CHECKING:
    from ismpack.formats import Format
    from ismpack.pipeline.survey import Survey

EXAMPLES = """\b
Examples:
  ismpack formats
  ismpack formats sample_data/chat.jsonl sample_data/alpaca.jsonl
  ismpack formats sample_data/sharegpt.json --map messages=conversations,role=from,content=value
"""


@click.command("formats", cls=Command, epilog=EXAMPLES)
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@record_options
@option("Run", "--json", "as_json", is_flag=True, help="Print the list, or what was found, as one JSON object.")
@click.pass_context
def command(ctx: click.Context, /, inputs: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """List the record formats, or say in which of them INPUT is written.

    Without INPUT: every format that is recognised, with its keys and an example. With INPUT (files, globs, directories,
    hf:NAME, or -): how many records are read as which format, the first of each as messages, and which records are
    refused and why. Exits with 1 if any is refused. No tokenizer is needed.
    """
    console: Console = ctx.obj
    console.json = as_json
    if not inputs:
        _list_formats(as_json=as_json)
        return
    with console.progress("reading") as on_progress:
        from ismpack.pipeline.survey import survey

        found = survey(inputs, stdin=getattr(sys.stdin, "buffer", None), on_progress=on_progress, **options)
    if as_json:
        print_json(_survey_json(found))
    else:
        from ismpack.cli.formats_text import survey_text
        from ismpack.view import Screen

        screen = Screen(width=shutil.get_terminal_size().columns, color=console.stdout_color)
        click.echo(survey_text(found, screen))
    ctx.exit(0 if found.ok else 1)


def _list_formats(*, as_json: bool) -> None:
    from ismpack.formats import FORMATS

    if as_json:
        print_json({"schema": "ismpack.formats/1", "formats": [_format_json(known) for known in FORMATS]})
        return
    for known in FORMATS:
        click.echo(f"{known.name}\n  {known.title}")
        click.echo(f"  keys     {', '.join(f'{key}: {shape.words}' for key, shape in known.keys.items())}")
        click.echo(f"  example  {json.dumps(known.example, ensure_ascii=False)}")


def _format_json(known: Format) -> dict[str, Any]:
    return {
        "name": known.name,
        "title": known.title,
        "keys": list(known.keys),
        "shapes": {key: shape.words for key, shape in known.keys.items()},
        "without": list(known.without),
        "optional": list(known.optional),
        "datasets": list(known.datasets),
        "example": known.example,
    }


def _survey_json(found: Survey) -> dict[str, Any]:
    from ismpack.view import message_facts

    formats = [
        {
            "name": name,
            "records": records,
            "first": (example := found.examples[name]).place,
            "example": [] if example.conversation is None else message_facts(example.conversation),
        }
        for name, records in found.formats.items()
    ]
    refused = [
        {
            "code": code,
            "records": records,
            "first": (example := found.examples[code]).place,
            "message": example.error.message if example.error else "",
            "hint": example.error.hint if example.error else None,
        }
        for code, records in found.refused.items()
    ]
    return {
        "schema": "ismpack.formats/1",
        "records": found.records,
        "blank_lines": found.blank_lines,
        "formats": formats,
        "refused": refused,
    }
