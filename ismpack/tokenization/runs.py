"""Segments to runs: cut each segment at its control tokens, and remember what every part is.

The result is a table of atoms in stream order. An atom is a control token, or a part of a run that has one segment type
(nearly always the whole run). Labels then follow by `np.repeat` over atoms, with no loop over tokens.

    segment   <|im_start|>user\\nHi<|im_end|>            one control token, one run, one control token
    atoms     control       run       control           each with a type and the number of its segment
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ismpack.data import Piece, Segment
from ismpack.tokenization.loader import ControlToken

# Unicode White_Space, which is what the tokenizers library strips; Python's str.strip() takes \x1c-\x1f as well.
_SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACES = re.compile(f"[{_SPACE}]*")
_FINAL_SPACES = re.compile(f"[{_SPACE}]*\\Z")

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
        pattern: Matches any of them, the longest first.
    """

    def __init__(self, control_tokens: Mapping[str, ControlToken], pattern: re.Pattern[str]) -> None:
        self._tokens = control_tokens
        self._pattern = pattern

    def cut(self, samples: Sequence[Sequence[Segment]]) -> RunTable:
        """The runs and atoms of a batch; segments are numbered through the batch."""
        table = RunTable()
        number = 0
        for segments in samples:
            # A stop token that swallows the white space after it does so in the next query too, but no token of a
            # query reaches into the answer: the model generates what stands there.
            swallow = False
            for position, segment in enumerate(segments):
                swallow = self._cut_segment(table, segment, number, swallow=swallow, first=position == 0)
                swallow = swallow and segment.is_answer
                number += 1
        return table

    def _cut_segment(self, table: RunTable, segment: Segment, number: int, *, swallow: bool, first: bool) -> bool:
        """Append one segment; returns whether its last control token swallows what follows it."""
        text = segment.text
        start = _after_spaces(text, 0) if swallow else 0
        for match in self._pattern.finditer(text):
            token = self._tokens[match.group()]
            if token.single_word and _touches_word(text, match.start(), match.end()):
                continue
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
    match = _SPACES.match(text, start)
    return match.end() if match else start


def _before_spaces(text: str, start: int, end: int) -> int:
    match = _FINAL_SPACES.search(text, start, end)
    return match.start() if match else end


def _touches_word(text: str, start: int, end: int) -> bool:
    return (start > 0 and _is_word(text[start - 1])) or (end < len(text) and _is_word(text[end]))


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
