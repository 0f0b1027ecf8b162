"""gigatoken: the fastest for BPE in the manner of SentencePiece.

Its Rust object is used as it is: the Python class around it may use threads, which dies with forked processes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

from ismpack.tokenization.engines.engine import EncodedTexts, EngineUnfitError

MAX_GROWTH = 256 << 20
"""Bytes of resident memory by which a process may grow while one tokenizer encodes."""

MAX_BLIND = 32 << 20
"""Characters that one tokenizer encodes where resident memory cannot be read: words without end grow it by ten
times that."""

_STATM = Path("/proc/self/statm")


class GigatokenEngine:
    """An engine over `gigatoken_rs.load_hf_json`.

    For byte-level BPE gigatoken remembers every word for good, so its tokenizer is made anew when memory has grown.
    For SentencePiece's kind its batches remember next to nothing.

    Args:
        tokenizer_json: The text of a tokenizer.json.
        max_growth: See `MAX_GROWTH`.
        max_blind: See `MAX_BLIND`.

    Raises:
        EngineUnfitError: The package is missing, or does not take the tokenizer.
    """

    def __init__(self, tokenizer_json: str, max_growth: int = MAX_GROWTH, max_blind: int = MAX_BLIND) -> None:
        try:
            from gigatoken.gigatoken_rs import BPETokenizer, load_hf_json  # noqa: PLC0415 - an optional install
        except ImportError as error:
            raise EngineUnfitError.caused_by(error, "the package gigatoken cannot be imported") from error
        self.name = "gigatoken"
        self.version = metadata.version("gigatoken")
        self.renewals = 0
        self._load = load_hf_json
        self._json = tokenizer_json
        self._max_growth = max_growth
        self._max_blind = max_blind
        self._open()
        self._remembers = isinstance(self._tokenizer, BPETokenizer)

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Encode texts; see `Engine`."""
        texts = list(texts)
        try:
            # Not `encode_batch_list`, which makes a Python integer of every token; not `encode`, which for
            # SentencePiece's kind is a little faster and remembers every text.
            layout = self._tokenizer.encode_batch(texts, parallel=False).layout
        except Exception as error:
            raise EngineUnfitError.caused_by(error, "gigatoken cannot encode a text") from error
        if self._remembers:
            self._encoded += sum(map(len, texts))
            if self._has_grown():
                del self._tokenizer  # before the next one takes memory
                self._open()
                self.renewals += 1
        return np.asarray(layout.content.data).view(np.int32), np.asarray(layout.offsets)

    def _open(self) -> None:
        try:
            self._tokenizer = self._load(self._json)
        except Exception as error:
            raise EngineUnfitError.caused_by(error, "gigatoken does not take this tokenizer") from error
        self._encoded = 0
        self._resident = _resident_bytes()

    def _has_grown(self) -> bool:
        if self._resident is None:
            return self._encoded > self._max_blind
        return (_resident_bytes() or 0) - self._resident > self._max_growth


def _resident_bytes() -> int | None:
    """Memory of this process that is in RAM; None where the system does not tell."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
