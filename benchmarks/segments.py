"""How fast conversations become segments, beside plain Jinja rendering and the slow reference.

    python benchmarks/segments.py [INPUT] [--tokenizer DIR ...] [--chat-template FILE] [--limit N] [--json]

INPUT is a JSON Lines file (or .gz) of conversations; without it, the sample data is repeated with other numbers in it.
Four things are measured of the chat template of each tokenizer, or of FILE:

- plain:      each whole conversation rendered once with transformers' own compiled template, which gives its text but
              not where the answers are.
- engine:     conversations to segments with a new `Segmenter`; what it has to learn first is included (cold start).
- warm:       the same conversations again with the same `Segmenter`.
- reference:  `templates.segment`, which renders every turn several times, on a sample spread evenly over the input.

Then agent traces, made up here, go through templates that trl ships (if trl is installed): traces that all differ in
structure, so that nothing learned helps much, and traces of one structure.

Reading JSON is not measured. Conversations are parsed in chunks, and each contender works on a chunk before the next
one is parsed, in turns that change: so all find their data as a parser leaves it, and what else the machine does hits
all alike. Time is processor time of this process, which runs on one core; waiting for a core is not in it. MB are bytes
of JSON lines. Each row is measured in a new process, in which nothing is learned yet.

Exit code 1 if a goal is missed. The goals for conversations are set for an INPUT of chats that is long enough for the
cold start to be paid back, so without INPUT only those for traces count.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import importlib.util
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import process_time
from typing import Any

import jinja2
from transformers.utils.chat_template_utils import _compile_jinja_template

from ismpack.data import Conversation, Json, Message, PlainConversation, ToolCall
from ismpack.errors import RecordError
from ismpack.formats import to_conversation
from ismpack.formats.plain import plain_conversations
from ismpack.options import ConvertOptions
from ismpack.pipeline.toolkit import load_setup, make_toolkit
from ismpack.templates import ChatTemplate, Segmenter, SegmentRules, find_dialect, segment
from ismpack.templates.dialect import template_messages
from ismpack.templates.environment import context_variables

MB_PER_SECOND = 100.0  # goals
TIMES_PLAIN = 5.0
TIMES_REFERENCE = 25.0
TRACE_RATIO = 2.0

CHUNK = 64
SAMPLE = 1_000
COPIES = 600
DATE = "2024-02-29"
SAMPLE_DATA = Path(__file__).parent.parent / "sample_data"

TRACES = 24


@dataclass(frozen=True, kw_only=True)
class TraceTemplate:
    """A template of trl and what it can do.

    Attributes:
        stops: Texts of the tokens that end an answer.
        many_calls: Whether a message may have several calls, and text or reasoning beside them.
        interrupted: Whether the user may speak before the end. glm4moe then rewrites an answer that it never closed.
    """

    stops: tuple[str, ...]
    many_calls: bool = True
    interrupted: bool = True


TRACE_TEMPLATES = {
    "qwen3": TraceTemplate(stops=("<|im_end|>",)),
    "qwen3_training": TraceTemplate(stops=("<|im_end|>",)),
    "qwen3_5_think": TraceTemplate(stops=("<|im_end|>",)),
    "gptoss": TraceTemplate(stops=("<|return|>", "<|call|>", "<|end|>"), many_calls=False),
    "glm4moe": TraceTemplate(stops=("<|user|>", "<|observation|>"), interrupted=False),
}
PIPED_TOKEN = re.compile(r"<\|[^|<>\s]+\|>")
WORDS = ["the", "a", "of", "to", "and", "in", "is", "that", "it", "for", "was", "on", "are", "with", "as", "at", "be",
         "file", "line", "value", "because", "directory", "function", "expected", "configuration"]  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------- input


def read_lines(path: Path | None, limit: int | None) -> list[bytes]:
    if path is None:
        return list(islice(repeated_samples(), limit))
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        return list(islice(lines, limit))


def repeated_samples() -> Iterator[bytes]:
    """The sample conversations again and again, each time with other digits in their texts."""
    rng = seeded(0)
    with (SAMPLE_DATA / "chat.jsonl").open("rb") as lines:
        records = [json.loads(line) for line in lines]
    for _ in range(COPIES):
        for record in records:
            yield json.dumps(with_other_digits(record, rng), ensure_ascii=False).encode() + b"\n"


def with_other_digits(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        return {key: with_other_digits(item, rng) for key, item in value.items()}
    if isinstance(value, list):
        return [with_other_digits(item, rng) for item in value]
    return re.sub(r"\d", lambda _: str(rng.randrange(10)), value) if isinstance(value, str) else value


def parsed_chunks(lines: Iterable[bytes]) -> Iterator[list[tuple[int, Conversation | PlainConversation]]]:
    """Bytes and content of the lines that hold a conversation, some at a time, in the form that `convert` gives it."""
    rest = iter(lines)
    while chunk := list(islice(rest, CHUNK)):
        found: list[tuple[int, Conversation | PlainConversation]] = []
        for line, plain in zip(chunk, plain_conversations(chunk), strict=True):
            try:
                found.append((len(line), plain or to_conversation(json.loads(line))[1]))
            except (ValueError, RecordError):  # no conversation, whatever the template
                continue
        yield found


# ------------------------------------------------------------------------------------------------------ one tokenizer


def measure(path: Path | None, limit: int | None, tokenizer: str, chat_template: str | None) -> dict[str, Any]:
    """Everything about one tokenizer; to be run in a new process."""
    toolkit = make_toolkit(load_setup(ConvertOptions(tokenizer=tokenizer, chat_template=chat_template, date=DATE)))
    known = toolkit.segmenters["default"]
    template, dialect, rules = known.template, known.dialect, known.rules
    compiled = _compile_jinja_template(template.source)
    lines = read_lines(path, limit)
    every = max(1, len(lines) // SAMPLE)
    seconds: defaultdict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()

    def reference(conversation: Conversation) -> None:
        segment(conversation, template, dialect, rules)

    gc.collect()
    gc.freeze()  # what was imported and read is no work for the collector
    start = process_time()
    engine = Segmenter(template, dialect, rules)
    seconds["engine"] = process_time() - start
    for again in (False, True):
        for number, chunk in enumerate(parsed_chunks(lines)):
            conversations = [conversation for _, conversation in chunk]
            written_out = [conversation.written_out() for conversation in conversations]
            contexts = [plain_context(conversation, known) for conversation in written_out]
            turns: list[tuple[str, Callable[[Any], object], Sequence[Any]]]
            if again:
                turns = [("plain again", compiled.render, contexts), ("warm", engine.segment, conversations)]
            else:
                sample = written_out[::every]
                turns = [("plain", compiled.render, contexts), ("engine", engine.segment, conversations)]
                turns.append(("reference", reference, sample))
                counts["conversations"] += len(chunk)
                counts["bytes"] += sum(size for size, _ in chunk)
                counts["sample"] += len(sample)
                counts["sample bytes"] += sum(size for size, _ in chunk[::every])
            for name, work, items in turns[number % len(turns) :] + turns[: number % len(turns)]:
                spent, refused = timed(work, items)
                seconds[name] += spent
                counts[f"{name} refused"] += refused
        if not again:
            ladder = engine.counts
    row = result(Path(tokenizer).name, seconds, counts, ladder)
    return row if path else {**row, "goals": {}}


def timed(work: Callable[[Any], object], items: Iterable[Any]) -> tuple[float, int]:
    """Seconds for all items, and how many were refused."""
    refused = 0
    start = process_time()
    for item in items:
        try:
            work(item)
        except (RecordError, jinja2.TemplateError):
            refused += 1
    return process_time() - start, refused


def plain_context(conversation: Conversation, known: Segmenter) -> dict[str, Any]:
    """What transformers gives the template."""
    return context_variables(
        known.template,
        template_messages(conversation, known.dialect),
        tools=conversation.tools,
        add_generation_prompt=False,
        args=conversation.template_args,
    )


def result(name: str, seconds: dict[str, float], counts: Counter[str], ladder: dict[str, int]) -> dict[str, Any]:
    speed = {contender: counts["bytes"] / 1e6 / spent for contender, spent in seconds.items()}
    speed["reference"] = counts["sample bytes"] / 1e6 / seconds["reference"]
    times_plain, times_reference = speed["engine"] / speed["plain"], speed["engine"] / speed["reference"]
    return {
        "tokenizer": name,
        "conversations": counts["conversations"],
        "megabytes": counts["bytes"] / 1e6,
        "sample": counts["sample"],
        "megabytes_per_second": speed,
        "engine_times_plain": times_plain,
        "warm_times_plain": speed["warm"] / speed["plain again"],
        "engine_times_reference": times_reference,
        "ladder": ladder,
        "refused": {key.removesuffix(" refused"): n for key, n in counts.items() if key.endswith(" refused") and n},
        "goals": {
            f"{MB_PER_SECOND:g} MB/s": speed["engine"] >= MB_PER_SECOND,
            f"{TIMES_PLAIN:g} x plain": times_plain >= TIMES_PLAIN,
            f"{TIMES_REFERENCE:g} x reference": times_reference >= TIMES_REFERENCE,
        },
    }


# -------------------------------------------------------------------------------------------------------- agent traces


def measure_traces(name: str, source: str, *, same_structure: bool) -> dict[str, Any]:
    """One template of trl; to be run in a new process."""
    traits = TRACE_TEMPLATES[name]
    template = ChatTemplate(source, date=DATE)
    dialect = find_dialect(template)
    rules = SegmentRules(
        stop_tokens=frozenset(traits.stops),
        # Tokens around each argument, such as <arg_key>, make the reference refuse arguments that hold numbers.
        control_tokens=dict.fromkeys([*traits.stops, *PIPED_TOKEN.findall(source)], True),
        allow_unterminated=True,  # glm4moe closes an answer with the header of the next message
    )
    traces = [trace(seeded(0 if same_structure else i), seeded(i), traits) for i in range(TRACES)]
    seconds: defaultdict[str, float] = defaultdict(float)
    refused: Counter[str] = Counter()
    gc.collect()
    gc.freeze()
    start = process_time()
    engine = Segmenter(template, dialect, rules)
    seconds["engine"] = process_time() - start
    for i, conversation in enumerate(traces):
        turns: list[tuple[str, Callable[[], object]]] = [
            ("engine", lambda given=conversation: engine.segment(given)),  # type: ignore[misc]
            ("reference", lambda given=conversation: segment(given, template, dialect, rules)),  # type: ignore[misc]
        ]
        for contender, work in turns[i % 2 :] + turns[: i % 2]:
            start = process_time()
            try:
                work()
            except RecordError as error:
                refused[f"{contender}: {error.code}"] += 1
            seconds[contender] += process_time() - start
    ratio = seconds["engine"] / seconds["reference"]
    goals = {} if same_structure else {f"at most {TRACE_RATIO:g} x reference": ratio <= TRACE_RATIO}
    return {
        "template": name,
        "structure": "one" if same_structure else "ever new",
        "characters": sum(map(count_characters, traces)),
        "engine_seconds": seconds["engine"],
        "reference_seconds": seconds["reference"],
        "ratio": ratio,
        "ladder": engine.counts,
        "refused": dict(refused),
        "goals": goals,
    }


def trace(shape: random.Random, text: random.Random, traits: TraceTemplate) -> Conversation:
    """An agent at work: `shape` decides what happens, `text` what is said."""
    messages: list[Message] = []
    if shape.random() < 0.5:
        messages.append(Message(role="system", content=words(text, 5, 120)))
    messages.append(Message(role="user", content=words(text, 5, 80)))
    for step in range(shape.randint(3, 30)):
        messages += tool_use(shape, text, step, many_calls=traits.many_calls)
        if traits.interrupted and shape.random() < 0.15:
            messages.append(Message(role="assistant", content=words(text, 5, 40)))
            messages.append(Message(role="user", content=words(text, 3, 30)))
    messages.append(Message(role="assistant", content=words(text, 10, 100)))
    return Conversation(messages=tuple(messages), tools=TOOLS)


def tool_use(shape: random.Random, text: random.Random, step: int, *, many_calls: bool) -> Iterator[Message]:
    """A message with calls, and their results, some of them errors."""
    calls = tuple(
        ToolCall(name=shape.choice(TOOL_NAMES), arguments=arguments(shape, text), id=f"call{step:03d}{i:02d}")
        for i in range(shape.choice([1, 1, 1, 2, 3]) if many_calls else 1)
    )
    said = words(text, 3, 40) if many_calls and shape.random() < 0.5 else ""
    thought = words(text, 10, 90) if many_calls and shape.random() < 0.6 else None
    yield Message(role="assistant", content=said, reasoning=thought, tool_calls=calls)
    for call in calls:
        failed = shape.random() < 0.15
        output = f"Error {text.randrange(100)}: {words(text, 3, 9)}" if failed else words(text, 1, 150)
        yield Message(role="tool", content=output, name=call.name, tool_call_id=call.id)


def arguments(shape: random.Random, text: random.Random) -> dict[str, Json]:
    values: list[Callable[[], Json]] = [
        lambda: words(text, 1, 40),
        lambda: words(text, 1, 3),
        lambda: text.randrange(1000),
        lambda: True,
        lambda: [words(text, 1, 3), words(text, 1, 3)],
        lambda: {"first": text.randrange(100), "last": words(text, 1, 2)},
    ]
    names = shape.sample(["path", "query", "lines", "options", "text"], shape.randint(1, 4))
    return {name: shape.choice(values)() for name in names}


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - made-up data, no secrets


def words(rng: random.Random, low: int, high: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(low, high)))


def count_characters(conversation: Conversation) -> int:
    calls = [call for message in conversation.messages for call in message.tool_calls]
    texts = [text for message in conversation.messages for text in (message.content, message.reasoning) if text]
    return sum(map(len, texts)) + sum(len(json.dumps(call.arguments)) for call in calls)


TOOL_NAMES = ("run", "read", "write", "search")
TOOLS: tuple[dict[str, Json], ...] = tuple(
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Does what {name} says.",
            "parameters": {"type": "object", "properties": {"path": {"type": "string", "description": "Where."}}},
        },
    }
    for name in TOOL_NAMES
)


def trl_templates() -> dict[str, str]:
    """Source of each template of `TRACE_TEMPLATES` that is at hand."""
    found = importlib.util.find_spec("trl")
    folders = list(found.submodule_search_locations or []) if found else []
    files = {path.stem: path for folder in folders for path in Path(folder, "chat_templates").glob("*.jinja")}
    return {name: files[name].read_text(encoding="utf-8") for name in TRACE_TEMPLATES if name in files}


# -------------------------------------------------------------------------------------------------------------- report


def print_speeds(rows: Sequence[dict[str, Any]]) -> None:
    first = rows[0]
    print(f"{first['conversations']:,} conversations, {first['megabytes']:.1f} MB; reference on {first['sample']:,}")
    print(f"{'MB/s of one core':<20}{'plain':>8}{'engine':>8}{'warm':>8}{'reference':>11}", end="")
    print(f"{'engine/plain':>14}{'warm/plain':>12}{'engine/reference':>18}")
    for row in rows:
        speed = row["megabytes_per_second"]
        print(f"{row['tokenizer'][:19]:<20}{speed['plain']:>8.1f}{speed['engine']:>8.1f}{speed['warm']:>8.1f}", end="")
        print(f"{speed['reference']:>11.2f}{row['engine_times_plain']:>14.2f}{row['warm_times_plain']:>12.2f}", end="")
        print(f"{row['engine_times_reference']:>18.1f}")
        print(f"    {described(row)}")


def print_traces(rows: Sequence[dict[str, Any]]) -> None:
    print(f"\n{f'{TRACES} agent traces':<20}{'structure':<12}{'MB':>8}{'engine s':>12}{'reference s':>13}{'ratio':>8}")
    for row in rows:
        print(f"{row['template']:<20}{row['structure']:<12}{row['characters'] / 1e6:>8.2f}", end="")
        print(f"{row['engine_seconds']:>12.2f}{row['reference_seconds']:>13.2f}{row['ratio']:>8.2f}")
        print(f"    {described(row)}")


def described(row: dict[str, Any]) -> str:
    """The ladder, refusals and goals of a row."""
    parts = [f"{name} {count:,}" for name, count in row["ladder"].items()]
    parts += [f"{what} refused {count:,}" for what, count in row["refused"].items()]
    return "; ".join([", ".join(parts), *(f"{goal}: {'yes' if met else 'NO'}" for goal, met in row["goals"].items())])


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure conversations to segments.")
    parser.add_argument("input", type=Path, nargs="?")
    parser.add_argument("--tokenizer", nargs="+", default=[str(SAMPLE_DATA / "tokenizer")])
    parser.add_argument("--chat-template", help="a template to use instead of the tokenizers' own")
    parser.add_argument("--limit", type=int, help="use only this many lines of the input")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()

    with ProcessPoolExecutor(max_workers=1, max_tasks_per_child=1) as pool:
        speeds = [
            pool.submit(measure, given.input, given.limit, name, given.chat_template).result()
            for name in given.tokenizer
        ]
        traces = [
            pool.submit(measure_traces, name, source, same_structure=same).result()
            for name, source in trl_templates().items()
            for same in (False, True)
        ]
    if given.json:
        print(json.dumps({"conversations": speeds, "traces": traces}))
    else:
        print_speeds(speeds)
        if traces:
            print_traces(traces)
    return 0 if all(met for row in (*speeds, *traces) for met in row["goals"].values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
