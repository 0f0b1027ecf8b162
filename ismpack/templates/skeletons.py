"""Segments written in symbols to skeletons: what a way through the template has in common, compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ismpack.data import Bone, Filled, Origin, Piece, Segment, Skeleton, Slot
from ismpack.templates.expressions import Leaves, Source, compiled_values, value_of
from ismpack.templates.outline import Owner
from ismpack.templates.rules import Segmentation, SegmentRules
from ismpack.templates.symbols import DATA, Alphabet


@dataclass(slots=True)
class Cast:
    """One sample of a way through the template: a skeleton and how its holes are filled.

    Attributes:
        skeleton: The sample without its data.
        origins: Who wrote what fills each hole.
        bare: Of each answer that holds no template text, which holes make it up.
        sources: What fills each hole.
    """

    skeleton: Skeleton
    origins: tuple[Origin, ...]
    bare: tuple[range, ...]
    sources: list[Source]
    _values: Callable[[Leaves], tuple[str, ...]] | None = None

    def first(self, leaves: Leaves) -> Filled:
        """The sample of the conversation that the way was found with."""
        return Filled(self.skeleton, tuple([value_of(source, leaves) for source in self.sources]))

    def fill(self, leaves: Leaves) -> Filled:
        """The sample of a conversation that takes the way."""
        if self._values is None:
            self._values = compiled_values(self.sources)
        return Filled(self.skeleton, self._values(leaves))

    def has_empty_answer(self, sample: Filled) -> bool:
        """Whether an answer has no text at all."""
        return any(not any(sample.values[i] for i in holes) for holes in self.bare)

    def control_string(self, sample: Filled, rules: SegmentRules) -> str | None:
        """The first control token's text in the data that does not belong there."""
        if not rules.may_hold_control_token("\0".join(sample.values)):
            return None
        for value, origin in zip(sample.values, self.origins, strict=True):
            found = rules.foreign_pattern(origin).search(value)
            if found:
                return found.group()
        return None


@dataclass(slots=True)
class Way:
    """A way through the template that many conversations take.

    Attributes:
        casts: One for each sample.
        warnings: Warning codes.
        inferred_stops: Control tokens taken as stop tokens.
        answers: Message index of each answer of each sample.
        hits: How often it was taken.
    """

    casts: tuple[Cast, ...]
    warnings: tuple[str, ...]
    inferred_stops: frozenset[str]
    answers: tuple[tuple[int, ...], ...]
    hits: int = 0

    def fill(self, leaves: Leaves) -> tuple[Filled, ...]:
        """The samples of a conversation that takes this way."""
        if len(self.casts) == 1:
            return (self.casts[0].fill(leaves),)
        return tuple([cast.fill(leaves) for cast in self.casts])


def way_of(segmentation: Segmentation, alphabet: Alphabet, owners: Callable[[Source], Owner]) -> Way:
    """Compile a segmentation whose text is symbols."""
    return Way(
        casts=tuple(_cast(sample, alphabet, owners) for sample in segmentation.samples),
        warnings=segmentation.warnings,
        inferred_stops=segmentation.inferred_stops,
        answers=segmentation.answers,
    )


def _cast(segments: Sequence[Segment], alphabet: Alphabet, owners: Callable[[Source], Owner]) -> Cast:
    bones = tuple(
        Bone(
            slots=tuple(slot for piece in segment.pieces for slot in _slots(piece, alphabet, owners)),
            is_answer=segment.is_answer,
            turn=segment.turn,
            loss=segment.loss,
        )
        for segment in segments
    )
    skeleton = Skeleton(bones)
    sources = alphabet.sources("".join(segment.text for segment in segments))
    origins = tuple(hole.origin for hole in skeleton.holes)
    return Cast(skeleton, origins, tuple(_bare_answers(bones)), sources)


def _bare_answers(bones: Sequence[Bone]) -> Iterator[range]:
    at = 0
    for bone in bones:
        holes = range(at, at + sum(slot.text is None for slot in bone.slots))
        if bone.is_answer and len(holes) == len(bone.slots):
            yield holes
        at = holes.stop


def _slots(piece: Piece, alphabet: Alphabet, owners: Callable[[Source], Owner]) -> Iterator[Slot]:
    at = 0
    for found in DATA.finditer(piece.text):
        if found.start() > at:
            yield Slot(piece.text[at : found.start()], piece.type_id, Origin.TEMPLATE)
        yield Slot(None, piece.type_id, owners(alphabet[found[0]]).origin)
        at = found.end()
    if at < len(piece.text):
        yield Slot(piece.text[at:], piece.type_id, Origin.TEMPLATE)
