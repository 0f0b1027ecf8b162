"""What is examined: the chat templates of one tokenizer, ready to render and to segment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from ismpack.data import Conversation, Json
from ismpack.errors import RecordError
from ismpack.templates.dialect import Dialect, find_dialect, template_messages
from ismpack.templates.environment import ChatTemplate
from ismpack.templates.reference import PlainRenders
from ismpack.templates.rules import Segmentation, SegmentRules
from ismpack.templates.segmenter import Segmenter


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer as the model writes it.

    Attributes:
        ordinal: 1 for the first answer of the conversation.
        message: Index of its message.
        given: All text before it (G of the message).
        text: The answer with its stop token.
    """

    ordinal: int
    message: int
    given: str
    text: str

    @property
    def held(self) -> str:
        """What an engine holds once the answer is written."""
        return self.given + self.text


class Subject:
    """The templates of one tokenizer under one set of rules.

    Args:
        sources: Jinja text by name: `default`, perhaps `tool_use` for conversations with tools.
        variables: What every render sees (`bos_token`, ..., template arguments).
        date: ISO date that the clock shows.
        rules: What decides the segments besides the template.

    Raises:
        TokenizerError: A template cannot be compiled, or asks for something random.
    """

    def __init__(
        self, sources: Mapping[str, str], *, variables: Mapping[str, Json], date: str, rules: SegmentRules
    ) -> None:
        self.sources = sources
        self.rules = rules
        self._split_rules = replace(rules, on_rewrite="split")
        self._segmenters: dict[tuple[str, int], Segmenter] = {}
        self._variables = variables
        self._date = date
        self._templates = self.compiled()
        self._dialects = {name: find_dialect(template) for name, template in self._templates.items()}

    def known_variables(self) -> frozenset[str]:
        """Names of the variables that the tokenizer or the user sets."""
        return frozenset(self._variables)

    def compiled(
        self, change: Callable[[str], str] = lambda source: source, *, clock: bool = True
    ) -> dict[str, ChatTemplate]:
        """The templates with their text changed; without a clock, they refuse to tell the date."""
        return {
            name: ChatTemplate(change(source), variables=self._variables, date=self._date if clock else None, name=name)
            for name, source in self.sources.items()
        }

    def segment(self, conversation: Conversation, rules: SegmentRules | None = None) -> Segmentation:
        """Segments of the conversation; the only place here that asks for them.

        Raises:
            RecordError: As `Segmenter.segment`.
        """
        template, dialect = self._for(conversation, self._templates)
        rules = rules or self.rules
        key = (template.name, id(rules))  # a segmenter keeps its rules, so the id stays theirs
        if key not in self._segmenters:
            self._segmenters[key] = Segmenter(template, dialect, rules)
        return self._segmenters[key].segment(conversation)

    def split(self, conversation: Conversation) -> Segmentation:
        """Segments of the conversation, one sample per answer if the template rewrites history."""
        return self.segment(conversation, self._split_rules)

    def renders(self, conversation: Conversation, templates: Mapping[str, ChatTemplate] | None = None) -> PlainRenders:
        """Renders of the conversation, under other templates if given (see `compiled`)."""
        template, dialect = self._for(conversation, templates or self._templates)
        return PlainRenders(conversation, template, template_messages(conversation, dialect))

    def answers(self, conversation: Conversation, segmentation: Segmentation) -> list[Answer]:
        """The answers of a conversation whose answers are all trained."""
        renders = self.renders(conversation)
        texts = [part.text for sample in segmentation.samples for part in sample if part.is_answer]
        return [
            Answer(ordinal=n, message=k, given=renders.prompt(k), text=text)
            for n, (k, text) in enumerate(zip(answer_indices(conversation), texts, strict=True), start=1)
        ]

    def queries(self, conversation: Conversation) -> dict[int, str | None]:
        """Message index of each answer -> G, what the model is given for it; None if the template refuses."""
        renders = self.renders(conversation)
        return {k: _accepted(renders.prompt, k) for k in answer_indices(conversation)}

    def written(self, conversation: Conversation) -> dict[int, str | None]:
        """Message index of each answer -> E, the render that ends with it; None if the template refuses."""
        renders = self.renders(conversation)
        return {k: _accepted(renders.prefix, k + 1) for k in answer_indices(conversation)}

    def printed(self, conversations: Iterable[Conversation]) -> str:
        """All that the template prints for some conversations, in one text."""
        texts = (
            text
            for conversation in conversations
            for renders in (self.queries(conversation), self.written(conversation))
            for text in renders.values()
        )
        return "\0".join(text for text in texts if text is not None)

    def _for(self, conversation: Conversation, templates: Mapping[str, ChatTemplate]) -> tuple[ChatTemplate, Dialect]:
        name = "tool_use" if conversation.tools and "tool_use" in templates else "default"
        return templates[name], self._dialects[name]


def answer_indices(conversation: Conversation) -> list[int]:
    """Assistant messages after the first user or tool message; earlier ones are greetings."""
    roles = [message.role for message in conversation.messages]
    opened = next(i for i, role in enumerate(roles) if role in ("user", "tool"))
    return [i for i, role in enumerate(roles) if role == "assistant" and i > opened]


def _accepted(render: Callable[[int], str], count: int) -> str | None:
    try:
        return render(count)
    except RecordError:
        return None
