"""How much one render may ask of us. A template is code from the hub: it may never end, or eat all memory.

Two kinds of limits. What a render *does* is counted, the same on every machine: each turn of a loop and each call of a
macro is a step, and whatever can make a long text or list from short ones says how long before it makes it. What slips
through (many copies, each of a lawful size) is caught by a *watch*: once a render has proved to be long, a timer looks
at the memory and the time that it takes. Signals reach the main thread only, so elsewhere there is no watch. Nothing
can stop a single call of C code, which is why those that may grow are measured first.
"""

from __future__ import annotations

import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar, Token
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import jinja2.nodes
from jinja2.visitor import NodeTransformer

from ismpack.errors import IsmpackError, RecordError

MAX_LENGTH = 128 << 20
"""Characters of one text, the printed one included: twice the longest record."""

MAX_ITEMS = 16 << 20
"""Items of one list."""

MAX_BITS = 16_384
"""Bits of one number, so that arithmetic is done at once."""

MAX_STEPS = 10_000_000
"""Turns of loops and calls of macros in one render."""

MAX_SECONDS = 60.0
"""Processor time of one watched render."""

MAX_MEMORY = 2 << 30
"""Bytes by which the process may grow in one watched render."""

_WATCHED_STEPS = 1_000
_WATCHED_LENGTH = 256 << 10
_WATCHED_ITEMS = 1_000
_CONSTANT_LENGTH = 4 << 10
_INTERVAL_SECONDS = 0.02
_PIECES = 32


def limited() -> _Render:
    """Context manager around everything that runs template code, traced or not.

    Raises:
        RecordError: `template-error`, for whatever foreign code raises and for every limit.
        IsmpackError: Raised inside, it passes as it is.
    """
    return _Render()


def step(_: object) -> bool:
    """Counts one turn of a loop or one call of a macro; true."""
    if render := _RENDER.get(None):
        render.steps += 1
        if render.steps > render.alarm:
            render.slow_down()
    return True


def printed(pieces: Iterable[str]) -> str:
    """All pieces as one text, as long as it is not too long."""
    rest = iter(pieces)
    chunk = list(islice(rest, _PIECES))
    text = "".join(chunk)
    if len(chunk) < _PIECES and len(text) <= _CONSTANT_LENGTH:  # as mostly
        return text
    check_length(len(text))
    texts = [text]
    length = len(text)
    while chunk := list(islice(rest, _PIECES)):
        texts.append("".join(chunk))
        length += len(texts[-1])
        if length > MAX_LENGTH:
            _refuse(f"prints more than {MAX_LENGTH:,} characters")
    return "".join(texts)


def check_length(length: int) -> None:
    """Refuses a text of so many characters, best before it is made."""
    render = _RENDER.get(None)
    if length > (MAX_LENGTH if render else _CONSTANT_LENGTH):
        # Jinja works out constants while it compiles. What is refused there is left to the render, and refused again.
        _refuse(f"makes a text of more than {MAX_LENGTH:,} characters")
    if render and length > _WATCHED_LENGTH:
        render.watch()


def check_items(count: int) -> None:
    """Refuses a list of so many items."""
    if count > MAX_ITEMS:
        _refuse(f"makes a list of more than {MAX_ITEMS:,} items")
    if count > _WATCHED_ITEMS and (render := _RENDER.get(None)):
        render.watch()


def check_bits(bits: int) -> None:
    """Refuses a whole number of so many bits."""
    if bits > MAX_BITS:
        _refuse(f"makes a number of more than {MAX_BITS:,} bits")


def checked(value: Any) -> Any:
    """The value itself, if it is not too long."""
    if type(value) is str:  # as nearly always
        if len(value) > _CONSTANT_LENGTH:
            check_length(len(value))
    elif isinstance(value, str):
        check_length(str.__len__(value))
    elif isinstance(value, (list, tuple)):
        check_items(len(value))
    return value


class _Render:
    """One render: counts from zero, and leaves everything as it was. Renders may nest."""

    steps = 0
    alarm = _WATCHED_STEPS
    _watch: _Watch | None = None
    _token: Token[_Render]

    def __enter__(self) -> Self:
        self._token = _RENDER.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._watch:
            self._watch.stop()
        _RENDER.reset(self._token)
        if error is None or not isinstance(error, Exception) or isinstance(error, IsmpackError):
            return  # nothing went wrong, somebody wants to stop the program, or we refuse on purpose
        text = str.__str__(str(error)) or type(error).__name__  # a message may be traced data
        raise RecordError(f"the chat template refuses this conversation: {text}", code="template-error") from error

    def slow_down(self) -> None:
        self.watch()
        self.alarm = MAX_STEPS
        if self.steps > MAX_STEPS:
            _refuse(f"takes more than {MAX_STEPS:,} steps")

    def watch(self) -> None:
        """Watches the rest of the render, where that is possible."""
        # A signal that somebody else handles, an outer render among them, is left alone.
        main = threading.current_thread() is threading.main_thread()
        if not self._watch and main and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL:
            self._watch = _Watch()
            self._watch.start()


_RENDER: ContextVar[_Render] = ContextVar("_RENDER")


class _Watch:
    """A timer that interrupts the main thread to look at the clock and at the memory."""

    def __init__(self) -> None:
        self._deadline = time.thread_time() + MAX_SECONDS
        self._full = _memory() + MAX_MEMORY

    def start(self) -> None:
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, _INTERVAL_SECONDS, _INTERVAL_SECONDS)

    def stop(self) -> None:
        self._deadline = self._full = sys.maxsize  # the last signal may be on its way
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def _look(self, *_: object) -> None:
        late, full = time.thread_time() > self._deadline, _memory() > self._full
        if late or full:
            self.stop()  # before anything is raised: the render may be over by now
            _refuse(
                f"takes more than {MAX_SECONDS:g} seconds"
                if late
                else f"takes more than {MAX_MEMORY:,} bytes of memory"
            )


def _memory() -> int:
    """Bytes that the process holds; where the system does not tell, the most that it ever held."""
    try:
        pages = Path("/proc/self/statm").read_bytes().split()[1]
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return int(pages) * resource.getpagesize()


def _refuse(deed: str) -> NoReturn:
    raise RecordError(f"the chat template {deed}", code="template-error")


# ----------------------------------------------------------------------------------------------- what a template counts

_STEP, _CHECK = "ismpack step", "ismpack check"
TESTS: dict[str, Callable[[Any], Any]] = {_STEP: step, _CHECK: checked}
"""What a rewritten template calls: Jinja's tests, called without detours, under names that no template can write."""

_SUMS = (jinja2.nodes.Add, jinja2.nodes.Concat)
_OPERANDS = 16


class Rewriter(NodeTransformer):
    """Makes a parsed template count its steps and check the lengths of its sums.

    A loop that is in no other loop and in no macro runs once, over data that exist, and is not counted. A sum (`+` or
    `~`) is checked after every few operands and at its end; if it is printed, printing counts instead.
    """

    def __init__(self) -> None:
        self._repeated = False

    def visit(self, node: jinja2.nodes.Node, *_: Any, **__: Any) -> Any:
        """The node, changed in place, or what takes its place."""
        if isinstance(node, _SUMS):
            return _call(_CHECK, self._sum(node))
        if isinstance(node, jinja2.nodes.Output):
            node.nodes = [self._sum(child) if isinstance(child, _SUMS) else self.visit(child) for child in node.nodes]
            return node
        if isinstance(node, (jinja2.nodes.For, jinja2.nodes.Macro, jinja2.nodes.CallBlock, jinja2.nodes.Block)):
            return self._repeat(node)
        return self.generic_visit(node)

    def _repeat(
        self, node: jinja2.nodes.For | jinja2.nodes.Macro | jinja2.nodes.CallBlock | jinja2.nodes.Block
    ) -> jinja2.nodes.Node:
        once = isinstance(node, jinja2.nodes.For) and not node.recursive and not self._repeated
        outside, self._repeated = self._repeated, True
        self.generic_visit(node)
        self._repeated = outside
        if once:
            return node
        # The compiler cannot know what the context is, so it leaves the call to the render.
        count = _call(_STEP, jinja2.nodes.ContextReference(lineno=node.lineno))
        if isinstance(node, jinja2.nodes.For) and node.test is not None:
            node.test = jinja2.nodes.And(count, node.test, lineno=node.lineno)  # tried on every item
        else:
            node.body.insert(0, jinja2.nodes.ExprStmt(count, lineno=node.lineno))
        return node

    def _sum(self, node: jinja2.nodes.Add | jinja2.nodes.Concat) -> jinja2.nodes.Expr:
        if isinstance(node, jinja2.nodes.Add):
            node.left, node.right = self._operand(node.left), self._operand(node.right)
            return node
        operands: list[jinja2.nodes.Expr] = []
        for operand in map(self._operand, node.nodes):
            if sum(map(_count_operands, operands)) >= _OPERANDS:
                operands = [_call(_CHECK, jinja2.nodes.Concat(operands, lineno=node.lineno))]
            operands.append(operand)
        node.nodes = operands
        return node

    def _operand(self, node: jinja2.nodes.Expr) -> Any:
        if not isinstance(node, _SUMS):
            return self.visit(node)
        inner = self._sum(node)
        return _call(_CHECK, inner) if _count_operands(inner) >= _OPERANDS else inner


def _count_operands(node: jinja2.nodes.Node) -> int:
    return sum(map(_count_operands, node.iter_child_nodes())) if isinstance(node, _SUMS) else 1


def _call(name: str, argument: jinja2.nodes.Expr) -> jinja2.nodes.Expr:
    return jinja2.nodes.Test(argument, name, [], [], None, None, lineno=argument.lineno)
