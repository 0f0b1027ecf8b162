"""Renders as symbols: the data is known because it was traced, not because it was changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ismpack.data import Conversation, Json, Origin
from ismpack.errors import RecordError
from ismpack.templates.decisions import Decisions
from ismpack.templates.dialect import Dialect, template_messages
from ismpack.templates.environment import ChatTemplate, context_variables
from ismpack.templates.expressions import Guard, Source, Symbol, value_of
from ismpack.templates.limits import limited
from ismpack.templates.marks import DATA_FIELDS, TemplateMessage, common_prefix
from ismpack.templates.operations import CONSTANT, CONTINUED, STRIPPING, covers, may_cut
from ismpack.templates.outline import TOOLS, Outline, Owner, visit_leaves
from ismpack.templates.recorder import ProvenanceLostError, Recorder
from ismpack.templates.renders import Renders, dropped, dropped_tools
from ismpack.templates.rules import SegmentRules
from ismpack.templates.symbols import DATA, Alphabet
from ismpack.templates.traced import Part, data
from ismpack.templates.traced_json import TracedMessage, traced_value
from ismpack.templates.tracing import TracedTemplate

_RENDERS = 1 << 16
"""Renders of beginnings of conversations, and questions, that are kept."""


class Tracer:
    """A template that is traced, and the renders that conversations of one shape share.

    Args:
        template: The template.
        dialect: What it expects.
        rules: What else decides the segments.

    Raises:
        ProvenanceLostError: The template cannot be traced at all.
    """

    def __init__(self, template: ChatTemplate, dialect: Dialect, rules: SegmentRules) -> None:
        self.template = template
        self.dialect = dialect
        self.foreign = rules.foreign_pattern(Origin.ASSISTANT)
        if any(map(DATA.search, rules.control_tokens)):
            raise ProvenanceLostError("a control token of private-use characters")
        self.traced = TracedTemplate(template)
        self.alphabet = Alphabet()
        self.known: Decisions[str | None] = Decisions(_RENDERS)


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
        self._simple: dict[str, str] = {}
        self._raw: dict[tuple[tuple[int, ...], bool], str] = {}
        self._recorder = Recorder()
        self._owners: list[Owner] = []
        self._messages, self._tools, self._args = visit_leaves(
            conversation, tracer.dialect, self._wrap, self._wrap_keys
        )
        self._continued: dict[int, tuple[str, str]] = {}
        self._places: dict[tuple[tuple[int, ...], bool], list[tuple[int, int, Owner]]] = {}
        self.guards: dict[Guard, Any] = {}

    def owner(self, source: Source) -> Owner:
        """Whose data a source is."""
        return self._owners[source[0]]

    def ask(self, name: str, source: Source, *args: Any) -> Any:
        """A question of the proof itself, answered for this conversation and written down."""
        guard = (name, Symbol([source]), args)
        if guard not in self.guards:
            value = value_of(source, self._outline.leaves)
            if name == "filled":
                answer = value != ""
            elif name == "eq":
                answer = value == value_of(args[0][0], self._outline.leaves)
            elif name == "startswith":
                answer = value.startswith(*args)
            else:
                answer = covers(value, *args)
            self.guards[guard] = answer
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
        # data is in the prompt already. So it is wherever this beginning stands, but not where the data is repeated.
        leaf, ops = source = self._tracer.alphabet[text[at]]
        if self._tracer.foreign.search(rest) or not self.ask("startswith", source, rest):
            return False
        left = self._tracer.alphabet.character((leaf, (*ops, (CONTINUED, (len(rest),)))))
        self._continued[at] = (text[: at + 1], rest + left)
        self._places.clear()
        self._known = {key: self._written(key) for key in self._known}
        return self.prefix(k + 1).startswith(self.prompt(k))

    def data_end(self, i: int, count: int, *, prompt: bool) -> int | None:
        """See `Renders`."""
        return max((end for _, end, owner in self._data(count, prompt=prompt) if owner.message == i), default=0)

    def is_opening(self, text: str, count: int) -> bool:  # noqa: ARG002 - it is so in every render
        """See `Renders`."""
        return all(self.owner(source).message == TOOLS for source in self._tracer.alphabet.sources(text))

    def proves_cut(self, held: int, count: int, cut: int) -> bool:
        """See `Renders`."""
        found = list(self._data(count, prompt=True))
        if any(start < cut for start, _, owner in found if owner.message > held):
            return False
        # A tool's name may be printed again beside its result, so it counts only if there is nothing else.
        own = [(end, owner) for _, end, owner in found if owner.message == held and owner.field in DATA_FIELDS]
        own = [(end, owner) for end, owner in own if not owner.is_name] or own
        return bool(own) and all(end <= cut for end, _ in own)

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
            printed_fields = (owner.field for k in answers for _, _, owner in self._data(k, prompt=True))
            if "tools" not in printed_fields:
                raise dropped_tools()

    def _covers(self, leaf: int, printed: Iterable[tuple[Any, ...]]) -> bool:
        read = [path for guard in self.guards if (path := _path_read(guard, leaf)) is not None]
        return bool(self.ask("covers", (leaf, ()), tuple(sorted(printed, key=repr)), tuple(dict.fromkeys(read))))

    def _operations(self, text: str) -> dict[int, set[tuple[Any, ...]]]:
        """Leaf -> the operations of each of its sources in a render."""
        found: dict[int, set[tuple[Any, ...]]] = {}
        for leaf, ops in self._tracer.alphabet.sources(text):
            if all(name != CONSTANT for name, _ in ops):
                found.setdefault(leaf, set()).add(ops)
        return found

    def _data(self, count: int, *, prompt: bool) -> list[tuple[int, int, Owner]]:
        """Start, end and owner of each piece of data in a render; one that is left out as empty has a place, too."""
        key = (tuple(range(count)), prompt)
        if key not in self._places:
            _ = self.prompt(count) if prompt else self.prefix(count)
            self._written(key)
        return self._places[key]

    def _value(self, source: Source) -> str:
        return str(value_of(source, self._outline.leaves))

    def _wrap(self, value: Json, owner: Owner) -> Any:
        self._owners.append(owner)
        return traced_value(self._recorder, value, (len(self._owners) - 1, ()))

    def _wrap_keys(self, message: TemplateMessage, own: frozenset[str]) -> TemplateMessage:
        leaf = len(self._owners) - 1  # the last one, mostly of this message
        keys = {key: data(self._recorder, key, (leaf, ((CONSTANT, (key,)),))) for key in own}
        if leaf < 0:
            raise ProvenanceLostError("a message of nothing but keys")
        return TracedMessage(message, keys)

    def _render(self, indices: tuple[int, ...], *, prompt: bool) -> str:
        if (indices, prompt) not in self._raw:
            self._raw[indices, prompt] = self._shared(indices, prompt=prompt)
        if not self._simplifies and not self._continued:
            return self._raw[indices, prompt]  # where its data is, may never be asked
        return self._written((indices, prompt))

    def _written(self, key: tuple[tuple[int, ...], bool]) -> str:
        """A render as the tracer gives it, in the symbols of these renders; remembers where data is."""
        raw = self._raw[key]
        if not self._simplifies and not self._continued:
            found_in = DATA.finditer(raw)
            self._places[key] = [(m.start(), m.end(), self.owner(self._tracer.alphabet[m[0]])) for m in found_in]
            return raw
        text, at = "", 0
        places: list[tuple[int, int, Owner]] = []
        for found in DATA.finditer(raw):
            text += raw[at : found.start()]
            at = found.end()
            start = len(text)
            text += self._simple_character(found[0]) if self._simplifies else found[0]
            beginning, written = self._continued.get(start, ("", ""))
            if beginning and text == beginning:
                text = text[:start] + written
            places.append((start, len(text), self.owner(self._tracer.alphabet[found[0]])))
        text += raw[at:]
        self._places[key] = places
        return text

    def _simple_character(self, character: str) -> str:
        if character not in self._simple:
            self._simple[character] = self._simpler(character)
        return self._simple[character]

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
            asked = self._recorder.begin(count)
            try:
                text = self._traced(indices, prompt=prompt)
            finally:  # also what led to a refusal
                for guard, answer in asked.items():
                    self.guards.setdefault(guard, answer)
            known.put(key, asked, text, at_once=outline.is_common)
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
        try:
            with limited():
                try:
                    parts = self._tracer.traced.render(context)
                except ProvenanceLostError as error:
                    lost = error
        except RecordError as refusal:
            if self._renders_plainly(indices, prompt=prompt):
                raise ProvenanceLostError("tracing fails where the template does not") from refusal
            raise
        if lost is not None or parts is None:
            raise lost or ProvenanceLostError("nothing was rendered")
        return self._tracer.alphabet.write(parts)

    def _renders_plainly(self, indices: tuple[int, ...], *, prompt: bool) -> bool:
        conversation = self._conversation
        messages = template_messages(conversation, self._tracer.dialect)
        try:
            self._tracer.template.render(
                [messages[i] for i in indices],
                tools=conversation.tools or None,
                add_generation_prompt=prompt,
                args=conversation.template_args,
            )
        except RecordError:
            return False
        return True


def _is_whole(printed: Iterable[tuple[Any, ...]]) -> bool:
    """Whether one of the sources surely shows all of its leaf but white space."""
    return any(not any(map(may_cut, ops)) for ops in printed)


def _path_read(guard: Guard, leaf: int) -> tuple[Any, ...] | None:
    """Where inside a leaf a guard looks at numbers and truth values; None if it does not."""
    name, symbol, args = guard
    if name not in ("entry", "entries") or symbol[0][0] != leaf:
        return None
    return (*(key for _, (key,) in symbol[0][1]), args[0] if name == "entry" else ...)
