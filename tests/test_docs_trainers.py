"""The pages on trainers: every line that a reader would copy parses, names what exists, and means what the page says."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml

from ismpack import masks
from ismpack.cli import main
from ismpack.data import Pack
from ismpack.export import TARGETS

torch.set_num_threads(1)

PAGES = Path(__file__).parent.parent / "docs" / "trainers"
NAMES = (
    "torchtune",
    "nemo-automodel",
    "megatron",
    "litgpt",
    "composer",
    "maxtext",
    "axolotl",
    "llama-factory",
    "olmo-core",
    "xtuner",
)


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def names_of_ours(code: str) -> list[tuple[str, str]]:
    """(module, name) of every `from ismpack... import name`, and of every `masks.name` that is used."""
    tree = ast.parse(code)
    imported = [
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ismpack"
        for alias in node.names
    ]
    used = [
        ("ismpack.masks", node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "masks"
    ]
    return imported + used


def exists(module: str, name: str) -> bool:
    return hasattr(importlib.import_module(module), name)


def check_command(line: str) -> None:
    """Parse a shown line against the real command, without running it."""
    _, name, *arguments = shlex.split(line)
    command = main.commands[name]
    command.make_context(name, arguments)


def shown_commands(text: str) -> list[str]:
    return [
        line[2:] for block in blocks(text, "console") for line in block.splitlines() if line.startswith("$ ismpack")
    ]


def test_every_page_is_linked_from_the_list_of_trainers() -> None:
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", page("README")))
    assert {f"{name}.md" for name in NAMES} <= linked
    assert {path.name for path in PAGES.glob("*.md")} - {"README.md"} <= linked


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page(name)):
        assert (PAGES / target).is_file(), target


@pytest.mark.parametrize("name", NAMES)
def test_a_page_ends_with_how_it_was_checked(name: str) -> None:
    text = page(name)
    assert text.rstrip().split("\n\n")[-1].startswith("Checked: ")
    assert "http" not in text
    assert len(text.splitlines()) <= 80
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("name", NAMES)
def test_code_of_a_page_compiles_and_names_what_exists(name: str) -> None:
    for code in blocks(page(name), "python"):
        compile(code, f"{name}.md", "exec")
        for module, attribute in names_of_ours(code):
            assert exists(module, attribute), f"{module}.{attribute}"


@pytest.mark.parametrize("name", NAMES)
def test_commands_of_a_page_parse(name: str) -> None:
    for line in shown_commands(page(name)):
        check_command(line)


@pytest.mark.parametrize("name", NAMES)
def test_yaml_of_a_page_parses(name: str) -> None:
    for text in blocks(page(name), "yaml"):
        assert isinstance(yaml.safe_load(text), dict)


def test_the_checks_see_a_wrong_line() -> None:
    with pytest.raises(click.UsageError):
        check_command("ismpack export out --to nowhere -o there")
    with pytest.raises(click.NoSuchOption):
        check_command("ismpack convert chats.jsonl --tokenizer org/model --pack none -o out")
    with pytest.raises(KeyError):
        check_command("ismpack exports out")
    assert names_of_ours("from ismpack.torch import Colator\nmasks.invert()") == [
        ("ismpack.torch", "Colator"),
        ("ismpack.masks", "invert"),
    ]
    assert not exists("ismpack.torch", "Colator")
    assert not exists("ismpack.masks", "invert")


def test_names_of_methods_in_the_prose_exist() -> None:
    for name in NAMES:
        for module, attribute in re.findall(r"`(ismpack\.\w+)\.(\w+)`", page(name)):
            assert exists(module, attribute), f"{name}.md: {module}.{attribute}"


@pytest.mark.parametrize("target", ["axolotl", "llama-factory", "olmo-core", "xtuner"])
def test_a_page_shows_the_lines_that_the_export_prints(target: str) -> None:
    [line] = [line for line in shown_commands(page(target)) if f"--to {target} " in line]
    out = line.split(" -o ")[1]
    printed = bare_lines(TARGETS[target].how_to_load(out, 4096))
    shown = bare_lines("\n".join(blocks(page(target), "yaml") + blocks(page(target), "python")))
    shown |= {line.removeprefix("return ").removeprefix("loader = ") for line in shown}
    own_path = {line for line in printed if "anno_path" in line}  # absolute, so it is the reader's own
    assert printed - own_path <= shown


def bare_lines(text: str) -> set[str]:
    lines = {
        re.sub(r"\s+#.*", "", line).strip().translate(dict.fromkeys(map(ord, "'\""))) for line in text.splitlines()
    }
    return {line for line in lines if line and not line.startswith("#")}


def test_commands_of_every_export_with_a_page_are_shown() -> None:
    shown = {shlex.split(line)[4] for name in NAMES for line in shown_commands(page(name)) if " export " in line}
    assert shown == set(TARGETS)


# What the pages define, run. Two documents: system, user and header, answer, user, answer; user, answer.
PACK = Pack(
    input_ids=np.arange(11, 20, dtype=np.int32),
    segment_type_ids=np.array([3, 1, 7, 2, 1, 2, 1, 2, 2], np.uint8),
    turn_ids=np.array([0, 0, 0, 0, 1, 1, 2, 2, 2], np.int32),
    loss_mask=np.array([0, 0, 0, 1, 0, 1, 0, 1, 1], np.uint8),
    seq_lengths=np.array([6, 3], np.int32),
    source_ids=np.zeros(2, np.int64),
)
LENGTH = 12
SEES = np.array(
    [
        "111.........",
        "111.........",
        "111.........",
        "1111........",
        "11111.......",
        "111111......",
        "......1.....",
        "......11....",
        "......111...",
        ".........1..",
        ".........11.",
        ".........111",
    ]
)
DENSE = np.array([[letter == "1" for letter in row] for row in SEES])
TARGETS_AT = [2, 4, 6, 7]  # where the next token is a target


def defined(name: str, index: int) -> Mapping[str, Callable[..., dict[str, torch.Tensor]]]:
    names: dict[str, Callable[..., dict[str, torch.Tensor]]] = {}
    exec(blocks(page(name), "python")[index], names)  # noqa: S102 - the page's own lines
    return names


def test_the_torchtune_collator_gives_what_its_model_takes() -> None:
    collate = defined("torchtune", 0)["collate"]
    batch = collate([PACK], padding_idx=5, ignore_idx=-100, device="cpu")
    assert sorted(batch) == ["input_pos", "labels", "mask", "tokens"]
    assert batch["tokens"].shape == (1, 4096)
    assert batch["tokens"][0, :12].tolist() == [11, 12, 13, 14, 15, 16, 17, 18, 19, 5, 5, 5]
    assert batch["input_pos"][0, :12].tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 0, 1, 2]
    assert batch["labels"][0, :12].tolist() == [-100, -100, -100, 14, -100, 16, -100, 18, 19, -100, -100, -100]
    assert batch["mask"].dtype == torch.bool
    assert batch["mask"].shape == (1, 4096, 4096)
    assert np.array_equal(batch["mask"][0, :12, :12].numpy(), DENSE)


def test_the_automodel_collator_gives_shifted_labels() -> None:
    batch = defined("nemo-automodel", 0)["collate"]([PACK])
    assert batch["labels"][0].tolist() == [-100, -100, 14, -100, 16, -100, 18, 19, -100]
    assert batch["attention_mask"].dtype == torch.bool
    assert np.array_equal(batch["attention_mask"][0, 0].numpy(), DENSE[:9, :9])


def test_the_megatron_batch_is_in_line() -> None:
    batch = defined("megatron", 1)["megatron_batch"](PACK, LENGTH)
    assert batch["tokens"].tolist() == [[11, 12, 13, 14, 15, 16, 17, 18, 19, 0, 0, 0]]
    assert batch["labels"].tolist() == [[12, 13, 14, 15, 16, 17, 18, 19, 0, 0, 0, 0]]
    assert batch["loss_mask"].dtype == torch.float32
    assert np.flatnonzero(batch["loss_mask"][0]).tolist() == TARGETS_AT
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5, 0, 1, 2, 0, 1, 2]]
    assert np.array_equal(batch["attention_mask"][0, 0].numpy(), ~DENSE)


def maxtext_mask(segmentation: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """The formula of `AttentionOp.generate_attention_mask` after the page's patch, for one row."""
    document, is_query = segmentation >> 1, (segmentation & 1).astype(np.bool_)
    token = np.arange(len(document))
    causal = (document[:, None] == document) & (token <= token[:, None])
    run = np.cumsum(np.diff(is_query, prepend=False) & is_query) * is_query
    bidirectional = (run[:, None] == run) & (run[:, None] > 0)
    seen: npt.NDArray[np.bool_] = causal | bidirectional
    return seen


def test_the_maxtext_batch_carries_the_mask_and_the_loss() -> None:
    batch = defined("maxtext", 1)["maxtext_batch"](PACK, LENGTH)
    assert batch["inputs"].tolist() == [[11, 12, 13, 14, 15, 16, 17, 18, 19, 0, 0, 0]]
    assert batch["targets"].tolist() == [[12, 13, 14, 15, 16, 17, 18, 19, 0, 0, 0, 0]]
    assert batch["inputs_segmentation"].tolist() == [[3, 3, 3, 2, 3, 2, 5, 4, 4, 6, 6, 6]]
    assert batch["inputs_position"].tolist() == [[0, 1, 2, 3, 4, 5, 0, 1, 2, 0, 1, 2]]
    assert np.flatnonzero(batch["targets_segmentation"][0]).tolist() == TARGETS_AT
    assert np.array_equal(maxtext_mask(np.asarray(batch["inputs_segmentation"][0])), DENSE)
    causal = defined("maxtext", 1)["maxtext_batch"](PACK, LENGTH, ism=False)
    assert causal["inputs_segmentation"].tolist() == [[1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3]]


def test_the_mask_in_this_file_is_the_definition() -> None:
    columns = masks.pad(PACK.segment_type_ids, PACK.turn_ids, PACK.seq_lengths, LENGTH)
    assert np.array_equal(masks.dense(*columns), DENSE)
