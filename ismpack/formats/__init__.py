"""Records to conversations: one small function per format. Past this room nothing has unknown shape.

To add a format, write its `Format` in the module of its family, add it to the table in `table.py`, and write its case
file `tests/cases/formats/<name>.json`.
"""

from __future__ import annotations

from ismpack.formats.detection import AUTO, chosen_format, format_named, to_conversation
from ismpack.formats.format import Format
from ismpack.formats.plain import shortcut_for
from ismpack.formats.table import FORMATS
from ismpack.formats.trees import TREE_KEY, UNUSED_REPLY, gather_trees, tree_message

__all__ = [
    "AUTO",
    "FORMATS",
    "TREE_KEY",
    "UNUSED_REPLY",
    "Format",
    "chosen_format",
    "format_named",
    "gather_trees",
    "shortcut_for",
    "to_conversation",
    "tree_message",
]
