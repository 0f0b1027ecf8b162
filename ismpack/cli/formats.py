"""`ismpack formats`."""

from __future__ import annotations

import json

import click

from ismpack.cli.console import Command, Console, option, print_json

EXAMPLES = """\b
Examples:
  ismpack formats
  ismpack formats --json
  ismpack convert sample_data/alpaca.jsonl --format alpaca --tokenizer sample_data/tokenizer -o out4
"""


@click.command("formats", cls=Command, epilog=EXAMPLES)
@option("Run", "--json", "as_json", is_flag=True, help="Print the list as one JSON object.")
@click.pass_obj
def command(console: Console, as_json: bool) -> None:
    """List the record formats that `convert` recognises.

    The format is detected for each record by its keys; --format NAME of `convert` forces one.
    """
    from ismpack.formats import FORMATS

    console.json = as_json
    if as_json:
        print_json(
            {
                "schema": "ismpack.formats/1",
                "formats": [
                    {
                        "name": one.name,
                        "title": one.title,
                        "keys": list(one.keys),
                        "optional": list(one.optional),
                        "example": one.example,
                    }
                    for one in FORMATS
                ],
            }
        )
        return
    for one in FORMATS:
        click.echo(f"{one.name}\n  {one.title}")
        click.echo(f"  keys     {', '.join(one.keys)}" + (f"; also {', '.join(one.optional)}" if one.optional else ""))
        click.echo(f"  example  {json.dumps(one.example, ensure_ascii=False)}")
