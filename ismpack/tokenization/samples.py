"""Segments to samples: token ids, segment types, turns and loss of a batch of conversations.

Labels come from the segments that the ids were encoded from, never from searching ids, so no text in the data can move
them. Where two segment types meet inside one run, the boundary falls after the ids that the text before it shares with
the whole run.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from ismpack.data import Filled, SampleBatch, Segment
from ismpack.errors import RecordError
from ismpack.tokenization.atoms import Atoms, Block, EncodedRuns, encode_runs
from ismpack.tokenization.encoder import RunEncoder
from ismpack.tokenization.loader import TokenizerFiles
from ismpack.tokenization.planner import Planner
from ismpack.tokenization.runs import RUN, Policy, RunCutter, RunTable


class SampleTokenizer:
    """Turns samples given as segments into arrays.

    Args:
        files: The tokenizer.
        policy: What the text of a control token in data becomes; `reject` cuts as `text` does.
        written_by_model: Control tokens that are tokens in an assistant's data too.
        engine: What encodes, one of `engines.ENGINES`.

    Attributes:
        encoder: The encoder of runs.

    Raises:
        EngineUnfitError: The engine is not installed, or does not take the tokenizer.
    """

    def __init__(
        self,
        files: TokenizerFiles,
        policy: Policy = "text",
        written_by_model: Collection[str] = frozenset(),
        *,
        engine: str = "hf",
    ) -> None:
        tokens = files.control_tokens.values()
        # The unknown token is often an added token too, yet text that the model cannot spell rightly becomes it; and
        # white-space tokens are ordinary vocabulary.
        refused = [token.id for token in tokens if token.id != files.unknown_id and not token.is_blank]
        self._is_refused = np.zeros(files.largest_id + 1, np.bool_)
        self._is_refused[refused] = True
        self._first_refused = min(refused, default=len(self._is_refused))
        self._names = {token.id: token.content for token in tokens}
        self.encoder = RunEncoder(files.backend_json, engine)
        self._cutter = RunCutter(files.control_tokens, policy, written_by_model)
        self._planner = Planner(tokens, self._cutter, self.encoder, self._is_refused, policy, written_by_model)

    def tokenize(
        self, samples: Sequence[Sequence[Segment]], source_ids: Sequence[int]
    ) -> tuple[SampleBatch, dict[int, RecordError]]:
        """Tokenize N samples in one go.

        Args:
            samples: Segments of each sample.
            source_ids: Where each sample came from.

        Returns:
            The samples that could be used, in order, and for each other one (by index) why not:
            `special-token-in-data` if plain text became a control token, `empty-answer` if an answer has no token,
            `empty-query` if the sample would begin with an answer.
        """
        table, atoms = self._cut(samples)
        encoded = encode_runs(self.encoder, table)
        is_run = atoms.lengths == RUN
        lengths = atoms.lengths.astype(np.int64)
        lengths[is_run] = encoded.part_lengths
        segment_lengths = _sums(lengths, atoms.widths)
        refused = self._refuse_control_ids(encoded, atoms) | _refuse_empty_segments(atoms, segment_lengths)
        from_run = np.repeat(is_run, lengths)
        ids = np.empty(len(from_run), np.int32)
        ids[from_run] = encoded.ids
        ids[~from_run] = atoms.ids
        batch = SampleBatch(
            input_ids=ids,
            segment_type_ids=np.repeat(atoms.types, lengths),
            turn_ids=np.repeat(atoms.turns, segment_lengths),
            loss_mask=np.repeat(atoms.losses, segment_lengths),
            lengths=_sums(segment_lengths, atoms.sizes).astype(np.int32),
            source_ids=np.array(source_ids, np.int64),
        )
        return _without(batch, list(refused)), refused

    def _cut(self, samples: Sequence[Sequence[Segment]]) -> tuple[RunTable, Atoms]:
        """The runs of all samples in one table, and their atoms."""
        table = RunTable()
        blocks = []
        for sample in samples:
            if not isinstance(sample, Filled):
                blocks.append(self._cut_segments(sample, table))
            elif (block := self._planner.cut(sample, table)) is not None:
                blocks.append(block)
            else:
                blocks.append(self._cut_segments(sample.segments(), table))
        return table, Atoms.joined(blocks)

    def _cut_segments(self, sample: Sequence[Segment], table: RunTable) -> Block:
        """Append a sample's runs to a table, and return its atoms."""
        own = self._cutter.cut([sample])
        table.prefixes |= {len(table.runs) + run: texts for run, texts in own.prefixes.items()}
        table.runs += own.runs
        table.opening += own.opening
        return Atoms.of_table(own, sample).block()

    def _refuse_control_ids(self, encoded: EncodedRuns, atoms: Atoms) -> dict[int, RecordError]:
        """Samples in which the model itself spells a control token from plain text (Unigram models can)."""
        if encoded.ids.max(initial=0) < self._first_refused:  # often they are counted behind all others
            return {}
        found = np.flatnonzero(self._is_refused.take(encoded.ids))
        runs = np.searchsorted(encoded.offsets, found, side="right") - 1
        parts = np.flatnonzero(atoms.lengths == RUN)[encoded.first_parts[runs]]
        segments = np.searchsorted(np.cumsum(atoms.widths), parts, side="right")
        owners = np.searchsorted(np.cumsum(atoms.sizes), segments, side="right")
        return {
            owner: RecordError(
                f"plain text becomes the control token {self._names[token_id]!r} in this tokenizer",
                code="special-token-in-data",
            )
            for owner, token_id in zip(owners.tolist(), encoded.ids[found].tolist(), strict=True)
        }


def _sums(values: npt.NDArray[np.int64], counts: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """int64[N]: the sum of the first `counts[0]` values, of the next `counts[1]`, and so on."""
    before = np.concatenate([[0], np.cumsum(values)])
    return np.diff(before[np.cumsum(counts)], prepend=0)


def _refuse_empty_segments(atoms: Atoms, segment_lengths: npt.NDArray[np.int64]) -> dict[int, RecordError]:
    """Samples with an answer of no token, or with none before their first answer."""
    is_empty = segment_lengths == 0
    owners = atoms.sample_of_segment()
    is_first = np.diff(owners, prepend=-1) > 0
    headless = owners[is_first & (atoms.answers | is_empty)]
    refused = {
        sample: RecordError("the text before the first answer gives no token at all", code="empty-query")
        for sample in headless.tolist()
    }
    for sample in owners[atoms.answers & is_empty].tolist():
        refused[sample] = RecordError("an answer's text gives no token at all", code="empty-answer")
    return refused


def _without(batch: SampleBatch, refused: Sequence[int]) -> SampleBatch:
    """The batch without these samples."""
    if not refused:
        return batch
    keep = np.ones(len(batch), np.bool_)
    keep[refused] = False
    tokens = np.repeat(keep, batch.lengths)
    return SampleBatch(
        input_ids=batch.input_ids[tokens],
        segment_type_ids=batch.segment_type_ids[tokens],
        turn_ids=batch.turn_ids[tokens],
        loss_mask=batch.loss_mask[tokens],
        lengths=batch.lengths[keep],
        source_ids=batch.source_ids[keep],
    )
