"""The sheet that text is laid out on: how wide it is, whether it has colour, and which signs it can show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ismpack.view.characters import ASCII, UNICODE, Marks, cells, clip

_MIN_COLUMNS = 20
_SIDE_BY_SIDE_COLUMNS = 60

BOLD, DIM, UNDERLINE = "1", "2", "4"
GREEN, YELLOW, MAGENTA, CYAN = "32", "33", "35", "36"
"""Select Graphic Rendition parameters; the eight basic colours, so that the reader's theme decides how they look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """Where text will be read.

    Attributes:
        width: Columns; a smaller number than 20 is taken as 20.
        color: Write SGR sequences.
        ascii: Write nothing beyond ASCII.
    """

    width: int = 80
    color: bool = False
    ascii: bool = False

    @property
    def columns(self) -> int:
        """The width to lay out for."""
        return max(self.width, _MIN_COLUMNS)

    @property
    def side_by_side(self) -> bool:
        """Whether labels stand left of the text rather than above it."""
        return self.columns >= _SIDE_BY_SIDE_COLUMNS

    @property
    def marks(self) -> Marks:
        """The signs to draw with. With colour, shade shows where tokens meet."""
        marks = ASCII if self.ascii else UNICODE
        return replace(marks, edge="") if self.color else marks

    def paint(self, shown: str, *styles: str) -> str:
        """Shown text in a style; unchanged without colour."""
        return f"\x1b[{';'.join(styles)}m{shown}\x1b[0m" if self.color and styles and shown else shown

    def flow(self, parts: Iterable[str], *, indent: int = 0, gap: int = 3) -> list[str]:
        """Shown parts laid out in lines with a gap between them; a part wider than a line is broken at its spaces."""
        room = self.columns - indent
        lines: list[str] = []
        for part in parts:
            if cells(part) > room and gap > 1:
                lines += self.flow(part.split(" "), indent=indent, gap=1)
            elif lines and cells(lines[-1]) + gap + cells(part) <= self.columns:
                lines[-1] += " " * gap + part
            else:
                lines.append(" " * indent + clip(part, room, self.marks))
        return lines


def counted(number: int, noun: str) -> str:
    """A number with its noun, as `1 turn` or `1,024 turns`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
