"""One measurement in a process of its own: `python -m suite.child JOB '{"argument": ...}'` prints its outcome."""

from __future__ import annotations

import json
import sys
from importlib import import_module

from suite.processes import NOT_MEASURED
from suite.rounds import NotMeasuredError

HOMES = {
    "write_texts": "texts",
    "encode": "encoding",
    "prepare": "trl_path",
    "assign": "packing",
    "pack": "packing",
    "pack_with_trl": "packing",
    "verify": "verifying",
    "column_sums": "verifying",
}
"""Job -> the module that holds the function of this name; only that is imported."""


def main() -> None:
    """Run the job that the command line names."""
    job = sys.argv[1]
    try:
        outcome = getattr(import_module(f"suite.{HOMES[job]}"), job)(**json.loads(sys.argv[2]))
    except NotMeasuredError as reason:
        print(json.dumps({NOT_MEASURED: str(reason)}))
    else:
        print(json.dumps({"figures": outcome.figures, "facts": outcome.facts}))


if __name__ == "__main__":
    main()
