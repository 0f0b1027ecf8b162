"""A training loop in plain PyTorch, with the ISM mask.

    ismpack convert chats.jsonl --tokenizer T -o DIR
    python examples/plain_loop.py DIR [--attention sdpa|flex_attention|eager]

What to copy:

    from ismpack.torch import PackStream, install_ism

    collator = install_ism(model).collator()
    stream = PackStream(DIR, batch_size=2, seed=0)
    for epoch in range(epochs):
        stream.set_epoch(epoch)
        for batch in DataLoader(stream, batch_size=None, collate_fn=collator):
            loss = model(**batch, use_cache=False).loss

`flex_attention` trains on GPUs only: PyTorch has no backward pass for it on the CPU.
"""

from collections.abc import Iterator
from itertools import islice

import torch
from tiny_model import load_model, options
from torch.utils.data import DataLoader

from ismpack.torch import Collator, PackStream, install_ism


def batches(stream: PackStream, collator: Collator) -> Iterator[dict[str, torch.Tensor]]:
    """Epoch after epoch, each in an order of its own."""
    epoch = 0
    while True:
        stream.set_epoch(epoch)
        yield from DataLoader(stream, batch_size=None, collate_fn=collator)
        epoch += 1


def main(arguments: list[str] | None = None) -> list[float]:
    """Train for a few steps; the loss of each."""
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--attention", default="sdpa", help="attention implementation of transformers")
    given = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    stream = PackStream(given.directory, batch_size=given.batch_size, seed=0)
    model = load_model(given.model, vocabulary=stream.rows.manifest.largest_id + 1, attention=given.attention)
    model.to(device).train()
    collator = install_ism(model).collator()
    optimizer = torch.optim.AdamW(model.parameters(), lr=given.learning_rate)
    losses = []
    for step, batch in enumerate(islice(batches(stream, collator), given.steps)):
        on_device = {name: tensor.to(device) for name, tensor in batch.items()}
        loss = model(**on_device, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        print(f"step {step:3}  loss {losses[-1]:.3f}")
    return losses


if __name__ == "__main__":
    main()
