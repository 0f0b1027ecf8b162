"""Every check has a corruptor that it alone catches, no damage makes `verify` crash, and clean data has no findings."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from dataset_builder import DERIVED, Builder, Row, derived_columns, list_field, row, source

from ismpack.checks import CHECKS, verify
from ismpack.errors import DatasetError

Edit = Callable[[Builder], object]


@dataclass(frozen=True)
class Corruptor:
    """One way to break the example dataset.

    Attributes:
        check: The check that must find it.
        what: Names the case.
        before: Edits what is written.
        after: Edits the files that were written.
        also: Other checks that cannot but find it too.
    """

    check: str
    what: str
    before: Edit | None = None
    after: Edit | None = None
    also: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.check}: {self.what}"


def manifest(*path: str | int, value: object, reseal: bool = True) -> Edit:
    """Set one value of the manifest."""

    def edit(content: dict[str, Any]) -> None:
        place: Any = content
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return lambda builder: builder.edit_manifest(edit, reseal=reseal)


def more(total: str) -> Edit:
    """Raise one of the manifest's totals by one."""

    def edit(content: dict[str, Any]) -> None:
        content["totals"][total] += 1

    return lambda builder: builder.edit_manifest(edit)


def shard(edit: Callable[[bytes], bytes]) -> Edit:
    """Change the bytes of the first shard and make the manifest agree."""
    return lambda builder: builder.edit_file(builder.names[0], edit, reseal=True)


def cell(shard_index: int, row_index: int, column: str, token: int, value: int) -> Edit:
    """Set one element of one row."""

    def edit(builder: Builder) -> None:
        columns = builder.shards[shard_index][row_index]
        columns[column][token] = value

    return edit


def in_row(edit: Callable[[Row], object], shard_index: int = 0, row_index: int = 0) -> Edit:
    return lambda builder: edit(builder.shards[shard_index][row_index])


def derived(column: str, token: int, value: int) -> Edit:
    """Store a derived column with one wrong element in the first row."""

    def edit(builder: Builder) -> None:
        columns = builder.shards[0][0]
        columns[column] = derived_columns(columns)[column]
        columns[column][token] = value

    return edit


def field(name: str, element: pa.DataType, *, nullable: bool = False) -> Edit:
    return lambda builder: builder.fields.update({name: list_field(name, element, nullable=nullable)})


def columns_in_order(*names: str) -> Edit:
    def edit(builder: Builder) -> None:
        builder.fields = {name: builder.fields[name] for name in names}

    return edit


def batches(edit: Callable[[pa.RecordBatch], pa.RecordBatch]) -> Edit:
    return lambda builder: setattr(builder, "edit_batch", edit)


def with_null(batch: pa.RecordBatch) -> pa.RecordBatch:
    column = batch.column(0)
    nulls = pa.array([None, *column.to_pylist()[1:]], column.type)
    return pa.record_batch([nulls, *batch.columns[1:]], schema=batch.schema)


def with_null_element(batch: pa.RecordBatch) -> pa.RecordBatch:
    column = batch.column(0)
    values = pa.array([None, *column.values.to_pylist()[1:]], pa.int32())
    return _with_first(batch, pa.ListArray.from_arrays(column.offsets, values, type=column.type))


def with_falling_offsets(batch: pa.RecordBatch) -> pa.RecordBatch:
    column = batch.column(0)
    offsets = np.array(column.offsets)
    offsets[1:-1] = -4
    buffers = [None, pa.py_buffer(offsets)]
    return _with_first(batch, pa.ListArray.from_buffers(column.type, len(column), buffers, children=[column.values]))


def _with_first(batch: pa.RecordBatch, column: pa.Array) -> pa.RecordBatch:
    return pa.record_batch([column, *batch.columns[1:]], schema=batch.schema)


def shorter_rows(builder: Builder) -> None:
    """Lower max_length below the longest row (14 tokens)."""
    builder.options["max_length"] = 13


def empty_row(builder: Builder) -> None:
    builder.shards[0].append({name: [] for name in builder.shards[0][0]})


def swap_shards(content: dict[str, Any]) -> None:
    content["shards"].reverse()


def escape(content: dict[str, Any]) -> None:
    content["files"].append({**content["files"][0], "name": "../secret"})


def set_all(column: str, tokens: Iterable[int], value: int) -> Callable[[Row], object]:
    def edit(columns: Row) -> None:
        for token in tokens:
            columns[column][token] = value

    return edit


def set_loss_on_first_token_of_second_query(columns: Row) -> None:
    columns["loss_mask"][5] = 1


def longer_document(builder: Builder) -> None:
    builder.with_columns = []  # position_ids would follow seq_lengths
    builder.shards[0][0]["seq_lengths"][1] = 6


def answer_first(columns: Row) -> None:
    """The document `1:2` of row 1 becomes two answer tokens."""
    columns["segment_type_ids"][9] = 2
    columns["loss_mask"][9] = 1


def query_last(columns: Row) -> None:
    for name, value in (("input_ids", 10), ("segment_type_ids", 1), ("turn_ids", 3), ("loss_mask", 0)):
        columns[name].append(value)
    columns["seq_lengths"][-1] += 1


def later_turns(start: int, by: int) -> Callable[[Row], object]:
    def edit(columns: Row) -> None:
        columns["turn_ids"][start:] = [turn + by for turn in columns["turn_ids"][start:]]

    return edit


def same_source_twice(builder: Builder) -> None:
    builder.shards[1][0]["source_ids"][0] = source(0, 4)


# Row 0 of shard 0:      3 1 7 2 2   1 7 2 2 | 1 7 2 2 2          (| starts a document, the rest are turns)
# Row 1 of shard 0:      1 1 7 2   2 2   1 7 2 | 1 2 | 5 2
CORRUPTORS = (
    Corruptor("manifest-digest", "edited", after=manifest("created_by", value="someone", reseal=False)),
    Corruptor("manifest-digest", "unknown key", after=manifest("more", value=1, reseal=False)),
    Corruptor("manifest-content", "option", after=manifest("options", "on_rewrite", value="sometimes")),
    Corruptor("manifest-content", "option of wrong type", after=manifest("options", "allow_unterminated", value=0)),
    Corruptor("manifest-content", "no such format", after=manifest("format_version", value=0)),
    Corruptor("manifest-content", "segment types", after=manifest("segment_types", "4", value="other")),
    Corruptor("manifest-content", "dtype", after=manifest("columns", "input_ids", value="int64")),
    Corruptor("manifest-content", "column", after=manifest("columns", "attention_mask", value="int64")),
    Corruptor("manifest-content", "unit", after=manifest("inputs", 0, "unit", value="byte")),
    Corruptor("manifest-content", "stop id", after=manifest("stop_ids", value=[2, 100])),
    Corruptor("manifest-content", "control id", after=manifest("control_ids", value=[-1])),
    Corruptor("manifest-content", "largest id", after=manifest("largest_id", value=2**40)),
    Corruptor("manifest-content", "shards swapped", after=lambda b: b.edit_manifest(swap_shards)),
    Corruptor("manifest-content", "unsafe name", after=lambda b: b.edit_manifest(escape), also=("file-present",)),
    Corruptor("file-present", "side file", after=lambda b: (b.directory / "state.json").unlink()),
    Corruptor("file-present", "shard", after=lambda b: (b.directory / b.names[1]).unlink()),
    Corruptor("file-size", "longer", after=lambda b: b.edit_file("tokenizer/tokenizer.json", lambda raw: raw + b" ")),
    Corruptor("file-size", "shard cut", after=lambda b: b.edit_file(b.names[0], lambda raw: raw[:-8])),
    Corruptor("file-hash", "side file", after=lambda b: b.edit_file("state.json", lambda _: b"[]\n")),
    Corruptor("file-hash", "shard", after=lambda b: b.edit_file(b.names[0], lambda raw: b"!" + raw[1:])),
    Corruptor("file-sha256", "side file", after=manifest("files", 0, "sha256", value="0" * 64)),
    Corruptor("unlisted-file", "file", after=lambda b: (b.directory / "tokenizer" / "notes").write_text("")),
    Corruptor("unlisted-file", "link", after=lambda b: (b.directory / "data").symlink_to(b.directory / "tokenizer")),
    Corruptor("arrow-stream", "cut inside a batch", after=shard(lambda raw: raw[:-100])),
    Corruptor("arrow-stream", "not Arrow", after=shard(lambda raw: b"PAR1" + raw)),
    Corruptor("arrow-stream", "empty", after=shard(lambda _: b"")),
    Corruptor("end-of-stream", "no marker", after=shard(lambda raw: raw[:-8])),
    Corruptor("end-of-stream", "a second stream", after=shard(lambda raw: raw + raw)),
    Corruptor("schema", "wider elements", before=field("turn_ids", pa.int64())),
    Corruptor("schema", "nullable column", before=field("loss_mask", pa.uint8(), nullable=True)),
    Corruptor("schema", "column missing", after=manifest("columns", value={}), also=("manifest-content",)),
    Corruptor(
        "schema",
        "other order",
        before=columns_in_order(
            "segment_type_ids", "input_ids", "turn_ids", "loss_mask", "seq_lengths", "source_ids", *DERIVED
        ),
    ),
    Corruptor("arrow-valid", "null row", before=batches(with_null)),
    Corruptor("arrow-valid", "null element", before=batches(with_null_element)),
    Corruptor("arrow-valid", "falling offsets", before=batches(with_falling_offsets)),
    Corruptor("row-columns", "stored", before=in_row(lambda r: r["turn_ids"].pop())),
    Corruptor("row-columns", "derived", before=in_row(lambda r: r.update(labels=[1]))),
    Corruptor("seq-lengths", "sum", before=longer_document),
    Corruptor("seq-lengths", "zero", before=in_row(lambda r: r.update(seq_lengths=[14, 0]))),
    Corruptor("source-count", "one more", before=in_row(lambda r: r["source_ids"].append(9))),
    Corruptor("row-length", "too long", before=shorter_rows),
    Corruptor("row-length", "empty", before=empty_row),
    Corruptor("id-range", "negative", before=cell(0, 0, "input_ids", 1, -1)),
    Corruptor("id-range", "too large", before=cell(0, 0, "input_ids", 1, 100)),
    Corruptor("segment-types", "unknown", before=cell(0, 0, "segment_type_ids", 1, 9)),
    Corruptor("segment-types", "padding", before=cell(0, 2, "segment_type_ids", 0, 0), also=("document-start",)),
    Corruptor("turn-steps", "row starts late", before=in_row(later_turns(0, 1))),
    Corruptor("turn-steps", "gap", before=in_row(later_turns(5, 1))),
    Corruptor("turn-steps", "back", before=in_row(later_turns(9, -2))),
    Corruptor("turn-steps", "document in the old turn", before=in_row(later_turns(9, -1))),
    Corruptor("turn-order", "turn inside a query", before=in_row(later_turns(1, 1))),
    Corruptor("turn-order", "query after the answer", before=in_row(later_turns(5, -1))),
    Corruptor("document-start", "answer", before=in_row(answer_first, 0, 1)),
    Corruptor("document-start", "target", before=cell(0, 0, "loss_mask", 0, 1), also=("loss-on-answers",)),
    Corruptor("document-end", "query", before=in_row(query_last)),
    Corruptor("document-target", "none", before=in_row(set_all("loss_mask", range(9, 14), 0))),
    Corruptor("loss-values", "weight", before=in_row(set_all("loss_mask", (3, 4), 2))),
    Corruptor("loss-on-answers", "query", before=in_row(set_loss_on_first_token_of_second_query)),
    Corruptor("answer-loss", "half", before=cell(0, 0, "loss_mask", 3, 0)),
    Corruptor("stop-token", "none", before=cell(0, 0, "input_ids", 4, 60)),
    Corruptor("stop-token", "turn inside an answer", before=in_row(later_turns(8, 1))),
    Corruptor("mask-leak", "inside a query", before=cell(0, 0, "loss_mask", 2, 1), also=("loss-on-answers",)),
    Corruptor("source-range", "no such input", before=cell(0, 0, "source_ids", 0, source(2, 0))),
    Corruptor("source-range", "negative", before=cell(0, 0, "source_ids", 0, -1)),
    Corruptor("derived-labels", "wrong", before=derived("labels", 0, 7)),
    Corruptor("derived-position-ids", "wrong", before=derived("position_ids", 9, 9)),
    Corruptor("derived-assistant-masks", "wrong", before=derived("assistant_masks", 0, 1)),
    Corruptor("shard-counts", "rows", after=manifest("shards", 1, "rows", value=1)),
    Corruptor("shard-counts", "documents", after=manifest("shards", 0, "documents", value=7)),
    Corruptor("shard-counts", "tokens", after=manifest("shards", 0, "tokens", value=7)),
    Corruptor("source-unique", "in two shards", before=same_source_twice),
    Corruptor("source-unique", "in one row", before=in_row(lambda r: r.update(source_ids=[8, 8]))),
    Corruptor("totals", "rows", after=more("rows")),
    Corruptor("totals", "tokens", after=more("tokens")),
    Corruptor("totals", "samples", after=more("samples")),
    Corruptor("totals", "turns", after=more("turns")),
    Corruptor("totals", "loss_tokens", after=more("loss_tokens")),
    Corruptor("totals", "triplet_tokens", after=more("triplet_tokens")),
    Corruptor("totals", "conversations", after=more("conversations"), also=("record-balance",)),
    Corruptor("totals", "fill", after=manifest("totals", "fill", value=0.5)),
    Corruptor("record-balance", "one lost", after=more("records")),
    Corruptor("rejected-records", "another code", after=manifest("rejected", value={"invalid-json": 3})),
    Corruptor("rejected-records", "fewer", before=lambda b: b.side_files.update({"rejected.jsonl": b""})),
    Corruptor(
        "rejected-records",
        "not JSON",
        before=lambda b: b.side_files.update({"rejected.jsonl": b"[\n" + b.side_files["rejected.jsonl"]}),
    ),
    Corruptor("rejected-records", "no list", before=lambda b: b.side_files.pop("rejected.jsonl")),
)


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "dataset")


def broken(builder: Builder, corruptor: Corruptor) -> Builder:
    if corruptor.before:
        corruptor.before(builder)
    builder.write()
    if corruptor.after:
        corruptor.after(builder)
    return builder


@pytest.mark.parametrize("corruptor", CORRUPTORS, ids=str)
def test_damage_is_found_by_its_check_alone(corruptor: Corruptor, builder: Builder) -> None:
    report = verify(broken(builder, corruptor).directory, sha256=corruptor.check == "file-sha256")
    assert set(report.counts()) == {corruptor.check, *corruptor.also}
    assert not report.ok


def test_every_check_has_a_corruptor() -> None:
    assert {corruptor.check for corruptor in CORRUPTORS} == {check.name for check in CHECKS}


def test_names_of_checks_are_unique_and_explained() -> None:
    names = [check.name for check in CHECKS]
    assert len(names) == len(set(names))
    assert all(check.about.endswith(".") for check in CHECKS)


@pytest.mark.parametrize("with_columns", [[], ["position_ids"], DERIVED])
def test_a_clean_dataset_has_no_findings(builder: Builder, with_columns: list[str]) -> None:
    builder.with_columns = with_columns
    report = verify(builder.write().directory, sha256=True)
    assert report.findings == ()
    assert report.unchecked == ()
    assert report.ok
    assert (report.rows, report.documents, report.tokens) == (5, 8, 55)
    assert report.checks == tuple(check.name for check in CHECKS)


def test_the_example_has_the_totals_counted_by_hand(builder: Builder) -> None:
    totals = json.loads((builder.write().directory / "manifest.json").read_bytes())["totals"]
    assert (totals["turns"], totals["loss_tokens"], totals["triplet_tokens"]) == (14, 25, 88)
    assert totals["fill"] == 55 / 80


def test_a_dataset_with_an_empty_shard_has_no_findings(builder: Builder) -> None:
    builder.shards.insert(1, [])
    assert verify(builder.write().directory).findings == ()


def test_a_stream_of_an_empty_batch_has_no_findings(builder: Builder) -> None:
    builder.shards[1] = []
    builder.write()
    path = builder.directory / builder.names[1]
    schema = pa.schema([builder.fields[name] for name in builder.fields])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
        stream.write_batch(pa.record_batch([pa.array([], item.type) for item in schema], schema=schema))
    builder.edit_file(builder.names[1], lambda raw: raw, reseal=True)
    assert verify(builder.directory).findings == ()


def test_a_finding_tells_row_document_token_source_and_count(builder: Builder) -> None:
    for token in (8, 11):
        builder.shards[1][0]["input_ids"][token] = 500 + token
    report = verify(builder.write().directory)
    (finding,) = report.findings
    assert (finding.check, finding.shard, finding.row, finding.shard_row) == ("id-range", "shard-00001.arrow", 3, 0)
    assert (finding.document, finding.token, finding.source, finding.count) == (0, 8, "chat.jsonl:4", 2)
    assert str(finding) == (
        "[id-range] token id 508 is outside 0..99 (and 1 more in this row) "
        "(shard-00001.arrow, row 3 (row 0 of the shard), document 0, token 8, from chat.jsonl:4)"
    )


def test_tokens_are_counted_inside_their_row_and_documents_too(builder: Builder) -> None:
    builder.shards[0][1]["input_ids"][9] = -5
    (finding,) = verify(builder.write().directory).findings
    assert (finding.row, finding.shard_row, finding.document, finding.token) == (1, 1, 1, 9)
    assert finding.source == "more/chat.json#0"


def test_a_row_that_cannot_be_read_does_not_hide_its_neighbours(builder: Builder) -> None:
    builder.shards[0][0]["turn_ids"].pop()
    builder.shards[0][1]["input_ids"][0] = -5
    report = verify(builder.write().directory)
    assert [(f.check, f.shard_row, f.token) for f in report.findings] == [("row-columns", 0, None), ("id-range", 1, 0)]
    assert report.unchecked == ("totals were not compared, because not every row could be counted.",)
    assert "totals" not in report.checks


def test_a_damaged_shard_does_not_hide_the_next(builder: Builder) -> None:
    builder.shards[1][0]["input_ids"][0] = -5
    builder.write().edit_file(builder.names[0], lambda raw: raw[:50] + b"!" + raw[51:])
    report = verify(builder.directory)
    assert report.counts() == {"file-hash": 1, "id-range": 1}
    assert report.unchecked[0] == (
        "shard-00000.arrow was not opened, because it is not the file that the manifest lists."
    )


def test_a_stream_cut_between_batches_is_found_although_arrow_reads_it(builder: Builder) -> None:
    builder.rows_per_batch = 1
    full = builder.write().directory / builder.names[0]
    with pa.memory_map(str(full)) as file, pa.ipc.open_stream(file) as stream:
        stream.read_next_batch()
        cut = file.tell()
    builder.edit_file(builder.names[0], lambda raw: raw[:cut], reseal=True)
    with pa.memory_map(str(full)) as file, pa.ipc.open_stream(file) as stream:
        assert stream.read_all().num_rows == 1
    assert set(verify(builder.directory).counts()) == {"end-of-stream", "shard-counts", "totals"}


def test_split_allows_a_source_twice_and_counts_conversations_once(builder: Builder) -> None:
    builder.options["on_rewrite"] = "split"
    same_source_twice(builder)
    report = verify(builder.write().directory)
    assert report.findings == ()
    more("conversations")(builder)
    assert set(verify(builder.directory).counts()) == {"totals", "record-balance"}


def test_a_repeated_source_is_shown_where_it_occurs_again(builder: Builder) -> None:
    same_source_twice(builder)
    (finding,) = verify(builder.write().directory).findings
    assert (finding.shard, finding.row, finding.shard_row, finding.document) == ("shard-00001.arrow", 3, 0, 0)
    assert finding.source == "chat.jsonl:5"


def test_a_row_may_be_as_long_as_max_length(builder: Builder) -> None:
    builder.options["max_length"] = 14
    assert verify(builder.write().directory).findings == ()


def test_allow_unterminated_accepts_an_answer_without_a_stop_token(builder: Builder) -> None:
    builder.options["allow_unterminated"] = True
    builder.shards[0][0]["input_ids"][4] = 60
    assert verify(builder.write().directory).findings == ()


def test_an_answer_without_loss_needs_no_stop_token(builder: Builder) -> None:
    builder.shards[0][1]["input_ids"][3] = 60
    assert verify(builder.write().directory).findings == ()


def test_sha256_is_compared_only_when_asked_for(builder: Builder) -> None:
    manifest("files", 0, "sha256", value="0" * 64)(builder.write())
    report = verify(builder.directory)
    assert report.ok
    assert "file-sha256" not in report.checks


def test_a_report_is_json_and_shows_a_few_findings_of_each_check(builder: Builder) -> None:
    builder.shards[0] = [row((source(0, position), "1:2")) for position in range(8)]
    builder.shards[1] = [row((source(1, 0), "1:2"))]
    for columns in builder.shards[0]:
        columns["input_ids"][0] = 100
    builder.shards[1][0]["input_ids"][1] = 60
    report = verify(builder.write().directory)
    assert report.counts() == {"id-range": 8, "stop-token": 1}
    assert [finding.check for finding in report.shown(3)] == ["id-range"] * 3 + ["stop-token"]
    content = json.loads(json.dumps(report.to_json()))
    assert content["schema"] == "ismpack.verify/1"
    assert content["ok"] is False
    assert content["counts"] == {"id-range": 8, "stop-token": 1}
    assert content["findings"][8] == {
        "check": "stop-token",
        "message": "the answer ends with token id 60, which is no stop id",
        "shard": "shard-00001.arrow",
        "row": 8,
        "shard_row": 0,
        "document": 0,
        "token": 1,
        "source": "more/chat.json#0",
        "count": 1,
        "hint": None,
    }


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "not-a-dataset"), (b"{", "manifest-invalid"), (b'{"format_version": 2}', "newer-format")],
)
def test_a_directory_without_a_usable_manifest_is_refused(builder: Builder, content: bytes | None, code: str) -> None:
    path = builder.write().directory / "manifest.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        verify(builder.directory)
    assert caught.value.code == code


def one_turn(**columns: list[int]) -> Edit:
    """Keep one row of one turn, of two tokens."""
    return lambda builder: setattr(builder, "shards", [[row((source(0, 0), "1:2")) | columns]])


ONE_TOKEN = {name: values[:1] for name, values in row((source(0, 0), "1:2")).items()}


@pytest.mark.parametrize(
    ("before", "after", "check", "message"),
    [
        (in_row(lambda r: r["source_ids"].pop()), None, "source-count", "1 source id for 2 documents"),
        (one_turn(source_ids=[1, 2]), None, "source-count", "2 source ids for 1 document"),
        (
            one_turn(**ONE_TOKEN | {"seq_lengths": [2]}),
            None,
            "seq-lengths",
            "seq_lengths sum to 2, but the row has 1 token",
        ),
        (
            one_turn(),
            manifest("shards", 0, "rows", value=1024),
            "shard-counts",
            "the shard holds 1 row; the manifest says 1,024",
        ),
        (None, manifest("shards", 0, "rows", value=1), "shard-counts", "the shard holds 3 rows; the manifest says 1"),
        (one_turn(), more("rows"), "totals", "the shards hold 1 row; the manifest says 2"),
        (one_turn(), more("turns"), "totals", "the shards hold 1 turn; the manifest says 2"),
        (one_turn(), more("tokens"), "totals", "the shards hold 2 tokens; the manifest says 3"),
        (
            one_turn(),
            more("records"),
            "record-balance",
            "the run read 6 records, but 1 conversation, 3 rejected and 1 dropped make 5",
        ),
        (
            lambda b: b.side_files.update({"rejected.jsonl": b'{"code": "no-answer"}\n'}),
            None,
            "rejected-records",
            "rejected.jsonl lists 1 record; totals.rejected is 3",
        ),
        (
            None,
            lambda b: b.edit_file("state.json", lambda _: b"0"),
            "file-size",
            "state.json has 1 byte; the manifest says 3",
        ),
    ],
)
def test_one_thing_is_not_many_things(
    builder: Builder, before: Edit | None, after: Edit | None, check: str, message: str
) -> None:
    report = verify(broken(builder, Corruptor(check, "", before, after)).directory)
    assert message in [finding.message for finding in report.findings if finding.check == check]


@pytest.mark.parametrize(
    ("rows_per_batch", "sentence"),
    [
        (1, "Row 0 of shard-00001.arrow was not checked."),
        (2, "Rows 0 to 1 of shard-00001.arrow were not checked."),
    ],
)
def test_rows_that_were_not_looked_at_are_named(builder: Builder, rows_per_batch: int, sentence: str) -> None:
    builder.rows_per_batch = rows_per_batch
    builder.edit_batch = with_null_element
    report = verify(builder.write().directory)
    assert sentence in report.unchecked


def test_random_damage_to_a_shard_never_escapes_as_an_exception(builder: Builder) -> None:
    builder.write()
    clean = (builder.directory / builder.names[0]).read_bytes()
    generator = random.Random(7)  # noqa: S311 - reproducible damage
    for _ in range(150):
        raw = bytearray(clean)
        for _ in range(generator.choice([1, 1, 4])):
            raw[generator.randrange(len(raw))] = generator.randrange(256)
        if generator.random() < 0.2:
            del raw[generator.randrange(len(raw)) :]
        builder.edit_file(builder.names[0], lambda _, damaged=bytes(raw): damaged, reseal=True)  # type: ignore[misc]
        report = verify(builder.directory)
        assert report.ok == (not report.findings)


def test_random_damage_to_the_manifest_never_escapes_as_an_exception(builder: Builder) -> None:
    builder.write()
    strange = [None, -1, 2**70, 1.5, "", "../x", "a\x00b", [], {}, True, [2**70], {"": -1}]

    def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterable[tuple[str | int, ...]]:
        yield path
        keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        for key in keys:
            yield from places(value[key], (*path, key))

    clean = (builder.directory / "manifest.json").read_bytes()
    outcomes: set[bool | str] = set()
    generator = random.Random(7)  # noqa: S311 - reproducible damage
    for path in list(places(json.loads(clean)))[1:]:
        (builder.directory / "manifest.json").write_bytes(clean)
        manifest(*path, value=generator.choice(strange))(builder)
        try:
            outcomes.add(verify(builder.directory).ok)
        except DatasetError as error:
            outcomes.add(error.code)
    assert outcomes - {"newer-format"} == {True, False, "manifest-invalid"}


def test_verify_imports_nothing_heavy(builder: Builder) -> None:
    code = f"import ismpack, sys; assert ismpack.verify({str(builder.write().directory)!r}).ok; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "transformers", "tokenizers", "datasets", "pandas"} & set(run.stdout.split()) == set()
