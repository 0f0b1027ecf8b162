"""An engine is used only if it gave the reference's ids for nasty texts and for the user's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from ismpack.errors import TokenizerError
from ismpack.options import ConvertOptions, TokenizerEngine
from ismpack.pipeline.engine import choose_engine
from ismpack.pipeline.inputs import input_files
from ismpack.pipeline.plan import Plan, make_plan
from ismpack.pipeline.toolkit import Toolkit, load_setup, make_toolkit
from ismpack.tokenization import NASTY_TEXTS, EncodedTexts, EngineChoice, RunEncoder

CHAT = {"messages": [{"role": "user", "content": "Zwölf Boxkämpfer?"}, {"role": "assistant", "content": "Alle zwölf."}]}


@dataclass(frozen=True)
class Given:
    """Encodes with an engine over a tokenizer of our choice, and remembers what it was asked."""

    asked: list[tuple[str, list[str]]]
    engine: str
    tokenizer_json: str

    def encode(self, engine: str, texts: Sequence[str]) -> Callable[[], EncodedTexts]:
        self.asked.append((engine, list(texts)))
        return lambda: RunEncoder(self.tokenizer_json, self.engine).encode_texts(texts)


def toolkit_of(tokenizer: str, engine: TokenizerEngine) -> Toolkit:
    return make_toolkit(load_setup(ConvertOptions(tokenizer=tokenizer, tokenizer_engine=engine)))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Little text."""
    return plan_of(tmp_path, copies=1)


def plan_of(folder: Path, copies: int) -> Plan:
    path = folder / "chat.jsonl"
    path.write_text((json.dumps(CHAT) + "\n") * copies, encoding="utf-8")
    with input_files([str(path)], None) as (files, spool):
        return make_plan(files, spool)


def choose(toolkit: Toolkit, plan: Plan, given: Given) -> EngineChoice:
    return choose_engine(toolkit, plan, given)


def test_an_equal_engine_is_used(plan: Plan, sample_tokenizer: str) -> None:
    toolkit = toolkit_of(sample_tokenizer, "fastokens")
    given = Given([], "fastokens", toolkit.files.backend_json)
    choice = choose(toolkit, plan, given)
    texts = [*NASTY_TEXTS, "Zwölf Boxkämpfer?", "Alle zwölf."]
    assert given.asked == [("fastokens", texts)]
    assert (choice.name, choice.texts, choice.fallback) == ("fastokens", len(texts), None)
    assert choice.bytes == sum(len(text.encode()) for text in texts)


def without_merges(backend_json: str, *tokens: str) -> str:
    """A tokenizer that never merges to these tokens."""
    content = json.loads(backend_json)
    model = content["model"]
    model["merges"] = [merge for merge in model["merges"] if "".join(merge) not in tokens]
    return json.dumps(content)


def test_an_engine_with_other_ids_is_not_used_and_the_choice_says_why(plan: Plan, sample_tokenizer: str) -> None:
    toolkit = toolkit_of(sample_tokenizer, "fastokens")
    other = without_merges(toolkit.files.backend_json, "th", "in", "er")
    choice = choose(toolkit, plan, Given([], "fastokens", other))
    assert choice.name == "hf"
    assert choice.fallback is not None
    assert choice.fallback.startswith("fastokens is not used: it gives other ids than the tokenizers library for '")


def test_a_difference_in_the_users_own_text_alone_is_found(tmp_path: Path, sample_tokenizer: str) -> None:
    toolkit = toolkit_of(sample_tokenizer, "fastokens")
    words = [token for token in json.loads(toolkit.files.backend_json)["model"]["vocab"] if len(token) > 6]
    word = next(word for word in words if word.isascii() and word.isalpha() and word not in " ".join(NASTY_TEXTS))
    other = without_merges(toolkit.files.backend_json, word)
    engine = Given([], "fastokens", other)
    plain = plan_of(tmp_path, copies=1)
    assert choose(toolkit, plain, engine).name == "fastokens"
    chat = {"messages": [{"role": "user", "content": word}, {"role": "assistant", "content": "Yes."}]}
    path = tmp_path / "word.jsonl"
    path.write_text(json.dumps(chat), encoding="utf-8")
    with input_files([str(path)], None) as (files, spool):
        choice = choose(toolkit, make_plan(files, spool), engine)
    place = len(NASTY_TEXTS)
    assert choice.fallback == (
        f"fastokens is not used: it gives other ids than the tokenizers library for text {place} of {place + 2}"
    )


@pytest.mark.parametrize("requested", ["auto", "fastokens"])
def test_an_engine_that_refuses_the_tokenizer_falls_back_unless_it_was_named(
    tmp_path: Path, sample_tokenizer: str, requested: TokenizerEngine
) -> None:
    toolkit = toolkit_of(sample_tokenizer, requested)
    # gigatoken does not know this tokenizer's way of splitting words.
    given = Given([], "gigatoken", toolkit.files.backend_json)
    plan = plan_of(tmp_path, copies=20_000)
    if requested == "auto":
        choice = choose(toolkit, plan, given)
        assert choice.name == "hf"
        assert choice.fallback is not None
        assert choice.fallback.startswith("fastokens is not used: gigatoken does not take this tokenizer: ")
    else:
        with pytest.raises(TokenizerError) as caught:
            choose(toolkit, plan, given)
        assert caught.value.code == "tokenizer-engine-unfit"


def test_little_text_is_not_worth_a_comparison(plan: Plan, sample_tokenizer: str) -> None:
    given = Given([], "fastokens", "")
    for requested in ("auto", "hf"):
        assert choose(toolkit_of(sample_tokenizer, requested), plan, given) == EngineChoice.reference()
    assert given.asked == []


def test_the_sample_is_taken_from_all_over_the_inputs(
    tmp_path: Path, sample_tokenizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ismpack.pipeline.plan.CHUNK_BYTES", 1000)
    path = tmp_path / "chats.jsonl"
    lines = [
        {"messages": [{"role": "user", "content": f"{i}"}, {"role": "assistant", "content": "y" * 50}]}
        for i in range(320)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    monkeypatch.setattr("ismpack.pipeline.engine._SAMPLE_CHARACTERS", 51)
    toolkit = toolkit_of(sample_tokenizer, "fastokens")
    given = Given([], "fastokens", toolkit.files.backend_json)
    with input_files([str(path)], None) as (files, spool):
        plan = make_plan(files, spool)
        choose(toolkit, plan, given)
    ((_, texts),) = given.asked
    sampled = [int(text) for text in texts[len(NASTY_TEXTS) :] if text.isdigit()]
    assert len(sampled) >= 16
    assert sampled == sorted(sampled)
    assert sampled[0] == 0
    assert sampled[-1] > 280
