"""Is this chat template safe for multi-turn ISM, and if not, why and what helps? The work of `ismpack template`.

Small conversations of our own are segmented as `convert` would segment them, and everything is said by trying:

    probes    the conversations        subject    the template and its renders
    verdicts  append-only or not       rewrites   the first piece that changes
    fields    what is never printed    stops      what ends an answer
    markers   generation markers       repairs    options that help
    report    all of it together
"""

from ismpack.templates.report.probes import PROBES
from ismpack.templates.report.report import TemplateReport, examine
from ismpack.templates.report.subject import Subject

__all__ = ["PROBES", "Subject", "TemplateReport", "examine"]
