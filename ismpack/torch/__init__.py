"""Datasets, collators, masks and attention for PyTorch; needs the extra `ismpack[torch]`.

    PackDataset, PackStream      rows of a dataset, at random or as a stream that is dealt to ranks and resumed
    Collator                     rows to a batch of tensors
    install_ism                  makes a transformers model take the batch's mask
    dense_mask                   the mask as a tensor of pairs
    block_mask, mask_mod         the mask for flex_attention
    two_calls                    (module) attention under the mask from two calls of a causal kernel
    prefill_segments, generate_answer, SegmentCache
                                 inference with a key-value cache that stays valid from turn to turn

Training with the Hugging Face Trainer takes one thing more than without: `data_collator=install_ism(model).collator()`.
Each name is imported when it is first used; only the last two rows need transformers, and `install_ism`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "ismpack.torch needs PyTorch; install it with: pip install 'ismpack[torch]'", name=error.name
    ) from error

if TYPE_CHECKING:
    from ismpack.torch import two_calls
    from ismpack.torch.collate import Collator
    from ismpack.torch.data import PackDataset, PackStream
    from ismpack.torch.dense import dense_mask
    from ismpack.torch.flex import block_mask, mask_mod
    from ismpack.torch.hook import install_ism
    from ismpack.torch.inference import SegmentCache, generate_answer, prefill_segments

__all__ = [
    "Collator",
    "PackDataset",
    "PackStream",
    "SegmentCache",
    "block_mask",
    "dense_mask",
    "generate_answer",
    "install_ism",
    "mask_mod",
    "prefill_segments",
    "two_calls",
]

_HOMES = {
    "Collator": "collate",
    "PackDataset": "data",
    "PackStream": "data",
    "SegmentCache": "inference",
    "block_mask": "flex",
    "dense_mask": "dense",
    "generate_answer": "inference",
    "install_ism": "hook",
    "mask_mod": "flex",
    "prefill_segments": "inference",
}


def __getattr__(name: str) -> object:
    if name == "two_calls":
        return importlib.import_module("ismpack.torch.two_calls")
    if name in _HOMES:
        return getattr(importlib.import_module(f"ismpack.torch.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ismpack.torch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
