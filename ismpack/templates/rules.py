"""What decides the segments besides the template, and what a segmentation gives back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from ismpack.data import Segment
from ismpack.options import Loss, OnRewrite


@dataclass(frozen=True, kw_only=True)
class SegmentRules:
    """What decides the segments besides the template.

    Attributes:
        stop_tokens: Texts of the tokens that end an answer.
        control_tokens: Text of every added token -> whether it is flagged special.
        on_rewrite: What to do when the template rewrites history.
        loss: Train on all answers, or on the conversation's last one.
        allow_dropped: Data fields that the template may leave unprinted (`tools` for tool definitions).
        allow_unterminated: Let an answer that no control token closes end at its last data character.
    """

    stop_tokens: frozenset[str]
    control_tokens: Mapping[str, bool]
    on_rewrite: OnRewrite = "stitch"
    loss: Loss = "all"
    allow_dropped: frozenset[str] = frozenset()
    allow_unterminated: bool = False

    @cached_property
    def control_pattern(self) -> re.Pattern[str]:
        """Matches any control token, the longest at each place."""
        return any_of(self.control_tokens)

    @cached_property
    def stop_pattern(self) -> re.Pattern[str]:
        """Matches any stop token, the longest at each place."""
        return any_of(self.stop_tokens)

    def stop_ends(self, text: str, start: int = 0) -> list[int]:
        """Where each stop token of `text[start:]` ends, as positions in `text`."""
        return [match.end() for match in self.stop_pattern.finditer(text, start)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmentation:
    """One conversation as samples of segments.

    Attributes:
        samples: Segments of each sample, query and answer in turn; several samples when a rewritten conversation is
            split.
        warnings: Warning codes, each at most once.
        inferred_stops: Control tokens taken as stop tokens where no listed one closes an answer.
    """

    samples: tuple[tuple[Segment, ...], ...]
    warnings: tuple[str, ...] = ()
    inferred_stops: frozenset[str] = frozenset()


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """A pattern that matches any of the texts, the longest first; one that never matches if there are none."""
    longest_first = sorted(texts, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, longest_first)) if longest_first else r"(?!)")
