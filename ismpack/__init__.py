"""ismpack: chat data to packed, mask-exact Arrow shards.

`convert` writes a dataset, `load` opens it, `verify` proves it, `masks` rebuilds attention masks from its columns.
Importing this package loads nothing heavy; each name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["__version__", "check_template", "convert", "load", "masks", "verify"]

if TYPE_CHECKING:
    from ismpack import masks
    from ismpack.checks import verify
    from ismpack.pipeline import convert
    from ismpack.pipeline.template import check_template
    from ismpack.reader import load

_HOMES = {
    "check_template": "ismpack.pipeline.template",
    "convert": "ismpack.pipeline",
    "load": "ismpack.reader",
    "verify": "ismpack.checks",
}


def __getattr__(name: str) -> object:
    if name == "masks":
        return importlib.import_module("ismpack.masks")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ismpack' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
