"""Questions and answers under keys of their own: instructions, reasoning sets, benchmarks, preferences, votes."""

from __future__ import annotations

from ismpack.formats.format import Format
from ismpack.formats.qa.benchmarks import BENCHMARK_FORMATS
from ismpack.formats.qa.completions import COMPLETION_FORMATS
from ismpack.formats.qa.document_messages import DOCUMENT_MESSAGES
from ismpack.formats.qa.function_calls import FUNCTION_CALLS
from ismpack.formats.qa.instances import SELF_INSTRUCT
from ismpack.formats.qa.pairs import TEXT_PAIR_FORMATS
from ismpack.formats.qa.preferences import PREFERENCE_FORMATS
from ismpack.formats.qa.reasoning import REASONING_FORMATS

QA_FORMATS: tuple[Format, ...] = (
    *REASONING_FORMATS,
    *BENCHMARK_FORMATS,
    DOCUMENT_MESSAGES,
    FUNCTION_CALLS,
    *TEXT_PAIR_FORMATS,
    SELF_INSTRUCT,
    *COMPLETION_FORMATS,
    *PREFERENCE_FORMATS,
)
