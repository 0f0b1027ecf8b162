"""The checks of tokens, which judge whole batches at once, say the same as a plain loop over the tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from dataset_builder import DERIVED, ELEMENTS, Row, derived_columns, row, source
from hypothesis import given, settings
from hypothesis import strategies as st

from ismpack.checks.batch import Batch, batch_of
from ismpack.checks.rows import Rows
from ismpack.checks.rules import Rules
from ismpack.checks.tokens import TOKEN_CHECKS
from ismpack.manifest import InputEntry
from ismpack.masks import dense

LARGEST_ID = 99
STOP_IDS = (2, 3)
INPUTS = 2

Wrong = tuple[str, int, int, int]
"""Check, row, its first wrong token, how many wrong tokens it has."""


@dataclass(frozen=True)
class Token:
    """One token of a row and its neighbours."""

    columns: Row
    at: int
    starts: frozenset[int]

    def value(self, name: str, by: int = 0) -> int:
        return self.columns[name][self.at + by]

    def opens_document(self, by: int = 0) -> bool:
        return self.at + by in self.starts

    def opens_turn(self, by: int = 0) -> bool:
        return self.opens_document(by) or self.value("turn_ids", by) != self.value("turn_ids", by - 1)

    @property
    def is_last(self) -> bool:
        return self.at + 1 == len(self.columns["input_ids"])

    @property
    def closes_document(self) -> bool:
        return self.is_last or self.opens_document(1)

    @property
    def closes_turn(self) -> bool:
        return self.is_last or self.opens_turn(1)

    def is_answer(self, by: int = 0) -> bool:
        return self.value("segment_type_ids", by) == 2

    def is_target(self, by: int = 0) -> bool:
        return self.value("loss_mask", by) != 0

    @property
    def document(self) -> int:
        return sum(start <= self.at for start in self.starts) - 1

    @property
    def document_start(self) -> int:
        return max(start for start in self.starts if start <= self.at)


def bad_step(token: Token) -> bool:
    if token.at == 0:
        return token.value("turn_ids") != 0
    return token.value("turn_ids") - token.value("turn_ids", -1) not in ((1,) if token.opens_document() else (0, 1))


def bad_order(token: Token) -> bool:
    if token.opens_document():
        return False
    if token.opens_turn():
        return not token.is_answer(-1)
    return token.is_answer(-1) and not token.is_answer()


def no_target(token: Token) -> bool:
    if not token.opens_document():
        return False
    length = token.columns["seq_lengths"][token.document]
    return not any(token.columns["loss_mask"][token.at : token.at + length])


def partly_trained(token: Token) -> bool:
    if token.opens_turn():
        return False
    return token.is_answer(-1) and token.is_answer() and token.is_target(-1) != token.is_target()


def bad_source(token: Token) -> bool:
    return token.opens_document() and not 0 <= token.columns["source_ids"][token.document] >> 40 < INPUTS


def bad_derived(name: str) -> Callable[[Token], bool]:
    return lambda token: token.value(name) != derived_columns(token.columns)[name][token.at]


REFERENCE: dict[str, Callable[[Token], bool]] = {
    "id-range": lambda t: not 0 <= t.value("input_ids") <= LARGEST_ID,
    "segment-types": lambda t: t.value("segment_type_ids") not in (1, 2, 3, 5, 7),
    "turn-steps": bad_step,
    "turn-order": bad_order,
    "document-start": lambda t: t.opens_document() and (t.value("segment_type_ids") % 2 == 0 or t.is_target()),
    "document-end": lambda t: t.closes_document and not t.is_answer(),
    "document-target": no_target,
    "loss-values": lambda t: t.value("loss_mask") > 1,
    "loss-on-answers": lambda t: t.is_target() and not t.is_answer(),
    "answer-loss": partly_trained,
    "stop-token": lambda t: t.closes_turn and t.is_answer() and t.is_target() and t.value("input_ids") not in STOP_IDS,
    "source-range": bad_source,
    **{f"derived-{name.replace('_', '-')}": bad_derived(name) for name in DERIVED},
}


def tokens_of(columns: Row) -> list[Token]:
    starts = frozenset(sum(columns["seq_lengths"][:k]) for k in range(len(columns["seq_lengths"])))
    return [Token(columns, at, starts) for at in range(len(columns["input_ids"]))]


def leaks(rows: list[Row]) -> list[list[int]]:
    """Per row, the targets that the token before them sees. A batch with turns out of order has no mask."""
    try:
        masks = [dense(r["segment_type_ids"], r["turn_ids"], r["seq_lengths"]) for r in rows]
    except ValueError:
        return [[] for _ in rows]
    return [
        [t for t in range(1, len(mask)) if mask[t - 1, t] and columns["loss_mask"][t]]
        for mask, columns in zip(masks, rows, strict=True)
    ]


def expected(rows: list[Row]) -> Iterator[Wrong]:
    for check in TOKEN_CHECKS:
        if check.name == "mask-leak":
            wrong = leaks(rows)
        else:
            is_wrong = REFERENCE[check.name]
            wrong = [[token.at for token in tokens_of(columns) if is_wrong(token)] for columns in rows]
        yield from ((check.name, index, found[0], len(found)) for index, found in enumerate(wrong) if found)


def batch(rows: list[Row], *, allow_unterminated: bool = False) -> Batch:
    columns = {}
    for name in rows[0]:
        values = [value for r in rows for value in r[name]]
        offsets = np.cumsum([0, *(len(r[name]) for r in rows)], dtype=np.int32)
        columns[name] = (np.array(values, ELEMENTS[name].to_pandas_dtype()), offsets)
    entry = InputEntry(name="chat.jsonl", bytes=1, sha256="", unit="line")
    rules = Rules(
        max_length=2**31 - 1,
        largest_id=LARGEST_ID,
        stop_ids=np.array(STOP_IDS, np.int32),
        allow_unterminated=allow_unterminated,
        split=False,
        inputs=[entry] * INPUTS,
    )
    shard_rows = np.arange(len(rows))
    made = batch_of(Rows(shard="shard-00000.arrow", first_row=0, shard_rows=shard_rows, columns=columns, rules=rules))
    assert made is not None
    return made


def found(batch: Batch) -> list[Wrong]:
    findings = [finding for check in TOKEN_CHECKS for finding in check.run(batch)]
    return [(f.check, f.row or 0, f.token or 0, f.count) for f in findings]


QUERY = st.text("1357", max_size=3)
ANSWER = st.builds("2".__mul__, st.integers(1, 3)).flatmap(lambda text: st.sampled_from([text, text, text + "-"]))
TURNS = st.lists(st.tuples(QUERY, ANSWER), max_size=3)
DOCUMENT = st.tuples(st.sampled_from(["1", "317", "57"]), ANSWER, TURNS)
ROW = st.lists(DOCUMENT, min_size=1, max_size=3)
VALUES = {
    "input_ids": [-(2**31), -1, 0, 2, 3, 50, 99, 100, 2**31 - 1],
    "segment_type_ids": [0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 34, 255],
    "turn_ids": [-(2**31), -1, 0, 1, 2, 3, 4, 2**31 - 1],
    "loss_mask": [0, 0, 1, 1, 2, 128, 255],
    "source_ids": [-1, 0, source(1, 5), source(2, 0), -(2**63), 2**63 - 1],
    "labels": [-100, 0, 2, 50],
    "position_ids": [-1, 0, 1, 2],
    "assistant_masks": [0, 1, 2],
}
EDIT = st.sampled_from([(name, value) for name, values in VALUES.items() for value in values])
RUN = st.sampled_from([1, 1, 1, 2, 3, 5])
"""How many neighbours get the value."""


@st.composite
def damaged_rows(draw: st.DrawFn) -> list[Row]:
    rows = []
    for documents in draw(st.lists(ROW, min_size=1, max_size=3)):
        texts = [
            " ".join([f"{first}:{answer}", *(f"{query}:{answer}" for query, answer in turns)])
            for first, answer, turns in documents
        ]
        columns = row(*((source(0, index), text) for index, text in enumerate(texts)))
        rows.append(columns | derived_columns(columns))
    for _ in range(draw(st.integers(0, 5))):
        columns = rows[draw(st.integers(0, len(rows) - 1))]
        name, value = draw(EDIT)
        first = draw(st.integers(0, len(columns[name]) - 1))
        for place in range(first, min(first + draw(RUN), len(columns[name]))):
            columns[name][place] = value
    return rows


@settings(max_examples=300)
@given(damaged_rows())
def test_checks_of_batches_find_what_a_loop_over_tokens_finds(rows: list[Row]) -> None:
    assert found(batch(rows)) == list(expected(rows))


@given(damaged_rows())
def test_turns_and_targets_are_counted_as_by_a_loop_over_tokens(rows: list[Row]) -> None:
    tokens = [token for columns in rows for token in tokens_of(columns)]
    ends = [token for token in tokens if token.closes_turn]
    made = batch(rows)
    assert len(made.turn_starts) == len(ends)
    assert np.count_nonzero(made.is_target) == sum(token.is_target() for token in tokens)
    assert made.triplet_tokens == sum(token.at + 1 - token.document_start for token in ends)


@pytest.mark.parametrize("value", range(256))
def test_five_segment_types_exist(value: int) -> None:
    columns = row((source(0, 0), "11:22"))
    columns["segment_type_ids"][1] = value
    wrong = [
        finding for check in TOKEN_CHECKS if check.name == "segment-types" for finding in check.run(batch([columns]))
    ]
    assert [finding.message for finding in wrong] == (
        [] if value in (1, 2, 3, 5, 7) else [f"segment type {value} does not exist; there are 1, 2, 3, 5, 7"]
    )


def test_a_turn_from_the_largest_number_to_the_smallest_is_no_step_of_one() -> None:
    columns = row((source(0, 0), "1:2 1:2 1:2"))
    columns["turn_ids"] = [0, 0, 2**31 - 1, 2**31 - 1, -(2**31), -(2**31)]
    (check,) = (check for check in TOKEN_CHECKS if check.name == "turn-steps")
    (finding,) = check.run(batch([columns]))
    assert (finding.token, finding.count) == (2, 2)


def test_unterminated_answers_are_wrong_only_where_they_are_not_allowed() -> None:
    columns = row((source(0, 0), "1:2"))
    columns["input_ids"][1] = 60
    assert found(batch([columns])) == [("stop-token", 0, 1, 1)]
    assert found(batch([columns], allow_unterminated=True)) == []
