"""Renders as symbols: template text with one private-use character for each piece of data.

In such a text the rules of the stream are ordinary string rules. That one render begins with another, or where the
first stop token stands after an answer's data, is then true of every conversation that took the same way through the
template, because no data was looked at. Planes 15 and 16 of Unicode hold 131,068 such characters, and a template that
prints one of them itself is not traced.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ismpack.templates.expressions import Source
from ismpack.templates.recorder import ProvenanceLostError
from ismpack.templates.traced import Part

DATA = re.compile("[\U000f0000-\U000ffffd\U00100000-\U0010fffd]")
"""Matches a character that stands for data."""

_PLANES = [range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE)]
CAPACITY = sum(map(len, _PLANES))


class AlphabetFullError(ProvenanceLostError):
    """More pieces of data than private-use characters."""


class Alphabet:
    """Which character stands for which source."""

    def __init__(self) -> None:
        self._characters: dict[Source, str] = {}
        self._sources: dict[str, Source] = {}

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, character: str) -> Source:
        return self._sources[character]

    def character(self, source: Source) -> str:
        """The character of a source, a new one if it has none.

        Raises:
            AlphabetFullError: All characters are taken.
        """
        found = self._characters.get(source)
        if found is None:
            number = len(self._sources)
            if number >= CAPACITY:
                raise AlphabetFullError("more pieces of data than private-use characters")
            first = len(_PLANES[0])
            found = chr(_PLANES[0][number] if number < first else _PLANES[1][number - first])
            self._characters[source] = found
            self._sources[found] = source
        return found

    def write(self, parts: Iterable[Part]) -> str:
        """Parts of a render as symbols.

        Raises:
            ProvenanceLostError: Template text holds a private-use character.
        """
        written = []
        for text, source in parts:
            if source is None and DATA.search(text):
                raise ProvenanceLostError("the template prints private-use characters")
            written.append(text if source is None else self.character(source))
        return "".join(written)

    def sources(self, text: str) -> list[Source]:
        """The sources in a text, in order."""
        return [self._sources[character] for character in DATA.findall(text)]
