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
from ismpack.tokenization.atoms import Atoms, EncodedRuns, encode_runs
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
    """

    def __init__(
        self, files: TokenizerFiles, policy: Policy = "text", written_by_model: Collection[str] = frozenset()
    ) -> None:
        tokens = files.control_tokens.values()
        # The unknown token is often an added token too, yet text that the model cannot spell rightly becomes it; and
        # white-space tokens are ordinary vocabulary.
        refused = [token.id for token in tokens if token.id != files.unknown_id and not token.is_blank]
        self._refused_ids = np.array(refused, np.int32)
        self._names = {token.id: token.content for token in tokens}
        self._encoder = RunEncoder(files.backend_json)
        self._cutter = RunCutter(files.control_tokens, policy, written_by_model)
        self._planner = Planner(tokens, self._cutter, self._encoder, self._refused_ids, policy, written_by_model)

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
        encoded = encode_runs(self._encoder, table)
        is_run = atoms.ids == RUN
        lengths = np.ones(len(atoms.ids), np.int64)
        lengths[is_run] = encoded.part_lengths
        segment_tokens = np.bincount(atoms.segments, lengths, len(atoms.turns)).astype(np.int64)
        refused = self._refuse_control_ids(encoded, atoms) | _refuse_empty_segments(atoms, segment_tokens)
        ids = np.repeat(atoms.ids, lengths)
        ids[np.repeat(is_run, lengths)] = encoded.ids
        batch = SampleBatch(
            input_ids=ids,
            segment_type_ids=np.repeat(atoms.types, lengths),
            turn_ids=np.repeat(atoms.turns, segment_tokens),
            loss_mask=np.repeat(atoms.losses, segment_tokens),
            lengths=np.bincount(atoms.sample_of_segment(), segment_tokens, len(samples)).astype(np.int32),
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
            elif (atoms := self._planner.cut(sample, table)) is not None:
                blocks.append(atoms)
            else:
                blocks.append(self._cut_segments(sample.segments(), table))
        return table, Atoms.joined(blocks)

    def _cut_segments(self, sample: Sequence[Segment], table: RunTable) -> Atoms:
        """Append a sample's runs to a table, and return its atoms."""
        own = self._cutter.cut([sample])
        table.prefixes |= {len(table.runs) + run: texts for run, texts in own.prefixes.items()}
        table.runs += own.runs
        table.opening += own.opening
        return Atoms.of(own, sample)

    def _refuse_control_ids(self, encoded: EncodedRuns, atoms: Atoms) -> dict[int, RecordError]:
        """Samples in which the model itself spells a control token from plain text (Unigram models can)."""
        found = np.flatnonzero(np.isin(encoded.ids, self._refused_ids))
        runs = np.searchsorted(encoded.offsets, found, side="right") - 1
        parts = np.flatnonzero(atoms.ids == RUN)[encoded.first_parts[runs]]
        owners = atoms.sample_of_segment()[atoms.segments[parts]]
        return {
            owner: RecordError(
                f"plain text becomes the control token {self._names[token_id]!r} in this tokenizer",
                code="special-token-in-data",
            )
            for owner, token_id in zip(owners.tolist(), encoded.ids[found].tolist(), strict=True)
        }


def _refuse_empty_segments(atoms: Atoms, segment_tokens: npt.NDArray[np.int64]) -> dict[int, RecordError]:
    """Samples with an answer of no token, or with none before their first answer."""
    is_empty = segment_tokens == 0
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
