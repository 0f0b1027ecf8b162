"""Data that a template never prints: a silent loss that looks like a successful conversion."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ismpack.data import Role
from ismpack.errors import RecordError
from ismpack.templates.marks import DATA_FIELDS, fresh_root, has_data, mark_field
from ismpack.templates.renders import Renders


def refuse_dropped_data(
    renders: Renders, roles: Sequence[Role], answers: Sequence[int], allowed: Collection[str]
) -> None:
    """Check that every data field of every message up to the last answer is printed, and the tool definitions.

    Args:
        renders: Renders of the conversation.
        roles: Role of every message.
        answers: Indices of the answers.
        allowed: Fields that need not be printed.

    Raises:
        RecordError: `data-dropped`, naming message and field.
    """
    for i, field in _unprinted(renders, answers):
        if field not in allowed:
            raise RecordError(
                f"the chat template never prints {field!r} of message {i} ({roles[i]})",
                code="data-dropped",
                hint=f"Use a template that prints it, or accept the loss with --allow-dropped {field}.",
            )
    if renders.tools and "tools" not in allowed and not _prints_tools(renders, answers):
        raise RecordError(
            "the chat template never prints the tool definitions",
            code="data-dropped",
            hint="Use a template that prints them, or accept the loss with --allow-dropped tools.",
        )


def _unprinted(renders: Renders, answers: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Fields that no render of the stream shows.

    One render with a mark in every field shows nearly all of them. A field whose mark is missing there may still be
    printed earlier (thinking that is stripped later), so it is looked for once more in the render that the stream uses.
    """
    end = answers[-1] + 1
    fields = [
        (i, field)
        for i, message in enumerate(renders.messages[:end])
        for field in DATA_FIELDS
        if has_data(message.get(field))
    ]
    root = fresh_root(renders.prefix(end))
    marks = {place: f"{root}{number}x" for number, place in enumerate(fields)}
    marked = list(renders.messages[:end])
    for (i, field), mark in marks.items():
        marked[i] = mark_field(marked[i], field, mark)
    try:
        text = renders.of(marked)
    except RecordError:  # the template looks into some value; look at each field alone
        text = ""
    for (i, field), mark in marks.items():
        if mark not in text and not _is_printed(renders, answers, i, field, mark):
            yield i, field


def _is_printed(renders: Renders, answers: Sequence[int], i: int, field: str, mark: str) -> bool:
    answer = next(k for k in answers if k >= i)
    is_answer = answer == i
    end = answer + 1 if is_answer else answer
    plain = renders.prefix(end) if is_answer else renders.prompt(end)
    messages = list(renders.messages[:end])
    messages[i] = mark_field(messages[i], field, mark)
    try:
        return renders.of(messages, prompt=not is_answer) != plain
    except RecordError:  # a template that refuses the changed value has read it
        return True


def _prints_tools(renders: Renders, answers: Sequence[int]) -> bool:
    # Some templates print the tools beside the last user message only, so every query is looked at.
    for k in answers:
        try:
            if renders.without_tools(k) != renders.prompt(k):
                return True
        except RecordError:
            return True
    return False
