"""Paths that many tests share, and a cache of tokenizers of their own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Tests leave the user's cache alone. Some load tokenizers while they are collected, so a fixture is too late."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # workers share the cache of the process that started them
    folder = tempfile.TemporaryDirectory(prefix="ismpack-cache-")
    patch = pytest.MonkeyPatch()
    patch.setenv("ISMPACK_CACHE", folder.name)
    config.add_cleanup(patch.undo)
    config.add_cleanup(folder.cleanup)


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The folder of example conversations and the small tokenizer."""
    return ROOT / "sample_data"


@pytest.fixture(scope="session")
def sample_tokenizer(sample_data: Path) -> str:
    """The directory of the small tokenizer."""
    return str(sample_data / "tokenizer")
