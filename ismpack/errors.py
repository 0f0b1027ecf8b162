"""What can go wrong, as data.

    IsmpackError                 has code, message, location, hint; exit_code 2
    ├── UsageError               an option or a path makes the run impossible
    ├── InputError               a whole input file cannot be read
    ├── RecordError              one record cannot be used; becomes a line of rejected.jsonl (exit_code 1)
    ├── TokenizerError           a tokenizer or its chat template cannot be loaded or used
    ├── OutputError              the output directory cannot be written, or holds something else
    ├── RunError                 the run finished without a dataset (exit_code 1)
    ├── DatasetError             a directory is not a readable ismpack dataset
    ├── TrainingError            a batch, its mask and a model that do not go together
    └── InternalError            ismpack broke its own rule; never the user's fault

A code is kebab-case, stable and listed in `CODES`; the documentation's table is generated from there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

UNDESIRED = "undesired"
"""Code of a record that is left out because it marks its own answer as unwanted; it is counted, not rejected."""

CODES: dict[str, str] = {
    # options and paths
    "bad-option": "An option has a value that does not exist or contradicts another option.",
    "input-not-found": "An input path does not exist, or a glob matches nothing.",
    "duplicate-input": "The same file is given twice.",
    "output-inside-input": "The output directory holds an input, or lies inside an input directory.",
    # whole input files
    "input-unreadable": "An input cannot be opened or read.",
    "input-not-json": "A whole file is no JSON (UTF-16, an archive, a web page, a Git LFS pointer).",
    "input-truncated": "An input (compressed data, a JSON array) ends early or is corrupt.",
    "input-changed": "An input file changed between two reads of it.",
    "bad-table": "A table's header or a row of it does not fit.",
    "trees-too-large": "The reply trees of one file hold more text than is put together in memory.",
    "no-records": "The inputs hold no record at all.",
    # records: JSON
    "invalid-utf8": "A line is not valid UTF-8.",
    "invalid-json": "A line is not one JSON value.",
    "lone-surrogate": "A string holds half of a UTF-16 pair, which no tokenizer can encode.",
    "duplicate-key": "An object names the same key twice.",
    "bad-number": "NaN, Infinity or a number out of range.",
    "too-deep": "Values are nested too deeply.",
    "line-too-long": "A line is longer than the limit.",
    "not-an-object": "A record is not a JSON object.",
    # records: conversations
    "unknown-format": "No known format has the keys of this record.",
    "ambiguous-format": "Two formats read this record and disagree.",
    "bad-messages": "The list of messages has the wrong type or is empty.",
    "bad-message": "One message has the wrong type or lacks a required key.",
    "unknown-role": "A message has a role that is not known.",
    "bad-content": "A message's content is missing or of a type that is not text.",
    "unsupported-modality": "A content part is not text (an image, audio, a file).",
    "bad-tool-call": "A tool call lacks its name, or its arguments are neither an object nor text.",
    "bad-tools": "The tool definitions are not a list of objects.",
    "bad-template-args": "chat_template_kwargs is not an object, or sets what ismpack sets itself.",
    "empty-answer": "An answer has nothing in it: no text, or no token.",
    "no-question": "The record holds answers without what they answer.",
    "empty-query": "The first query gives no token, so the conversation would begin with an answer.",
    "fractional-weight": "A loss flag is neither 0/1 nor true/false.",
    "loss-on-query": "A loss flag asks to train a message that the model does not write.",
    "conflicting-flags": "Two loss flags of one message disagree.",
    UNDESIRED: "The record marks its own answer as unwanted; it is left out and counted, not rejected.",
    "broken-tree": "Messages of a reply tree have no root in their file, answer themselves, or share an id.",
    # records: templates and tokens
    "no-answer": "No assistant message follows a user or tool message.",
    "no-target": "No answer is left to train on.",
    "template-error": "The chat template raised an error; its own message is shown.",
    "generation-prompt-not-continued": "The answer as rendered does not start with the generation prompt.",
    "answer-rewritten": "A later message changes how an earlier answer is rendered, and --on-rewrite is error.",
    "stitch-ambiguous": "The template rewrites history in a way that leaves the next query without a provable start.",
    "no-stop-token": "No control token closes an answer, so a model trained on it would not learn to stop.",
    "data-dropped": "The template never prints a field that holds data.",
    "special-token-in-data": "The data holds the text of a control token.",
    "overlong": "The first turn (or, with drop or error, the conversation) does not fit in --max-length.",
    # tokenizers and templates
    "tokenizer-not-found": "The tokenizer is not a directory, a tokenizer.json or a reachable hub name.",
    "tokenizer-invalid": "The tokenizer's files cannot be used.",
    "tokenizer-engine-unfit": "The engine of --tokenizer-engine is not installed, or cannot take this tokenizer.",
    "chat-template-missing": "The tokenizer has no chat template and --chat-template is not given.",
    "chat-template-invalid": "The chat template is not valid Jinja.",
    "chat-template-nondeterministic": "The chat template asks for the date or for random numbers.",
    "stop-token-not-encodable": "A --stop-token is not an added token of the tokenizer.",
    # output
    "output-exists": "The output directory holds another dataset or other files.",
    "output-locked": "Another run is writing to the output directory.",
    "output-unwritable": "The output directory cannot be written.",
    "os-error": "The operating system refused to read or write a file.",
    "too-many-rejects": "More records were rejected than --max-rejected allows.",
    "worker-died": "Worker processes were killed again and again, most likely for lack of memory.",
    "nothing-to-train": "No conversation was left, so nothing was published.",
    # datasets
    "not-a-dataset": "The directory has no manifest.json, so it is not a finished dataset.",
    "newer-format": "The dataset was written in a newer format version.",
    "manifest-invalid": "manifest.json cannot be read.",
    "shard-damaged": "A shard is missing, cut short, or not the Arrow file that the manifest describes.",
    "dataset-replaced": "Another dataset took the place of the one that is being read.",
    "bad-selector": "The row, document or line asked for does not exist.",
    # training
    "mask-unsupported": "A model or its attention cannot apply the mask, and would train on something else in silence.",
    "mask-missing": "A model that waits for masks was given a training batch without one.",
    "bad-batch": "The tensors of a batch do not fit each other.",
    "state-mismatch": "A saved position belongs to another dataset or to other settings.",
    "export-impossible": "The other format cannot hold this dataset.",
    "internal": "ismpack broke one of its own rules.",
}

_MAX_WORDS = 1000
"""Characters of a message, a hint or a path: rejects tell of a record, they do not repeat it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where something stands: a file, a position in it, a JSON path in that record.

    Attributes:
        path: The file as the user typed it.
        line: 1-based physical line of a line-based file.
        index: 0-based element of a JSON array.
        byte_offset: Offset of the record's first byte in the decompressed text.
        json_path: Path inside the record, as `$.messages[2].role`.
    """

    path: str
    line: int | None = None
    index: int | None = None
    byte_offset: int | None = None
    json_path: str | None = None

    @classmethod
    def of(cls, path: str, unit: Literal["line", "index"], position: int, byte_offset: int | None = None) -> Location:
        """The location of a 0-based position that counts lines or elements."""
        if unit == "line":
            return cls(path=path, line=position + 1, byte_offset=byte_offset)
        return cls(path=path, index=position, byte_offset=byte_offset)

    def __str__(self) -> str:
        position = f":{self.line}" if self.line is not None else f"#{self.index}" if self.index is not None else ""
        return f"{self.path}{position}" + (f"  {self.json_path}" if self.json_path else "")


def _shortened(text: str) -> str:
    """A text that may quote a record, no longer than a few lines."""
    return text if len(text) <= _MAX_WORDS else f"{text[:_MAX_WORDS]}…"


class IsmpackError(Exception):
    """Base of every error this package raises on purpose.

    Args:
        message: What happened, in one sentence without a full stop.
        code: A key of `CODES`.
        location: Where, if it is known at the place that raises.
        hint: What to do about it.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, code: str, location: Location | None = None, hint: str | None = None) -> None:
        if code not in CODES:
            raise ValueError(f"error code {code!r} is not listed in ismpack.errors.CODES")
        self.message = _shortened(message)
        super().__init__(self.message)
        self.code = code
        self.location = location
        self.hint = _shortened(hint) if hint else None
        if self.hint:
            self.add_note(f"hint: {self.hint}")  # a traceback, as in a training script, shows it

    def __str__(self) -> str:
        where = f" ({self.location})" if self.location else ""
        return f"[{self.code}] {self.message}{where}"

    def __reduce__(self) -> tuple[object, ...]:
        """Errors come back from other processes as they were."""
        return _restored, (type(self), self.message), self.__dict__


def _restored(kind: type[IsmpackError], message: str) -> IsmpackError:
    return kind.__new__(kind, message)


class UsageError(IsmpackError):
    """An option or a path makes the run impossible."""


class InputError(IsmpackError):
    """A whole input file cannot be read."""


class RecordError(IsmpackError):
    """One record cannot be used.

    Raised without a location by code that sees only the record's value; `json_path` then tells where inside it, and
    `at` adds the file and line.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        code: str,
        json_path: str | None = None,
        location: Location | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, code=code, location=location, hint=hint)
        self.json_path = _shortened(json_path) if json_path else None

    def at(self, location: Location) -> RecordError:
        """The same error with the record's location filled in."""
        where = replace(location, json_path=self.json_path or location.json_path)
        return RecordError(self.message, code=self.code, json_path=self.json_path, location=where, hint=self.hint)


class TokenizerError(IsmpackError):
    """A tokenizer or its chat template cannot be loaded or used."""


class OutputError(IsmpackError):
    """The output directory cannot be written, or holds something else."""


class RunError(IsmpackError):
    """The run finished without a dataset."""

    exit_code = 1


class DatasetError(IsmpackError):
    """A directory is not a readable ismpack dataset."""


class TrainingError(IsmpackError):
    """A batch, its mask and a model that do not go together."""


class InternalError(IsmpackError):
    """A rule of ours was broken: a bug in ismpack, not in the data."""

    def __init__(self, message: str, *, location: Location | None = None) -> None:
        hint = "This is a bug in ismpack, not in your data; please report it."
        super().__init__(message, code="internal", location=location, hint=hint)
