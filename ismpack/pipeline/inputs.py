"""The inputs of a run: files that were typed, and the records in their chunks."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from ismpack.data import Conversation, PlainConversation, Record
from ismpack.errors import RecordError
from ismpack.formats import Format, gather_trees, shortcut_for, to_conversation
from ismpack.sources import Chunk, InputFile, expand, read, spool_streams


def typed_inputs(inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    """One path, or several, as a list of texts."""
    return [os.fspath(path) for path in ([inputs] if isinstance(inputs, (str, os.PathLike)) else inputs)]


@contextlib.contextmanager
def input_files(typed: Sequence[str], stdin: BinaryIO | None) -> Iterator[tuple[tuple[InputFile, ...], Path]]:
    """The input files, and a temporary folder for what is made of them while the run lasts.

    Raises:
        UsageError, InputError: See `sources.expand`; also `bad-option` if `-` is given and there is no stdin.
    """
    with tempfile.TemporaryDirectory(prefix="ismpack-") as folder:
        spool = Path(folder)
        yield expand(typed, spool_streams(typed, stdin, spool)), spool


def read_conversation(record: Record, chosen: Format | None) -> tuple[str, Conversation | PlainConversation]:
    """The name of a record's format, and its conversation, in the form for speed if it has that.

    Raises:
        RecordError: See `formats.to_conversation`.
    """
    if record.conversation is not None:
        return record.conversation.format, record.conversation
    return to_conversation(record.value, chosen)


def conversation_of(record: Record, chosen: Format | None) -> tuple[str, Conversation]:
    """As `read_conversation`, with an object for each message."""
    name, conversation = read_conversation(record, chosen)
    return name, conversation.written_out()


def records(chunk: Chunk, chosen: Format | None) -> Iterator[Record | RecordError | None]:
    """What a chunk holds: records, errors of bad ones, None for blank lines. A reply tree is one record.

    Args:
        chunk: What to read.
        chosen: The format that every record is read as; None = find it for each.

    Raises:
        InputError: The input is damaged or changed, or its reply trees are too large.
    """
    return gather_trees(read(chunk, shortcut=shortcut_for(chosen)), whole=chunk.whole)
