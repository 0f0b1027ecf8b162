"""What is known about a row or a record, before anyone thinks of how to show it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ismpack.data import Conversation, Pack
from ismpack.masks import MaskKind, intervals
from ismpack.schema import SEGMENT_TYPE_NAMES

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PackView:
    """One row (or one document of it, or the samples of one record) with what its ids read as.

    Attributes:
        pack: The columns.
        texts: T texts, which joined read as the documents.
        control: bool[T], whether a token is an added token rather than a piece of text.
        sources: D places, as `chat.jsonl:17`.
        title: What is shown, as `out, row 7`.
        first_document: Number of the first document within its row.

    Raises:
        ValueError: The lengths do not belong together.
    """

    pack: Pack
    texts: Sequence[str]
    control: npt.NDArray[np.bool_]
    sources: Sequence[str]
    title: str
    first_document: int = 0

    def __post_init__(self) -> None:
        """Check that everything is there for every token and every document."""
        total = int(self.pack.seq_lengths.sum(dtype=np.int64))
        if not total == len(self.pack) == len(self.texts) == len(self.control):
            raise ValueError(
                f"seq_lengths sum to {total}, but there are {len(self.pack)} tokens, {len(self.texts)} texts and "
                f"{len(self.control)} control flags"
            )
        if len(self.sources) != len(self.pack.seq_lengths):
            raise ValueError(f"{len(self.pack.seq_lengths)} documents, but {len(self.sources)} sources")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ConversationView:
    """A raw record as it was understood, and the tokens it would become.

    Attributes:
        source: Where the record stands, as `chats.jsonl:3`.
        format_name: The input format that read it.
        conversation: The validated messages.
        warnings: What is dropped, rewritten or unusual, one sentence each.
        view: The samples it becomes, one document each; None when it becomes none (the warnings say why).
    """

    source: str
    format_name: str
    conversation: Conversation
    warnings: Sequence[str]
    view: PackView | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The longest run of tokens of one document, turn, segment type and loss flag.

    Attributes:
        document: 0-based within the view.
        turn: As in `turn_ids`.
        type_id: As in `segment_type_ids`.
        loss: Whether all of its tokens are targets; if not, none is.
        start: First token of the row.
        stop: One past the last token.
    """

    document: int
    turn: int
    type_id: int
    loss: bool
    start: int
    stop: int

    def __len__(self) -> int:
        """Tokens of the span."""
        return self.stop - self.start


def spans(pack: Pack) -> list[Span]:
    """The spans of a pack in order; they cover it."""
    documents = np.repeat(np.arange(len(pack.seq_lengths)), pack.seq_lengths)
    keys = np.stack([documents, pack.turn_ids, pack.segment_type_ids, pack.loss_mask])
    starts = np.flatnonzero((np.diff(keys, prepend=-1) != 0).any(axis=0))
    stops = np.append(starts[1:], len(pack))[: len(starts)]
    return [
        Span(document=document, turn=turn, type_id=type_id, loss=bool(loss), start=start, stop=stop)
        for (document, turn, type_id, loss), start, stop in zip(
            keys[:, starts].T.tolist(), starts.tolist(), stops.tolist(), strict=True
        )
    ]


def facts(view: PackView) -> dict[str, object]:
    """All of a view as JSON values: documents, their segments (runs of one turn, type and loss flag), their tokens.

    A token's `index` counts from the row's start, its `position` from its document's start. A byte that is no UTF-8
    reads as U+FFFD.
    """
    by_document: list[list[dict[str, object]]] = [[] for _ in view.sources]
    starts = (np.cumsum(view.pack.seq_lengths, dtype=np.int64) - view.pack.seq_lengths).tolist()
    for span in spans(view.pack):
        by_document[span.document].append(_segment_facts(view, span, starts[span.document]))
    return {
        "title": _json_text(view.title),
        **_counts(view.pack),
        "documents": [
            {
                "document": view.first_document + k,
                "source": _json_text(source),
                **_counts(view.pack.document(k)),
                "segments": found,
            }
            for k, (source, found) in enumerate(zip(view.sources, by_document, strict=True))
        ],
    }


def conversation_facts(record: ConversationView) -> dict[str, object]:
    """A record as JSON values: its messages as understood, the warnings, and `facts` of its samples."""
    conversation = record.conversation
    return {
        "source": _json_text(record.source),
        "format": record.format_name,
        "messages": message_facts(conversation),
        "tools": None if conversation.tools is None else list(conversation.tools),
        "warnings": list(record.warnings),
        "row": None if record.view is None else facts(record.view),
    }


def message_facts(conversation: Conversation) -> list[dict[str, object]]:
    """The messages of a conversation as JSON values."""
    return [
        {
            "role": message.role,
            "content": list(message.content) if isinstance(message.content, tuple) else message.content,
            "reasoning": message.reasoning,
            "tool_calls": [{"name": call.name, "arguments": call.arguments} for call in message.tool_calls],
            "name": message.name,
            "loss": message.loss,
        }
        for message in conversation.messages
    ]


def mask_facts(pack: Pack, *, kind: MaskKind = "ism") -> dict[str, object]:
    """How much of a pack its tokens may see, as JSON values.

    `visible_pairs` are the (attending, attended to) pairs of tokens that the mask lets through, `causal_pairs` those
    that plain causal attention inside each document would.

    Raises:
        ValueError: The columns describe no row, or the kind is unknown.
    """
    lo, hi, _, _ = intervals(pack.segment_type_ids, pack.turn_ids, pack.seq_lengths, kind)
    lengths = pack.seq_lengths.astype(np.int64)
    visible = int((hi.astype(np.int64) - lo).sum())
    causal = int((lengths * (lengths + 1) // 2).sum())
    return {
        "kind": kind,
        "tokens": len(lo),
        "documents": len(lengths),
        "visible_pairs": visible,
        "causal_pairs": causal,
        "visible_to_causal": visible / causal if causal else 1.0,
    }


def _counts(pack: Pack) -> dict[str, object]:
    return {"token_count": len(pack), "turn_count": turn_count(pack), "target_count": int(pack.loss_mask.sum())}


def turn_count(pack: Pack) -> int:
    """Number of turns in a pack."""
    return len(np.unique(pack.turn_ids))


def _segment_facts(view: PackView, span: Span, document_start: int) -> dict[str, object]:
    return {
        "turn": span.turn,
        "type": type_name(span.type_id),
        "is_answer": span.type_id % 2 == 0,
        "loss": span.loss,
        "token_count": len(span),
        "text": _json_text("".join(view.texts[span.start : span.stop])),
        "tokens": list(_token_facts(view, span, document_start)),
    }


def _token_facts(view: PackView, span: Span, document_start: int) -> Iterator[dict[str, object]]:
    here = slice(span.start, span.stop)
    ids, control = view.pack.input_ids[here].tolist(), view.control[here].tolist()
    for index, token_id, text, is_control in zip(
        range(span.start, span.stop), ids, view.texts[here], control, strict=True
    ):
        yield {
            "index": index,
            "position": index - document_start,
            "id": token_id,
            "text": _json_text(text),
            "control": is_control,
            "turn": span.turn,
            "type": type_name(span.type_id),
            "loss": span.loss,
        }


def type_name(type_id: int) -> str:
    """The schema's name of a segment type."""
    return SEGMENT_TYPE_NAMES.get(type_id, f"type {type_id}")


def _json_text(text: str) -> str:
    return _SURROGATE.sub("\ufffd", text)
