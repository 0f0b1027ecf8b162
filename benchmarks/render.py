"""The README's section on speed, from the result of a benchmark.

python benchmarks/render.py RESULT.json              prints the whole section
python benchmarks/render.py RESULT.json README.md    puts the figures between the two marks in README.md
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from suite.result import Result
from suite.section import rewritten, section


def main() -> int:
    """Print or rewrite; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("readme", type=Path, nargs="?")
    arguments = parser.parse_args()
    try:
        result = Result(json.loads(arguments.result.read_text(encoding="utf-8")))
        if arguments.readme is None:
            print(section(result), end="")
        else:
            text = rewritten(arguments.readme.read_text(encoding="utf-8"), result)
            arguments.readme.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
