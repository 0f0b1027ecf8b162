"""Training with the trainers people have: packed rows give the loss of the same conversations alone, and the ways in
which those trainers silently compute something else are not ours.

Every test of a trap first shows that the installed versions still have it; a trap that is gone fails here, so that the
documents can drop it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, load_from_disk
from tiny_models import VOCABULARY, tiny_model
from torch.nn.functional import cross_entropy
from transformers import (
    AutoTokenizer,
    DataCollatorWithFlattening,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
)
from transformers.masking_utils import create_causal_mask
from trl import SFTConfig, SFTTrainer

import ismpack
from ismpack.data import Pack
from ismpack.errors import IsmpackError
from ismpack.schema import COLUMNS
from ismpack.torch import Collator, PackDataset, dense_mask, install_ism

pytestmark = [
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
]

EXACT = 1e-5
WRONG = 1e-4
"""What a trap changes, at least: ten times what is allowed."""
WINDOW = 24
SIZES = {
    "vocab_size": 4096,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.15,
    "max_position_embeddings": 1024,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, sample_data: Path) -> Path:
    """Rows of several short conversations each, with the stored labels that trainers without glue need."""
    target = tmp_path_factory.mktemp("trainers") / "out"
    ismpack.convert(
        [sample_data / "alpaca.jsonl", sample_data / "chat.jsonl"],
        target,
        tokenizer=str(sample_data / "tokenizer"),
        max_length=192,
        limit=14,
        with_columns=("labels", "position_ids"),
    )
    rows = ismpack.load(target)
    assert max(len(row.seq_lengths) for row in rows) > 1, "packed"
    assert rows.manifest.totals.turns > rows.manifest.totals.samples, "of several turns"
    return target


@pytest.fixture
def dataset(directory: Path) -> Dataset:
    return load_from_disk(str(directory))


@pytest.fixture(scope="module")
def row(directory: Path) -> Pack:
    """A row of several documents, the one with the most turns."""
    packed = [pack for pack in ismpack.load(directory) if len(pack.seq_lengths) > 1]
    return max(packed, key=lambda pack: len(set(pack.turn_ids.tolist())))


def llama(attention: str = "sdpa") -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES, attn_implementation=attention))


def mistral() -> MistralForCausalLM:
    """Every layer sees only the last `WINDOW` tokens."""
    torch.manual_seed(0)
    return MistralForCausalLM(MistralConfig(**SIZES, sliding_window=WINDOW, attn_implementation="sdpa"))


def sees(pack: Pack, kind: str, window: int | None = None) -> torch.Tensor:
    """bool[T, T] of one conversation, straight from the definition."""
    types, turns = torch.tensor(pack.segment_type_ids.tolist()), torch.tensor(pack.turn_ids.tolist())
    token = torch.arange(len(types))
    mask = token <= token[:, None]
    if kind == "ism":
        query = types % 2 == 1
        mask = mask | (query & query[:, None] & (turns == turns[:, None]))
    return mask if window is None else mask & (token > token[:, None] - window)


@torch.no_grad()
def logits_alone(model: PreTrainedModel, pack: Pack, kind: str, window: int | None = None) -> torch.Tensor:
    """What the model says about one conversation that has a row to itself."""
    ids = torch.tensor(pack.input_ids.tolist())[None]
    return model(input_ids=ids, attention_mask=sees(pack, kind, window)[None, None], use_cache=False).logits[0]


def documents(directory: Path) -> list[Pack]:
    return [pack.document(k) for pack in ismpack.load(directory) for k in range(len(pack.seq_lengths))]


def loss_alone(directory: Path, kind: str, *, every_token: bool = False) -> float:
    """Mean loss over the targets of all conversations, one at a time."""
    model, total, count = llama().eval(), 0.0, 0
    for pack in documents(directory):
        target = torch.tensor(pack.loss_mask.tolist()).bool() | every_token
        labels = torch.where(target, torch.tensor(pack.input_ids.tolist()), -100)[1:]
        total += cross_entropy(logits_alone(model, pack, kind)[:-1].double(), labels, reduction="sum").item()
        count += int((labels != -100).sum())
    return total / count


def settings(folder: Path, rows: int, steps: int) -> dict[str, object]:
    """All rows in every step, so that the first loss is the loss of the whole dataset in whatever order."""
    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": rows,
        "learning_rate": 3e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }


def losses(trainer: Trainer) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def sft(folder: Path, dataset: Dataset, model: PreTrainedModel | None = None, **options: object) -> SFTTrainer:
    """TRL with nothing but what differs from its defaults."""
    collator = options.pop("data_collator", None)
    steps, rows = options.pop("steps", 1), options.pop("rows", len(dataset))
    tokenizer = AutoTokenizer.from_pretrained(Path(__file__).parent.parent / "sample_data" / "tokenizer")
    arguments = SFTConfig(**settings(folder, rows, steps), bf16=False, **options)
    return SFTTrainer(
        model=model or llama(),
        args=arguments,
        train_dataset=dataset,
        processing_class=tokenizer,
        data_collator=collator,
    )


TRL_ISM = {"remove_unused_columns": False, "dataset_kwargs": {"skip_prepare_dataset": True}}
TRL_CAUSAL = {"padding_free": True, "max_length": None}


class TestSameLossAsAlone:
    def test_the_two_kinds_differ(self, directory: Path) -> None:
        assert abs(loss_alone(directory, "ism") - loss_alone(directory, "causal")) > WRONG

    @pytest.mark.parametrize("kind", ["ism", "causal"])
    def test_trainer(self, directory: Path, tmp_path: Path, kind: str) -> None:
        model, rows = llama(), PackDataset(directory)
        install_ism(model)
        arguments = TrainingArguments(**settings(tmp_path, len(rows), 12 if kind == "ism" else 1))
        found = losses(Trainer(model=model, args=arguments, train_dataset=rows, data_collator=Collator(kind)))
        assert found[0] == pytest.approx(loss_alone(directory, kind), abs=EXACT)
        assert kind == "causal" or found[-1] < found[0] - 0.3

    @pytest.mark.parametrize("kind", ["ism", "causal"])
    def test_trl(self, directory: Path, dataset: Dataset, tmp_path: Path, kind: str) -> None:
        model = llama()
        install_ism(model)
        steps = 12 if kind == "ism" else 1
        found = losses(sft(tmp_path, dataset, model, data_collator=Collator(kind), steps=steps, **TRL_ISM))
        assert found[0] == pytest.approx(loss_alone(directory, kind), abs=EXACT)
        assert kind == "causal" or found[-1] < found[0] - 0.3

    def test_trl_causal_without_glue(self, directory: Path, dataset: Dataset, tmp_path: Path) -> None:
        found = losses(sft(tmp_path, dataset.remove_columns("position_ids"), steps=12, **TRL_CAUSAL))
        assert found[0] == pytest.approx(loss_alone(directory, "causal"), abs=EXACT)
        assert found[-1] < found[0] - 0.3

    def test_trainer_causal_without_glue(self, directory: Path, dataset: Dataset, tmp_path: Path) -> None:
        """`--with labels,position_ids` and one row per device; rows of several lengths cannot share a batch."""
        rows = len(dataset)
        arguments = TrainingArguments(**settings(tmp_path, 1, 1), gradient_accumulation_steps=rows)
        assert losses(Trainer(model=llama(), args=arguments, train_dataset=dataset)) == [
            pytest.approx(loss_alone(directory, "causal"), abs=EXACT)
        ]
        without = dataset.remove_columns("position_ids")
        (trap,) = losses(Trainer(model=llama(), args=arguments, train_dataset=without))
        assert abs(trap - loss_alone(directory, "causal")) > WRONG, "without positions, documents see each other"

    def test_accumulated_steps_count_tokens_once(self, directory: Path, tmp_path: Path) -> None:
        model, rows = llama(), PackDataset(directory)
        install_ism(model)
        arguments = TrainingArguments(**settings(tmp_path, 2, 1), gradient_accumulation_steps=-(-len(rows) // 2))
        found = losses(Trainer(model=model, args=arguments, train_dataset=rows, data_collator=Collator()))
        assert found == [pytest.approx(loss_alone(directory, "ism"), abs=EXACT)]

    def test_one_row_at_a_time_is_not_padded(self, directory: Path, dataset: Dataset, tmp_path: Path) -> None:
        model = llama()
        install_ism(model)
        one = dataset.select([0])
        trainer = sft(tmp_path, one, model, data_collator=Collator(), **TRL_ISM)
        pack = ismpack.load(directory)[0]
        total = count = 0.0
        for document in (pack.document(k) for k in range(len(pack.seq_lengths))):
            labels = torch.tensor(np.where(document.loss_mask, document.input_ids, -100)[1:].astype(np.int64))
            total += cross_entropy(logits_alone(llama(), document, "ism")[:-1], labels, reduction="sum").item()
            count += int((labels != -100).sum())
        assert losses(trainer) == [pytest.approx(total / count, abs=EXACT)]
        assert trainer.state.log_history[0]["num_tokens"] == len(pack), "no padding, and no pairs counted as tokens"


class TestTrapsOfTrl:
    def test_loss_mask_is_ignored(self, directory: Path, dataset: Dataset, tmp_path: Path) -> None:
        (trap,) = losses(sft(tmp_path, dataset.remove_columns("labels"), **TRL_CAUSAL))
        assert trap == pytest.approx(loss_alone(directory, "causal", every_token=True), abs=EXACT)
        assert abs(trap - loss_alone(directory, "causal")) > WRONG
        # `--with labels` (test_trl_causal_without_glue) or the name that TRL knows, which `--with` stores as well:
        renamed = dataset.remove_columns("labels").rename_column("loss_mask", "assistant_masks")
        (ours,) = losses(sft(tmp_path, renamed, **TRL_CAUSAL))
        assert ours == pytest.approx(loss_alone(directory, "causal"), abs=EXACT)

    def test_without_padding_free_documents_see_each_other(
        self, directory: Path, dataset: Dataset, tmp_path: Path
    ) -> None:
        (trap,) = losses(sft(tmp_path, dataset, padding_free=False, max_length=None))
        assert abs(trap - loss_alone(directory, "causal")) > WRONG
        model = llama()
        install_ism(model)
        (ours,) = losses(sft(tmp_path, dataset, model, data_collator=Collator("causal"), **TRL_ISM))
        assert ours == pytest.approx(loss_alone(directory, "causal"), abs=EXACT)

    def test_rows_are_cut_to_max_length(self, directory: Path, dataset: Dataset, tmp_path: Path) -> None:
        whole = [len(pack) for pack in ismpack.load(directory)]
        trap = sft(tmp_path, dataset, max_length=64)
        assert {len(ids) for ids in trap.train_dataset["input_ids"]} == {64}, "and no word about it"
        ours = sft(tmp_path, dataset, data_collator=Collator(), max_length=64, **TRL_ISM)
        assert [len(ids) for ids in ours.train_dataset["input_ids"]] == whole

    def test_columns_are_taken_away(self, dataset: Dataset, tmp_path: Path) -> None:
        trap = sft(tmp_path, dataset, dataset_kwargs={"skip_prepare_dataset": True})
        assert {"segment_type_ids", "turn_ids", "loss_mask"} & set(next(iter(trap.get_train_dataloader()))) == set()
        ours = sft(tmp_path, dataset, data_collator=Collator(), dataset_kwargs={"skip_prepare_dataset": True})
        with pytest.raises(IsmpackError, match="no column segment_type_ids") as refused:
            ours.train()
        assert "remove_unused_columns=False" in str(refused.value.hint)

    def test_its_own_collator_would_lose_the_mask(self, dataset: Dataset, tmp_path: Path) -> None:
        assert np.isfinite(losses(sft(tmp_path, dataset, **TRL_CAUSAL))[0]), "no word about a mask"
        model = llama()
        install_ism(model)
        with pytest.raises(IsmpackError) as refused:
            sft(tmp_path, dataset, model, **TRL_CAUSAL).train()
        assert refused.value.code == "mask-missing"

    def test_dense_masks_break_its_counter(self, dataset: Dataset, tmp_path: Path) -> None:
        one = dataset.select([0])
        tokens = len(one[0]["input_ids"])
        trap = sft(tmp_path, one, data_collator=Collator(mask="bool"), **TRL_ISM)
        losses(trap)
        assert trap.state.log_history[0]["num_tokens"] > tokens, "pairs"
        # Ours: test_one_row_at_a_time_is_not_padded


class TestTrapsOfTransformers:
    def test_a_model_without_the_hook_ignores_the_mask(self, row: Pack) -> None:
        model = llama().train()
        batch = without_labels(Collator()(row))
        causal = torch.cat([logits_alone(model, row.document(k), "causal") for k in range(len(row.seq_lengths))])
        ism = torch.cat([logits_alone(model, row.document(k), "ism") for k in range(len(row.seq_lengths))])
        assert difference(model(**batch, use_cache=False).logits, causal) < EXACT, "the trap: not a word about ism_lo"
        collator = install_ism(model).collator()  # who takes the collator from here cannot forget the hook
        assert difference(model(**without_labels(collator(row))).logits, ism) < EXACT

    def test_trainer_takes_columns_away(self, dataset: Dataset, tmp_path: Path) -> None:
        def keys(rows: list[Mapping[str, object]]) -> dict[str, torch.Tensor]:
            assert "segment_type_ids" not in rows[0], "the trap"
            return Collator()(rows)

        trainer = Trainer(llama(), TrainingArguments(**settings(tmp_path, 1, 1)), keys, dataset)
        with pytest.raises(IsmpackError, match="no column segment_type_ids") as refused:
            trainer.train()
        assert "remove_unused_columns=False" in str(refused.value.hint)
        # Rows of a PackDataset are not dictionaries, so nothing is taken away: test_trainer needs no such option.

    def test_flattening_collator_counts_over_documents(self, row: Pack) -> None:
        rows = [{"input_ids": row.input_ids.tolist(), "labels": row.input_ids.tolist()}]
        trap = DataCollatorWithFlattening()(rows)["position_ids"][0].tolist()
        assert trap == list(range(len(row)))
        batch = Collator("causal")(row)
        assert batch["position_ids"][0].tolist() == [at for length in row.seq_lengths for at in range(length)]
        model = llama().eval()
        alone = torch.cat([logits_alone(model, row.document(k), "causal") for k in range(len(row.seq_lengths))])
        flat = model(input_ids=batch["input_ids"], position_ids=torch.tensor([trap]), use_cache=False).logits
        assert difference(flat, alone) > 0.1, "documents see each other"
        install_ism(model)
        assert difference(model(**without_labels(batch)).logits, alone) < EXACT

    def test_a_cache_lets_documents_see_each_other(self, row: Pack) -> None:
        model = llama().train()  # dropout is 0
        batch = Collator("causal")(row)
        alone = torch.cat([logits_alone(model, row.document(k), "causal") for k in range(len(row.seq_lengths))])
        packed = {name: batch[name] for name in ("input_ids", "position_ids")}
        assert difference(model(**packed).logits, alone) > 0.1, "the trap: use_cache is on by default"
        assert difference(model(**packed, use_cache=False).logits, alone) < EXACT
        install_ism(model)
        assert difference(model(**without_labels(batch)).logits, alone) < EXACT
        assert difference(model(**without_labels(batch), use_cache=True).logits, alone) < EXACT

    def test_one_mask_drops_the_sliding_window(self, row: Pack) -> None:
        model = mistral().eval()
        alone = torch.cat([logits_alone(model, row.document(k), "ism", WINDOW) for k in range(len(row.seq_lengths))])
        trap = without_labels(Collator(mask="bool")(row))
        assert difference(model(**trap).logits, alone) > 0.1
        install_ism(model)
        assert difference(model(**without_labels(Collator()(row))).logits, alone) < EXACT

    def test_eager_adds_bool_masks(self, row: Pack) -> None:
        alone = torch.cat([logits_alone(llama(), row.document(k), "ism") for k in range(len(row.seq_lengths))])
        model = llama("eager").eval()
        trap = without_labels(Collator(mask="bool")(row))
        assert difference(model(**trap).logits, alone) > 0.1
        install_ism(model)
        assert difference(model(**without_labels(Collator()(row))).logits, alone) < EXACT
        with pytest.raises(IsmpackError) as refused:
            model(**trap)
        assert refused.value.code == "mask-unsupported"

    def test_token_type_ids_of_gemma_are_right_for_one_document_alone(self, row: Pack) -> None:
        """Gemma 3 with images lets runs of `token_type_ids` 1 see each other, and counts them anew in packed rows."""
        model = tiny_model("gemma3-images")
        pack = row.document(0), row.document(1)
        batches = [Collator()(one) for one in (*pack, two_documents(*pack))]
        for batch in batches:
            batch["input_ids"] %= VOCABULARY - 10  # below the ids that stand for images
        types = [torch.tensor(one.segment_type_ids.tolist())[None] % 2 for one in (*pack, two_documents(*pack))]
        trap = [
            model(**without_labels(without_intervals(batch)), token_type_ids=kinds, use_cache=False).logits
            for batch, kinds in zip(batches, types, strict=True)
        ]
        install_ism(model)
        ours = [model(**without_labels(batch)).logits for batch in batches]
        alone = torch.cat([one[0] for one in ours[:2]])
        assert difference(torch.cat(trap[:2], 1), alone) < EXACT, "right for a document that has a row to itself"
        assert difference(trap[2], alone) > 0.1, "the trap"
        assert difference(ours[2], alone) < EXACT

    def test_labels_are_never_shifted(self, row: Pack) -> None:
        model = llama().eval()
        batch = Collator()(row)
        right = model(**without_intervals(batch), use_cache=False)
        trap = cross_entropy(right.logits[0], batch["labels"][0])
        assert abs(trap - right.loss).item() > WRONG
        # `labels="shifted"` is for losses that do not shift: test_labels_are_shifted_twice

    def test_labels_are_shifted_twice(self, row: Pack) -> None:
        model = llama().eval()
        shifted, unshifted = Collator(labels="shifted")(row), Collator()(row)
        right = model(**without_intervals(unshifted), use_cache=False)
        trap = model(**without_intervals(shifted), use_cache=False).loss
        assert abs(trap - right.loss).item() > WRONG
        assert cross_entropy(right.logits[0], shifted["labels"][0]).item() == pytest.approx(
            right.loss.item(), abs=EXACT
        )

    @pytest.mark.parametrize("ids_of", ["conversation", "row"])
    def test_block_sequence_ids(self, row: Pack, ids_of: str) -> None:
        turns = row.turn_ids.copy()
        if ids_of == "conversation":  # what a dataset that counts turns per conversation would give
            turns = np.concatenate([row.document(k).turn_ids for k in range(len(row.seq_lengths))])
        blocks = torch.tensor(np.where(row.segment_type_ids % 2 == 1, turns, -1)[None].astype(np.int64))
        mask = library_mask(row, block_sequence_ids=blocks)
        assert torch.equal(mask, packed_mask(row)) == (ids_of == "row"), "the trap: ids must be unique in the row"

    def test_or_mask_function_counts_within_documents(self, row: Pack) -> None:
        batch = Collator()(row)
        hi = batch["ism_hi"]

        def block(b: int, _head: int, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
            return (key >= query) & (key < hi[b, query])

        assert not torch.equal(library_mask(row, or_mask_function=block), packed_mask(row)), "the trap"
        assert torch.equal(dense_mask(batch["ism_lo"], hi)[0, 0], packed_mask(row))


def test_prefix_masks_leak_all_answers_but_the_last(row: Pack) -> None:
    hi = ismpack.masks.intervals(row.segment_type_ids, row.turn_ids, row.seq_lengths, "prefix").hi
    target = np.flatnonzero(row.loss_mask)
    leaks = target[hi[target - 1] > target]
    assert len(leaks), "the trap: what predicts these tokens sees them"
    trained = np.flatnonzero(Collator("prefix")(row)["labels"][0].numpy() != -100)
    assert len(trained)
    assert not set(trained) & set(leaks)


def difference(logits: torch.Tensor, alone: torch.Tensor) -> float:
    return (logits[0] - alone).abs().max().item()


def two_documents(first: Pack, second: Pack) -> Pack:
    """One row of both."""
    columns = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in COLUMNS}
    columns["turn_ids"] = np.concatenate([first.turn_ids, second.turn_ids + first.turn_ids[-1] + 1])
    return Pack(**columns)


def without_labels(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in batch.items() if name != "labels"}


def without_intervals(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in batch.items() if not name.startswith("ism_")}


def packed_mask(row: Pack) -> torch.Tensor:
    """bool[T, T]: the conversations of a row, none of which sees another."""
    return torch.block_diag(*(sees(row.document(k), "ism").int() for k in range(len(row.seq_lengths)))).bool()


def library_mask(row: Pack, **options: torch.Tensor | Callable[..., torch.Tensor]) -> torch.Tensor:
    """bool[T, T] that transformers makes for a packed row."""
    positions = torch.tensor([position for length in row.seq_lengths for position in range(length)])[None]
    states = torch.zeros(1, len(row), SIZES["hidden_size"])
    mask = create_causal_mask(
        config=llama().config,
        inputs_embeds=states,
        attention_mask=None,
        past_key_values=None,
        position_ids=positions,
        **options,
    )
    return mask[0, 0]
