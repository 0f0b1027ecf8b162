"""The members of a JSON object whose values are records: their names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress

import msgspec
import numpy as np

from ismpack.errors import RecordError
from ismpack.sources.limits import shown
from ismpack.sources.lines import Text
from ismpack.sources.strict import decode
from ismpack.sources.structure import Element

_NAMED = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+")[ \t\r\n]*:[ \t\r\n]*', re.DOTALL)
_DIGEST_BYTES = 16


def named(member: bytes) -> tuple[bytes, bytes]:
    """A member's name as it is written, and its value; no name if it has none."""
    found = _NAMED.match(member)
    return (found[1], member[found.end() :]) if found else (b"", member)


class Names:
    """Finds the names that come again, in 16 bytes a name."""

    def __init__(self) -> None:
        self._digests = bytearray()

    def add(self, member: bytes | None) -> None:
        """Take the next member; one without a name, or beyond the length limit, equals no other."""
        name = named(member or b"")[0] or b"\xff%d" % len(self._digests)
        with suppress(msgspec.MsgspecError, ValueError):  # a name that cannot be decoded is refused later
            name = msgspec.json.decode(name, type=str).encode()
        self._digests += hashlib.blake2b(name, digest_size=_DIGEST_BYTES).digest()

    def repeated(self) -> list[int]:
        """Places of the members whose name came before, ascending."""
        halves = np.frombuffer(self._digests, np.uint64).reshape(-1, 2)
        order = np.lexsort((halves[:, 0], halves[:, 1]))  # keeps equal names in their order
        ordered = halves[order]
        again = (ordered[1:] == ordered[:-1]).all(axis=1)
        return sorted(order[1:][again].tolist())


def values(elements: Iterator[Element], first: int, repeated: frozenset[int]) -> Iterator[Text]:
    """The members' values.

    Args:
        elements: The members.
        first: Place of the first one.
        repeated: Places of those whose name came before.
    """
    for place, (offset, member, _, _) in enumerate(elements, first):
        if member is None:
            yield offset, None
            continue
        name, value = named(member)
        start = offset + len(member) - len(value)
        try:
            _check_name(name)
        except RecordError as error:
            yield start, error
            continue
        if place in repeated:
            yield start, _repeated(name)
        else:
            yield start, value


def _check_name(name: bytes) -> None:
    if not name:
        raise RecordError("a member of the object has no name", code="invalid-json", hint='Write "id": {...}.')
    decode(b"{%b:0}" % name)


def _repeated(name: bytes) -> RecordError:
    return RecordError(
        f"the name {shown(msgspec.json.decode(name, type=str))} stands twice in the object",
        code="duplicate-key",
        hint="The first one is read. Give every record a name of its own.",
    )
