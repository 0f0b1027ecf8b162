"""Hugging Face's tokenizers: the reference, and what encodes for tokenizers that no faster engine knows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import tokenizers

from ismpack.tokenization.engines.engine import EncodedTexts


class HfEngine:
    """An engine over `tokenizers.Tokenizer`.

    Args:
        tokenizer_json: The text of a tokenizer.json.
    """

    def __init__(self, tokenizer_json: str) -> None:
        self.name = "hf"
        self.version = tokenizers.__version__
        self._tokenizer = tokenizers.Tokenizer.from_str(tokenizer_json)

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Encode texts; see `Engine`."""
        # Of the ways to call the library this one takes the least time, no more than `encode_batch` alone with the
        # flattening included. Smaller batches gain nothing.
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        offsets = np.zeros(len(encodings) + 1, np.int64)
        np.cumsum([len(encoding) for encoding in encodings], out=offsets[1:])
        flat = itertools.chain.from_iterable(encoding.ids for encoding in encodings)
        return np.fromiter(flat, np.int32, count=int(offsets[-1])), offsets
