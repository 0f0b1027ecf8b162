"""Which engine encodes the text of a run, and the proof that its ids are the library's.

The `tokenizers` library is the reference, and slow. A faster engine is taken only if it gives the same ids for a fixed
set of nasty texts and for a sample of the text that is to be converted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from ismpack.data import Conversation, Record
from ismpack.errors import RecordError, TokenizerError
from ismpack.formats import Format
from ismpack.pipeline.inputs import conversation_of
from ismpack.pipeline.plan import Plan
from ismpack.pipeline.toolkit import Toolkit
from ismpack.sources import Chunk, read
from ismpack.tokenization import NASTY_TEXTS, EncodedTexts, EngineChoice, RunEncoder, candidate, first_difference

_LITTLE_TEXT = 2 << 20
"""Bytes of text for which loading and comparing another engine would take longer than it saves."""

_SAMPLE_CHUNKS = 16
_SAMPLE_CHARACTERS = 12 << 10
"""Text that is taken from each of the sampled chunks."""


class Encodes(Protocol):
    """Whoever has the engines."""

    def encode(self, engine: str, texts: Sequence[str]) -> Callable[[], EncodedTexts]:
        """Begin to encode texts; what is returned waits for the result."""


def likely_engine(toolkit: Toolkit) -> str:
    """The engine that is tried for this tokenizer, unless there is little text."""
    requested = toolkit.options.tokenizer_engine
    return candidate(toolkit.files.backend_json) if requested == "auto" else requested


def choose_engine(toolkit: Toolkit, plan: Plan, encodes: Encodes) -> EngineChoice:
    """Compare the likely engine with the reference.

    Raises:
        TokenizerError: `tokenizer-engine-unfit`: the user named an engine, and it cannot be used.
        InputError: A sampled input cannot be read.
    """
    requested = toolkit.options.tokenizer_engine
    if requested == "auto" and plan.text_bytes < _LITTLE_TEXT:
        return EngineChoice.reference()
    name = likely_engine(toolkit)
    if name == "hf":
        return EngineChoice.reference()
    texts = [*NASTY_TEXTS, *_sample(plan, toolkit.format)]
    found = encodes.encode(name, texts)
    expected = RunEncoder(toolkit.files.backend_json).encode_texts(texts)
    try:
        difference = first_difference(texts, expected, found())
    except TokenizerError as error:
        if requested != "auto":
            raise
        difference = error.message
    return EngineChoice.compared(name, texts, difference)


def _sample(plan: Plan, chosen: Format | None) -> Iterator[str]:
    """Texts of messages from all over the inputs; the same ones each time."""
    chunks = [chunk for scan in plan.scans for chunk in scan.chunks]
    step = max(1, len(chunks) // _SAMPLE_CHUNKS)
    for chunk in chunks[::step]:
        left = _SAMPLE_CHARACTERS
        for text in _texts(chunk, chosen):
            if left <= 0:
                break
            yield text[:left]
            left -= len(text)


def _texts(chunk: Chunk, chosen: Format | None) -> Iterator[str]:
    for record in read(chunk):
        if not isinstance(record, Record):
            continue
        try:
            _, conversation = conversation_of(record, chosen)
        except RecordError:
            continue
        yield from _contents(conversation)


def _contents(conversation: Conversation) -> Iterator[str]:
    for message in conversation.messages:
        if isinstance(message.content, str):
            yield message.content
        elif message.content is not None:
            yield from message.content
        if message.reasoning is not None:
            yield message.reasoning
