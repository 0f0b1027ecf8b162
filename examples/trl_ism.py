"""SFTTrainer of TRL, with the ISM mask.

    ismpack convert chats.jsonl --tokenizer T -o DIR
    python examples/trl_ism.py DIR

What to copy:

    from datasets import load_from_disk
    from ismpack.torch import install_ism

    collator = install_ism(model).collator()
    args = SFTConfig(..., remove_unused_columns=False, dataset_kwargs={"skip_prepare_dataset": True})
    trainer = SFTTrainer(model=model, args=args, train_dataset=load_from_disk(DIR), data_collator=collator, ...)

Without the two settings TRL takes away the columns that the mask is made of; the collator then refuses the batch.
"""

import tempfile

import torch
from datasets import load_from_disk
from tiny_model import load_model, load_tokenizer, losses_of, options, short_run
from trl import SFTConfig, SFTTrainer

import ismpack
from ismpack.torch import install_ism


def main(arguments: list[str] | None = None) -> list[float]:
    """Train for a few steps; the loss of each."""
    given = options(__doc__.splitlines()[0]).parse_args(arguments)
    manifest = ismpack.load(given.directory).manifest
    model = load_model(given.model, vocabulary=manifest.largest_id + 1)
    collator = install_ism(model).collator()
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                **short_run(given, folder),
                bf16=torch.cuda.is_available(),
                remove_unused_columns=False,
                dataset_kwargs={"skip_prepare_dataset": True},
            ),
            train_dataset=load_from_disk(given.directory),
            data_collator=collator,
            processing_class=load_tokenizer(given.model, given.directory, manifest),
        )
        trainer.train()
    return losses_of(trainer)


if __name__ == "__main__":
    main()
