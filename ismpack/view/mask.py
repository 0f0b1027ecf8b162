"""An attention mask as a picture of shaded blocks, computed from intervals: a matrix of all pairs never exists."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ismpack.data import Pack
from ismpack.masks import KINDS, MaskKind, intervals
from ismpack.view.facts import Span, mask_facts, spans
from ismpack.view.screen import BOLD, CYAN, DIM, GREEN, YELLOW, Screen, counted
from ismpack.view.tokens import NAMES

_MAX_LINES = 40  # a picture taller than a screen cannot be taken in


def render_mask(pack: Pack, screen: Screen, *, kind: MaskKind = "ism", first_document: int = 0) -> str:
    """The mask of a pack as a square of shaded blocks; rows attend, columns are attended to.

    A pack of few tokens gets one line and two columns for each; a larger one is scaled down, and a shade tells which
    share of a block's pairs is visible.

    Raises:
        ValueError: The columns describe no row, or the kind is unknown.
    """
    labels = _Labels(pack, first_document)
    lines = min(len(pack), (screen.columns - labels.width - 2) // 2, _MAX_LINES)
    edges = np.arange(lines + 1) * len(pack) // max(lines, 1)
    lo, hi, _, _ = intervals(pack.segment_type_ids, pack.turn_ids, pack.seq_lengths, kind)
    levels = shade_levels(lo, hi, edges)
    picture = list(_picture(pack, levels, edges, labels, screen))
    return "\n".join([*_head(pack, kind, lines, screen), *_leaks(pack, hi, screen), "", *picture]) + "\n"


def shade_levels(
    lo: npt.NDArray[np.int32], hi: npt.NDArray[np.int32], edges: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Which share of each block's pairs is visible: 0 none, 1 to 3 the thirds between, 4 all.

    Blocks are `edges[r]` to `edges[r + 1]` tokens high and T / 2R tokens wide, cutting tokens where they must.

    Args:
        lo: int32[T], first token that each token sees.
        hi: int32[T], one past the last.
        edges: int64[R + 1], from 0 to T, rising.

    Returns:
        int64[R, 2R].
    """
    tokens, columns = len(lo), 2 * (len(edges) - 1)
    # In units of 1 / columns of a token everything is a whole number, so that "all" and "none" are exact.
    sides = np.arange(columns + 1) * tokens
    levels = np.zeros((len(edges) - 1, columns), np.int64)
    for line, (start, stop) in enumerate(pairwise(edges.tolist())):
        seen = np.clip(sides, lo[start:stop, None].astype(np.int64) * columns, hi[start:stop, None] * np.int64(columns))
        area, full = np.diff(seen, axis=1).sum(axis=0), (stop - start) * tokens
        levels[line] = np.where(area == 0, 0, np.where(area == full, 4, 1 + 3 * area // full))
    return levels


class _Labels:
    """What stands left of the picture: where documents and spans start."""

    def __init__(self, pack: Pack, first_document: int) -> None:
        self.spans = spans(pack)
        self.starts = np.array([span.start for span in self.spans], np.int64)
        self.document_starts = np.cumsum(pack.seq_lengths, dtype=np.int64) - pack.seq_lengths
        self.documents = [f"d{first_document + k}" for k in range(len(self.document_starts))]
        self.segments = [f"{_letter(span)}{span.turn}" for span in self.spans]
        self.columns = [max(map(len, texts), default=0) + 1 for texts in (self.documents, self.segments)]

    @property
    def width(self) -> int:
        """Columns of a label, with the space after each name and the bar."""
        return sum(self.columns) + 3

    def line(self, start: int, stop: int) -> str:
        """The label of the tokens `[start, stop)`, without its bar."""
        document = _first(self.documents, self.document_starts, start, stop)
        segment = _first(self.segments, self.starts, start, stop)
        return f"{document:<{self.columns[0]}} {segment:<{self.columns[1]}} "


def _first(names: list[str], starts: npt.NDArray[np.int64], start: int, stop: int) -> str:
    """The first of the names that start in `[start, stop)`, with a plus if there are more."""
    first, end = np.searchsorted(starts, [start, stop]).tolist()
    return names[first] + "+" * (end - first > 1) if end > first else ""


def _letter(span: Span) -> str:
    return NAMES.get(span.type_id, "?")[0].upper()


def _picture(
    pack: Pack, levels: npt.NDArray[np.int64], edges: npt.NDArray[np.int64], labels: _Labels, screen: Screen
) -> Iterator[str]:
    marks, frame = screen.marks, screen.marks.frame
    margin, columns = " " * labels.width, 2 * len(levels)
    top = _top(labels, columns, len(pack), frame.horizontal)
    yield margin + screen.paint(f"{frame.top_left}{top}{frame.top_right}", DIM)
    opening = set((np.searchsorted(edges, labels.document_starts[1:], side="right") - 1).tolist())
    shades = np.array(list(marks.shades))
    for line, (start, stop) in enumerate(pairwise(edges.tolist())):
        bar = screen.paint(marks.bar, GREEN) if pack.loss_mask[start:stop].any() else " "
        color = CYAN if (pack.segment_type_ids[start:stop] & 1).mean() >= 0.5 else GREEN
        side = screen.paint(frame.tick if line in opening else frame.vertical, DIM)
        row = screen.paint("".join(shades[levels[line]]), color)
        yield f"{screen.paint(labels.line(start, stop), color)}{bar}{side}{row}{screen.paint(frame.vertical, DIM)}"
    yield margin + screen.paint(f"{frame.bottom_left}{frame.horizontal * columns}{frame.bottom_right}", DIM)


def _top(labels: _Labels, columns: int, tokens: int, horizontal: str) -> str:
    """The upper border with each document's name where its first column is, if there is room."""
    border = ""
    for name, start in zip(labels.documents, labels.document_starts.tolist(), strict=True):
        column = start * columns // tokens
        if (not border or column > len(border)) and column + len(name) <= columns:
            border = border.ljust(column, horizontal) + name
    return border.ljust(columns, horizontal)


def _head(pack: Pack, kind: MaskKind, lines: int, screen: Screen) -> Iterator[str]:
    known = mask_facts(pack, kind=kind)
    marks = screen.marks
    for line in screen.flow([f"{kind} mask: {KINDS[kind]}"]):
        yield screen.paint(line, BOLD)
    pairs = f"{known['visible_pairs']:,} visible pairs, {known['visible_to_causal']:.2f} x causal"
    yield from screen.flow([counted(len(pack), "token"), counted(len(pack.seq_lengths), "document"), pairs])
    scale = len(pack) / max(lines, 1)
    used = {NAMES.get(span.type_id, "?") for span in spans(pack)}
    legend = ["row attends", "column is attended to", f"1 line = 2 columns = {scale:.3g} token{'s' * (scale != 1)}"]
    if lines < len(pack):
        legend.append(f"shade: share of pairs visible, {marks.shades[1]} some to {marks.shades[4]} all")
    else:
        legend.append(f"{marks.shades[4]} visible")
    legend += ["d document", ", ".join(f"{name[0].upper()} {name}" for name in NAMES.values() if name in used)]
    legend.append("number: turn")
    if lines < len(pack):
        legend.append("+ and more")
    legend.append(f"{marks.bar} holds targets")
    for line in screen.flow(legend):
        yield screen.paint(line, DIM)


def _leaks(pack: Pack, hi: npt.NDArray[np.int32], screen: Screen) -> list[str]:
    targets = np.flatnonzero(pack.loss_mask)
    targets = targets[targets > 0]
    leaks = int((hi[targets - 1] > targets).sum())
    if not leaks:
        return []
    text = f"warning: {counted(leaks, 'target')} visible to the token that predicts it; no loss there under this mask"
    return [screen.paint(line, YELLOW) for line in screen.flow([text])]
