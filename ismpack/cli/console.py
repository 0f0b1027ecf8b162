"""What every command shares: sections in help, error rendering, exit codes, colour, progress.

Exit codes: 0 done, 1 ran and found problems, 2 could not run, 130 Ctrl-C, 141 broken pipe, 143 terminated.
"""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from ismpack.errors import InternalError, IsmpackError, UsageError

if TYPE_CHECKING:
    from ismpack.pipeline import Progress

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
EXIT_TERMINATED = 143


class Console:
    """How to talk to this user's terminal.

    Args:
        color: `auto`, `always` or `never`.
        debug: Whether internal errors show a traceback.
    """

    def __init__(self, color: str = "auto", debug: bool = False) -> None:
        self.debug = debug
        self.quiet = False
        self.json = False
        self.stdout_color = _wants_color(color, sys.stdout)
        self.stderr_color = _wants_color(color, sys.stderr)

    def error(self, error: IsmpackError) -> None:
        """Show an error on stderr: what, where, what to do."""
        if self.json:
            content = {
                "schema": "ismpack.error/1",
                "code": error.code,
                "message": error.message,
                "location": str(error.location) if error.location else None,
                "hint": error.hint,
            }
            click.echo(json.dumps(content, sort_keys=True, ensure_ascii=False), err=True)
            return
        self._say(f"error[{error.code}]", "red", error.message)
        if error.location:
            click.echo(f"  --> {printable(str(error.location))}", err=True)
        if error.hint:
            click.echo(f"hint: {printable(error.hint)}", err=True)

    def warning(self, code: str, message: str) -> None:
        """Show a warning on stderr, unless quiet or in JSON."""
        if not self.quiet and not self.json:
            self._say(f"warning[{code}]", "yellow", message)

    def note(self, message: str) -> None:
        """Show a line on stderr, unless quiet or in JSON."""
        if not self.quiet and not self.json:
            click.echo(printable(message), err=True)

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int], None]]:
        """A counter on stderr while it is a terminal, else nothing."""
        from tqdm import tqdm

        silent = self.quiet or self.json or not sys.stderr.isatty()
        with tqdm(desc=what, unit=" records", unit_scale=True, disable=silent, leave=False, file=sys.stderr) as bar:
            yield lambda count: bar.update(count) and None

    @contextmanager
    def meter(self, what: str) -> Iterator[Callable[[Progress], None]]:
        """A bar of bytes, with what was made per second, on stderr while it is a terminal, else nothing."""
        from tqdm import tqdm

        silent = self.quiet or self.json or not sys.stderr.isatty()
        bar = tqdm(desc=what, unit="B", unit_scale=True, disable=silent, leave=False, file=sys.stderr, mininterval=0.2)

        def show(progress: Progress) -> None:
            if silent:
                return
            bar.total = progress.total_bytes
            seconds = max(bar.format_dict["elapsed"], 1e-9)
            rates = (progress.conversations / seconds, progress.tokens / seconds)
            bar.set_postfix_str("{}chats/s, {}tok/s".format(*map(bar.format_sizeof, rates)), refresh=False)
            bar.update(progress.bytes - bar.n)

        with bar:
            yield show

    def _say(self, head: str, color: str, message: str) -> None:
        styled = click.style(f"{head}:", fg=color, bold=True) if self.stderr_color else f"{head}:"
        click.echo(f"{styled} {printable(message)}", err=True, color=self.stderr_color)


class Group(click.Group):
    """A group that maps every way to end to its exit code, and never shows a traceback for a user's mistake."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command line."""
        _prepare_process()
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BaseException as error:  # every other end has its own code, and none shows a traceback
            ctx.exit(_end(_console(ctx), error))
        else:
            return result


def _end(console: Console, error: BaseException) -> int:
    """Say why a command ended and give its exit code."""
    if isinstance(error, KeyboardInterrupt | _TerminatedError):
        interrupted = isinstance(error, KeyboardInterrupt)
        click.echo(f"{'interrupted' if interrupted else 'terminated'}; nothing half-written is left", err=True)
        return EXIT_INTERRUPTED if interrupted else EXIT_TERMINATED
    if isinstance(error, BrokenPipeError):
        _drop_output()
        return EXIT_BROKEN_PIPE
    if isinstance(error, OSError):
        _drop_output()
        what = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        error = UsageError(what, code="os-error")
    elif not isinstance(error, IsmpackError):
        if not isinstance(error, Exception):
            raise error
        if console.debug:
            traceback.print_exception(error)
        error = InternalError(f"{type(error).__name__}: {error} (`ismpack --debug COMMAND` shows where)")
    console.error(error)
    return error.exit_code


class Command(click.Command):
    """A command whose options stand under headings in its help."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                sections.setdefault(getattr(parameter, "section", "Run"), []).append(record)
        for title, records in sections.items():
            with formatter.section(f"{title} options"):
                formatter.write_dl(records)


class Option(click.Option):
    """An option that belongs to a section of the help."""

    def __init__(self, *args: Any, section: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


def option(section: str, *names: str, **settings: Any) -> Callable[[Any], Any]:
    """`click.option` under a heading, with its default shown."""
    settings.setdefault("show_default", settings.get("default") is not None and not settings.get("is_flag"))
    return click.option(*names, cls=Option, section=section, **settings)


def print_json(value: object) -> None:
    """One JSON object on stdout."""
    click.echo(json.dumps(value, sort_keys=True, ensure_ascii=False))


def printable(text: str) -> str:
    """Text that cannot move the cursor or change the terminal: control characters become escapes."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


class _TerminatedError(BaseException):
    """SIGTERM arrived."""


def _terminate(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
    raise _TerminatedError


def _prepare_process() -> None:
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a character gets its escape
            stream.reconfigure(errors="backslashreplace")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries are told once, by our own error


def _drop_output() -> None:
    """Point standard output elsewhere: what is still buffered has no reader, and the interpreter would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _console(ctx: click.Context) -> Console:
    return ctx.obj if isinstance(ctx.obj, Console) else Console()


def _wants_color(choice: str, stream: Any) -> bool:
    """`--color`, else NO_COLOR and FORCE_COLOR, else whether it is a terminal that can."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"
