"""Runs `in_jax.py` in a process of its own: one in which JAX is loaded must not be forked, and other tests fork."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_jax_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "in_jax.py"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
