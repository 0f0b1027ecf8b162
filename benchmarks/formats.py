"""How fast bytes become conversations: reading, strict JSON, detection and validation together, on one core.

    python benchmarks/formats.py INPUT [--written FORMAT] [--repeat N] [--json]

INPUT is a file that `ismpack convert` takes; with --written, plain chats as JSON Lines, which are written in another
format first. Contenders, each over all records of the file:

- ismpack:  `sources.read` with the short way for plain records, and `formats.to_conversation` for the others.
- general:  the same without the short way: strict JSON to values, signatures, validation.
- json:     `json.loads` of each line, which checks less (repeated keys, NaN, half surrogates pass) and no message.

The contenders take turns, chunk by chunk, so what else the machine does hits all alike. Time is processor time of this
process. MB are bytes of text. Exit code 1 if `ismpack` does not reach the goal, which is for chats: short records of
pairs take more time for what they hold.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from time import process_time
from typing import Any

from ismpack.data import PlainConversation, Record
from ismpack.errors import RecordError
from ismpack.formats import shortcut_for, to_conversation
from ismpack.formats.plain import plain_conversations
from ismpack.sources import Chunk, expand, read, scan

MB_PER_SECOND = 300.0
CHUNK_BYTES = 4 << 20


def converted(chunk: Chunk) -> int:
    """Read a chunk as `convert` does; the number of conversations."""
    return _conversations(chunk, short=True)


def generally(chunk: Chunk) -> int:
    """Read a chunk without the short way."""
    return _conversations(chunk, short=False)


def _conversations(chunk: Chunk, *, short: bool) -> int:
    count = 0
    for item in read(chunk, shortcut=shortcut_for(None) if short else None):
        if not isinstance(item, Record):
            continue
        if item.conversation is None:
            try:
                to_conversation(item.value)
            except RecordError:
                continue
        count += 1
    return count


def loaded(chunk: Chunk) -> int:
    """Parse the lines of a chunk with the standard library."""
    with Path(chunk.open_path).open("rb") as file:
        file.seek(chunk.start)
        lines = file.read(chunk.end - chunk.start).splitlines()
    count = 0
    for line in lines:
        try:
            json.loads(line)
        except ValueError:  # a chunk may begin and end inside a line
            continue
        count += 1
    return count


def with_metadata(chat: PlainConversation, number: int) -> Iterator[dict[str, Any]]:
    """Messages beside other keys."""
    said = zip(chat.roles, chat.texts, strict=True)
    messages = [{"role": role, "content": text} for role, text in said]
    yield {"id": f"chat-{number}", "source": "made up", "messages": messages, "score": number / 7}


def sharegpt(chat: PlainConversation, number: int) -> Iterator[dict[str, Any]]:
    """Turns with from and value."""
    words = {"user": "human", "assistant": "gpt"}
    said = zip(chat.roles, chat.texts, strict=True)
    yield {"id": number, "conversations": [{"from": words.get(role, role), "value": text} for role, text in said]}


def pairs(chat: PlainConversation, *keys: str) -> Iterator[dict[str, Any]]:
    """Each question with its answer."""
    for (role, asked), (_, answered) in pairwise(zip(chat.roles, chat.texts, strict=True)):
        if role == "user":
            yield dict(zip(keys, (asked, *[""] * (len(keys) - 2), answered), strict=True))


WRITTEN: dict[str, Callable[[PlainConversation, int], Iterator[dict[str, Any]]]] = {
    "metadata": with_metadata,
    "sharegpt": sharegpt,
    "alpaca": lambda chat, _: pairs(chat, "instruction", "input", "output"),
    "prompt-completion": lambda chat, _: pairs(chat, "prompt", "completion"),
}


def rewrite(source: Path, target: Path, name: str) -> None:
    """Write chats in another format."""
    with source.open("rb") as lines, target.open("w", encoding="utf-8") as out:
        for number, line in enumerate(lines):
            [chat] = plain_conversations([line])
            for record in WRITTEN[name](chat, number) if chat else ():
                out.write(json.dumps(record, ensure_ascii=False) + "\n")


CONTENDERS: dict[str, Callable[[Chunk], int]] = {"ismpack": converted, "general": generally, "json": loaded}


def measure(path: str, repeat: int) -> tuple[dict[str, list[float]], Counter[str], int]:
    """Seconds of each contender in each round, what each read in one round, and the bytes of text."""
    seconds: dict[str, list[float]] = {name: [0.0] * repeat for name in CONTENDERS}
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as spool:
        found = scan(expand([path])[0], CHUNK_BYTES, Path(spool))
        for turn in range(repeat):
            for chunk in found.chunks:
                for name, contender in CONTENDERS.items():
                    begin = process_time()
                    count = contender(chunk)
                    seconds[name][turn] += process_time() - begin
                    counts[name] += count if turn == 0 else 0
    return seconds, counts, found.text_bytes


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--written", choices=WRITTEN)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.input
        if arguments.written:
            path = str(Path(folder, "rewritten.jsonl"))
            rewrite(Path(arguments.input), Path(path), arguments.written)
        seconds, counts, size = measure(path, arguments.repeat)
    speeds = {name: size / sorted(times)[len(times) // 2] / 1e6 for name, times in seconds.items()}
    if arguments.json:
        print(json.dumps({"bytes": size, "mb_per_second": speeds, "conversations": counts, "goal": MB_PER_SECOND}))
    else:
        for name, speed in speeds.items():
            print(f"{name:<8} {speed:>7,.0f} MB/s   {counts[name]:>9,} records")
    return 0 if speeds["ismpack"] >= MB_PER_SECOND else 1


if __name__ == "__main__":
    sys.exit(main())
