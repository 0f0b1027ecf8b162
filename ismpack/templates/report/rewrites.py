"""How a template that rewrites history does it: the first piece of an answer that differs later on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate, pairwise

from ismpack.data import Conversation
from ismpack.errors import RecordError
from ismpack.templates.marks import common_prefix
from ismpack.templates.renders import Renders
from ismpack.templates.report.subject import Answer, Subject
from ismpack.templates.rules import Segmentation

_CONTEXT_CHARS = 48
_SYNC_CHARS = 12
_TAG = r"</?[^<>\s]+>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """The first difference between what was held after an answer and what is rendered later.

    Attributes:
        answer: 1 for the first answer of the conversation.
        message: Index of its message.
        follower: Index of the message that changes it; None if only the next generation prompt does.
        before: The end of the text that both share up to the difference.
        removed: Text that is there only at first; may be empty.
        inserted: Text that is there only later; may be empty.
        after: The beginning of what both share after it.
    """

    answer: int
    message: int
    follower: int | None
    before: str
    removed: str
    inserted: str
    after: str

    @property
    def where(self) -> str:
        """Which answer changes, and when; the beginning of a sentence."""
        cause = "the next answer is asked for" if self.follower is None else f"message {self.follower} follows"
        return f"answer {self.answer} (message {self.message}) is rendered differently once {cause}"

    @property
    def sentence(self) -> str:
        """The whole of it in one sentence."""
        if not self.inserted:
            return f"{self.where}: {excerpt(self.removed)} disappears"
        if not self.removed:
            return f"{self.where}: {excerpt(self.inserted)} appears"
        return f"{self.where}: {excerpt(self.removed)} becomes {excerpt(self.inserted)}"

    @property
    def brief(self) -> str:
        """The same in a few words, for a table."""
        if not self.inserted:
            return f"answer {self.answer} loses {excerpt(self.removed, 29)}"
        if not self.removed:
            return f"answer {self.answer} gains {excerpt(self.inserted, 29)}"
        return f"answer {self.answer}: {excerpt(self.removed, 14)} becomes {excerpt(self.inserted, 14)}"


def find_rewrite(subject: Subject, conversation: Conversation, segmentation: Segmentation) -> Rewrite | None:
    """The first rewritten place of a conversation, or None if the template only appends."""
    renders = subject.renders(conversation)
    for held, following in pairwise(subject.answers(conversation, segmentation)):
        if not following.given.startswith(held.held):
            follower, later = _cause(renders, held, following)
            whole = re.compile(f"{subject.rules.control_pattern.pattern}|{_TAG}")
            at, removed, inserted = difference(held.held, later, whole)
            return Rewrite(
                answer=held.ordinal,
                message=held.message,
                follower=follower,
                before=_whole_lines(held.held[:at][-_CONTEXT_CHARS:], ending=True),
                removed=removed,
                inserted=inserted,
                after=_whole_lines(later[at + len(inserted) :][:_CONTEXT_CHARS], ending=False),
            )
    return None


def difference(before: str, after: str, whole: re.Pattern[str]) -> tuple[int, str, str]:
    """The first place where two texts differ; `before` may also just end earlier.

    Args:
        before: The first text.
        after: The second text.
        whole: Matches of this are not cut apart (tags and control tokens).

    Returns:
        Position of the difference, the text that only `before` has there, and the text that only `after` has.
    """
    at = _outside(whole, before, _outside(whole, after, common_prefix(before, after), forward=False), forward=False)
    gone, new = before[at:], after[at:]
    for size in range(1, len(gone) + len(new) + 1):
        for i in range(max(0, size - len(new)), min(size, len(gone) - 1) + 1):
            if new.startswith(gone[i : i + _SYNC_CHARS], size - i):
                end_gone = _outside(whole, before, at + i, forward=True)
                end_new = _outside(whole, after, at + size - i, forward=True)
                return at, before[at:end_gone], after[at:end_new]
    return at, gone, new


def excerpt(text: str, limit: int = 60) -> str:
    """The text in quotes with its control characters visible, cut in the middle to at most `limit` characters."""
    shown = repr(text)
    if len(shown) <= limit:
        return shown
    units = re.findall(r"\\(?:x..|u....|U........|.)|.", shown[1:-1])  # an escape is not cut apart
    room = (limit - 2 - len(" ... ")) // 2
    return f"{shown[0]}{_first(units, room)} ... {_first(units[::-1], room, backwards=True)}{shown[-1]}"


def _first(units: list[str], room: int, *, backwards: bool = False) -> str:
    """The first units that fit in so many characters."""
    ends = list(accumulate(map(len, units)))
    fitting = units[: sum(end <= room for end in ends)]
    return "".join(fitting[::-1] if backwards else fitting)


def _cause(renders: Renders, held: Answer, following: Answer) -> tuple[int | None, str]:
    """The first later message with which the answer is rendered differently, and that render."""
    for count in range(held.message + 2, following.message + 1):
        try:
            later = renders.prefix(count)
        except RecordError:  # the template wants more messages
            continue
        if not later.startswith(held.held):
            return count - 1, later
    return None, following.given


def _whole_lines(text: str, *, ending: bool) -> str:
    """The last lines or the first lines of an excerpt, without the line that the excerpt cuts if there is another."""
    if ending:
        return text[text.find("\n") + 1 :] or text
    return text[: text.rfind("\n") + 1] or text


def _outside(whole: re.Pattern[str], text: str, at: int, *, forward: bool) -> int:
    """The position, moved out of a match that it cuts."""
    for match in whole.finditer(text):
        if match.start() < at < match.end():
            return match.end() if forward else match.start()
    return at
