"""How fast ismpack is, beside what it could be compared with, measured in turns in one run.

    python benchmarks/run.py INPUT -t TOKENIZER [--goals] [-o benchmarks/results/NAME.json]

INPUT is a plain JSON Lines file of conversations. TOKENIZER is what `ismpack convert` takes (a folder, if TRL is to
take part), or that, a comma, and a file with a chat template. Every measurement is a process of its own. Parts, of
which `--only` chooses:

- convert:  `ismpack convert` with one worker and with several.
- others:   the same with each `--other-tokenizer`.
- encode:   fastokens and gigatoken by themselves, on the texts that ismpack encodes of the input.
- hf:       HF tokenizers by itself on the texts of the slice (the first records), and `convert --tokenizer-engine hf`.
- trl:      TRL's preparation of the slice for `SFTTrainer`: masks for assistant answers, labels, packing.
- packing:  rows for a million and for ten million lengths; samples with their tokens, beside TRL's packing.
- verify:   every check of a dataset, beside `np.sum` over its columns.
- startup:  `--help`, and runs on a few records and on the slice, with an empty and with a filled cache.
- sorted:   how full rows are if the input is sorted by length.
- scale:    the input ten times over.

Prints the README's table; -o writes all figures as JSON. With --goals, also what of the goals is met; the exit code is
1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from suite.contenders import PARTS, contenders
from suite.corpora import Corpora, Setting, Tokenizer
from suite.goals import goals
from suite.machine import machine, versions
from suite.result import SCHEMA, Result
from suite.rounds import FailedError, take_turns
from suite.section import figures


def measure(setting: Setting, parts: Sequence[str], rounds: int, folder: Path) -> dict[str, Any]:
    """Run a benchmark; what it gives can be written as JSON and names no folder.

    Args:
        setting: What is measured.
        parts: Names of parts.
        rounds: How often every contender has its turn.
        folder: An empty folder to work in.

    Raises:
        FailedError: A contender went wrong.
    """
    before = machine(folder)
    corpora = Corpora(setting, folder)
    measured, absent = take_turns(contenders(corpora, parts), rounds)
    told = {name: value for name, value in asdict(setting).items() if name != "source"}
    names = {"tokenizer": setting.tokenizer.name, "others": [other.name for other in setting.others]}
    return {
        "schema": SCHEMA,
        "machine": before,
        "versions": versions(),
        "setting": told | names | {"parts": list(parts), "rounds": rounds},
        "corpora": corpora.sizes(),
        "measured": {name: found.to_json() for name, found in measured.items()},
        "absent": absent,
    }


def main() -> int:
    """Measure, print and write; returns the exit code."""
    arguments = _arguments()
    setting = Setting(
        source=arguments.input,
        tokenizer=arguments.tokenizer,
        others=tuple(arguments.other_tokenizer),
        max_length=arguments.max_length,
        workers=arguments.workers,
        slice_records=arguments.slice,
    )
    try:
        with tempfile.TemporaryDirectory(prefix="ismpack-benchmark-", dir=arguments.scratch) as scratch:
            content = measure(setting, arguments.only, arguments.repeat, Path(scratch))
        if arguments.output is not None:
            arguments.output.parent.mkdir(parents=True, exist_ok=True)
            arguments.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except (FailedError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    result = Result(content)
    print(figures(result), end="")
    for name, reason in content["absent"].items():
        print(f"- {name} was not measured: {reason}")
    if not arguments.goals:
        return 0
    print()
    found = goals(result)
    print(*found, sep="\n")
    return 1 if any(goal.met is False for goal in found) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path)
    parser.add_argument("-t", "--tokenizer", required=True, type=_tokenizer)
    parser.add_argument("--other-tokenizer", action="append", default=[], type=_tokenizer, metavar="TOKENIZER")
    parser.add_argument("--max-length", type=int, default=8192)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--slice", type=int, default=8000, metavar="RECORDS")
    parser.add_argument("--repeat", type=int, default=3, metavar="ROUNDS")
    parser.add_argument("--only", type=_parts, default=list(PARTS), metavar="PART,...")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where to work (default: the system's choice)")
    parser.add_argument("--goals", action="store_true")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE")
    return parser.parse_args()


def _tokenizer(text: str) -> Tokenizer:
    path, _, template = text.partition(",")
    return Tokenizer(path, template or None)


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return parts


if __name__ == "__main__":
    sys.exit(main())
