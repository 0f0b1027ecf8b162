"""Bad input of every kind ends as documented: one bad record costs one record, one bad file stops the run.

The inputs and their outcomes stand in `malformed.py`.
"""

from __future__ import annotations

import importlib
import json
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click.testing
import pytest
import tokenizers
from malformed import NOT_TESTED, ROWS, SAMPLE_TOKENIZER, Case, Failed, Published, Run

import ismpack
from ismpack.cli import main
from ismpack.errors import IsmpackError
from ismpack.schema import SOURCE_POSITION_BITS


def cases(*, shown: bool = False, failed: bool = False) -> list[Any]:
    """All cases, or those that a person is shown, or those that fail, as parameters."""
    found = [
        (f"{row.number:02} {row.title}: {case.name}", case) for row in ROWS.values() for case in row.cases()
    ]  # fmt: skip
    return [
        pytest.param(case, id=name)
        for name, case in found
        if (case.shown or not shown) and (isinstance(case.outcome, Failed) or not failed)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """The command line takes over a signal; here it is one of many."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def small_limits(limits: Mapping[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    for place, value in limits.items():
        module, name = place.split(":")
        monkeypatch.setattr(importlib.import_module(module), name, value)


def options_of(run: Run) -> dict[str, Any]:
    return {"tokenizer": str(SAMPLE_TOKENIZER), **run.options}


def below(path: Path) -> dict[str, bytes | None]:
    """Everything below a folder: files with their content, and whatever else with None."""
    return {
        str(one.relative_to(path)): one.read_bytes() if one.is_file() and one.stat().st_size < 1 << 20 else None
        for one in sorted(path.rglob("*"))
    }


def test_every_row_of_the_taxonomy_is_there_once() -> None:
    assert sorted([*ROWS, *NOT_TESTED]) == list(range(1, 81))


# ------------------------------------------------------------------------------------------------------------ outcomes


@pytest.mark.parametrize("case", cases())
def test_a_bad_input_ends_as_documented(
    case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    small_limits(case.limits, monkeypatch)
    run = case.write(folder)
    output = Path(run.output or folder.parent / "out")
    if isinstance(case.outcome, Failed):
        fails(run, output, case.outcome, folder.parent)
    else:
        report = ismpack.convert(run.inputs, output, **options_of(run))
        assert [path.name for path in sorted(folder.parent.iterdir())] == ["in", "out"]
        totals = report.totals
        assert totals.records == totals.conversations + totals.rejected + totals.dropped_by_option
        check_dataset(output, case.outcome)
    assert capfd.readouterr() == ("", "")


def fails(run: Run, output: Path, outcome: Failed, parent: Path) -> None:
    """Convert; check the error, and that nothing is left but, perhaps, the list of rejects."""
    before = below(parent)
    with pytest.raises(IsmpackError) as caught:
        ismpack.convert(run.inputs, output, **options_of(run))
    error = caught.value
    assert (error.code, error.exit_code) == (outcome.code, outcome.exit_code)
    for words in outcome.says:
        assert words in f"{error.message} {error.hint}"
    left = below(parent)
    rejects = left.pop(f"{output.name}.rejected.jsonl", None)
    assert (rejects is not None) == outcome.leaves_rejects
    assert left.keys() == before.keys()
    if "on_progress" not in run.options:
        assert left == before


def check_dataset(output: Path, outcome: Published) -> None:
    dataset = ismpack.load(output)
    manifest = dataset.manifest
    totals = manifest.totals
    assert (totals.conversations, totals.rejected, totals.dropped_by_option, totals.blank_lines) == (
        len(outcome.kept), len(outcome.rejected), outcome.dropped, outcome.blank_lines,
    )  # fmt: skip
    assert manifest.rejected == Counter(reject.code for reject in outcome.rejected)
    assert {code: manifest.warnings.get(code, 0) for code in outcome.warnings} == outcome.warnings
    if outcome.formats is not None:
        assert manifest.formats == outcome.formats
    check_rejects(output, outcome)
    found = documents(output)
    assert sorted(found) == sorted((kept.file, kept.position) for kept in outcome.kept)
    for kept in outcome.kept:
        assert kept.shows in found[kept.file, kept.position]
    assert ismpack.verify(output).findings == ()


def check_rejects(output: Path, outcome: Published) -> None:
    written = [json.loads(line) for line in (output / "rejected.jsonl").read_text(encoding="utf-8").split("\n") if line]
    assert len(written) == len(outcome.rejected)
    for found, reject in zip(written, outcome.rejected, strict=True):
        position = reject.position + 1 if reject.unit == "line" else reject.position
        assert {key: found[key] for key in ("file", reject.unit, "byte_offset", "code") if key in found} == {
            "file": reject.file, reject.unit: position, "byte_offset": reject.byte_offset, "code": reject.code
        }  # fmt: skip
        assert reject.says in found["message"]
        assert found["message"]
        if reject.json_path is not None:
            assert found["json_path"] == reject.json_path


def documents(output: Path) -> dict[tuple[str, int], str]:
    """(file, position) -> text of every document."""
    tokenizer = tokenizers.Tokenizer.from_file(str(output / "tokenizer" / "tokenizer.json"))
    dataset = ismpack.load(output)
    found: dict[tuple[str, int], str] = {}
    for pack in dataset:
        for number, source in enumerate(pack.source_ids.tolist()):
            file = dataset.manifest.inputs[source >> SOURCE_POSITION_BITS].name
            text = tokenizer.decode(pack.document(number).input_ids.tolist(), skip_special_tokens=False)
            found[file, source & ((1 << SOURCE_POSITION_BITS) - 1)] = text
    assert sum(len(pack.source_ids) for pack in dataset) == len(found)
    return found


# ------------------------------------------------------------------------------------------------------ command line


def command(*arguments: str) -> tuple[int, str]:
    """Exit code and everything that is printed."""
    done = click.testing.CliRunner().invoke(main, arguments)
    assert isinstance(done.exception, SystemExit | None)
    return done.exit_code, done.output


def check_terminal(printed: str) -> None:
    """Nothing that was printed can move the cursor, turn text around, or is a traceback."""
    assert [character for character in printed if not (character.isprintable() or character == "\n")] == []
    assert "Traceback" not in printed


@pytest.mark.parametrize("case", cases(failed=True))
def test_the_command_line_fails_with_the_code_and_nothing_else(
    case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(case.outcome, Failed)
    small_limits(case.limits, monkeypatch)
    run = case.write(folder)
    if "on_progress" in run.options:  # only a program can be called back
        return
    options = [text for name, value in options_of(run).items() for text in (f"--{name.replace('_', '-')}", str(value))]
    output = run.output or str(folder.parent / "out")
    exit_code, printed = command("convert", *options, "-o", output, "--", *run.inputs)
    assert exit_code == case.outcome.exit_code
    assert printed.startswith(f"error[{case.outcome.code}]: ")
    check_terminal(printed)
    if case.outcome.leaves_rejects:
        (folder.parent / "out.rejected.jsonl").unlink()
    assert [path.name for path in folder.parent.iterdir()] == ["in"]


@pytest.mark.parametrize("case", cases(shown=True))
def test_the_command_line_never_prints_data_raw(case: Case, folder: Path) -> None:
    run = case.write(folder)
    if isinstance(case.outcome, Failed):
        return
    tokenizer = ("--tokenizer", str(SAMPLE_TOKENIZER))
    output = str(folder.parent / "out")
    exit_code, printed = command("formats", "--", *run.inputs)
    assert exit_code == (1 if case.outcome.rejected else 0)
    check_terminal(printed)
    exit_code, printed = command("convert", *tokenizer, "-o", output, "-v", "--", *run.inputs)
    assert exit_code == 0
    check_terminal(printed)
    exit_code, printed = command("convert", *tokenizer, "-o", f"{output}2", "--on-error", "stop", "--", *run.inputs)
    assert exit_code == (1 if case.outcome.rejected else 0)
    check_terminal(printed)
    count = len(case.outcome.kept) + len(case.outcome.rejected)
    for line in range(1, count + 1):
        exit_code, printed = command("inspect", *tokenizer, "--line", str(line), "--", *run.inputs)
        assert exit_code in (0, 1)
        check_terminal(printed)
    for row in range(len(ismpack.load(output))):
        check_terminal(command("inspect", output, "--row", str(row))[1])
    check_terminal(command("verify", output)[1])
