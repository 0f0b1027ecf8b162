"""SFTTrainer of TRL with plain causal attention, and nothing of ismpack but its files.

    ismpack convert chats.jsonl --tokenizer T -o DIR --with labels
    python examples/trl_causal.py DIR

What to copy:

    from datasets import load_from_disk

    args = SFTConfig(..., padding_free=True, max_length=None)
    trainer = SFTTrainer(model=model, args=args, train_dataset=load_from_disk(DIR), ...)

`--with labels` matters: TRL ignores the column `loss_mask` without a word and would train on every token.
`padding_free=True` matters: without it, the conversations of a row attend to each other.
"""

import tempfile

import torch
from datasets import load_from_disk
from tiny_model import load_model, load_tokenizer, losses_of, options, short_run
from trl import SFTConfig, SFTTrainer

import ismpack


def main(arguments: list[str] | None = None) -> list[float]:
    """Train for a few steps; the loss of each."""
    given = options(__doc__.splitlines()[0]).parse_args(arguments)
    dataset = load_from_disk(given.directory)
    if "labels" not in dataset.column_names:
        raise SystemExit(f"{given.directory} has no column labels; convert with --with labels")
    manifest = ismpack.load(given.directory).manifest
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=load_model(given.model, vocabulary=manifest.largest_id + 1),
            args=SFTConfig(
                **short_run(given, folder),
                bf16=torch.cuda.is_available(),
                padding_free=True,
                max_length=None,
            ),
            train_dataset=dataset,
            processing_class=load_tokenizer(given.model, given.directory, manifest),
        )
        trainer.train()
    return losses_of(trainer)


if __name__ == "__main__":
    main()
