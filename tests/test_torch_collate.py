"""`Collator`: rows to tensors, for every kind and mask; nothing cut, nothing trained that is seen too early."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dataset_builder import Builder, Row, row, source
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import RemoveColumnsCollator

from ismpack import load, masks
from ismpack.data import Pack
from ismpack.errors import TrainingError, UsageError
from ismpack.schema import COLUMNS
from ismpack.torch.collate import Collator
from ismpack.torch.data import PackDataset, PackStream

torch.set_num_threads(1)

KINDS = ["ism", "causal", "mas", "prefix", "triplets"]


def pack(columns: Row) -> Pack:
    return Pack(**{name: np.array(columns[name], dtype) for name, dtype in COLUMNS.items()})


def two_documents() -> Pack:
    """Ten tokens: system, user, answer, header, answer of two; then user, user, answer of two."""
    return pack(row((source(0, 0), "31:2 7:22"), (source(0, 1), "11:22")))


# Its columns, written out: everything below is worked by hand from these.
IDS = [10, 11, 2, 10, 50, 2, 10, 11, 50, 2]
LO = [0, 0, 0, 0, 0, 0, 6, 6, 6, 6]
N = -100


def lists(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value.tolist() for name, value in batch.items()}


# one row, by hand


def test_a_row_alone_is_not_padded() -> None:
    batch = Collator()([two_documents()])
    assert lists(batch) == {
        "input_ids": [IDS],
        "labels": [[N, N, 2, N, 50, 2, N, N, 50, 2]],
        "position_ids": [[0, 1, 2, 3, 4, 5, 0, 1, 2, 3]],
        "ism_lo": [LO],
        "ism_hi": [[2, 2, 3, 4, 5, 6, 8, 8, 9, 10]],
    }
    assert {name: value.dtype for name, value in batch.items()} == {
        "input_ids": torch.int64,
        "labels": torch.int64,
        "position_ids": torch.int64,
        "ism_lo": torch.int32,
        "ism_hi": torch.int32,
    }


@pytest.mark.parametrize(
    ("kind", "hi", "labels"),
    [
        ("causal", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [N, N, 2, N, 50, 2, N, N, 50, 2]),
        # System and user are two blocks; the header stays causal.
        ("mas", [1, 2, 3, 4, 5, 6, 8, 8, 9, 10], [N, N, 2, N, 50, 2, N, N, 50, 2]),
        # Everything before the last answer is one block, so the first answer cannot be trained.
        ("prefix", [4, 4, 4, 4, 5, 6, 8, 8, 9, 10], [N, N, N, N, 50, 2, N, N, 50, 2]),
    ],
)
def test_kinds_differ_in_what_sees_what(kind: Any, hi: list[int], labels: list[int]) -> None:
    batch = lists(Collator(kind)([two_documents()]))
    assert (batch["ism_lo"], batch["ism_hi"], batch["labels"]) == ([LO], [hi], [labels])


def test_triplets_give_every_answer_a_document() -> None:
    assert lists(Collator("triplets")([two_documents()])) == {
        "input_ids": [[10, 11, 2, 10, 11, 2, 10, 50, 2, 10, 11, 50, 2]],
        "labels": [[N, N, 2, N, N, N, N, 50, 2, N, N, 50, 2]],
        "position_ids": [[0, 1, 2, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3]],
        "ism_lo": [[0, 0, 0, 3, 3, 3, 3, 3, 3, 9, 9, 9, 9]],
        "ism_hi": [[2, 2, 3, 7, 7, 7, 7, 8, 9, 11, 11, 12, 13]],
    }


def test_shifted_labels_are_what_a_position_predicts() -> None:
    batch = lists(Collator(labels="shifted")([two_documents()]))
    assert batch["labels"] == [[N, 2, N, 50, 2, N, N, 50, 2, N]]
    assert batch["input_ids"] == [IDS]


def test_an_answer_without_loss_is_seen_and_not_trained() -> None:
    batch = lists(Collator()([pack(row((source(0, 0), "1:22- 1:2")))]))
    assert batch["labels"] == [[N, N, N, N, 2]]
    assert batch["ism_hi"] == [[1, 2, 3, 4, 5]]


def test_the_mask_can_be_left_out() -> None:
    assert set(Collator(mask=None)([two_documents()])) == {"input_ids", "labels", "position_ids"}


# padding


def test_rows_are_padded_to_the_longest() -> None:
    short = pack(row((source(0, 2), "11:2")))
    batch = lists(Collator(pad_id=9)([short, pack(row((source(0, 3), "11:222")))]))
    assert batch == {
        "input_ids": [[10, 11, 2, 9, 9], [10, 11, 50, 51, 2]],
        "labels": [[N, N, 2, N, N], [N, N, 50, 51, 2]],
        "position_ids": [[0, 1, 2, 0, 1], [0, 1, 2, 3, 4]],
        "ism_lo": [[0, 0, 0, 3, 3], [0, 0, 0, 0, 0]],
        "ism_hi": [[2, 2, 3, 4, 5], [2, 2, 3, 4, 5]],
    }


@pytest.mark.parametrize(
    ("options", "length"),
    [
        ({"pad_to": 16}, 16),
        ({"pad_to": 10}, 10),
        ({"pad_to_multiple_of": 8}, 16),
        ({"pad_to_multiple_of": 5}, 10),
        ({"pad_to_multiple_of": 8, "kind": "triplets"}, 16),
        ({"pad_to_multiple_of": 6, "kind": "triplets"}, 18),
    ],
)
def test_a_length_can_be_asked_for(options: dict[str, Any], length: int) -> None:
    batch = Collator(**options)([two_documents()])
    assert {tuple(value.shape) for value in batch.values()} == {(1, length)}


# masks written out


def test_dense_masks() -> None:
    one = pack(row((source(0, 0), "11:2")))
    seen = [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]]
    boolean = Collator(mask="bool", pad_to=4)(one)["attention_mask"]
    assert isinstance(boolean, Tensor)
    assert boolean.dtype == torch.bool
    assert boolean.int().tolist() == [[seen]]
    added = Collator(mask="float", pad_to=4)(one)["attention_mask"]
    assert isinstance(added, Tensor)
    assert added.dtype == torch.float32
    assert torch.equal(added == 0, boolean)
    assert (added[~boolean] == torch.finfo(torch.float32).min).all()


# against the definition, for any rows

TURN = st.tuples(st.text("13577", max_size=3), st.integers(1, 3), st.booleans()).map(
    lambda turn: f"{turn[0]}:{'2' * turn[1]}{'' if turn[2] else '-'}"
)
DOCUMENT = st.tuples(st.sampled_from("13"), st.lists(TURN, min_size=1, max_size=3)).map(
    lambda made: (source(0, 0), " ".join([made[0] + made[1][0], *made[1][1:]]))
)
PACK = st.lists(DOCUMENT, min_size=1, max_size=3).map(lambda documents: pack(row(*documents)))


def reference(one: Pack, kind: str) -> tuple[list[int], list[int], list[int], np.ndarray]:
    """Ids, unshifted labels, positions and dense mask of one unpadded row, document by document and turn by turn."""
    documents = []
    for k in range(len(one.seq_lengths)):
        own = one.document(k)
        ends = [t for t in range(len(own)) if t + 1 == len(own) or own.turn_ids[t] != own.turn_ids[t + 1]]
        last = int(own.turn_ids[-1])
        for end in ends if kind == "triplets" else ends[-1:]:
            turn = int(own.turn_ids[end])
            taken = {turn} if kind == "triplets" else {last} if kind == "prefix" else set(range(last + 1))
            ids = own.input_ids[: end + 1].tolist()
            loss = [bool(own.loss_mask[t]) and own.turn_ids[t] in taken for t in range(end + 1)]
            mask = masks.dense(
                own.segment_type_ids[: end + 1], own.turn_ids[: end + 1], [end + 1],
                "prefix" if kind == "triplets" else kind,  # type: ignore[arg-type]
            )  # fmt: skip
            documents.append((ids, loss, mask))
    total = sum(len(ids) for ids, _, _ in documents)
    whole, start = np.zeros((total, total), bool), 0
    for ids, _, mask in documents:
        whole[start : start + len(ids), start : start + len(ids)] = mask
        start += len(ids)
    ids = [i for own_ids, _, _ in documents for i in own_ids]
    loss = [flag for _, own_loss, _ in documents for flag in own_loss]
    labels = [i if flag else N for i, flag in zip(ids, loss, strict=True)]
    return ids, labels, [p for own_ids, _, _ in documents for p in range(len(own_ids))], whole


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(PACK, min_size=1, max_size=3), kind=st.sampled_from(KINDS), extra=st.integers(0, 3))
def test_batches_are_what_the_definition_says(rows: list[Pack], kind: Any, extra: int) -> None:
    expected = [reference(one, kind) for one in rows]
    length = max(len(ids) for ids, *_ in expected) + extra
    if all(label == N for _, labels, *_ in expected for label in labels):
        with pytest.raises(TrainingError, match="no token of the batch carries loss"):
            Collator(kind)(rows)
        return
    batch = lists(Collator(kind, mask="bool", pad_to=length)(rows))
    shifted = lists(Collator(kind, labels="shifted", pad_to=length)(rows))
    for b, (ids, labels, positions, mask) in enumerate(expected):
        missing = length - len(ids)
        assert batch["input_ids"][b] == ids + [0] * missing
        assert batch["labels"][b] == labels + [N] * missing
        assert batch["position_ids"][b] == [*positions, *range(missing)]
        assert shifted["labels"][b] == [*labels[1:], *[N] * (missing + 1)]
        whole = np.zeros((length, length), bool)
        whole[: len(ids), : len(ids)] = mask
        whole[len(ids) :, len(ids) :] = np.tri(missing, dtype=bool)
        assert np.array_equal(batch["attention_mask"][b][0], whole)


# where rows come from


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Builder(tmp_path_factory.mktemp("collate") / "dataset").write().directory


@pytest.mark.parametrize("form", [None, "numpy", "torch"])
def test_rows_of_datasets_need_no_glue(directory: Path, form: str | None) -> None:
    rows = Dataset.from_file(str(directory / "shard-00000.arrow")).with_format(form)
    packs = load(directory)
    assert lists(Collator()([rows[0], rows[2]])) == lists(Collator()([packs[0], packs[2]]))


def test_a_single_row_is_a_batch_of_one() -> None:
    one = two_documents()
    assert lists(Collator()(one)) == lists(Collator()([one]))
    mapping = {name: getattr(one, name) for name in COLUMNS}
    assert lists(Collator()(mapping)) == lists(Collator()([one]))


def test_a_data_loader_collates_in_a_worker(directory: Path) -> None:
    stream = PackStream(directory, batch_size=2)
    batches = list(DataLoader(stream, batch_size=None, collate_fn=Collator(pad_to=16), num_workers=1))
    assert [tuple(batch["labels"].shape) for batch in batches] == [(2, 16), (2, 16), (1, 16)]
    assert [lists(batch) for batch in batches] == [lists(Collator(pad_to=16)(packs)) for packs in stream]


def test_copies_are_equal() -> None:
    collator = Collator("mas", labels="shifted", pad_to=16)
    assert pickle.loads(pickle.dumps(collator)) == collator  # noqa: S301


def test_a_trainer_hands_packs_through(directory: Path, tmp_path: Path) -> None:
    """Trainers of Hugging Face wrap the collator in one that removes columns from mappings; a Pack is none."""
    model = torch.nn.Linear(1, 1)
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[], per_device_train_batch_size=2)
    dataset = PackDataset(directory)
    trainer = Trainer(model, arguments, data_collator=Collator(), train_dataset=dataset)
    assert arguments.remove_unused_columns
    assert isinstance(trainer._get_collator_with_removed_columns(Collator()), RemoveColumnsCollator)
    batches = list(trainer.get_train_dataloader())
    assert {frozenset(batch) for batch in batches} == {
        frozenset({"input_ids", "labels", "position_ids", "ism_lo", "ism_hi"})
    }
    assert sum(int((batch["labels"] != N).sum()) for batch in batches) == dataset.rows.manifest.totals.loss_tokens


# refusals


def refused(collator: Collator, rows: Any) -> TrainingError:
    with pytest.raises(TrainingError) as caught:
        collator(rows)
    assert caught.value.code == "bad-batch"
    return caught.value


def test_a_row_longer_than_asked_is_never_cut() -> None:
    error = refused(Collator(pad_to=9), [two_documents()])
    assert error.message == "a row has 10 tokens, more than pad_to=9"
    assert error.hint == "Set pad_to to 10 or more, or convert with a smaller --max-length; rows are never cut."
    error = refused(Collator("triplets", pad_to=12), [two_documents()])
    assert error.message == "a row has 13 tokens after triplet expansion, more than pad_to=12"


def test_a_batch_without_targets_is_refused() -> None:
    untrained = pack(row((source(0, 0), "1:2 1:2-")))
    assert Collator()([untrained])["labels"].tolist() == [[N, 2, N, N]]
    assert refused(Collator("prefix"), [untrained]).message.startswith("no token of the batch carries loss under kind")
    assert Collator("prefix")([untrained, two_documents()])


def test_a_batch_without_targets_names_its_documents() -> None:
    rows = [pack(row((source(0, 5), "1:2 1:2-"), (source(1, 3), "1:2 1:2-"))), pack(row((source(0, 7), "1:2-")))]
    told = "; source_ids of its documents: 5, 1099511627779, 7 (`ismpack.load(DIR).source(id)` names the line)"
    assert refused(Collator("prefix"), rows).message.endswith(f"would be no number{told}")
    mappings = [{name: getattr(one, name) for name in COLUMNS} for one in rows]
    assert refused(Collator("prefix"), mappings).message.endswith(told)
    without = [{name: column for name, column in one.items() if name != "source_ids"} for one in mappings]
    assert refused(Collator("prefix"), without).message.endswith("would be no number")
    assert (
        "0, 1, 2, 3, 4, 5, 6, 7, ... ("
        in refused(Collator(), pack(row(*[(source(0, k), "1:2-") for k in range(9)]))).message
    )


def test_a_batch_without_targets_can_be_allowed() -> None:
    untrained = pack(row((source(0, 0), "1:2 1:2-")))
    batch = lists(Collator("prefix", allow_no_loss=True)([untrained]))
    assert batch["labels"] == [[N] * 4]
    assert batch["input_ids"] == [[10, 2, 10, 2]]


def test_several_rows_need_a_mask() -> None:
    error = refused(Collator(mask=None), [two_documents(), two_documents()])
    assert error.message == "2 rows in a batch without a mask: nothing would keep their documents apart"
    assert error.hint is not None
    assert "one row per batch" in error.hint


def test_no_rows_are_no_batch() -> None:
    assert refused(Collator(), []).message == "the batch holds no rows"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (5, "a batch is a Pack, a mapping of columns or a list of them, not a int"),
        (None, "a batch is a Pack, a mapping of columns or a list of them, not a NoneType"),
        ("row", "a row is a Pack or a mapping of columns, not a str"),
    ],
)
def test_what_is_no_batch_is_refused(rows: object, message: str) -> None:
    assert refused(Collator(), rows).message == message


def test_batches_of_batches_are_refused_with_what_to_do(directory: Path) -> None:
    stream = DataLoader(PackStream(directory), collate_fn=Collator())  # without batch_size=None
    with pytest.raises(TrainingError, match="not a list") as caught:
        next(iter(stream))
    assert caught.value.hint is not None
    assert "batch_size=None" in caught.value.hint


def test_removed_columns_are_named() -> None:
    error = refused(Collator(), [{"input_ids": [1], "seq_lengths": [1]}])
    assert error.message == "a row has no column segment_type_ids, turn_ids, loss_mask"
    assert error.hint is not None
    assert "remove_unused_columns=False" in error.hint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss_mask": [0, 1, 1, 0, 1, 1, 0, 0, 1, 1]}, "token 1 carries loss but is no answer"),
        ({"segment_type_ids": [2] * 10, "loss_mask": [1] * 10}, "token 0 carries loss but is no answer, or nothing"),
        ({"seq_lengths": [6, 3]}, "do not fit each other: seq_lengths sum to 9"),
        ({"turn_ids": [0] * 10}, "do not fit each other: token 3"),
        ({"input_ids": IDS[:-1]}, "the columns of a row differ in length"),
        ({"input_ids": [IDS]}, r"input_ids is not one list of integers but int64[1, 10]"),
        ({"input_ids": [IDS, [1]]}, "input_ids is not one list of integers"),
        ({"input_ids": [0.5] * 10}, "input_ids is not one list of integers but float64[10]"),
        (dict.fromkeys(COLUMNS, np.array([], np.int32)), "a row holds no token"),
    ],
)
def test_columns_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    one = two_documents()
    columns = {name: getattr(one, name).tolist() for name in COLUMNS}
    assert Collator()([columns])
    assert message in refused(Collator(), [columns | change]).message


def test_the_leak_check_catches_what_should_never_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "trainable", lambda types, *_: np.asarray(types) == 2)
    error = refused(Collator("prefix"), [two_documents()])
    assert error.message == "token 2 carries loss, but what predicts it sees it or is another document"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "isn"}, "kind='isn' does not exist; choose one of 'ism', 'causal', 'mas', 'prefix', 'triplets'"),
        ({"mask": "dense"}, "mask='dense' does not exist; choose one of 'intervals', 'bool', 'float', None"),
        ({"labels": "aligned"}, "labels='aligned' does not exist; choose one of 'unshifted', 'shifted'"),
        ({"pad_to": 8, "pad_to_multiple_of": 8}, "pad_to and pad_to_multiple_of are both given"),
        ({"pad_to": 0}, "pad_to must be 1 or more, got 0"),
        ({"pad_to": "8"}, "pad_to must be a whole number, got '8'"),
        ({"pad_to_multiple_of": 0}, "pad_to_multiple_of must be 1 or more, got 0"),
        ({"pad_id": -1}, "pad_id must be 0 or more, got -1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        Collator(**options)
    assert caught.value.code == "bad-option"


def test_whole_numbers_of_numpy_are_options() -> None:
    collator = Collator(pad_to=np.int64(16), pad_id=np.int32(3))  # type: ignore[arg-type]
    assert collator == Collator(pad_to=16, pad_id=3)
    assert (type(collator.pad_to), type(collator.pad_id)) == (int, int)


def test_a_traceback_shows_what_to_do() -> None:
    """A training script has no command line that would print the hint."""
    error = refused(Collator(pad_to=3), two_documents())
    assert error.__notes__ == [f"hint: {error.hint}"]
    assert error.__notes__[0].startswith("hint: Set pad_to to 10 or more")
