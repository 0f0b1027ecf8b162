"""`ismpack export`."""

from __future__ import annotations

import click

from ismpack.cli.console import Command, Console, option, print_json, printable

TARGETS = ("megatron-bridge", "olmo-core", "xtuner", "llama-factory", "axolotl", "torchtune", "mds")
"""Names of `ismpack.export.TARGETS`, which is too heavy to import for a help text."""

EXAMPLES = """\b
Examples:
  ismpack export out --to megatron-bridge -o out-megatron
  ismpack export out --to axolotl -o out-axolotl
  ismpack export out --to mds -o out-mds --json
"""


@click.command("export", cls=Command, epilog=EXAMPLES)
@click.argument("directory", metavar="DIR")
@option("Output", "--to", "target", type=click.Choice(TARGETS), required=True, help="The trainer's format.")
@option("Output", "-o", "--output", required=True, metavar="OUT", help="Where the files go; appears when complete.")
@option("Output", "--overwrite", is_flag=True, help="Replace an earlier export at OUT once the new one is complete.")
@option("Run", "--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.pass_obj
def command(console: Console, directory: str, target: str, output: str, overwrite: bool, as_json: bool) -> None:
    """Rewrite a dataset as the files of a trainer that reads only its own.

    Tokens, targets and documents stay what they are. Most of these trainers know no ISM mask and train plain causal;
    what is lost is printed, with the lines that load the result.
    """
    console.json = as_json
    from ismpack.export import export

    report = export(directory, target, output, overwrite=overwrite)
    if as_json:
        print_json(report.to_json())
    else:
        click.echo(printable(str(report)))
