"""The renders of one conversation, each made once, and what can be told about the data in them.

The rules of the stream (`stream`) ask a render two kinds of question: what the template prints, and which of it is
data. There are two ways to answer. `PlainRenders` prints text and finds data by changing it: slow and obvious.
`TracedRenders` prints symbols, in which every piece of data is one character of its own. The rules are the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ismpack.errors import RecordError
from ismpack.templates.rules import SegmentRules


class Renders(ABC):
    """Prefixes of one conversation as the template prints them."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[int, ...], bool], str] = {}
        self._opening: str | None = None

    def prefix(self, count: int) -> str:
        """The first `count` messages without a generation prompt: E_k is `prefix(k + 1)`."""
        return self._get(tuple(range(count)), prompt=False)

    def prompt(self, count: int) -> str:
        """The first `count` messages with the generation prompt: G_k is `prompt(k)`."""
        return self._get(tuple(range(count)), prompt=True)

    def only(self, i: int) -> str:
        """Message i alone, as if it opened the conversation."""
        return self._get((i,), prompt=False)

    def opening(self) -> str:
        """What the template prints before any message; empty if that cannot be told."""
        if self._opening is None:
            self._opening = self._find_opening()
        return self._opening

    def continues(self, k: int) -> bool:
        """Whether the render with answer k starts with the prompt for it."""
        return self.prefix(k + 1).startswith(self.prompt(k))

    @abstractmethod
    def show(self, text: str) -> str:
        """A piece of a render, for messages to people."""

    @abstractmethod
    def data_end(self, i: int, count: int, *, prompt: bool) -> int | None:
        """Where the last data of message i ends in a render; 0 if it prints none, None if that cannot be told."""

    @abstractmethod
    def is_opening(self, text: str, count: int) -> bool:
        """Whether `prompt(count)`, which starts with `text`, does so whatever the first message says."""

    @abstractmethod
    def proves_cut(self, held: int, count: int, cut: int) -> bool:
        """Whether in `prompt(count)` no later data stands before `cut`, and none of message `held` after it."""

    @abstractmethod
    def refuse_lost_data(self, answers: Sequence[int], rules: SegmentRules, *, append_only: bool) -> None:
        """Check that every piece of data is in the stream.

        Args:
            answers: Indices of the answers; what follows the last one is not looked at.
            rules: What may be lost.
            append_only: Whether the stream is the last render itself; if the template rewrites history, each piece is
                looked for in the render that gives its own segment.

        Raises:
            RecordError: `data-dropped`, naming message and field, or `special-token-in-data`.
        """

    @abstractmethod
    def _render(self, indices: tuple[int, ...], *, prompt: bool) -> str:
        """The messages at these indices.

        Raises:
            RecordError: `template-error`.
        """

    def _find_opening(self) -> str:
        try:
            return self.prefix(0)
        except RecordError:
            pass
        # The first message given twice shows its own text: what it adds the second time.
        try:
            once, twice = self.prefix(1), self._get((0, 0), prompt=False)
        except RecordError:
            return ""
        added = twice[len(once) :]
        return once.removesuffix(added) if added and twice.startswith(once) and once.endswith(added) else ""

    def _get(self, indices: tuple[int, ...], *, prompt: bool) -> str:
        key = (indices, prompt)
        if key not in self._known:
            self._known[key] = self._render(indices, prompt=prompt)
        return self._known[key]


def dropped(i: int, field: str, role: str) -> RecordError:
    """The refusal of a conversation whose data the template leaves out."""
    return RecordError(
        f"the chat template never prints {field!r} of message {i} ({role}), or not all of it",
        code="data-dropped",
        hint=f"Use a template that prints it, or accept the loss with --allow-dropped {field}.",
    )


def dropped_tools() -> RecordError:
    """The refusal of a conversation whose tool definitions the template leaves out."""
    return RecordError(
        "the chat template never prints the tool definitions",
        code="data-dropped",
        hint="Use a template that prints them, or accept the loss with --allow-dropped tools.",
    )
