"""What the records of some files would be read as, before anything is converted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from ismpack.data import Conversation, Record
from ismpack.errors import UNDESIRED, RecordError
from ismpack.formats import AUTO, chosen_format
from ismpack.pipeline.inputs import conversation_of, input_files, records, typed_inputs
from ismpack.pipeline.plan import make_plan

_REPORT_RECORDS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """The first record of its kind.

    Attributes:
        place: Where it stands, as `chat.jsonl:3`.
        conversation: What it is read as; None if it is refused.
        error: Why it is refused; None if it is not.
    """

    place: str
    conversation: Conversation | None = None
    error: RecordError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was found.

    Attributes:
        records: Records read; a reply tree is one.
        blank_lines: Lines without a record.
        formats: Format -> records that are read as it.
        refused: Reject code -> records that are not read; `undesired` ones would be left out, not rejected.
        examples: Format or reject code -> the first such record.
    """

    records: int
    blank_lines: int
    formats: Mapping[str, int]
    refused: Mapping[str, int]
    examples: Mapping[str, Example]

    @property
    def ok(self) -> bool:
        """Whether there are records, and none would be rejected."""
        return self.records > 0 and not self.refused.keys() - {UNDESIRED}


def survey(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    format: str = AUTO,  # noqa: A002 - the option's name
    map: Mapping[str, str] | None = None,  # noqa: A002 - as above
    limit: int | None = None,
    stdin: BinaryIO | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Survey:
    """Read files as `convert` would, and say which format each record is written in. No tokenizer is needed.

    Args:
        inputs: As for `convert`.
        format: Read every record as this format.
        map: The format in the user's words, see `ConvertOptions.map`.
        limit: Look only at this many records.
        stdin: What `-` reads.
        on_progress: Called now and then with the number of records read since the last call.

    Raises:
        UsageError, InputError: The inputs or the options cannot be used.
    """
    chosen = chosen_format(format, map or {})
    found = _Findings()
    with input_files(typed_inputs(inputs), stdin) as (files, spool):
        plan = make_plan(files, spool, limit)
        for chunk in (chunk for scan in plan.scans for chunk in scan.chunks):
            for item in records(chunk, chosen):
                if item is None:
                    found.blank_lines += 1
                    continue
                found.records += 1
                if isinstance(item, RecordError):
                    found.refuse(item, str(item.location))
                else:
                    try:
                        found.take(*conversation_of(item, chosen), item)
                    except RecordError as error:
                        found.refuse(error, str(item.location))
                if found.records % _REPORT_RECORDS == 0:
                    on_progress(_REPORT_RECORDS)
                if found.records == limit:
                    return found.survey()
    return found.survey()


@dataclass(slots=True)
class _Findings:
    """A survey as it grows."""

    records: int = 0
    blank_lines: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, Example] = field(default_factory=dict)

    def take(self, name: str, conversation: Conversation, record: Record) -> None:
        self.formats[name] += 1
        if name not in self.examples:
            self.examples[name] = Example(place=str(record.location), conversation=conversation)

    def refuse(self, error: RecordError, place: str) -> None:
        self.refused[error.code] += 1
        if error.code not in self.examples:
            self.examples[error.code] = Example(place=place, error=error)

    def survey(self) -> Survey:
        return Survey(
            records=self.records,
            blank_lines=self.blank_lines,
            formats=dict(self.formats.most_common()),
            refused=dict(self.refused.most_common()),
            examples=self.examples,
        )
