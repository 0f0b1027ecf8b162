"""`ismpack inspect`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ismpack.cli.console import Command, Console, option, print_json
from ismpack.cli.options import template_options, training_options

if TYPE_CHECKING:
    from ismpack.masks import MaskKind
    from ismpack.view import ConversationView, PackView

EXAMPLES = """\b
Examples:
  ismpack inspect out --row 0
  ismpack inspect out --row 0 --document 1 --mask causal
  ismpack inspect sample_data/chat.jsonl --line 3 --tokenizer sample_data/tokenizer
"""


@click.command("inspect", cls=Command, epilog=EXAMPLES)
@click.argument("path", metavar="PATH")
@option("Select", "--row", type=int, metavar="N", help="Row of a dataset, from 0.  [default: 0]")
@option("Select", "--document", type=int, metavar="K", help="Only this document of the row, from 0.")
@option("Select", "--line", type=int, metavar="N", help="Line of a raw file, from 1 (JSON array: element, from 0).")
@option(
    "Show",
    "--mask",
    "kind",
    type=click.Choice(["ism", "causal", "mas", "prefix"]),
    default="ism",
    help="Attention mask to draw.",
)
@option(
    "Show",
    "--width",
    type=click.IntRange(min=20),
    metavar="COLUMNS",
    help="Columns to fill.  [default: the terminal's]",
)
@option("Show", "--ascii", "ascii_only", is_flag=True, help="Use ASCII characters only.")
@option("Show", "--json", "as_json", is_flag=True, help="Print the same facts as one JSON object.")
@option("Input", "--format", default="auto", metavar="NAME", help="Read a raw record as this format.")
@template_options(required=False)
@training_options
@click.pass_context
def command(
    ctx: click.Context, /, path: str, row: int | None, document: int | None, line: int | None, kind: MaskKind,
    width: int | None, ascii_only: bool, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Show what a model sees: the tokens of a row and its attention mask.

    PATH is a dataset, or a raw file. Of a raw file one record is shown as it would be trained, before anything is
    converted; that needs --tokenizer.
    """
    from ismpack.errors import UsageError
    from ismpack.view import Screen

    console: Console = ctx.obj
    console.json = as_json
    columns = width or shutil.get_terminal_size().columns
    screen = Screen(width=columns, color=console.stdout_color, ascii=ascii_only)
    if Path(path).is_dir():
        _refuse("--line", line, "a dataset; choose a row with --row")
        _show_row(_row_view(path, row or 0, document), screen, kind, as_json=as_json)
        return
    if not Path(path).exists():
        raise UsageError(f"there is no file or dataset {path}", code="input-not-found")
    _refuse("--row", row, "a raw file; choose a record with --line")
    _refuse("--document", document, "a raw file; choose a record with --line")
    ctx.exit(_show_record(console, path, line, screen, kind, options))


def _refuse(name: str, value: int | None, why: str) -> None:
    if value is not None:
        raise click.UsageError(f"{name} does not go with {why}.")


def _row_view(path: str, row: int, document: int | None) -> PackView:
    from ismpack.errors import TokenizerError, UsageError
    from ismpack.reader import load
    from ismpack.tokenization.texts import TokenTexts
    from ismpack.view import PackView

    dataset = load(path)
    try:
        whole = dataset[row]
        pack = whole if document is None else whole.document(document)
    except IndexError as error:
        raise UsageError(f"{path} has no {error}", code="bad-selector") from None
    tokenizer = Path(path) / "tokenizer" / "tokenizer.json"
    try:
        texts = TokenTexts(tokenizer.read_bytes())
    except OSError as error:
        raise TokenizerError(f"cannot read {tokenizer}: {error.strerror}", code="tokenizer-invalid") from error
    return PackView(
        pack=pack,
        texts=texts.texts(pack.input_ids),
        control=texts.is_control(pack.input_ids),
        sources=[dataset.source(source) for source in pack.source_ids],
        title=f"{path}, row {row}",
        first_document=0 if document is None else document % len(whole.seq_lengths),
    )


def _show_row(view: PackView, screen: Any, kind: MaskKind, *, as_json: bool) -> None:
    from ismpack.view import facts, mask_facts, render_mask, render_tokens

    if as_json:
        print_json({"schema": "ismpack.inspect/1", **facts(view), "mask": mask_facts(view.pack, kind=kind)})
        return
    click.echo(render_tokens(view, screen))
    click.echo(render_mask(view.pack, screen, kind=kind, first_document=view.first_document))


def _show_record(
    console: Console, path: str, line: int | None, screen: Any, kind: MaskKind, options: dict[str, Any]
) -> int:
    """Show one raw record; returns the exit code."""
    from ismpack.options import ConvertOptions
    from ismpack.pipeline import preview
    from ismpack.view import conversation_facts, mask_facts, render_conversation, render_mask

    if options["tokenizer"] is None:
        raise click.UsageError("A raw file needs --tokenizer, to show what would be trained.")
    found = preview(path, line, ConvertOptions.from_keywords(**options))
    view = _record_view(found)
    if console.json:
        content = {} if view is None else conversation_facts(view)
        content["error"] = None if found.error is None else {"code": found.error.code, "message": found.error.message}
        if found.pack is not None:
            content["mask"] = mask_facts(found.pack, kind=kind)
        print_json({"schema": "ismpack.inspect/1", **content})
    elif view is not None:
        click.echo(render_conversation(view, screen))
        if found.pack is not None:
            click.echo(render_mask(found.pack, screen, kind=kind))
    if found.error is None:
        return 0
    console.error(found.error)
    return found.error.exit_code


def _record_view(found: Any) -> ConversationView | None:
    from ismpack.tokenization.texts import TokenTexts
    from ismpack.view import ConversationView, PackView

    if found.conversation is None:
        return None
    view = None
    if found.pack is not None:
        texts = TokenTexts(found.tokenizer_json)
        view = PackView(
            pack=found.pack,
            texts=texts.texts(found.pack.input_ids),
            control=texts.is_control(found.pack.input_ids),
            sources=[found.source] * len(found.pack.seq_lengths),
            title=found.source,
        )
    return ConversationView(
        source=found.source,
        format_name=found.format_name,
        conversation=found.conversation,
        warnings=found.warnings,
        view=view,
    )
