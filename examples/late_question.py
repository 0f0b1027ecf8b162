"""A toy on which ISM and causal attention can be compared: the question comes after the facts that it is about.

    python examples/late_question.py [--steps 960] [--seeds 5]

A query is a row of shuffled letters and then a number, and asks: which letter stands there so many times? The answer to
`d b d c d b d a c c 2` is `b`. One letter occurs once, one twice, one three and one four times. A letter under ISM sees
all others and the number, so it can count itself; under causal attention it sees only those before it, and the last
token of the query has to make up for that.

Both kinds train on the same rows in the same order, from the same initial weights; only the mask differs. Everything
follows from the seeds. Printed is the share of right answers in conversations that were not trained on, as mean and
(lowest .. highest) over the seeds. Takes minutes on a CPU.

What came out (PyTorch 2.13, one thread, seeds 0 to 4), after 960 steps: ISM 0.83 (0.76 .. 0.99), causal 0.77
(0.56 .. 0.99); ISM was ahead with three seeds, behind with one, level with one. After 480 steps there was no difference
(0.47 and 0.48). Seeds differ more than kinds do, so this toy proves no advantage of either. It was picked from several:
the k-th smallest number, two numbers with a given sum, and chains of three facts showed no difference, and in copying a
list without the letters named at its end causal attention learned faster. With one seed each, ISM was ahead in counting
rises in such a list (0.54 and 0.47), and causal attention in finding its widest one (0.56 and 0.70).
"""

import argparse
import json
import math
import random
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM

import ismpack
from ismpack.torch import Collator, PackDataset, PackStream, install_ism

LETTERS, MOST, TURNS = "abcdefghijklmnop", 4, 3
KINDS = ("ism", "causal")
RATE = 4e-3
TEMPLATE = (
    "{% for m in messages %}{{ '<ask>' if m.role == 'user' else '<answer>' }}{{ m.content }}"
    "{{ '<end>' if m.role == 'assistant' }}{% endfor %}{{ '<answer>' if add_generation_prompt }}"
)


def conversation(rng: random.Random) -> dict[str, object]:
    """Three questions, each about letters of its own."""
    messages = []
    for _ in range(TURNS):
        chosen = rng.sample(LETTERS, MOST)
        row = [letter for times, letter in enumerate(chosen, start=1) for _ in range(times)]
        rng.shuffle(row)
        asked = rng.randint(1, MOST)
        messages += [
            {"role": "user", "content": " ".join([*row, str(asked)])},
            {"role": "assistant", "content": chosen[asked - 1]},
        ]
    return {"messages": messages}


def write_tokenizer(folder: Path) -> None:
    """One token per letter (ids from 1) and number, and a chat template of three control tokens."""
    folder.mkdir()
    words = ["?", *LETTERS, *(str(times + 1) for times in range(MOST))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="?"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<ask>", "<answer>", "<end>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>"}))
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def make_dataset(folder: Path, name: str, count: int, seed: int) -> Path:
    """`count` conversations, converted to rows of at most 192 tokens: four conversations each."""
    rng = random.Random(seed)  # noqa: S311
    lines = (json.dumps(conversation(rng)) + "\n" for _ in range(count))
    (folder / f"{name}.jsonl").write_text("".join(lines))
    ismpack.convert(folder / f"{name}.jsonl", folder / name, tokenizer=str(folder / "tokenizer"), max_length=192)
    return folder / name


@torch.no_grad()
def right_answers(model: LlamaForCausalLM, batch: dict[str, torch.Tensor]) -> float:
    """Share of answers whose letter is the likeliest token."""
    model.eval()
    guess = model(**batch).logits.argmax(-1)[:, :-1]
    model.train()
    label = batch["labels"][:, 1:]
    is_letter = (label >= 1) & (label <= len(LETTERS))
    return (guess == label)[is_letter].float().mean().item()


def train(kind: str, rows: Path, unseen: PackDataset, seed: int, given: argparse.Namespace) -> list[float]:
    """Right answers at each checkpoint."""
    held_out = Collator(kind)([unseen[i] for i in range(len(unseen))])
    stream = PackStream(rows, batch_size=given.batch_size, seed=seed)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=stream.rows.manifest.largest_id + 1,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            initializer_range=0.12,
        )
    )
    install_ism(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98))
    course, step = [], 0
    while True:
        stream.set_epoch(step)  # any new number gives a new order
        for batch in DataLoader(stream, batch_size=None, collate_fn=Collator(kind)):
            decay = 0.5 + 0.5 * math.cos(math.pi * step / given.steps)
            optimizer.param_groups[0]["lr"] = RATE * min(1, (step + 1) / 30) * decay
            model(**batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if step % (given.steps // given.checkpoints) == 0:
                course.append(right_answers(model, held_out))
            if step == given.steps:
                return course


def report(courses: dict[str, list[list[float]]], given: argparse.Namespace) -> None:
    """One line per checkpoint."""
    print("steps" + "".join(f"{kind:>22}" for kind in courses))
    for c in range(given.checkpoints):
        line = f"{(c + 1) * (given.steps // given.checkpoints):5}"
        for seeds in courses.values():
            shares = [course[c] for course in seeds]
            line += f"{f'{sum(shares) / len(shares):.2f} ({min(shares):.2f} .. {max(shares):.2f})':>22}"
        print(line)


def main(arguments: list[str] | None = None) -> dict[str, list[list[float]]]:
    """Train both kinds with all seeds; kind -> seed -> checkpoint -> right answers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=960)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--checkpoints", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=16, help="rows per step")
    parser.add_argument("--conversations", type=int, default=30_000)
    given = parser.parse_args(arguments)
    if given.seeds < 1 or not 1 <= given.checkpoints <= given.steps:
        parser.error("give at least one seed and one checkpoint, and as many steps as checkpoints")
    courses: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(Path(folder) / "tokenizer")
        rows = make_dataset(Path(folder), "train", given.conversations, seed=1)
        unseen = PackDataset(make_dataset(Path(folder), "test", 200, seed=2))
        for seed in range(given.seeds):
            for kind, done in courses.items():
                done.append(train(kind, rows, unseen, seed, given))
                print(f"seed {seed}, {kind}: " + " ".join(f"{share:.2f}" for share in done[-1]), flush=True)
    report(courses, given)
    return courses


if __name__ == "__main__":
    main()
