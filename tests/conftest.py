"""Paths that many tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The folder of example conversations and the small tokenizer."""
    return ROOT / "sample_data"


@pytest.fixture(scope="session")
def sample_tokenizer(sample_data: Path) -> str:
    """The directory of the small tokenizer."""
    return str(sample_data / "tokenizer")
