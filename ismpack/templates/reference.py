"""Conversation to segments by plain renders: slow, obvious, and for ever the oracle of anything faster.

Data is found by changing it (`marks`). That rests on one precondition: the data holds no text of a control token that
a template could have written, so every such token in a render comes from the template. Conversations that break it are
refused (`special-token-in-data`).
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

from msgspec import structs

from ismpack.data import Conversation, Message, Origin
from ismpack.errors import RecordError
from ismpack.templates.dialect import Dialect, template_messages
from ismpack.templates.dropped import PrintedData
from ismpack.templates.environment import ChatTemplate
from ismpack.templates.marks import (
    TemplateMessage,
    append_mark,
    common_prefix,
    common_suffix,
    end_of_data,
    fresh_root,
    strings,
)
from ismpack.templates.renders import Renders
from ismpack.templates.rules import Segmentation, SegmentRules
from ismpack.templates.stream import segment_stream


def segment(conversation: Conversation, template: ChatTemplate, dialect: Dialect, rules: SegmentRules) -> Segmentation:
    """The query and answer segments of a conversation (the rules: see `stream`).

    Raises:
        RecordError: `special-token-in-data`, `no-answer`, `no-target`, `template-error`, `data-dropped`,
            `generation-prompt-not-continued`, `no-stop-token`, `answer-rewritten`, `stitch-ambiguous` or
            `empty-answer`.
    """
    renders = PlainRenders(conversation, template, template_messages(conversation, dialect))
    renders.refuse_control_tokens(rules)
    return segment_stream(conversation, renders, rules)


def refuse_made_tokens(
    conversation: Conversation,
    template: ChatTemplate,
    dialect: Dialect,
    rules: SegmentRules,
    answers: Sequence[Sequence[int]],
) -> None:
    """Check that the template does not make a control token's text of data that holds none.

    It could do so with any operation that changes data (`replace`, `striptags`). So the renders must hold as many such
    texts as with data of other letters and signs.

    Args:
        conversation: The conversation.
        template: The template.
        dialect: What it expects.
        rules: Which tokens there are.
        answers: Message indices of the answers of each sample.

    Raises:
        RecordError: `special-token-in-data`.
    """
    plain = PlainRenders(conversation, template, template_messages(conversation, dialect))
    kept = "|".join(re.escape(tag) for tag in sorted(set(_TAG.findall(template.source)), key=len, reverse=True))

    def neutral(text: str) -> str:
        parts = re.split(f"({kept})", text) if kept else [text]
        return "".join(part if i % 2 else part.translate(_NEUTRAL) for i, part in enumerate(parts))

    changed = _map_strings(conversation, neutral)
    other = PlainRenders(changed, template, template_messages(changed, dialect))
    for k in dict.fromkeys(k for sample in answers for k in sample):
        for prompt in (True, False):
            count = k if prompt else k + 1
            try:
                expected = other.prompt(count) if prompt else other.prefix(count)
            except RecordError:
                expected = ""
            found = plain.prompt(count) if prompt else plain.prefix(count)
            if len(rules.control_pattern.findall(found)) != len(rules.control_pattern.findall(expected)):
                raise RecordError(
                    "data and what the template makes of it give the text of a control token",
                    code="special-token-in-data",
                )


_TAG = re.compile(r"</?[A-Za-z_]\w*>")
_LETTERS = string.ascii_lowercase
_NEUTRAL = str.maketrans(
    {letter: _LETTERS[(i + 13) % 26] for i, letter in enumerate(_LETTERS)}
    | {letter.upper(): _LETTERS[(i + 13) % 26].upper() for i, letter in enumerate(_LETTERS)}
    | dict.fromkeys("<>[]|｜&;/_", "v")
)


def _map_strings(conversation: Conversation, change: Callable[[str], str]) -> Conversation:
    """The conversation with every text in it replaced."""

    def any_value(value: Any) -> Any:
        if isinstance(value, str):
            return change(value)
        if isinstance(value, Mapping):
            return {change(key): any_value(item) for key, item in value.items()}
        return type(value)(map(any_value, value)) if isinstance(value, (list, tuple)) else value

    def message(one: Message) -> Message:
        calls = tuple(
            structs.replace(
                call, **{name: any_value(getattr(call, name)) for name in ("name", "arguments", "arguments_text", "id")}
            )
            for call in one.tool_calls
        )
        names = ("content", "reasoning", "name", "tool_call_id")
        # The names of keys are asked for by the template, so they stay.
        extra = {key: any_value(value) for key, value in one.extra.items()}
        return structs.replace(
            one, tool_calls=calls, extra=extra, **{name: any_value(getattr(one, name)) for name in names}
        )

    return structs.replace(conversation, messages=tuple(map(message, conversation.messages)), tools=conversation.tools)


class PlainRenders(Renders):
    """Renders as text.

    Args:
        conversation: The conversation.
        template: The template.
        messages: The conversation's messages as the template reads them.
    """

    def __init__(self, conversation: Conversation, template: ChatTemplate, messages: Sequence[TemplateMessage]) -> None:
        super().__init__()
        self.conversation = conversation
        self.template = template
        self.messages = messages

    def of(self, messages: Sequence[TemplateMessage], *, prompt: bool = False, tools: bool = True) -> str:
        """A render of other messages with this conversation's tools and arguments; not kept."""
        return self.template.render(
            messages,
            tools=(self.conversation.tools or None) if tools else None,
            add_generation_prompt=prompt,
            args=self.conversation.template_args,
        )

    def refuse_control_tokens(self, rules: SegmentRules) -> None:
        """Check the precondition of every rule that looks for control tokens in text.

        Raises:
            RecordError: `special-token-in-data`.
        """
        given: list[object] = [self.conversation.tools or (), self.conversation.template_args]
        written = [message for message in self.messages if message["role"] == "assistant"]
        given += [message for message in self.messages if message["role"] != "assistant"]
        for data, origin in ((given, Origin.DATA), (written, Origin.ASSISTANT)):
            # No control token contains NUL, so none can be found across two strings. A template may change case.
            pattern = re.compile(rules.foreign_pattern(origin).pattern, re.IGNORECASE)
            found = pattern.search("\0".join(s for part in data for s in strings(part)))
            if found:
                raise RecordError(
                    f"the data holds {found.group()!r}, the text of a control token", code="special-token-in-data"
                )

    def show(self, text: str) -> str:
        """See `Renders`."""
        return text

    def data_end(self, i: int, count: int, *, prompt: bool) -> int | None:
        """See `Renders`."""
        messages = list(self.messages[:count])

        def render(changed: TemplateMessage) -> str:
            return self.of([*messages[:i], changed, *messages[i + 1 :]], prompt=prompt)

        return end_of_data(messages[i], self.prompt(count) if prompt else self.prefix(count), render)

    def is_opening(self, text: str, count: int) -> bool:
        """See `Renders`."""
        # A conversation's own system message may have the very words of the default one.
        changed = append_mark(self.messages[0], fresh_root(self.prompt(count)), blank=True)
        try:
            return self.of([changed, *self.messages[1:count]], prompt=True).startswith(text)
        except RecordError:
            return False

    def proves_cut(self, held: int, count: int, cut: int) -> bool:
        """See `Renders`."""
        prompt, messages = self.prompt(count), self.messages[:count]
        mark = fresh_root(prompt)
        later = [m if i <= held else append_mark(m, mark, blank=True) for i, m in enumerate(messages)]
        try:
            if common_prefix(prompt, self.of(later, prompt=True)) < cut:
                return False
            # A tool's name may be printed again beside its result, and a mark in a blank text may appear where nothing
            # was, so these count only if there is nothing else.
            for blank, names in product((False, True), (False, True)):
                changed = append_mark(messages[held], mark, blank=blank, names=names)
                earlier = self.of([*messages[:held], changed, *messages[held + 1 :]], prompt=True)
                if earlier != prompt:
                    return common_suffix(prompt, earlier) >= len(prompt) - cut
        except RecordError:
            pass
        return False

    def refuse_lost_data(self, answers: Sequence[int], rules: SegmentRules, *, append_only: bool) -> None:
        """See `Renders`."""
        printed = PrintedData(self, answers)
        printed.refuse_formed_tokens(rules.control_pattern)
        printed.refuse_dropped(rules.allow_dropped, append_only=append_only)

    def _render(self, indices: tuple[int, ...], *, prompt: bool) -> str:
        return self.of([self.messages[i] for i in indices], prompt=prompt)
