"""Text from data made safe and visible: nothing in it can move the cursor, colour the screen or hide.

Characters without a glyph of their own (control, format, private and unassigned characters, white space other than the
space, half characters) are written as an escape: `\\x1b` for ASCII and for bytes that are no UTF-8, `\\u202e` and
`\\U000e0001` otherwise. Letters keep their stored order; a terminal that reorders right-to-left text does so in a line.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Frame:
    """The signs around a picture; `tick` is where a document starts on the left side."""

    top_left: str
    top_right: str
    bottom_left: str
    bottom_right: str
    horizontal: str
    vertical: str
    tick: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The signs drawn among data. One that stands in data itself is shown with a backslash before it.

    Attributes:
        ascii: Characters beyond ASCII are escaped.
        edge: Between two tokens; empty when colour shows the edge.
        space: A space inside a token.
        newline: U+000A.
        tab: U+0009.
        opening: Before a control token.
        closing: After a control token.
        rest: A token that holds nothing but later bytes of a character that an earlier token shows.
        resumed: Starts a line that continues a token.
        base: Carries a combining mark that has nothing before it in its token.
        bar: Left of a line with trained tokens.
        cut: Where text was left out.
        shades: None, up to a third, two thirds, less than all, all.
        frame: Around a picture.
    """

    ascii: bool
    edge: str
    space: str
    newline: str
    tab: str
    opening: str
    closing: str
    rest: str
    resumed: str
    base: str
    bar: str
    cut: str
    shades: str
    frame: Frame

    @property
    def reserved(self) -> str:
        """The characters that mean something among tokens."""
        signs = (self.edge, self.space, self.newline, self.tab, self.opening, self.closing, self.rest, self.resumed)
        return "".join(sign for sign in (*signs, self.base) if len(sign) == 1)


UNICODE = Marks(
    ascii=False,
    edge="│",
    space="·",
    newline="↵",
    tab="⇥",
    opening="⟦",
    closing="⟧",
    rest="▫",
    resumed="↪",
    base="◌",
    bar="▌",
    cut="…",
    shades=" ░▒▓█",
    frame=Frame("┌", "┐", "└", "┘", "─", "│", "├"),
)
ASCII = Marks(
    ascii=True,
    edge="|",
    space="~",
    newline=r"\n",
    tab=r"\t",
    opening="^",
    closing="^",
    rest=r"\+",
    resumed=r"\>",
    base="",
    bar="#",
    cut="...",
    shades=" .:*#",
    frame=Frame("+", "+", "+", "+", "-", "|", "+"),
)

# Drawn as nothing or as blanks by fonts, though Python counts them as printable: joiners, fillers, variation selectors.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_READS_AS_ESCAPE = re.compile(r"x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}")
_READS_AS_ASCII_MARK = re.compile(r"[nt+>]")


def token_units(text: str, marks: Marks) -> list[str]:
    """The text of one token in signs that must not be separated by a line break.

    Two different texts never look the same: a backslash that would read as the start of an escape is doubled. A space
    on the screen always starts a token; other spaces, and all of a token of several spaces, are marked.
    """
    units: list[str] = []
    first_marked = 0 if len(text) > 1 and not text.strip(" ") else 1
    for position, char in enumerate(text):
        glyph = _glyph(char, marks)
        if char == " " and position >= first_marked:
            glyph = marks.space
        elif char in marks.reserved:
            glyph = f"\\{char}"
        elif glyph == char and _is_combining(char) and _is_bare(text, units):
            glyph = marks.base + char
        units.append(glyph)
    return _double_backslashes(text, units, marks) if "\\" in text else units


def control_units(text: str, marks: Marks) -> list[str]:
    """The same for a control token: it stands between marks of its own, so that only these are escaped in it."""
    units = [f"\\{char}" if char in (marks.opening, marks.closing) else _glyph(char, marks) for char in text]
    return [marks.opening, *_double_backslashes(text, units, marks), marks.closing]


def plain(text: str, marks: Marks) -> str:
    """Text that stands outside the token stream (a file name, a message) on one line."""
    return "".join(_glyph(char, marks) for char in text)


def cells(shown: str) -> int:
    """Columns that shown text takes: at most this many in any terminal.

    Source: Unicode Standard Annex 11, wide and fullwidth take two; combining marks take none.
    """
    return len(shown) if shown.isascii() else sum(map(_char_cells, shown))


def clip(shown: str, width: int, marks: Marks) -> str:
    """Shown text without its middle where it is wider than `width`; the end, with its line number, stays longer."""
    if cells(shown) <= width:
        return shown
    room = max(width - len(marks.cut), 0)
    head = _prefix(shown, room // 3)
    tail = _prefix(shown[::-1], room - cells(head))[::-1]
    return head + marks.cut + tail


def beginning(text: str, width: int, marks: Marks) -> tuple[str, int]:
    """As much of a text as fits `width` columns, shown, and how many of its characters that is."""
    shown, used = [plain(char, marks) for char in text[: 4 * width]], 0
    for count, sign in enumerate(shown):
        used += cells(sign)
        if used > width:
            return "".join(shown[:count]), count
    return "".join(shown), len(shown)


def _prefix(shown: str, width: int) -> str:
    used = 0
    for position, char in enumerate(shown):
        used += _char_cells(char)
        if used > width:
            return shown[:position]
    return shown


@lru_cache(maxsize=4096)
def _char_cells(char: str) -> int:
    if _is_combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _is_combining(char: str) -> bool:
    return not char.isascii() and unicodedata.category(char) in ("Mn", "Me")


def _is_bare(text: str, units: list[str]) -> bool:
    """Whether the character after these units has no glyph of its own token to combine with."""
    return not units or text[len(units) - 1] in " \n\t" or (len(units[-1]) > 1 and units[-1].startswith("\\"))


def _glyph(char: str, marks: Marks) -> str:
    if char == "\n":
        return marks.newline
    if char == "\t":
        return marks.tab
    has_glyph = char.isascii() if marks.ascii else not _BLANK.match(char)
    if has_glyph and char.isprintable():
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as surrogateescape writes it
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _double_backslashes(text: str, units: list[str], marks: Marks) -> list[str]:
    ambiguous = False
    for position in range(len(text) - 1, -1, -1):
        if text[position] == "\\":
            following = text[position + 1 : position + 10]
            if not following.startswith("\\"):
                ambiguous = bool(
                    _READS_AS_ESCAPE.match(following)
                    or (marks.ascii and _READS_AS_ASCII_MARK.match(following))
                    or (following and units[position + 1][0] in f"\\{marks.reserved}")
                )
            if ambiguous:
                units[position] = "\\\\"
    return units
