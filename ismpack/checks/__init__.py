"""Is this dataset what its manifest says, and does every row keep the rules of the format?

`verify` runs the checks of `CHECKS`, each a small function with one name, from the manifest down to the tokens:

    files    manifest and files      streams  Arrow files      rows     row structure
    tokens   everything per token    totals   sums, sources

`batch` holds what the checks of tokens have in common, `shard` the order of what is done with one shard, and `run` that
of everything.

A check sees whole record batches as numpy columns and never loops over tokens. What it reads may be damaged or written
by someone else, so nothing here trusts it: damage becomes a finding, not an exception. Nothing is shared with the code
that writes datasets except the schema and the manifest, so that the two cannot agree on a mistake.
"""

from __future__ import annotations

from ismpack.checks.report import Check, Finding, VerifyReport
from ismpack.checks.run import CHECKS, verify

__all__ = ["CHECKS", "Check", "Finding", "VerifyReport", "verify"]
