"""The write side as a whole: plan, partitions, publication, report; and the preview of one record."""

from ismpack.pipeline.preview import Preview, preview
from ismpack.pipeline.progress import Progress
from ismpack.pipeline.report import WARNINGS, ConvertReport
from ismpack.pipeline.run import convert

__all__ = ["WARNINGS", "ConvertReport", "Preview", "Progress", "convert", "preview"]
