"""Is the chat template of a tokenizer safe for multi-turn ISM? Its parts put together as `convert` would."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ismpack.options import ConvertOptions
from ismpack.pipeline.toolkit import load_setup, make_toolkit, with_default_system
from ismpack.templates.report import PROBES, Subject, TemplateReport, examine

_ANY_DATE = "2024-01-01"


def check_template(tokenizer: str, **options: Any) -> TemplateReport:
    """Try a chat template on small conversations of every kind.

    Args:
        tokenizer: Hub name, directory or tokenizer.json.
        options: Options of `convert` that bear on the template: `chat_template`, `template_args`, `stop_tokens`,
            `date`, `default_system`, `allow_dropped`, `allow_unterminated`. Without `date`, the clock of a template
            that reads it shows some day, and the report says that the option is missing.

    Raises:
        UsageError: `bad-option`.
        TokenizerError: The tokenizer, its template or a stop token cannot be used.
    """
    given = ConvertOptions.from_keywords(tokenizer=tokenizer, **options)
    dated = replace(given, date=given.date or _ANY_DATE, on_rewrite="stitch", loss="all")
    toolkit = make_toolkit(load_setup(dated))
    subject = Subject(
        toolkit.templates,
        variables={**toolkit.files.variables, **given.template_args},
        date=given.date or _ANY_DATE,
        rules=toolkit.rules,
    )
    system = given.default_system
    probes = PROBES if system is None else {kind: with_default_system(c, system) for kind, c in PROBES.items()}
    return examine(subject, name=given.chat_template or tokenizer, date=given.date, probes=probes)
