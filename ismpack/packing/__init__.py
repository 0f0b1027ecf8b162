"""Samples to packs."""

from ismpack.packing.bound import row_bound
from ismpack.packing.overlong import Fitted, fit
from ismpack.packing.rows import pack

__all__ = ["Fitted", "fit", "pack", "row_bound"]
