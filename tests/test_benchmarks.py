"""What the benchmarks make of figures, and that they run; how fast anything is, no test here says."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import run as benchmark  # noqa: E402
from suite import texts  # noqa: E402
from suite.contenders import PARTS, contenders  # noqa: E402
from suite.corpora import Corpora, Setting, Tokenizer  # noqa: E402
from suite.goals import Goal, goals  # noqa: E402
from suite.packing import lengths_of  # noqa: E402
from suite.processes import can_sample, job_command, job_outcome, run  # noqa: E402
from suite.result import Result  # noqa: E402
from suite.rounds import Contender, FailedError, NotMeasuredError, Outcome, take_turns  # noqa: E402
from suite.section import BEGIN, END, figures, rewritten, section  # noqa: E402


def setting(source: Path, tokenizer: str, **changes: Any) -> Setting:
    given = {"max_length": 2048, "workers": 2, "slice_records": 2, "times": 3, "lengths": (50, 60, 70)}
    return Setting(source=source, tokenizer=Tokenizer(tokenizer), **{**given, **changes})


def spread(*rounds: float) -> dict[str, Any]:
    return {"median": 0.0, "min": 0.0, "max": 0.0, "rounds": list(rounds)}


def measured(
    corpus: str = "", facts: dict[str, list[str]] | None = None, peak: int | None = None, **rounds: Any
) -> Any:
    return {
        "corpus": corpus,
        "figures": {name: spread(*values) for name, values in rounds.items()},
        "facts": facts or {},
        "peak_bytes": peak,
    }


def result(**contenders: Any) -> Result:
    """A result with an input of 100 MB and a slice of 10 MB."""
    return Result(
        {
            "schema": "ismpack.benchmark/1",
            "machine": {"cpu": "Some CPU", "cores": 2, "memory_bytes": 8_000_000_000},
            "versions": {"python": "3.11.0", "tokenizers": "1.0", "fastokens": "2.0", "gigatoken": None, "trl": "1.16"},
            "setting": {
                "tokenizer": "tok",
                "max_length": 8192,
                "workers": 2,
                "times": 10,
                "rounds": 3,
                "lengths": [200, 1000, 10_000_000],
            },
            "corpora": {
                "input": {"bytes": 100_000_000, "records": 5000},
                "slice": {"bytes": 10_000_000, "records": 500},
                "repeated": {"bytes": 1_000_000_000, "records": 50_000},
            },
            "measured": {name.replace("_", "-"): found for name, found in contenders.items()},
        }
    )


def test_contenders_take_turns_and_memory_is_read_when_the_rounds_are_over() -> None:
    order: list[str] = []

    def runs(name: str, *seconds: float) -> Callable[[], Outcome]:
        left = iter(seconds)

        def run_it() -> Outcome:
            order.append(name)
            return Outcome(figures={"seconds": next(left)}, facts={"engine": name})

        return run_it

    def peak() -> int:
        order.append("memory")
        return 7

    def fails() -> Outcome:
        order.append("absent")
        raise NotMeasuredError("it is not here")

    lineup = [
        Contender(name="a", corpus="input", run=runs("a", 3, 1, 2), peak=peak),
        Contender(name="absent", run=fails),
        Contender(name="b", run=runs("b", 5, 9, 4)),
    ]
    found, absent = take_turns(lineup, 3)
    assert order == ["a", "absent", "b", "a", "b", "a", "b", "memory"]
    assert absent == {"absent": "it is not here"}
    assert {name: one.to_json() for name, one in found.items()} == {
        "a": {
            "corpus": "input",
            "figures": {"seconds": {"median": 2, "min": 1, "max": 3, "rounds": [3, 1, 2]}},
            "facts": {"engine": ["a"]},
            "peak_bytes": 7,
        },
        "b": {
            "corpus": "",
            "figures": {"seconds": {"median": 5, "min": 4, "max": 9, "rounds": [5, 9, 4]}},
            "facts": {"engine": ["b"]},
            "peak_bytes": None,
        },
    }


def test_a_fact_that_differs_between_rounds_is_kept_with_all_its_values() -> None:
    values = iter(["x", "y", "x"])
    lineup = [Contender(name="a", run=lambda: Outcome(figures={}, facts={"shards": next(values)}))]
    assert take_turns(lineup, 3)[0]["a"].facts == {"shards": ["x", "y"]}


def test_ratios_are_formed_round_by_round_and_for_as_many_bytes() -> None:
    # 1, 3 and 3 times, of which the median is 3; the medians of both are 6 and 3 seconds.
    slow, fast = (4.0, 6.0, 9.0), (4.0, 2.0, 3.0)
    found = result(slow=measured("input", seconds=slow), fast=measured("input", seconds=fast))
    assert found.times("slow", "fast") == 3
    assert found.times("fast", "slow") == 1 / 3
    found = result(slow=measured("slice", seconds=slow), fast=measured("input", seconds=fast))
    assert found.times("slow", "fast") == 30  # the slice is a tenth of the input
    found = result(slow=measured(seconds=(8,)), fast=measured(wall=(2,)))
    assert found.times("slow", "fast", fast_figure="wall") == 4
    assert found.times("slow", "gone") is None


def test_speeds_are_of_the_corpus_and_of_the_tokens() -> None:
    found = result(convert_2=measured("input", seconds=(4, 1, 2), tokens=(30e6,) * 3))
    assert found.speed("convert-2") == 50
    assert found.token_speed("convert-2") == 15
    assert found.speed("convert-1") is None


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"its schema is None, not 'ismpack.benchmark/1'"):
        Result({})


ALL_MET = {
    "convert_1": measured("input", {"engine": ["fastokens"], "shards": ["s"]}, seconds=(1.6,), wall=(2.0,)),
    "convert_2": measured(
        "input", {"engine": ["fastokens"], "shards": ["s"]}, 500_000_000, seconds=(1.0,), wall=(1.5,), tokens=(2e7,)
    ),
    "other_llama_2": measured("input", seconds=(1.5,)),
    "encode_fastokens_2": measured("input", seconds=(0.5,)),
    "hf_1": measured("slice", seconds=(4.0,)),
    "convert_hf": measured("slice", {"shards": ["t"]}, seconds=(4.4,)),
    "trl_2": measured("slice", seconds=(3.0,), tokens=(2e6,)),
    "start_empty_many": measured(startup=(3.9,)),
    "start_filled_many": measured(startup=(0.9,)),
    "repeated_2": measured("repeated", {}, 540_000_000, seconds=(10.0,), wall=(12.5,)),
    "sorted_2": measured(fill=(0.995,)),
    "verify": measured(seconds=(0.5,), tokens=(2e8,)),
    "assign_10000000": measured(seconds=(0.3,)),
}


def test_goals_that_are_met() -> None:
    assert [str(goal) for goal in goals(result(**ALL_MET))] == [
        "met           convert, 2 workers, without start-up: 100, wanted >= 60 MB/s",
        "met           convert, 2 workers, with start-up, 380 MB or more: 80, wanted >= 70 MB/s",
        "met           convert, 2 workers against 1, without start-up: 1.6, wanted >= 1.6 times as fast",
        "met           start-up with an empty cache: 3.9, wanted <= 4 s",
        "met           start-up with a filled cache: 0.9, wanted <= 1 s",
        "met           convert against fastokens, 2 of each: 2, wanted <= 3 times its time",
        "met           TRL against convert with start-up: 20, wanted >= 15 times as long",
        "met           TRL against convert without start-up: 30, wanted >= 25 times as long",
        "met           convert with llama: 1.5, wanted <= 1.5 times as long",
        "met           convert by HF tokenizers against encode_batch: 1.1, wanted <= 1.15 times as long",
        "met           10 x the corpus, speed without start-up: 1, wanted >= 0.97 of 1 x",
        "met           10 x the corpus, peak memory of all processes: 0.54, wanted <= 1.5 GB",
        "met           10 x the corpus, peak memory: 1.08, wanted <= 1.1 of 1 x",
        "met           versions of the shards, over all runs on the input: 1, wanted <= 1",
        "met           fill of the corpus sorted by length, rows of 4,096: 0.995, wanted >= 0.99",
        "met           verify on one core: 400, wanted >= 300 Mtok/s",
        "met           packing ten million lengths: 0.3, wanted <= 1 s",
    ]


def test_every_goal_can_be_missed() -> None:
    slow = {
        name: {
            **found,
            "figures": {figure: spread(*(v * 9 for v in of["rounds"])) for figure, of in found["figures"].items()},
        }
        for name, found in ALL_MET.items()
        if not name.startswith(("trl", "encode", "hf"))
    }
    slow["convert_1"] = measured("input", {"shards": ["s"]}, seconds=(9.5,))
    slow["convert_2"]["facts"] = {"engine": ["fastokens"], "shards": ["s", "other"]}
    slow["other_llama_2"] = measured("input", seconds=(13.6,))
    slow["repeated_2"] = measured("repeated", {}, 1_600_000_000, seconds=(99.0,), wall=(99.0,))
    slow["sorted_2"] = measured(fill=(0.98,))
    slow["verify"] = measured(seconds=(1.0,), tokens=(2e8,))
    found = goals(result(**{**ALL_MET, **slow}))
    assert [goal.text for goal in found if goal.met is not False] == []


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    found = goals(result())
    assert {goal.met for goal in found} == {None}
    assert str(found[0]) == "not measured  convert, 2 workers, without start-up: wanted >= 60 MB/s"


@pytest.mark.parametrize(("found", "at_least", "met"), [(2.0, True, True), (1.9, True, False), (2.1, False, False)])
def test_the_bound_itself_is_good_enough(found: float, at_least: bool, met: bool) -> None:
    assert Goal(text="", bound=2, found=found, at_least=at_least, unit="").met is met


EXPECTED_FIGURES = """\
Measured on Some CPU, 2 cores, 8 GB (python 3.11.0, tokenizers 1.0, fastokens 2.0, trl 1.16): 100.0 MB of JSON Lines \
with 5,000 records, tokenizer tok, rows of 8,192 tokens. Rounds, of which medians are shown: 3.

| | at once | MB/s | Mtok/s | peak memory | time, ismpack = 1 |
|---|--:|--:|--:|--:|--:|
| `ismpack convert`, with start-up | 2 | 66.7 | 13.3 | 0.50 GB | 1.50 |
| `ismpack convert`, without start-up | 2 | 100 | 20.0 |  | 1.00 |
| TRL 1.16 (first 10.0 MB) | 2 | 3.33 | 0.67 |  | 30.0 |

- 1,000 MB: 100 MB/s without start-up, peak memory of all processes 0.54 GB
- Packing: rows for 10,000,000 lengths in 0.30 s on one core
"""


def shown() -> Result:
    return result(**{name: ALL_MET[name] for name in ("convert_2", "trl_2", "repeated_2", "assign_10000000")})


def test_the_figures_of_the_readme() -> None:
    assert figures(shown()) == EXPECTED_FIGURES


def test_a_readme_gets_new_figures_and_keeps_the_rest() -> None:
    old = f"# Title\n\n{section(result(convert_2=ALL_MET['convert_2']))}\nmore\n"
    new = rewritten(old, shown())
    assert new == f"# Title\n\n{section(shown())}\nmore\n"
    assert new != old
    assert rewritten(new, shown()) == new


@pytest.mark.parametrize("readme", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}", f"{BEGIN}{END}{END}"])
def test_a_readme_without_the_marks_is_refused(readme: str) -> None:
    with pytest.raises(ValueError, match="does not have the two marks"):
        rewritten(readme, shown())


def test_corpora_are_made_of_the_input(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(b'{"messages":[{"content": "long, long"},{"content":"b"}]}\n{"prompt":"p"}\n\n{"other":1}')
    (tmp_path / "scratch").mkdir()
    corpora = Corpora(setting(source, "none"), tmp_path / "scratch")
    assert (
        corpora.path("slice").read_bytes()
        == b'{"messages":[{"content": "long, long"},{"content":"b"}]}\n{"prompt":"p"}\n'
    )
    assert corpora.slice_name == "slice"
    assert corpora.path("sorted").read_bytes() == (
        b'\n{"other":1}\n{"prompt":"p"}\n{"messages":[{"content": "long, long"},{"content":"b"}]}\n'
    )
    assert corpora.path("repeated").read_bytes() == (
        b'{"messages":[{"content": "long, long"},{"content":"b"}]}\n{"prompt":"p"}\n\n{"other":1}\n'
        b'{"messages":[{"content": "1. long, long"},{"content":"b"}]}\n{"prompt":"1. p"}\n\n{"other":1}\n'
        b'{"messages":[{"content": "2. long, long"},{"content":"b"}]}\n{"prompt":"2. p"}\n\n{"other":1}\n'
    )
    assert {name: size["records"] for name, size in corpora.sizes().items()} == {
        "input": 3,
        "slice": 2,
        "sorted": 3,
        "repeated": 9,
    }


def test_the_texts_are_those_that_ismpack_encodes(
    tmp_path: Path, sample_tokenizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.jsonl"
    chats = [[f"question {i}", f"answér {i} <|im_end|>"] for i in range(3)]
    lines = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in chats]
    source.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"no": "chat"}]), encoding="utf-8")
    texts.write_texts(str(source), str(tmp_path), sample_tokenizer, None)
    whole = [text for batch in texts.batches(str(tmp_path)) for text in batch]
    # Data with the template's text around it; a control token's text in data is text, those of the template are gone.
    data = [text for text in whole if "question" in text or "answér" in text]
    assert data == [part for q, a in chats for part in (f"user\n{q}", a)]
    assert [text for text in whole if text not in data and text not in ("assistant\n", "\n")] == []
    for size in (1, 10, 25, 1000):
        monkeypatch.setattr(texts, "BATCH_BYTES", size)
        batches = list(texts.batches(str(tmp_path)))
        assert [text for batch in batches for text in batch] == whole
        assert all(len(batch) == 1 or sum(len(text.encode()) for text in batch) <= size for batch in batches)


def test_memory_of_a_process_and_its_children_is_added_up() -> None:
    child = "x = bytearray(80_000_000)\nimport time\ntime.sleep(0.4)"
    parent = f"import subprocess, sys\ny = bytearray(70_000_000)\nsubprocess.run([sys.executable, '-c', {child!r}])"
    peak = run([sys.executable, "-c", parent], sample_memory=True).peak_bytes
    assert (150_000_000 < peak < 250_000_000) if can_sample() else peak == 0


def test_a_process_that_fails_ends_the_benchmark_with_its_message() -> None:
    with pytest.raises(FailedError, match=r"(?s)ended with 3: .*what went wrong"):
        run([sys.executable, "-c", "import sys; print('what went wrong', file=sys.stderr); sys.exit(3)"])


def test_an_engine_that_takes_no_such_tokenizer_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "engine.json").write_text('{"model": {"type": "Unheard"}}')
    command = job_command("encode", engine="fastokens", threads=1, folder=str(tmp_path))
    with pytest.raises(NotMeasuredError, match="fastokens"):
        job_outcome(run(command))


def test_the_lengths_to_pack_are_the_same_each_time_and_fit() -> None:
    lengths = lengths_of(100_000, 8192)
    assert lengths.dtype == np.int32
    assert 1 <= lengths.min() < lengths.max() == 8192
    assert 345 < np.median(lengths) < 355
    assert np.array_equal(lengths, lengths_of(100_000, 8192))


def test_every_part_has_contenders_with_names_of_their_own(
    sample_data: Path, sample_tokenizer: str, tmp_path: Path
) -> None:
    others = (Tokenizer(sample_tokenizer),)
    corpora = Corpora(setting(sample_data / "chat.jsonl", sample_tokenizer, others=others), tmp_path)
    names = [[contender.name for contender in contenders(corpora, [part])] for part in PARTS]
    assert all(names)
    flat = list(itertools.chain.from_iterable(names))
    assert len(flat) == len(set(flat))


def test_the_command_measures_prints_and_writes(sample_data: Path, sample_tokenizer: str, tmp_path: Path) -> None:
    out = tmp_path / "results" / "out.json"
    arguments = [str(sample_data / "chat.jsonl"), "-t", sample_tokenizer, "--workers", "1", "--repeat", "1"]
    options = ["--only", "convert", "--goals", "-o", str(out), "--scratch", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "benchmarks/run.py", *arguments, *options],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 1, done.stderr  # the goals are for larger inputs
    assert "| `ismpack convert`, without start-up | 1 |" in done.stdout
    assert re.search(r"^MISSED +convert, 1 workers, without start-up: ", done.stdout, re.MULTILINE)
    content = json.loads(out.read_text())
    assert list(content["measured"]) == ["convert-1"]
    assert content["measured"]["convert-1"]["figures"]["conversations"]["rounds"] == [22]
    assert content["corpora"]["input"] == {"bytes": Path(arguments[0]).stat().st_size, "records": 22}
    assert str(tmp_path) not in out.read_text()
    assert str(ROOT) not in out.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    rendered = subprocess.run(
        [sys.executable, "benchmarks/render.py", str(out)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert rendered.stdout == section(Result(content))


@pytest.mark.bench
def test_every_part_runs(sample_data: Path, sample_tokenizer: str, tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer"
    shutil.copytree(sample_tokenizer, tokenizer)
    (tokenizer / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% generation %}"
        "{{ m.content + '<|im_end|>' if m.role == 'assistant' else '' }}{% endgeneration %}"
        "{{ '\\n' if m.role == 'assistant' else m.content + '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    source = tmp_path / "in.jsonl"
    chats = [
        {"messages": [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": "!"}]} for i in range(50)
    ]
    source.write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    others = (Tokenizer(sample_tokenizer),)
    given = setting(source, str(tokenizer), others=others, slice_records=20)
    content = benchmark.measure(given, list(PARTS), 1, scratch)
    assert {name: reason[:40] for name, reason in content["absent"].items()} == {
        f"encode-gigatoken-{n}": "gigatoken does not take this tokenizer: " for n in (1, 2)
    }
    figure = Result(content).figure
    assert figure("convert-1", "tokens") == figure("convert-2", "tokens") == figure("verify", "tokens")
    assert figure("column_sums", "tokens") == figure("verify", "tokens")
    assert figure("encode-fastokens-1", "tokens") == figure("encode-fastokens-2", "tokens")
    assert figure("repeated-2", "conversations") == 150
    assert figure("trl-1", "tokens") == figure("trl-2", "tokens")
    assert str(tmp_path) not in json.dumps(content)
    assert figures(Result(content)).count("\n- ") == 5
