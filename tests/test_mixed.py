"""All formats in one file: every record is known by its own signature, whatever stands beside it."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import ismpack
from ismpack.formats import FORMATS
from ismpack.pipeline.survey import survey

FOLDER = Path(__file__).parent
TOKENIZER = FOLDER.parent / "sample_data" / "tokenizer"
FLAT_TREE: list[dict[str, Any]] = [
    {"message_id": "q", "parent_id": None, "role": "prompter", "text": "Name a prime number."},
    {"message_id": "a", "parent_id": "q", "role": "assistant", "text": "Nine.", "rank": 1},
    {"message_id": "b", "parent_id": "q", "role": "assistant", "text": "Eleven.", "rank": 0},
]


def cases() -> list[tuple[str, dict[str, Any]]]:
    """(format, case) of every case that is read."""
    return [
        (path.stem, case)
        for path in sorted((FOLDER / "cases" / "formats").glob("*.json"))
        for case in json.loads(path.read_text(encoding="utf-8"))
        if "conversation" in case
    ]


def has_answer(case: dict[str, Any]) -> bool:
    """Whether an assistant message that is trained follows a user or tool message."""
    asked = False
    for message in case["conversation"]["messages"]:
        if message["role"] != "assistant":
            asked = asked or message["role"] in ("user", "tool")
        elif asked and message.get("loss") is not False:
            return True
    return False


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """All cases that are read, and the messages of a flat tree, shuffled."""
    records = [case["record"] for _, case in cases()] + [row | {"message_tree_id": "flat"} for row in FLAT_TREE]
    random.Random(20261122).shuffle(records)  # noqa: S311 - no secret
    path = tmp_path / "mixed.jsonl"
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def test_at_least_eighty_public_schemas_have_a_case() -> None:
    named = [(name, case["schema"]) for name, case in cases() if "schema" in case]
    listed = {(known.name, dataset) for known in FORMATS for dataset in known.datasets}
    assert len({schema for _, schema in named}) >= 80
    assert set(named) <= listed


def test_every_record_of_a_mixed_file_is_recognised(mixed: Path) -> None:
    found = survey(mixed)
    expected = Counter(name for name, _ in cases()) + Counter(["oasst-tree"])
    assert (found.refused, found.formats) == ({}, dict(expected))
    assert found.records == sum(expected.values())


def test_every_record_of_a_mixed_file_converts(mixed: Path, tmp_path: Path) -> None:
    report = ismpack.convert(mixed, tmp_path / "out", tokenizer=str(TOKENIZER), max_length=16384, max_rejected=1)
    answered = sum(has_answer(case) for _, case in cases()) + 1
    unanswered = len(cases()) + 1 - answered
    assert (report.totals.conversations, report.totals.rejected) == (answered, unanswered)
    assert set(report.rejected) <= {"no-answer", "no-target"}
    assert ismpack.verify(tmp_path / "out").ok
