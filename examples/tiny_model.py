"""What the examples share: a random Llama of two layers, so that they run on a CPU in seconds, and short runs of it."""

import argparse

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
)

from ismpack.manifest import Manifest


def options(description: str) -> argparse.ArgumentParser:
    """The options that the examples share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("directory", metavar="DIR", help="what `ismpack convert -o DIR` wrote")
    parser.add_argument("--model", metavar="NAME", help="a model of the hub or a folder; without it, a tiny random one")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=2, help="rows per step")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    return parser


def load_model(name: str | None, *, vocabulary: int, attention: str = "sdpa", seed: int = 0) -> PreTrainedModel:
    """The model called `name`, or a tiny random one with ids below `vocabulary`."""
    if name is not None:
        return AutoModelForCausalLM.from_pretrained(name, attn_implementation=attention)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.1,
        attn_implementation=attention,
    )
    return LlamaForCausalLM(config)


def load_tokenizer(name: str | None, directory: str, manifest: Manifest) -> PreTrainedTokenizerBase:
    """The tokenizer of the model called `name`, or the one that the dataset was made with."""
    if name is not None:
        return AutoTokenizer.from_pretrained(name)
    tokenizer = AutoTokenizer.from_pretrained(f"{directory}/tokenizer")
    # A dataset keeps no names of special tokens; trainers want one to pad with.
    tokenizer.pad_token = tokenizer.eos_token = tokenizer.convert_ids_to_tokens(manifest.stop_ids[0])
    return tokenizer


def short_run(given: argparse.Namespace, folder: str) -> dict[str, object]:
    """Settings of a trainer that shows the loss of every step and keeps nothing."""
    return {
        "output_dir": folder,
        "max_steps": given.steps,
        "per_device_train_batch_size": given.batch_size,
        "learning_rate": given.learning_rate,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),
    }


def losses_of(trainer: Trainer) -> list[float]:
    """The loss of every step; prints the first and the last."""
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f} in {len(losses)} steps")
    return losses
