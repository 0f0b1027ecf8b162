"""What a conversion may be told, validated once."""

from __future__ import annotations

import datetime
import difflib
import json
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
SpecialTokensInData: TypeAlias = Literal["text", "reject", "control"]
OnError: TypeAlias = Literal["skip", "stop"]
TokenizerEngine: TypeAlias = Literal["auto", "fastokens", "gigatoken", "hf"]

MAX_LENGTH = 10_000_000
"""Tokens per pack at most; a record batch of packs must stay below 2**31 tokens."""

MAX_WORKERS = 1024
"""No machine has more cores by far."""

_DROPPABLE = ("content", "reasoning_content", "tool_calls", "tools")

_CHOICES: dict[str, tuple[str, ...]] = {
    "packing": get_args(Packing),
    "overlong": get_args(Overlong),
    "loss": get_args(Loss),
    "on_rewrite": get_args(OnRewrite),
    "special_tokens_in_data": get_args(SpecialTokensInData),
    "on_error": get_args(OnError),
    "tokenizer_engine": get_args(TokenizerEngine),
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
        map: Our names -> the record's keys, for a format that is not known (see `formats.mapping`).
        limit: Use only this many records.
        packing: How documents share a pack.
        overlong: What happens to a conversation longer than `max_length`.
        loss: Train on all answers or on the last one.
        on_rewrite: What happens when the template changes earlier answers.
        allow_dropped: Fields that the template may leave unprinted.
        allow_unterminated: Accept answers that no control token closes.
        special_tokens_in_data: What the text of a control token in the data becomes: text, a rejected record, or the
            control token.
        on_error: Skip bad records or stop at the first.
        max_rejected: Share of records that may be rejected, 0 to 1.
        with_columns: Derived columns to store as well.
        workers: Processes that convert partitions; a daemonic process, which may not start others, does all itself.
        tokenizer_engine: What encodes text; `auto` takes the fastest that is installed and gives the ids of `hf`.

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
    map: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    packing: Packing = "bfd"
    overlong: Overlong = "turns"
    loss: Loss = "all"
    on_rewrite: OnRewrite = "stitch"
    allow_dropped: tuple[str, ...] = ()
    allow_unterminated: bool = False
    special_tokens_in_data: SpecialTokensInData = "text"
    on_error: OnError = "skip"
    max_rejected: float = 0.01
    with_columns: tuple[str, ...] = ()
    workers: int = 1
    tokenizer_engine: TokenizerEngine = "auto"

    def __post_init__(self) -> None:
        """Check every field, naming the option as the user types it."""
        for name in ("stop_tokens", "allow_dropped", "with_columns"):
            if isinstance(getattr(self, name), str):
                raise _bad(name.replace("_", "-"), getattr(self, name), "it is a sequence of names, not one text")
        for name, choices in _CHOICES.items():
            _check_choice(name, getattr(self, name), choices)
        for column in self.with_columns:
            _check_choice("with", column, tuple(DERIVED_COLUMNS))
        for field_name in self.allow_dropped:
            _check_choice("allow_dropped", field_name, _DROPPABLE)
        self._check_numbers()
        _check_date(self.date)
        for name in self.template_args:
            if name in ("messages", "tools", "add_generation_prompt"):
                raise _bad("template-arg", name, "it is what the conversation itself gives to the template")
        try:
            json.dumps(self.identity(), allow_nan=False, ensure_ascii=False).encode()
        except (TypeError, ValueError) as error:
            hint = f"Options and template arguments are JSON and UTF-8 text ({error})."
            raise UsageError("an option cannot be written down", code="bad-option", hint=hint) from error

    def _check_numbers(self) -> None:
        if not isinstance(self.max_length, int) or not 2 <= self.max_length <= MAX_LENGTH:
            raise _bad("max-length", self.max_length, f"a pack holds from 2 to {MAX_LENGTH:,} tokens")
        if self.limit is not None and self.limit < 1:
            raise _bad("limit", self.limit, "it counts records, from 1")
        if not isinstance(self.workers, int) or not 1 <= self.workers <= MAX_WORKERS:
            raise _bad("workers", self.workers, f"it counts processes, from 1 to {MAX_WORKERS:,}")
        if not 0 <= self.max_rejected <= 1:
            raise _bad("max-rejected", self.max_rejected, "it is a share of the records, from 0 to 1")

    def identity(self) -> dict[str, object]:
        """The options that decide the dataset's bytes, as JSON.

        Paths are left out (the digests of what they hold stand in the manifest), and so is what only decides whether a
        run goes on after bad records, or how fast it is.
        """
        return {
            "template_args": dict(self.template_args),
            "stop_tokens": sorted(set(self.stop_tokens)),
            "date": self.date,
            "default_system": self.default_system,
            "max_length": self.max_length,
            "format": self.format,
            "map": dict(sorted(self.map.items())),
            "limit": self.limit,
            "packing": self.packing,
            "overlong": self.overlong,
            "loss": self.loss,
            "on_rewrite": self.on_rewrite,
            "allow_dropped": sorted(set(self.allow_dropped)),
            "allow_unterminated": self.allow_unterminated,
            "special_tokens_in_data": self.special_tokens_in_data,
            "with": list(dict.fromkeys(self.with_columns)),
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
        if "tokenizer" not in keywords:
            raise UsageError("convert() needs a tokenizer", code="bad-option", hint="tokenizer=... names one.")
        return cls(**keywords)


def _check_date(date: str | None) -> None:
    if date is None:
        return
    try:
        normal = datetime.date.fromisoformat(date).isoformat()
    except ValueError:
        normal = ""
    if normal != date:  # fromisoformat also reads other spellings
        raise _bad("date", date, "write it as YYYY-MM-DD")


def _bad(option: str, value: object, why: str) -> UsageError:
    return UsageError(f"--{option} {value} is not possible", code="bad-option", hint=f"{why[0].upper()}{why[1:]}.")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value in choices:
        return
    near = difflib.get_close_matches(value, choices, n=1)
    hint = (f"Did you mean {near[0]!r}? " if near else "") + f"Choices: {', '.join(choices)}."
    raise UsageError(f"--{name.replace('_', '-')} has no choice {value!r}", code="bad-option", hint=hint)
