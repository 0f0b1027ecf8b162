"""Which engine is tried for a tokenizer, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from typing import Literal

import msgspec
import tokenizers

from ismpack.tokenization.engines.engine import Engine
from ismpack.tokenization.engines.fast_tokens import FastokensEngine
from ismpack.tokenization.engines.giga_tokens import GigatokenEngine
from ismpack.tokenization.engines.hf import HfEngine

_OPENERS: Mapping[str, Callable[[str], Engine]] = {
    "fastokens": FastokensEngine,
    "gigatoken": GigatokenEngine,
    "hf": HfEngine,
}


def open_engine(name: str, tokenizer_json: str) -> Engine:
    """Load a tokenizer into an engine.

    Args:
        name: One of `ENGINES`.
        tokenizer_json: The text of a tokenizer.json without added tokens.

    Raises:
        EngineUnfitError: The package is missing, or does not take the tokenizer.
    """
    return _OPENERS[name](tokenizer_json)


def candidate(backend_json: str) -> str:
    """The engine that is likely the fastest for a tokenizer, among those that are installed.

    fastokens for byte-level BPE (GPT-2's kind), gigatoken for BPE in the manner of SentencePiece, `hf` for the rest.
    """
    parsed = msgspec.json.decode(backend_json, type=_TokenizerFile)
    if parsed.model.type == "BPE" and "ByteLevel" in _types(parsed.pre_tokenizer):
        likely = "fastokens"
    elif parsed.model.type == "BPE" and parsed.model.byte_fallback:
        likely = "gigatoken"
    else:
        return "hf"
    return likely if util.find_spec(likely) else "hf"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """The engine that a run uses, and why.

    Attributes:
        name: One of `ENGINES`.
        version: Version of its package.
        texts: Texts that it was compared with the reference on; 0 for the reference itself, if nothing else was tried.
        bytes: Their size in UTF-8.
        fallback: Why the engine that was tried is not used, in one sentence without a full stop; None if it is, or if
            none was tried.
    """

    name: str
    version: str
    texts: int = 0
    bytes: int = 0
    fallback: str | None = None

    @classmethod
    def reference(cls) -> EngineChoice:
        """The reference, no other engine having been tried."""
        return cls(name="hf", version=tokenizers.__version__)

    @classmethod
    def compared(cls, name: str, texts: Sequence[str], difference: str | None) -> EngineChoice:
        """What a comparison led to.

        Args:
            name: The engine that was tried.
            texts: What was encoded.
            difference: Why the engine cannot be used; None if it gave the reference's ids.
        """
        chosen = cls.reference().version if difference else metadata.version(name)
        return cls(
            name="hf" if difference else name,
            version=chosen,
            texts=len(texts),
            bytes=sum(len(text.encode()) for text in texts),
            fallback=f"{name} is not used: {difference}" if difference else None,
        )


class _Step(msgspec.Struct):
    """A pre-tokenizer."""

    type: str
    pretokenizers: list[_Step] = []


class _Model(msgspec.Struct):
    type: Literal["BPE", "Unigram", "WordPiece", "WordLevel"]
    byte_fallback: bool = False


class _TokenizerFile(msgspec.Struct):
    """The parts of a tokenizer.json that tell its kind."""

    model: _Model
    pre_tokenizer: _Step | None = None


def _types(step: _Step | None) -> Iterable[str]:
    """The types of a pre-tokenizer's steps."""
    if step is not None:
        yield step.type
        for part in step.pretokenizers:
            yield from _types(part)
