"""From files to a published dataset, with the real tokenizer of sample_data."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest

import ismpack
from ismpack.data import Conversation, Message, ToolCall
from ismpack.errors import InputError, IsmpackError, OutputError, RecordError, RunError, UsageError
from ismpack.pipeline import ConvertReport
from ismpack.pipeline.oddities import oddities
from ismpack.shards import open_staging

Convert = Callable[..., ConvertReport]
GOOD_FILES = ("chat.jsonl", "sharegpt.json", "alpaca.jsonl", "prompt_completion.jsonl")


@pytest.fixture
def convert(tmp_path: Path, sample_tokenizer: str) -> Convert:
    """`ismpack.convert` to tmp_path/out with the sample tokenizer."""

    def run(inputs: str | list[str], output: str = "out", **options: object) -> ConvertReport:
        return ismpack.convert(inputs, tmp_path / output, **{"tokenizer": sample_tokenizer, **options})

    return run


@pytest.fixture
def samples(sample_data: Path) -> list[str]:
    return [str(sample_data / name) for name in GOOD_FILES]


def write_jsonl(path: Path, *conversations: list[tuple[str, str]]) -> str:
    lines = [json.dumps({"messages": [{"role": r, "content": c} for r, c in chat]}) for chat in conversations]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def tree_digest(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


def test_every_sample_is_converted_and_verifies(convert: Convert, samples: list[str], tmp_path: Path) -> None:
    report = convert(samples, max_length=2048)
    totals = report.totals
    assert (totals.records, totals.conversations, totals.rejected) == (42, 42, 0)
    assert report.formats == {"messages": 22, "sharegpt": 6, "alpaca": 8, "prompt-completion": 6}
    assert totals.turns == 96
    verified = ismpack.verify(tmp_path / "out", sha256=True)
    assert verified.findings == ()
    assert verified.tokens == totals.tokens == sum(len(pack) for pack in ismpack.load(tmp_path / "out"))


def test_the_columns_of_a_small_conversation_are_those_worked_by_hand(convert: Convert, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [("user", "x"), ("assistant", "y"), ("user", "z"), ("assistant", "w")])
    convert(source)
    vocabulary = json.loads((tmp_path / "out/tokenizer/tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    start, end = 4090, 4091
    u, a, newline = (vocabulary[token] for token in ("user", "assistant", "Ċ"))
    x, y, z, w = (vocabulary[token] for token in "xyzw")
    (pack,) = ismpack.load(tmp_path / "out")
    query = [start, u, newline]
    prompt = [newline, start, a, newline]
    assert pack.input_ids.tolist() == (
        [*query, x, end, *prompt, y, end, newline, *query, z, end, *prompt, w, end]
    )  # fmt: skip
    assert pack.segment_type_ids.tolist() == [1] * 6 + [7] * 3 + [2] * 2 + [1] * 7 + [7] * 3 + [2] * 2
    assert pack.turn_ids.tolist() == [0] * 11 + [1] * 12
    assert pack.loss_mask.tolist() == [0] * 9 + [1] * 2 + [0] * 10 + [1] * 2
    assert pack.seq_lengths.tolist() == [23]
    assert pack.source_ids.tolist() == [0]


def test_datasets_opens_the_directory_and_each_shard(convert: Convert, samples: list[str], tmp_path: Path) -> None:
    convert(samples, max_length=2048)
    rows = list(ismpack.load(tmp_path / "out"))
    for opened in (
        datasets.load_from_disk(str(tmp_path / "out")),
        datasets.Dataset.from_file(str(tmp_path / "out/shard-00000.arrow")),
    ):
        assert opened.column_names == [
            "input_ids", "segment_type_ids", "turn_ids", "loss_mask", "seq_lengths", "source_ids"
        ]  # fmt: skip
        assert [row["input_ids"] for row in opened] == [row.input_ids.tolist() for row in rows]
        assert [row["source_ids"] for row in opened] == [row.source_ids.tolist() for row in rows]


def test_a_shard_is_an_uncompressed_stream_that_maps_without_copying(
    convert: Convert, samples: list[str], tmp_path: Path
) -> None:
    convert(samples)
    before = pa.total_allocated_bytes()
    with pa.memory_map(str(tmp_path / "out/shard-00000.arrow")) as source:
        table = pa.ipc.open_stream(source).read_all()
        assert table.schema.field("input_ids") == pa.field(
            "input_ids", pa.list_(pa.field("item", pa.int32(), nullable=False)), nullable=False
        )
        assert pa.total_allocated_bytes() == before


def test_derived_columns_are_stored_on_request(convert: Convert, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", *[[("user", "x"), ("assistant", "y")]] * 2)
    convert(source, with_columns=("labels", "position_ids", "assistant_masks"))
    (row,) = datasets.load_from_disk(str(tmp_path / "out"))
    assert row["position_ids"] == [*range(11), *range(11)]
    assert row["assistant_masks"] == row["loss_mask"]
    assert row["labels"] == [i if m else -100 for i, m in zip(row["input_ids"], row["loss_mask"], strict=True)]
    assert ismpack.verify(tmp_path / "out").ok


def test_the_bytes_depend_on_inputs_and_options_only(
    convert: Convert, samples: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(samples, "first", max_length=1024)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    copies = [str(Path(moved / Path(path).name)) for path in samples]
    for path, copy in zip(samples, copies, strict=True):
        Path(copy).write_bytes(Path(path).read_bytes())
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    monkeypatch.chdir(moved)
    convert([Path(copy).name for copy in copies], "second", max_length=1024)
    assert tree_digest(tmp_path / "first") == tree_digest(tmp_path / "second")


def test_a_second_run_writes_nothing(convert: Convert, samples: list[str], tmp_path: Path) -> None:
    first = convert(samples)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    second = convert(samples)
    assert (first.unchanged, second.unchanged) == (False, True)
    assert second.totals == first.totals
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == times


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_length": 512}, "it was made with max_length = 4096, now it is 512"),
        ({"packing": "none"}, "it was made with packing = 'bfd', now it is 'none'"),
        ({"loss": "last"}, "it was made with loss = 'all', now it is 'last'"),
        ({"stop_tokens": ("<think>",)}, "it was made with stop_tokens = [], now it is ['<think>']"),
    ],
)
def test_another_dataset_is_refused_by_its_first_difference(
    convert: Convert, samples: list[str], tmp_path: Path, change: dict[str, object], words: str
) -> None:
    convert(samples)
    before = tree_digest(tmp_path / "out")
    with pytest.raises(OutputError, match="holds another dataset") as caught:
        convert(samples, **change)
    assert caught.value.code == "output-exists"
    assert words in caught.value.message
    assert tree_digest(tmp_path / "out") == before


def test_a_changed_input_or_template_is_named(convert: Convert, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [("user", "x"), ("assistant", "y")])
    convert(source)
    write_jsonl(tmp_path / "a.jsonl", [("user", "x"), ("assistant", "changed")])
    with pytest.raises(OutputError, match=r"the input a\.jsonl has changed since"):
        convert(source)
    write_jsonl(tmp_path / "a.jsonl", [("user", "x"), ("assistant", "y")])
    template = tmp_path / "t.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}", encoding="utf-8")
    with pytest.raises(OutputError, match="it was made with another chat template"):
        convert(source, chat_template=str(template))


def test_overwrite_replaces_a_dataset_and_nothing_else(convert: Convert, samples: list[str], tmp_path: Path) -> None:
    convert(samples)
    convert(samples, max_length=512, overwrite=True)
    assert ismpack.load(tmp_path / "out").manifest.options["max_length"] == 512
    assert ismpack.verify(tmp_path / "out").ok
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(OutputError, match="is not an ismpack dataset"):
        convert(samples, "mine", overwrite=True)
    assert (tmp_path / "mine/notes.txt").read_text(encoding="utf-8") == "keep"


def test_an_overwrite_cut_short_between_its_renames_is_undone(
    convert: Convert, samples: list[str], tmp_path: Path
) -> None:
    convert(samples)
    (tmp_path / "out").rename(tmp_path / "out.ismpack-old")
    (tmp_path / "out.ismpack-tmp").mkdir()
    assert convert(samples).unchanged
    assert "out.ismpack-old" not in [path.name for path in tmp_path.iterdir()]


def test_an_old_dataset_left_after_its_replacement_is_removed(
    convert: Convert, samples: list[str], tmp_path: Path
) -> None:
    convert(samples)
    convert(samples, "out.ismpack-old", max_length=512)
    assert convert(samples).unchanged
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_only_has_the_name_of_an_old_dataset_is_left_alone(
    convert: Convert, samples: list[str], tmp_path: Path
) -> None:
    mine = tmp_path / "out.ismpack-old" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("keep", encoding="utf-8")
    convert(samples)
    with pytest.raises(OutputError, match=r"out\.ismpack-old is in the way"):
        convert(samples, max_length=512, overwrite=True)
    assert mine.read_text(encoding="utf-8") == "keep"
    assert ismpack.load(tmp_path / "out").manifest.options["max_length"] == 4096


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_swap_that_fails_halfway_puts_the_old_dataset_back(
    convert: Convert, samples: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    convert(samples)
    before = tree_digest(tmp_path / "out")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "out.ismpack-tmp":
            raise fault
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        convert(samples, max_length=512, overwrite=True)
    assert tree_digest(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_appears_at_the_output_during_the_run_is_not_touched(
    convert: Convert, samples: list[str], tmp_path: Path
) -> None:
    precious = tmp_path / "out" / "precious.txt"

    def appear(_: int) -> None:
        precious.parent.mkdir(exist_ok=True)
        precious.write_text("keep", encoding="utf-8")

    with pytest.raises(OutputError, match="was changed while this run went on"):
        convert(samples, on_progress=appear)
    assert precious.read_text(encoding="utf-8") == "keep"


def test_an_input_that_changes_during_the_run_is_refused(convert: Convert, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [("user", "x"), ("assistant", "y")])

    def change(_: int) -> None:
        write_jsonl(tmp_path / "a.jsonl", [("user", "x"), ("assistant", "z")])

    with pytest.raises(InputError, match="changed since it was first read"):
        convert(source, on_progress=change)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_damaged_dataset_is_not_taken_for_complete(convert: Convert, samples: list[str], tmp_path: Path) -> None:
    convert(samples)
    (tmp_path / "out/shard-00000.arrow").unlink()
    with pytest.raises(OutputError, match=r"holds this dataset, but shard-00000\.arrow is damaged"):
        convert(samples)
    assert not convert(samples, overwrite=True).unchanged
    (tmp_path / "out/manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(OutputError, match="holds a dataset that cannot be read"):
        convert(samples)
    assert not convert(samples, overwrite=True).unchanged
    assert ismpack.verify(tmp_path / "out").ok


def test_a_symbolic_link_as_output_stays_a_link(convert: Convert, samples: list[str], tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    convert(samples)
    convert(samples, max_length=512, overwrite=True)
    assert (tmp_path / "out").is_symlink()
    assert ismpack.load(tmp_path / "real").manifest.options["max_length"] == 512
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "real"]


def test_a_partition_without_a_sample_leaves_a_dataset_that_datasets_opens(
    convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ismpack.pipeline.plan.MIN_PARTITION_BYTES", 1)
    monkeypatch.setattr("ismpack.pipeline.plan.MAX_PARTITION_BYTES", 1)
    good = write_jsonl(tmp_path / "good.jsonl", [("user", "x"), ("assistant", "y")])
    bad = write_jsonl(tmp_path / "bad.jsonl", [("user", "alone")])
    assert convert([good, bad]).shards == 2
    assert len(datasets.load_from_disk(str(tmp_path / "out"))) == 1
    assert len(ismpack.load(tmp_path / "out")) == 1
    assert ismpack.verify(tmp_path / "out").ok


def test_split_samples_that_are_left_out_are_counted(convert: Convert, tmp_path: Path) -> None:
    template = tmp_path / "t.jinja"
    template.write_text(
        "{% for m in messages %}{{ m.role }}:{{ m.reasoning_content if loop.last }}{{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}",
        encoding="utf-8",
    )
    source = tmp_path / "a.jsonl"
    answer = {"role": "assistant", "content": "y", "reasoning_content": "r"}
    source.write_text(json.dumps({"messages": [{"role": "user", "content": "x"}, answer] * 2}) + "\n", encoding="utf-8")
    options = {"chat_template": str(template), "on_rewrite": "split", "max_length": 12}
    dropped = convert(str(source), "drop", overlong="drop", **options)
    assert (dropped.totals.samples, dropped.warnings["split-sample-dropped"]) == (1, 1)
    refused = convert(str(source), "turns", **options)
    assert (refused.totals.samples, refused.warnings["split-sample-refused"]) == (1, 1)


def test_warnings_of_records_that_are_not_used_do_not_count(convert: Convert, tmp_path: Path) -> None:
    long = [("user", "x " * 40), ("assistant", "y"), ("user", "unanswered")]
    source = write_jsonl(tmp_path / "a.jsonl", long, [("user", "x"), ("assistant", "y")])
    report = convert(source, max_length=20)
    assert report.rejected == {"overlong": 1}
    assert report.warnings == {}


def test_a_second_run_on_the_same_directory_is_turned_away(
    convert: Convert, samples: list[str], tmp_path: Path
) -> None:
    with open_staging(tmp_path / "out"), pytest.raises(OutputError) as caught:
        convert(samples)
    assert caught.value.code == "output-locked"
    assert convert(samples).totals.conversations == 42


def test_what_a_dead_run_left_behind_is_cleared(convert: Convert, samples: list[str], tmp_path: Path) -> None:
    stale = tmp_path / "out.ismpack-tmp"
    (stale / "tokenizer").mkdir(parents=True)
    (stale / "shard-00000.arrow.tmp").write_bytes(b"half")
    convert(samples)
    assert ismpack.verify(tmp_path / "out").ok
    assert not stale.exists()


def test_rejects_are_listed_with_file_line_offset_and_code(convert: Convert, sample_data: Path, tmp_path: Path) -> None:
    report = convert([str(sample_data / "chat.jsonl"), str(sample_data / "broken.jsonl")], max_rejected=1)
    assert report.totals.records == 36
    assert report.totals.records == report.totals.conversations + report.totals.rejected
    path = tmp_path / "out/rejected.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    rejects = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [reject["line"] for reject in rejects] == [2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 14]
    assert rejects[1] == {
        "file": "broken.jsonl",
        "line": 3,
        "byte_offset": 259,
        "code": "unknown-role",
        "message": 'a message has role "assistnat", which is not known',
        "json_path": "$.messages[1].role",
    }
    assert report.rejected == {
        code: sum(reject["code"] == code for reject in rejects) for code in {reject["code"] for reject in rejects}
    }


def test_too_many_rejects_publish_nothing_and_keep_the_reasons(
    convert: Convert, sample_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="11 of 14 records were rejected") as caught:
        convert(str(sample_data / "broken.jsonl"))
    assert (caught.value.code, caught.value.exit_code) == ("too-many-rejects", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["out.rejected.jsonl"]
    assert len((tmp_path / "out.rejected.jsonl").read_text(encoding="utf-8").splitlines()) == 11
    convert(str(sample_data / "broken.jsonl"), max_rejected=0.9)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_ten_rejects_never_stop_a_run(convert: Convert, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [("user", "x"), ("assistant", "y")], *[[("user", "x")]] * 10)
    assert convert(source, max_rejected=0).totals.rejected == 10
    source = write_jsonl(tmp_path / "b.jsonl", [("user", "x"), ("assistant", "y")], *[[("user", "x")]] * 11)
    with pytest.raises(RunError):
        convert(source, "b", max_rejected=0)


def test_on_error_stop_raises_the_first_bad_record(convert: Convert, sample_data: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError) as caught:
        convert(str(sample_data / "broken.jsonl"), on_error="stop")
    assert caught.value.location is not None
    assert (caught.value.code, caught.value.location.line) == ("invalid-json", 2)
    assert list(tmp_path.iterdir()) == []


def test_no_conversation_publishes_nothing(convert: Convert, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        convert(write_jsonl(tmp_path / "a.jsonl", [("user", "alone")]))
    assert caught.value.code == "nothing-to-train"
    (tmp_path / "empty.jsonl").write_text("\n\n", encoding="utf-8")
    with pytest.raises(RunError) as caught:
        convert(str(tmp_path / "empty.jsonl"))
    assert caught.value.code == "no-records"
    assert not (tmp_path / "out").exists()


def test_an_input_without_any_good_record_is_not_read_to_its_end(
    convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ismpack.pipeline.plan.MIN_PARTITION_BYTES", 1 << 20)
    path = tmp_path / "logs.jsonl"
    path.write_text(json.dumps({"level": "info", "line": "x" * 500}) + "\n", encoding="utf-8")
    path.write_bytes(path.read_bytes() * 12_000)  # 6 MB, in six partitions of one chunk
    with pytest.raises(RunError) as caught:
        convert(str(path))
    assert caught.value.code == "nothing-to-train"
    read = re.fullmatch(r"none of the ([\d,]+) records read gave a conversation, .*", caught.value.message)
    assert read is not None
    assert 1_000 <= int(read[1].replace(",", "")) <= 2_500


def test_a_run_that_dropped_every_record_says_so_and_lists_none(convert: Convert, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [("user", "x " * 40), ("assistant", "y")])
    with pytest.raises(RunError) as caught:
        convert(source, max_length=20, overlong="drop")
    assert (caught.value.code, caught.value.hint) == (
        "nothing-to-train",
        "None was rejected: --overlong drop left them out.",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


ODDITIES = {
    "duplicate-conversation",
    "empty-input",
    "message-key-unread",
    "misnamed-input",
    "nul-in-data",
    "tool-result-without-call",
}


def test_oddities_are_counted_once_for_each_conversation(convert: Convert, tmp_path: Path) -> None:
    asked = {"role": "user", "content": "Hi"}
    said = {"role": "assistant", "content": "Hello"}
    talks: list[list[dict[str, Any]]] = [
        [asked, said],
        [asked, said],
        [asked, said],
        [asked, {**said, "content": "a\0b\0c"}, {**asked, "content": "\0"}, said],
        [asked, {**said, "mood": "calm", "day": 1}],
        [asked, {"role": "tool", "content": "7"}, said],
    ]
    path = tmp_path / "odd.jsonl.gz"
    path.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks), encoding="utf-8")
    (tmp_path / "empty.jsonl").touch()
    report = convert([str(path), str(tmp_path / "empty.jsonl")], allow_dropped=["content"])
    assert (report.totals.records, report.totals.conversations) == (6, 6)
    assert {code: count for code, count in report.warnings.items() if code in ODDITIES} == {
        "duplicate-conversation": 3,
        "empty-input": 1,
        "message-key-unread": 1,
        "misnamed-input": 1,
        "nul-in-data": 1,
        "tool-result-without-call": 1,
    }


@pytest.mark.parametrize(
    ("made", "answered", "odd"),
    [([], None, True), (["a"], "a", False), (["a"], None, False), (["a"], "b", True), ([None], "b", False)],
)
def test_a_tool_result_answers_a_call_that_was_made(made: list[str | None], answered: str | None, *, odd: bool) -> None:
    calls = tuple(ToolCall(name="f", arguments={}, id=name) for name in made)
    messages = (
        Message(role="user", content="q"),
        Message(role="assistant", content="a", tool_calls=calls),
        Message(role="tool", content="r", tool_call_id=answered),
    )
    assert ("tool-result-without-call" in oddities(Conversation(messages=messages))) is odd


def test_unwanted_answers_are_left_out_and_counted_not_rejected(convert: Convert, tmp_path: Path) -> None:
    pairs = [{"prompt": "Name a tree.", "completion": "Oak.", "label": label} for label in (True, False, False)]
    path = tmp_path / "kto.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    report = convert(str(path))
    totals = report.totals
    assert (totals.records, totals.conversations, totals.rejected, totals.dropped_by_option) == (3, 1, 0, 2)
    assert report.warnings["undesired"] == 2
    assert "left out                    2   undesired 2" in str(report)
    path.write_text(json.dumps(pairs[1]), encoding="utf-8")
    with pytest.raises(RunError) as caught:
        convert(str(path), overwrite=True)
    assert caught.value.hint == "None was rejected: they mark their own answers as unwanted."


def test_an_empty_directory_is_filled_and_a_linked_building_place_is_not_cleared(
    convert: Convert, samples: list[str], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    convert(samples)
    assert ismpack.verify(tmp_path / "out").ok
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep", encoding="utf-8")
    (tmp_path / "new.ismpack-tmp").symlink_to(tmp_path / "mine")
    with pytest.raises(OutputError) as caught:
        convert(samples, "new")
    assert caught.value.code == "output-unwritable"
    assert (tmp_path / "mine/notes.txt").read_text(encoding="utf-8") == "keep"


def test_standard_input_gives_the_rows_of_the_file(convert: Convert, sample_data: Path, tmp_path: Path) -> None:
    source = sample_data / "chat.jsonl"
    convert(str(source), "file")
    convert("-", "stdin", stdin=io.BytesIO(source.read_bytes()))
    rows = [[pack.input_ids.tolist() for pack in ismpack.load(tmp_path / name)] for name in ("file", "stdin")]
    assert sorted(rows[0]) == sorted(rows[1])
    assert ismpack.load(tmp_path / "stdin").manifest.inputs[0].name == "-"


def test_limit_takes_the_first_records_in_input_order(convert: Convert, samples: list[str], tmp_path: Path) -> None:
    report = convert(samples, limit=25, packing="sequential")
    assert report.totals.records == 25
    sources = [ismpack.load(tmp_path / "out").source(s) for p in ismpack.load(tmp_path / "out") for s in p.source_ids]
    assert sources == [f"chat.jsonl:{n}" for n in range(1, 23)] + [f"sharegpt.json#{n}" for n in range(3)]


def test_overlong_conversations_follow_the_policy(convert: Convert, tmp_path: Path) -> None:
    turns = [("user", "x"), ("assistant", "y")] * 3
    source = write_jsonl(tmp_path / "a.jsonl", turns, turns[:2])
    kept = convert(source, "turns", max_length=30)
    assert (kept.totals.conversations, kept.totals.turns, kept.totals.tokens) == (2, 3, 23 + 11)
    assert kept.warnings["overlong-cut"] == 1
    assert (kept.warnings["overlong-cut-turns"], kept.warnings["overlong-cut-tokens"]) == (1, 12)
    dropped = convert(source, "drop", max_length=30, overlong="drop")
    assert (dropped.totals.conversations, dropped.totals.dropped_by_option) == (1, 1)
    refused = convert(source, "error", max_length=30, overlong="error")
    assert (refused.totals.conversations, refused.rejected) == (1, {"overlong": 1})
    for name in ("turns", "drop", "error"):
        assert ismpack.verify(tmp_path / name).ok


def test_loss_last_trains_one_answer_and_refuses_it_when_it_is_cut_off(convert: Convert, tmp_path: Path) -> None:
    turns = [("user", "x"), ("assistant", "y")] * 3
    source = write_jsonl(tmp_path / "a.jsonl", turns, turns[:2])
    convert(source, "all", loss="last")
    assert [pack.loss_mask.sum() for pack in ismpack.load(tmp_path / "all")] == [4]
    assert convert(source, "cut", loss="last", max_length=30).rejected == {"no-target": 1}


def test_a_default_system_message_is_given_to_conversations_that_have_none(convert: Convert, tmp_path: Path) -> None:
    chat = [("user", "x"), ("assistant", "y")]
    source = write_jsonl(tmp_path / "a.jsonl", chat, [("system", "mine"), *chat])
    convert(source, default_system="theirs", packing="none")
    counts = [int((pack.segment_type_ids == 3).sum()) for pack in ismpack.load(tmp_path / "out")]
    assert all(count > 0 for count in counts)
    assert len(counts) == 2


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"packing": "best"}, "bad-option"),
        ({"max_length": 1}, "bad-option"),
        ({"max_length": 3_000_000_000}, "bad-option"),
        ({"max_length": 1024.5}, "bad-option"),
        ({"date": "2026-W01-1"}, "bad-option"),
        ({"stop_tokens": "<|im_end|>"}, "bad-option"),
        ({"allow_dropped": ("reasonning",)}, "bad-option"),
        ({"template_args": {"messages": []}}, "bad-option"),
        ({"template_args": {"x": float("nan")}}, "bad-option"),
        ({"default_system": "\udcff"}, "bad-option"),
        ({"max_rejected": 2}, "bad-option"),
        ({"limit": 0}, "bad-option"),
        ({"date": "2026-02-30"}, "bad-option"),
        ({"with_columns": ("label",)}, "bad-option"),
        ({"format": "sharegpts"}, "bad-option"),
        ({"paking": "bfd"}, "bad-option"),
        ({"tokenizer": "./nowhere"}, "tokenizer-not-found"),
        ({"chat_template": "./nowhere.jinja"}, "chat-template-missing"),
        ({"stop_tokens": ("<nope>",)}, "stop-token-not-encodable"),
    ],
)
def test_an_impossible_option_stops_the_run_before_it_writes(
    convert: Convert, samples: list[str], tmp_path: Path, options: dict[str, object], code: str
) -> None:
    with pytest.raises(IsmpackError) as caught:
        convert(samples, **options)
    assert (caught.value.code, caught.value.exit_code) == (code, 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        ("in/a.jsonl", "in"),
        ("in", "in/out"),
        ("out.rejected.jsonl", "out"),
        ("out.ismpack-tmp/a.jsonl", "out"),
        ("out.ismpack-old/a.jsonl", "out"),
    ],
)
def test_an_input_where_the_run_would_write_is_refused_and_kept(
    convert: Convert, tmp_path: Path, inputs: str, output: str
) -> None:
    path = tmp_path / inputs if inputs.endswith(".jsonl") else tmp_path / inputs / "a.jsonl"
    path.parent.mkdir(exist_ok=True)
    write_jsonl(path, [("user", "x"), ("assistant", "y")])
    with pytest.raises(UsageError) as caught:
        convert(str(tmp_path / inputs), output)
    assert caught.value.code == "output-inside-input"
    assert path.exists()


def test_a_foreign_file_with_the_name_of_the_list_of_rejects_is_kept(
    convert: Convert, samples: list[str], tmp_path: Path
) -> None:
    mine = tmp_path / "out.rejected.jsonl"
    mine.write_text('{"mine": 1}\n', encoding="utf-8")
    with pytest.raises(OutputError, match="is not a list of rejects"):
        convert(samples)
    assert mine.read_text(encoding="utf-8") == '{"mine": 1}\n'


def test_the_current_directory_and_no_name_are_no_output(
    samples: list[str], sample_tokenizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="is the current directory"):
        ismpack.convert(samples, ".", tokenizer=sample_tokenizer)
    with pytest.raises(UsageError, match="is empty"):
        ismpack.convert(samples, "", tokenizer=sample_tokenizer)
    with pytest.raises(UsageError, match="is not UTF-8"):
        ismpack.convert(samples, "x\udcff", tokenizer=sample_tokenizer)


def test_paths_and_sequences_of_the_python_interface(
    convert: Convert, sample_data: Path, tmp_path: Path, sample_tokenizer: str
) -> None:
    assert convert(sample_data / "alpaca.jsonl").totals.conversations == 8
    assert convert([sample_data / "alpaca.jsonl"]).unchanged
    with pytest.raises(UsageError, match="needs a tokenizer"):
        ismpack.convert(str(sample_data / "alpaca.jsonl"), tmp_path / "other")


def test_a_missing_input_is_named(convert: Convert, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.jsonl does not exist"):
        convert(str(tmp_path / "nowhere.jsonl"))


def test_large_inputs_are_dealt_out_in_strides_and_every_shard_verifies(convert: Convert, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    words = ["sun", "rain", "wind", "snow", "hail", "fog"]
    with (tmp_path / "big.jsonl").open("w", encoding="utf-8") as file:
        for number in range(2300):
            text = " ".join(rng.choice(words, 1600))
            messages = [{"role": "user", "content": str(number)}, {"role": "assistant", "content": text}]
            file.write(json.dumps({"messages": messages}) + "\n")
    report = convert(str(tmp_path / "big.jsonl"), packing="sequential", max_length=8192)
    assert (report.shards, report.totals.conversations) == (2, 2300)
    loaded = ismpack.load(tmp_path / "out")
    lines = np.concatenate([pack.source_ids for pack in loaded])
    assert np.array_equal(np.sort(lines), np.arange(2300))
    first_shard = lines[: loaded.manifest.shards[0].documents]
    assert (np.diff(first_shard) > 1).sum() > 3  # strides: the first shard takes every other chunk
    assert ismpack.verify(tmp_path / "out").ok


def test_every_inferred_stop_token_is_a_stop_token_of_the_dataset(convert: Convert, tmp_path: Path) -> None:
    """As in gpt-oss, calls and final answers end with different tokens; here neither is listed."""
    source = tmp_path / "a.jsonl"
    call = {"type": "function", "function": {"name": "f", "arguments": {"a": "b"}}}
    messages = [
        {"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "y"}, {"role": "assistant", "content": "z"},
    ]  # fmt: skip
    source.write_text(json.dumps({"messages": messages}) + "\n", encoding="utf-8")
    template = tmp_path / "t.jinja"
    template.write_text(
        "{% for m in messages %}{{ m.role }}:{{ m.content or '' }}"
        "{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}"
        "{{ '<tool_call>' if m.tool_calls else '</tool_call>' if m.role == 'assistant' }}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}",
        encoding="utf-8",
    )
    report = convert(str(source), chat_template=str(template))
    assert report.inferred_stops == ("</tool_call>", "<tool_call>")
    assert {4094, 4095} <= set(ismpack.load(tmp_path / "out").manifest.stop_ids)
