"""One raw record on its way through the write side, before anything is converted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ismpack.data import Conversation, Pack, Record, SampleBatch
from ismpack.errors import RecordError, UsageError
from ismpack.formats import TREE_KEY, gather_trees, tree_message
from ismpack.options import ConvertOptions
from ismpack.packing import fit, pack
from ismpack.pipeline.inputs import conversation_of, input_files
from ismpack.pipeline.oddities import oddities
from ismpack.pipeline.report import WARNINGS
from ismpack.pipeline.toolkit import Toolkit, load_setup, make_toolkit
from ismpack.sources import Chunk, read, scan

_CHUNK_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Preview:
    """What would become of one record.

    Attributes:
        source: Where the record stands, as `chat.jsonl:3`.
        format_name: The format it was read as; empty if none fits.
        conversation: Its messages, if it could be read.
        warnings: Sentences about what is unusual.
        pack: Its samples as one row, one document each; None if it would be rejected.
        error: Why it would be rejected.
        tokenizer_json: The backend JSON, to turn ids into text.
    """

    source: str
    format_name: str
    conversation: Conversation | None
    warnings: tuple[str, ...]
    pack: Pack | None
    error: RecordError | None
    tokenizer_json: str


def preview(path: str, line: int | None, options: ConvertOptions) -> Preview:
    """Convert one record of a file, in memory.

    Args:
        path: One input file.
        line: 1-based line, or 0-based element of a JSON array; None = the first.
        options: As for `convert`.

    Raises:
        UsageError: `bad-selector`: the file has no such record. Also what reading the file and the tokenizer raises.
    """
    item = _record(path, line)
    toolkit = make_toolkit(load_setup(options))
    name, conversation, batch = "", None, None
    warnings: list[str] = []
    error = item if isinstance(item, RecordError) else None
    if isinstance(item, Record):
        try:
            name, conversation = conversation_of(item, toolkit.format)
            batch, warnings = _samples(conversation, toolkit, item.source_id)
        except RecordError as refusal:
            error = refusal.at(item.location)
    return Preview(
        source=str(item.location),
        format_name=name,
        conversation=conversation,
        warnings=tuple(warnings),
        pack=None if batch is None else _one_row(batch),
        error=error,
        tokenizer_json=toolkit.files.backend_json,
    )


def _record(path: str, line: int | None) -> Record | RecordError:
    """The record at a position; of a flat reply tree, the tree that the message there belongs to."""
    if not Path(path).is_file():
        raise UsageError(f"there is no file or dataset {path}", code="input-not-found")
    with input_files([path], None) as (files, spool):
        found = scan(files[0], _CHUNK_BYTES, spool, whole_key=TREE_KEY)
        first = 1 if found.unit == "line" else 0
        wanted = (first if line is None else line) - first
        for chunk in found.chunks:
            for position, item in enumerate(read(chunk), start=chunk.first):
                if position == wanted and item is None:
                    raise UsageError(f"line {line} of {path} is blank", code="bad-selector")
                if position == wanted and item is not None:
                    return _tree_of(item, chunk) if isinstance(item, Record) else item
    unit = "line" if found.unit == "line" else "element"
    raise UsageError(f"{path} has no {unit} {wanted + first}", code="bad-selector")


def _tree_of(item: Record, chunk: Chunk) -> Record | RecordError:
    """The record itself, or the reply tree of which it is a message."""
    message = tree_message(item.value)
    if message is None:
        return item
    messages = (
        other
        for other in read(chunk)
        if isinstance(other, Record) and (one := tree_message(other.value)) is not None and one.tree == message.tree
    )
    tree = next(gather_trees(messages, whole=chunk.whole))
    return item if tree is None else tree


def _samples(conversation: Conversation, toolkit: Toolkit, source_id: int) -> tuple[SampleBatch, list[str]]:
    segmentation = toolkit.segments(conversation)
    batch, refused = toolkit.tokenizer().tokenize(segmentation.samples, [source_id] * len(segmentation.samples))
    options = toolkit.options
    fitted = fit(batch, options.max_length, options.overlong)
    if not len(fitted.batch):
        for error in (*refused.values(), *fitted.refused.values()):
            raise error
        raise RecordError("the conversation is left out by --overlong drop", code="overlong")
    codes = (*conversation.warnings, *oddities(conversation), *segmentation.warnings)
    warnings = [f"{code} ({WARNINGS[code]})" for code in dict.fromkeys(codes)]
    stops = sorted(segmentation.inferred_stops)
    warnings += [f"{token!r} closes an answer but is not listed as stop token" for token in stops]
    lost = len(segmentation.samples) - len(fitted.batch)
    if lost:
        warnings.append(f"{lost} of {len(segmentation.samples)} samples cannot be used or do not fit")
    if fitted.cut:
        warnings.append(
            f"the last {fitted.cut_turns} turns ({fitted.cut_tokens:,} tokens) are cut off to fit in "
            f"{options.max_length:,} tokens"
        )
    return fitted.batch, warnings


def _one_row(batch: SampleBatch) -> Pack:
    packed = next(pack([batch], int(batch.lengths.sum()), "sequential", seed=0))
    return Pack(
        input_ids=packed.input_ids,
        segment_type_ids=packed.segment_type_ids,
        turn_ids=packed.turn_ids,
        loss_mask=packed.loss_mask,
        seq_lengths=packed.seq_lengths,
        source_ids=packed.source_ids,
    )
