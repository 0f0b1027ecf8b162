"""Checks of the structure of rows, on their offsets alone. Rows that fail are left out of the checks of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
import numpy.typing as npt

from ismpack.checks.report import Check, Problem, counted
from ismpack.checks.rules import Rules
from ismpack.reader import ListColumn
from ismpack.schema import DERIVED_COLUMNS, TOKEN_COLUMNS

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False, kw_only=True)  # no slots: what several checks share is computed once
class Rows:
    """R rows of one shard as they are stored, before anything is known about them.

    Attributes:
        shard: File name.
        first_row: Row of the dataset at which the shard starts.
        shard_rows: int64[R], rows of the shard.
        columns: Column -> elements and row offsets.
        rules: What the manifest promises.
    """

    shard: str
    first_row: int
    shard_rows: npt.NDArray[np.int64]
    columns: dict[str, ListColumn]
    rules: Rules

    @cached_property
    def lengths(self) -> dict[str, npt.NDArray[np.int32]]:
        """Column -> int32[R], its elements per row."""
        return {name: offsets[1:] - offsets[:-1] for name, (_, offsets) in self.columns.items()}

    @property
    def token_columns(self) -> list[str]:
        """Columns with one element per token."""
        return [name for name in self.columns if name in TOKEN_COLUMNS or name in DERIVED_COLUMNS]

    @cached_property
    def ragged(self) -> Flags:
        """bool[R]: columns with one element per token differ in length."""
        tokens = self.lengths["input_ids"]
        return reduce(np.logical_or, (self.lengths[name] != tokens for name in self.token_columns))

    @cached_property
    def untiled(self) -> Flags:
        """bool[R]: documents do not tile the row."""
        lengths, offsets = self.columns["seq_lengths"]
        untiled: Flags = _row_sums((lengths, offsets)) != self.lengths["input_ids"]
        return untiled | (_row_sums((lengths < 1, offsets)) > 0)

    @cached_property
    def miscounted(self) -> Flags:
        """bool[R]: there is not one source id per document."""
        miscounted: Flags = self.lengths["source_ids"] != self.lengths["seq_lengths"]
        return miscounted

    def sound(self) -> Rows:
        """The rows whose columns can be read side by side: documents tile their row, and no row is empty."""
        keep = (self.lengths["input_ids"] > 0) & ~(self.ragged | self.untiled | self.miscounted)
        if keep.all():
            return self
        return Rows(
            shard=self.shard,
            first_row=self.first_row,
            shard_rows=self.shard_rows[keep],
            columns={name: _selected(column, keep) for name, column in self.columns.items()},
            rules=self.rules,
        )

    def at(self, flags: Flags, say: Callable[[int], str]) -> list[Problem]:
        """One problem for each flagged row; `say` gets its index among these rows."""
        return [
            Problem(
                message=say(int(row)),
                shard=self.shard,
                row=self.first_row + int(self.shard_rows[row]),
                shard_row=int(self.shard_rows[row]),
            )
            for row in np.flatnonzero(flags)
        ]


def _selected(column: ListColumn, keep: Flags) -> ListColumn:
    values, offsets = column
    lengths = np.diff(offsets)
    kept = np.concatenate([[0], np.cumsum(lengths[keep])]).astype(np.int32)
    return values[np.repeat(keep, lengths)], kept


def _row_sums(column: ListColumn) -> npt.NDArray[np.int64]:
    values, offsets = column
    sums: npt.NDArray[np.int64] = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    return sums[offsets[1:]] - sums[offsets[:-1]]


def row_columns(rows: Rows) -> Iterable[Problem]:
    """All columns with one element per token, derived ones included."""

    def say(row: int) -> str:
        return "columns differ in length: " + ", ".join(f"{n} {rows.lengths[n][row]}" for n in rows.token_columns)

    return rows.at(rows.ragged, say)


def seq_lengths(rows: Rows) -> Iterable[Problem]:
    """Compared with `input_ids`."""

    def say(row: int) -> str:
        lengths, offsets = rows.columns["seq_lengths"]
        here = lengths[offsets[row] : offsets[row + 1]]
        if len(here) and here.min() < 1:
            return f"seq_lengths holds {here.min()}, but a document has 1 token or more"
        tokens = counted(int(rows.lengths["input_ids"][row]), "token")
        return f"seq_lengths sum to {here.sum(dtype=np.int64)}, but the row has {tokens}"

    return rows.at(rows.untiled, say)


def source_count(rows: Rows) -> Iterable[Problem]:
    """One source id per document."""

    def say(row: int) -> str:
        sources, documents = (int(rows.lengths[name][row]) for name in ("source_ids", "seq_lengths"))
        return f"{counted(sources, 'source id')} for {counted(documents, 'document')}"

    return rows.at(rows.miscounted, say)


def row_length(rows: Rows) -> Iterable[Problem]:
    """Empty rows and rows over the limit."""
    tokens = rows.lengths["input_ids"]
    limit = rows.rules.max_length
    return rows.at((tokens < 1) | (tokens > limit), lambda row: f"the row has {tokens[row]} tokens, not 1 to {limit}")


ROW_CHECKS: tuple[Check[Rows], ...] = (
    Check("row-columns", "Columns with one element per token have equal lengths in every row.", row_columns),
    Check("seq-lengths", "seq_lengths are 1 or more and sum to the length of their row.", seq_lengths),
    Check("source-count", "Every document has one source id.", source_count),
    Check("row-length", "Every row has 1 to max_length tokens.", row_length),
)
