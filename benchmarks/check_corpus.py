"""Check a finished dataset against transformers, conversation by conversation.

    python benchmarks/check_corpus.py DIR INPUT --tokenizer T [--chat-template FILE] [--limit N] [--json]

INPUT is the one JSON Lines file (or .gz) that DIR was made from; its records hold `messages`. From ismpack only `load`
is used: rendering, encoding and decoding are transformers' own, so this is a second opinion and not the same code run
twice. Every document's source record is rendered again, up to the last answer that the document holds, and then

- ids:      the document's ids are those of the whole text. Where they are not, every segment encoded by itself gives
            the document's ids, so the two differ only because a token would cross the border of two segments. (Counted
            apart: without such a token they differ where a pre-tokenizer looks ahead over the border, or where a
            SentencePiece tokenizer puts a blank after every control token.)
- decoding: the ids decode to the text, to the text as the tokenizer normalises it, or to what the tokenizer makes of
            its own ids.
- answers:  turn by turn, the answer's tokens decode to the answer as rendered with its stop token, they are targets
            all or none as the record's loss flag says, and no other token is.

Where the data spells an added token, transformers makes that token of it and ismpack text; such documents are counted
apart (`spells_a_token`), and their ids are not compared. Only templates that append can be checked so (no rewritten
history). Exit code 1 on any failure.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
import transformers

import ismpack

BATCH_CHARACTERS = 4_000_000
SHOWN_FAILURES = 20
POSITION_BITS = 40
LOSS_FLAGS = ("weight", "train", "loss", "label", "loss_weight")


class MismatchError(Exception):
    """A document is not what transformers says it should be."""


@dataclass(frozen=True, eq=False)
class Document:
    """A stored document beside its record's text.

    `text[edges[2k]:edges[2k + 1]]` is the query of turn k and `text[edges[2k + 1]:edges[2k + 2]]` its answer;
    `token_edges` says the same of the ids.
    """

    source: str
    ids: list[int]
    token_edges: list[int]
    text: str
    edges: list[int]
    spells_a_token: bool


@dataclass
class Summary:
    """What came of the check."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, str]] = field(default_factory=list)

    def fail(self, source: str, check: str, message: str) -> None:
        self.counts["failures"] += 1
        self.failures.append({"source": source, "check": check, "message": message})


class Reference:
    """transformers' view of one tokenizer and template."""

    def __init__(self, name: str, template: str | None, template_args: dict[str, Any]) -> None:
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(name)
        self._options = {**template_args, "tokenize": False, "chat_template": template}
        self.backend: tokenizers.Tokenizer = self._tokenizer.backend_tokenizer
        content = json.loads(self.backend.to_str())
        self.inner = tokenizers.Tokenizer.from_str(json.dumps(without_prefix(content)))
        self.added = {token["content"]: token for token in content["added_tokens"]}
        self.stops = self._stop_tokens(Path(name) / "generation_config.json")

    def render(self, conversations: list[list[Any]], tools: object, *, prompt: bool) -> list[str]:
        texts = self._tokenizer.apply_chat_template(
            conversations, tools=tools, add_generation_prompt=prompt, **self._options
        )
        return list(texts)

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self.backend.encode_batch_fast(texts, add_special_tokens=False)]

    def encode_segments(self, document: Document) -> list[list[int]]:
        """Ids of every segment, encoded alone: with the blank of a first word only where the text begins."""
        segments = [document.text[start:end] for start, end in pairwise(document.edges)]
        for i, segment in enumerate(segments[1:], start=1):
            stop = next((s for s in self.stops if segments[i - 1].endswith(s)), None)
            if i % 2 == 0 and stop and self.added[stop]["rstrip"]:
                segments[i] = segment.lstrip()
        inner = self.inner.encode_batch_fast(segments, add_special_tokens=False)
        found = [list(encoding.ids) for encoding in inner]
        if not document.text.startswith(tuple(self.added)):
            found[0] = self.backend.encode(segments[0], add_special_tokens=False).ids
        return found

    def token_crosses_edge(self, document: Document) -> bool:
        """Whether a token of the whole text lies on both sides of a segment border."""
        encoding = self.backend.encode(document.text, add_special_tokens=False)
        starts, ends = np.array(encoding.offsets, np.int64).reshape(-1, 2).T
        return any(bool(((starts < edge) & (edge < ends)).any()) for edge in document.edges[1:-1])

    def decode(self, ids: list[list[int]]) -> list[str]:
        return list(self.backend.decode_batch(ids, skip_special_tokens=False))

    def normalise(self, text: str) -> str:
        return str(self.backend.normalizer.normalize_str(text)) if self.backend.normalizer else text

    def _stop_tokens(self, generation_config: Path) -> tuple[str, ...]:
        content = json.loads(generation_config.read_text()) if generation_config.is_file() else {}
        listed = content.get("eos_token_id", [])
        ids = {self._tokenizer.eos_token_id, *(listed if isinstance(listed, list) else [listed])}
        return tuple(token for token, entry in self.added.items() if entry["id"] in ids)


def without_prefix(step: Any) -> Any:
    """A tokenizer's JSON with the blank before the first word switched off."""
    if isinstance(step, list):
        return [without_prefix(part) for part in step if not (isinstance(part, dict) and part.get("type") == "Prepend")]
    if not isinstance(step, dict):
        return step
    changes: dict[str, dict[str, Any]]
    changes = {"Metaspace": {"prepend_scheme": "never"}, "ByteLevel": {"add_prefix_space": False}}
    changed = {**step, **changes.get(step.get("type", ""), {})}
    for key in ("normalizer", "pre_tokenizer", "normalizers", "pretokenizers"):
        if key in changed:
            prepends = isinstance(changed[key], dict) and changed[key]["type"] == "Prepend"
            changed[key] = None if prepends else without_prefix(changed[key])
    return changed


def token_edges(
    types: npt.NDArray[np.uint8], turns: npt.NDArray[np.int32], loss: npt.NDArray[np.uint8], flags: list[bool]
) -> list[int]:
    """Where each query and each answer ends, in tokens; checks that the columns say one thing."""
    count = int(turns[-1]) - int(turns[0]) + 1
    if (np.diff(turns) < 0).any() or (np.diff(turns) > 1).any():
        raise MismatchError("turn ids do not count up one by one")
    starts = np.searchsorted(turns, np.arange(count) + turns[0]).tolist()
    edges = [0]
    for turn, (start, end) in enumerate(zip(starts, [*starts[1:], len(turns)], strict=True)):
        is_answer = types[start:end] == 2
        answer = start + int(np.argmax(is_answer))
        if not is_answer.any() or not is_answer[answer - start :].all():
            raise MismatchError(f"turn {turn} is not one query and then one answer")
        if (types[start:answer] % 2 != 1).any() or loss[start:answer].any():
            raise MismatchError(f"the query of turn {turn} has answer types or targets")
        if (loss[answer:end] != flags[turn]).any():
            raise MismatchError(f"the targets of turn {turn} are not those of its loss flag")
        edges += [answer, end]
    return edges


def text_edges(record: dict[str, Any], answers: list[int], reference: Reference) -> tuple[str, list[int]]:
    """The text up to the end of the last of these answers, and where each query and each answer ends in it."""
    messages, tools = record["messages"], record.get("tools")
    given = reference.render([messages[:k] for k in answers], tools, prompt=True)
    whole = reference.render([messages[: k + 1] for k in answers], tools, prompt=False)
    edges = [0]
    for k, prompt, text in zip(answers, given, whole, strict=True):
        data = (messages[k]["content"] or "").strip()
        at = text.find(data, len(prompt))
        if not text.startswith(prompt) or at < 0:
            raise MismatchError(f"message {k}: the answer does not follow the generation prompt")
        stops = [(text.find(stop, at + len(data)), stop) for stop in reference.stops]
        found = min((place + len(stop) for place, stop in stops if place >= 0), default=at + len(data))
        edges += [len(prompt), found]
    text = whole[-1][: edges[-1]]
    for prompt, part, end in zip(given, whole, edges[2::2], strict=True):
        if not text.startswith(prompt) or not text.startswith(part[:end]):
            raise MismatchError("the template rewrites history, which this script cannot check")
    return text, edges


def answer_indices(messages: list[dict[str, Any]]) -> list[int]:
    """Assistant messages after the first user or tool message."""
    opened = next((i for i, message in enumerate(messages) if message["role"] in ("user", "tool")), len(messages))
    return [i for i, message in enumerate(messages) if message["role"] == "assistant" and i > opened]


def is_trained(message: dict[str, Any]) -> bool:
    return all(message.get(flag) in (None, 1, True) for flag in LOSS_FLAGS)


def join(pack: Any, number: int, record: dict[str, Any], reference: Reference, source: str) -> Document:
    """A stored document beside its record; `--loss last` is not known here."""
    stored = pack.document(number)
    messages = record["messages"]
    answers = answer_indices(messages)
    turns = int(stored.turn_ids[-1]) + 1
    if turns > len(answers):
        raise MismatchError(f"{turns} turns, but the record has {len(answers)} answers")
    flags = [is_trained(messages[k]) for k in answers[:turns]]
    edges = token_edges(stored.segment_type_ids, stored.turn_ids, stored.loss_mask, flags)
    text, bounds = text_edges(record, answers[:turns], reference)
    data = "\0".join(message["content"] or "" for message in messages)
    return Document(
        source=source,
        ids=stored.input_ids.tolist(),
        token_edges=edges,
        text=text,
        edges=bounds,
        spells_a_token=any(token in data for token in reference.added),
    )


def batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents in lists of about `BATCH_CHARACTERS` of text."""
    batch: list[Document] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document.text)
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    yield batch


def check_batch(documents: list[Document], reference: Reference, summary: Summary) -> None:
    check_decoding(documents, check_ids(documents, reference, summary), reference, summary)
    check_answers(documents, reference, summary)


def check_ids(documents: list[Document], reference: Reference, summary: Summary) -> list[list[int]]:
    """Compare ids; returns transformers' ids of each document, as a whole or put together from its segments."""
    expected = reference.encode([document.text for document in documents])
    for i, document in enumerate(documents):
        if document.ids == expected[i]:
            summary.counts["equal"] += 1
            continue
        if document.spells_a_token:
            summary.counts["spells_a_token"] += 1
            expected[i] = document.ids
            continue
        segments = reference.encode_segments(document)
        expected[i] = [token_id for segment in segments for token_id in segment]
        stored = [document.ids[start:end] for start, end in pairwise(document.token_edges)]
        if stored == segments:
            crossing = reference.token_crosses_edge(document)
            summary.counts["differ_at_segment_border" if crossing else "differ_without_crossing"] += 1
        else:
            number = next(k for k, pair in enumerate(zip(stored, segments, strict=True)) if pair[0] != pair[1])
            message = f"segment {number}: {stored[number][:12]} is not {segments[number][:12]}"
            summary.fail(document.source, "ids", message)
    return expected


def check_decoding(
    documents: list[Document], expected: list[list[int]], reference: Reference, summary: Summary
) -> None:
    decoded = reference.decode([document.ids for document in documents])
    for document, text, ids in zip(documents, decoded, expected, strict=True):
        if text == document.text:
            summary.counts["decode_to_text"] += 1
        elif text in (reference.normalise(document.text), *reference.decode([ids])):
            summary.counts["decode_to_normalised_text"] += 1
        else:
            summary.fail(document.source, "decoding", first_difference(text, document.text))


def check_answers(documents: list[Document], reference: Reference, summary: Summary) -> None:
    """Each answer is decoded with the token before it: some decoders strip the blank that a text begins with."""
    texts, ids, before, sources = [], [], [], []
    for document in documents:
        for turn in range(len(document.edges) // 2):
            start, end = document.token_edges[2 * turn + 1 : 2 * turn + 3]
            texts.append(document.text[document.edges[2 * turn + 1] : document.edges[2 * turn + 2]])
            ids.append(document.ids[max(start - 1, 0) : end])
            before.append(document.ids[max(start - 1, 0) : start])
            sources.append(f"{document.source} turn {turn}")
    rows = zip(sources, texts, before, reference.decode(ids), reference.decode(before), strict=True)
    for source, text, held, decoded, prefix in rows:
        summary.counts["answers"] += 1
        if decoded in (prefix + text, prefix + reference.normalise(text)):
            continue
        own = reference.inner.encode(text, add_special_tokens=False).ids
        if decoded == reference.decode([[*held, *own]])[0]:
            summary.counts["answers_normalised"] += 1
        else:
            summary.fail(source, "answers", first_difference(decoded, prefix + text))


def first_difference(found: str, expected: str) -> str:
    pairs = enumerate(zip(found, expected, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(found), len(expected)))
    return f"at character {at}: {found[at : at + 40]!r} is not {expected[at : at + 40]!r}"


def read_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers (from 0) and records; blank lines and lines that are no record are left out."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        for number, line in enumerate(lines):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and isinstance(record.get("messages"), list):
                yield number, record


def documents_of(
    dataset: Any, records: Iterator[tuple[int, dict[str, Any]]], reference: Reference, summary: Summary
) -> Iterator[Document]:
    """The dataset's documents beside their records, in the order of the input."""
    stored: dict[int, list[tuple[Any, int]]] = {}
    for pack in dataset:
        for number, source_id in enumerate(pack.source_ids.tolist()):
            stored.setdefault(source_id & ((1 << POSITION_BITS) - 1), []).append((pack, number))
    with (dataset.directory / "rejected.jsonl").open(encoding="utf-8") as lines:
        rejected = {json.loads(line)["line"] - 1 for line in lines}
    position = -1
    for position, record in records:
        source = dataset.source(position)
        summary.counts["records"] += 1
        places = stored.pop(position, [])
        if position in rejected:
            summary.counts["rejected"] += 1
        if (position in rejected) == bool(places) or len(places) > 1:
            summary.fail(source, "documents", f"{len(places)} documents, rejected: {position in rejected}")
        elif places:
            summary.counts["documents"] += 1
            try:
                document = join(*places[0], record, reference, source)
            except MismatchError as error:
                summary.fail(source, "turns", str(error))
                continue
            missing = len(answer_indices(record["messages"])) - len(document.edges) // 2
            summary.counts["documents_cut_at_a_turn"] += missing > 0
            yield document
    for left in (left for left in stored if left <= position):
        summary.fail(dataset.source(left), "documents", "a document without a record")


def main() -> int:
    parser = argparse.ArgumentParser(description="Check a dataset against transformers.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("input", type=Path)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--chat-template", type=Path)
    parser.add_argument("--limit", type=int, help="check only this many records")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    start = time.perf_counter()
    dataset = ismpack.load(arguments.directory)
    options = dataset.manifest.options
    if len(dataset.manifest.inputs) != 1 or options["date"] or options["default_system"] or options["loss"] != "all":
        parser.error("only a dataset of one input, without --date, --default-system and --loss last, can be checked")
    template = arguments.chat_template.read_text(encoding="utf-8") if arguments.chat_template else None
    reference = Reference(arguments.tokenizer, template, options["template_args"])
    summary = Summary()
    limits = [limit for limit in (arguments.limit, options["limit"]) if limit is not None]
    records = islice(read_records(arguments.input), min(limits, default=None))
    for batch in batches(documents_of(dataset, records, reference, summary)):
        check_batch(batch, reference, summary)
    return report(summary, time.perf_counter() - start, as_json=arguments.json)


def report(summary: Summary, seconds: float, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({**summary.counts, "seconds": round(seconds, 1), "failed": summary.failures}, sort_keys=True))
    else:
        for failure in summary.failures[:SHOWN_FAILURES]:
            print(f"{failure['source']}  [{failure['check']}] {failure['message']}", file=sys.stderr)
        for name, count in sorted(summary.counts.items()):
            print(f"{name.replace('_', ' '):<28} {count:>10,}")
        print(f"{'seconds':<28} {seconds:>10,.1f}")
    return 1 if summary.failures or not summary.counts["documents"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
