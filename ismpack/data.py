"""The nouns, in the order in which data flows. Read this first.

A `Record` (one raw JSON value) becomes a `Conversation` (validated messages), becomes `Segment`s (query and answer
text), becomes a row of a `SampleBatch` (token ids and labels); samples share a pack, packs fill a shard.

After `Conversation` nothing has unknown shape. JSON that only a chat template looks into (tool definitions, arguments,
keys we do not know) travels as `Json` and is never inspected by us, apart from the search for control tokens.

Most nouns have two faces: a single one for reading (`Segment`, `Pack`) and one for speed: `PlainConversation` has no
object for each message, `Filled` shares all that is not data with other samples, and in `SampleBatch` and `PackBatch` N
items lie end to end in flat arrays.

Letters used in shapes: T tokens, N samples, D documents, R rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Literal, TypeAlias, overload

import msgspec
import numpy as np
import numpy.typing as npt

from ismpack.errors import Location

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]

Unit: TypeAlias = Literal["line", "index"]

ROLES: tuple[Role, ...] = ("system", "developer", "user", "assistant", "tool")


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One raw JSON value and where it came from.

    Attributes:
        value: The parsed JSON; None where `conversation` stands for it.
        conversation: What the record holds, if it is so plain that it was read while its JSON was parsed.
        source_id: File index in the high 24 bits, 0-based position in the low 40 (column `source_ids`).
        path: Its file, as the user typed it.
        position: 0-based physical line of a line-based file, or index of an element or row.
        unit: What the position counts.
        byte_offset: Offset of the record's first byte in the decompressed text; None where text is not what is read.
    """

    value: Json
    source_id: int
    path: str
    position: int
    unit: Unit
    byte_offset: int | None = None
    conversation: PlainConversation | None = None

    @property
    def location(self) -> Location:
        """Where the record stands, for messages to people."""
        return Location.of(self.path, self.unit, self.position, self.byte_offset)


class ToolCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One call that an assistant message makes.

    Attributes:
        name: The function's name, not empty.
        arguments: A JSON object, or the text the record had when that text is not a JSON object.
        arguments_text: The text exactly as the record had it, if it had text; templates that print text get this.
        id: The call's id, which a tool result may refer to.
    """

    name: str
    arguments: dict[str, Json] | str
    arguments_text: str | None = None
    id: str | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message of a conversation.

    Attributes:
        role: Who speaks.
        content: Text; a tuple when the record had text parts; None only for an assistant message with tool calls or
            reasoning and no text.
        reasoning: Thinking that precedes the content (`reasoning_content`, `thinking`, `reasoning`).
        tool_calls: Calls made by an assistant message.
        name: The speaker's or the tool's name, where the record has one.
        tool_call_id: The call that a tool message answers.
        loss: The record's own loss flag; None when it has none.
        extra: Other keys of the record's message, passed to the template as they are.
    """

    role: Role
    content: str | tuple[str, ...] | None
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    name: str | None = None
    tool_call_id: str | None = None
    loss: bool | None = None
    extra: Mapping[str, Json] = {}


class Conversation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A validated dialogue. Two formats that read a record alike give equal conversations.

    Attributes:
        messages: At least one message.
        tools: Tool definitions as the template expects them, or None.
        template_args: Per-record template arguments (`chat_template_kwargs`).
        warnings: Codes of what is unusual about the record, counted in the manifest.
    """

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Json], ...] | None = None
    template_args: Mapping[str, Json] = {}
    warnings: tuple[str, ...] = ()

    def written_out(self) -> Conversation:
        """Itself; see `PlainConversation`."""
        return self


class PlainConversation(msgspec.Struct, frozen=True, gc=False):
    """A conversation of nothing but roles and texts, as nearly all are: the form in which they cross the hot path.

    There is nothing unusual about it: no text holds NUL, and no answer is empty.

    Attributes:
        roles: Who speaks, of each message; at least one.
        texts: What is said.
        format: Name of the format that its record is written in.
    """

    roles: tuple[Role, ...]
    texts: list[str]
    format: str

    tools: ClassVar[None] = None
    warnings: ClassVar[tuple[str, ...]] = ()

    def written_out(self) -> Conversation:
        """The same with an object for each message."""
        return Conversation(
            messages=tuple(
                [Message(role=role, content=text) for role, text in zip(self.roles, self.texts, strict=True)]
            )
        )


class Origin(IntEnum):
    """Who wrote a piece of rendered text; decides which control tokens are looked for in it."""

    TEMPLATE = 0
    """The chat template, or data of which it is known that it holds no control token's text."""
    DATA = 1
    """System, user and tool data, names and tool definitions: nobody who writes control tokens."""
    ASSISTANT = 2
    """Data of an assistant message, which may hold tokens that the model itself writes (`<think>`)."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of one segment type and one origin.

    Attributes:
        text: Rendered text, never empty.
        type_id: A value of `schema.SegmentType`.
        origin: Who wrote it.
    """

    text: str
    type_id: int
    origin: Origin = Origin.TEMPLATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A query (what the engine is given between two answers) or an answer (what the model generates).

    Attributes:
        pieces: The text in order; those of an answer are of type 2.
        is_answer: True for an answer.
        turn: 0-based turn within the sample; a query and the answer that follows share it.
        loss: Whether the answer's tokens are targets; always False for a query.
    """

    pieces: tuple[Piece, ...]
    is_answer: bool
    turn: int
    loss: bool

    @property
    def text(self) -> str:
        """The whole text of the segment."""
        return "".join(piece.text for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a skeleton: text of the template, or a hole that data fills.

    Attributes:
        text: The template's text; None for a hole.
        type_id: A value of `schema.SegmentType`.
        origin: Who wrote what stands here.
    """

    text: str | None
    type_id: int
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Bone:
    """One segment of a skeleton; the attributes are those of `Segment`."""

    slots: tuple[Slot, ...]
    is_answer: bool
    turn: int
    loss: bool


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """What samples have in common whose template took the same branches: all but the data.

    Compared and hashed by identity, so that what is derived from a skeleton can be kept beside it.

    Attributes:
        bones: The segments in order, with holes.
    """

    bones: tuple[Bone, ...]

    @property
    def holes(self) -> Iterator[Slot]:
        """The holes in order."""
        return (slot for bone in self.bones for slot in bone.slots if slot.text is None)


@dataclass(slots=True, eq=False)
class Filled(Sequence[Segment]):
    """The segments of one sample as a skeleton and its data: the form in which they cross the hot path.

    Not frozen, which would double the time that it takes to make one.

    Attributes:
        skeleton: What it shares with other samples.
        values: The text of each hole, in order; some may be empty.
    """

    skeleton: Skeleton
    values: Sequence[str]

    def segments(self) -> tuple[Segment, ...]:
        """The segments written out; a hole that is filled with nothing leaves no piece."""
        values = iter(self.values)
        return tuple(
            Segment(
                pieces=tuple(
                    Piece(text, slot.type_id, slot.origin)
                    for slot in bone.slots
                    if (text := next(values) if slot.text is None else slot.text)
                ),
                is_answer=bone.is_answer,
                turn=bone.turn,
                loss=bone.loss,
            )
            for bone in self.skeleton.bones
        )

    @overload
    def __getitem__(self, index: int) -> Segment: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Segment]: ...
    def __getitem__(self, index: int | slice) -> Segment | Sequence[Segment]:
        return self.segments()[index]

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments())

    def __len__(self) -> int:
        return len(self.skeleton.bones)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SampleBatch:
    """N tokenized samples laid end to end: the columns in which data crosses the hot path.

    Attributes:
        input_ids: int32[T].
        segment_type_ids: uint8[T], values of `schema.SegmentType`.
        turn_ids: int32[T], 0-based within each sample.
        loss_mask: uint8[T], 1 = target.
        lengths: int32[N], tokens per sample, each >= 1; they sum to T.
        source_ids: int64[N].
    """

    input_ids: npt.NDArray[np.int32]
    segment_type_ids: npt.NDArray[np.uint8]
    turn_ids: npt.NDArray[np.int32]
    loss_mask: npt.NDArray[np.uint8]
    lengths: npt.NDArray[np.int32]
    source_ids: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """int64[N + 1]: where each sample starts, and the end."""
        return np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])

    @property
    def turns(self) -> npt.NDArray[np.int32]:
        """int32[N]: turns per sample (a sample's last token belongs to its last turn)."""
        return self.turn_ids[self.offsets[1:] - 1] + np.int32(1)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Pack:
    """One row: whole conversations end to end. Arrays of a loaded row are read-only views into the shard.

    Attributes:
        input_ids: int32[T].
        segment_type_ids: uint8[T]; odd = query side, even = answer (or padding, never stored).
        turn_ids: int32[T], 0-based over the row.
        loss_mask: uint8[T], 1 = this token is a target (unshifted).
        seq_lengths: int32[D], tokens per document, in order; they sum to T.
        source_ids: int64[D], where each document came from.
    """

    input_ids: npt.NDArray[np.int32]
    segment_type_ids: npt.NDArray[np.uint8]
    turn_ids: npt.NDArray[np.int32]
    loss_mask: npt.NDArray[np.uint8]
    seq_lengths: npt.NDArray[np.int32]
    source_ids: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.input_ids)

    def document(self, k: int) -> Pack:
        """Document `k` (0-based, negative from the end) as a pack of its own; its turn ids start at 0.

        Raises:
            IndexError: There is no such document.
        """
        count = len(self.seq_lengths)
        if not -count <= k < count:
            raise IndexError(f"document {k} of a pack that holds {count}")
        k %= count
        start = int(self.seq_lengths[:k].sum())
        here = slice(start, start + int(self.seq_lengths[k]))
        return Pack(
            input_ids=self.input_ids[here],
            segment_type_ids=self.segment_type_ids[here],
            turn_ids=self.turn_ids[here] - self.turn_ids[start],
            loss_mask=self.loss_mask[here],
            seq_lengths=self.seq_lengths[k : k + 1],
            source_ids=self.source_ids[k : k + 1],
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PackBatch:
    """R rows laid end to end: packs on their way into a shard.

    Attributes:
        input_ids: int32[T].
        segment_type_ids: uint8[T].
        turn_ids: int32[T], 0-based over each row.
        loss_mask: uint8[T].
        seq_lengths: int32[D], tokens per document.
        source_ids: int64[D].
        row_tokens: int32[R], tokens per row; they sum to T.
        row_documents: int32[R], documents per row; they sum to D.
    """

    input_ids: npt.NDArray[np.int32]
    segment_type_ids: npt.NDArray[np.uint8]
    turn_ids: npt.NDArray[np.int32]
    loss_mask: npt.NDArray[np.uint8]
    seq_lengths: npt.NDArray[np.int32]
    source_ids: npt.NDArray[np.int64]
    row_tokens: npt.NDArray[np.int32]
    row_documents: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.row_tokens)
