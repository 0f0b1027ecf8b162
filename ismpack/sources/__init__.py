"""Bytes to records: which files, which bytes of them, and one strict JSON value per record.

    expand     what the user typed   -> input files, in a fixed order
    scan       one input file        -> its digest, what it holds, and chunks to read
    read       one chunk             -> records, in order; a bad one comes as an error, a blank line as None

A chunk says everything that reading needs, so chunks can be read anywhere and in any order. What cannot be read so as
it stands (standard input, hub datasets, compressed files, tables) is first written to a plain file in a folder that the
caller owns: `spool_streams` before `expand`, the rest by `scan`.
"""

from __future__ import annotations

from ismpack.sources.chunks import Chunk, Scan, scan
from ismpack.sources.inputs import STDIN, InputFile, expand, spool_streams
from ismpack.sources.limits import MAX_DEPTH, MAX_RECORD_BYTES
from ismpack.sources.records import read

__all__ = [
    "MAX_DEPTH",
    "MAX_RECORD_BYTES",
    "STDIN",
    "Chunk",
    "InputFile",
    "Scan",
    "expand",
    "read",
    "scan",
    "spool_streams",
]
