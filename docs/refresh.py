"""Renew what the documentation takes from the program: command output in README.md, docs/errors.md, docs/formats.md.

    python docs/refresh.py            rewrite what is stale
    python docs/refresh.py --check    only say what is stale; exit 1 if anything is

Each ```console block of the README is one command after `$ ` and its output. The commands run in order in one empty
folder that has sample_data in it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from ismpack.errors import CODES
from ismpack.formats import FORMATS
from ismpack.pipeline import WARNINGS

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"```console\n\$ (?P<command>[^\n]+)\n(?P<output>.*?)```\n", re.DOTALL)
# The lines that differ from run to run, and from one version of a library to the next.
_CHANGING = re.compile(r"^  (seconds|workers) .*$", re.MULTILINE)


def refreshed_readme(text: str) -> str:
    """README text with the output of every console block renewed."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sample_data").symlink_to(ROOT / "sample_data")
        return _BLOCK.sub(
            lambda block: f"```console\n$ {block['command']}\n{_run(block['command'], folder)}```\n", text
        )


def without_times(text: str) -> str:
    """Text without what differs from run to run, for comparison."""
    return _CHANGING.sub(r"  \1", text)


def errors_page() -> str:
    """docs/errors.md."""
    lines = [
        "# Error, reject and warning codes",
        "",
        "Made by `python docs/refresh.py` from the program. Codes are stable. The code of a record stands in",
        "`rejected.jsonl`; any other error ends the run with its code on standard error.",
        "",
        "| code | meaning |",
        "|---|---|",
        *(f"| `{code}` | {meaning} |" for code, meaning in CODES.items()),
        "",
        "Warnings are counted in the manifest and printed in the summary.",
        "",
        "| code | what is counted |",
        "|---|---|",
        *(f"| `{code}` | {meaning} |" for code, meaning in WARNINGS.items()),
    ]
    return "\n".join(lines) + "\n"


def formats_page() -> str:
    """docs/formats.md; what stands above its list of formats is written by hand."""
    heading = "\n## All formats\n"
    by_hand = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8").partition(heading)[0]
    lines = [
        f"{by_hand}{heading}",
        "Made by `python docs/refresh.py` from the table that the program itself reads records by, in its order.",
    ]
    for known in FORMATS:
        keys = ", ".join(f"`{key}`: {shape.words}" for key, shape in known.keys.items())
        lines += ["", f"### {known.name}", "", f"{known.title}.", "", f"- has {keys}"]
        if known.without:
            lines.append(f"- has not {', '.join(f'`{key}`' for key in known.without)}")
        if known.optional:
            lines.append(f"- also read: {', '.join(f'`{key}`' for key in known.optional)}")
        if known.datasets:
            lines.append(f"- written by {'; '.join(known.datasets)}")
        lines += ["", "```json", json.dumps(known.example, ensure_ascii=False), "```"]
    return "\n".join(lines) + "\n"


def _run(command: str, folder: str) -> str:
    # The interpreter's own bin folder first, so that `ismpack` is the one installed beside it.
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "HOME": folder,
        "LANG": "C.UTF-8",
        "COLUMNS": "80",
    }
    done = subprocess.run(  # noqa: S602 - the commands are the README's own
        command, shell=True, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return done.stdout.decode()


def main() -> int:
    """Refresh or check; returns the exit code."""
    pages = {ROOT / "README.md": refreshed_readme((ROOT / "README.md").read_text(encoding="utf-8"))}
    pages[ROOT / "docs" / "errors.md"] = errors_page()
    pages[ROOT / "docs" / "formats.md"] = formats_page()
    stale = [path for path, text in pages.items() if _differs(path, text)]
    for path in stale:
        print(f"stale: {path.relative_to(ROOT)}")
        if "--check" not in sys.argv:
            path.write_text(pages[path], encoding="utf-8")
    return 1 if stale and "--check" in sys.argv else 0


def _differs(path: Path, text: str) -> bool:
    return not path.exists() or without_times(path.read_text(encoding="utf-8")) != without_times(text)


if __name__ == "__main__":
    sys.exit(main())
