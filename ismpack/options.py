"""What a conversion may be told, validated once."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias, get_args

from ismpack.data import Json
from ismpack.errors import UsageError
from ismpack.schema import DERIVED_COLUMNS

Packing: TypeAlias = Literal["bfd", "sequential", "none"]
Overlong: TypeAlias = Literal["turns", "drop", "error"]
Loss: TypeAlias = Literal["all", "last"]
OnRewrite: TypeAlias = Literal["stitch", "split", "error"]
OnError: TypeAlias = Literal["skip", "stop"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "packing": get_args(Packing),
    "overlong": get_args(Overlong),
    "loss": get_args(Loss),
    "on_rewrite": get_args(OnRewrite),
    "on_error": get_args(OnError),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """Options of `convert`; the command line's names with underscores.

    Attributes:
        tokenizer: Hub name, directory or tokenizer.json.
        chat_template: Path of a Jinja file that replaces the tokenizer's own template.
        template_args: Extra variables for the template.
        stop_tokens: Added tokens that end an answer besides the tokenizer's own.
        date: ISO date that the template's clock shows; None = a template that asks for the date is refused.
        default_system: System message for conversations that have none.
        max_length: Tokens per pack.
        format: `auto`, or the name of one input format.
        limit: Use only this many records.
        packing: How documents share a pack.
        overlong: What happens to a conversation longer than `max_length`.
        loss: Train on all answers or on the last one.
        on_rewrite: What happens when the template changes earlier answers.
        allow_dropped: Fields that the template may leave unprinted.
        allow_unterminated: Accept answers that no control token closes.
        on_error: Skip bad records or stop at the first.
        max_rejected: Share of records that may be rejected, 0 to 1.
        with_columns: Derived columns to store as well.

    Raises:
        UsageError: `bad-option`, naming the option.
    """

    tokenizer: str
    chat_template: str | None = None
    template_args: Mapping[str, Json] = field(default_factory=dict)
    stop_tokens: tuple[str, ...] = ()
    date: str | None = None
    default_system: str | None = None
    max_length: int = 4096
    format: str = "auto"
    limit: int | None = None
    packing: Packing = "bfd"
    overlong: Overlong = "turns"
    loss: Loss = "all"
    on_rewrite: OnRewrite = "stitch"
    allow_dropped: tuple[str, ...] = ()
    allow_unterminated: bool = False
    on_error: OnError = "skip"
    max_rejected: float = 0.01
    with_columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check every field, naming the option as the user types it."""
        for name, choices in _CHOICES.items():
            _check_choice(name, getattr(self, name), choices)
        for column in self.with_columns:
            _check_choice("with", column, tuple(DERIVED_COLUMNS))
        if self.max_length < 2:
            raise _bad("max-length", self.max_length, "a pack holds at least a query and an answer token")
        if self.limit is not None and self.limit < 1:
            raise _bad("limit", self.limit, "it counts records, from 1")
        if not 0 <= self.max_rejected <= 1:
            raise _bad("max-rejected", self.max_rejected, "it is a share of the records, from 0 to 1")
        if self.date is not None:
            try:
                datetime.date.fromisoformat(self.date)
            except ValueError:
                raise _bad("date", self.date, "write it as YYYY-MM-DD") from None

    def identity(self) -> dict[str, object]:
        """The options that decide the dataset's bytes, as JSON.

        Paths are left out (the digests of what they hold stand in the manifest), and so is what only decides whether a
        run goes on after bad records.
        """
        return {
            "template_args": dict(self.template_args),
            "stop_tokens": list(self.stop_tokens),
            "date": self.date,
            "default_system": self.default_system,
            "max_length": self.max_length,
            "format": self.format,
            "limit": self.limit,
            "packing": self.packing,
            "overlong": self.overlong,
            "loss": self.loss,
            "on_rewrite": self.on_rewrite,
            "allow_dropped": sorted(self.allow_dropped),
            "allow_unterminated": self.allow_unterminated,
            "with": list(self.with_columns),
        }

    @classmethod
    def from_keywords(cls, **keywords: Any) -> ConvertOptions:
        """Build options from keyword arguments, naming the nearest option for one that does not exist.

        Raises:
            UsageError: `bad-option`.
        """
        known = [f.name for f in fields(cls)]
        for name in keywords:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"Did you mean {near[0]!r}?" if near else f"Known options: {', '.join(known)}."
                raise UsageError(f"convert() has no option {name!r}", code="bad-option", hint=hint)
        return cls(**keywords)


def _bad(option: str, value: object, why: str) -> UsageError:
    return UsageError(f"--{option} {value} is not possible", code="bad-option", hint=f"{why[0].upper()}{why[1:]}.")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value in choices:
        return
    near = difflib.get_close_matches(value, choices, n=1)
    hint = (f"Did you mean {near[0]!r}? " if near else "") + f"Choices: {', '.join(choices)}."
    raise UsageError(f"--{name.replace('_', '-')} has no choice {value!r}", code="bad-option", hint=hint)
