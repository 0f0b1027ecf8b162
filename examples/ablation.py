"""Causal, prefix, MAS and ISM attention from the same shards: what each costs, and what it learns.

    ismpack convert chats.jsonl --tokenizer T -o DIR
    python examples/ablation.py DIR [--steps 12]

Only `Collator(kind)` differs between the runs; rows, order and initial weights are the same.

    causal     plain causal attention
    mas        each system and each user message is bidirectional
    ism        each query is bidirectional
    prefix     all before a conversation's last answer is bidirectional; only that answer carries loss
    triplets   the same for every answer: each becomes a conversation of its own, so there are more tokens

The losses of two kinds in training are not comparable, as they are means over other targets. The last column is: the
loss on the last answers of rows that were held out, each kind under its own mask.
"""

import torch
from tiny_model import load_model, options
from torch.utils.data import DataLoader, RandomSampler, Subset

from ismpack.torch import Collator, PackDataset, install_ism

KINDS = ("causal", "mas", "ism", "prefix", "triplets")
MOST_HELD_OUT = 64
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def on_device(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch where the model is."""
    return {name: tensor.to(DEVICE) for name, tensor in batch.items()}


def train(kind: str, rows: Subset, model: torch.nn.Module, batch_size: int, learning_rate: float, steps: int) -> dict:
    """Tokens and targets per step, and the losses of the first and the last step."""
    sampler = RandomSampler(rows, num_samples=steps * batch_size, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(rows, batch_size, sampler=sampler, collate_fn=Collator(kind))
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    losses, tokens, targets = [], 0, 0
    for batch in loader:
        loss = model(**on_device(batch)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        tokens += batch["input_ids"].numel()
        targets += int((batch["labels"] != -100).sum())
    return {"tokens": tokens / steps, "targets": targets / steps, "first": losses[0], "last": losses[-1]}


@torch.no_grad()
def last_answers(kind: str, rows: Subset, model: torch.nn.Module) -> float:
    """Loss on the last answer of each conversation, under the mask of `kind`."""
    model.eval()
    total = count = 0
    for pack in rows:
        batch = Collator("prefix" if kind == "triplets" else kind)(pack)
        batch["labels"] = Collator("prefix")(pack)["labels"]
        targets = int((batch["labels"] != -100).sum())
        total += model(**on_device(batch)).loss.item() * targets
        count += targets
    return total / count


def main(arguments: list[str] | None = None) -> dict[str, dict]:
    """Train once per kind and print a table; kind -> column -> figure."""
    given = options(__doc__.splitlines()[0]).parse_args(arguments)
    dataset = PackDataset(given.directory)
    if len(dataset) < 2:
        raise SystemExit(f"{given.directory} holds one row; some are held out, so at least two are needed")
    held = min(MOST_HELD_OUT, max(1, len(dataset) // 10))
    table = {}
    print(f"{'kind':9} {'tokens/step':>12} {'targets/step':>13} {'first loss':>11} {'last loss':>10} {'held out':>9}")
    for kind in KINDS:
        model = load_model(given.model, vocabulary=dataset.rows.manifest.largest_id + 1).to(DEVICE).train()
        install_ism(model)
        rows = Subset(dataset, range(held, len(dataset)))
        row = train(kind, rows, model, given.batch_size, given.learning_rate, given.steps)
        row["held out"] = last_answers(kind, Subset(dataset, range(held)), model)
        numbers = f"{row['tokens']:12.0f} {row['targets']:13.0f} {row['first']:11.3f} {row['last']:10.3f}"
        print(f"{kind:9} {numbers} {row['held out']:9.3f}")
        table[kind] = row
    return table


if __name__ == "__main__":
    main()
