"""Conversations written as one text: the marks between their turns, and the splitter that takes them apart.

A way of writing is a row of data, `Marks`; all of them are read by these rules:

- A text begins with its first mark. Before it may stand white space, tokens that begin a text (`around`) and the one
  preamble that the way of writing has; anything else is refused.
- What follows a mark, up to the next mark, is what this speaker says. Where turns have closing tokens, it ends at the
  first of them, and only white space and `around` tokens may follow. The last turn may lack its closing.
- Where `exact`, every character in between is kept. Elsewhere white space at both ends belongs to the marks: those who
  wrote such texts put it there, and none of them alike.
- An empty last turn of a role in `prompts`, which nothing closes, only asks for the next text; it is no message.
- A turn that still holds a control token of its way of writing is refused: a text may quote marks, and then nobody can
  tell a quotation from a turn. Whatever else a turn holds is left alone.

Speakers need not alternate: two marks of one speaker are two messages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ismpack.data import Json, Message, Role
from ismpack.errors import RecordError
from ismpack.formats.roles import role_of
from ismpack.formats.shapes import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """How one way of writing a conversation marks its turns.

    Attributes:
        name: What messages call it.
        start: What a text of this kind begins with.
        opening: The mark that opens a turn. The last group that takes part in a match is the role word.
        roles: Role words, exactly as written -> our roles.
        closings: Tokens that end a turn, if it has any.
        must_close: Every turn but the last ends with a closing.
        around: Tokens that may stand before the first turn and after a closing.
        foreign: Further control tokens that a turn of text cannot hold.
        after: Marks that close another one, with the role words that may stand before them.
        preamble: A sentence that may stand before the first mark and says nothing but that a conversation follows.
        exact: White space around a text belongs to the text.
        prompts: Roles whose empty, unclosed last turn is no message.
    """

    name: str
    start: re.Pattern[str]
    opening: re.Pattern[str]
    roles: Mapping[str, Role]
    closings: tuple[str, ...] = ()
    must_close: bool = False
    around: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    after: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    preamble: str = ""
    exact: bool = False
    prompts: tuple[Role, ...] = ("assistant",)

    @property
    def shape(self) -> Shape:
        """The shape of a text that is written this way."""
        return Shape(f"{self.name} text", self.begins)

    def begins(self, value: Json) -> bool:
        """Whether a value is text that begins as this way of writing does."""
        return isinstance(value, str) and self.start.match(value) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What stands between two marks.

    Attributes:
        word: The role word, as written.
        text: What the speaker says.
        closing: The closing token, if there is one.
    """

    word: str
    text: str
    closing: str | None


def split(text: str, path: str, marks: Marks) -> list[Turn]:
    """The turns of a text, at least one. Time is linear in the text.

    Raises:
        RecordError: `bad-messages`.
    """
    openings = list(marks.opening.finditer(text))
    head = text[: openings[0].start()] if openings else text
    if not openings or _apart_from(marks.around, head).strip() not in ("", marks.preamble):
        raise _unreadable("does not begin with a turn", path, marks)
    ends = [opening.start() for opening in openings[1:]]
    turns = [
        _turn(opening, text[opening.end() : end], path, marks)
        for opening, end in zip(openings, [*ends, len(text)], strict=True)
    ]
    if marks.must_close and any(turn.closing is None for turn in turns[:-1]):
        raise _unreadable(f"has a turn without {' or '.join(marks.closings)} at its end", path, marks)
    for before, turn in zip([None, *turns], turns, strict=False):
        if turn.word in marks.after and (before is None or before.word not in marks.after[turn.word]):
            raise _unreadable("closes what it has not opened", path, marks)
    return turns


def messages_in(text: str, path: str, marks: Marks) -> list[Message]:
    """The messages of a text.

    Raises:
        RecordError: `bad-messages` or `unknown-role`.
    """
    turns = split(text, path, marks)
    roles = [role_of(turn.word, marks.roles, path) for turn in turns]
    if is_prompt(turns[-1]) and roles[-1] in marks.prompts:
        turns.pop()
    return [Message(role=role, content=turn.text) for role, turn in zip(roles, turns, strict=False)]


def prompt_in(text: str, path: str, marks: Marks) -> list[Message]:
    """The messages of a text that ends where an answer is to begin.

    Raises:
        RecordError: `bad-messages` or `unknown-role`.
    """
    turns = split(text, path, marks)
    roles = [role_of(turn.word, marks.roles, path) for turn in turns]
    if not is_prompt(turns[-1]) or roles[-1] != "assistant":
        raise RecordError(
            f"the {marks.name} text does not end with the mark that opens the answer",
            code="bad-messages",
            json_path=path,
            hint="Move the part of the answer that it holds, or add the mark.",
        )
    return [Message(role=role, content=turn.text) for role, turn in zip(roles[:-1], turns, strict=False)]


def answer_in(text: str, path: str, marks: Marks) -> str:
    """The answer that continues such a text, without its closing and what follows it.

    Raises:
        RecordError: `bad-messages`: it goes on to another turn.
    """
    if marks.opening.search(text):
        raise _unreadable("goes on after the answer", path, marks)
    return _said(text, path, marks)[0]


def is_prompt(turn: Turn) -> bool:
    """Whether a turn is empty and open."""
    return turn.closing is None and not turn.text.strip()


def _turn(opening: re.Match[str], body: str, path: str, marks: Marks) -> Turn:
    text, closing = _said(body, path, marks)
    return Turn(word=opening[opening.lastindex or 0], text=text, closing=closing)


def _said(body: str, path: str, marks: Marks) -> tuple[str, str | None]:
    """What a speaker says in a text that follows a mark, and the closing token."""
    closing = min((token for token in marks.closings if token in body), key=body.index, default=None)
    text, _, tail = body.partition(closing) if closing else (body, "", "")
    if _apart_from(marks.around, tail).strip():
        raise _unreadable(f"has text between {closing} and the next turn", path, marks)
    left = next((token for token in (*marks.around, *marks.foreign) if token in text), None)
    if left:
        raise _unreadable(f"has {left} inside a turn", path, marks)
    return text if marks.exact else text.strip(), closing


def _apart_from(tokens: Sequence[str], text: str) -> str:
    for token in tokens:
        text = text.replace(token, "")
    return text


def _unreadable(what: str, path: str, marks: Marks) -> RecordError:
    return RecordError(
        f"the {marks.name} text {what}",
        code="bad-messages",
        json_path=path,
        hint="Where a text quotes such marks, turns cannot be told from quotations; give the record as messages.",
    )
