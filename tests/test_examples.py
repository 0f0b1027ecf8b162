"""Every example runs, does what its first lines say, and stays as short as an example should be."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import ismpack
import ismpack.torch

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "tiny_model")

pytestmark = [
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def examples_on_the_path() -> Iterator[None]:
    """As when a script is run from there."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        yield


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, sample_data: Path) -> str:
    target = tmp_path_factory.mktemp("examples") / "out"
    ismpack.convert(
        [sample_data / "alpaca.jsonl", sample_data / "chat.jsonl"],
        target,
        tokenizer=str(sample_data / "tokenizer"),
        max_length=192,
        limit=14,
        with_columns=("labels",),
    )
    return str(target)


def example(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.mark.parametrize("name", ["hf_trainer", "plain_loop", "trl_causal", "trl_ism"])
def test_loss_falls(directory: str, name: str) -> None:
    losses = example(name).main([directory, "--steps", "8", "--learning-rate", "0.01"])
    assert len(losses) == 8
    assert min(losses[-2:]) < losses[0] - 0.5


def test_plain_loop_knows_other_attention(directory: str) -> None:
    sdpa, eager = (
        example("plain_loop").main([directory, "--steps", "2", "--attention", name]) for name in ("sdpa", "eager")
    )
    assert sdpa == pytest.approx(eager, abs=1e-5)


def test_trl_causal_wants_stored_labels(tmp_path: Path, sample_data: Path) -> None:
    plain = tmp_path / "out"
    ismpack.convert(sample_data / "alpaca.jsonl", plain, tokenizer=str(sample_data / "tokenizer"))
    with pytest.raises(SystemExit, match="convert with --with labels"):
        example("trl_causal").main([str(plain)])


def test_ablation(directory: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = example("ablation").main([directory, "--steps", "3"])
    assert list(table) == ["causal", "mas", "ism", "prefix", "triplets"]
    assert table["causal"]["tokens"] == table["ism"]["tokens"] < table["triplets"]["tokens"]
    assert table["prefix"]["targets"] < table["ism"]["targets"] == table["triplets"]["targets"]
    assert len({row["first"] for row in table.values()}) == 5, "five masks, five losses from the same weights"
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_ablation_holds_rows_out(tmp_path: Path, sample_data: Path) -> None:
    ismpack.convert(
        sample_data / "chat.jsonl", tmp_path / "out", tokenizer=str(sample_data / "tokenizer"), max_length=16_384
    )
    with pytest.raises(SystemExit, match="at least two are needed"):
        example("ablation").main([str(tmp_path / "out")])


class TestLateQuestion:
    def test_answers_are_right(self) -> None:
        toy = example("late_question")
        rng = toy.random.Random(0)
        for _ in range(50):
            contents = [message["content"] for message in toy.conversation(rng)["messages"]]
            for question, answer in zip(contents[::2], contents[1::2], strict=True):
                *row, asked = question.split()
                assert [letter for letter in set(row) if row.count(letter) == int(asked)] == [answer]

    def test_shows_the_course_of_every_seed(self, capsys: pytest.CaptureFixture[str]) -> None:
        options = ["--steps", "6", "--seeds", "2", "--checkpoints", "2", "--conversations", "120", "--batch-size", "4"]
        courses = example("late_question").main(options)
        assert [np.shape(course) for course in courses.values()] == [(2, 2)] * 2
        lines = capsys.readouterr().out.splitlines()
        assert re.fullmatch(r" +6( +0\.\d\d \(0\.\d\d \.\. 0\.\d\d\)){2}", lines[-1])
        assert courses == example("late_question").main(options), "seeded"

    @pytest.mark.parametrize("options", [["--steps", "4"], ["--steps", "0"], ["--seeds", "0"]])
    def test_refuses_what_leaves_nothing_to_show(self, options: list[str]) -> None:
        with pytest.raises(SystemExit) as refused:
            example("late_question").main(options)
        assert refused.value.code == 2

    def test_counts_answers(self, tmp_path: Path) -> None:
        """Weights that make the model always say `a` are right as often as `a` is the answer."""
        toy = example("late_question")
        toy.write_tokenizer(tmp_path / "tokenizer")
        rows = ismpack.load(toy.make_dataset(tmp_path, "few", 20, seed=0))
        model = toy.LlamaForCausalLM(
            toy.LlamaConfig(
                vocab_size=24, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2
            )
        )
        torch.nn.init.zeros_(model.lm_head.weight)
        torch.nn.init.ones_(model.model.norm.weight)
        model.lm_head.weight.data[1] = 1.0
        model.model.embed_tokens.weight.data.fill_(1.0)
        batch = ismpack.torch.Collator("causal", mask="bool")(list(rows))
        answers = [letter for row in rows for letter in row.input_ids[row.loss_mask == 1].tolist() if letter <= 16]
        assert len(answers) == 60
        assert toy.right_answers(model, batch) == pytest.approx(answers.count(1) / 60)
        assert answers.count(1) > 0


@pytest.mark.parametrize("name", SCRIPTS)
def test_says_how_it_is_run(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert f"    python examples/{name}.py" in text.split('"""')[1]
    assert name == "late_question" or len(text.splitlines()) <= 95
