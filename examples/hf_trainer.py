"""Trainer of Hugging Face, with the ISM mask.

    ismpack convert chats.jsonl --tokenizer T -o DIR
    python examples/hf_trainer.py DIR

What to copy:

    from ismpack.torch import PackDataset, install_ism

    collator = install_ism(model).collator()
    trainer = Trainer(model=model, args=args, train_dataset=PackDataset(DIR), data_collator=collator)

A batch holds whole rows; with more than one row it is padded, and padding carries no loss.
"""

import tempfile

from tiny_model import load_model, losses_of, options, short_run
from transformers import Trainer, TrainingArguments

from ismpack.torch import PackDataset, install_ism


def main(arguments: list[str] | None = None) -> list[float]:
    """Train for a few steps; the loss of each."""
    given = options(__doc__.splitlines()[0]).parse_args(arguments)
    dataset = PackDataset(given.directory)
    model = load_model(given.model, vocabulary=dataset.rows.manifest.largest_id + 1)
    collator = install_ism(model).collator()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                **short_run(given, folder),
            ),
            train_dataset=dataset,
            data_collator=collator,
        )
        trainer.train()
    return losses_of(trainer)


if __name__ == "__main__":
    main()
