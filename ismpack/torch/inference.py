"""Inference the way ISM trains: each query prefilled whole, answers causally, and no token ever computed twice.

The keys and values of a token depend on what it sees, and a query token sees its whole query. So the cache of past
segments stays valid for everything that follows (which is why ISM needs no new prefill per turn), as long as the unit
is the segment. Half a query must never enter the cache: its tokens would have missed the other half. A serving engine
that prefills in chunks, or reuses a cached prefix that ends inside a query, computes something else than the training
did.

    cache = SegmentCache()
    answer = generate_answer(model, first_query, cache, max_new_tokens=200, stop_ids=stop_ids)
    answer = generate_answer(model, second_query, cache, max_new_tokens=200, stop_ids=stop_ids)

A query holds everything between two answers: template text, tool results and the generation prompt too. `copy.deepcopy`
of a cache branches the conversation. Models with or without `install_ism` work alike, in `eval()` mode. The masks are
those of kind `ism`: a model trained with another kind of mask must be prefilled with that one.

Letters used in shapes: T tokens of the call, P tokens in the cache before it, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from ismpack import masks
from ismpack.errors import TrainingError
from ismpack.torch import two_calls
from ismpack.torch.support import decoder_of, has_recurrent_layers, layer_masks, pretrained_model, unknown_attention

ATTENTIONS = ("sdpa", "eager", two_calls.NAME)
"""Attention implementations that these functions know how to mask."""

Column: TypeAlias = npt.ArrayLike | Tensor
"""Integers, one per token: a list, an array, or a tensor on any device."""


@dataclass(slots=True, kw_only=True)
class SegmentCache:
    """What a model remembers of one conversation: keys and values of whole segments. Calls append to it.

    Attributes:
        keys_values: Keys and values of all layers. All are kept, in layers with a sliding window too, since a later
            query decides anew what its tokens see.
        ends_in_query: The last segment is a query, so that only an answer may follow.
        next_logits: float[V], the model's word on what follows the last token; None in an empty cache.
    """

    keys_values: DynamicCache = field(default_factory=DynamicCache)
    ends_in_query: bool = False
    next_logits: Tensor | None = field(default=None, repr=False)

    def __len__(self) -> int:
        """Tokens in the cache."""
        return int(self.keys_values.get_seq_length())


class Prefilled(NamedTuple):
    """Result of `prefill_segments`.

    Attributes:
        logits: float[T, V], at the position that predicts: row `t` speaks about token `t + 1`.
        cache: The cache that was given, or a new one, with the segments in it.
    """

    logits: Tensor
    cache: SegmentCache


def prefill_segments(
    model: nn.Module,
    input_ids: Column,
    segment_type_ids: Column,
    turn_ids: Column,
    cache: SegmentCache | None = None,
) -> Prefilled:
    """Feed whole segments of one conversation, one forward pass each.

    The logits equal those of one forward pass over the conversation under its ISM mask.

    Args:
        model: A causal language model in `eval()` mode.
        input_ids: int[T], tokens of one conversation (one document of a pack), or a later part of it.
        segment_type_ids: int[T], odd = query.
        turn_ids: int[T].
        cache: What came before; it grows in place. None: nothing.

    Raises:
        TrainingError: `bad-batch`, the columns do not fit each other, or a query would be split over two calls;
            `mask-unsupported`, the model or its attention cannot apply the mask.
    """
    cache = SegmentCache() if cache is None else cache
    ids, types, turns = (_vector(column) for column in (input_ids, segment_type_ids, turn_ids))
    if not len(ids) == len(types) == len(turns) or not len(ids):
        raise TrainingError(
            f"input_ids, segment_type_ids and turn_ids must be of one length, got {len(ids)}, {len(types)} and "
            f"{len(turns)} tokens",
            code="bad-batch",
        )
    try:
        ranges, _, causal = masks.segments(types, turns, [len(ids)])
    except ValueError as error:
        raise TrainingError(str(error), code="bad-batch") from error
    if not causal[0]:
        _refuse_half_queries(cache)
    logits = [
        _feed(model, ids[start:end], cache, is_query=not is_causal)
        for (start, end), is_causal in zip(ranges.tolist(), causal.tolist(), strict=True)
    ]
    return Prefilled(torch.cat(logits), cache)


def greedy(logits: Tensor) -> int:
    """The id of the largest of the logits float[V]."""
    return int(logits.argmax())


def generate_answer(
    model: nn.Module,
    query_ids: Column,
    cache: SegmentCache,
    *,
    max_new_tokens: int,
    stop_ids: Collection[int],
    choose: Callable[[Tensor], int] = greedy,
) -> list[int]:
    """Append a query, then an answer that the model writes token by token.

    Afterwards the cache holds both, the stop token too, and the next query may follow.

    Args:
        model: A causal language model in `eval()` mode.
        query_ids: int[T], everything since the last answer up to the generation prompt's end. Empty: the model answers
            once more, or answers a query that `prefill_segments` left in the cache.
        cache: The conversation so far; it grows in place.
        max_new_tokens: The answer ends here if no stop token came before.
        stop_ids: Ids that end an answer; a dataset's are in its manifest.
        choose: From the logits float[V] to the next id.

    Returns:
        The answer's ids, up to and including a stop token. One that was cut by `max_new_tokens` has none, unlike all in
        training; before the next query append one: `prefill_segments(model, [stop_id], [2], [0], cache)`.

    Raises:
        TrainingError: As `prefill_segments`.
    """
    query, predicted, stops = _vector(query_ids), cache.next_logits, frozenset(stop_ids)
    if max_new_tokens < 1 or (not len(query) and predicted is None):
        raise TrainingError("an answer needs a query or a conversation, and one token or more", code="bad-batch")
    if len(query):
        _refuse_half_queries(cache)
        predicted = _feed(model, query, cache, is_query=True)[-1]
    answer: list[int] = []
    while len(answer) < max_new_tokens and (not answer or answer[-1] not in stops):
        answer.append(choose(cast("Tensor", predicted)))
        predicted = _feed(model, np.array(answer[-1:]), cache, is_query=False)[-1]
    return answer


def _refuse_half_queries(cache: SegmentCache) -> None:
    """A call that starts with a query must not find one at the end of the cache: the two would be one query."""
    if cache.ends_in_query:
        raise TrainingError(
            "the conversation in the cache ends in a query, and a query must be fed whole",
            code="bad-batch",
            hint="Join the parts of the query; the tokens fed first did not see those that follow.",
        )


def _feed(model: nn.Module, ids: npt.NDArray[np.integer], cache: SegmentCache, *, is_query: bool) -> Tensor:
    """One forward pass over one segment; logits [T, V]."""
    decoder, past = decoder_of(pretrained_model(model)), len(cache)
    end = past + len(ids)
    if model.training or decoder.training:
        raise TrainingError(
            f"{type(model).__name__} is in training mode, in which dropout acts",
            code="mask-unsupported",
            hint="Call model.eval() first.",
        )
    try:
        with torch.no_grad():
            result = model(
                input_ids=torch.from_numpy(ids.astype(np.int64)).to(decoder.device)[None],
                attention_mask=_masks(decoder, past, end, is_query=is_query),
                position_ids=torch.arange(past, end, device=decoder.device)[None],
                past_key_values=cache.keys_values,
                use_cache=True,
            )
    except BaseException:  # out of memory, say, or an interrupt: half a segment must not stay
        _keep(cache.keys_values, past)
        raise
    if len(cache) != end:
        raise TrainingError(
            f"{type(model).__name__} did not store keys and values",
            code="mask-unsupported",
            hint="Use a model whose forward keeps a DynamicCache.",
        )
    logits: Tensor = result.logits[0]
    # A copy, since a view would keep the logits of the whole segment in memory.
    cache.ends_in_query, cache.next_logits = is_query, logits[-1].clone()
    return logits


def _keep(keys_values: DynamicCache, tokens: int) -> None:
    """Drop what layers hold beyond their first tokens; some may hold no more, after a pass that was broken off."""
    for layer in keys_values.layers:
        if layer.get_seq_length() > tokens:  # `crop` counts from the end, which differs from layer to layer
            layer.keys, layer.values = layer.keys[..., :tokens, :], layer.values[..., :tokens, :]


def _masks(decoder: PreTrainedModel, past: int, end: int, *, is_query: bool) -> Tensor | dict[str, Tensor | None]:
    """What the model takes as mask of the segment `[past, end)`, one for each type of layer where they differ."""
    attention = decoder.config._attn_implementation
    if attention not in ATTENTIONS:
        raise unknown_attention(attention, ATTENTIONS)
    if has_recurrent_layers(decoder.config):
        raise TrainingError(
            f"models of type {decoder.config.model_type} have layers that carry a state, and their queries stay causal",
            code="mask-unsupported",
            hint="Use a model of attention layers only.",
        )

    key = torch.arange(end, device=decoder.device)
    token = key[past:, None]

    def mask(window: int | None) -> Tensor:
        seen = torch.ones_like(token == key) if is_query else key <= token
        if window is not None:
            seen &= key > token - window
        if attention != "eager":
            return seen[None, None]
        added = torch.zeros(seen.shape, dtype=decoder.dtype, device=seen.device)
        return added.masked_fill_(~seen, torch.finfo(decoder.dtype).min)[None, None]

    return layer_masks(decoder, mask)


def _vector(column: Column) -> npt.NDArray[np.integer]:
    array = column.detach().cpu().numpy() if isinstance(column, Tensor) else np.asarray(column)
    array = array if array.size else array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TrainingError(
            f"a column of one conversation is one-dimensional and of integers, got {array.dtype}{list(array.shape)}",
            code="bad-batch",
        )
    return array
