"""Renders as symbols: the data is known because it was traced, not because it was changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ismpack.data import Conversation, Json
from ismpack.templates.decisions import Decisions
from ismpack.templates.dialect import Dialect
from ismpack.templates.environment import ChatTemplate, context_variables
from ismpack.templates.expressions import (
    CONSTANT,
    CONTINUED,
    CUTTING,
    STRIPPING,
    Guard,
    Source,
    Symbol,
    compiled_guard,
    compiled_values,
)
from ismpack.templates.limits import limited
from ismpack.templates.marks import DATA_FIELDS, common_prefix
from ismpack.templates.outline import TOOLS, Outline, Owner, visit_leaves
from ismpack.templates.renders import Renders, dropped, dropped_tools
from ismpack.templates.rules import SegmentRules
from ismpack.templates.symbols import CAPACITY, DATA, Alphabet
from ismpack.templates.traced import Part, ProvenanceLostError, Recorder
from ismpack.templates.traced_json import traced_value
from ismpack.templates.tracing import TracedTemplate

_RENDERS = 1 << 14
"""Renders of beginnings of conversations that are kept."""


class Tracer:
    """A template that is traced, and the renders that conversations of one shape share.

    Args:
        template: The template.
        dialect: What it expects.

    Raises:
        ProvenanceLostError: The template cannot be traced at all.
    """

    def __init__(self, template: ChatTemplate, dialect: Dialect) -> None:
        self.template = template
        self.dialect = dialect
        self.traced = TracedTemplate(template)
        self.alphabet = Alphabet()
        self.known: Decisions[str | None] = Decisions(_RENDERS)

    def is_full(self) -> bool:
        """Whether it is time to begin anew."""
        return len(self.alphabet) > CAPACITY // 2


class TracedRenders(Renders):
    """Renders of one conversation in which each piece of data is one character of the tracer's alphabet.

    Args:
        conversation: The conversation.
        outline: Its shape and leaves.
        tracer: The template.

    Attributes:
        guards: All that was asked about the data so far, with the answers.
    """

    def __init__(self, conversation: Conversation, outline: Outline, tracer: Tracer) -> None:
        super().__init__()
        self._conversation = conversation
        self._outline = outline
        self._tracer = tracer
        self._simplifies = False
        self._raw: dict[tuple[tuple[int, ...], bool], str] = {}
        self._recorder = Recorder()
        self._owners: list[Owner] = []
        self._messages, self._tools, self._args = visit_leaves(conversation, tracer.dialect, self._wrap)
        self._continued: dict[str, str] = {}
        self.guards: dict[Guard, Any] = {}

    def owner(self, source: Source) -> Owner:
        """Whose data a source is."""
        return self._owners[source[0]]

    def ask(self, name: str, source: Source, *args: Any) -> Any:
        """A question of the proof itself, answered for this conversation and written down."""
        guard = (name, Symbol([source]), args)
        if guard not in self.guards:
            self.guards[guard] = compiled_guard(guard)(self._outline.leaves)
        return self.guards[guard]

    def simplified(self) -> TracedRenders:
        """The same renders, closer to this conversation: what is empty is left out, what changes nothing is not done.

        Two renders that agree in text but not in symbols agree here. The price is a question about each piece of data.
        The guards begin with those so far, since the attempt with them failed for all who answer them alike.
        """
        other = TracedRenders(self._conversation, self._outline, self._tracer)
        other._simplifies = True
        other._raw = self._raw
        other.guards = dict(self.guards)
        return other

    def show(self, text: str) -> str:
        """See `Renders`."""
        return DATA.sub(lambda found: self._value(self._tracer.alphabet[found[0]]), text)

    def continues(self, k: int) -> bool:
        """See `Renders`; also if the data itself begins with the end of the prompt."""
        given, text = self.prompt(k), self.prefix(k + 1)
        if text.startswith(given):
            return True
        at = common_prefix(given, text)
        rest = given[at:]
        if not DATA.match(text[at : at + 1]) or DATA.search(rest):
            return False
        # An answer that begins in the data with what the prompt ends with, such as an opened <think>: that much of the
        # data is in the prompt already.
        leaf, ops = source = self._tracer.alphabet[text[at]]
        if not self.ask("startswith", source, rest):
            return False
        left = self._tracer.alphabet.character((leaf, (*ops, (CONTINUED, (len(rest),)))))
        self._continued[text[at]] = rest + left
        self._known = {key: known.replace(text[at], rest + left) for key, known in self._known.items()}
        return self.prefix(k + 1).startswith(self.prompt(k))

    def data_end(self, i: int, count: int, *, prompt: bool) -> int | None:
        """See `Renders`."""
        text = self.prompt(count) if prompt else self.prefix(count)
        return max((at + 1 for at, owner in self._data(text) if owner.message == i), default=0)

    def is_opening(self, text: str, count: int) -> bool:  # noqa: ARG002 - it is so in every render
        """See `Renders`."""
        return all(owner.message == TOOLS for _, owner in self._data(text))

    def proves_cut(self, held: int, count: int, cut: int) -> bool:
        """See `Renders`."""
        found = list(self._data(self.prompt(count)))
        if any(at < cut for at, owner in found if owner.message > held):
            return False
        # A tool's name may be printed again beside its result, so it counts only if there is nothing else.
        own = [(at, owner) for at, owner in found if owner.message == held and owner.field in DATA_FIELDS]
        own = [(at, owner) for at, owner in own if not owner.is_name] or own
        return bool(own) and all(at < cut for at, _ in own)

    def refuse_lost_data(self, answers: Sequence[int], rules: SegmentRules, *, append_only: bool) -> None:
        """See `Renders`."""
        last = answers[-1]
        shared = self._operations(self.prefix(last + 1)) if append_only else {}
        own: dict[tuple[int, bool], dict[int, set[tuple[Any, ...]]]] = {}
        for leaf, owner in enumerate(self._owners):
            if owner.field not in DATA_FIELDS or owner.field in rules.allow_dropped:
                continue
            if not 0 <= owner.message <= last:
                continue
            printed = set(shared.get(leaf, ()))
            if not _is_whole(printed):
                k = next(k for k in answers if k >= owner.message)
                render = (k + 1, False) if k == owner.message else (k, True)
                if render not in own:
                    own[render] = self._operations(self.prompt(k) if render[1] else self.prefix(k + 1))
                printed |= own[render].get(leaf, set())
            if not _is_whole(printed) and not self._covers(leaf, printed):
                raise dropped(owner.message, owner.field, self._conversation.messages[owner.message].role)
        if self._conversation.tools and "tools" not in rules.allow_dropped:
            texts = (self.prompt(k) for k in answers)
            if not any(owner.field == "tools" for text in texts for _, owner in self._data(text)):
                raise dropped_tools()

    def _covers(self, leaf: int, printed: Iterable[tuple[Any, ...]]) -> bool:
        read = [path for guard in self.guards if (path := _path_read(guard, leaf)) is not None]
        return bool(self.ask("covers", (leaf, ()), tuple(sorted(printed, key=repr)), tuple(dict.fromkeys(read))))

    def _operations(self, text: str) -> dict[int, set[tuple[Any, ...]]]:
        """Leaf -> the operations of each of its sources in a render."""
        found: dict[int, set[tuple[Any, ...]]] = {}
        for leaf, ops in self._tracer.alphabet.sources(text):
            if not ops or ops[-1][0] != CONSTANT:
                found.setdefault(leaf, set()).add(ops)
        return found

    def _data(self, text: str) -> Iterable[tuple[int, Owner]]:
        """Place and owner of each piece of data in a render."""
        alphabet = self._tracer.alphabet
        return ((found.start(), self.owner(alphabet[found[0]])) for found in DATA.finditer(text))

    def _value(self, source: Source) -> str:
        return compiled_values([source])(self._outline.leaves)[0]

    def _wrap(self, value: Json, owner: Owner) -> Any:
        self._owners.append(owner)
        return traced_value(self._recorder, value, (len(self._owners) - 1, ()))

    def _render(self, indices: tuple[int, ...], *, prompt: bool) -> str:
        text = self._raw.get((indices, prompt))
        if text is None:
            text = self._raw[indices, prompt] = self._shared(indices, prompt=prompt)
        if self._simplifies:
            for character in dict.fromkeys(DATA.findall(text)):
                text = text.replace(character, self._simpler(character))
        for character, written in self._continued.items():
            text = text.replace(character, written)
        return text

    def _simpler(self, character: str) -> str:
        source = self._tracer.alphabet[character]
        if not self.ask("filled", source):
            return ""
        while source[1] and source[1][-1][0] in STRIPPING:
            before = (source[0], source[1][:-1])
            if not self.ask("eq", source, Symbol([before])):
                break
            source = before
        return self._tracer.alphabet.character(source)

    def _shared(self, indices: tuple[int, ...], *, prompt: bool) -> str:
        """The render of a beginning of the conversation, from the tracer's memory if it is there."""
        outline, known = self._outline, self._tracer.known
        count = max(indices, default=-1) + 1
        odd = None if indices == tuple(range(count)) else indices
        key = (outline.keys[:count], outline.rest, prompt, odd)
        text = known.find(key, outline.leaves, self.guards)
        if text is None:
            asked = self._recorder.guards = {}
            try:
                text = self._traced(indices, prompt=prompt)
            finally:  # also what led to a refusal
                for guard, answer in asked.items():
                    self.guards.setdefault(guard, answer)
            known.put(key, asked, text)
        return text

    def _traced(self, indices: tuple[int, ...], *, prompt: bool) -> str:
        context = context_variables(
            self._tracer.template,
            [self._messages[i] for i in indices],
            tools=self._tools,
            add_generation_prompt=prompt,
            args=self._args,
        )
        parts: list[Part] | None = None
        lost: ProvenanceLostError | None = None
        with limited():
            try:
                parts = self._tracer.traced.render(context)
            except ProvenanceLostError as error:
                lost = error
        if lost is not None or parts is None:
            raise lost or ProvenanceLostError("nothing was rendered")
        return self._tracer.alphabet.write(parts)


def _is_whole(printed: Iterable[tuple[Any, ...]]) -> bool:
    """Whether one of the sources surely shows all of its leaf but white space."""
    return any(not any(name in CUTTING for name, _ in ops) for ops in printed)


def _path_read(guard: Guard, leaf: int) -> tuple[Any, ...] | None:
    """Where inside a leaf a guard looks at numbers and truth values; None if it does not."""
    name, symbol, args = guard
    if name not in ("entry", "entries") or symbol[0][0] != leaf:
        return None
    return (*(key for _, (key,) in symbol[0][1]), args[0] if name == "entry" else ...)
