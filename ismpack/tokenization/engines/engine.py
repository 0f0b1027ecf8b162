"""What an engine is, and what can be said of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ismpack.errors import TokenizerError

ENGINES = ("fastokens", "gigatoken", "hf")
"""Names of the engines; `hf` is the reference. The two others are named as the packages that they come from."""

ONE_THREAD: Mapping[str, str] = {
    "FASTOKENS_BPE_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Environment variables with which every engine uses one thread; they are read when a process encodes its first text.

The gigatoken engine never uses more.
"""

EncodedTexts: TypeAlias = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]
"""R texts as ids: int32[T], the texts' ids end to end, and int64[R + 1], where each text starts, and the end.

The arrays may be views of the engine's memory that cannot be written to.
"""


class Engine(Protocol):
    """A tokenizer that encodes batches of texts, each on its own, without special tokens around them.

    Attributes:
        name: One of `ENGINES`.
        version: Version of the package.
    """

    name: str
    version: str

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Encode texts; none holds half of a UTF-16 pair.

        Raises:
            EngineUnfitError: The engine cannot encode one of them.
        """


class EngineUnfitError(TokenizerError):
    """An engine is not installed, does not know the tokenizer, or failed at a text.

    Args:
        reason: In one sentence without a full stop.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(
            reason,
            code="tokenizer-engine-unfit",
            hint="Leave out --tokenizer-engine, or use `--tokenizer-engine hf`, which knows every tokenizer.",
        )

    @classmethod
    def caused_by(cls, error: Exception, what: str) -> EngineUnfitError:
        """The error for an exception of the engine's own.

        Args:
            error: Its text ends in source locations; the first line tells what happened.
            what: What was tried, as "fastokens does not take this tokenizer".
        """
        first_line, _, _ = str(error).strip().partition("\n")
        return cls(f"{what}: {first_line or type(error).__name__}")
