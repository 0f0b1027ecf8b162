"""Segments to samples. The only home of the transformers and tokenizers libraries."""

from ismpack.tokenization.encoder import RunEncoder
from ismpack.tokenization.engines import (
    NASTY_TEXTS,
    ONE_THREAD,
    EncodedTexts,
    EngineChoice,
    candidate,
    first_difference,
)
from ismpack.tokenization.loader import ControlToken, TokenizerFiles, load_tokenizer
from ismpack.tokenization.samples import SampleTokenizer

__all__ = [
    "NASTY_TEXTS",
    "ONE_THREAD",
    "ControlToken",
    "EncodedTexts",
    "EngineChoice",
    "RunEncoder",
    "SampleTokenizer",
    "TokenizerFiles",
    "candidate",
    "first_difference",
    "load_tokenizer",
]
