"""What the manifest promises about rows, in the form that the checks of rows need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ismpack.manifest import InputEntry, Manifest
from ismpack.reader import source_name

INT32_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rules:
    """Limits for rows. A limit that the manifest states badly is reported by `manifest-content` and not applied.

    Attributes:
        max_length: Tokens that a row may hold.
        largest_id: Largest token id.
        stop_ids: int32[N], ids that end an answer.
        allow_unterminated: Answers may end without one.
        split: One conversation may have several documents.
        inputs: The input files, by file index.
    """

    max_length: int
    largest_id: int
    stop_ids: npt.NDArray[np.int32]
    allow_unterminated: bool
    split: bool
    inputs: list[InputEntry]

    def source(self, source_id: int) -> str | None:
        """Where a document came from; None when its id is wrong."""
        try:
            return source_name(source_id, self.inputs)
        except ValueError:
            return None


def rules_of(manifest: Manifest) -> Rules:
    """The rules that a manifest states."""
    options = manifest.options
    max_length = options.get("max_length")
    return Rules(
        max_length=max_length if type(max_length) is int and 1 <= max_length <= INT32_MAX else INT32_MAX,
        largest_id=manifest.largest_id if 0 <= manifest.largest_id <= INT32_MAX else INT32_MAX,
        stop_ids=np.array([i for i in manifest.stop_ids if 0 <= i <= INT32_MAX], np.int32),
        allow_unterminated=options.get("allow_unterminated") is True,
        split=options.get("on_rewrite") == "split",
        inputs=manifest.inputs,
    )
