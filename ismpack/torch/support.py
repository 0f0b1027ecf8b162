"""Which transformers models, layers and attention implementations can apply a mask, and why others cannot.

Everything here is about models that would otherwise train on another mask than the one given, without a word.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask
from transformers import PreTrainedConfig, PreTrainedModel

from ismpack.errors import TrainingError

Mask = TypeVar("Mask")

ATTENTION_LAYERS = {"full_attention", "sliding_attention"}
"""Values of `config.layer_types` whose layers take a mask of pairs."""

RECURRENT_LAYERS = {"linear_attention", "conv"}
"""Values of `config.layer_types` whose layers carry a state from token to token and take no mask of pairs."""

_HYBRID_LAYER = "hybrid"
"""Both in one layer; such models look up the masks of full and linear attention."""

_NO_MIXER_LAYERS = {"moe", "mlp", "dense", "sparse"}

_OWN_WINDOWS = {"minimax", "moshi"}
"""Models that read `config.sliding_window` in a way of their own: in all attention layers, or with no mask at all."""

_ALIBI_MODELS = {"bloom", "mpt"}

_MEDIA = ("pixel_values", "pixel_values_videos", "input_features", "mm_encoder_outputs")
"""Arguments of `forward` that bring images, video or sound."""


def pretrained_model(model: nn.Module) -> PreTrainedModel:
    """The transformers model inside any wrapper (PEFT, DistributedDataParallel, torch.compile), or the model itself.

    Raises:
        TrainingError: `mask-unsupported`: there is none.
    """
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            return module
    raise _refusal(
        f"{type(model).__name__} holds no transformers model",
        "Give your own model ismpack.torch's dense_mask or block_mask directly.",
    )


def decoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """The text decoder: the module that turns an attention mask into what its layers get.

    Raises:
        TrainingError: `mask-unsupported`: no mask of pairs can be right in this model.
    """
    name = type(model).__name__
    if model.config.is_encoder_decoder:
        raise _refusal(f"{name} has an encoder and a decoder", "ISM masks are for decoder-only models.")
    decoder = model.get_decoder()
    if not isinstance(decoder, PreTrainedModel):
        decoder = model.base_model  # ModernBERT calls its output layer "decoder"
    if not isinstance(decoder, PreTrainedModel):
        raise _refusal(f"the decoder of {name} is no transformers model", "Use a transformers causal language model.")
    config = decoder.config
    if config.model_type in _ALIBI_MODELS or getattr(config, "alibi", False):
        raise _refusal(
            f"{name} uses ALiBi, which reads its biases from a two-dimensional mask and distances in the row",
            "Use a model with rotary or learned positions.",
        )
    if not imports(decoder, "create_causal_mask"):
        raise _refusal(
            f"{type(decoder).__name__} does not make its mask with transformers.masking_utils.create_causal_mask, so "
            "nothing says what it would do with a mask of pairs",
            "Models without attention (Mamba, RWKV) have nothing to mask; others need a transformers release that "
            "ports them.",
        )
    if any(buffer.dtype == torch.bool and buffer.ndim == 4 for buffer in decoder.buffers()):
        raise _refusal(
            f"the layers of {name} hold causal masks of their own, which would hide what a query token sees after it",
            "Use a model without them (GPT-Neo is one that has them).",
        )
    layer_windows(decoder)
    return decoder


def layer_windows(decoder: PreTrainedModel) -> dict[str, int | None]:
    """The sliding window in tokens (None: no window) of each type of attention layer that a text decoder has.

    A `sliding_window` in the configuration of a model that makes no masks with windows (Llama) means nothing to it.

    Raises:
        TrainingError: `mask-unsupported`: a type of layer is not known, or there is no attention layer.

    Source: `transformers.masking_utils.create_masks_for_generate`, which reads configurations the same way.
    """
    config = decoder.config
    window = getattr(config, "sliding_window", None)
    if window is not None and config.model_type in _OWN_WINDOWS:
        raise _refusal(
            f"models of type {config.model_type} read config.sliding_window ({window}) in a way of their own",
            "Without a window (sliding_window=None) they can be trained.",
        )
    if not imports(decoder, "create_sliding_window_causal_mask"):
        window = None
    types = _layer_types(config)
    if types is None:
        if window is None and getattr(config, "attention_chunk_size", None) is not None:
            raise _unknown_layers(config, {"chunked_attention"})
        return {"sliding_attention": window} if window is not None else {"full_attention": None}
    unknown = types - ATTENTION_LAYERS - RECURRENT_LAYERS - _NO_MIXER_LAYERS - {_HYBRID_LAYER}
    if unknown:
        raise _unknown_layers(config, unknown)
    found = types & ATTENTION_LAYERS | ({"full_attention"} if _HYBRID_LAYER in types else set())
    if not found:
        raise _refusal(
            f"models of type {config.model_type} have no attention layer", "There is nothing that a mask could do."
        )
    return {kind: window if kind == "sliding_attention" else None for kind in sorted(found)}


def layer_masks(decoder: PreTrainedModel, build: Callable[[int | None], Mask]) -> Mask | dict[str, Mask | None]:
    """What a text decoder takes as `attention_mask`: one mask, or one per type of layer when they differ.

    A model takes one mask for all of its layers at its word, and then forgets its sliding windows.

    Args:
        decoder: The text decoder.
        build: Makes the mask for one sliding window (None: no window).

    Raises:
        TrainingError: `mask-unsupported`, as `layer_windows`.
    """
    windows = layer_windows(decoder)
    if len(windows) == 1 and not has_recurrent_layers(decoder.config):
        return build(*windows.values())
    none: dict[str, Mask | None] = dict.fromkeys((_layer_types(decoder.config) or set()) | RECURRENT_LAYERS)
    return none | {kind: build(window) for kind, window in windows.items()}


def has_recurrent_layers(config: PreTrainedConfig) -> bool:
    """Whether some layers carry a state (Mamba, linear attention, convolution) that no mask of pairs can cut."""
    return bool((_layer_types(config) or set()) & (RECURRENT_LAYERS | {_HYBRID_LAYER}))


def check_alone(arguments: Mapping[str, object]) -> None:
    """Refuse what comes beside `ism_lo` and `ism_hi` in the call of a model and says something else about the mask.

    Raises:
        TrainingError: `bad-batch`, there is a mask already; `mask-unsupported`, there are images, video or sound.
    """
    if arguments.get("attention_mask") is not None:
        raise TrainingError(
            "the batch has both ism_lo, ism_hi and an attention_mask, and only one can be followed",
            code="bad-batch",
            hint="Leave attention_mask out; padding is part of the intervals (one more document).",
        )
    media = [name for name in _MEDIA if arguments.get(name) is not None]
    if media:
        raise _refusal(
            f"the batch has {' and '.join(media)}, and the intervals are of rows of text: models see tokens of an "
            "image with a mask or positions of their own, which would get lost",
            "Train on rows of text alone.",
        )


def check_documents(config: PreTrainedConfig, lo: Tensor, *, takes_positions: bool) -> None:
    """Refuse rows of several documents where one would change the next in spite of the mask.

    One document per row is let through: attention layers then follow the mask, recurrent ones stay causal.

    Args:
        config: The configuration of the text decoder.
        lo: int32[B, T].
        takes_positions: The decoder's `forward` has `position_ids`, which start again with each document.

    Raises:
        TrainingError: `mask-unsupported`.
    """
    recurrent = has_recurrent_layers(config)
    if (takes_positions and not recurrent) or not bool((lo != lo[:, :1]).any()):
        return  # the comparison waits for the device, so most models are spared it
    if not takes_positions:
        raise _refusal(
            f"a row holds several documents (padding is one), and models of type {config.model_type} take no "
            "position_ids, so positions would run on from each into the next",
            "Pack with `--packing none` and train with batches of one row.",
        )
    raise _refusal(
        f"a row holds several documents (padding is one), and models of type {config.model_type} have layers whose "
        "state runs from each into the next",
        "Pack with `--packing none` and train with batches of one row; only attention layers follow the mask then.",
    )


def check_mask(
    decoder: PreTrainedModel, mask: Tensor | BlockMask | dict[str, Tensor | BlockMask | None], training: bool
) -> None:
    """Refuse a ready mask of pairs that the attention implementation would misread.

    Args:
        decoder: The text decoder.
        mask: What was given as `attention_mask`.
        training: The model is in training mode.

    Raises:
        TrainingError: `mask-unsupported`.
    """
    attention = decoder.config._attn_implementation
    ready = [one for one in mask.values() if one is not None] if isinstance(mask, dict) else [mask]
    for one in ready:
        if isinstance(one, BlockMask) != (attention == "flex_attention"):
            raise _refusal(
                f"the batch holds a {type(one).__name__} as mask, and {attention} attention reads it as something else",
                "flex_attention takes a BlockMask, sdpa and eager take tensors.",
            )
        if isinstance(one, Tensor) and not one.dtype.is_floating_point and attention == "eager":
            raise _refusal(
                f"eager attention adds its mask to the scores, and this one is {one.dtype}",
                "Collate with mask='intervals' (the hook then makes the right one), or mask='float'.",
            )
    kinds = layer_windows(decoder)
    windows = [window for window in kinds.values() if window is not None and not isinstance(mask, dict)]
    if windows and (len(kinds) > 1 or training) and max(ready[0].shape[-2:]) > min(windows):
        raise _refusal(
            f"one mask for all layers switches off the sliding window of {min(windows)} tokens",
            "Collate with mask='intervals'; the hook then makes the mask of each type of layer.",
        )


def unknown_attention(attention: str, known: tuple[str, ...]) -> TrainingError:
    """The error for an attention implementation that ignores or misreads masks of pairs."""
    return _refusal(
        f"the attention implementation {attention!r} does not take masks of pairs of tokens",
        f"Call model.set_attn_implementation with one of: {', '.join(known)}.",
    )


def _layer_types(config: PreTrainedConfig) -> set[str] | None:
    types = getattr(config, "layer_types", None)
    return None if types is None else set(types)


def imports(model: nn.Module, function: str) -> bool:
    """Its module, or that of a class it derives from, imports this function of `transformers.masking_utils`.

    Of the two there is one for windows and one without; both pass 4-D masks on as they are.
    """
    modules = (sys.modules.get(kind.__module__) for kind in type(model).__mro__)
    return any(hasattr(module, function) for module in modules)


def _unknown_layers(config: PreTrainedConfig, kinds: set[str]) -> TrainingError:
    return _refusal(
        f"models of type {config.model_type} have layers of type {', '.join(sorted(kinds))}",
        f"Masks of pairs are made for {' and '.join(sorted(ATTENTION_LAYERS))} layers.",
    )


def _refusal(message: str, hint: str) -> TrainingError:
    return TrainingError(message, code="mask-unsupported", hint=hint)
