"""Segments to runs: cut each segment at its control tokens, and remember what every part is.

The result is a table of atoms in stream order. An atom is a control token, or a part of a run that has one segment type
(nearly always the whole run). Labels then follow by `np.repeat` over atoms, with no loop over tokens.

    segment   <|im_start|>user\\nHi<|im_end|>            one control token, one run, one control token
    atoms     control       run       control           each with a type and the number of its segment
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ismpack.data import Piece, Segment
from ismpack.tokenization.loader import ControlToken

# Unicode White_Space, which is what the tokenizers library strips; Python's str.strip() takes \x1c-\x1f as well.
_SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"

RUN = -1
"""`RunTable.atom_ids` of an atom that is (a part of) a run."""


@dataclass(slots=True)
class RunTable:
    """Runs and atoms of a batch of samples.

    Attributes:
        runs: Text of each run.
        opening: Whether each run stands at text position 0 of its sample.
        run_atoms: First atom of each run; a run of several types has as many atoms in a row.
        prefixes: Run -> the run's text up to each boundary between two types inside it.
        atom_ids: Per atom, the control token's id, or `RUN`.
        atom_types: Per atom, its segment type.
        atom_segments: Per atom, its segment's number in the batch.
    """

    runs: list[str] = field(default_factory=list)
    opening: list[bool] = field(default_factory=list)
    run_atoms: list[int] = field(default_factory=list)
    prefixes: dict[int, list[str]] = field(default_factory=dict)
    atom_ids: list[int] = field(default_factory=list)
    atom_types: list[int] = field(default_factory=list)
    atom_segments: list[int] = field(default_factory=list)

    def add_control(self, token_id: int, type_id: int, segment: int) -> None:
        """Append a control token."""
        self.atom_ids.append(token_id)
        self.atom_types.append(type_id)
        self.atom_segments.append(segment)

    def add_run(self, parts: Sequence[Piece], segment: int, *, opening: bool) -> None:
        """Append a run given as its parts of one type each."""
        if len(parts) > 1:
            texts = [part.text for part in parts]
            self.prefixes[len(self.runs)] = ["".join(texts[:i]) for i in range(1, len(texts))]
        self.runs.append("".join(part.text for part in parts))
        self.opening.append(opening)
        self.run_atoms.append(len(self.atom_ids))
        for part in parts:
            self.add_control(RUN, part.type_id, segment)


class RunCutter:
    """Cuts segments at control tokens the way the tokenizers library would.

    Args:
        control_tokens: Every added token, by content.
    """

    def __init__(self, control_tokens: Mapping[str, ControlToken]) -> None:
        self._tokens = control_tokens
        # The library looks for tokens that are not normalized first, and for the others in what is left.
        self._patterns = [
            _any_of(content for content, token in control_tokens.items() if token.normalized == normalized)
            for normalized in (False, True)
        ]

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

    def _matches(self, text: str) -> Iterator[re.Match[str]]:
        """Control tokens of a text, in order."""
        first, second = self._patterns
        start = 0
        for match in first.finditer(text):
            if _is_kept(self._tokens[match.group()], text, match):
                yield from self._between(second, text, start, match.start())
                yield match
                start = match.end()
        yield from self._between(second, text, start, len(text))

    def _between(self, pattern: re.Pattern[str], text: str, start: int, end: int) -> Iterator[re.Match[str]]:
        for match in pattern.finditer(text, start, end):
            if _is_kept(self._tokens[match.group()], text, match):
                yield match

    def _cut_segment(self, table: RunTable, segment: Segment, number: int, *, swallow: bool, first: bool) -> bool:
        """Append one segment; returns whether its last control token swallows what follows it."""
        text = segment.text
        start = _after_spaces(text, 0) if swallow else 0
        for match in self._matches(text):
            token = self._tokens[match.group()]
            end = _before_spaces(text, start, match.start()) if token.lstrip else match.start()
            if end > start:
                table.add_run(_parts(segment.pieces, start, end), number, opening=first and start == 0)
            table.add_control(token.id, _parts(segment.pieces, match.start(), match.end())[0].type_id, number)
            start = _after_spaces(text, match.end()) if token.rstrip else match.end()
            swallow = token.rstrip
        if start < len(text):
            table.add_run(_parts(segment.pieces, start, len(text)), number, opening=first and start == 0)
            swallow = False
        return swallow


def _any_of(contents: Iterable[str]) -> re.Pattern[str]:
    """Matches any of the texts, the longest first; nothing if there are none."""
    longest_first = sorted(contents, key=lambda content: (-len(content), content))
    return re.compile("|".join(map(re.escape, longest_first)) if longest_first else r"(?!)")


def _is_kept(token: ControlToken, text: str, match: re.Match[str]) -> bool:
    return not (token.single_word and _touches_word(text, match.start(), match.end()))


def _parts(pieces: Sequence[Piece], start: int, end: int) -> list[Piece]:
    """The pieces of `text[start:end]`."""
    return list(_clip(pieces, start, end))


def _clip(pieces: Sequence[Piece], start: int, end: int) -> Iterator[Piece]:
    at = 0
    for piece in pieces:
        low, high = max(start - at, 0), min(end - at, len(piece.text))
        if low < high:
            yield Piece(piece.text[low:high], piece.type_id) if high - low < len(piece.text) else piece
        at += len(piece.text)


def _after_spaces(text: str, start: int) -> int:
    return len(text) - len(text[start:].lstrip(_SPACE))


def _before_spaces(text: str, start: int, end: int) -> int:
    return start + len(text[start:end].rstrip(_SPACE))


def _touches_word(text: str, start: int, end: int) -> bool:
    return (start > 0 and _is_word(text[start - 1])) or (end < len(text) and _is_word(text[end]))


def _is_word(character: str) -> bool:
    r"""Whether the tokenizers library counts a character as part of a word (`\w` of the regex crate)."""
    category = unicodedata.category(character)
    return category[0] in "LM" or category in ("Nd", "Nl", "Pc") or character in "\u200c\u200d"
