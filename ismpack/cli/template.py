"""`ismpack template`."""

from __future__ import annotations

import shutil
from typing import Any

import click

from ismpack.cli.console import Command, Console, option, print_json
from ismpack.cli.options import template_only_options

EXAMPLES = """\b
Examples:
  ismpack template sample_data/tokenizer
  ismpack template sample_data/tokenizer --chat-template sample_data/tokenizer/chat_template.jinja
  ismpack template sample_data/tokenizer --json
"""


@click.command("template", cls=Command, epilog=EXAMPLES)
@click.argument("tokenizer", metavar="T")
@template_only_options
@option("Run", "--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.pass_context
def command(ctx: click.Context, /, tokenizer: str, as_json: bool, **options: Any) -> None:
    """Is a chat template safe for multi-turn training, and why not?

    T is a tokenizer: hub name, directory, or tokenizer.json. Its template is tried on small conversations of every
    kind (plain, with a system message, reasoning, tools, empty answers and more).

    Exits with 0 if no kind needs stitching: each is append-only (later messages never change what was rendered
    before), or refused because the template does not take such data (template-error, data-dropped, empty-answer,
    special-token-in-data). Plain conversations must not be refused, and those with a system message only by an error
    of the template's own. Exits with 1 otherwise, or if --date is missing.
    """
    from ismpack.pipeline.template import check_template

    console: Console = ctx.obj
    console.json = as_json
    report = check_template(tokenizer, **options)
    if as_json:
        print_json(report.to_json())
    else:
        from ismpack.cli.template_text import template_text

        click.echo(template_text(report, width=shutil.get_terminal_size().columns), color=console.stdout_color)
    ctx.exit(0 if report.safe else 1)
