"""What is measured on: the input, and corpora made of it, each when it is first asked for."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from suite.processes import run_ismpack, run_job

SOME = 10
"""Records of the tiny input."""

_FIRST_TEXT = re.compile(rb'("(?:content|value|prompt|instruction)"\s*:\s*")')
"""Where the first text of a record begins, in the formats that are most common."""


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A tokenizer and its chat template.

    Attributes:
        path: As `ismpack convert` takes it.
        template: File of a chat template in place of the tokenizer's own.
    """

    path: str
    template: str | None = None

    @property
    def name(self) -> str:
        """Its name without the folders that it lies in."""
        return Path(self.path).resolve().name if Path(self.path).exists() else self.path

    @property
    def options(self) -> tuple[str, ...]:
        """Options of `ismpack convert`."""
        return ("--tokenizer", self.path, *(("--chat-template", self.template) if self.template else ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a benchmark is told.

    Attributes:
        source: JSON Lines file of conversations.
        tokenizer: For all contenders.
        others: More tokenizers, for `convert` alone.
        max_length: Tokens per row.
        workers: Processes of the contenders that use several.
        slice_records: Records that slow contenders get.
        times: How often the input is repeated in the large corpus.
        lengths: How many lengths are packed at once, in three sizes: together with their tokens, and two without.
    """

    source: Path
    tokenizer: Tokenizer
    others: tuple[Tokenizer, ...] = ()
    max_length: int
    workers: int
    slice_records: int
    times: int = 10
    lengths: tuple[int, int, int] = (200_000, 1_000_000, 10_000_000)


class Corpora:
    """Files made of the input, in a scratch folder.

    Args:
        setting: What the benchmark is told.
        folder: An empty folder; it grows to about forty times the input.
    """

    def __init__(self, setting: Setting, folder: Path) -> None:
        self.setting = setting
        self.folder = folder
        self.made: dict[str, Path] = {"input": setting.source}
        self._makers = {"slice": self._slice, "tiny": self._tiny, "repeated": self._repeated, "sorted": self._sorted}

    def path(self, name: str) -> Path:
        """The file of a corpus.

        - input: what was given;
        - slice: its first records;
        - tiny: a few records;
        - repeated: the input several times, each time with other first words, so that no conversation occurs twice;
        - sorted: its records from the shortest to the longest.
        """
        if name not in self.made:
            made = self.folder / f"{name}.jsonl"
            with made.open("wb") as file:
                file.writelines(self._makers[name]())
            self.made[name] = made
        return self.made[name]

    @cached_property
    def slice_name(self) -> str:
        """The corpus for slow contenders; the input itself if that is no longer."""
        return "slice" if self.path("slice").stat().st_size < self.setting.source.stat().st_size else "input"

    @cached_property
    def cache(self) -> Path:
        """A folder in which ismpack has found the tokenizers loaded before."""
        folder = self.folder / "cache"
        for tokenizer in (self.setting.tokenizer, *self.setting.others):
            out = self.folder / "first"
            run_ismpack(
                "convert",
                *(str(self.path("tiny")), "-o", str(out), *tokenizer.options, "--max-length", "100000"),
                settings={"ISMPACK_CACHE": str(folder)},
            )
            shutil.rmtree(out)
        return folder

    @cached_property
    def dataset(self) -> Path:
        """A dataset made of the input, to be verified."""
        out, setting = self.folder / "dataset", self.setting
        sizes = ("--max-length", str(setting.max_length), "--workers", str(setting.workers))
        options = ("-o", str(out), *setting.tokenizer.options, *sizes)
        run_ismpack("convert", str(self.path("input")), *options, settings={"ISMPACK_CACHE": str(self.cache)})
        return out

    def texts(self, name: str) -> Path:
        """A folder with the texts that ismpack encodes of a corpus, see `texts.write_texts`."""
        folder = self.folder / f"texts-{name}"
        if not folder.exists():
            folder.mkdir()
            tokenizer = asdict(self.setting.tokenizer)
            run_job("write_texts", source=str(self.path(name)), folder=str(folder), **tokenizer)
        return folder

    def sizes(self) -> dict[str, dict[str, int]]:
        """Bytes and records of each corpus that was made."""
        return {name: {"bytes": path.stat().st_size, "records": _records(path)} for name, path in self.made.items()}

    def _lines(self) -> Iterator[bytes]:
        with self.setting.source.open("rb") as file:
            for line in file:
                yield line if line.endswith(b"\n") else line + b"\n"

    def _slice(self) -> Iterator[bytes]:
        return islice(self._lines(), self.setting.slice_records)

    def _tiny(self) -> Iterator[bytes]:
        return islice(self._lines(), SOME)

    def _repeated(self) -> Iterator[bytes]:
        for copy in range(self.setting.times):
            for line in self._lines():
                yield _FIRST_TEXT.sub(rb"\g<1>%d. " % copy, line, count=1) if copy else line

    def _sorted(self) -> Iterator[bytes]:
        return iter(sorted(self._lines(), key=len))


def _records(path: Path) -> int:
    with path.open("rb") as file:
        return sum(not line.isspace() for line in file)
