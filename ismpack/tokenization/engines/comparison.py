"""Whether two engines gave the same ids. They may have run in different processes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ismpack.tokenization.engines.engine import EncodedTexts
from ismpack.tokenization.engines.nasty_texts import NASTY_TEXTS

_MAX_QUOTED = 40


def first_difference(texts: Sequence[str], expected: EncodedTexts, found: EncodedTexts) -> str | None:
    """Compare what two engines made of the same texts.

    Args:
        texts: N texts.
        expected: Their ids by the reference, from `RunEncoder.encode_texts`: N rows, or twice as many.
        found: Their ids by the other engine.

    Returns:
        None if they are equal, otherwise the difference in one sentence without a full stop. It quotes no text that is
        not ours.
    """
    row = _first_different_row(expected, found)
    if row is None:
        return None
    text = texts[row % len(texts)]
    if text not in NASTY_TEXTS:
        return f"it gives other ids than the tokenizers library for text {row % len(texts)} of {len(texts)}"
    quoted = ascii(text[:_MAX_QUOTED]) + ("..." if len(text) > _MAX_QUOTED else "")
    return f"it gives other ids than the tokenizers library for {quoted}"


def _first_different_row(expected: EncodedTexts, found: EncodedTexts) -> int | None:
    (ids, offsets), (other_ids, other_offsets) = expected, found
    shared = min(len(ids), len(other_ids))
    other_length = np.flatnonzero(offsets[1:] != other_offsets[1:])[:1]
    other_id = np.flatnonzero(ids[:shared] != other_ids[:shared])[:1]
    rows = [*other_length.tolist(), *(np.searchsorted(offsets, other_id, side="right") - 1).tolist()]
    return min(rows, default=None)
