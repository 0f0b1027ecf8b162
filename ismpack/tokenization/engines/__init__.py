"""Engines that turn text into ids: Hugging Face's library, and faster ones that must give the same ids.

The faster ones are optional installs, imported when they are opened.
"""

from ismpack.tokenization.engines.choice import EngineChoice, candidate, open_engine
from ismpack.tokenization.engines.comparison import first_difference
from ismpack.tokenization.engines.engine import ENGINES, ONE_THREAD, EncodedTexts, Engine, EngineUnfitError
from ismpack.tokenization.engines.nasty_texts import NASTY_TEXTS

__all__ = [
    "ENGINES",
    "NASTY_TEXTS",
    "ONE_THREAD",
    "EncodedTexts",
    "Engine",
    "EngineChoice",
    "EngineUnfitError",
    "candidate",
    "first_difference",
    "open_engine",
]
