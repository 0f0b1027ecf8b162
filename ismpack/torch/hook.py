"""`install_ism`: a transformers model that takes the intervals of a batch as its attention mask.

    collator = install_ism(model).collator()
    loss = model(**collator(packs)).loss

The intervals (`ism_lo`, `ism_hi`) travel as keyword arguments of the model's `forward` down to its text decoder. A hook
there takes them out and puts in what the attention implementation of that moment wants. It sits on the decoder since
wrappers such as PEFT's call the outer model's `forward` directly, which passes by any hook on the outer model.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask
from torch.utils.hooks import RemovableHandle
from transformers import Cache, PreTrainedModel

from ismpack.errors import TrainingError
from ismpack.torch import two_calls
from ismpack.torch.collate import Collator, Kind
from ismpack.torch.dense import dense_mask
from ismpack.torch.flex import block_mask
from ismpack.torch.support import (
    check_alone,
    check_documents,
    check_mask,
    decoder_of,
    layer_masks,
    pretrained_model,
    unknown_attention,
)

Arguments: TypeAlias = dict[str, object]

_ARRIVAL = "ism_arrival"
"""The argument under which an `_Arrival` travels."""

ATTENTIONS = ("sdpa", "eager", "flex_attention", two_calls.NAME)
"""Attention implementations for which the hook knows what mask they take."""


class _Arrival:
    """Travels with the intervals of one call, to tell afterwards whether they reached the decoder."""

    def __init__(self) -> None:
        self.seen = False


class InstalledMask:
    """What `install_ism` put on a model; `remove()` takes it off again.

    It remembers nothing of a call, so several threads may call the model at once, and a call may fail midway.
    """

    def __init__(self, wrapper: nn.Module, model: PreTrainedModel, decoder: PreTrainedModel) -> None:
        self._decoder = decoder
        # In a model of text and images (Gemma 3) another module calls the decoder, and may make masks for it.
        self._is_inside = decoder is not model.base_model
        self._pad_id = max(getattr(model.config.get_text_config(), "pad_token_id", None) or 0, 0)
        self._hooks: list[RemovableHandle] = [
            decoder.register_forward_pre_hook(self._on_decoder, with_kwargs=True),
            decoder.register_forward_hook(self._after_decoder, with_kwargs=True),
        ]
        for outer in {id(one): one for one in (wrapper, model, model.base_model) if one is not decoder}.values():
            self._hooks += [
                outer.register_forward_pre_hook(self._before_model, with_kwargs=True),
                outer.register_forward_hook(self._after_model, with_kwargs=True),
            ]

    def collator(
        self,
        kind: Kind = "ism",
        *,
        pad_to: int | None = None,
        pad_to_multiple_of: int | None = None,
        allow_no_loss: bool = False,
    ) -> Collator:
        """What makes batches for this model; see `Collator`.

        A model without `install_ism` ignores the mask of such a batch without a word. Who takes the collator from here
        cannot forget it.
        """
        return Collator(
            kind,
            pad_to=pad_to,
            pad_to_multiple_of=pad_to_multiple_of,
            pad_id=self._pad_id,
            allow_no_loss=allow_no_loss,
        )

    def remove(self) -> None:
        """Take the hooks off. Transformers then ignores `ism_lo` and `ism_hi` without a word, as without a hook."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _before_model(
        self, model: nn.Module, args: tuple[object, ...], kwargs: Arguments
    ) -> tuple[tuple[object, ...], Arguments] | None:
        """Labels without a mask are a training or evaluation batch that lost it, and training always needs one."""
        named = _named(model, args, kwargs)
        mask = named.get("attention_mask")
        if named.get("ism_lo") is not None:
            check_alone(named)
            return (args, {_ARRIVAL: _Arrival()} | kwargs) if _takes_any_name(model) else None
        if _is_mask_of_pairs(mask):
            check_mask(self._decoder, cast("Tensor | BlockMask", mask), model.training)
        elif named.get("labels") is not None:
            raise _missing("the batch has labels")
        elif model.training:  # to be said here too, since some models make a causal mask before they call the decoder
            raise _missing("the model is training")
        return None

    def _on_decoder(
        self, decoder: nn.Module, args: tuple[object, ...], kwargs: Arguments
    ) -> tuple[tuple[object, ...], Arguments] | None:
        named = _named(decoder, args, kwargs)
        lo, hi, arrival = (named.pop(name, None) for name in ("ism_lo", "ism_hi", _ARRIVAL))
        model, mask = cast("PreTrainedModel", decoder), named.get("attention_mask")
        if lo is None and hi is None:
            if _is_mask_of_pairs(mask):
                check_mask(model, cast("Tensor | BlockMask", mask), decoder.training)
            elif decoder.training:
                raise _missing("the model is training")
            return None
        if isinstance(arrival, _Arrival):
            arrival.seen = True
        if self._is_inside and isinstance(mask, Mapping):
            del named["attention_mask"]  # not the caller's: `_before_model` would have refused it
        return (), named | _mask_arguments(model, named, lo, hi)

    def _after_decoder(
        self,
        decoder: nn.Module,
        args: tuple[object, ...],  # noqa: ARG002
        kwargs: Arguments,
        output: object,  # noqa: ARG002
    ) -> None:
        """A decoder whose layers do not call the attention they were told to has not seen the mask."""
        plan = kwargs.get("ism_plan")
        if isinstance(plan, two_calls.Plan):
            plan.check_read(type(decoder).__name__)

    def _after_model(
        self,
        model: nn.Module,
        args: tuple[object, ...],  # noqa: ARG002
        kwargs: Arguments,
        output: object,  # noqa: ARG002
    ) -> None:
        arrival = kwargs.get(_ARRIVAL)
        if isinstance(arrival, _Arrival) and not arrival.seen:
            raise _dropped(model)


def install_ism(model: nn.Module) -> InstalledMask:
    """Make a transformers model apply the mask that a batch carries as `ism_lo` and `ism_hi`.

    After this the model's `forward` takes `ism_lo` and `ism_hi` (int32[B, T], of any kind of mask), in whatever way it
    is called. Per forward it reads which attention implementation the model uses, and makes a bool mask (sdpa), a float
    mask (eager), a `BlockMask` (flex_attention) or a plan (ism_two_calls), with the model's sliding windows. Missing
    `position_ids` are counted per document, and `use_cache` is off unless the caller asks for it. A training batch, or
    one with labels, without a mask is an error; a ready mask of pairs as `attention_mask` is taken as it is after a
    check. `generate` and forwards in `eval()` without labels run as before, causally; use `prefill_segments` and
    `generate_answer` for inference.

    Args:
        model: A transformers model for causal language modelling, or a wrapper around one (PEFT's, for example).
            Wrappers may also come later.

    Returns:
        A handle with `remove()`. A model that has one already keeps it, and it is returned again.

    Raises:
        TrainingError: `mask-unsupported`: the model cannot be right under such a mask (ALiBi, chunked attention, an
            encoder, no attention at all). At a forward also: recurrent layers and several documents per row, an
            attention implementation that misreads masks, images beside the intervals; `mask-missing`; `bad-batch`.
        RuntimeError: At a forward: a token lies outside its own interval. On CUDA it comes as a device-side assertion,
            so that the host need not wait.
    """
    inner = pretrained_model(model)
    decoder = decoder_of(inner)
    for hook in decoder._forward_pre_hooks.values():
        owner = getattr(hook, "__self__", None)
        if isinstance(owner, InstalledMask):
            return owner
    return InstalledMask(model, inner, decoder)


def _mask_arguments(model: PreTrainedModel, named: Arguments, lo: object, hi: object) -> Arguments:
    """The arguments that replace `ism_lo` and `ism_hi` in a call of a text decoder."""
    lo, hi = _checked(named, lo, hi)
    takes_positions = "position_ids" in _names(model)
    check_documents(model.config, lo, takes_positions=takes_positions)
    arguments = _mask(model, lo, hi)
    if takes_positions and named.get("position_ids") is None:
        arguments["position_ids"] = (torch.arange(lo.shape[1], device=lo.device) - lo).long()
    if named.get("use_cache") is None:
        arguments["use_cache"] = False
    return arguments


def _mask(model: PreTrainedModel, lo: Tensor, hi: Tensor) -> Arguments:
    """What the attention implementation of this moment takes."""
    attention = model.config._attn_implementation
    if attention == "sdpa":
        return {"attention_mask": layer_masks(model, lambda window: dense_mask(lo, hi, window=window))}
    if attention == "eager":
        return {"attention_mask": layer_masks(model, lambda window: dense_mask(lo, hi, model.dtype, window=window))}
    if attention == "flex_attention":
        return {"attention_mask": layer_masks(model, lambda window: block_mask(lo, hi, window=window))}
    if attention == two_calls.NAME:
        # Transformers makes no mask for an attention that has none registered; the window comes with each layer's call.
        return {"attention_mask": None, "ism_plan": two_calls.plan(lo, hi)}
    raise unknown_attention(attention, ATTENTIONS)


def _checked(named: Arguments, lo: object, hi: object) -> tuple[Tensor, Tensor]:
    """The intervals, if they fit the rest of the batch."""
    tokens = next((named[name] for name in ("input_ids", "inputs_embeds") if named.get(name) is not None), None)
    shape = tokens.shape[:2] if isinstance(tokens, Tensor) else None
    if not isinstance(lo, Tensor) or not isinstance(hi, Tensor) or not lo.shape == hi.shape == shape:
        sizes = [list(one.shape) if isinstance(one, Tensor) else one for one in (lo, hi)]
        raise TrainingError(
            f"ism_lo and ism_hi are {sizes[0]} and {sizes[1]}, but the batch has the shape {list(shape or ())}",
            code="bad-batch",
            hint="Both are needed, one number per token, padding included: pad the columns first, then make intervals.",
        )
    check_alone(named)
    cache = named.get("past_key_values")
    if isinstance(cache, Cache) and cache.get_seq_length():
        raise TrainingError(
            "ism_lo and ism_hi count from the start of a row, and the cache holds tokens before it",
            code="bad-batch",
            hint="Use prefill_segments and generate_answer for inference with a cache.",
        )
    if lo.device.type in {"cpu", "cuda"}:  # where the host need not wait for the device to check
        token = torch.arange(lo.shape[1], device=lo.device)
        torch._assert_async(((lo <= token) & (token < hi)).all(), "a token lies outside its own [ism_lo, ism_hi)")
    return lo, hi


def _is_mask_of_pairs(mask: object) -> bool:
    """Whether this is a ready mask, or one per type of layer, and not None or a two-dimensional padding mask."""
    if isinstance(mask, Mapping):
        return True
    return isinstance(mask, BlockMask) or (isinstance(mask, Tensor) and mask.ndim == 4)


def _names(module: nn.Module) -> list[str]:
    return list(inspect.signature(module.forward).parameters)


def _named(module: nn.Module, args: tuple[object, ...], kwargs: Arguments) -> Arguments:
    """All arguments of a call by their names."""
    return dict(zip(_names(module), args, strict=False)) | kwargs if args else dict(kwargs)


def _takes_any_name(module: nn.Module) -> bool:
    parameters = inspect.signature(module.forward).parameters.values()
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)


def _dropped(model: nn.Module) -> TrainingError:
    return TrainingError(
        f"ism_lo and ism_hi get lost on their way to the decoder of {type(model).__name__}",
        code="mask-unsupported",
        hint="Give the mask as attention_mask: Collator(mask='bool') for sdpa, mask='float' for eager attention.",
    )


def _missing(why: str) -> TrainingError:
    return TrainingError(
        f"{why}, but no mask came with it",
        code="mask-missing",
        hint="Batches need ism_lo and ism_hi, as install_ism(model).collator() makes them; with the Hugging Face "
        "Trainer set remove_unused_columns=False. Call model.eval() before generate and other calls without a mask. A "
        "model that drops arguments that it does not know (GPT-J) takes the mask of Collator(mask='bool'). Take the "
        "hook off with its remove() for plain causal training.",
    )
