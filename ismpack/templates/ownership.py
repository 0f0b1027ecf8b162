"""Which message owns which text of a query, and so which segment type it has.

A message owns what the render gains when the message is added: header, data and closing. What the generation prompt
adds is type 7. What no message adds (a default system prompt, the newline after an earlier stop token, a header that is
printed without being asked for) has no owner and is type 1.

So the text of message i ends, in the query's prompt G, where the render up to message i ends. Where that render is no
beginning of G (the template rewrites history, or closes a row of tool results only at its end), the two are laid upon
each other at the end of the message's data, and the message's text ends where they part after that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ismpack.data import Piece, Role
from ismpack.errors import RecordError
from ismpack.schema import SegmentType
from ismpack.templates.marks import common_prefix, common_suffix
from ismpack.templates.renders import Renders

_TYPE_OF_ROLE: dict[Role, SegmentType] = {
    "system": SegmentType.SYSTEM,
    "developer": SegmentType.SYSTEM,
    "user": SegmentType.USER,
    "tool": SegmentType.TOOL_RESULT,
    # A greeting, or an earlier answer inside a split sample's query.
    "assistant": SegmentType.USER,
}


_LONGEST_TOKEN = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query of a conversation, as positions in its prompt G.

    Attributes:
        renders: Renders of the conversation.
        roles: Role of every message.
        messages: Indices of the query's messages; the answer follows the last.
        cut: Where the query starts in G.
        leftover: What the render before the query prints after the previous stop token; empty for the first query.
        control_pattern: Matches control tokens, which no boundary may split.
    """

    renders: Renders
    roles: Sequence[Role]
    messages: range
    cut: int
    leftover: str
    control_pattern: re.Pattern[str]

    @property
    def prompt(self) -> str:
        """G."""
        return self.renders.prompt(self.messages.stop)

    def pieces(self) -> tuple[tuple[Piece, ...], bool]:
        """The text by segment type, neighbours of one type joined, and whether some of it has no owner.

        White space and control tokens without an owner do not count.
        """
        prompt, header = self.prompt, self._unasked_header()
        unowned = max(self.cut, self._opening_end() if self.messages.start == 0 else self._leftover_end(header))
        edges = [(unowned, SegmentType.USER)]
        for i in self.messages:
            end = self._end_of(i, header)
            if end is not None:
                edges.append((max(end, edges[-1][0]), _TYPE_OF_ROLE[self.roles[i]]))
        rest = edges[-1][0]
        edges.append((len(prompt), SegmentType.USER if header else SegmentType.GENERATION_PROMPT))
        no_owner = prompt[self.cut : unowned] + (prompt[rest:] if header else "")
        return _pieces(prompt, self.cut, edges), bool(self.control_pattern.sub("", no_owner).strip())

    def _unasked_header(self) -> str:
        """The assistant header of a template that prints it after every render; empty for most templates."""
        prompt = self.prompt
        try:
            if self.renders.prefix(self.messages.stop) != prompt:
                return ""
        except RecordError:
            return ""
        start = len(prompt) - common_suffix(self.renders.opening(), prompt)
        return prompt[self._outside_token(prompt, start, to_end=True) :]

    def _opening_end(self) -> int:
        """Where the text before the first message ends in G."""
        opening = self.renders.opening().removesuffix(self._unasked_header())
        if not opening or not self.prompt.startswith(opening):
            return 0
        return len(opening) if self.renders.is_opening(opening, self.messages.stop) else 0

    def _leftover_end(self, header: str) -> int:
        """Where the text after the previous stop token ends that is there without the query's messages, too."""
        return self._follow(self.leftover.removesuffix(header), self.cut)

    def _end_of(self, i: int, header: str) -> int | None:
        """Where the text of message i ends in G; None if it cannot be told from the next message's."""
        renders, prompt = self.renders, self.prompt
        try:
            alone = renders.prefix(i + 1).removesuffix(header)
        except RecordError:
            return self._end_before_next(i)
        if prompt.startswith(alone):
            return len(alone)
        here = renders.data_end(i, self.messages.stop, prompt=True)
        there = renders.data_end(i, i + 1, prompt=False)
        if not here or not there:  # the data is not printed, or cannot be changed
            return self._follow(alone, 0)
        return self._follow(alone[there:], here)

    def _end_before_next(self, i: int) -> int | None:
        """The end of message i in a template that refuses the messages up to i alone (no user message yet).

        With message i + 1 the template renders; the text of message i + 1 is what ends alike without message i.
        """
        renders = self.renders
        if i + 1 not in self.messages:
            return None
        try:
            both, alone = renders.prefix(i + 2), renders.only(i + 1)
        except RecordError:
            return None
        data_end = renders.data_end(i, i + 2, prompt=False)
        if data_end is None or not self.prompt.startswith(both[:data_end]):
            return None
        start = self._outside_token(both, len(both) - common_suffix(both, alone), to_end=True)
        return self._follow(both[: max(start, data_end)], 0)

    def _follow(self, text: str, start: int) -> int:
        """How far `prompt[start:]` follows `text`, as a position in the prompt."""
        end = start + common_prefix(text, self.prompt[start:])
        # Where they part inside a control token they merely begin alike ("<|user|>" and "<|end|>").
        return end if end == start + len(text) else self._outside_token(self.prompt, end, to_end=False)

    def _outside_token(self, text: str, at: int, *, to_end: bool) -> int:
        """`at`, or the start or end of the control token that it splits."""
        for match in self.control_pattern.finditer(text, max(0, at - _LONGEST_TOKEN)):
            if match.start() >= at:
                break
            if at < match.end():
                return match.end() if to_end else match.start()
        return at


def _pieces(text: str, start: int, edges: Sequence[tuple[int, SegmentType]]) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    for end, kind in edges:
        if end > start:
            part = text[start:end]
            if pieces and pieces[-1].type_id == kind:
                part = pieces.pop().text + part
            pieces.append(Piece(part, int(kind)))
            start = end
    return tuple(pieces)
