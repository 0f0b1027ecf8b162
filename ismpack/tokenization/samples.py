"""Segments to samples: token ids, segment types, turns and loss of a batch of conversations.

Labels come from the segments that the ids were encoded from, never from searching ids, so no text in the data can move
them. Where two segment types meet inside one run, the boundary falls after the ids that the text before it shares with
the whole run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ismpack.data import SampleBatch, Segment
from ismpack.errors import RecordError
from ismpack.tokenization.encoder import RunEncoder
from ismpack.tokenization.loader import TokenizerFiles
from ismpack.tokenization.runs import RUN, RunCutter, RunTable


class SampleTokenizer:
    """Turns samples given as segments into arrays.

    Args:
        files: The tokenizer.
    """

    def __init__(self, files: TokenizerFiles) -> None:
        self._encoder = RunEncoder(files.backend_json)
        self._cutter = RunCutter(files.control_tokens)
        # The unknown token is often an added token too, yet text that the model cannot spell rightly becomes it.
        self._control_ids = np.array(
            [token.id for token in files.control_tokens.values() if token.id != files.unknown_id], np.int32
        )
        self._names = {token.id: content for content, token in files.control_tokens.items()}

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
        table = self._cutter.cut(samples)
        ids, offsets = self._encoder.encode(table.runs, np.array(table.opening, np.bool_))
        atom_ids = np.array(table.atom_ids, np.int32)
        lengths = self._atom_lengths(table, ids, offsets, atom_ids)
        segment_samples = np.repeat(np.arange(len(samples)), [len(sample) for sample in samples])
        atom_segments = np.array(table.atom_segments, np.int64)
        refused = self._refuse_control_ids(table, ids, offsets, segment_samples)
        refused |= _refuse_empty_segments(samples, atom_segments, lengths)
        batch = _assemble(samples, ids, atom_ids, np.array(table.atom_types, np.uint8), atom_segments, lengths)
        sample_lengths = np.bincount(segment_samples[atom_segments], weights=lengths, minlength=len(samples)).astype(
            np.int32
        )
        keep = np.ones(len(samples), np.bool_)
        keep[list(refused)] = False
        tokens = np.repeat(keep, sample_lengths)
        return SampleBatch(
            input_ids=batch[0][tokens],
            segment_type_ids=batch[1][tokens],
            turn_ids=batch[2][tokens],
            loss_mask=batch[3][tokens],
            lengths=sample_lengths[keep],
            source_ids=np.array(source_ids, np.int64)[keep],
        ), refused

    def _atom_lengths(
        self,
        table: RunTable,
        ids: npt.NDArray[np.int32],
        offsets: npt.NDArray[np.int64],
        atom_ids: npt.NDArray[np.int32],
    ) -> npt.NDArray[np.int64]:
        """int64[A]: tokens of each atom."""
        lengths = np.ones(len(atom_ids), np.int64)
        lengths[np.array(table.run_atoms, np.int64)] = np.diff(offsets)
        if not table.prefixes:
            return lengths
        texts = [text for prefixes in table.prefixes.values() for text in prefixes]
        opening = [table.opening[run] for run, prefixes in table.prefixes.items() for _ in prefixes]
        prefix_ids, prefix_offsets = self._encoder.encode(texts, np.array(opening, np.bool_))
        k = 0
        for run, prefixes in table.prefixes.items():
            whole = ids[offsets[run] : offsets[run + 1]]
            edges = [0]
            for _ in prefixes:
                edges.append(max(edges[-1], _shared(whole, prefix_ids[prefix_offsets[k] : prefix_offsets[k + 1]])))
                k += 1
            first = table.run_atoms[run]
            lengths[first : first + len(edges)] = np.diff([*edges, len(whole)])
        return lengths

    def _refuse_control_ids(
        self,
        table: RunTable,
        ids: npt.NDArray[np.int32],
        offsets: npt.NDArray[np.int64],
        segment_samples: npt.NDArray[np.int64],
    ) -> dict[int, RecordError]:
        """Samples in which the model itself spells a control token from plain text (Unigram models can)."""
        found = np.flatnonzero(np.isin(ids, self._control_ids))
        runs = np.searchsorted(offsets, found, side="right") - 1
        return {
            int(segment_samples[table.atom_segments[table.run_atoms[run]]]): RecordError(
                f"plain text becomes the control token {self._names[int(ids[at])]!r} in this tokenizer",
                code="special-token-in-data",
            )
            for at, run in zip(found.tolist(), runs.tolist(), strict=True)
        }


def _assemble(
    samples: Sequence[Sequence[Segment]],
    run_ids: npt.NDArray[np.int32],
    atom_ids: npt.NDArray[np.int32],
    atom_types: npt.NDArray[np.uint8],
    atom_segments: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8], npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """ids, types, turns and loss per token, from the atoms."""
    turns = np.array([segment.turn for sample in samples for segment in sample], np.int32)[atom_segments]
    losses = np.array([segment.loss for sample in samples for segment in sample], np.uint8)[atom_segments]
    ids = np.repeat(atom_ids, lengths)
    ids[ids == RUN] = run_ids
    return ids, np.repeat(atom_types, lengths), np.repeat(turns, lengths), np.repeat(losses, lengths)


def _refuse_empty_segments(
    samples: Sequence[Sequence[Segment]], atom_segments: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> Mapping[int, RecordError]:
    """Samples with an answer of no token, or with none before their first answer."""
    owners = [(i, segment.is_answer) for i, sample in enumerate(samples) for segment in sample]
    tokens = np.bincount(atom_segments, weights=lengths, minlength=len(owners))
    refused = {}
    number = 0
    for i, sample in enumerate(samples):
        if sample and (sample[0].is_answer or not tokens[number]):
            refused[i] = RecordError("the text before the first answer gives no token at all", code="empty-query")
        number += len(sample)
    for number in np.flatnonzero(tokens == 0).tolist():
        i, is_answer = owners[number]
        if is_answer:
            refused[i] = RecordError("an answer's text gives no token at all", code="empty-answer")
    return refused


def _shared(a: npt.NDArray[np.int32], b: npt.NDArray[np.int32]) -> int:
    """Length of the longest common prefix."""
    n = min(len(a), len(b))
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if len(different) else n
