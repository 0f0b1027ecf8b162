"""Conversation to segments: what the template prints, and which of it is query and which is answer."""

from ismpack.templates.dialect import Dialect, find_dialect
from ismpack.templates.environment import ChatTemplate
from ismpack.templates.frames import frame_tokens
from ismpack.templates.reference import segment
from ismpack.templates.rules import Segmentation, SegmentRules
from ismpack.templates.segmenter import Segmenter

__all__ = [
    "ChatTemplate",
    "Dialect",
    "SegmentRules",
    "Segmentation",
    "Segmenter",
    "find_dialect",
    "frame_tokens",
    "segment",
]
