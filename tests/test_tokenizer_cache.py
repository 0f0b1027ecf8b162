"""The cache of tokenizers: a hit is what a miss gives, a change is a miss, and no fault of the cache ends a run.

Nothing stands in for the libraries. For hub names a small server plays the hub, on this machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_loader import CONFIG, byte_level, letters, metaspace, refusal, unigram, word_piece, write
from tokenizers import AddedToken, Tokenizer, processors

from ismpack.errors import TokenizerError
from ismpack.tokenization import TokenizerFiles, cache, load_tokenizer, loader
from ismpack.tokenization.cache import MOST_ENTRIES, cache_folder, file_key, folder_key, through_cache

SUFFIX = ".ismpack-tokenizer"


@pytest.fixture(autouse=True)
def entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, for this test alone."""
    monkeypatch.setenv("ISMPACK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def never(*_: object) -> TokenizerFiles:
    raise AssertionError("this was to come from the cache")


def kept(name: str) -> TokenizerFiles:
    """Load what must be in the cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "_from_file", never)
        patch.setattr(loader, "_from_pretrained", never)
        return load_tokenizer(name)


def is_kept(name: str) -> bool:
    try:
        kept(name)
    except AssertionError:
        return False
    return True


# A hit is what a miss gives


def many_tokens() -> Tokenizer:
    tokenizer = letters()
    tokenizer.add_tokens([AddedToken("<l>", lstrip=True), AddedToken("<w é\U0001f600>", rstrip=True, single_word=True)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<end> $A", special_tokens=[("<end>", 4)])
    return tokenizer


PLAIN = {"tokenizer_class": "PreTrainedTokenizerFast"}
TEMPLATES = [{"name": "tool_use", "template": "{{ 'ü' }}"}, {"name": "default", "template": "A"}]
KINDS: dict[str, tuple[Callable[[], Tokenizer], dict[str, Any], dict[str, str]]] = {
    "BPE": (letters, CONFIG, {}),
    "all facts": (
        many_tokens,
        {**CONFIG, "bos_token": "a", "pad_token": "<end>", "chat_template": TEMPLATES},
        {"generation_config": '{"eos_token_id": [0, 4], "note": "é"}'},
    ),
    "byte-level BPE": (byte_level, PLAIN, {}),
    "Metaspace BPE": (lambda: metaspace("first"), PLAIN, {}),
    "Unigram": (lambda: unigram(1), PLAIN, {}),
    "Unigram without an unknown token": (lambda: unigram(None), PLAIN, {}),
    "WordPiece": (word_piece, PLAIN, {}),
}


@pytest.mark.parametrize("bare", [False, True], ids=["directory", "bare file"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_hit_is_what_a_miss_gives(kind: str, bare: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build, config, others = KINDS[kind]
    folder = write(tmp_path / "t", build(), config, **others)
    name = f"{folder}/tokenizer.json" if bare else folder
    miss, hit = load_tokenizer(name), kept(name)
    monkeypatch.setenv("ISMPACK_CACHE", "")
    without = load_tokenizer(name)
    assert hit == miss == without
    assert repr(hit) == repr(miss) == repr(without)  # the order of mappings and the types inside too


def test_the_sample_tokenizer_comes_from_the_cache_without_transformers(sample_tokenizer: str) -> None:
    code = (
        "import sys\nfrom ismpack.tokenization import load_tokenizer\n"
        f"print(load_tokenizer({sample_tokenizer!r}).digest, 'transformers' in sys.modules)"
    )
    digest = load_tokenizer(sample_tokenizer).digest
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [digest, "False"]


def test_the_digest_stands_without_the_backend_and_through_pickle(tmp_path: Path) -> None:
    letters().save(str(tmp_path / "t.json"))
    load_tokenizer(str(tmp_path / "t.json"))
    light = replace(kept(str(tmp_path / "t.json")), backend_json="")
    assert pickle.loads(pickle.dumps(light)) == light  # noqa: S301 - our own bytes
    assert light.digest == hashlib.sha256(letters().to_str().encode()).hexdigest()


# What decides the key


def copied(folder: Path) -> None:
    folder.rename(folder.parent / "before")
    shutil.copytree(folder.parent / "before", folder, symlinks=True)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def exchange(first: Path, second: Path) -> None:
    one, other = first.read_text(), second.read_text()
    first.write_text(other)
    second.write_text(one)


SAME = ["a second look", "files touched", "copied to the same place"]
CHANGES: dict[str, Callable[[Path], object]] = {
    "a second look": Path.iterdir,
    "files touched": lambda folder: os.utime(folder / "tokenizer.json", (1, 1)),
    "copied to the same place": copied,
    "one flag of tokenizer.json": lambda folder: edit(folder / "tokenizer.json", '"lstrip": false', '"lstrip":  true'),
    "tokenizer_config.json": lambda folder: edit(folder / "tokenizer_config.json", "<end>", "<eod>"),
    "generation_config.json": lambda folder: edit(folder / "generation_config.json", "4", "3"),
    "a new file": lambda folder: (folder / "special_tokens_map.json").write_text("{}"),
    "a file removed": lambda folder: (folder / "generation_config.json").unlink(),
    "a file renamed": lambda folder: (folder / "generation_config.json").rename(folder / "config.json"),
    "a template": lambda folder: edit(folder / "chat_template.jinja", "A", "B"),
    "a named template": lambda folder: edit(folder / "additional_chat_templates" / "tool_use.jinja", "A", "B"),
    "a new named template": lambda folder: (folder / "additional_chat_templates" / "rag.jinja").write_text("C"),
    "the contents of two files exchanged": lambda folder: exchange(
        folder / "chat_template.jinja", folder / "additional_chat_templates" / "tool_use.jinja"
    ),
    "an empty folder": lambda folder: (folder / "tekken.json").mkdir(),
    "the name of a link to nowhere": lambda folder: (folder / "link").rename(folder / "linked"),
    "weights of another size": lambda folder: (folder / "model.safetensors").write_bytes(b"longer"),
    "weights of another date": lambda folder: os.utime(folder / "model.safetensors", (2, 2)),
}


def full_folder(folder: Path) -> Path:
    write(folder, letters(), CONFIG, generation_config='{"eos_token_id": 4}')
    (folder / "chat_template.jinja").write_text("A")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("AA")
    (folder / "model.safetensors").write_bytes(b"weights")
    os.utime(folder / "model.safetensors", (1, 1))
    (folder / "link").symlink_to("nowhere")
    return folder


@pytest.mark.parametrize("change", CHANGES)
def test_the_key_changes_with_whatever_decides_and_with_nothing_else(change: str, tmp_path: Path) -> None:
    folder = full_folder(tmp_path / "t")
    before = folder_key(str(folder))
    assert before is not None
    CHANGES[change](folder)
    assert (folder_key(str(folder)) == before) == (change in SAME)


def test_the_name_that_was_typed_is_part_of_a_folders_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # transformers takes some names for those of models that it knows, wherever the folder lies
    write(tmp_path / "t", letters())
    monkeypatch.chdir(tmp_path)
    assert len({folder_key("t"), folder_key("./t"), folder_key(str(tmp_path / "t"))}) == 3


def test_a_bare_files_key_is_its_content_and_that_of_the_generation_config(tmp_path: Path) -> None:
    letters().save(str(tmp_path / "one.json"))
    shutil.copy(tmp_path / "one.json", tmp_path / "two.json")
    beside = tmp_path / "generation_config.json"
    first = file_key(tmp_path / "one.json", beside)
    assert first == file_key(tmp_path / "two.json", beside)
    beside.write_text("{}")
    with_config = file_key(tmp_path / "one.json", beside)
    beside.write_text("{ }")
    assert len({first, with_config, file_key(tmp_path / "one.json", beside), None}) == 4


def test_a_bare_file_counts_by_its_content_whatever_its_name_and_date(tmp_path: Path) -> None:
    keys = set()
    for text in ("one", "two"):
        (tmp_path / "t.weights").write_text(text)
        os.utime(tmp_path / "t.weights", (1, 1))
        keys.add(file_key(tmp_path / "t.weights", tmp_path / "none"))
    assert len(keys | {None}) == 3


@pytest.mark.parametrize("library", ["transformers", "tokenizers", "mistral-common", "sentencepiece"])
def test_another_version_of_a_library_is_another_key(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "t", letters())
    installed = cache.version
    before = folder_key(folder)
    monkeypatch.setattr(cache, "version", lambda name: "0.0.1" if name == library else installed(name))
    assert folder_key(folder) != before


@pytest.mark.parametrize("name", ["LAYOUT", "__version__"])
def test_another_version_of_ours_is_another_key(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "t", letters())
    before = folder_key(folder)
    monkeypatch.setattr(cache, name, {"LAYOUT": 999, "__version__": "0.0.0"}[name])
    assert folder_key(folder) != before


def test_a_file_that_is_too_large_to_digest_counts_by_size_and_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_LARGE", 10)
    folder = write(tmp_path / "t", letters(), PLAIN)
    before = folder_key(folder)
    edit(Path(folder, "tokenizer.json"), '"a": 0', '"x": 0')
    os.utime(f"{folder}/tokenizer.json", (5, 5))
    dated = folder_key(folder)
    assert dated != before
    edit(Path(folder, "tokenizer.json"), '"x": 0', '"a": 0')
    os.utime(f"{folder}/tokenizer.json", (5, 5))
    assert folder_key(folder) == dated


def test_a_change_of_a_folder_is_seen_by_the_next_load(tmp_path: Path) -> None:
    folder = write(tmp_path / "t", letters(), generation_config='{"eos_token_id": 0}')
    assert load_tokenizer(folder).eos_ids == (0, 4)
    edit(Path(folder, "generation_config.json"), "0", "1")
    assert load_tokenizer(folder).eos_ids == (1, 4)
    edit(Path(folder, "generation_config.json"), "1", "0")
    assert kept(folder).eos_ids == (0, 4)


# What is not kept


def test_a_folder_that_names_files_elsewhere_is_not_kept(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere", letters())
    shutil.copy(f"{elsewhere}/tokenizer.json", f"{elsewhere}/tokenizer.4.0.0.json")
    config = {**CONFIG, "fast_tokenizer_files": ["../elsewhere/tokenizer.4.0.0.json"]}
    folder = write(tmp_path / "t", unigram(1), config)
    assert load_tokenizer(folder).largest_id == 5  # of `letters`; transformers does follow the name
    assert not is_kept(folder)
    assert folder_key(folder) is None


def test_a_refusal_is_not_kept(tmp_path: Path, entries: Path) -> None:
    folder = write(tmp_path / "t", letters(), generation_config='{"eos_token_id": "4"}')
    for name in (folder, f"{folder}/tokenizer.json"):
        for _ in range(2):
            assert refusal(name).code == "tokenizer-invalid"
    assert not entries.exists()
    edit(Path(folder, "generation_config.json"), '"4"', "4")
    assert load_tokenizer(folder).eos_ids == (4,)


def test_what_changes_while_it_is_loaded_is_not_kept(tmp_path: Path, entries: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text("old")

    def load() -> str:
        path.write_text("new")
        return "old"

    assert through_cache(lambda: file_key(path, tmp_path / "none"), load, str) == "old"
    assert not entries.exists()


def test_what_gets_a_key_by_being_loaded_is_kept(entries: Path) -> None:
    keys = iter([None, "k", "k"])
    assert through_cache(lambda: next(keys), lambda: "value", str) == "value"
    assert through_cache(lambda: next(keys), lambda: "not asked", str) == "value"


def test_what_has_no_key_is_loaded_each_time(entries: Path) -> None:
    values = iter(["first", "second"])
    assert [through_cache(lambda: None, lambda: next(values), str) for _ in range(2)] == ["first", "second"]
    assert not entries.exists()


@pytest.mark.parametrize("value", ["half a pair: \ud800", 1 << 64], ids=["a lone surrogate", "an id beyond 64 bits"])
def test_a_value_that_an_entry_cannot_hold_is_given_all_the_same(value: object, entries: Path) -> None:
    for _ in range(2):
        assert through_cache(lambda: "k", lambda: value, object) == value
    assert not entries.exists()


# Where it is


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        pytest.param({"ISMPACK_CACHE": "/c", "XDG_CACHE_HOME": "/x"}, "/c", id="our own variable first"),
        pytest.param({"ISMPACK_CACHE": "rel"}, "rel", id="a relative folder"),
        pytest.param({"ISMPACK_CACHE": "~/c"}, "/home/me/c", id="a tilde"),
        pytest.param({"ISMPACK_CACHE": "", "XDG_CACHE_HOME": "/x"}, None, id="empty is no cache"),
        pytest.param({"XDG_CACHE_HOME": "/x"}, "/x/ismpack", id="XDG"),
        pytest.param({"XDG_CACHE_HOME": "rel"}, "/home/me/.cache/ismpack", id="XDG says that relative paths are void"),
        pytest.param({"XDG_CACHE_HOME": ""}, "/home/me/.cache/ismpack", id="XDG empty"),
        pytest.param({}, "/home/me/.cache/ismpack", id="none"),
        pytest.param({"ISMPACK_CACHE": "~nobody-of-this-name/c"}, None, id="a home that does not exist"),
    ],
)
def test_the_folder_is_the_environments(
    environment: dict[str, str], folder: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ISMPACK_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == (None if folder is None else Path(folder))


def test_an_empty_variable_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISMPACK_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    monkeypatch.chdir(tmp_path)
    letters().save("t.json")
    load_tokenizer("t.json")
    assert not is_kept("t.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.json"]


def test_entries_are_private(entries: Path) -> None:
    mask = os.umask(0)
    try:
        through_cache(lambda: "k", lambda: "v", str)
    finally:
        os.umask(mask)
    assert [path.name for path in entries.iterdir()] == [f"k{SUFFIX}"]
    assert stat.S_IMODE(entries.stat().st_mode) == 0o700
    assert stat.S_IMODE((entries / f"k{SUFFIX}").stat().st_mode) == 0o600


# Damage


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Something like what is kept."""

    text: str
    ids: tuple[int, ...]
    names: Mapping[str, str]
    nothing: int | None


FACTS = st.builds(
    Facts,
    text=st.text(),
    ids=st.lists(st.integers(0, 1 << 24)).map(tuple),
    names=st.dictionaries(st.text(), st.text(), max_size=3),
    nothing=st.none() | st.integers(-1, 1),
)
DAMAGES: dict[str, Callable[[bytes, int], bytes]] = {
    "cut off": lambda entry, at: entry[:at],
    "one bit": lambda entry, at: entry[:at] + bytes([entry[at] ^ 1]) + entry[at + 1 :],
    "something inserted": lambda entry, at: entry[:at] + b"\0" + entry[at:],
    "two halves exchanged": lambda entry, at: entry[at + 1 :] + entry[: at + 1] + b"\n",
}


@settings(max_examples=200, deadline=None)
@given(FACTS, FACTS, st.sampled_from(sorted(DAMAGES)), st.data())
def test_damage_is_a_miss_and_is_repaired(value: Facts, other: Facts, damage: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISMPACK_CACHE", folder)
        path = Path(folder, f"k{SUFFIX}")
        assert through_cache(lambda: "k", lambda: value, Facts) == value
        whole = path.read_bytes()
        assert repr(through_cache(lambda: "k", lambda: other, Facts)) == repr(value)
        path.write_bytes(DAMAGES[damage](whole, data.draw(st.integers(0, len(whole) - 1))))
        assert through_cache(lambda: "k", lambda: other, Facts) == other
        assert through_cache(lambda: "k", lambda: value, Facts) == other
        assert list(Path(folder).iterdir()) == [path]


def test_an_entry_under_the_name_of_another_is_a_miss(entries: Path) -> None:
    through_cache(lambda: "k", lambda: "value", str)
    shutil.copy(entries / f"k{SUFFIX}", entries / f"other{SUFFIX}")
    assert through_cache(lambda: "other", lambda: "right", str) == "right"


def test_an_entry_of_another_kind_is_a_miss(entries: Path) -> None:
    through_cache(lambda: "k", lambda: 3, int)
    assert through_cache(lambda: "k", lambda: "text", str) == "text"
    assert through_cache(lambda: "k", lambda: "not asked", str) == "text"


def test_a_damaged_tokenizer_is_loaded_anew(tmp_path: Path, entries: Path) -> None:
    letters().save(str(tmp_path / "t.json"))
    files = load_tokenizer(str(tmp_path / "t.json"))
    (entry,) = entries.iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(whole[:-1])
    assert not is_kept(str(tmp_path / "t.json"))
    assert load_tokenizer(str(tmp_path / "t.json")) == files
    assert entry.read_bytes() == whole


# A cache that cannot be written


@pytest.mark.parametrize("place", ["a file", "below a file", "a read-only file system", "an entry is a folder"])
def test_a_cache_that_cannot_be_written_fails_no_run(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    folders = {"a file": tmp_path / "file", "below a file": tmp_path / "file" / "c", "an entry is a folder": tmp_path}
    (tmp_path / f"k{SUFFIX}" / "mine").mkdir(parents=True)
    monkeypatch.setenv("ISMPACK_CACHE", str(folders.get(place, Path("/proc/none"))))
    values = iter(["first", "second"])
    assert [through_cache(lambda: "k", lambda: next(values), str) for _ in range(2)] == ["first", "second"]
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", f"k{SUFFIX}"]


# Few entries


def test_the_oldest_entries_go_and_the_users_own_files_stay(entries: Path) -> None:
    entries.mkdir()
    (entries / "mine.json").write_text("mine")
    (entries / f"tmp-of-a-crash{SUFFIX}").write_text("half")
    os.utime(entries / f"tmp-of-a-crash{SUFFIX}", (1, 1))
    for number in range(MOST_ENTRIES):
        through_cache(lambda: str(number), lambda: number, int)  # noqa: B023 - called at once
        os.utime(entries / f"{number}{SUFFIX}", (number + 10, number + 10))
    through_cache(lambda: "0", lambda: 99, int)  # a hit, so it is no longer the oldest
    through_cache(lambda: "new", lambda: 100, int)
    left = {"mine.json", f"0{SUFFIX}", f"new{SUFFIX}", *(f"{number}{SUFFIX}" for number in range(2, MOST_ENTRIES))}
    assert {path.name for path in entries.iterdir()} == left
    assert len(left) == MOST_ENTRIES + 1


# Several processes

RACE = """
import sys
from ismpack.tokenization.cache import through_cache
for number in range(60):
    key = str(number % 3)
    value = through_cache(lambda: key, lambda: key * 300_000, str)
    assert value == key * 300_000
    if number % 5 == int(sys.argv[1]):
        from ismpack.tokenization import cache
        cache._write(cache.cache_folder(), key, key * 300_000)
"""


def test_processes_share_a_cache_without_locks(entries: Path) -> None:
    running = [subprocess.Popen([sys.executable, "-c", RACE, str(number)]) for number in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert sorted(path.name for path in entries.iterdir()) == [f"{number}{SUFFIX}" for number in range(3)]


# Names on the hub

FIRST, SECOND = "a" * 40, "b" * 40

LOAD = """
import json, sys
from ismpack.tokenization import load_tokenizer
for _ in sys.stdin:
    files = load_tokenizer("org/model")
    facts = {"eos": files.eos_ids, "templates": files.chat_templates, "slow": "transformers" in sys.modules}
    print(json.dumps(facts), flush=True)
"""


class Loads:
    """A process that loads org/model whenever it is told to."""

    def __init__(self, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", LOAD],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment},
        )  # fmt: skip

    def __enter__(self) -> Loads:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        assert self._process.returncode == 0

    def load(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("load\n")
        self._process.stdin.flush()
        facts: dict[str, Any] = json.loads(self._process.stdout.readline())
        return facts


def hub_folder(folder: Path, eos_id: int) -> Path:
    """What the repository holds at one revision."""
    write(folder, letters(), generation_config=json.dumps({"eos_token_id": eos_id}))
    (folder / "chat_template.jinja").write_text("A")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("B")
    (folder / "config.json").write_text("{}")
    (folder / "preprocessor_config.json").write_text("{}")  # of no interest here, so never fetched
    (folder / "model.safetensors").write_text("weights")
    return folder


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as loading a tokenizer asks for."""

    folders: dict[str, Path]
    newest: str
    asked: list[str]

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.asked.append(path)
        folder = self.folders[self.newest]
        files = [str(file.relative_to(folder)) for file in sorted(folder.rglob("*")) if file.is_file()]
        if "/tree/" in path:
            start = path.partition("/tree/")[2].partition("/")[2]
            found = [{"type": "file", "path": file, "size": 1, "oid": "0"} for file in files if file.startswith(start)]
            self._send(json.dumps(found).encode())
        elif path == "/api/models/org/model":
            siblings = [{"rfilename": file} for file in files]
            about = {"_id": "0", "id": "org/model", "sha": self.newest, "tags": [], "siblings": siblings}
            self._send(json.dumps(about).encode())
        elif path.startswith("/org/model/resolve/"):
            revision, _, name = path.removeprefix("/org/model/resolve/").partition("/")
            file = self.folders.get(revision, folder) / name
            self._send(file.read_bytes() if file.is_file() else None)
        else:
            self._send(None)

    def _send(self, content: bytes | None) -> None:
        self.send_response(404 if content is None else 200)
        self.send_header("X-Repo-Commit", self.newest)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        else:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content or b"")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    Hub.folders = {FIRST: hub_folder(tmp_path / "first", 0), SECOND: hub_folder(tmp_path / "second", 1)}
    Hub.newest, Hub.asked = FIRST, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    try:
        yield Hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_hub_name_is_checked_against_the_hub_each_time(hub: type[Hub]) -> None:
    first = {"eos": [0, 4], "templates": {"default": "A", "tool_use": "B"}}
    with Loads() as process:
        assert process.load() == {**first, "slow": True}
    with Loads() as process:
        hub.asked.clear()
        assert process.load() == {**first, "slow": False}
        assert hub.asked.count("/api/models/org/model") == 1
        assert not any("/resolve/" in path or "/tree/" in path for path in hub.asked)
        hub.newest = SECOND
        assert process.load() == {**first, "eos": [1, 4], "slow": True}
    with Loads() as process:
        assert process.load() == {**first, "eos": [1, 4], "slow": False}
        hub.newest = FIRST
        assert process.load() == {**first, "slow": False}


def test_offline_a_hub_name_is_the_last_revision_seen(tmp_path: Path) -> None:
    place = tmp_path / "home" / "hub" / "models--org--model"
    for revision, eos_id in ((FIRST, 0), (SECOND, 1)):
        (place / "snapshots").mkdir(parents=True, exist_ok=True)
        hub_folder(place / "snapshots" / revision, eos_id)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(FIRST)
    first = {"eos": [0, 4], "templates": {"default": "A", "tool_use": "B"}}
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    with Loads(**offline) as process:
        assert process.load() == {**first, "slow": True}
        (place / "refs" / "main").write_text(SECOND)
        assert process.load() == {**first, "eos": [1, 4], "slow": True}
    with Loads(**offline) as process:
        assert process.load() == {**first, "eos": [1, 4], "slow": False}
        (place / "refs" / "main").write_text(FIRST)
        assert process.load() == {**first, "slow": False}
        (place / "snapshots" / FIRST / "generation_config.json").unlink()
        assert process.load() == {**first, "eos": [4], "slow": True}


KEYS = """
import sys
from ismpack.tokenization.cache import hub_key
for _ in sys.stdin:
    print(hub_key("org/model"), hub_key("org/none"), flush=True)
"""


def test_a_hub_name_has_a_key_once_all_that_is_read_is_here(hub: type[Hub], tmp_path: Path) -> None:
    here = tmp_path / "home" / "hub" / "models--org--model" / "snapshots" / FIRST
    read = [
        "tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json", "chat_template.jinja",
        "additional_chat_templates/tool_use.jinja",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", KEYS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdin is not None
    assert process.stdout is not None
    keys = []
    for name in [None, *read, "repository without tokenizer.json"]:
        if name in read:
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(hub.folders[FIRST] / name, here / name)
        elif name is not None:
            (hub.folders[FIRST] / "tokenizer.json").unlink()
        process.stdin.write("go\n")
        keys.append(process.stdout.readline().split())
    process.communicate()
    (here.parent.parent / "refs").mkdir()
    (here.parent.parent / "refs" / "main").write_text(FIRST)
    offline = subprocess.run(
        [sys.executable, "-c", KEYS], input="go\n", capture_output=True, text=True, check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    ).stdout.split()  # fmt: skip
    *early, whole, older_kind = keys
    assert early == [["None", "None"]] * len(read)
    assert len(whole[0]) == 64
    assert whole[1] == "None"
    assert older_kind == ["None", "None"]
    assert len({offline[0], whole[0], "None"}) == 3  # some repositories load differently offline


def test_a_hub_that_cannot_be_reached_gives_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens on the port named "discard"
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    done = subprocess.run([sys.executable, "-c", KEYS], input="go\n", capture_output=True, text=True, check=True)
    assert done.stdout == "None None\n"


def test_a_name_that_is_none_is_refused_as_without_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cache = str(refusal("a b"))
    monkeypatch.setenv("ISMPACK_CACHE", "")
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer("a b")
    assert str(caught.value) == with_cache
