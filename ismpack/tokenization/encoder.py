"""Text runs to token ids, with a tokenizer that knows no added tokens.

A run is the text between two control tokens of a segment. Control tokens are placed by us from the template's text, so
the engine must never find one in data: every added token is removed, special or not (removing only the special ones
makes the library renumber the rest). A run in the middle of a conversation must not get the blank that SentencePiece
tokenizers put before a text's first word, so there are two tokenizers: one as loaded, for a run that opens a
conversation, and one whose prefix rule is "never". For most tokenizers the two are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ismpack.tokenization.engines import EncodedTexts, Engine, open_engine

_NULL = msgspec.Raw(b"null")


class RunEncoder:
    """Encodes batches of runs.

    Args:
        backend_json: The `tokenizers` JSON as loaded, added tokens included.
        engine: One of `engines.ENGINES`.

    Raises:
        EngineUnfitError: The engine is not installed, or does not take the tokenizer.
    """

    def __init__(self, backend_json: str, engine: str = "hf") -> None:
        # The vocabulary is most of the text and stays as it is.
        content = msgspec.json.decode(backend_json, type=dict[str, msgspec.Raw])
        content |= {"added_tokens": msgspec.Raw(b"[]"), "post_processor": _NULL, "truncation": _NULL, "padding": _NULL}
        content["model"] = _without_dropout(content["model"])
        inner = content | {key: _without_prefix(content[key]) for key in ("pre_tokenizer", "normalizer")}
        self._inner = open_engine(engine, _text(inner))
        self._opening = self._inner if inner == content else open_engine(engine, _text(content))

    @property
    def engine(self) -> Engine:
        """What encodes; it has a name and a version."""
        return self._inner

    def encode(self, runs: Sequence[str], opening: npt.NDArray[np.bool_]) -> EncodedTexts:
        """Encode each run on its own.

        Args:
            runs: R texts.
            opening: bool[R], True for a run at text position 0 of a conversation.

        Returns:
            ids: int32[T], the runs' ids end to end.
            offsets: int64[R + 1], where each run starts, and the end.

        Raises:
            EngineUnfitError: The engine cannot encode one of them.
        """
        if self._opening is self._inner or not opening.any():
            return self._inner.encode(runs)
        is_opening = opening.tolist()
        inner_ids, inner_offsets = self._inner.encode(
            [run for run, first in zip(runs, is_opening, strict=True) if not first]
        )
        opening_ids, opening_offsets = self._opening.encode(
            [run for run, first in zip(runs, is_opening, strict=True) if first]
        )
        lengths = np.empty(len(runs), np.int64)
        lengths[~opening] = np.diff(inner_offsets)
        lengths[opening] = np.diff(opening_offsets)
        offsets = np.zeros(len(runs) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        in_opening = np.repeat(opening, lengths)
        ids = np.empty(len(in_opening), np.int32)
        ids[~in_opening] = inner_ids
        ids[in_opening] = opening_ids
        return ids, offsets

    def encode_texts(self, texts: Sequence[str]) -> EncodedTexts:
        """Encode texts in every way that a run may be encoded, to compare engines.

        Returns:
            A row for each of the N texts as an inner run; if that makes a difference for this tokenizer, N more rows
            for them as opening runs.
        """
        places = [False] if self._opening is self._inner else [False, True]
        return self.encode([*texts] * len(places), np.repeat(places, len(texts)))


def _text(content: dict[str, msgspec.Raw]) -> str:
    return msgspec.json.encode(content).decode()


def _without_dropout(model: msgspec.Raw) -> msgspec.Raw:
    """A model that leaves out no merges by chance, which would make two runs differ."""
    if not msgspec.json.decode(model, type=_Dropout).dropout:
        return model
    members = msgspec.json.decode(model, type=dict[str, msgspec.Raw])
    return msgspec.Raw(msgspec.json.encode(members | {"dropout": _NULL}))


class _Dropout(msgspec.Struct):
    """The one member of a model that matters here."""

    dropout: float | None = None


def _without_prefix(step: msgspec.Raw) -> msgspec.Raw:
    """A normalizer or pre-tokenizer with every rule switched off that adds a blank before the first word.

    One without such a rule is given back as it is.
    """
    parsed = msgspec.json.decode(step)
    changed = parsed and _no_prefix(parsed)
    return step if changed == parsed else msgspec.Raw(msgspec.json.encode(changed))


def _no_prefix(step: dict[str, Any]) -> dict[str, Any] | None:
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
