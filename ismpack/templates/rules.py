"""What decides the segments besides the template, and what a segmentation gives back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

from ismpack.data import Origin, Segment
from ismpack.options import Loss, OnRewrite, SpecialTokensInData
from ismpack.templates.marks import common_prefix


@dataclass(frozen=True, kw_only=True)
class SegmentRules:
    """What decides the segments besides the template.

    Attributes:
        stop_tokens: Texts of the tokens that end an answer.
        control_tokens: Text of every added token -> whether it is flagged special.
        frame_tokens: Control tokens that open a message or close an answer unlisted.
        special_tokens_in_data: What becomes of the text of a control token in the data.
        on_rewrite: What to do when the template rewrites history.
        loss: Train on all answers, or on the conversation's last one.
        allow_dropped: Data fields that the template may leave unprinted (`tools` for tool definitions).
        allow_unterminated: Let an answer that no control token closes end at its last data character.
    """

    stop_tokens: frozenset[str]
    control_tokens: Mapping[str, bool]
    frame_tokens: frozenset[str] = frozenset()
    special_tokens_in_data: SpecialTokensInData = "text"
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

    @cached_property
    def written_by_model(self) -> frozenset[str]:
        """Control tokens that an assistant's data may hold: neither special, nor a stop, nor the start of a header."""
        plain = frozenset(token for token, special in self.control_tokens.items() if not special)
        return plain - self.stop_tokens - self.frame_tokens

    @cached_property
    def first_characters(self) -> tuple[str, ...]:
        """First characters of all control tokens: text without any of them holds no control token."""
        return tuple(sorted({token[:1] for token in self.control_tokens}))

    @cached_property
    def _first_pairs(self) -> re.Pattern[str]:
        """The same with two characters, which are rarer."""
        return any_of({token[:2] for token in self.control_tokens})

    def may_hold_control_token(self, text: str) -> bool:
        """A fast test that is never wrong if it says no."""
        for character in self.first_characters:
            if character in text:
                return self._first_pairs.search(text) is not None
        return False

    def foreign_pattern(self, origin: Origin) -> re.Pattern[str]:
        """Matches control tokens that do not belong into data of this origin."""
        return self._foreign_in_answers if origin is Origin.ASSISTANT else self.control_pattern

    @cached_property
    def _foreign_in_answers(self) -> re.Pattern[str]:
        return any_of(frozenset(self.control_tokens) - self.written_by_model)

    def stop_ends(self, text: str, start: int = 0) -> list[int]:
        """Where each stop token of `text[start:]` ends, as positions in `text`."""
        return [match.end() for match in self.stop_pattern.finditer(text, start)]


class Segmentation(NamedTuple):
    """One conversation as samples of segments.

    Attributes:
        samples: Segments of each sample, query and answer in turn; several samples when a rewritten conversation is
            split.
        warnings: Warning codes, each at most once.
        inferred_stops: Control tokens taken as stop tokens where no listed one closes an answer.
        answers: For each sample, the index of the message that each of its answers comes from.
    """

    samples: tuple[Sequence[Segment], ...]
    warnings: tuple[str, ...] = ()
    inferred_stops: frozenset[str] = frozenset()
    answers: tuple[tuple[int, ...], ...] = ()


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """A pattern that matches any of the texts, the longest at each place; one that never matches if there are none."""
    ordered = sorted(set(texts))
    return re.compile(_alternatives(ordered) if ordered else r"(?!)")


def _alternatives(texts: Sequence[str]) -> str:
    """The texts, which are sorted, as a tree: of hundreds of tokens only a few are tried at each place."""
    shared = texts[0][: common_prefix(texts[0], texts[-1])]
    rest = [text[len(shared) :] for text in texts]
    branches = [_alternatives(list(group)) for _, group in groupby(filter(None, rest), key=lambda text: text[0])]
    if not branches:
        return re.escape(shared)
    return f"{re.escape(shared)}(?:{'|'.join(branches)}){'' if rest[0] else '?'}"
