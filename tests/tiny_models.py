"""Tiny random models of many architectures, small enough for a forward in milliseconds.

Sliding windows are 4 tokens, shorter than the rows of the tests, so that a lost window shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

VOCABULARY = 97
WINDOW = 4

_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_MIXED = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}

BOTH = ("sdpa", "eager")


@dataclass(frozen=True)
class Tiny:
    """One architecture.

    Attributes:
        model_type: Its name in transformers.
        options: What its configuration has beyond the sizes.
        attentions: Which attention implementations it has, of sdpa and eager.
        window: Its sliding window in tokens, if some layers have one.
    """

    model_type: str
    options: dict[str, object] = field(default_factory=dict)
    attentions: tuple[str, ...] = BOTH
    window: int | None = None


MODELS: dict[str, Tiny] = {
    "llama": Tiny("llama"),
    "llama-window-ignored": Tiny("llama", {"sliding_window": WINDOW}),
    "qwen2": Tiny("qwen2"),
    "qwen2-window": Tiny(
        "qwen2",
        {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
        window=WINDOW,
    ),
    "qwen2-window-unused": Tiny("qwen2", {"use_sliding_window": False, "sliding_window": WINDOW}),
    "qwen3": Tiny("qwen3", {"head_dim": 8}),
    "qwen3-moe": Tiny(
        "qwen3_moe", {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    ),
    "mistral": Tiny("mistral", {"sliding_window": None}),
    "mistral-window": Tiny("mistral", {"sliding_window": WINDOW}, window=WINDOW),
    "mixtral": Tiny("mixtral", _EXPERTS),
    "gemma2": Tiny("gemma2", {"head_dim": 8, **_MIXED}, ("eager",), WINDOW),
    "gemma3": Tiny("gemma3_text", {"head_dim": 8, **_MIXED}, window=WINDOW),
    "gemma3-images": Tiny(
        "gemma3",
        {
            "text_config": {**_SIZES, "head_dim": 8, **_MIXED},
            "vision_config": {**_SIZES, "image_size": 28, "patch_size": 14},
            "mm_tokens_per_image": 1,
            "tie_word_embeddings": False,
        },
        window=WINDOW,
    ),
    "phi3": Tiny("phi3", {"sliding_window": None}),
    "phi3-window": Tiny("phi3", {"sliding_window": WINDOW}, window=WINDOW),
    "gpt-neox": Tiny("gpt_neox"),
    "olmo2": Tiny("olmo2"),
    "olmo3": Tiny("olmo3", _MIXED, window=WINDOW),
    "granite": Tiny("granite"),
    "gpt-oss": Tiny("gpt_oss", {"head_dim": 8, **_EXPERTS, **_MIXED}, ("eager",), WINDOW),
    "deepseek-v3": Tiny(
        "deepseek_v3",
        {
            "num_key_value_heads": 4,
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 4,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 1,
            "topk_group": 1,
            "n_shared_experts": 1,
            "moe_intermediate_size": 16,
            "first_k_dense_replace": 1,
        },
    ),
    "smollm3": Tiny("smollm3", {"no_rope_layers": [1, 0]}),
    "gpt2": Tiny("gpt2"),
    "starcoder2-window": Tiny("starcoder2", {"sliding_window": WINDOW}, window=WINDOW),
    "cohere2": Tiny("cohere2", _MIXED, window=WINDOW),
}

CASES = [(name, attention) for name, tiny in MODELS.items() for attention in tiny.attentions]
"""Every model with every attention implementation that it has."""


def tiny_model(name: str, attention: str | None = None, *, seed: int = 0) -> PreTrainedModel:
    """A random model in float32 and `eval()`, the same for the same seed.

    Args:
        name: A key of `MODELS`.
        attention: Its attention implementation; by default the first that the architecture has.
        seed: Of the weights.
    """
    tiny = MODELS[name]
    return build(tiny.model_type, tiny.options, attention or tiny.attentions[0], seed=seed)


def build(model_type: str, options: dict[str, object], attention: str, *, seed: int = 0) -> PreTrainedModel:
    """A random model of any architecture of transformers, see `tiny_model`."""
    config = AutoConfig.for_model(model_type, **(_SIZES | options))
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # The usual initialization is so small that a wrong mask hardly shows; norms and biases stay.
            if parameter.ndim > 1:
                parameter.normal_(std=0.2)
    return model
