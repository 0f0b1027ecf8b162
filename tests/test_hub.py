"""Saved datasets and hub inputs, with the real `datasets` library and without a network."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ismpack.errors import InputError, IsmpackError, UsageError
from ismpack.sources.dataset_folders import dataset_files
from ismpack.sources.hub import HubInput, parse_hub, spool_hub

# ------------------------------------------------------------------------------------------------------ saved datasets

SAVE = """
import sys
import datasets
rows = datasets.Dataset.from_list([{"text": f"Zeile {number}"} for number in range(6)])
folder = sys.argv[1]
rows.save_to_disk(f"{folder}/one")
rows.select([4, 1, 3]).save_to_disk(f"{folder}/chosen", num_shards=2)
rows.with_format("numpy", columns=[]).save_to_disk(f"{folder}/formatted")
rows.select([]).save_to_disk(f"{folder}/empty")
datasets.DatasetDict(train=rows).save_to_disk(f"{folder}/only")
datasets.DatasetDict(train=rows, test=rows).save_to_disk(f"{folder}/both")
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders as the library itself writes them."""
    folder = tmp_path_factory.mktemp("saved")
    environment = {**os.environ, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", SAVE, str(folder)], check=True, capture_output=True, env=environment)
    return folder


def texts(files: list[str] | None) -> list[str]:
    assert files is not None
    tables = [pa.ipc.open_stream(Path(file).read_bytes()).read_all() for file in files]
    return [text for table in tables for text in table["text"].to_pylist()]


@pytest.mark.parametrize(
    ("name", "files", "rows"),
    [
        ("one", ["data-00000-of-00001.arrow"], [0, 1, 2, 3, 4, 5]),
        ("chosen", ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"], [4, 1, 3]),
        ("formatted", ["data-00000-of-00001.arrow"], [0, 1, 2, 3, 4, 5]),
        ("empty", [], []),
        ("only", ["train/data-00000-of-00001.arrow"], [0, 1, 2, 3, 4, 5]),
        ("both/test", ["data-00000-of-00001.arrow"], [0, 1, 2, 3, 4, 5]),
    ],
)
def test_the_files_of_a_saved_dataset_are_its_rows(saved: Path, name: str, files: list[str], rows: list[int]) -> None:
    found = dataset_files(str(saved / name))
    assert found == [str(saved / name / file) for file in files]
    assert texts(found) == [f"Zeile {number}" for number in rows]


def test_several_splits_are_named(saved: Path) -> None:
    folder = str(saved / "both")
    with pytest.raises(UsageError) as caught:
        dataset_files(folder)
    assert (caught.value.code, caught.value.message) == ("bad-option", f"{folder} holds 2 splits: train, test")
    assert caught.value.hint == f"Give those that you want, such as {folder}/train ."


def write_dataset(folder: Path, state: object, files: tuple[str, ...] = ("data.arrow",)) -> str:
    (folder / "state.json").write_text(state if isinstance(state, str) else json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    for name in files:
        (folder / name).touch()
    return str(folder)


def test_another_folder_is_none(tmp_path: Path) -> None:
    assert dataset_files(str(tmp_path)) is None
    assert dataset_files(str(tmp_path / "missing")) is None
    write_dataset(tmp_path, {"_data_files": []})
    (tmp_path / "dataset_info.json").unlink()
    assert dataset_files(str(tmp_path)) is None


def test_files_keep_the_order_that_the_state_gives(tmp_path: Path) -> None:
    state = {"_data_files": [{"filename": "b.arrow"}, {"filename": "a.arrow"}]}
    folder = write_dataset(tmp_path, state, ("a.arrow", "b.arrow"))
    assert dataset_files(folder) == [f"{folder}/b.arrow", f"{folder}/a.arrow"]


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ({"_data_files": [{"filename": "../data.arrow"}]}, "input-unreadable"),
        ({"_data_files": [{"filename": "/etc/hostname"}]}, "input-unreadable"),
        ({"_data_files": [{"filename": ".."}]}, "input-unreadable"),
        ({"_data_files": [{"filename": "a\\b"}]}, "input-unreadable"),
        ({"_data_files": [{"filename": "a\0b"}]}, "input-unreadable"),
        ({"_data_files": [{"filename": "\ud800"}]}, "input-unreadable"),
        ({"_data_files": [{"filename": 7}]}, "input-unreadable"),
        ({"_data_files": ["data.arrow"]}, "input-unreadable"),
        ({"_data_files": {"filename": "data.arrow"}}, "input-unreadable"),
        ({"_data_files": [{"filename": "gone.arrow"}]}, "input-not-found"),
        ({"_data_files": [{"filename": "data.arrow", "skip": 2}]}, "input-unreadable"),
        ({"_data_files": [{"filename": "data.arrow"}], "_indices_files": [{"filename": "i"}]}, "input-unreadable"),
        ({"_data_files": [{"filename": "data.arrow"}], "_indices_data_files": [{}]}, "input-unreadable"),
        ({}, "input-unreadable"),
        ([], "input-unreadable"),
        ("[" * 100_000, "input-unreadable"),
        ("{", "input-unreadable"),
    ],
)
def test_a_state_that_cannot_be_trusted_is_refused(tmp_path: Path, state: object, code: str) -> None:
    folder = write_dataset(tmp_path, state)
    with pytest.raises(IsmpackError) as caught:
        dataset_files(folder)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("splits", "code"),
    [
        ({"splits": ["../other"]}, "input-unreadable"),
        ({"splits": []}, "input-unreadable"),
        ({"splits": "train"}, "input-unreadable"),
        ({"splits": [["train"]]}, "input-unreadable"),
        ({"splits": ["train"]}, "input-not-found"),
        (["train"], "input-unreadable"),
    ],
)
def test_splits_that_cannot_be_trusted_are_refused(tmp_path: Path, splits: object, code: str) -> None:
    (tmp_path / "dataset_dict.json").write_text(json.dumps(splits))
    with pytest.raises(IsmpackError) as caught:
        dataset_files(str(tmp_path))
    assert caught.value.code == code


# ---------------------------------------------------------------------------------------------------------- hub names


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("hf:org/name", ("org/name", None, None, None)),
        ("hf:name:train", ("name", None, None, "train")),
        ("hf:org/name@main", ("org/name", None, "main", None)),
        ("hf:org/name@refs/pr/1:test", ("org/name", None, "refs/pr/1", "test")),
        ("hf:org/name/config", ("org/name", "config", None, None)),
        ("hf:org/na.me-2/v 1.0@0a1b:train_sft", ("org/na.me-2", "v 1.0", "0a1b", "train_sft")),
        ("hf:./folder", ("./folder", None, None, None)),
        ("hf:./a/b@c:train", ("./a/b@c", None, None, "train")),
        ("hf:../a:b/c", ("../a:b/c", None, None, None)),
        ("hf:/data/chats:test", ("/data/chats", None, None, "test")),
        ("hf:.:train", (".", None, None, "train")),
    ],
)
def test_a_hub_input_is_taken_apart(spec: str, parts: tuple[str | None, ...]) -> None:
    named = parse_hub(spec)
    assert (named.name, named.config, named.revision, named.split) == parts


@pytest.mark.parametrize(
    "spec", ["hf:", "org/name", "hf:a b", "hf:org/name:", "hf:org/name@", "hf:a/b/c/d", "hf:org/name:train[:10]"]
)
def test_what_names_no_dataset_is_refused(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_hub(spec)
    assert caught.value.code == "bad-option"


@given(st.text(st.sampled_from("ab/.:@-~ [\n")))
def test_any_text_is_taken_apart_or_refused(text: str) -> None:
    try:
        named = parse_hub(f"hf:{text}")
    except UsageError:
        return
    assert isinstance(named, HubInput)
    assert named.name


# ----------------------------------------------------------------------------------------------------------- hub rows


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test here may ask the hub, even where there is a network."""
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return


def write(folder: Path, name: str, *rows: object) -> str:
    path = folder / "data" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"hf:{path.parent}"


def lines(path: Path) -> list[object]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def refusal(spec: str, folder: Path) -> IsmpackError:
    with pytest.raises(IsmpackError) as caught:
        spool_hub(spec, folder)
    return caught.value


CHAT = {"messages": [{"role": "user", "content": "Où ?\u2028"}, {"role": "assistant", "content": "Là 😀"}], "id": 2**60}


def test_the_only_split_is_spooled_line_by_line(tmp_path: Path) -> None:
    spec = write(tmp_path, "train.jsonl", CHAT, {"messages": [], "id": None})
    path = spool_hub(spec, tmp_path)
    assert path.parent == tmp_path
    assert (
        path.read_bytes()
        == (
            '{"messages": [{"role": "user", "content": "Où ?\u2028"}, {"role": "assistant", "content": "Là 😀"}], '
            '"id": 1152921504606846976}\n'
            '{"messages": [], "id": null}\n'
        ).encode()
    )


def test_two_runs_write_the_same_bytes_to_files_of_their_own(tmp_path: Path) -> None:
    spec = write(tmp_path, "train.jsonl", *[{"n": n, "x": n / 3} for n in range(500)])
    first, second = spool_hub(spec, tmp_path), spool_hub(spec, tmp_path)
    assert first != second
    assert first.read_bytes() == second.read_bytes()
    assert lines(first)[499] == {"n": 499, "x": 166.33333333333334}


def test_values_of_mixed_type_stay_as_they_are(tmp_path: Path) -> None:
    calls = [{"arguments": {"a": 1}}, {"arguments": "text"}, {"arguments": [1, "b"]}]
    spec = write(tmp_path, "train.jsonl", {"calls": calls})
    assert lines(spool_hub(spec, tmp_path)) == [{"calls": calls}]


def test_a_split_is_named_where_there_are_several(tmp_path: Path) -> None:
    write(tmp_path, "train.jsonl", {"n": 1})
    spec = write(tmp_path, "test.jsonl", {"n": 2})
    assert lines(spool_hub(f"{spec}:test", tmp_path)) == [{"n": 2}]

    error = refusal(spec, tmp_path)
    assert (error.code, error.message) == ("bad-option", f"{spec} has 2 splits: train, test")
    error = refusal(f"{spec}:dev", tmp_path)
    assert (error.code, error.hint) == ("input-not-found", "Its splits are: train, test.")


def test_images_and_sound_are_not_decoded(tmp_path: Path) -> None:
    features = {
        "image": {"_type": "Image"},
        "sound": {"_type": "Audio"},
        "label": {"names": ["no"], "_type": "ClassLabel"},
    }
    table = pa.table(
        {
            "image": [{"bytes": b"no image", "path": None}],
            "sound": [{"bytes": None, "path": "a.wav"}],
            "label": [0],
        },
    ).cast(
        pa.schema(
            [
                ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
                ("sound", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
                ("label", pa.int64()),
            ],
            metadata={"huggingface": json.dumps({"info": {"features": features}})},
        )
    )
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data" / "train.parquet")
    assert lines(spool_hub(f"hf:{tmp_path}/data", tmp_path)) == [
        {"image": {"bytes": "bm8gaW1hZ2U=", "path": None}, "sound": {"bytes": None, "path": "a.wav"}, "label": 0}
    ]


def test_a_row_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    table = pa.table({"text": pa.array([b"a", b"b", b"\xff"]).view(pa.string())})
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data" / "train.parquet")
    error = refusal(f"hf:{tmp_path}/data", tmp_path)
    assert isinstance(error, InputError)
    assert error.code == "input-unreadable"
    assert error.location is not None
    assert error.location.index == 2


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    spec = write(tmp_path, "train.jsonl", {"n": 1})
    (tmp_path / "data" / "train.jsonl").write_text('{"n": 1}\n{oops\n')
    assert refusal(spec, tmp_path).code == "input-unreadable"


@pytest.mark.parametrize("spec", ["hf:org/name", "hf:name", "hf:org/name/config@main:train", "hf:./no-such-folder"])
def test_what_cannot_be_reached_is_not_found(tmp_path: Path, spec: str) -> None:
    error = refusal(spec, tmp_path)
    assert isinstance(error, UsageError)
    assert error.code == "input-not-found"
    assert "\n" not in error.message


def test_an_empty_folder_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert refusal(f"hf:{tmp_path}/data", tmp_path).code == "input-not-found"


def test_a_reader_of_the_library_is_no_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "train.jsonl", {"n": 1})
    monkeypatch.chdir(tmp_path / "data")
    assert refusal("hf:json", tmp_path).code == "input-not-found"


def test_a_name_that_is_a_folder_too_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "train.jsonl", {"n": 1})
    monkeypatch.chdir(tmp_path)
    error = refusal("hf:data", tmp_path)
    assert error.code == "bad-option"
    assert lines(spool_hub("hf:./data:train", tmp_path)) == [{"n": 1}]


def test_the_library_is_left_as_it_was(tmp_path: Path) -> None:
    import datasets
    import huggingface_hub

    def state() -> tuple[object, ...]:
        return (
            datasets.are_progress_bars_disabled(),
            huggingface_hub.utils.are_progress_bars_disabled(),
            datasets.config.HF_UPDATE_DOWNLOAD_COUNTS,
            huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY,
            logging.getLogger("datasets").level,
        )

    before = state()
    spool_hub(write(tmp_path, "train.jsonl", {"n": 1}), tmp_path)
    refusal("hf:./no-such-folder", tmp_path)
    refusal("hf:org/name", tmp_path)
    assert state() == before


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spool_hub(write(tmp_path, "train.jsonl", {"n": 1}), tmp_path)
    (tmp_path / "data" / "train.jsonl").write_text("{oops\n")
    refusal(f"hf:{tmp_path}/data", tmp_path)
    assert capfd.readouterr() == ("", "")


def test_the_library_is_imported_only_when_needed() -> None:
    code = "import sys, ismpack.sources.hub; print('datasets' in sys.modules, 'huggingface_hub' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
