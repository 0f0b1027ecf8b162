"""The documents say what the program does: every shown command is run, every code and option is listed."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import click
import numpy as np
import pytest
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

import ismpack
from ismpack.cli import main
from ismpack.errors import CODES
from ismpack.pipeline import WARNINGS

ROOT = Path(__file__).parent.parent
TINY = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 4096,
}
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def refresh() -> ModuleType:
    spec = importlib.util.spec_from_file_location("refresh", ROOT / "docs" / "refresh.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_of_the_readme_prints_what_the_readme_shows(refresh: ModuleType) -> None:
    assert README.count("```console") == 8
    assert refresh.without_times(refresh.refreshed_readme(README)) == refresh.without_times(README)


def test_the_readme_check_sees_a_stale_block(refresh: ModuleType) -> None:
    stale = "```console\n$ ismpack --version\nismpack 0.0.0\n```\n"
    assert refresh.refreshed_readme(stale) == "```console\n$ ismpack --version\nismpack 0.1.0 (dataset format 1)\n```\n"


def test_the_page_of_codes_is_current(refresh: ModuleType) -> None:
    assert (ROOT / "docs" / "errors.md").read_text(encoding="utf-8") == refresh.errors_page()


def test_the_page_of_formats_is_current(refresh: ModuleType) -> None:
    assert (ROOT / "docs" / "formats.md").read_text(encoding="utf-8") == refresh.formats_page()


def test_the_readme_python_gives_the_mask_of_the_library(
    tmp_path: Path, sample_data: Path, sample_tokenizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ismpack.convert(str(sample_data / "chat.jsonl"), tmp_path / "out", tokenizer=sample_tokenizer)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {
        "model": LlamaForCausalLM(LlamaConfig(**TINY)),
        "args": TrainingArguments("checkpoints", use_cpu=True, report_to="none"),
    }
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(block, names)  # noqa: S102 - the README's own lines
    row = ismpack.load("out")[0]
    expected = ismpack.masks.dense(row.segment_type_ids, row.turn_ids, row.seq_lengths)
    assert np.array_equal(names["mask"], expected)
    lo, hi = names["lo"], names["hi"]
    columns = np.arange(len(row))
    assert np.array_equal(expected, (columns >= lo[:, None]) & (columns < hi[:, None]))


def used_codes() -> set[str]:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "ismpack").rglob("*.py"))
    source = source.split("CODES: dict", 1)[0] + source.split("CODES: dict", 1)[1].split("}\n", 1)[1]
    return set(re.findall(r'"([a-z0-9]+(?:-[a-z0-9]+)+)"', source)) | {"overlong", "internal", "undesired"}


def test_every_listed_code_is_used_somewhere() -> None:
    assert sorted(CODES.keys() - used_codes()) == []
    assert sorted(WARNINGS.keys() - used_codes()) == []


def test_codes_are_kebab_case_and_explained_in_a_sentence() -> None:
    for code, meaning in CODES.items():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code)
        assert meaning.endswith(".")


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_has_help_and_three_examples(name: str) -> None:
    command = main.commands[name]
    assert command.help
    examples = re.findall(r"^  .*ismpack \w+", command.epilog or "", re.MULTILINE)
    assert len(examples) == 3
    assert all(p.help for p in command.params if isinstance(p, click.Option))
    assert f"ismpack {name}" in README


def modules() -> list[str]:
    return [m.name for m in pkgutil.walk_packages(ismpack.__path__, "ismpack.") if "__main__" not in m.name]


def test_doctests_hold() -> None:
    results = [doctest.testmod(importlib.import_module(name)) for name in modules()]
    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) > 0


def test_the_version_is_the_same_everywhere() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{ismpack.__version__}"' in project
    assert f"## {ismpack.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_public_names_exist_and_are_all_there_is() -> None:
    assert all(getattr(ismpack, name) is not None for name in ismpack.__all__)
    assert dir(ismpack) == sorted(ismpack.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ismpack.nothing


def test_the_example_in_the_chapter_on_templates_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    chapter = (ROOT / "docs/templates.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", chapter, re.DOTALL)
    [output] = re.findall(r"```text\n(.*?)```", chapter, re.DOTALL)
    exec(code, {})  # noqa: S102 - the chapter's own lines
    assert capsys.readouterr().out == output
