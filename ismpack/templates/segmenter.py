"""Conversation to segments, fast: most conversations take a way through the template that is known already.

A ladder of three steps, each slower and asked only if the one before has no answer:

1. Known way. The conversation's shape and its answers to the template's questions lead to a compiled way, which lists
   the data to put into the holes of a skeleton. No Jinja runs.
2. Traced renders. Data is traced through the template and the rules of the stream are applied to symbols, so what is
   found holds for every conversation that takes the same way. It is compared with plain renders before it is used, and
   kept from the second sight of a shape on.
3. The reference. The template does something that cannot be followed, or the comparison fails: plain renders, for this
   conversation. As the reference cannot tell data from template, it refuses control strings in data.

Which step gives the result never changes it. Each way's first hit and every 1,024th hit are compared with plain renders
again; if they differ, `ismpack` is wrong and says so instead of writing a shard.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ismpack.data import Conversation, Filled, Json, PlainConversation, Segment
from ismpack.errors import InternalError, RecordError
from ismpack.templates.decisions import Decisions
from ismpack.templates.dialect import Dialect, template_messages
from ismpack.templates.environment import ChatTemplate
from ismpack.templates.outline import Outline, outline
from ismpack.templates.recorder import ProvenanceLostError
from ismpack.templates.reference import PlainRenders, refuse_made_tokens, segment
from ismpack.templates.rules import Segmentation, SegmentRules
from ismpack.templates.skeletons import Way, way_of
from ismpack.templates.stream import segment_stream
from ismpack.templates.symbols import AlphabetFullError
from ismpack.templates.traced_renders import TracedRenders, Tracer

_WAYS = 1 << 16
"""Ways and questions that are kept."""

_CERTAIN = frozenset(("no-answer", "no-target", "data-dropped", "empty-answer"))
"""Refusals of traced renders that need no second opinion."""

_CHECK_EVERY = 1024
"""Of so many hits, one is compared with plain renders."""


class Segmenter:
    """Segments conversations under one template.

    Args:
        template: The template.
        dialect: What it expects.
        rules: What else decides the segments.

    Attributes:
        lost: Why provenance was lost -> how often.
    """

    def __init__(self, template: ChatTemplate, dialect: Dialect, rules: SegmentRules) -> None:
        self.template = template
        self.dialect = dialect
        self.rules = rules
        self._known = self._traced = self._referred = 0
        self.lost: Counter[str] = Counter()
        self._ways: Decisions[Way] = Decisions(_WAYS)
        try:
            self._tracer: Tracer | None = Tracer(template, dialect, rules)
        except ProvenanceLostError as error:
            self._tracer = None
            self.lost[str(error)] += 1

    @property
    def counts(self) -> dict[str, int]:
        """How often each step of the ladder decided."""
        return {"known": self._known, "traced": self._traced, "reference": self._referred}

    def segment(self, conversation: Conversation | PlainConversation) -> Segmentation:
        """The query and answer segments of a conversation.

        Raises:
            RecordError: See `reference.segment`. A control token's text in the data is refused only with
                `--special-tokens-in-data reject`, or if the reference has to decide.
            InternalError: A known way gave something else than the template.
        """
        if isinstance(conversation, PlainConversation):
            # Where the template does not read all these roles' content as text, no way has such a key.
            way = self._ways.find((conversation.roles, None), conversation.texts)
            if way is not None:
                return self._known_way(conversation, way, conversation.texts)
            conversation = conversation.written_out()
        if self._tracer is None:
            return self._by_reference(conversation, ProvenanceLostError("its code cannot be traced"))
        shape = outline(conversation, self.dialect)
        way = self._ways.find(shape[:2], shape.leaves)
        if way is not None:
            return self._known_way(conversation, way, shape.leaves)
        try:
            way, samples = self._trace_with_room(conversation, shape, self._tracer)
        except ProvenanceLostError as error:
            self.lost[str(error)] += 1
            return self._by_reference(conversation, error)
        return Segmentation(samples, self._warnings(way, samples), way.inferred_stops, way.answers)

    def _known_way(
        self, conversation: Conversation | PlainConversation, way: Way, leaves: Sequence[Json]
    ) -> Segmentation:
        samples = way.fill(leaves)
        way.hits += 1
        self._known += 1
        if way.hits == 1 or self._known % _CHECK_EVERY == 0:
            self._refuse_difference(conversation.written_out(), way, samples)
        return Segmentation(samples, self._warnings(way, samples), way.inferred_stops, way.answers)

    def _warnings(self, way: Way, samples: Sequence[Filled]) -> tuple[str, ...]:
        """The warnings of a way, and that of control tokens' text in the data; or its refusal."""
        for cast, sample in zip(way.casts, samples):  # noqa: B905 - as many, and every conversation passes here
            if cast.bare and cast.has_empty_answer(sample):
                raise RecordError("the template prints nothing for an answer", code="empty-answer")
            found = cast.control_string(sample, self.rules)
            if found is None:
                continue
            if self.rules.special_tokens_in_data == "reject":
                raise RecordError(
                    f"the data holds {found!r}, the text of a control token", code="special-token-in-data"
                )
            return (*way.warnings, "control-string-in-data")
        return way.warnings

    def _trace_with_room(
        self, conversation: Conversation, shape: Outline, tracer: Tracer
    ) -> tuple[Way, tuple[Filled, ...]]:
        """As `_trace`; once the alphabet is used up, it begins anew."""
        try:
            return self._trace(conversation, shape, tracer)
        except AlphabetFullError:
            self._ways.clear()
            self._tracer = Tracer(self.template, self.dialect, self.rules)
            return self._trace(conversation, shape, self._tracer)

    def _trace(self, conversation: Conversation, shape: Outline, tracer: Tracer) -> tuple[Way, tuple[Filled, ...]]:
        """Find a new way.

        Raises:
            RecordError: The conversation is refused.
            ProvenanceLostError: Tracing cannot tell.
        """
        renders = TracedRenders(conversation, shape, tracer)
        refusal, found = self._attempt(conversation, renders)
        if refusal is not None or (found is not None and "history-rewritten" in found.warnings):
            renders = renders.simplified()  # renders that differ in symbols may have the same text
            refusal, found = self._attempt(conversation, renders)
        if found is None:
            if refusal is not None and refusal.code in _CERTAIN:
                raise refusal
            # Two renders that differ in symbols may agree in text, and an error may come from the way we trace.
            raise ProvenanceLostError(f"traced renders are refused: {refusal.code if refusal else None}") from refusal
        way = way_of(found, tracer.alphabet, renders.owner)
        samples = tuple(cast.first(shape.leaves) for cast in way.casts)
        if not self._equals_plain(conversation, way, samples):
            raise ProvenanceLostError("the traced text differs from the plain one")
        self._traced += 1
        self._ways.put(shape[:2], renders.guards, way, at_once=shape.is_common)
        return way, samples

    def _attempt(
        self, conversation: Conversation, renders: TracedRenders
    ) -> tuple[RecordError | None, Segmentation | None]:
        try:
            return None, segment_stream(conversation, renders, self.rules)
        except RecordError as refusal:
            return refusal, None

    def _by_reference(self, conversation: Conversation, reason: ProvenanceLostError) -> Segmentation:
        self._referred += 1
        try:
            result = segment(conversation, self.template, self.dialect, self.rules)
            refuse_made_tokens(conversation, self.template, self.dialect, self.rules, result.answers)
            return result
        except RecordError as error:
            if error.code != "special-token-in-data" or self.rules.special_tokens_in_data == "reject":
                raise
            if isinstance(reason.__cause__, RecordError):
                raise reason.__cause__ from None
            raise RecordError(
                f"{error.message}, and the chat template does something with the data that cannot be followed "
                f"({reason}), so the two cannot be told apart",
                code=error.code,
                hint="Use a template that prints the data as it is, or change the data.",
            ) from error

    def _refuse_difference(self, conversation: Conversation, way: Way, samples: Sequence[Filled]) -> None:
        if not self._equals_plain(conversation, way, samples):
            first = next((m.content for m in conversation.messages if m.content), "")
            raise InternalError(
                f"a known way through the {self.template.name} gives another text than the template, for the "
                f"conversation of {len(conversation.messages)} messages that begins with {str(first)[:60]!r}"
            )

    def _equals_plain(self, conversation: Conversation, way: Way, samples: Sequence[Filled]) -> bool:
        """Whether each query ends its plain prompt G_k, and each answer follows it in the plain E_k."""
        renders = PlainRenders(conversation, self.template, template_messages(conversation, self.dialect))
        return all(
            renders.prefix(answers[-1] + 1).startswith("".join(part.text for part in sample))
            or _follows(sample, answers, renders)
            for sample, answers in zip(samples, way.answers, strict=True)
        )


def _follows(sample: Sequence[Segment], answers: Sequence[int], renders: PlainRenders) -> bool:
    """The same for a stream that is stitched from several renders."""
    query, turn = "", iter(answers)
    for part in sample:
        if not part.is_answer:
            query = part.text
            continue
        k = next(turn)
        given, text = renders.prompt(k), renders.prefix(k + 1)
        if not (given.endswith(query) and text.startswith(given) and text.startswith(part.text, len(given))):
            return False
        query = ""
    return True
