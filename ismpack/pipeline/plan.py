"""Which partition reads which bytes, from the inputs alone: never from the number of workers or the machine.

Inputs are cut into chunks, and partition p of P takes the chunks p, p + P, p + 2P, ... A corpus is usually several
sources one after another, short dialogues here and long ones there; striding gives every partition some of each, so
each packs nearly as well as the whole would.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ismpack.formats import TREE_KEY
from ismpack.manifest import InputEntry, canonical_digest
from ismpack.sources import Chunk, InputFile, Scan, scan

CHUNK_BYTES = 1 << 20
MIN_PARTITION_BYTES = 16 << 20
MAX_PARTITION_BYTES = 64 << 20
_PARTITIONS_WANTED = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The work to do.

    Attributes:
        scans: What each input holds.
        partitions: Chunks of each partition, in reading order; one partition becomes one shard.
        limit: Read only this many records (then there is one partition, in input order).
        digest: Hex sha256 of what is read in which partition.
    """

    scans: tuple[Scan, ...]
    partitions: tuple[tuple[Chunk, ...], ...]
    limit: int | None
    digest: str

    @property
    def inputs(self) -> list[InputEntry]:
        """The inputs as the manifest lists them."""
        return [
            InputEntry(name=scan.file.name, bytes=scan.bytes, sha256=scan.sha256, unit=scan.unit) for scan in self.scans
        ]

    @property
    def text_bytes(self) -> int:
        """Bytes of text to read."""
        return sum(scan.text_bytes for scan in self.scans)

    def sized_partitions(self) -> Iterator[tuple[tuple[Chunk, int], ...]]:
        """The chunks of each partition, and the bytes of text that each stands for, about."""
        shares = {scan.file.index: scan.text_bytes // max(1, len(scan.chunks)) for scan in self.scans}
        for chunks in self.partitions:
            yield tuple([(chunk, shares[chunk.file.index]) for chunk in chunks])

    def seed(self, partition: int) -> int:
        """Seed of the partition's random numbers, below 2**64."""
        return int.from_bytes(hashlib.sha256(f"{self.digest}/{partition}".encode()).digest()[:8], "big")


def make_plan(files: Sequence[InputFile], spool: Path, limit: int | None = None) -> Plan:
    """Read every input once, for its digest and its chunks, and deal the chunks out.

    Args:
        files: The inputs.
        spool: Folder for what is made of them, such as decompressed text; it must outlast the plan.
        limit: Read only this many records.

    Raises:
        InputError: An input cannot be read or is not JSON.
        OutputError: The spool folder cannot be written.
    """
    scans = tuple(scan(file, CHUNK_BYTES, spool, whole_key=TREE_KEY) for file in files)
    chunks = [chunk for one in scans for chunk in one.chunks]
    total = sum(one.text_bytes for one in scans)
    # A file that must be read as a whole is one chunk: there can be fewer chunks than the bytes would make partitions.
    count = 1 if limit is not None else max(1, min(likely_partitions(total), len(chunks)))
    partitions = tuple(tuple(chunks[p::count]) for p in range(count))
    return Plan(scans=scans, partitions=partitions, limit=limit, digest=_digest(scans, partitions, limit))


def likely_partitions(text_bytes: int) -> int:
    """How many partitions so much text makes, if it can be cut anywhere."""
    size = min(max(text_bytes // _PARTITIONS_WANTED, MIN_PARTITION_BYTES), MAX_PARTITION_BYTES)
    return -(-text_bytes // size)


def _digest(scans: Sequence[Scan], partitions: Sequence[Sequence[Chunk]], limit: int | None) -> str:
    return canonical_digest(
        {
            "inputs": [[scan.file.name, scan.bytes, scan.sha256] for scan in scans],
            "partitions": [[[c.file.index, c.start, c.end] for c in chunks] for chunks in partitions],
            "limit": limit,
        }
    )
