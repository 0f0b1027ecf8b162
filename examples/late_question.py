"""A toy on which ISM and causal attention can be compared: facts in any order, and the question at the end.

    python examples/late_question.py [--steps 480] [--seeds 3]

A query lists who throws the ball to whom, shuffled, and ends with a question: who has the ball k throws after it was
with X? `cat>dan ann>bob dan>ann bob>cat ann 3` is answered with `dan`. The model has two layers, so three throws must be
put together from facts that were already combined with each other. Under ISM every fact of a query sees all others and
the question; under causal attention only those before it.

Both kinds train on the same rows in the same order, from the same initial weights; only the mask differs. Everything
follows from the seeds. Printed is the share of right answers in conversations that were not trained on, as mean and
(lowest .. highest) over the seeds.
"""

import argparse
import json
import math
import random
import tempfile
from itertools import permutations
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM

import ismpack
from ismpack.torch import Collator, PackDataset, PackStream, install_ism

NAMES = ("ann", "bob", "cat", "dan", "eve", "fay")
PLAYERS, TURNS, HOPS = 5, 4, 3
KINDS = ("ism", "causal")
WORDS = [*NAMES, *(str(hops + 1) for hops in range(HOPS)), *(f"{a}>{b}" for a, b in permutations(NAMES, 2))]
TEMPLATE = (
    "{% for m in messages %}{{ '<ask>' if m.role == 'user' else '<answer>' }}{{ m.content }}"
    "{{ '<end>' if m.role == 'assistant' }}{% endfor %}{{ '<answer>' if add_generation_prompt }}"
)


def conversation(rng: random.Random) -> dict[str, object]:
    """Four questions, each about throws of its own."""
    messages = []
    for _ in range(TURNS):
        ring = rng.sample(NAMES, PLAYERS)
        throws = [f"{ring[i - 1]}>{ring[i]}" for i in range(PLAYERS)]
        rng.shuffle(throws)
        start, hops = rng.randrange(PLAYERS), rng.randint(1, HOPS)
        messages += [
            {"role": "user", "content": " ".join([*throws, ring[start], str(hops)])},
            {"role": "assistant", "content": ring[(start + hops) % PLAYERS]},
        ]
    return {"messages": messages}


def write_tokenizer(folder: Path) -> None:
    """One token per word, and a chat template of three control tokens."""
    folder.mkdir()
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["?", *WORDS])}, unk_token="?"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<ask>", "<answer>", "<end>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>"}))
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def make_dataset(folder: Path, name: str, count: int, seed: int) -> Path:
    """`count` conversations, converted."""
    rng = random.Random(seed)  # noqa: S311
    lines = (json.dumps(conversation(rng)) + "\n" for _ in range(count))
    (folder / f"{name}.jsonl").write_text("".join(lines))
    ismpack.convert(folder / f"{name}.jsonl", folder / name, tokenizer=str(folder / "tokenizer"), max_length=192)
    return folder / name


@torch.no_grad()
def right_answers(model: LlamaForCausalLM, batch: dict[str, torch.Tensor]) -> list[float]:
    """Share of right names after 1, 2 and 3 throws. A name stands after `<answer>`, which stands after the number."""
    model.eval()
    guess = model(**batch).logits.argmax(-1)[:, :-1]
    label = batch["labels"][:, 1:]
    is_name = (label >= 1) & (label <= len(NAMES))
    hops = batch["input_ids"].roll(1, dims=1)[:, :-1] - len(NAMES)  # of the question that a name would answer
    model.train()
    return [(guess == label)[is_name & (hops == k + 1)].float().mean().item() for k in range(HOPS)]


def train(kind: str, rows: Path, held_out: dict[str, torch.Tensor], seed: int, given: argparse.Namespace) -> list:
    """Right answers at each checkpoint."""
    stream = PackStream(rows, batch_size=given.batch_size, seed=seed)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=stream.rows.manifest.largest_id + 1,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            initializer_range=0.1,
        )
    )
    install_ism(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.98))
    course, step = [], 0
    while step < given.steps:
        stream.set_epoch(step)
        for batch in DataLoader(stream, batch_size=None, collate_fn=Collator(kind)):
            warm, rest = min(1, (step + 1) / 30), 0.5 + 0.5 * math.cos(math.pi * step / given.steps)
            optimizer.param_groups[0]["lr"] = 4e-3 * warm * rest
            model(**batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if step % (given.steps // given.checkpoints) == 0:
                course.append(right_answers(model, held_out))
            if step == given.steps:
                break
    return course


def report(courses: dict[str, list], given: argparse.Namespace) -> None:
    """One line per checkpoint; under each number of throws, both kinds."""
    print("steps  " + "".join(f"{f'{k + 1} throws, {kind}':>24}" for k in range(HOPS) for kind in KINDS))
    for c in range(given.checkpoints):
        line = f"{(c + 1) * (given.steps // given.checkpoints):5}  "
        for k in range(HOPS):
            for kind in KINDS:
                shares = [course[c][k] for course in courses[kind]]
                mean = sum(shares) / len(shares)
                line += f"{f'{mean:.2f} ({min(shares):.2f} .. {max(shares):.2f})':>24}"
        print(line)


def main(arguments: list[str] | None = None) -> dict[str, list]:
    """Train all kinds with all seeds; kind -> seed -> checkpoint -> right answers by number of throws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=480)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--checkpoints", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=24, help="rows per step")
    parser.add_argument("--conversations", type=int, default=20_000)
    given = parser.parse_args(arguments)
    courses: dict[str, list] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(Path(folder) / "tokenizer")
        rows = make_dataset(Path(folder), "train", given.conversations, seed=1)
        unseen = PackDataset(make_dataset(Path(folder), "test", 200, seed=2))
        for seed in range(given.seeds):
            for kind in KINDS:
                held_out = Collator(kind)([unseen[i] for i in range(len(unseen))])
                courses[kind].append(train(kind, rows, held_out, seed, given))
                print(
                    f"seed {seed}, {kind}: {', '.join(f'{share:.2f}' for share in courses[kind][-1][-1])}", flush=True
                )
    report(courses, given)
    return courses


if __name__ == "__main__":
    main()
