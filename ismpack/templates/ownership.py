"""Which message owns which text of a query, and so which segment type it has.

A message owns what the render gains when the message is added: header, data and closing. What the generation prompt
adds is type 7. What no message adds (a default system prompt, the newline after an earlier stop token, a header that is
printed without being asked for) has no owner and is type 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ismpack.data import Piece, Role
from ismpack.errors import RecordError
from ismpack.schema import SegmentType
from ismpack.templates.marks import common_prefix
from ismpack.templates.renders import Renders

_TYPE_OF_ROLE: dict[Role, SegmentType] = {
    "system": SegmentType.SYSTEM,
    "developer": SegmentType.SYSTEM,
    "user": SegmentType.USER,
    "tool": SegmentType.TOOL_RESULT,
    # A greeting, or an earlier answer inside a split sample's query.
    "assistant": SegmentType.USER,
}


def query_pieces(
    renders: Renders,
    roles: Sequence[Role],
    *,
    messages: range,
    cut: int,
    leftover: str,
    control_pattern: re.Pattern[str],
) -> tuple[tuple[Piece, ...], bool]:
    """The text of one query by segment type.

    Args:
        renders: Renders of the conversation.
        roles: Role of every message.
        messages: Indices of the query's messages; the answer follows the last.
        cut: Where the query starts in the prompt G.
        leftover: What the render before the query prints after the previous stop token; empty for the first query.
        control_pattern: Matches control tokens, which no boundary may split.

    Returns:
        The pieces, neighbours of one type joined, and whether text other than white space has no owner.
    """
    prompt = renders.prompt(messages.stop)
    header = renders.unconditional_header()

    def shared(text: str, start: int = 0) -> int:
        """How far `prompt[start:]` follows `text`, as a position in the prompt."""
        text = text.removesuffix(header)
        end = start + common_prefix(text, prompt[start:])
        if end == start + len(text):
            return end
        # The two part here; if inside a control token, they merely begin alike ("<|user|>" and "<|end|>").
        inside = (m.start() for m in control_pattern.finditer(prompt, start) if m.start() < end < m.end())
        return next(inside, end)

    if messages.start == 0:
        # Only the whole opening counts: a default system prompt and the conversation's own begin alike.
        opening = renders.opening().removesuffix(header)
        unowned = len(opening) if prompt.startswith(opening) else 0
    else:
        unowned = shared(leftover, cut)
    edges = [(unowned, SegmentType.USER)]
    for i in messages:
        text = _render_with(renders, i)
        if text is not None:
            edges.append((max(shared(text), edges[-1][0]), _TYPE_OF_ROLE[roles[i]]))
    rest = edges[-1][0]
    edges.append((len(prompt), SegmentType.USER if header else SegmentType.GENERATION_PROMPT))
    no_owner = prompt[cut:unowned] + (prompt[rest:] if header else "")
    return _pieces(prompt, cut, edges), bool(no_owner.strip())


def _render_with(renders: Renders, i: int) -> str | None:
    """The render up to and including message i; None if it cannot be told apart from message i + 1.

    Some templates refuse a conversation that has no user message yet. Then the text of messages 0 to i is what the
    render with message i + 1 has before the text that message i + 1 has alone.
    """
    try:
        return renders.prefix(i + 1)
    except RecordError:
        pass
    try:
        both, alone = renders.prefix(i + 2), renders.of(renders.messages[i + 1 : i + 2])
    except RecordError:
        return None
    return both.removesuffix(alone) if alone and both.endswith(alone) else None


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
