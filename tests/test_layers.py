"""Who may import whom. The table is the one of docs/architecture.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ismpack"

NOUNS = {"errors", "data", "schema"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "data": {"errors"},
    "schema": {"errors"},
    "manifest": {"errors", "schema"},
    "options": NOUNS,
    # write side
    "sources": NOUNS,
    "formats": NOUNS,
    "templates": NOUNS | {"options"},
    "tokenization": NOUNS,
    "packing": NOUNS | {"options"},
    "shards": NOUNS | {"manifest"},
    "pipeline": {
        *NOUNS, "manifest", "options", "sources", "formats", "templates", "tokenization", "packing", "shards", "checks"
    },
    # read side
    "reader": NOUNS | {"manifest"},
    "masks": set(),
    "checks": NOUNS | {"manifest", "reader", "masks"},
    "view": NOUNS | {"masks"},
    "export": NOUNS | {"manifest", "reader", "masks"},
    "torch": NOUNS | {"manifest", "reader", "masks"},
}  # fmt: skip

THIRD_PARTY_HOMES: dict[str, set[str]] = {
    "click": {"cli"},
    "tqdm": {"cli"},
    "transformers": {"tokenization", "torch"},
    "tokenizers": {"tokenization"},
    "fastokens": {"tokenization"},
    "gigatoken": {"tokenization"},
    "huggingface_hub": {"sources", "tokenization"},
    "jinja2": {"templates"},
    "pyarrow": {"sources", "shards", "reader", "checks", "export"},
    "torch": {"torch"},
    "datasets": {"sources", "export"},
}

FORBIDDEN_NAMES = {"utils", "helpers", "base", "common", "misc"}


def room(path: Path) -> str:
    """`ismpack/masks/kinds.py` -> masks, `ismpack/reader.py` -> reader."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            if node.module == "ismpack":
                yield from (f"ismpack.{alias.name}" for alias in node.names)


def violations(path: Path) -> list[str]:
    here = room(path)
    found = []
    for module in imported_modules(path):
        top, _, rest = module.partition(".")
        target = rest.split(".")[0]
        allowed = MAY_IMPORT.get(here, {target}) | {here, "", "__version__"}
        if top == "ismpack" and target not in allowed:
            found.append(f"{path.name} imports {module}")
        if top in THIRD_PARTY_HOMES and here not in THIRD_PARTY_HOMES[top]:
            found.append(f"{path.name} imports {top}")
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    assert violations(path) == []


def test_the_layer_test_sees_a_breach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "masks").mkdir()
    bad = tmp_path / "masks" / "bad.py"
    bad.write_text("import torch\nfrom ismpack.reader import load\n\ndef f():\n    from ismpack import shards\n")
    assert violations(bad) == ["bad.py imports torch", "bad.py imports ismpack.reader", "bad.py imports ismpack.shards"]


def test_every_room_is_in_the_table() -> None:
    rooms = {room(path) for path in FILES} - {"__init__", "__main__", "cli"}
    assert rooms == set(MAY_IMPORT)


def test_nothing_imports_the_command_line() -> None:
    importers = [
        path.name
        for path in FILES
        if room(path) not in ("cli", "__main__") and any(m.startswith("ismpack.cli") for m in imported_modules(path))
    ]
    assert importers == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [path.name for path in FILES if path.stem in FORBIDDEN_NAMES] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        *([command, "--help"] for command in ("convert", "inspect", "verify", "export", "formats", "template")),
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom ismpack.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'pyarrow', 'transformers', 'tokenizers', 'datasets', 'torch', 'jinja2', 'tqdm', 'msgspec'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_the_package_imports_nothing_heavy() -> None:
    code = "import sys, ismpack; print(sorted({'numpy', 'pyarrow', 'tokenizers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
