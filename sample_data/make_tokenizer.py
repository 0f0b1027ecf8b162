"""Train the sample tokenizer from the sample conversations.

    python sample_data/make_tokenizer.py

Needs only `tokenizers`. Writes `tokenizer.json`, `tokenizer_config.json` and `generation_config.json` into
`sample_data/tokenizer/`; the `chat_template.jinja` beside them is written by hand. The same conversations and the same
version of `tokenizers` give the same bytes. It is a real byte-level BPE, only small: every text encodes and decodes
without loss, with more tokens than a large vocabulary would need.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = Path(__file__).parent
CONVERSATIONS = ("alpaca.jsonl", "chat.jsonl", "prompt_completion.jsonl", "sharegpt.json")
VOCABULARY = 4096

END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# What the model writes itself: not special, so that decoding keeps it.
MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>")

# No token crosses the border of two of these pieces. Together they cover every character.
PIECES = "|".join(
    (
        r" ?[\p{L}\p{M}]+",  # a word, with the space before it
        r"\p{N}{1,3}",  # up to three digits
        r" ?[^\s\p{L}\p{M}\p{N}]+",  # punctuation and symbols, with the space before them
        r"\s*[\r\n]+",  # line ends, with the blanks before them
        r"\s+(?!\S)",  # blanks, except the one that belongs to the next word
        r"\s+",
    )
)


def records() -> Iterator[object]:
    """Every record of the sample conversations, in file order."""
    for name in CONVERSATIONS:
        text = (HERE / name).read_text(encoding="utf-8")
        yield from json.loads(text) if name.endswith(".json") else map(json.loads, text.splitlines())


def strings(value: object) -> Iterator[str]:
    """Every string of a JSON value, keys too: a tool definition is printed with its keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)


def train() -> Tokenizer:
    """A byte-level BPE of `VOCABULARY` tokens; the added tokens have the highest ids, as in most ChatML tokenizers."""
    added = [AddedToken(text, special=True, normalized=False) for text in (END_OF_TEXT, START, END)]
    added += [AddedToken(text, special=False, normalized=False) for text in MARKS]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(added),
        min_frequency=1,  # the text is short: without the pairs that occur once, it does not fill the vocabulary
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for record in records() for text in strings(record)), trainer)
    tokenizer.add_tokens(added)
    return tokenizer


def write_json(path: Path, value: object) -> None:
    """Write readable JSON with a final line end."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8", newline="\n")


def main() -> None:
    """Train and write the three files."""
    tokenizer = train()
    folder = HERE / "tokenizer"
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 32768,
    }
    write_json(folder / "tokenizer_config.json", config)
    stops = [tokenizer.token_to_id(END), tokenizer.token_to_id(END_OF_TEXT)]
    write_json(folder / "generation_config.json", {"eos_token_id": stops})
    print(f"{tokenizer.get_vocab_size()} tokens in {folder}")


if __name__ == "__main__":
    main()
