"""`ismpack verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ismpack.cli.console import Command, Console, option, print_json, printable

if TYPE_CHECKING:
    from ismpack.checks import VerifyReport

EXAMPLES = """\b
Examples:
  ismpack verify out
  ismpack verify out --sha256
  ismpack verify out --json
"""


@click.command("verify", cls=Command, epilog=EXAMPLES)
@click.argument("directory", metavar="DIR")
@option("Check", "--sha256", is_flag=True, help="Check sha256 digests instead of the faster xxh3.")
@option("Run", "--json", "as_json", is_flag=True, help="Print the report as one JSON object, findings complete.")
@click.pass_context
def command(ctx: click.Context, directory: str, sha256: bool, as_json: bool) -> None:
    """Check that a dataset is whole and keeps every rule of the format.

    Exits with 1 if there is any finding. Needs no GPU and no tokenizer.
    """
    from ismpack.checks import verify

    console: Console = ctx.obj
    console.json = as_json
    report = verify(directory, sha256=sha256)
    if as_json:
        print_json(report.to_json())
    else:
        _show(console, report)
    ctx.exit(0 if report.ok else 1)


def _show(console: Console, report: VerifyReport) -> None:
    counts = report.counts()
    for finding in report.shown():
        click.echo(printable(str(finding)))
    for check in counts:
        hint = next((f.hint for f in report.findings if f.check == check and f.hint), None)
        if hint:
            console.note(f"hint[{check}]: {hint}")
    for sentence in report.unchecked:
        console.note(f"not checked: {sentence}")
    seen = (
        f"{report.rows:,} rows, {report.documents:,} documents, {report.tokens:,} tokens, {len(report.checks)} checks"
    )
    if report.ok:
        click.echo(f"{printable(report.directory)}: sound ({seen})")
    else:
        found = ", ".join(f"{check} {count:,}" for check, count in counts.items())
        number = len(report.findings)
        noun = "finding" if number == 1 else "findings"
        click.echo(f"{printable(report.directory)}: {number:,} {noun}: {found} ({seen})")
