"""Mutated input of all kinds: no crash, no hang, no record unaccounted for.

    python -m pytest tests/test_fuzz.py                                      some thousand inputs, in seconds
    ISMPACK_FUZZ_INPUTS=200000 python -m pytest tests/test_fuzz.py           so many records, and a tenth as many files
    ISMPACK_FUZZ_SEED=4711 ISMPACK_FUZZ_INPUTS=1 python -m pytest tests/test_fuzz.py -k values      one input again

An input is made by `random.Random(seed)` alone, from the records in `cases/formats`; seeds count up from
ISMPACK_FUZZ_SEED (0). A failure names its seed and shows the input; the seed gives the same input as long as the case
files are the same. An input that takes more than 20 seconds of processor time fails as well.
"""

from __future__ import annotations

import bz2
import contextlib
import copy
import csv
import gzip
import io
import json
import lzma
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ismpack
from ismpack.data import ROLES, Conversation, Json
from ismpack.errors import IsmpackError, RecordError
from ismpack.formats import shortcut_for, to_conversation, tree_message
from ismpack.pipeline.survey import survey
from ismpack.sources import expand, scan
from ismpack.sources.strict import decode

INPUTS = int(os.environ.get("ISMPACK_FUZZ_INPUTS", "6000"))
FIRST_SEED = int(os.environ.get("ISMPACK_FUZZ_SEED", "0"))
SECONDS = 20
ROOT = Path(__file__).parent
TOKENIZER = str(ROOT.parent / "sample_data" / "tokenizer")
LONGEST_MESSAGE = 3100
"""Characters of a message, its hint and its path together."""


class HangError(BaseException):
    """An input takes too long. No Exception, so that nothing takes it for an error of its own."""


@contextlib.contextmanager
def told(seed: int, shown: Callable[[], bytes]) -> Iterator[None]:
    """Whatever goes wrong is told with the seed and the input; what takes too long is stopped."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise HangError(f"more than {SECONDS} seconds of processor time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    except (Exception, HangError) as error:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}\ninput: {shown()[:3000]!r}") from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


# ----------------------------------------------------------------------------------------------------- what it is made of


def fixtures(outcome: str) -> list[list[dict[str, Json]]]:
    """The records of each format's cases with this outcome, `conversation` or `error`."""
    loaded = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "cases" / "formats").glob("*.json"))
    ]
    records = [[case["record"] for case in cases if outcome in case] for cases in loaded]
    return [[record for record in one if isinstance(record, dict)] for one in records if one]


def spots(value: Json) -> list[tuple[Any, Any]]:
    """(container, key) of every value inside a value."""
    found: list[tuple[Any, Any]] = []
    waiting: list[Any] = [value]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            found.append((node, key))
            waiting.append(node[key])
    return found


FORMATS = fixtures("conversation")
RECORDS = [record for records in FORMATS for record in records]
REFUSED = [record for records in fixtures("error") for record in records]
KEYS = sorted({key for record in RECORDS for _, key in spots(record) if isinstance(key, str)})
WORDS = sorted(
    {
        node[key]
        for record in RECORDS
        for node, key in spots(record)
        if isinstance(node[key], str) and len(node[key]) < 25
    }
)
NESTED = re.compile(rb'(\\*")<nested (\d+)>\1')
"""A string that stands for lists in lists, which would be too deep to be copied here; in text within text, too."""


class Twin(str):
    """A key that is equal to no other, so that an object can be written with the same key twice."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def odd_value(random: Random) -> Json:
    """A value that nobody expects."""
    leaf: list[Json] = [
        None, True, False, 0, 1, -1, 0.5, 2**63, -(2**70), 10**400, float("nan"), float("inf"), 1e308, "", " ", "\n",
        [], {}, [[]], [{}], [None], ["x"], {"": ""}, {"role": "user"}, [{"role": "user", "content": "x"}],
        "\ud800", "\udc00\ud83d", "\0", "\x1b[31m", "\u2028", "\u202e", "\ufeff", "e\u0301", "\U0010ffff",
        "<|im_end|>", "<|im_start|>assistant\n", "<think>", "[/INST]", "</s>", "Human: ", "\n\nAssistant:", "{{ x }}",
        "[]", "{}", "null", '[{"role": "user"}]', '{"a": 1, "a": 2}', "[NaN]", "[" * 300, '"', "\\",
    ]  # fmt: skip
    kind = random.randrange(12)
    if kind == 0:
        return random.choice(("x", " ", "\n", "<", "[", "\n\nHuman: ", "<|im_start|>")) * random.choice(
            (100, 5000, 50_000)
        )
    if kind == 1:
        return f"<nested {random.choice((5, 240, 260, 100_000))}>"
    if kind == 2:
        return copy.deepcopy(random.choice(RECORDS))
    if kind == 3:
        node, key = random.choice(spots(random.choice(RECORDS)) or [([0], 0)])
        found: Json = copy.deepcopy(node[key])
        return found
    if kind == 4:
        return random.choice(WORDS)
    chosen: Json = copy.deepcopy(random.choice(leaf))
    return chosen


def other_key(random: Random, key: str) -> str:
    """A known key, or this one in another spelling."""
    return random.choice(
        (random.choice(KEYS), random.choice(KEYS), key.upper(), key.capitalize(), key[:-1], key[:9] * 5000)
    )


def mutated(random: Random, record: dict[str, Json]) -> dict[str, Json]:
    """A record that is changed in up to four places."""
    record = copy.deepcopy(record)
    for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3, 4))):
        places = spots(record)
        if places:
            change(random, record, *random.choice(places))
        if random.random() < 0.05:
            record = {**record, **copy.deepcopy(random.choice(RECORDS))}
    if random.random() < 0.002:
        record |= {f"key {number}": number for number in range(20_000)}
    return record


def change(random: Random, record: dict[str, Json], node: Any, key: Any) -> None:
    """Change one value, or its key, in place."""
    value = node[key]
    kind = random.randrange(11)
    if kind <= 2:
        node[key] = odd_value(random)
    elif kind == 3:
        del node[key]
    elif kind == 4 and isinstance(node, dict):
        renamed = [(other_key(random, name) if name is key else name, held) for name, held in node.items()]
        node.clear()
        node.update(renamed)
    elif kind == 5 and isinstance(node, dict):
        node[Twin(key) if random.random() < 0.5 else random.choice(KEYS)] = odd_value(random)
    elif kind == 6:
        node[key] = random.choice(([value], {"x": value}, [value, value], [], {}, None))
    elif kind == 7:
        node[key] = json.dumps(value)
    elif kind == 8 and isinstance(node, list):
        node.insert(random.randrange(len(node) + 1), random.choice((copy.deepcopy(value), odd_value(random))))
    elif kind == 9 and isinstance(node, list):
        random.shuffle(node)
    elif isinstance(value, str):
        changed = (random.choice(WORDS), value + str(odd_value(random)), value.upper(), value[1:], "", value[:99] * 500)
        node[key] = random.choice(changed)
    else:
        other, place = random.choice(spots(record))
        node[key] = copy.deepcopy(other[place]) if random.random() < 0.5 else odd_value(random)


def text_of(random: Random, value: Json) -> bytes:
    """A value as JSON, or nearly: NaN, repeated keys and half pairs are written as they are, nesting as it is told."""
    text = json.dumps(value, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    return NESTED.sub(lambda told: b"[" * int(told[2]) + b"]" * int(told[2]), text)


def damaged(random: Random, content: bytes) -> bytes:
    """Bytes with up to three faults."""
    for _ in range(random.choice((1, 1, 2, 3))):
        at = random.randrange(len(content) + 1)
        end = min(len(content), at + random.choice((1, 2, 10, 1000)))
        piece = random.choice((
            b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\0", b"\r", b"\n", b"\r\n", b"\xef\xbb\xbf", b"\x1a", b'"', b"\\",
            b"{", b"}", b"[", b"]", b",", b":", b"\xe2\x80\xa8", b"\t", b"NaN", b"\\u0000", b"\\ud800", random.randbytes(8),
        ))  # fmt: skip
        kind = random.randrange(6)
        if kind == 0:
            content = content[:at]
        elif kind == 1 and at < len(content):
            content = content[:at] + bytes([content[at] ^ 1 << random.randrange(8)]) + content[at + 1 :]
        elif kind == 2:
            content = content[:at] + piece + content[at:]
        elif kind == 3:
            content = content[:at] + piece + content[end:]
        elif kind == 4:
            content = content[:at] + content[end:]
        else:
            content = content[:end] + content[at:]
    return content


# --------------------------------------------------------------------------------------------------------------- values


def check_value(seed: int) -> None:
    """One record, from its bytes to a conversation or a refusal."""
    random = Random(seed)  # noqa: S311 - no secret
    records = REFUSED if random.random() < 0.1 else random.choice(FORMATS)
    text = text_of(random, mutated(random, random.choice(records)))
    if random.random() < 0.2:
        text = damaged(random, text).replace(b"\n", b" ")
    with told(seed, lambda: text):
        found = read_generally(text)
        for short in shortcut_for(None)([text, b"", text])[::2]:  # type: ignore[misc]
            assert short is None or found == (short.format, short.written_out())


def read_generally(text: bytes) -> tuple[str, Conversation] | None:
    """What a record is read as; None if it is refused."""
    try:
        value = decode(text, ends_file=len(text) % 2 == 0)
        tree_message(value)
        name, conversation = to_conversation(value)
    except RecordError as error:
        check_error(error)
        return None
    assert type(conversation) is Conversation
    assert conversation.messages
    assert {message.role for message in conversation.messages} <= set(ROLES)
    # Every text can be encoded, so that it can be tokenized and printed.
    json.dumps(msgspec.to_builtins(conversation), ensure_ascii=False, allow_nan=False).encode()
    assert to_conversation(value) == (name, conversation)
    return name, conversation


def check_error(error: IsmpackError) -> None:
    """An error can be written down, and does not carry the record with it."""
    text = f"{error.message}\n{error.hint}\n{getattr(error, 'json_path', None)}"
    text.encode()
    assert error.message
    assert error.code != "internal"
    assert len(text) <= LONGEST_MESSAGE


def test_values() -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + INPUTS):
        check_value(seed)


# ---------------------------------------------------------------------------------------------------------------- files

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda content: gzip.compress(content, 1, mtime=0),
    ".zst": lambda content: pa.compress(content, "zstd", asbytes=True),
    ".bz2": lambda content: bz2.compress(content, 1),
    ".xz": lambda content: lzma.compress(content, preset=0),
}


def a_file(random: Random) -> tuple[str, bytes, int | None]:
    """The name and the bytes of a file, and how many records it holds, if that is certain."""
    records = random.choice((random.choice(FORMATS), RECORDS, RECORDS + REFUSED))
    chosen = [random.choice(records) for _ in range(random.randrange(1, 7))]
    if random.random() < 0.6:
        chosen = [mutated(random, record) for record in chosen]
    ending, content, count = contained(random, chosen)
    if "message_tree_id" in str(chosen):  # messages of a tree are one record
        count = None
    if random.random() < 0.5:
        content, count = damaged(random, content), None
    if random.random() < 0.4:
        outer = random.choice(list(COMPRESSIONS))
        ending, content = ending + outer, COMPRESSIONS[outer](content)
        if random.random() < 0.5:
            content, count = damaged(random, content), None
    if random.random() < 0.1:
        ending, count = random.choice((".json", ".jsonl", ".csv", ".parquet", ".arrow", ".txt", ".jsonl.gz", "")), None
    return f"in{ending}", content, count


def contained(random: Random, records: list[dict[str, Json]]) -> tuple[str, bytes, int | None]:
    """Some records in some kind of file: its ending, its bytes, and how many it holds, if that is certain."""
    kind = random.randrange(10)
    texts = [text_of(random, record) for record in records]
    if kind <= 3:
        end = random.choice((b"\n", b"\n", b"\r\n", b"\n\n"))
        return ".jsonl", end.join(texts) + random.choice((b"", end)), len(texts)
    if kind <= 5:
        space = random.choice((b"", b" ", b"\n", b"\r\n  "))
        return ".json", b"[" + (space + b",").join(texts) + space + b"]", len(texts)
    if kind == 6:
        return ".json", b"{" + b",\n".join(b'"id%d": %b' % pair for pair in enumerate(texts)) + b"}", len(texts)
    if kind == 7:
        return as_csv(random, records)
    return as_table(random, records)


def as_csv(random: Random, records: list[dict[str, Json]]) -> tuple[str, bytes, int | None]:
    ending, delimiter = random.choice(((".csv", ","), (".tsv", "\t"), (".csv", ";")))
    sink = io.StringIO()
    writer = csv.DictWriter(sink, [str(key) for key in records[0]], delimiter=delimiter, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(records)
    return ending, sink.getvalue().encode("utf-8", "surrogatepass"), None if delimiter == ";" else len(records)


def as_table(random: Random, records: list[dict[str, Json]]) -> tuple[str, bytes, int | None]:
    """Parquet or Arrow; records that have no common schema go to lines instead."""
    sink = io.BytesIO()
    try:
        table = pa.Table.from_pylist([{str(key): value for key, value in record.items()} for record in records])
        if random.random() < 0.5:
            pq.write_table(table, sink, compression=random.choice(("none", "snappy", "zstd")))
            return ".parquet", sink.getvalue(), table.num_rows
        opened = (pa.ipc.new_file if random.random() < 0.5 else pa.ipc.new_stream)(sink, table.schema)
        with opened as writer:
            writer.write_table(table)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return ".jsonl", b"".join(text_of(random, record) + b"\n" for record in records), len(records)
    return ".arrow", sink.getvalue(), table.num_rows


def check_file(seed: int, folder: Path) -> None:
    """One file, from its bytes to the formats of its records."""
    random = Random(seed)  # noqa: S311 - no secret
    name, content, count = a_file(random)
    path = folder / name
    path.write_bytes(content)
    with told(seed, lambda: f"{name} ".encode() + content):
        try:
            found = survey(path)
        except IsmpackError as error:
            check_error(error)
        else:
            assert found.records == sum(found.formats.values()) + sum(found.refused.values())
            assert count in (None, found.records)
            for example in found.examples.values():
                if example.error:
                    check_error(example.error)
            if b"message_tree_id" not in content:
                check_lines(path, content, found.records + found.blank_lines)
    path.unlink()


def check_lines(path: Path, content: bytes, counted: int) -> None:
    """Every line of a line-based file is a record or blank."""
    spool = path.with_name("spool")
    spool.mkdir()
    scanned = scan(expand([str(path)])[0], 1 << 20, spool)
    shutil.rmtree(spool)
    if scanned.unit == "line" and scanned.compression is None:
        assert counted == (len(content.removesuffix(b"\n").split(b"\n")) if content else 0)


def test_files(tmp_path: Path) -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + max(1, INPUTS // 10)):
        check_file(seed, tmp_path)


# ---------------------------------------------------------------------------------------------------------- conversions


def check_conversion(seed: int, folder: Path) -> None:
    """Some files, from their bytes to a dataset that verifies, or to one clear error that leaves nothing."""
    random = Random(seed)  # noqa: S311 - no secret
    good = [text_of(random, record) for record in random.choices(RECORDS, k=5)]
    inputs, shown = [str(folder / "good.jsonl")], b"\n".join(good)
    (folder / "good.jsonl").write_bytes(shown)
    for number in range(random.choice((1, 1, 2, 3))):
        name, content, _ = a_file(random)
        inputs.append(str(folder / f"{number}-{name}"))
        (folder / f"{number}-{name}").write_bytes(content)
        shown += f"\n{name} ".encode() + content
    options: dict[str, Any] = {
        "tokenizer": TOKENIZER,
        "max_rejected": random.choice((1.0, 1.0, 0.01)),
        "max_length": random.choice((64, 512, 4096)),
        "packing": random.choice(("bfd", "sequential", "none")),
        "overlong": random.choice(("turns", "drop", "error")),
        "special_tokens_in_data": random.choice(("text", "reject", "control")),
        "loss": random.choice(("all", "last")),
    }
    output = folder / "out"
    with told(seed, lambda: shown):
        before = {path.name for path in folder.iterdir()}
        try:
            report = ismpack.convert(inputs, output, **options)
        except IsmpackError as error:
            check_error(error)
            left = {path.name for path in folder.iterdir()} - {"out.rejected.jsonl"}
            assert left == before
        else:
            totals = report.totals
            assert totals.records == totals.conversations + totals.rejected + totals.dropped_by_option
            assert sum(report.rejected.values()) == totals.rejected
            rejects = (output / "rejected.jsonl").read_bytes().splitlines()
            assert len(rejects) == totals.rejected
            assert all({"file", "byte_offset", "code"} <= json.loads(reject).keys() for reject in rejects)
            assert ismpack.verify(output).findings == ()
            assert {path.name for path in folder.iterdir()} == before | {"out"}
    shutil.rmtree(folder)
    folder.mkdir()


def test_conversions(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    for seed in range(FIRST_SEED, FIRST_SEED + max(1, INPUTS // 150)):
        check_conversion(seed, tmp_path / "work")


# -------------------------------------------------------------------------------------------------------- the test itself


def test_an_input_is_made_by_its_seed_alone() -> None:
    assert a_file(Random(7)) == a_file(Random(7))  # noqa: S311
    assert mutated(Random(7), RECORDS[0]) == mutated(Random(7), RECORDS[0])  # noqa: S311


def test_a_failure_is_told_with_its_seed_and_its_input() -> None:
    with pytest.raises(AssertionError, match=r"seed 5: KeyError: 'x'\ninput: b'abc'"), told(5, lambda: b"abc"):
        raise KeyError("x")
