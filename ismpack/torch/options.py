"""Options as people give them: checked, and stored as plain numbers."""

from __future__ import annotations

import operator
import os
from typing import SupportsIndex

from torch import distributed

from ismpack.errors import UsageError


def whole_number(name: str, value: SupportsIndex, least: int) -> int:
    """An option that counts something, as an `int`; numpy's integers are taken as well.

    Raises:
        UsageError: `bad-option`: no whole number, or less than `least`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise bad_option(f"{name} must be a whole number, got {value!r}") from None
    if number < least:
        raise bad_option(f"{name} must be {least} or more, got {number}")
    return number


def share(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Which share of the rows this process reads, and of how many; 0 of 1 if neither is given.

    Raises:
        UsageError: `bad-option`: no share, or none is given and several processes train.
    """
    if rank is None and world_size is None:
        refuse_several_processes()
        return 0, 1
    if rank is None or world_size is None:
        raise bad_option(f"rank and world_size go together, got rank={rank}, world_size={world_size}")
    rank, world_size = whole_number("rank", rank, 0), whole_number("world_size", world_size, 1)
    if rank >= world_size:
        raise bad_option(f"rank must be less than world_size, got rank={rank}, world_size={world_size}")
    return rank, world_size


def refuse_several_processes() -> None:
    """For a stream that reads everything, since each of several processes would train on the same rows.

    Raises:
        UsageError: `bad-option`.
    """
    group = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
    stated = os.environ.get("WORLD_SIZE", "")  # torchrun's, set before there is a process group
    processes = max(group, int(stated) if stated.isdecimal() else 1)
    if processes > 1:
        raise bad_option(
            f"this is one of {processes} processes, and would read what each of them reads",
            hint="Give rank= and world_size=; rank=0, world_size=1 if every process shall read everything.",
        )


def bad_option(message: str, hint: str | None = None) -> UsageError:
    """The error to raise for an option that makes no sense."""
    return UsageError(message, code="bad-option", hint=hint)
