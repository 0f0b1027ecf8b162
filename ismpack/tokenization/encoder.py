"""Text runs to token ids, with a tokenizer that knows no added tokens.

A run is the text between two control tokens of a segment. Control tokens are placed by us from the template's text, so
the engine must never find one in data: every added token is removed, special or not (removing only the special ones
makes the library renumber the rest). A run in the middle of a conversation must not get the blank that SentencePiece
tokenizers put before a text's first word, so there are two engines: one as loaded, for a run that opens a conversation,
and one whose prefix rule is "never".
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers


class RunEncoder:
    """Encodes batches of runs.

    Args:
        backend_json: The `tokenizers` JSON as loaded, added tokens included.
    """

    def __init__(self, backend_json: str) -> None:
        content: dict[str, Any] = json.loads(backend_json)
        content |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
        if content["model"].get("dropout"):  # merges left out by chance would make two runs differ
            content["model"]["dropout"] = None
        without_prefix = {key: content[key] and _no_prefix(content[key]) for key in ("pre_tokenizer", "normalizer")}
        self._opening = _tokenizer(content)
        has_rule = any(content[key] != step for key, step in without_prefix.items())
        self._inner = _tokenizer(content | without_prefix) if has_rule else self._opening

    def encode(
        self, runs: Sequence[str], opening: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Encode each run on its own.

        Args:
            runs: R texts.
            opening: bool[R], True for a run at text position 0 of a conversation.

        Returns:
            ids: int32[T], the runs' ids end to end.
            offsets: int64[R + 1], where each run starts, and the end.
        """
        encodings = self._inner.encode_batch_fast(list(runs), add_special_tokens=False)
        places = np.flatnonzero(opening).tolist()
        again = self._opening.encode_batch_fast([runs[i] for i in places], add_special_tokens=False)
        for i, encoding in zip(places, again, strict=True):
            encodings[i] = encoding
        offsets = np.zeros(len(runs) + 1, np.int64)
        np.cumsum([len(encoding) for encoding in encodings], out=offsets[1:])
        flat = itertools.chain.from_iterable(encoding.ids for encoding in encodings)
        return np.fromiter(flat, np.int32, count=int(offsets[-1])), offsets


def _tokenizer(content: dict[str, Any]) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(json.dumps(content, ensure_ascii=False))


def _no_prefix(step: dict[str, Any]) -> dict[str, Any] | None:
    """A normalizer or pre-tokenizer with every rule switched off that adds a blank before the first word."""
    match step:
        case {"type": "Sequence", "normalizers": steps}:
            return {**step, "normalizers": [part for part in map(_no_prefix, steps) if part is not None]}
        case {"type": "Sequence", "pretokenizers": [first, *others]}:
            # A later step sees the words that the first has cut, and its blank stands for the one between them. Only
            # tokenizers that forget white space do that (T5's kind); there a run keeps its blank, as in the library.
            return {**step, "pretokenizers": [part for part in (_no_prefix(first), *others) if part is not None]}
        case {"type": "Prepend"}:
            return None
        case {"type": "Metaspace"}:
            return {**step, "prepend_scheme": "never"}
        case {"type": "ByteLevel"}:
            return {**step, "add_prefix_space": False}
    return step
