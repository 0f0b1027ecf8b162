"""Segments to runs: cut each segment at its control tokens, and remember what every part is.

The result is a table of atoms in stream order. An atom is a control token, or a part of a run that has one segment type
(nearly always the whole run). Labels then follow by `np.repeat` over atoms, with no loop over tokens.

    segment   <|im_start|>user\\nHi<|im_end|>            one control token, one run, one control token
    atoms     control       run       control           each with a type and the number of its segment

A control token's text is cut out only where it may stand: the template writes any, an assistant those that a model
writes, other data none. It must lie inside one stretch of text of one origin, so that data and template together never
spell one. White-space tokens are ordinary vocabulary and may stand everywhere.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal, TypeAlias

from ismpack.data import Origin, Piece, Segment
from ismpack.tokenization.loader import WHITE_SPACE, ControlToken

Policy: TypeAlias = Literal["text", "reject", "control"]
"""What the text of a control token in data becomes; `reject` is decided before anything is cut."""

_SPACES = re.compile(f"[{WHITE_SPACE}]+")

RUN = -1
"""`RunTable.atom_ids` of an atom that is (a part of) a run."""


@dataclass(slots=True)
class RunTable:
    """Runs and atoms of a batch of samples.

    Attributes:
        runs: Text of each run.
        opening: Whether each run stands at text position 0 of its sample.
        prefixes: Run -> the run's text up to each boundary between two types inside it.
        atom_ids: Per atom, the control token's id, or `RUN`; a run of several types has as many atoms in a row.
        atom_types: Per atom, its segment type.
        atom_segments: Per atom, its segment's number in the batch.
    """

    runs: list[str] = field(default_factory=list)
    opening: list[bool] = field(default_factory=list)
    prefixes: dict[int, list[str]] = field(default_factory=dict)
    atom_ids: list[int] = field(default_factory=list)
    atom_types: list[int] = field(default_factory=list)
    atom_segments: list[int] = field(default_factory=list)

    def add_control(self, token_id: int, type_id: int, segment: int) -> None:
        """Append a control token."""
        self.atom_ids.append(token_id)
        self.atom_types.append(type_id)
        self.atom_segments.append(segment)

    def add_run(self, parts: Sequence[tuple[str, int]], segment: int, *, opening: bool) -> None:
        """Append a run given as its parts (text, type) of one type each."""
        texts = [text for text, _ in parts]
        if len(parts) > 1:
            self.prefixes[len(self.runs)] = ["".join(texts[:i]) for i in range(1, len(texts))]
        self.runs.append("".join(texts))
        self.opening.append(opening)
        for _, type_id in parts:
            self.add_control(RUN, type_id, segment)

    def part_runs(self) -> list[int]:
        """The run of each part of one type, in order; the parts are the atoms that are `RUN`."""
        return [run for run in range(len(self.runs)) for _ in range(1 + len(self.prefixes.get(run, ())))]

    def only(self, runs: Iterable[int]) -> RunTable:
        """These runs in a table without atoms."""
        kept = RunTable()
        for run in runs:
            if run in self.prefixes:
                kept.prefixes[len(kept.runs)] = self.prefixes[run]
            kept.runs.append(self.runs[run])
            kept.opening.append(self.opening[run])
        return kept


class RunCutter:
    """Cuts segments at control tokens the way the tokenizers library would.

    Args:
        control_tokens: Every added token, by content.
        policy: What the text of a control token in data becomes.
        written_by_model: Control tokens that are tokens in an assistant's data too.
    """

    def __init__(
        self,
        control_tokens: Mapping[str, ControlToken],
        policy: Policy = "text",
        written_by_model: Collection[str] = frozenset(),
    ) -> None:
        self._everywhere = policy == "control"
        self._written = frozenset(written_by_model)
        # The library looks for tokens that are not normalized first, and for the others in what is left.
        self._phases = tuple(
            _Phase([token for token in control_tokens.values() if token.normalized == normalized])
            for normalized in (False, True)
        )

    def cut(self, samples: Sequence[Sequence[Segment]]) -> RunTable:
        """The runs and atoms of a batch; segments are numbered through the batch."""
        table = RunTable()
        number = 0
        for segments in samples:
            # A stop token that swallows the white space after it does so in the next query too, but no token of a
            # query reaches into the answer: the model generates what stands there.
            swallow = False
            for position, segment in enumerate(segments):
                swallow = swallow and not segment.is_answer
                swallow = self._cut_segment(table, segment, number, swallow=swallow, first=position == 0)
                number += 1
        return table

    def _cut_segment(self, table: RunTable, segment: Segment, number: int, *, swallow: bool, first: bool) -> bool:
        """Append one segment; returns whether its last control token swallows what follows it."""
        text, parts = segment.text, _by_type(segment.pieces)
        start = _after_spaces(text, 0) if swallow else 0
        for token, at in self._matches(text, segment.pieces):
            # White space goes to the token that strips it, whoever wrote it: so does the library.
            end = _before_spaces(text, start, at) if token.lstrip else at
            if end > start:
                table.add_run(_clip(parts, start, end), number, opening=first and start == 0)
            table.add_control(token.id, _clip(parts, at, at + 1)[0][1], number)
            start = at + len(token.content)
            start = _after_spaces(text, start) if token.rstrip else start
            swallow = token.rstrip
        if start < len(text):
            table.add_run(_clip(parts, start, len(text)), number, opening=first and start == 0)
            swallow = False
        return swallow

    def _matches(self, text: str, pieces: Sequence[Piece]) -> Iterator[tuple[ControlToken, int]]:
        """Control tokens of a segment and where they begin, in order."""
        first, second = self._phases
        stretches = _Stretches(pieces)
        start = 0
        for token, at in self._find(first, text, 0, len(text), stretches):
            yield from self._find(second, text, start, at, stretches)
            yield token, at
            start = at + len(token.content)
        yield from self._find(second, text, start, len(text), stretches)

    def _find(
        self, phase: _Phase, text: str, start: int, end: int, stretches: _Stretches
    ) -> Iterator[tuple[ControlToken, int]]:
        """The leftmost, then longest tokens of `text[start:end]` among those that may stand where they do."""
        if phase.pattern is None:
            return
        while match := phase.pattern.search(text, start, end):
            at = match.start()
            allowed = (token for token in phase.from_longest(match.group()) if self._may_stand(token, at, stretches))
            token = next(allowed, None)
            if token is None:
                start = at + 1
                continue
            start = at + len(token.content)
            if not (token.single_word and _touches_word(text, at, start)):
                yield token, at

    def _may_stand(self, token: ControlToken, at: int, stretches: _Stretches) -> bool:
        if self._everywhere or token.is_blank:
            return True
        match stretches.origin(at, at + len(token.content)):
            case Origin.TEMPLATE:
                return True
            case Origin.ASSISTANT:
                return token.content in self._written
        return False


class _Phase:
    """Tokens that are looked for together.

    Attributes:
        pattern: Matches any of them, the longest at each place; None if there are none.
    """

    def __init__(self, tokens: Iterable[ControlToken]) -> None:
        self._tokens = {token.content: token for token in tokens}
        self.pattern = any_of(self._tokens) if self._tokens else None
        self._shorter = {content: self._beginnings(content) for content in self._tokens}

    def from_longest(self, content: str) -> list[ControlToken]:
        """The token of this text, and those that its text begins with, the longest first."""
        return self._shorter[content]

    def _beginnings(self, content: str) -> list[ControlToken]:
        lengths = range(len(content), 0, -1)
        return [self._tokens[content[:n]] for n in lengths if content[:n] in self._tokens]


class _Stretches:
    """The longest stretches of text of one origin in a segment."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._ends: list[int] = []
        self._origins: list[Origin] = []
        end = 0
        for origin, group in groupby(pieces, key=lambda piece: piece.origin):
            end += sum(len(piece.text) for piece in group)
            self._ends.append(end)
            self._origins.append(origin)

    def origin(self, start: int, end: int) -> Origin | None:
        """Who wrote `text[start:end]`; None if more than one did."""
        stretch = bisect_right(self._ends, start)
        return self._origins[stretch] if end <= self._ends[stretch] else None


def any_of(contents: Iterable[str]) -> re.Pattern[str]:
    """Matches any of the texts (at least one), the longest at each place."""
    return re.compile("|".join(map(re.escape, sorted(contents, key=lambda content: (-len(content), content)))))


def _by_type(pieces: Sequence[Piece]) -> list[tuple[str, int]]:
    """The pieces' texts, neighbours of one type joined."""
    groups = groupby(pieces, key=lambda piece: piece.type_id)
    return [("".join(piece.text for piece in group), type_id) for type_id, group in groups]


def _clip(parts: Sequence[tuple[str, int]], start: int, end: int) -> list[tuple[str, int]]:
    """The parts of the text from `start` to `end`."""
    clipped = []
    at = 0
    for text, type_id in parts:
        low, high = max(start - at, 0), min(end - at, len(text))
        if low < high:
            clipped.append((text[low:high], type_id))
        at += len(text)
    return clipped


def _after_spaces(text: str, start: int) -> int:
    spaces = _SPACES.match(text, start)
    return spaces.end() if spaces else start


def _before_spaces(text: str, start: int, end: int) -> int:
    return start + len(text[start:end].rstrip(WHITE_SPACE))


def _touches_word(text: str, start: int, end: int) -> bool:
    return (start > 0 and _is_word(text[start - 1])) or (end < len(text) and _is_word(text[end]))


def _is_word(character: str) -> bool:
    r"""Whether the tokenizers library counts a character as part of a word (`\w` of the regex crate)."""
    category = unicodedata.category(character)
    return category[0] in "LM" or category in ("Nd", "Nl", "Pc") or character in "\u200c\u200d"
