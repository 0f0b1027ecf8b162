"""The renders of one conversation, each made once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ismpack.data import Json
from ismpack.errors import RecordError
from ismpack.templates.environment import ChatTemplate
from ismpack.templates.marks import TemplateMessage


@dataclass(kw_only=True, slots=True)
class Renders:
    """Prefixes of one conversation as the template prints them.

    Attributes:
        template: The template.
        messages: All messages, as templates read them.
        tools: Tool definitions.
        args: Template arguments of this record.
    """

    template: ChatTemplate
    messages: Sequence[TemplateMessage]
    tools: Sequence[Json] | None
    args: Mapping[str, Json]
    _known: dict[tuple[int, bool], str] = field(default_factory=dict)
    _opening: str | None = None

    def prefix(self, count: int) -> str:
        """The first `count` messages without a generation prompt: E_k is `prefix(k + 1)`."""
        return self._get(count, prompt=False)

    def prompt(self, count: int) -> str:
        """The first `count` messages with the generation prompt: G_k is `prompt(k)`."""
        return self._get(count, prompt=True)

    def opening(self) -> str:
        """What the template prints before any message; empty if that cannot be told."""
        if self._opening is None:
            self._opening = self._find_opening()
        return self._opening

    def of(self, messages: Sequence[TemplateMessage], *, prompt: bool = False) -> str:
        """A render of other messages with this conversation's tools and arguments; not kept."""
        return self.template.render(messages, tools=self.tools, add_generation_prompt=prompt, args=self.args)

    def without_tools(self, count: int) -> str:
        """The first `count` messages without the tool definitions; not kept."""
        return self.template.render(self.messages[:count], add_generation_prompt=True, args=self.args)

    def _find_opening(self) -> str:
        try:
            return self.prefix(0)
        except RecordError:
            pass
        # The first message given twice shows its own text: what it adds the second time.
        try:
            once, twice = self.prefix(1), self.of([self.messages[0], self.messages[0]])
        except RecordError:
            return ""
        added = twice[len(once) :]
        return once.removesuffix(added) if added and twice.startswith(once) and once.endswith(added) else ""

    def _get(self, count: int, *, prompt: bool) -> str:
        key = (count, prompt)
        if key not in self._known:
            self._known[key] = self.of(self.messages[:count], prompt=prompt)
        return self._known[key]
