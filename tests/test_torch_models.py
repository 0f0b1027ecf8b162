"""`install_ism` on tiny random models of many architectures: the paper's claims, and every refusal."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import cast

import numpy as np
import pytest
import torch
from mask_rows import Documents, columns
from tiny_models import CASES, MODELS, VOCABULARY, build, tiny_model
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSeq2SeqLM, PreTrainedModel

from ismpack import masks
from ismpack.errors import TrainingError
from ismpack.torch.collate import Collator
from ismpack.torch.dense import dense_mask
from ismpack.torch.flex import block_mask
from ismpack.torch.hook import install_ism

CLOSE = 1e-5
TOKENS = torch.randint(3, VOCABULARY, (1, 64), generator=torch.Generator().manual_seed(7))
PACK: Documents = [[(6, 5), (0, 3), (7, 4)], [(5, 6), (6, 5)], [(1, 2)]]

torch.set_num_threads(1)


def intervals(documents: Documents, kind: masks.MaskKind = "ism", pad_to: int = 0) -> dict[str, Tensor]:
    """The mask of one row as a batch carries it; padding is one more document of type 0."""
    types, turns, lengths = columns(documents)
    missing = max(pad_to - len(types), 0)
    columns_ = types + [0] * missing, turns + [max(turns) + 1] * missing, lengths + [missing] * bool(missing)
    lo, hi, _, _ = masks.intervals(*columns_, kind=kind)
    return {"ism_lo": torch.from_numpy(lo)[None], "ism_hi": torch.from_numpy(hi)[None]}


def tokens(documents: Documents) -> Tensor:
    return TOKENS[:, : sum(columns(documents)[2])]


@cache
def hooked(name: str, attention: str | None = None) -> PreTrainedModel:
    """A tiny model with the hook; tests leave it as they found it."""
    model = tiny_model(name, attention)
    install_ism(model)
    return model


@torch.no_grad()
def logits(model: nn.Module, ids: Tensor, **arguments: object) -> Tensor:
    """float[B, T, V]."""
    return cast("Tensor", model(input_ids=ids, **arguments).logits)


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


every_case = pytest.mark.parametrize(("name", "attention"), CASES)


# ---- the claims, on every model


@every_case
def test_a_packed_row_is_its_conversations_one_by_one(name: str, attention: str) -> None:
    model = hooked(name, attention)
    packed = logits(model, tokens(PACK), **intervals(PACK))
    ends = np.cumsum(columns(PACK)[2]).tolist()
    alone = [
        logits(model, TOKENS[:, start:end], **intervals([document]))
        for document, start, end in zip(PACK, [0, *ends], ends, strict=False)
    ]
    assert distance(packed, torch.cat(alone, 1)) <= CLOSE
    assert distance(packed, logits(model, tokens(PACK), **intervals(PACK, "causal"))) > 0.1
    assert distance(packed, logits(model, tokens(PACK), **intervals([[*PACK[0], *PACK[1], *PACK[2]]]))) > 0.1


@every_case
def test_a_padded_batch_is_its_rows_one_by_one(name: str, attention: str) -> None:
    model = hooked(name, attention)
    rows: list[Documents] = [[[(6, 5), (3, 2)]], [[(4, 3)], [(2, 2)]]]
    together = [intervals(row, pad_to=16) for row in rows]
    ids = torch.cat([tokens(rows[0]), nn.functional.pad(tokens(rows[1]), (0, 5))])
    padded = logits(model, ids, **{key: torch.cat([row[key] for row in together]) for key in ("ism_lo", "ism_hi")})
    assert distance(padded[:1], logits(model, tokens(rows[0]), **intervals(rows[0]))) <= CLOSE
    assert distance(padded[1:, :11], logits(model, tokens(rows[1]), **intervals(rows[1]))) <= CLOSE


@every_case
def test_later_turns_leave_earlier_ones_unchanged(name: str, attention: str) -> None:
    model = hooked(name, attention)
    long = logits(model, TOKENS[:, :25], **intervals([PACK[0]]))
    for turns, end in ((1, 11), (2, 14)):
        assert distance(long[:, :end], logits(model, TOKENS[:, :end], **intervals([PACK[0][:turns]]))) <= CLOSE


@every_case
def test_causal_intervals_change_nothing(name: str, attention: str) -> None:
    """So windows, caps, sinks and positions of the model are all kept."""
    model = tiny_model(name, attention)
    untouched = logits(model, TOKENS[:, :30], use_cache=False)
    install_ism(model)
    assert distance(untouched, logits(model, TOKENS[:, :30], **intervals([[(10, 20)]], "causal"))) <= CLOSE


@every_case
def test_the_hook_gives_what_explicit_masks_give(name: str, attention: str) -> None:
    plain, window = tiny_model(name, attention), MODELS[name].window
    seen = torch.from_numpy(masks.dense(*columns(PACK)))
    token = torch.arange(len(seen))

    def mask(within: int | None) -> Tensor:
        kept = seen if within is None else seen & (token > token[:, None] - within)
        as_float = torch.zeros(seen.shape).masked_fill(~kept, torch.finfo(torch.float32).min)
        return (kept if attention == "sdpa" else as_float)[None, None]

    mixed = len(set(getattr(plain.config.get_text_config(), "layer_types", None) or [])) > 1
    explicit = {"full_attention": mask(None), "sliding_attention": mask(window)} if mixed else mask(window)
    positions = torch.cat([torch.arange(length) for length in columns(PACK)[2]])[None]
    expected = logits(plain, tokens(PACK), attention_mask=explicit, position_ids=positions, use_cache=False)
    assert torch.equal(expected, logits(hooked(name, attention), tokens(PACK), **intervals(PACK)))
    if window is not None:
        everywhere = logits(plain, tokens(PACK), attention_mask=mask(None), position_ids=positions, use_cache=False)
        assert distance(expected, everywhere) > 0.01


@every_case
def test_the_last_token_of_a_query_reaches_all_of_that_query(name: str, attention: str) -> None:
    model, changed = hooked(name, attention), tokens(PACK).clone()
    changed[0, 20] = (changed[0, 20] + 1) % VOCABULARY  # the last token of the query 14..20
    moved = (logits(model, changed, **intervals(PACK)) - logits(model, tokens(PACK), **intervals(PACK))).abs().amax(-1)
    assert moved[0, :14].max() <= CLOSE
    assert moved[0, 14:21].min() > 1e-3
    assert moved[0, 25:].max() <= CLOSE
    causal = [logits(model, ids, **intervals(PACK, "causal")) for ids in (changed, tokens(PACK))]
    assert (causal[0] - causal[1]).abs()[0, :20].max() <= CLOSE


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", ["llama", "qwen3", "mistral-window", "gemma3", "olmo3"])
def test_flex_attention_gets_block_masks(name: str) -> None:
    model = tiny_model(name)
    install_ism(model)
    expected = logits(model, tokens(PACK), **intervals(PACK))
    model.set_attn_implementation("flex_attention")
    with torch.compiler.set_stance("force_eager"):
        assert distance(expected, logits(model, tokens(PACK), **intervals(PACK))) <= CLOSE


def test_two_calls_get_their_plan() -> None:
    model = tiny_model("qwen3")
    install_ism(model)
    expected = logits(model, tokens(PACK), **intervals(PACK))
    model.set_attn_implementation("ism_two_calls")
    assert distance(expected, logits(model, tokens(PACK), **intervals(PACK))) <= CLOSE


@pytest.mark.parametrize("kind", masks.KINDS)
def test_any_kind_of_mask_is_applied(kind: masks.MaskKind) -> None:
    given = {"attention_mask": torch.from_numpy(masks.dense(*columns([PACK[0]]), kind=kind))[None, None]}
    expected = logits(tiny_model("llama"), TOKENS[:, :25], use_cache=False, **given)
    assert torch.equal(expected, logits(hooked("llama"), TOKENS[:, :25], **intervals([PACK[0]], kind)))


# ---- training


def gradients(model: PreTrainedModel, ids: Tensor, **arguments: object) -> dict[str, Tensor]:
    model.zero_grad()
    model(input_ids=ids, labels=ids, **arguments).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable. is deprecated:FutureWarning")
@pytest.mark.parametrize(("name", "attention"), [("llama", "sdpa"), ("gemma3", "eager"), ("gpt2", "sdpa")])
def test_gradients_flow_and_checkpointing_changes_none(name: str, attention: str) -> None:
    model = tiny_model(name, attention)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model.config.attention_dropout = 0.0
    install_ism(model)
    model.eval()
    plain = gradients(model, tokens(PACK), **intervals(PACK))
    causal = gradients(model, tokens(PACK), **intervals(PACK, "causal"))
    model.train()
    model.gradient_checkpointing_enable()
    again = gradients(model, tokens(PACK), **intervals(PACK))
    assert plain.keys() == again.keys() == dict(model.named_parameters()).keys()
    assert max(distance(plain[key], again[key]) for key in plain) <= CLOSE
    assert max(distance(plain[key], causal[key]) for key in plain) > 0.01


class Adapter(nn.Module):
    """Calls the model as PEFT does: its `forward` directly, past its hooks."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, **arguments: object) -> object:
        return self.model.forward(**arguments)


@every_case
def test_a_wrapper_that_calls_forward_directly_gets_the_mask_too(name: str, attention: str) -> None:
    model = hooked(name, attention)
    assert torch.equal(
        logits(Adapter(model), tokens(PACK), **intervals(PACK)), logits(model, tokens(PACK), **intervals(PACK))
    )


def test_a_wrapper_that_loses_the_mask_is_found_out() -> None:
    model = Adapter(tiny_model("llama")).train()
    install_ism(model)
    model(input_ids=tokens(PACK), **intervals(PACK))
    with pytest.raises(TrainingError, match="mask-missing"):
        model(input_ids=tokens(PACK))
    model.eval()
    with pytest.raises(TrainingError, match="mask-missing"):
        model(input_ids=tokens(PACK), labels=tokens(PACK))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_bfloat16_and_autocast(attention: str) -> None:
    model = tiny_model("gemma3", attention)
    install_ism(model)
    exact = logits(model, tokens(PACK), **intervals(PACK))
    with torch.autocast("cpu", torch.bfloat16):
        cast_ = logits(model, tokens(PACK), **intervals(PACK))
    half = logits(model.to(torch.bfloat16), tokens(PACK), **intervals(PACK))
    assert half.dtype == torch.bfloat16
    assert 0 < distance(exact, cast_.float()) < 0.5
    assert 0 < distance(exact, half.float()) < 0.5
    assert distance(exact, logits(hooked("gemma3"), tokens(PACK), **intervals(PACK, "causal"))) > 1


# ---- batches without a mask, or with another one


def test_a_training_batch_needs_a_mask() -> None:
    model = tiny_model("llama").train()
    handle = install_ism(model)
    for arguments in ({}, {"labels": tokens(PACK)}, {"attention_mask": torch.ones_like(tokens(PACK))}):
        with pytest.raises(TrainingError, match="mask-missing"):
            model(input_ids=tokens(PACK), **arguments)
    with pytest.raises(TrainingError, match=r"mask-missing.*is training") as caught:
        model.generate(tokens(PACK), max_new_tokens=1)
    assert "Call model.eval() before generate" in str(caught.value.hint)
    model.eval()
    with pytest.raises(TrainingError, match=r"mask-missing.*labels"):
        model(input_ids=tokens(PACK), labels=tokens(PACK))
    with pytest.raises(TrainingError, match=r"mask-missing.*labels"):
        model(tokens(PACK), None, None, None, None, tokens(PACK))
    handle.remove()
    untouched = logits(tiny_model("llama"), tokens(PACK))
    assert torch.equal(untouched, logits(model.train(), tokens(PACK), **intervals(PACK)))  # transformers' own silence


def test_generation_and_plain_evaluation_run_as_before() -> None:
    for name in ("llama", "gemma3", "gemma3-images", "mistral-window"):
        plain, model = tiny_model(name), hooked(name)
        assert torch.equal(logits(plain, TOKENS[:, :20]), logits(model, TOKENS[:, :20]))
        options = {"max_new_tokens": 5, "do_sample": False, "attention_mask": torch.ones(1, 20, dtype=torch.int64)}
        assert torch.equal(plain.generate(TOKENS[:, :20], **options), model.generate(TOKENS[:, :20], **options))


def test_no_cache_is_kept_unless_it_is_asked_for() -> None:
    model = hooked("llama")
    assert model(input_ids=tokens(PACK), **intervals(PACK)).past_key_values is None
    asked = model(input_ids=tokens(PACK), use_cache=True, **intervals(PACK)).past_key_values
    assert asked.get_seq_length() == sum(columns(PACK)[2])


def test_positions_are_counted_per_document_when_none_are_given() -> None:
    model = hooked("gpt2")
    positions = torch.cat([torch.arange(length) for length in columns(PACK)[2]])[None]
    without = logits(model, tokens(PACK), **intervals(PACK))
    assert torch.equal(without, logits(model, tokens(PACK), position_ids=positions, **intervals(PACK)))
    running = torch.arange(positions.shape[1])[None]
    assert distance(without, logits(model, tokens(PACK), position_ids=running, **intervals(PACK))) > 0.1


def test_embeddings_in_place_of_ids() -> None:
    model = hooked("llama")
    embedded = model.get_input_embeddings()(tokens(PACK))
    with torch.no_grad():
        given = model(inputs_embeds=embedded, **intervals(PACK)).logits
    assert torch.equal(given, logits(model, tokens(PACK), **intervals(PACK)))


def test_batches_that_do_not_fit_are_refused() -> None:
    model, ids, mask = hooked("llama"), tokens(PACK), intervals(PACK)
    past = model(input_ids=ids[:, :3]).past_key_values
    for wrong, why in (
        ({"ism_lo": mask["ism_lo"]}, "ism_lo and ism_hi are"),
        ({"ism_hi": mask["ism_hi"]}, "ism_lo and ism_hi are"),
        ({key: value[:, 1:] for key, value in mask.items()}, "ism_lo and ism_hi are"),
        (mask | {"attention_mask": torch.ones_like(ids)}, "both ism_lo, ism_hi and an attention_mask"),
        (mask | {"past_key_values": past}, "holds tokens before it"),
    ):
        with pytest.raises(TrainingError, match=rf"bad-batch.*{why}"):
            logits(model, ids, **wrong)


@pytest.mark.parametrize(
    ("lo", "hi"),
    [
        ([0, 0, 0], [2, 2, 0]),  # padded with zeros
        ([1, 2, 3], [0, 0, 0]),  # swapped
        ([0, 0, 3], [2, 2, 3]),
    ],
)
def test_a_token_must_lie_in_its_own_interval(lo: list[int], hi: list[int]) -> None:
    for attention in ("sdpa", "eager"):
        with pytest.raises(RuntimeError, match="a token lies outside its own"):
            logits(hooked("llama", attention), TOKENS[:, :3], ism_lo=torch.tensor([lo]), ism_hi=torch.tensor([hi]))


def test_ready_masks_are_taken_when_the_attention_reads_them_right() -> None:
    model, ids = tiny_model("llama"), tokens(PACK)
    install_ism(model)
    lo, hi = intervals(PACK).values()
    expected = logits(model, ids, ism_lo=lo, ism_hi=hi)
    positions = (torch.arange(ids.shape[1]) - lo).long()
    model.train()
    assert distance(expected, logits(model, ids, attention_mask=dense_mask(lo, hi), position_ids=positions)) <= CLOSE
    with pytest.raises(TrainingError, match=r"mask-unsupported.*BlockMask"):
        model(input_ids=ids, attention_mask=block_mask(lo, hi))
    model.set_attn_implementation("eager")
    floats = dense_mask(lo, hi, torch.float32)
    assert distance(expected, logits(model, ids, attention_mask=floats, position_ids=positions)) <= CLOSE
    with pytest.raises(TrainingError, match=r"mask-unsupported.*eager attention adds"):
        model(input_ids=ids, attention_mask=dense_mask(lo, hi))
    model.set_attn_implementation("flex_attention")
    with pytest.raises(TrainingError, match=r"mask-unsupported.*Tensor"):
        model(input_ids=ids, attention_mask=floats)


def test_one_ready_mask_must_not_switch_off_windows() -> None:
    lo, hi = intervals(PACK).values()
    for name in ("gemma3", "mistral-window"):
        model = tiny_model(name).train()
        install_ism(model)
        with pytest.raises(TrainingError, match=r"mask-unsupported.*sliding window of 4"):
            model(input_ids=tokens(PACK), attention_mask=dense_mask(lo, hi))
    lenient = tiny_model("llama-window-ignored").train()
    install_ism(lenient)
    assert lenient(input_ids=tokens(PACK), attention_mask=dense_mask(lo, hi)).logits.isfinite().all()
    ready = {"full_attention": dense_mask(lo, hi), "sliding_attention": dense_mask(lo, hi, window=4)}
    expected = logits(hooked("gemma3"), tokens(PACK), **intervals(PACK))
    positions = (torch.arange(lo.shape[1]) - lo).long()
    given = logits(hooked("gemma3"), tokens(PACK), attention_mask=ready, position_ids=positions, use_cache=False)
    assert torch.equal(expected, given)


# ---- models of text and images, trained on text


@pytest.mark.parametrize("train", [True, False])
def test_images_beside_intervals_are_refused(train: bool) -> None:
    model = tiny_model("gemma3-images").train(train)
    install_ism(model)
    for given in (model, model.base_model, Adapter(model)):
        given(input_ids=tokens(PACK), **intervals(PACK))
        with pytest.raises(TrainingError, match=r"mask-unsupported.*has pixel_values, and the intervals are of rows"):
            given(input_ids=tokens(PACK), pixel_values=torch.zeros(1, 3, 28, 28), **intervals(PACK))
        with pytest.raises(TrainingError, match=r"bad-batch.*both ism_lo, ism_hi and an attention_mask"):
            given(input_ids=tokens(PACK), attention_mask=torch.ones_like(tokens(PACK)), **intervals(PACK))


def test_a_mask_that_the_model_made_itself_is_none() -> None:
    """This model gives its decoder a causal mask of pairs when it gets none."""
    model = tiny_model("gemma3-images").train()
    install_ism(model)
    for given in (model, model.base_model, Adapter(model)):
        with pytest.raises(TrainingError, match=r"mask-missing.*the model is training"):
            given(input_ids=tokens(PACK))


@pytest.mark.parametrize("train", [True, False])
def test_the_window_of_a_model_of_text_and_images_is_not_switched_off(train: bool) -> None:
    model = tiny_model("gemma3-images").train(train)
    install_ism(model)
    mask = dense_mask(*intervals(PACK).values())
    for given in (model, Adapter(model)):  # the model makes a mask for each type of layer out of this one
        with pytest.raises(TrainingError, match=r"mask-unsupported.*sliding window of 4"):
            given(input_ids=tokens(PACK), attention_mask=mask)
    with torch.no_grad():
        assert model(input_ids=TOKENS[:, :4], attention_mask=mask[..., :4, :4]).logits.isfinite().all()


# ---- attention implementations


def test_a_change_of_attention_is_seen() -> None:
    model = tiny_model("gemma3", "sdpa")
    install_ism(model)
    first = logits(model, tokens(PACK), **intervals(PACK))
    model.set_attn_implementation("eager")
    assert distance(first, logits(model, tokens(PACK), **intervals(PACK))) <= CLOSE
    model.set_attn_implementation("sdpa")
    assert torch.equal(first, logits(model, tokens(PACK), **intervals(PACK)))


@pytest.mark.parametrize(
    "attention", ["flash_attention_2", "flash_attention_3", "paged|sdpa", "kernels-community/flash-attn3", "mine"]
)
def test_attention_that_ignores_masks_is_refused(attention: str) -> None:
    model = tiny_model("llama")
    install_ism(model)
    model.config._attn_implementation_internal = attention  # the setter wants the library of each
    with pytest.raises(TrainingError, match="mask-unsupported") as caught:
        logits(model, tokens(PACK), **intervals(PACK))
    assert attention in caught.value.message
    assert caught.value.hint == (
        "Call model.set_attn_implementation with one of: sdpa, eager, flex_attention, ism_two_calls."
    )


@pytest.mark.parametrize("name", ["llama", "gemma3", "gemma3-images"])
def test_all_of_a_model_is_compiled_in_one_graph(name: str) -> None:
    """So the hook never waits for a device either."""
    model = tiny_model(name)
    install_ism(model)
    whole = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.equal(logits(whole, tokens(PACK), **intervals(PACK)), logits(model, tokens(PACK), **intervals(PACK)))


def test_a_model_may_have_run_compiled_before() -> None:
    """Compiled code does not look for new hooks in inner modules; the outer one changes the call, so it is not used."""
    model = tiny_model("llama")
    compiled = torch.compile(model, backend="eager")
    logits(compiled, tokens(PACK), use_cache=False, **intervals(PACK))
    install_ism(model)
    expected = logits(hooked("llama"), tokens(PACK), **intervals(PACK))
    assert torch.equal(expected, logits(compiled, tokens(PACK), use_cache=False, **intervals(PACK)))


# ---- models


def refusal(model: nn.Module) -> str:
    with pytest.raises(TrainingError, match="mask-unsupported") as caught:
        install_ism(model)
    return caught.value.message


@pytest.mark.parametrize(
    ("model_type", "options", "why"),
    [
        ("bloom", {}, "uses ALiBi"),
        ("mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2}, "uses ALiBi"),
        ("falcon", {"alibi": True, "new_decoder_architecture": False}, "uses ALiBi"),
        ("llama4_text", {"num_local_experts": 2}, "layers of type chunked_attention"),
        ("mamba", {}, "create_causal_mask"),
        ("gpt_neo", {"attention_types": [[["global", "local"], 1]], "window_size": 4}, "causal masks of their own"),
        ("minimax", {"sliding_window": 4, "num_local_experts": 2}, "read config.sliding_window"),
        ("openai-gpt", {}, "create_causal_mask"),
    ],
)
def test_models_that_cannot_be_right_are_refused(model_type: str, options: dict[str, object], why: str) -> None:
    assert why in refusal(build(model_type, options, "eager"))


def test_falcon_without_alibi_is_no_alibi_model() -> None:
    install_ism(build("falcon", {"alibi": False}, "sdpa"))


def test_encoder_decoders_and_other_modules_are_refused() -> None:
    sizes = {"d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": VOCABULARY}
    assert "an encoder and a decoder" in refusal(AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model("t5", **sizes)))
    assert refusal(nn.Linear(2, 2)) == "Linear holds no transformers model"


HYBRIDS: dict[str, dict[str, object]] = {
    "qwen3_next": {
        "layer_types": ["linear_attention", "full_attention"],
        "head_dim": 8,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_multiple_of": 16},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2, "mamba_d_state": 4, "mamba_dt_rank": 4},
    "granitemoehybrid": {
        "layer_types": ["linear_attention", "full_attention"],
        "mamba_n_heads": 8,
        "mamba_d_state": 8,
        "shared_intermediate_size": 16,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
    },
    "bamba": {"attn_layer_indices": [1], "mamba_n_heads": 8, "mamba_d_state": 8},
}


@pytest.mark.parametrize("model_type", HYBRIDS)
def test_hybrids_take_one_document_per_row(model_type: str) -> None:
    model = build(model_type, HYBRIDS[model_type], "sdpa")
    install_ism(model)
    with pytest.raises(TrainingError, match=r"mask-unsupported.*state runs from each into the next"):
        logits(model, tokens(PACK), **intervals(PACK))
    one = logits(model, TOKENS[:, :25], **intervals([PACK[0]]))
    assert distance(one[:, :11], logits(model, TOKENS[:, :11], **intervals([PACK[0][:1]]))) <= CLOSE
    assert distance(one, logits(model, TOKENS[:, :25], **intervals([PACK[0]], "causal"))) > 1e-3


def test_a_model_without_position_ids_takes_one_document_per_row() -> None:
    model = build("bart", {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4}, "sdpa")
    install_ism(model)
    with pytest.raises(TrainingError, match=r"mask-unsupported.*take no position_ids"):
        logits(model, tokens(PACK), **intervals(PACK))
    assert logits(model, TOKENS[:, :25], **intervals([PACK[0]])).isfinite().all()


def test_a_model_that_drops_unknown_arguments_is_found_out() -> None:
    model = build("gptj", {"rotary_dim": 4}, "eager")
    install_ism(model)
    with pytest.raises(TrainingError, match=r"mask-unsupported.*get lost on their way"):
        model(input_ids=tokens(PACK), **intervals(PACK))
    with pytest.raises(TrainingError, match="mask-missing") as caught:
        model.train()(input_ids=tokens(PACK), **intervals(PACK))
    assert "drops arguments that it does not know (GPT-J)" in str(caught.value.hint)


# ---- the handle


@pytest.mark.parametrize(
    ("starts", "holds"),
    [("lm_head", "model"), ("model.norm", "model.layers.0")],
    ids=["on the way to the decoder", "before the first layer"],
)
def test_calls_of_two_threads_at_once(starts: str, holds: str) -> None:
    """As the replicas of nn.DataParallel make them: the second call stands still while the first one ends."""
    model = tiny_model("llama", "ism_two_calls")
    install_ism(model)
    expected = logits(model, tokens(PACK), **intervals(PACK))
    here, held, go = threading.current_thread(), threading.Event(), threading.Event()
    others: list[Future[Tensor]] = []

    def start(*_: object) -> None:
        if threading.current_thread() is here:
            others.append(pool.submit(logits, model, tokens(PACK), **intervals(PACK)))
            assert held.wait(60)

    def hold(*_: object) -> None:
        if threading.current_thread() is not here:
            held.set()
            assert go.wait(60)

    model.get_submodule(starts).register_forward_pre_hook(start)
    model.get_submodule(holds).register_forward_pre_hook(hold, prepend=True)
    with ThreadPoolExecutor(1) as pool:
        try:
            assert torch.equal(logits(model, tokens(PACK), **intervals(PACK)), expected)
        finally:
            go.set()
    assert torch.equal(others[0].result(), expected)


def test_a_call_that_fails_midway_leaves_no_trace() -> None:
    model = tiny_model("llama")
    install_ism(model)
    failing = model.base_model.register_forward_pre_hook(lambda *_: 1 / 0, prepend=True)
    with pytest.raises(ZeroDivisionError):
        logits(model, tokens(PACK), **intervals(PACK))
    failing.remove()
    assert torch.equal(logits(model, tokens(PACK)), logits(tiny_model("llama"), tokens(PACK)))


def test_installing_twice_changes_nothing() -> None:
    model = tiny_model("llama")
    first = install_ism(model)
    assert install_ism(model) is first
    assert install_ism(Adapter(model)) is first
    expected = logits(hooked("llama"), tokens(PACK), **intervals(PACK))
    assert torch.equal(expected, logits(model, tokens(PACK), **intervals(PACK)))
    first.remove()
    second = install_ism(model)
    assert second is not first
    assert torch.equal(expected, logits(model, tokens(PACK), **intervals(PACK)))


def test_a_copy_of_a_model_has_a_hook_of_its_own() -> None:
    model = tiny_model("llama")
    handle = install_ism(model)
    other = copy.deepcopy(model)
    theirs = install_ism(other)
    assert theirs is not handle
    handle.remove()
    expected = logits(hooked("llama"), tokens(PACK), **intervals(PACK))
    assert torch.equal(expected, logits(other, tokens(PACK), **intervals(PACK)))
    theirs.remove()
    assert distance(expected, logits(other, tokens(PACK), **intervals(PACK))) > 0.1


def test_a_bare_decoder_takes_the_mask() -> None:
    decoder = tiny_model("llama").base_model
    install_ism(decoder)
    with torch.no_grad():
        out = decoder(input_ids=tokens(PACK), **intervals(PACK)).last_hidden_state
        expected = hooked("llama").base_model(input_ids=tokens(PACK), **intervals(PACK)).last_hidden_state
    assert torch.equal(out, expected)


def test_the_handle_gives_the_collator_of_its_model() -> None:
    assert install_ism(tiny_model("llama")).collator() == Collator(pad_id=0)
    model = tiny_model("llama")
    model.config.pad_token_id = 7
    handle = install_ism(model)
    assert handle.collator("mas", pad_to=64) == Collator("mas", pad_to=64, pad_id=7)
    assert handle.collator(pad_to_multiple_of=8) == Collator(pad_to_multiple_of=8, pad_id=7)
    assert handle.collator("prefix", allow_no_loss=True) == Collator("prefix", pad_id=7, allow_no_loss=True)
    for nothing in (None, -1):
        model = tiny_model("llama")
        model.config.pad_token_id = nothing
        assert install_ism(model).collator() == Collator(pad_id=0)
