"""Records to conversations: one small function per format. Past this room nothing has unknown shape.

To add a format, write its `Format` in the module of its family, add it to the table in `table.py`, and write its case
file `tests/cases/formats/<name>.json`.
"""

from __future__ import annotations

from ismpack.formats.detection import AUTO, format_named, to_conversation
from ismpack.formats.format import Format
from ismpack.formats.plain import PLAIN_FORMAT, plain_conversations
from ismpack.formats.table import FORMATS

__all__ = ["AUTO", "FORMATS", "PLAIN_FORMAT", "Format", "format_named", "plain_conversations", "to_conversation"]
