"""Every engine gives the ids of the tokenizers library, or is found out."""

# ruff: noqa: S106, S311 - tokens are no secrets here, and chance is the same in every run

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from functools import cache
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from ismpack.errors import CODES
from ismpack.tokenization.encoder import RunEncoder
from ismpack.tokenization.engines import (
    ENGINES,
    NASTY_TEXTS,
    ONE_THREAD,
    EncodedTexts,
    EngineChoice,
    EngineUnfitError,
    candidate,
    first_difference,
    giga_tokens,
    open_engine,
)
from ismpack.tokenization.engines.giga_tokens import GigatokenEngine

TEXT = (
    "the quick brown fox jumps over the lazy dog and then the other dogs in the thing that they thought there was; "
    "don't they'll we've I'm 12345 2024 été naïve 你好世界 привет def f(x):\n    return x + 1\n\n"
)

# Kinds of tokenizers, trained on a few words


def trained(tokenizer: Tokenizer, trainer: trainers.Trainer) -> Tokenizer:
    tokenizer.train_from_iterator([TEXT, *TEXT.split()] * 3, trainer)
    return tokenizer


def byte_level(*first: pre_tokenizers.PreTokenizer, prefix: bool = False) -> Tokenizer:
    """GPT-2's kind."""
    tokenizer = Tokenizer(models.BPE())
    last = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=not first)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*first, last]) if first else last
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    return trained(tokenizer, trainer)


def sentence_piece(
    pre_tokenizer: pre_tokenizers.PreTokenizer | None = None, normalizer: normalizers.Normalizer | None = None
) -> Tokenizer:
    """BPE over characters, with a token for each byte that no character covers."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    trained(tokenizer, trainer)
    content = json.loads(tokenizer.to_str())
    content["pre_tokenizer"] = None
    tokenizer = Tokenizer.from_str(json.dumps(content))
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    return tokenizer


def word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return trained(tokenizer, trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]"], show_progress=False))


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    return trained(tokenizer, trainer)


QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

KINDS: dict[str, Callable[[], Tokenizer]] = {
    "sample": lambda: Tokenizer.from_file(str(ROOT / "sample_data" / "tokenizer" / "tokenizer.json")),
    "gpt2": byte_level,
    "gpt2-prefix": lambda: byte_level(prefix=True),
    "qwen": lambda: byte_level(pre_tokenizers.Split(Regex(QWEN_SPLIT), "isolated")),
    "mistral": lambda: sentence_piece(pre_tokenizers.Metaspace(prepend_scheme="first", split=False)),
    "llama2": lambda: sentence_piece(
        normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    ),
    "gemma": lambda: sentence_piece(normalizer=normalizers.Replace(" ", "▁")),
    "wordpiece": word_piece,
    "unigram": unigram,
}


@cache
def backend(kind: str) -> str:
    return KINDS[kind]().to_str()


@cache
def encoder(kind: str, engine: str = "hf") -> RunEncoder:
    return RunEncoder(backend(kind), engine)


def rows(encoded: EncodedTexts) -> list[list[int]]:
    ids, offsets = encoded
    assert (str(ids.dtype), str(offsets.dtype)) == ("int32", "int64")
    assert (offsets[0], offsets[-1]) == (0, len(ids))
    return [ids[start:end].tolist() for start, end in pairwise(offsets.tolist())]


# The ids are the library's

PROVEN = [
    ("sample", "fastokens"),
    ("gpt2", "fastokens"),
    ("gpt2", "gigatoken"),
    ("gpt2-prefix", "fastokens"),
    ("qwen", "fastokens"),
    ("qwen", "gigatoken"),
    ("mistral", "gigatoken"),
    ("llama2", "gigatoken"),
    ("gemma", "gigatoken"),
]

# Not what is unassigned: there the age of an engine's Unicode tables shows.
CHARACTERS = st.characters(exclude_categories=("Cs", "Cn"))
PIECES = st.one_of(
    st.text(CHARACTERS, max_size=6),
    st.sampled_from([*TEXT.split(), "the ", " the", "'s", "'LL", "▁", "\n\n", "  ", "<0x0A>", "<unk>", "e\u0301", "é"]),
    st.sampled_from(NASTY_TEXTS).filter(
        lambda text: all(unicodedata.category(character) != "Cn" for character in text)
    ),
)
RUNS = st.lists(st.tuples(st.lists(PIECES, max_size=4).map("".join), st.booleans()), max_size=6)


@pytest.mark.parametrize(("kind", "engine"), PROVEN)
@settings(max_examples=60, deadline=None)
@given(RUNS)
def test_an_engine_gives_the_ids_of_the_library(kind: str, engine: str, runs: list[tuple[str, bool]]) -> None:
    texts = [text for text, _ in runs]
    opening = np.array([first for _, first in runs], np.bool_)
    expected = encoder(kind).encode(texts, opening)
    assert rows(encoder(kind, engine).encode(texts, opening)) == rows(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_tried_without_being_asked_for_is_equal_on_the_nasty_texts(kind: str) -> None:
    expected = encoder(kind).encode_texts(NASTY_TEXTS)
    found = encoder(kind, candidate(backend(kind))).encode_texts(NASTY_TEXTS)
    assert first_difference(NASTY_TEXTS, expected, found) is None


@pytest.mark.parametrize("kind", ["mistral", "llama2", "unigram", "gpt2-prefix", "gpt2"])
@settings(max_examples=30, deadline=None)
@given(RUNS)
def test_runs_are_encoded_one_by_one_by_the_tokenizer_for_their_place(kind: str, runs: list[tuple[str, bool]]) -> None:
    texts = [text for text, _ in runs]
    found = encoder(kind).encode(texts, np.array([first for _, first in runs], np.bool_))
    assert rows(found) == [rows(encoder(kind).encode([text], np.array([first])))[0] for text, first in runs]


def test_an_opening_run_keeps_the_blank_before_its_first_word() -> None:
    names = {token_id: token for token, token_id in KINDS["mistral"]().get_vocab().items()}
    for engine in ("hf", "gigatoken"):
        found = rows(encoder("mistral", engine).encode(["the", "the", "é"], np.array([True, False, True])))
        assert [[names[i] for i in row] for row in found] == [["▁the"], ["th", "e"], ["▁", "é"]]


@pytest.mark.parametrize(("kind", "engine"), [("gpt2", "hf"), ("gpt2", "fastokens"), ("mistral", "gigatoken")])
@pytest.mark.parametrize("opening", [True, False])
def test_no_runs_and_empty_runs(kind: str, engine: str, opening: bool) -> None:
    assert rows(encoder(kind, engine).encode([], np.array([], np.bool_))) == []
    assert rows(encoder(kind, engine).encode(["", ""], np.array([opening, False]))) == [[], []]


def test_texts_are_encoded_in_both_places_where_they_differ() -> None:
    texts = ["the", "dog"]
    assert rows(encoder("gpt2").encode_texts(texts)) == rows(encoder("gpt2").encode(texts, np.array([False, False])))
    places = np.array([False, False, True, True])
    assert rows(encoder("mistral").encode_texts(texts)) == rows(encoder("mistral").encode(texts * 2, places))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_encoder_tells_its_engine(engine: str) -> None:
    package = "tokenizers" if engine == "hf" else engine
    found = encoder("gpt2", engine).engine
    assert (found.name, found.version) == (engine, metadata.version(package))


# A difference is found


@pytest.mark.parametrize(
    ("kind", "engine", "pairs"),
    [
        ("gpt2", "fastokens", (["th", "e"], ["Ġ", "th"])),  # " the": "Ġ the", and now "Ġth e"
        ("mistral", "gigatoken", (["t", "h"], ["e", "r"])),
    ],
)
def test_an_engine_that_merges_in_another_order_is_found_out(
    kind: str, engine: str, pairs: tuple[list[str], list[str]]
) -> None:
    content = json.loads(backend(kind))
    merges = content["model"]["merges"]
    first, second = map(merges.index, pairs)
    merges[first], merges[second] = merges[second], merges[first]
    expected = encoder(kind).encode_texts(NASTY_TEXTS)
    found = RunEncoder(json.dumps(content), engine).encode_texts(NASTY_TEXTS)
    reason = first_difference(NASTY_TEXTS, expected, found)
    assert reason is not None
    assert reason.startswith("it gives other ids than the tokenizers library for '")


def test_an_engine_that_differs_for_opening_runs_alone_is_found_out() -> None:
    content = json.loads(backend("mistral"))
    content["pre_tokenizer"]["prepend_scheme"] = "never"
    expected = encoder("mistral").encode_texts(["the", "dog"])
    inner = RunEncoder(json.dumps(content), "gigatoken").encode(["the", "dog"] * 2, np.zeros(4, np.bool_))
    assert first_difference(["the", "dog"], expected, inner) == (
        "it gives other ids than the tokenizers library for text 0 of 2"
    )


def made(*ids_of_texts: list[int]) -> EncodedTexts:
    lengths = np.array([len(ids) for ids in ids_of_texts], np.int64)
    flat = np.array([i for ids in ids_of_texts for i in ids], np.int32)
    return flat, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


@pytest.mark.parametrize(
    ("expected", "found", "text"),
    [
        ([[1], [2, 3], [4]], [[1], [2, 3], [4]], None),
        ([[1], [2, 3], [4]], [[1], [2, 5], [4]], 1),
        ([[1], [2, 3], [4]], [[1], [2, 3], []], 2),
        ([[1], [2, 3], [4]], [[1, 2], [3], [4]], 0),
        ([[], [], [4]], [[], [4], []], 1),
        ([[1], [], [4]], [[1], [], [5]], 2),
        ([[1], [2], [3]], [[], [], []], 0),
        ([[], [], []], [[], [], [1]], 2),
        # two rows for each text
        ([[1], [2], [3]] * 2, [[1], [2], [3], [1], [7], [3]], 1),
    ],
)
def test_the_first_text_with_other_ids_is_named(
    expected: list[list[int]], found: list[list[int]], text: int | None
) -> None:
    reason = text if text is None else f"it gives other ids than the tokenizers library for text {text} of 3"
    assert first_difference(["x1y", "x2y", "x3y"], made(*expected), made(*found)) == reason


def test_only_texts_of_ours_are_quoted() -> None:
    ours = "  leading and trailing  "
    for text, words in ((ours, repr(ours)), ("\n" * 200, repr("\n" * 40) + "..."), ("my secret", "text 1 of 2")):
        difference = first_difference(["a", text], made([1], [2]), made([1], [3]))
        assert difference == f"it gives other ids than the tokenizers library for {words}"


ROWS = st.lists(st.lists(st.integers(0, 2), max_size=2), min_size=4, max_size=4)


@given(ROWS, ROWS)
def test_the_first_different_text_is_what_a_loop_finds(expected: list[list[int]], found: list[list[int]]) -> None:
    places = [i for i, (a, b) in enumerate(zip(expected, found, strict=True)) if a != b]
    texts = ["w0", "w1", "w2", "w3"]
    reason = first_difference(texts, made(*expected), made(*found))
    assert reason == (f"it gives other ids than the tokenizers library for text {places[0]} of 4" if places else None)


# The nasty texts


def test_the_nasty_texts_are_many_and_short() -> None:
    assert len(set(NASTY_TEXTS)) == len(NASTY_TEXTS)
    assert 300 <= len(NASTY_TEXTS) <= 600
    assert sum(len(text.encode()) for text in NASTY_TEXTS) < 50_000


def test_the_nasty_texts_hold_every_category_and_every_byte() -> None:
    everything = "".join(NASTY_TEXTS)
    categories = {unicodedata.category(chr(code)) for code in range(sys.maxunicode + 1)}
    assert {unicodedata.category(character) for character in everything} == categories - {"Cs"}
    never_in_utf8 = {0xC0, 0xC1, *range(0xF5, 0x100)}
    assert set(everything.encode()) == set(range(0x100)) - never_in_utf8


def test_the_nasty_texts_hold_what_they_promise() -> None:
    everything = "\x00".join(NASTY_TEXTS)
    for wanted in ("\r\n", " " * 200, "\n" * 200, "9" * 200, "\u0301" * 200, "'S", "’ll", "\ufeff", "\ufffd"):
        assert wanted in everything
    for wanted in ("👩‍👩‍👧‍👦", "각", "한", "مرحبا", "ＡＢＣ", "<|im_end|>", "</s>", "▁", "<0x0A>", "pneumonoultra"):
        assert unicodedata.normalize("NFC", wanted) in unicodedata.normalize("NFC", everything)
    assert "" in NASTY_TEXTS


# Engines that do not fit


@pytest.mark.parametrize(
    ("kind", "engine", "reason"),
    [
        ("wordpiece", "fastokens", "fastokens does not take this tokenizer: normalizer error: unsupported normalizer"),
        ("wordpiece", "gigatoken", 'gigatoken does not take this tokenizer: Unsupported model type "WordPiece"'),
        ("unigram", "fastokens", "fastokens does not take this tokenizer: "),
        ("unigram", "gigatoken", 'gigatoken does not take this tokenizer: Unsupported model type "Unigram"'),
        ("mistral", "fastokens", "fastokens does not take this tokenizer: pre-tokenizer error: unsupported"),
        ("sample", "gigatoken", "gigatoken does not take this tokenizer: Unknown pre_tokenizer Split regexes"),
    ],
)
def test_a_tokenizer_that_an_engine_does_not_know(kind: str, engine: str, reason: str) -> None:
    with pytest.raises(EngineUnfitError) as caught:
        RunEncoder(backend(kind), engine)
    assert caught.value.message.startswith(reason)
    assert "\n" not in caught.value.message
    assert caught.value.code in CODES


@pytest.mark.parametrize("engine", ["fastokens", "gigatoken"])
def test_an_engine_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    monkeypatch.setitem(sys.modules, engine, None)
    monkeypatch.setitem(sys.modules, "gigatoken.gigatoken_rs", None)
    with pytest.raises(EngineUnfitError, match=f"^.tokenizer-engine-unfit. the package {engine} cannot be imported: "):
        open_engine(engine, backend("gpt2"))
    assert candidate(backend("gpt2" if engine == "fastokens" else "mistral")) == "hf"


def without_a_byte() -> str:
    """A byte-level vocabulary that lacks the letter z; the library leaves it out."""
    content = json.loads(backend("gpt2"))
    tokens = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - {"z"})
    content["model"]["merges"] = [["a", "b"]]
    content["model"]["vocab"] = {token: i for i, token in enumerate([*tokens, "ab"])}
    return json.dumps(content)


def test_a_text_that_an_engine_cannot_encode() -> None:
    json_text = without_a_byte()
    inner = np.array([False])
    assert rows(RunEncoder(json_text).encode(["azb"], inner)) == rows(RunEncoder(json_text).encode(["ab"], inner))
    with pytest.raises(EngineUnfitError, match="fastokens cannot encode a text: model error: byte 0x7a has no token"):
        RunEncoder(json_text, "fastokens").encode(["azb"], inner)
    with pytest.raises(EngineUnfitError):
        RunEncoder(json_text, "fastokens").encode_texts(NASTY_TEXTS)


def test_the_error_comes_back_from_another_process() -> None:
    error = pickle.loads(pickle.dumps(EngineUnfitError("it does not fit")))  # noqa: S301 - our own bytes
    assert (type(error), error.message, error.code) == (EngineUnfitError, "it does not fit", "tokenizer-engine-unfit")
    assert "--tokenizer-engine hf" in error.hint


# What is tried


@pytest.mark.parametrize(
    ("kind", "engine"),
    [
        ("sample", "fastokens"),
        ("gpt2", "fastokens"),
        ("gpt2-prefix", "fastokens"),
        ("qwen", "fastokens"),
        ("mistral", "gigatoken"),
        ("llama2", "gigatoken"),
        ("gemma", "gigatoken"),
        ("wordpiece", "hf"),
        ("unigram", "hf"),
    ],
)
def test_the_engine_that_is_tried_for_each_kind(kind: str, engine: str) -> None:
    assert candidate(backend(kind)) == engine


def test_byte_tokens_make_the_difference_for_other_bpe() -> None:
    for step in (None, pre_tokenizers.Split(" ", "merged_with_previous"), pre_tokenizers.Metaspace()):
        for byte_fallback, engine in ((True, "gigatoken"), (False, "hf")):
            tokenizer = Tokenizer(models.BPE({"a": 0}, [], byte_fallback=byte_fallback))
            if step:
                tokenizer.pre_tokenizer = step
            assert candidate(tokenizer.to_str()) == engine


def test_the_choice_says_what_was_compared() -> None:
    texts = ["é", "", "ab"]
    reference = metadata.version("tokenizers")
    assert EngineChoice.reference() == EngineChoice(name="hf", version=reference)
    assert EngineChoice.compared("fastokens", texts, None) == EngineChoice(
        name="fastokens", version=metadata.version("fastokens"), texts=3, bytes=4
    )
    assert EngineChoice.compared("gigatoken", texts, "no") == EngineChoice(
        name="hf", version=reference, texts=3, bytes=4, fallback="gigatoken is not used: no"
    )


# Memory and threads


def random_words(seed: int, size: int) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz  ", k=200)) for _ in range(size // 200)]


def test_a_tokenizer_that_has_grown_is_made_anew_and_gives_the_same_ids() -> None:
    renewed = GigatokenEngine(backend("gpt2"), max_growth=4 << 20)
    kept = GigatokenEngine(backend("gpt2"))
    reference = open_engine("hf", backend("gpt2"))
    for seed in range(8):
        texts = random_words(seed, 400_000)
        ids, offsets = renewed.encode(texts)
        for other in (kept, reference):
            expected = other.encode(texts)
            assert np.array_equal(ids, expected[0])
            assert np.array_equal(offsets, expected[1])
    assert renewed.renewals >= 1
    assert kept.renewals == 0


def test_where_memory_cannot_be_read_the_volume_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(giga_tokens, "_STATM", tmp_path / "no such file")
    engine = GigatokenEngine(backend("gpt2"), max_blind=10)
    counts = []
    for text in ("the fox", "dog", "dog", "dogs and foxes", ""):
        engine.encode([text])
        counts.append(engine.renewals)
    assert counts == [0, 0, 1, 2, 2]  # 7, 10, 13 > 10, 14 > 10, 0 characters


def test_nothing_is_made_anew_for_batches_that_leave_nothing_behind() -> None:
    engine = GigatokenEngine(json.dumps(json.loads(backend("mistral")) | {"added_tokens": []}), -1, -1)
    engine.encode(["the fox"])
    assert engine.renewals == 0


_COUNT_THREADS = """
import os, sys
import pyarrow  # it has a thread, and gigatoken imports it
from ismpack.tokenization.encoder import RunEncoder
encoder = RunEncoder(sys.stdin.read(), sys.argv[1])
before = len(os.listdir("/proc/self/task"))
encoder.encode_texts(["the quick brown fox"] * 5000)
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.parametrize(("kind", "engine"), [("gpt2", "hf"), ("gpt2", "fastokens"), ("mistral", "gigatoken")])
def test_one_thread_is_enough(kind: str, engine: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _COUNT_THREADS, engine],
        input=backend(kind),
        env=os.environ | ONE_THREAD,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "0"


def test_the_optional_packages_are_not_imported_before_they_are_used() -> None:
    code = "import sys, ismpack.tokenization; print(sorted({'fastokens', 'gigatoken', 'awkward'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
