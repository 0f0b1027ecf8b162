"""Inference segment by segment against the training forward, on tiny models of many architectures."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tiny_models import CASES, MODELS, VOCABULARY, build, tiny_model
from torch import Tensor
from transformers import PreTrainedModel

from ismpack import masks
from ismpack.errors import TrainingError
from ismpack.torch.hook import install_ism
from ismpack.torch.inference import SegmentCache, generate_answer, prefill_segments
from ismpack.torch.two_calls import NAME

torch.set_num_threads(1)

STOP = 2
TURNS = ((5, 3), (0, 2), (4, 2), (1, 1), (6, 4))
"""Query and answer tokens: an empty query, and a turn of one token each, are among them."""


@dataclass(frozen=True)
class Conversation:
    """Columns of a row of one document."""

    ids: Tensor
    types: list[int]
    turns: list[int]

    def __getitem__(self, part: slice) -> tuple[Tensor, list[int], list[int]]:
        return self.ids[part], self.types[part], self.turns[part]


def conversation(turns: tuple[tuple[int, int], ...] = TURNS, seed: int = 0) -> Conversation:
    types = [kind for query, answer in turns for kind in [1] * query + [2] * answer]
    numbers = [number for number, turn in enumerate(turns) for _ in range(sum(turn))]
    ids = torch.randint(3, VOCABULARY, (len(types),), generator=torch.Generator().manual_seed(seed))
    return Conversation(ids, types, numbers)


def training_logits(
    model: PreTrainedModel, ids: Tensor, types: list[int], turns: list[int], kind: str = "ism"
) -> Tensor:
    """[T, V] of one forward over the row with its mask, as training does it."""
    handle = install_ism(model)
    lo, hi, _, _ = masks.intervals(types, turns, [len(types)], kind)
    with torch.no_grad():
        result = model(input_ids=ids[None], ism_lo=torch.from_numpy(lo)[None], ism_hi=torch.from_numpy(hi)[None])
    handle.remove()
    return result.logits[0]


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_equals_the_training_forward(name, attention):
    model, talk = tiny_model(name, attention), conversation()
    plain, cache = prefill_segments(model, *talk[:])
    assert difference(plain, training_logits(model, *talk[:])) <= 1e-5
    assert difference(plain, training_logits(model, *talk[:], kind="causal")) > 1e-2
    assert len(cache) == len(talk.types)
    install_ism(model)
    assert torch.equal(prefill_segments(model, *talk[:]).logits, plain)


def test_equals_the_training_forward_under_two_calls():
    for name in ("llama", "qwen2-window", "gemma3", "gpt2"):
        model, talk = tiny_model(name, NAME), conversation()
        assert difference(prefill_segments(model, *talk[:]).logits, training_logits(model, *talk[:])) <= 1e-5


@pytest.mark.parametrize("name", ["llama", "gemma3", "mistral-window", "gpt2"])
def test_calls_may_end_wherever_a_segment_ends(name):
    model, talk = tiny_model(name), conversation()
    whole = prefill_segments(model, *talk[:]).logits
    cache, parts = None, []
    for start, end in [(0, 5), (5, 7), (7, 10), (10, 28)]:  # after a query, inside an answer, at its end
        logits, cache = prefill_segments(model, *talk[start:end], cache=cache)
        parts.append(logits)
    assert difference(torch.cat(parts), whole) <= 1e-5


def test_no_token_is_fed_twice():
    model, talk = tiny_model("llama"), conversation()
    fed: list[list[int]] = []
    model.register_forward_pre_hook(lambda _, __, kwargs: fed.append(kwargs["input_ids"][0].tolist()), with_kwargs=True)
    _, cache = prefill_segments(model, *talk[:10])
    # The second turn's query is empty, so that two answers follow each other: one causal run.
    assert [len(ids) for ids in fed] == [5, 5]
    answer = generate_answer(model, talk.ids[10:14], cache, max_new_tokens=3, stop_ids=())
    assert [len(ids) for ids in fed] == [5, 5, 4, 1, 1, 1]
    assert [token for ids in fed for token in ids] == talk.ids[:14].tolist() + answer
    assert len(cache) == 17
    assert [layer.keys.shape for layer in cache.keys_values.layers] == [(1, 2, 17, 8)] * 2


@pytest.mark.parametrize("name", MODELS)
def test_generation_is_what_the_training_forward_predicts(name):
    model = tiny_model(name)
    cache, ids, types, turns = SegmentCache(), [], [], []
    for turn, seed in enumerate((5, 6, 7)):
        query = conversation(((4 + turn, 0),), seed).ids.tolist()
        answer = generate_answer(model, query, cache, max_new_tokens=5, stop_ids={STOP})
        assert len(answer) == 5 or answer[-1] == STOP
        ids += query + answer
        types += [1] * len(query) + [2] * len(answer)
        turns += [turn] * (len(query) + len(answer))
    assert len(cache) == len(ids)
    predicts = np.flatnonzero(np.array(types) == 2) - 1
    best = training_logits(model, torch.tensor(ids), types, turns).argmax(-1)[predicts]
    assert best.tolist() == [ids[at + 1] for at in predicts]
    causal = training_logits(model, torch.tensor(ids), types, turns, "causal").argmax(-1)[predicts]
    assert causal.tolist() != best.tolist()


def test_half_a_query_in_the_cache_is_wrong_and_refused():
    model, talk = tiny_model("llama"), conversation()
    whole, _ = prefill_segments(model, *talk[10:16])  # a query of 4, an answer of 2
    _, cache = prefill_segments(model, *talk[10:12])
    for split in (
        lambda: prefill_segments(model, *talk[12:16], cache=cache),
        lambda: generate_answer(model, talk.ids[12:14], cache, max_new_tokens=1, stop_ids=()),
    ):
        with pytest.raises(TrainingError, match="ends in a query") as caught:
            split()
        assert caught.value.code == "bad-batch"
    assert len(cache) == 2
    cache.ends_in_query = False  # what an engine that prefills in chunks does
    rest, _ = prefill_segments(model, *talk[12:16], cache=cache)
    assert difference(rest[-2:], whole[-2:]) > 0.1


def test_the_first_turn_stays_in_the_cache_as_it_is():
    model, talk = tiny_model("gemma3"), conversation()
    _, cache = prefill_segments(model, *talk[:8])
    before = [(layer.keys.clone(), layer.values.clone()) for layer in cache.keys_values.layers]
    prefill_segments(model, *talk[8:], cache=cache)
    for (keys, values), layer in zip(before, cache.keys_values.layers, strict=True):
        assert layer.keys.shape[2] == 28
        assert torch.equal(layer.keys[:, :, :8], keys)
        assert torch.equal(layer.values[:, :, :8], values)


def test_a_copied_cache_is_a_branch():
    model, talk = tiny_model("llama"), conversation()
    _, trunk = prefill_segments(model, *talk[:10])
    branch = copy.deepcopy(trunk)
    first = generate_answer(model, [5, 6, 7], branch, max_new_tokens=4, stop_ids=())
    assert (len(trunk), len(branch)) == (10, 17)
    assert generate_answer(model, [5, 6, 7], trunk, max_new_tokens=4, stop_ids=()) == first


def test_an_answer_ends_at_a_stop_token_which_the_cache_keeps():
    model = tiny_model("llama")
    free = generate_answer(model, [5, 6, 7], SegmentCache(), max_new_tokens=6, stop_ids=())
    stop = free[2]
    cache = SegmentCache()
    assert generate_answer(model, [5, 6, 7], cache, max_new_tokens=6, stop_ids=[stop]) == free[: free.index(stop) + 1]
    assert len(cache) == 3 + free.index(stop) + 1
    assert not cache.ends_in_query


def test_another_choice_and_another_answer():
    model, cache = tiny_model("llama"), SegmentCache()
    seen: list[torch.Size] = []

    def second_best(logits: Tensor) -> int:
        seen.append(logits.shape)
        return int(logits.topk(2).indices[1])

    prefill_segments(model, [5, 6, 7], [1, 1, 1], [0, 0, 0], cache)
    expected = int(cache.next_logits.topk(2).indices[1])
    first = generate_answer(model, [], cache, max_new_tokens=2, stop_ids=(), choose=second_best)
    assert first[0] == expected
    assert seen == [(VOCABULARY,)] * 2
    again = int(cache.next_logits.argmax())
    assert generate_answer(model, [], cache, max_new_tokens=1, stop_ids=()) == [again]
    assert len(cache) == 6


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([5, 6], [1], [0, 0]), "of one length, got 2, 1 and 2"),
        (([], [], []), "of one length, got 0"),
        (([[5, 6]], [1, 1], [0, 0]), r"one-dimensional and of integers, got int64\[1, 2\]"),
        (([0.5, 6], [1, 1], [0, 0]), r"one-dimensional and of integers, got float64\[2\]"),
        (([5, 6], [2, 1], [0, 0]), "breaks the order of turns"),
        (([5, 6], [1, 1], [1, 0]), "breaks the order of turns"),
    ],
)
def test_bad_columns(columns, message):
    with pytest.raises(TrainingError, match=message) as caught:
        prefill_segments(tiny_model("llama"), *columns)
    assert caught.value.code == "bad-batch"


def test_nothing_to_answer():
    model = tiny_model("llama")
    with pytest.raises(TrainingError, match="needs a query"):
        generate_answer(model, [], SegmentCache(), max_new_tokens=1, stop_ids=())
    cache = SegmentCache()
    with pytest.raises(TrainingError, match="one token or more"):
        generate_answer(model, [5], cache, max_new_tokens=0, stop_ids=())
    assert len(cache) == 0


def test_a_model_that_keeps_no_cache():
    model = tiny_model("llama")
    model.base_model.register_forward_pre_hook(
        lambda _, args, kwargs: (args, kwargs | {"past_key_values": None}), with_kwargs=True
    )
    with pytest.raises(TrainingError, match="did not store keys and values") as caught:
        prefill_segments(model, *conversation()[:5])
    assert caught.value.code == "mask-unsupported"


def test_a_model_in_training_mode_is_refused():
    cache = SegmentCache()
    with pytest.raises(TrainingError, match="LlamaForCausalLM is in training mode") as caught:
        prefill_segments(tiny_model("llama").train(), *conversation()[:5], cache)
    assert caught.value.code == "mask-unsupported"
    assert len(cache) == 0


@pytest.mark.parametrize("where", ["lm_head", "model.layers.1"])
@pytest.mark.parametrize("earlier", [0, 8])
def test_a_forward_that_fails_leaves_the_cache_as_it_was(where: str, earlier: int):
    """Out of memory in the middle of a pass, and then a second try."""
    model, cache, whole = tiny_model("llama"), SegmentCache(), conversation()
    if earlier:
        prefill_segments(model, *whole[:earlier], cache)

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError

    hook = model.get_submodule(where).register_forward_pre_hook(fail)
    with pytest.raises(torch.OutOfMemoryError):
        prefill_segments(model, *whole[earlier:13], cache)
    hook.remove()
    assert len(cache) == earlier
    logits = prefill_segments(model, *whole[earlier:13], cache).logits
    assert difference(logits, training_logits(model, *whole[:13])[earlier:]) < 1e-5


def test_next_logits_are_those_of_the_last_token_and_hold_no_others():
    cache = SegmentCache()
    logits = prefill_segments(tiny_model("llama"), *conversation()[:8], cache).logits
    assert cache.next_logits is not None
    assert torch.equal(cache.next_logits, logits[-1])
    assert cache.next_logits.untyped_storage().nbytes() == VOCABULARY * 4


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: tiny_model("llama", "flex_attention"), "'flex_attention' does not take"),
        (
            lambda: build(
                "lfm2", {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}, "sdpa"
            ),
            "layers that carry a state",
        ),
        (lambda: build("bloom", {"n_layer": 2, "n_head": 4}, "eager"), "ALiBi"),
    ],
)
def test_models_that_cannot_be_right(model, message):
    with pytest.raises(TrainingError, match=message) as caught:
        prefill_segments(model(), *conversation()[:5])
    assert caught.value.code == "mask-unsupported"
