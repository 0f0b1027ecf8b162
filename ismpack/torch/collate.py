"""Rows to tensors: what a model's `forward` and its loss want, for every kind of mask.

Letters used in shapes: B rows, T tokens of the longest row after padding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch

from ismpack import masks
from ismpack.data import Pack
from ismpack.errors import TrainingError
from ismpack.masks import MaskKind
from ismpack.schema import IGNORE_INDEX
from ismpack.torch.dense import dense_mask
from ismpack.torch.options import bad_option, whole_number

Kind: TypeAlias = Literal["ism", "causal", "mas", "prefix", "triplets"]
MaskForm: TypeAlias = Literal["intervals", "bool", "float"]
Labels: TypeAlias = Literal["unshifted", "shifted"]
RowColumns: TypeAlias = Mapping[str, object]
"""A row as `datasets` gives it: column -> list, array or tensor."""
Batch: TypeAlias = dict[str, torch.Tensor]

_MOST_SOURCES = 8

_NEEDED = ("input_ids", "segment_type_ids", "turn_ids", "loss_mask", "seq_lengths")


class _Row(NamedTuple):
    """The columns of one row, `loss_mask` as booleans."""

    ids: npt.NDArray[np.integer]
    types: npt.NDArray[np.integer]
    turns: npt.NDArray[np.integer]
    lengths: npt.NDArray[np.integer]
    target: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Collator:
    """Makes one batch of tensors out of rows; give it to a DataLoader or a trainer as `collate_fn` or `data_collator`.

    A row is a `Pack`, or a mapping with the stored columns as `datasets.load_from_disk` gives it (trainers of Hugging
    Face then need `remove_unused_columns=False`). One row is not padded unless that is asked for; several are padded to
    the longest. Padding is one more causal document that carries no loss. Nothing is ever cut.

    The batch holds

    - `input_ids` int64[B, T];
    - `labels` int64[B, T]: the id where a token carries loss under the kind, else -100;
    - `position_ids` int64[B, T], from 0 in every document;
    - with `intervals`, `ism_lo` and `ism_hi` int32[B, T]: token i of a row sees exactly the tokens [lo, hi). Models
      take these after `install_ism(model)`, which also keeps a model's sliding window;
    - with `bool` or `float`, `attention_mask` [B, 1, T, T] (True = attend; float32, 0 = attend). A mask given to a
      model like this replaces its sliding window.

    A BlockMask is made on the device, `block_mask(batch["ism_lo"].to(device), ...)`: it can leave neither a worker
    process nor the device on which it was made.

    Args:
        kind: A key of `masks.KINDS`; or `triplets`: rows are expanded to one document per answer, with the mask of
            `prefix`, which makes them several times longer.
        mask: Which of these masks; None for none, as for a trainer that is told of documents by `position_ids`. That
            takes one row per batch: in several, FlashAttention through transformers does not look for documents.
        labels: `unshifted`: labels[i] is token i, for losses that shift by themselves (Hugging Face). `shifted`:
            labels[i] is the token after i, which i predicts; never across documents.
        pad_to: Pad every batch to this many tokens; a longer row is an error.
        pad_to_multiple_of: Pad to the next multiple of this.
        pad_id: Token id of padding.
        allow_no_loss: Let a batch through in which nothing carries loss. A mean over its targets is NaN, so this is for
            loops that divide by the targets of a whole step, of which some other batch has one.

    Raises:
        UsageError: `bad-option`.
    """

    kind: Kind = "ism"
    _: KW_ONLY
    mask: MaskForm | None = "intervals"
    labels: Labels = "unshifted"
    pad_to: int | None = None
    pad_to_multiple_of: int | None = None
    pad_id: int = 0
    allow_no_loss: bool = False

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("kind", self.kind, get_args(Kind)),
            ("mask", self.mask, (*get_args(MaskForm), None)),
            ("labels", self.labels, get_args(Labels)),
        ):
            if value not in choices:
                raise bad_option(f"{name}={value!r} does not exist; choose one of {', '.join(map(repr, choices))}")
        if self.pad_to is not None and self.pad_to_multiple_of is not None:
            raise bad_option("pad_to and pad_to_multiple_of are both given; pad_to alone decides the length")
        for name, number, least in (
            ("pad_to", self.pad_to, 1),
            ("pad_to_multiple_of", self.pad_to_multiple_of, 1),
            ("pad_id", self.pad_id, 0),
        ):
            if number is not None:
                object.__setattr__(self, name, whole_number(name, number, least))  # the way of frozen dataclasses

    def __call__(self, rows: Pack | RowColumns | Sequence[Pack | RowColumns]) -> Batch:
        """One batch.

        Args:
            rows: B rows, or one.

        Raises:
            TrainingError: `bad-batch`: no rows, columns that are missing or do not fit, a row longer than `pad_to`, a
                token that would be seen before it is predicted, several rows without a mask, or a batch in which
                nothing carries loss.
        """
        several = [rows] if isinstance(rows, Pack | Mapping) else rows
        if not isinstance(several, Sequence):
            raise _bad_batch(f"a batch is a Pack, a mapping of columns or a list of them, not a {type(rows).__name__}")
        if not several:
            raise _bad_batch("the batch holds no rows")
        if self.mask is None and len(several) > 1:
            raise _bad_batch(
                f"{len(several)} rows in a batch without a mask: nothing would keep their documents apart",
                hint="Use one row per batch, where FlashAttention finds the documents in position_ids, or a mask.",
            )
        read = [_expanded(_read(row), self.kind) for row in several]
        if not self.allow_no_loss and not any(row.target.any() for row in read):
            raise _bad_batch(
                f"no token of the batch carries loss under kind {self.kind!r}, so its mean loss would be no number"
                f"{_sources(several)}",
                hint="Put more rows in a batch, use a kind that trains every answer, or allow_no_loss=True if your "
                "loop divides by the targets of a whole step.",
            )
        return self._tensors(read, self._length(max(len(row.ids) for row in read)))

    def _length(self, longest: int) -> int:
        if self.pad_to is None:
            multiple = self.pad_to_multiple_of or 1
            return -(-longest // multiple) * multiple
        if longest > self.pad_to:
            expanded = " after triplet expansion" if self.kind == "triplets" else ""
            raise _bad_batch(
                f"a row has {longest:,} tokens{expanded}, more than pad_to={self.pad_to:,}",
                hint=f"Set pad_to to {longest:,} or more, or convert with a smaller --max-length; rows are never cut.",
            )
        return self.pad_to

    def _tensors(self, rows: list[_Row], length: int) -> Batch:
        shape = (len(rows), length)
        ids, labels = np.full(shape, self.pad_id, np.int64), np.full(shape, IGNORE_INDEX, np.int64)
        positions, lo, hi = np.empty(shape, np.int64), np.empty(shape, np.int32), np.empty(shape, np.int32)
        kind: MaskKind = "prefix" if self.kind == "triplets" else self.kind
        for b, row in enumerate(rows):
            types, turns, lengths = masks.pad(row.types, row.turns, row.lengths, length)
            lo[b], hi[b], _, _ = masks.intervals(types, turns, lengths, kind)
            positions[b] = masks.position_ids(lengths)
            ids[b, : len(row.ids)] = row.ids
            target = np.flatnonzero(row.target)
            _check_leaks(target, hi[b], positions[b])
            labels[b, target if self.labels == "unshifted" else target - 1] = row.ids[target]
        batch: Batch = {
            "input_ids": torch.from_numpy(ids),
            "labels": torch.from_numpy(labels),
            "position_ids": torch.from_numpy(positions),
        }
        return batch | _mask(self.mask, torch.from_numpy(lo), torch.from_numpy(hi))


def _read(row: object) -> _Row:
    """The columns of a row; `target` is its `loss_mask`."""
    if isinstance(row, Pack):
        columns = [getattr(row, name) for name in _NEEDED]
    elif isinstance(row, Mapping):
        missing = [name for name in _NEEDED if name not in row]
        if missing:
            raise _bad_batch(
                f"a row has no column {', '.join(missing)}",
                hint="Trainers of Hugging Face remove columns unless remove_unused_columns=False.",
            )
        columns = [_integers(name, row[name]) for name in _NEEDED]
    else:
        raise _bad_batch(
            f"a row is a Pack or a mapping of columns, not a {type(row).__name__}",
            hint="PackStream gives whole batches: use DataLoader(stream, batch_size=None, collate_fn=...).",
        )
    ids, types, turns, loss, lengths = columns
    if not len(ids) == len(types) == len(turns) == len(loss):
        raise _bad_batch("the columns of a row differ in length")
    if not len(ids):
        raise _bad_batch("a row holds no token")
    return _Row(ids, types, turns, lengths, loss != 0)


def _sources(rows: Sequence[Pack | RowColumns]) -> str:
    """Which documents the rows hold, for a message, as far as the rows tell."""
    columns = [row.source_ids if isinstance(row, Pack) else row.get("source_ids", ()) for row in rows]
    ids = [str(int(i)) for column in columns if isinstance(column, Iterable) for i in column]
    shown = ", ".join(ids[:_MOST_SOURCES]) + (", ..." if len(ids) > _MOST_SOURCES else "")
    return f"; source_ids of its documents: {shown} (`ismpack.load(DIR).source(id)` names the line)" if ids else ""


def _integers(name: str, values: object) -> npt.NDArray[np.integer]:
    try:
        column = np.asarray(values)
    except ValueError as error:  # lists of lists of different length
        raise _bad_batch(f"{name} is not one list of integers") from error
    if column.ndim != 1 or column.dtype.kind not in "iu":
        raise _bad_batch(f"{name} is not one list of integers but {column.dtype}{list(column.shape)}")
    return column


def _expanded(row: _Row, kind: Kind) -> _Row:
    """The row as the kind trains it: `target` loses what may carry no loss; `triplets` makes a longer row."""
    _, types, turns, lengths, target = row
    try:
        answers = masks.trainable(types, turns, lengths)
        if (target & ~answers).any():
            raise _bad_batch(
                f"token {(target & ~answers).argmax()} carries loss but is no answer, or nothing predicts it",
                hint="Run `ismpack verify` on the dataset.",
            )
        if kind != "triplets":
            return row._replace(target=target & masks.trainable(types, turns, lengths, kind))
        new = masks.triplets(types, turns, lengths)
    except ValueError as error:
        raise _bad_batch(f"the columns of a row do not fit each other: {error}") from error
    target = target[new.index] & new.trainable
    return _Row(row.ids[new.index], new.segment_type_ids, new.turn_ids, new.seq_lengths, target)


def _check_leaks(target: npt.NDArray[np.intp], hi: npt.NDArray[np.int32], positions: npt.NDArray[np.int64]) -> None:
    """The token that predicts a target must not see it."""
    # Never true of columns that passed the checks before; this is the last line of defence, and costs nothing.
    leaks = target[(positions[target] == 0) | (hi[target - 1] > target)]
    if len(leaks):
        raise _bad_batch(f"token {leaks[0]} carries loss, but what predicts it sees it or is another document")


def _mask(form: MaskForm | None, lo: torch.Tensor, hi: torch.Tensor) -> Batch:
    if form is None:
        return {}
    if form == "intervals":
        return {"ism_lo": lo, "ism_hi": hi}
    return {"attention_mask": dense_mask(lo, hi, dtype=torch.bool if form == "bool" else torch.float32)}


def _bad_batch(message: str, hint: str | None = None) -> TrainingError:
    return TrainingError(message, code="bad-batch", hint=hint)
