"""The benchmarks of masks run; how fast anything is, no test here says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from dataset_builder import Builder

from ismpack import masks

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("masks") / "data"
    Builder(directory).write()
    return directory


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_masks_are_timed_and_their_cost_is_counted(dataset: Path, tmp_path: Path) -> None:
    done = run("masks.py", dataset, "--tokens", "256,300", "--rounds", "2", "-o", tmp_path / "figures.json")
    assert (done.returncode, done.stderr) == (0, "")
    content = json.loads((tmp_path / "figures.json").read_text())
    assert list(content["seconds"]) == ["256", "300"]
    for forms in content["seconds"].values():
        assert {*forms} >= {"intervals", "dense", "block_tables", "torch.flex.block_mask", "create_block_mask"}
        assert all(form["median"] > 0 and len(form["rounds"]) == 2 for form in forms.values())
    [cost] = content["cost"]
    assert list(cost["kinds"]) == [*masks.KINDS, "triplets"]
    assert cost["kinds"]["causal"]["pairs_ratio"] == 1
    assert cost["kinds"]["ism"]["pairs"] > cost["kinds"]["causal"]["pairs"]
    assert "create_block_mask" in done.stdout


def test_attention_is_not_timed_without_a_device(dataset: Path) -> None:
    done = run("attention.py", dataset)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: no CUDA device; this benchmark runs flex_attention and FlashAttention on one\n"
