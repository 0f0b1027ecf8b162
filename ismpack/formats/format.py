"""What a format is: a signature, by which records of it are known, and a function that reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ismpack.data import Conversation, Json
from ismpack.formats.shapes import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way in which a record writes a conversation.

    Attributes:
        name: Kebab-case name, as `--format` takes it.
        title: What it is, in one line.
        keys: The signature: keys that a record of this format must have, and the shape of their values.
        without: Keys that a record of this format never has (what is null or empty is not there). They tell it from a
            format that has these keys and more, and means something else.
        optional: Further keys that are read.
        datasets: Public datasets, APIs or tools that write it.
        example: A small record, as JSON.
        parse: The record's conversation. Raises RecordError with a `json_path`.
    """

    name: str
    title: str
    keys: Mapping[str, Shape]
    without: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    example: dict[str, Json]
    parse: Callable[[dict[str, Json]], Conversation]

    def matches(self, record: dict[str, Json]) -> bool:
        """Whether the record has this signature; `parse` may still refuse it."""
        shaped = all(key in record and shape.test(record[key]) for key, shape in self.keys.items())
        return shaped and self._lacks_others(record)

    def resembles(self, record: dict[str, Json]) -> bool:
        """Whether the record has all the keys, and each value has its shape or is one gone wrong."""
        return self._lacks_others(record) and all(
            key in record and (shape.test(record[key]) or shape.spoiled(record[key]))
            for key, shape in self.keys.items()
        )

    def _lacks_others(self, record: dict[str, Json]) -> bool:
        return all(record.get(key) in (None, "", [], {}) for key in self.without)
