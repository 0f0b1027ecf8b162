"""Datasets rewritten as other trainers' files.

    export    a dataset to one target, as `ismpack export` does it
    TARGETS   the targets by name; each has a module of its own, whose docstring gives layout and conventions

All but one of the trainers know no ISM mask and train plain causal on the same tokens and targets; the report of an
export says what else is lost.
"""

from __future__ import annotations

from ismpack.export.run import ExportReport, export
from ismpack.export.table import TARGETS

__all__ = ["TARGETS", "ExportReport", "export"]
