"""What loading a tokenizer gives, on tiny tokenizers built here: every fact by hand, every broken file refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from ismpack.errors import TokenizerError
from ismpack.tokenization import ControlToken, load_tokenizer

UNKNOWN = "[UNK]"
CONFIG = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>"}


@pytest.fixture(autouse=True)
def without_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here is the loading itself."""
    monkeypatch.setenv("ISMPACK_CACHE", "")


def letters() -> Tokenizer:
    """`a` to `d` are 0 to 3; then `<end>` 4 and `<think>` 5."""
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "c": 2, "d": 3}, merges=[]))
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.add_tokens([AddedToken("<think>", special=False)])
    return tokenizer


def byte_level() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: k for k, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


def metaspace(scheme: str) -> Tokenizer:
    vocabulary = {UNKNOWN: 0, "▁": 1, "a": 2, "▁a": 3}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("▁", "a")], unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    return tokenizer


def unigram(unk_id: int | None) -> Tokenizer:
    pieces = [("▁", -1.0), ("<?>", 0.0), ("a", -1.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=unk_id, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def word_piece() -> Tokenizer:
    vocabulary = {"[PAD]": 0, UNKNOWN: 1, "a": 2, "##a": 3}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def write(folder: Path, tokenizer: Tokenizer, config: dict[str, Any] | None = None, **files: str) -> str:
    """Save a tokenizer directory; `files` are other files by name, `.json` left out."""
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(CONFIG if config is None else config))
    for name, text in files.items():
        (folder / f"{name}.json").write_text(text)
    return str(folder)


def refusal(name: str) -> TokenizerError:
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer(name)
    return caught.value


# What is in a directory, and in a bare file


def test_a_directory_gives_the_backend_and_all_that_stands_beside_it(tmp_path: Path) -> None:
    generation = '{"eos_token_id": [0, 4], "top_p": 0.9}'
    config = {**CONFIG, "bos_token": "a", "chat_template": "{{ messages }}"}
    files = load_tokenizer(write(tmp_path / "t", letters(), config, generation_config=generation))
    assert json.loads(files.backend_json)["model"]["vocab"] == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert files.chat_templates == {"default": "{{ messages }}"}
    assert files.variables == {"bos_token": "a", "eos_token": "<end>"}
    assert files.eos_ids == (0, 4)
    assert (files.unknown_id, files.largest_id) == (None, 5)
    assert files.generation_config == generation


def test_a_directory_without_extras_gives_empty_facts(tmp_path: Path) -> None:
    config = {"tokenizer_class": "PreTrainedTokenizerFast"}
    files = load_tokenizer(write(tmp_path / "t", letters(), config))
    assert files.chat_templates == {}
    assert files.variables == {}
    assert files.eos_ids == ()
    assert files.generation_config is None


def test_the_sample_tokenizer_has_chatml_tokens_and_two_stops(sample_tokenizer: str) -> None:
    files = load_tokenizer(sample_tokenizer)
    assert {content: (token.id, token.special) for content, token in files.control_tokens.items()} == {
        "<|endoftext|>": (4089, True),
        "<|im_start|>": (4090, True),
        "<|im_end|>": (4091, True),
        "<think>": (4092, False),
        "</think>": (4093, False),
        "<tool_call>": (4094, False),
        "</tool_call>": (4095, False),
    }
    assert files.eos_ids == (4091, 4089)
    assert files.variables == {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    assert (files.unknown_id, files.largest_id) == (None, 4095)
    template = Path(sample_tokenizer, "chat_template.jinja").read_text(encoding="utf-8")
    assert files.chat_templates == {"default": template}


def test_a_bare_tokenizer_json_stands_for_itself(tmp_path: Path) -> None:
    config = {**CONFIG, "bos_token": "<start>", "chat_template": "x"}
    folder = write(tmp_path / "t", letters(), config, generation_config='{"eos_token_id": 5}')
    files = load_tokenizer(f"{folder}/tokenizer.json")
    assert files.backend_json == letters().to_str()
    assert list(files.control_tokens) == ["<end>", "<think>"]
    assert files.chat_templates == {}
    assert files.variables == {}
    assert files.eos_ids == (5,)
    assert files.generation_config == '{"eos_token_id": 5}'


def test_a_bare_file_may_have_any_name_and_nothing_beside_it(tmp_path: Path) -> None:
    letters().save(str(tmp_path / "small.json"))
    files = load_tokenizer(str(tmp_path / "small.json"))
    assert files.eos_ids == ()
    assert files.generation_config is None


def test_a_token_that_only_the_config_names_belongs_to_the_backend(tmp_path: Path) -> None:
    config = {**CONFIG, "bos_token": "<start>"}
    folder = write(tmp_path / "t", letters(), config)
    files = load_tokenizer(folder)
    assert files.control_tokens["<start>"].id == 6
    assert files.largest_id == 6
    assert "<start>" in [token["content"] for token in json.loads(files.backend_json)["added_tokens"]]
    assert "<start>" not in load_tokenizer(f"{folder}/tokenizer.json").control_tokens


def test_templates_of_a_list_in_the_config_are_found_by_name(tmp_path: Path) -> None:
    templates = [{"name": "default", "template": "A"}, {"name": "tool_use", "template": "B"}]
    folder = write(tmp_path / "t", letters(), {**CONFIG, "chat_template": templates})
    assert load_tokenizer(folder).chat_templates == {"default": "A", "tool_use": "B"}


def test_templates_of_files_are_found_by_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "t", letters())
    Path(folder, "chat_template.jinja").write_text("A")
    Path(folder, "additional_chat_templates").mkdir()
    Path(folder, "additional_chat_templates", "tool_use.jinja").write_text("B")
    assert load_tokenizer(folder).chat_templates == {"default": "A", "tool_use": "B"}


def test_a_directory_with_remote_code_is_refused_without_running_it(tmp_path: Path) -> None:
    config = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}
    folder = write(tmp_path / "t", letters(), config)
    Path(folder, "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    assert refusal(folder).code == "tokenizer-invalid"
    assert not (tmp_path / "ran").exists()


# Control tokens, unknown token, largest id


def test_control_tokens_are_all_added_tokens_with_their_flags(tmp_path: Path) -> None:
    tokenizer = letters()
    tokenizer.add_tokens([AddedToken("<l>", lstrip=True), AddedToken("<w>", rstrip=True, single_word=True)])
    tokenizer.save(str(tmp_path / "t.json"))
    plain = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
    added = {**plain, "normalized": True}
    assert load_tokenizer(str(tmp_path / "t.json")).control_tokens == {
        "<end>": ControlToken(content="<end>", id=4, special=True, **plain),
        "<think>": ControlToken(content="<think>", id=5, special=False, **added),
        "<l>": ControlToken(content="<l>", id=6, special=False, **{**added, "lstrip": True}),
        "<w>": ControlToken(content="<w>", id=7, special=False, **{**added, "rstrip": True, "single_word": True}),
    }


@pytest.mark.parametrize(
    ("build", "unknown_id", "largest_id"),
    [
        pytest.param(letters, None, 5, id="BPE without an unknown token"),
        pytest.param(byte_level, None, 255, id="byte-level BPE"),
        pytest.param(lambda: metaspace("first"), 0, 3, id="Metaspace BPE, prefix first"),
        pytest.param(lambda: metaspace("always"), 0, 3, id="Metaspace BPE, prefix always"),
        pytest.param(lambda: unigram(1), 1, 2, id="Unigram"),
        pytest.param(lambda: unigram(None), None, 2, id="Unigram without an unknown token"),
        pytest.param(word_piece, 1, 3, id="WordPiece"),
    ],
)
def test_the_unknown_id_and_the_largest_id_are_the_models(
    build: Callable[[], Tokenizer], unknown_id: int | None, largest_id: int, tmp_path: Path
) -> None:
    folder = write(tmp_path / "t", build(), {"tokenizer_class": "PreTrainedTokenizerFast"})
    for name in (folder, f"{folder}/tokenizer.json"):
        files = load_tokenizer(name)
        assert (files.unknown_id, files.largest_id) == (unknown_id, largest_id)


def test_an_added_token_above_the_vocabulary_has_the_largest_id(tmp_path: Path) -> None:
    tokenizer = unigram(1)
    tokenizer.add_special_tokens(["a", "<far>"])
    tokenizer.save(str(tmp_path / "t.json"))
    files = load_tokenizer(str(tmp_path / "t.json"))
    assert {content: token.id for content, token in files.control_tokens.items()} == {"a": 2, "<far>": 3}
    assert files.largest_id == 3


# generation_config.json


@pytest.mark.parametrize(
    ("generation", "eos_ids"),
    [
        pytest.param('{"eos_token_id": 2}', (2, 4), id="one id"),
        pytest.param('{"eos_token_id": [3, 2]}', (3, 2, 4), id="a list, in its order"),
        pytest.param('{"eos_token_id": [4, 3, 3]}', (4, 3), id="each id once"),
        pytest.param('{"eos_token_id": null}', (4,), id="null"),
        pytest.param('{"eos_token_id": []}', (4,), id="an empty list"),
        pytest.param("{}", (4,), id="no such key"),
    ],
)
def test_the_configs_stop_ids_come_before_the_tokenizers_own(
    generation: str, eos_ids: tuple[int, ...], tmp_path: Path
) -> None:
    assert load_tokenizer(write(tmp_path / "t", letters(), generation_config=generation)).eos_ids == eos_ids


@pytest.mark.parametrize("bare", [False, True], ids=["directory", "bare file"])
@pytest.mark.parametrize(
    "generation",
    [
        pytest.param("{", id="cut off"),
        pytest.param("[]", id="a list"),
        pytest.param("3", id="a number"),
        pytest.param('{"eos_token_id": "4"}', id="text for an id"),
        pytest.param('{"eos_token_id": [4, "4"]}', id="text in the list"),
        pytest.param('{"eos_token_id": [null]}', id="null in the list"),
        pytest.param('{"eos_token_id": true}', id="true for an id"),
        pytest.param('{"eos_token_id": 4.5}', id="a fraction for an id"),
        pytest.param('{"eos_token_id": {"4": 4}}', id="an object for an id"),
    ],
)
def test_a_generation_config_that_names_no_ids_is_refused(generation: str, bare: bool, tmp_path: Path) -> None:
    folder = write(tmp_path / "t", letters(), generation_config=generation)
    error = refusal(f"{folder}/tokenizer.json" if bare else folder)
    assert error.code == "tokenizer-invalid"
    assert "generation_config.json" in error.message


@pytest.mark.parametrize("bare", [False, True], ids=["directory", "bare file"])
def test_a_generation_config_that_is_not_utf8_is_refused(bare: bool, tmp_path: Path) -> None:
    folder = write(tmp_path / "t", letters())
    Path(folder, "generation_config.json").write_bytes(b'{"a": "\xff"}')
    error = refusal(f"{folder}/tokenizer.json" if bare else folder)
    assert error.code == "tokenizer-invalid"
    assert "generation_config.json" in error.message


# What cannot be loaded


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"model": ', id="cut off"),
        pytest.param(b'{"eos_token": "<end>"}', id="another JSON file"),
        pytest.param(b"\xff\xfe\x00", id="not UTF-8"),
        pytest.param(b'{"model": {"type": "Unheard"}}', id="unknown model"),
    ],
)
def test_a_file_that_is_no_tokenizer_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    error = refusal(str(path))
    assert error.code == "tokenizer-invalid"
    assert error.message.startswith(f"{path} is not a tokenizer.json: ")
    assert error.location is not None
    assert error.location.path == str(path)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_directory_with_a_broken_file_is_refused_by_name(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "t", letters())
    Path(folder, name).write_text("{")
    error = refusal(folder)
    assert error.code == "tokenizer-invalid"
    assert error.message.startswith(f"cannot load the tokenizer {folder!r}: ")


def test_a_directory_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    assert refusal(str(tmp_path)).code == "tokenizer-invalid"


@pytest.mark.parametrize("name", ["./missing", "../missing/tokenizer.json", "~/missing", "some/folder/missing"])
def test_a_path_that_does_not_exist_is_never_taken_for_a_hub_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = refusal(name)
    assert str(error) == f"[tokenizer-not-found] there is no tokenizer at {name}"
    assert error.hint == "Give a directory with tokenizer.json, the file itself, or a hub name such as org/model."


def test_an_absolute_path_that_does_not_exist_is_not_found(tmp_path: Path) -> None:
    assert refusal(str(tmp_path / "missing")).code == "tokenizer-not-found"


# The digest


def test_the_digest_is_the_sha256_of_the_backend(tmp_path: Path) -> None:
    letters().save(str(tmp_path / "t.json"))
    expected = hashlib.sha256(letters().to_str().encode()).hexdigest()
    assert load_tokenizer(str(tmp_path / "t.json")).digest == expected


def test_the_digest_does_not_depend_on_the_place_the_spacing_or_the_template(tmp_path: Path) -> None:
    first = write(tmp_path / "first", letters())
    second = write(tmp_path / "second", letters(), {**CONFIG, "chat_template": "x"}, generation_config="{}")
    letters().save(f"{second}/tokenizer.json", pretty=False)
    assert load_tokenizer(first).digest == load_tokenizer(second).digest


def test_the_digest_changes_with_one_added_token_and_with_one_flag(tmp_path: Path) -> None:
    digests = set()
    for number, token in enumerate([AddedToken("<x>"), AddedToken("<y>"), AddedToken("<y>", rstrip=True)]):
        tokenizer = letters()
        tokenizer.add_tokens([token])
        digests.add(load_tokenizer(write(tmp_path / str(number), tokenizer)).digest)
    assert len(digests) == 3


def test_a_post_processor_is_kept_in_the_backend(tmp_path: Path) -> None:
    tokenizer = letters()
    tokenizer.post_processor = processors.TemplateProcessing(single="<end> $A", special_tokens=[("<end>", 4)])
    tokenizer.save(str(tmp_path / "t.json"))
    files = load_tokenizer(str(tmp_path / "t.json"))
    assert json.loads(files.backend_json)["post_processor"]["type"] == "TemplateProcessing"


def test_a_copied_directory_gives_equal_facts(tmp_path: Path, sample_tokenizer: str) -> None:
    shutil.copytree(sample_tokenizer, tmp_path / "copy")
    assert load_tokenizer(str(tmp_path / "copy")) == load_tokenizer(sample_tokenizer)
