"""The command line: a thin skin over the library, and the only place that prints, exits or draws progress.

Nothing heavy is imported here or in the command modules' heads, so that `ismpack --help` answers at once.
"""

from __future__ import annotations

import click

from ismpack import __version__
from ismpack.cli import convert, export, formats, inspect, template, verify
from ismpack.cli.console import Console, Group
from ismpack.schema import FORMAT_VERSION


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message=f"ismpack %(version)s (dataset format {FORMAT_VERSION})")
@click.option(
    "--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True, help="Colour output."
)
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
@click.pass_context
def main(ctx: click.Context, color: str, debug: bool) -> None:
    """Turn chat data into packed, mask-exact training shards.

    \b
      ismpack convert chats.jsonl --tokenizer org/model -o out
      ismpack inspect out --row 0
      ismpack verify out
    """
    ctx.obj = Console(color=color, debug=debug)
    ctx.color = ctx.obj.stdout_color


for command in (
    convert.command,
    inspect.command,
    verify.command,
    export.command,
    template.command,
    formats.command,
):
    main.add_command(command)
