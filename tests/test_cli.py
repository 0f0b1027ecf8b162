"""The command line as a user meets it: streams, exit codes, messages, signals, pipes."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordPiece

ROOT = Path(__file__).parent.parent


def run(*arguments: str, cwd: Path, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "ismpack", *arguments],
        cwd=cwd, input=stdin, capture_output=True, env={**os.environ, "COLUMNS": "80", **environment}, check=False,
    )  # fmt: skip
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    return tmp_path


CHAT = ("sample_data/chat.jsonl", "--tokenizer", "sample_data/tokenizer")


def convert(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return run("convert", *CHAT, "-o", "out", *more, cwd=folder)


def test_the_summary_goes_to_stdout_and_ends_with_the_line_that_loads_the_result(folder: Path) -> None:
    done = convert(folder)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "out: written"
    assert lines[-1] == '  load with      datasets.load_from_disk("out")  or  ismpack.load("out")'


def test_json_is_one_object_with_the_promised_keys(folder: Path) -> None:
    done = convert(folder, "--json")
    report = json.loads(done.stdout)
    promised = {
        "records", "conversations", "rejected", "turns", "tokens", "loss_tokens", "rows", "fill", "triplet_tokens",
        "seconds", "output",
    }  # fmt: skip
    assert promised <= report.keys()
    assert (report["records"], report["conversations"], report["rejected"], report["output"]) == (22, 22, {}, "out")
    assert done.stderr == ""
    assert json.loads(convert(folder, "--json").stdout)["unchanged"] is True


def test_quiet_prints_nothing_and_verbose_explains_the_warnings(folder: Path) -> None:
    assert convert(folder, "-q").stdout == ""
    done = run("convert", *CHAT, "-o", "other", "-v", cwd=folder)
    assert "note[trailing-query-dropped]: 1 (conversations that end in messages after the last answer" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["convert", "nowhere.jsonl", "-t", "sample_data/tokenizer", "-o", "out"], 2,
         "error[input-not-found]: input nowhere.jsonl does not exist\n"),
        (["convert", "empty.jsonl", "-t", "sample_data/tokenizer", "-o", "out"], 1,
         "error[no-records]: the inputs hold no record, so nothing was published\n"),
        (["convert", "sample_data/chat.jsonl", "-t", "./nothing", "-o", "out"], 2,
         "error[tokenizer-not-found]: there is no tokenizer at ./nothing\n"
         "hint: Give a directory with tokenizer.json, the file itself, or a hub name such as org/model.\n"),
        (["convert", *CHAT, "-o", "empty.jsonl/out"], 2,
         "error[output-unwritable]: cannot write empty.jsonl/out: empty.jsonl is not a directory\n"
         "hint: Nothing was published, and nothing is left to clean up.\n"),
        (["convert", *CHAT, "-o", "out", "--max-length", "1"], 2,
         "error[bad-option]: --max-length 1 is not possible\n"
         "hint: A pack holds from 2 to 10,000,000 tokens.\n"),
        (["convert", *CHAT, "-o", "out", "--format", "alpacca"], 2,
         'error[bad-option]: there is no format "alpacca"\n'
         'hint: Did you mean "alpaca"? `ismpack formats` lists all.\n'),
        (["verify", "sample_data"], 2,
         "error[not-a-dataset]: sample_data is not a finished ismpack dataset: it has no manifest.json\n"
         "hint: Give the directory that `ismpack convert -o DIR` wrote; an interrupted run leaves none.\n"),
        (["inspect", "nowhere", "-t", "sample_data/tokenizer"], 2,
         "error[input-not-found]: there is no file or dataset nowhere\n"),
        (["inspect", "sample_data/chat.jsonl", "--line", "99", "-t", "sample_data/tokenizer"], 2,
         "error[bad-selector]: sample_data/chat.jsonl has no line 99\n"),
    ],
)  # fmt: skip
def test_a_mistake_gives_one_clear_message(folder: Path, arguments: list[str], code: int, message: str) -> None:
    (folder / "empty.jsonl").write_bytes(b"")
    done = run(*arguments, cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", message)
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["convert", *CHAT, "-o", "out", "--max-lenght", "9"], "Did you mean one of: '--max-length'"),
        (["convert", *CHAT], "Missing option '-o'"),
        (["convert", *CHAT, "-o", "out", "--template-arg", "x"], "'x' is not K=V"),
        (["convert", *CHAT, "-o", "out", "--packing", "best"], "'best' is not one of 'bfd', 'sequential', 'none'"),
        (["inspect", "sample_data/chat.jsonl"], "A raw file needs --tokenizer"),
        (["inspect", "sample_data/chat.jsonl", "--row", "1"], "--row does not go with a raw file"),
        (["inspect", "sample_data", "--line", "1"], "--line does not go with a dataset"),
        (["convrt"], "No such command 'convrt'"),
    ],
)
def test_a_wrong_command_line_exits_with_2(folder: Path, arguments: list[str], words: str) -> None:
    done = run(*arguments, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_read_only_output_is_one_message(folder: Path) -> None:
    done = run("convert", *CHAT, "-o", "/proc/out", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith("error[output-unwritable]: cannot write /proc/out: ")


def test_the_first_bad_record_stops_the_run_when_asked(folder: Path) -> None:
    done = run(
        "convert", "sample_data/broken.jsonl", "-t", "sample_data/tokenizer", "-o", "out", "--on-error", "stop",
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[:2] == [
        "error[invalid-json]: not valid JSON at column 132: expecting value",
        "  --> sample_data/broken.jsonl:2",
    ]


def test_an_error_under_json_is_one_object_on_stderr(folder: Path) -> None:
    done = run("verify", "nothing", "--json", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert json.loads(done.stderr)["code"] == "not-a-dataset"


def test_verify_exits_with_1_and_names_the_finding(folder: Path) -> None:
    convert(folder)
    assert run("verify", "out", cwd=folder).returncode == 0
    shard = folder / "out/shard-00000.arrow"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    done = run("verify", "out", cwd=folder)
    assert done.returncode == 1
    assert done.stdout.startswith("[file-hash] ")
    report = json.loads(run("verify", "out", "--json", cwd=folder).stdout)
    assert (report["ok"], report["counts"]) == (False, {"file-hash": 1})


def test_inspect_shows_a_row_a_document_and_a_raw_record(folder: Path) -> None:
    convert(folder)
    row = run("inspect", "out", "--row", "0", cwd=folder)
    assert (row.returncode, row.stderr) == (0, "")
    assert row.stdout.startswith("out, row 0\n")
    assert "ism mask" in row.stdout
    assert all(len(line) <= 80 for line in row.stdout.splitlines() if line.isascii())
    one = json.loads(run("inspect", "out", "--document", "-1", "--json", cwd=folder).stdout)
    assert len(one["documents"]) == 1
    record = run("inspect", *CHAT, "--line", "22", cwd=folder)
    assert record.returncode == 0
    assert "trailing-query-dropped" in record.stdout
    assert run("inspect", "out", "--row", "9999", cwd=folder).returncode == 2
    (folder / "out/tokenizer/tokenizer.json").unlink()
    broken = run("inspect", "out", cwd=folder)
    assert (broken.returncode, broken.stdout) == (2, "")
    assert (
        broken.stderr
        == "error[tokenizer-invalid]: cannot read out/tokenizer/tokenizer.json: No such file or directory\n"
    )


def test_inspect_shows_why_a_raw_record_is_refused(folder: Path) -> None:
    arguments = ["inspect", "sample_data/broken.jsonl", "--line", "10", "-t", "sample_data/tokenizer"]
    assert run(*arguments, cwd=folder).returncode == 0
    refused = run(*arguments, "--special-tokens-in-data", "reject", cwd=folder)
    assert refused.returncode == 1
    assert refused.stdout.startswith("sample_data/broken.jsonl:10   format messages")
    assert "error[special-token-in-data]" in refused.stderr


def test_inspect_in_ascii_is_ascii_where_the_data_is(folder: Path) -> None:
    shown = run("inspect", *CHAT, "--line", "10", "--ascii", "--width", "60", cwd=folder).stdout
    assert shown.isascii()


def test_colour_follows_the_option_and_the_environment(folder: Path) -> None:
    convert(folder)
    arguments = ["inspect", "out", "--document", "0"]
    assert "\x1b[" not in run(*arguments, cwd=folder).stdout
    assert "\x1b[" in run("--color", "always", *arguments, cwd=folder).stdout
    assert "\x1b[" in run(*arguments, cwd=folder, FORCE_COLOR="1").stdout
    assert "\x1b[" not in run(*arguments, cwd=folder, FORCE_COLOR="1", NO_COLOR="1").stdout


def in_terminal(folder: Path, *arguments: str, columns: int = 100) -> str:
    """What a command shows in a terminal of so many columns; it must succeed."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (40, columns))
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        [sys.executable, "-m", "ismpack", *arguments],
        cwd=folder, stdout=slave, stderr=slave, env={**environment, "TERM": "xterm"},
    )  # fmt: skip
    os.close(slave)
    shown = b""
    while True:
        try:
            block = os.read(master, 1 << 16)
        except OSError:
            break
        if not block:
            break
        shown += block
    os.close(master)
    assert process.wait() == 0
    return shown.decode()


def test_a_terminal_gets_colour(folder: Path) -> None:
    convert(folder)
    assert "\x1b[" in in_terminal(folder, "inspect", "out", "--document", "0")


@pytest.mark.parametrize("columns", [100, 40])
def test_a_terminal_gets_a_bar_of_bytes_that_goes_when_it_is_full(folder: Path, columns: int) -> None:
    shown = in_terminal(folder, "convert", *CHAT, "-o", "out", columns=columns)
    bar, _, rest = shown.partition("out: written")
    assert bar.startswith("\rconverting: 0.00B [00:00, ?B/s]")
    assert re.search(r"\r +\r$", bar)  # wiped out
    assert max(map(len, re.split(r"[\r\n]+", bar))) <= columns
    assert "converting" not in rest


@pytest.mark.parametrize("options", [["--workers", "0"], ["--workers", "1025"]])
def test_a_number_of_workers_that_makes_no_sense_is_a_bad_option(folder: Path, options: list[str]) -> None:
    done = convert(folder, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error[bad-option]: --workers ")


def test_an_engine_that_does_not_take_the_tokenizer_is_refused_if_it_was_named(folder: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer(WordPiece({"[UNK]": 0, "a": 1, "<|im_end|>": 2}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    template = "{% for m in messages %}{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}"
    (tmp_path / "t.jinja").write_text(template + "{% if add_generation_prompt %}assistant {% endif %}")
    arguments = ["convert", CHAT[0], "-t", "tokenizer.json", "--chat-template", "t.jinja", "--allow-unterminated"]
    done = run(*arguments, "-o", "out", "--tokenizer-engine", "fastokens", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith("error[tokenizer-engine-unfit]: fastokens does not take this tokenizer: ")
    assert "hint: Leave out --tokenizer-engine" in done.stderr


def test_every_engine_gives_the_same_dataset(folder: Path) -> None:
    for engine in ("hf", "fastokens"):
        done = run("convert", *CHAT, "-o", engine, "--tokenizer-engine", engine, cwd=folder)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads((folder / engine / "run.json").read_text())["engine"]["name"] == engine
    assert (folder / "hf/manifest.json").read_bytes() == (folder / "fastokens/manifest.json").read_bytes()


def test_a_reader_that_leaves_ends_the_command_with_141_and_no_noise(folder: Path) -> None:
    convert(folder)
    reader, writer = os.pipe()
    os.close(reader)  # gone before the first line, or a short output would fit in the pipe's buffer
    process = subprocess.Popen(
        [sys.executable, "-m", "ismpack", "inspect", "out"],
        cwd=folder,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, "")


MAIN = """\
import signal
from ismpack.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
"""The command line, also where a shell started the tests in the background, with SIGINT ignored for all children."""


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGINT, 130, "interrupted; nothing half-written"),
        (signal.SIGTERM, 143, "terminated; nothing half-written"),
    ],
)
def test_a_signal_ends_the_run_and_leaves_nothing(folder: Path, number: signal.Signals, code: int, words: str) -> None:
    lines = (ROOT / "sample_data/chat.jsonl").read_bytes() * 400
    (folder / "big.jsonl").write_bytes(lines)
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "convert", "big.jsonl", "-t", "sample_data/tokenizer", "-o", "out"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (folder / "out.ismpack-tmp").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "")
    assert words in err
    assert "Traceback" not in err
    assert sorted(path.name for path in folder.iterdir()) == ["big.jsonl", "sample_data"]


def test_standard_input_is_read(folder: Path) -> None:
    stdin = (ROOT / "sample_data/alpaca.jsonl").read_bytes()
    done = run("convert", "-", "-t", "sample_data/tokenizer", "-o", "out", "--json", cwd=folder, stdin=stdin)
    assert json.loads(done.stdout)["formats"] == {"alpaca": 8}


def test_formats_lists_name_keys_and_example(folder: Path) -> None:
    listed = json.loads(run("formats", "--json", cwd=folder).stdout)["formats"]
    assert len(listed) >= 80
    assert listed[0]["name"] == "messages"
    assert listed[0]["keys"] == ["messages"]
    assert listed[0]["shapes"] == {"messages": "list of {role}"}
    assert listed[0]["example"]["messages"][0]["role"] == "user"
    text = run("formats", cwd=folder).stdout
    assert all(f"\n{one['name']}\n" in f"\n{text}" for one in listed)


MIXED = [
    {"dialog": [{"speaker": "caller", "text": "Is it open?"}, {"speaker": "desk", "text": "Until six."}]},
    {"instruction": "Name a tree.", "output": "An oak."},
    {"instruction": "Name a bird.", "output": "A wren."},
    {"messages": [{"role": "user", "content": "Hi"}], "instruction": "Name a tree.", "output": "An oak."},
]


@pytest.fixture
def mixed(folder: Path) -> Path:
    (folder / "mixed.jsonl").write_text("".join(json.dumps(record) + "\n" for record in MIXED) + "\n[1]\n")
    return folder


def test_formats_says_what_a_file_would_be_read_as(mixed: Path) -> None:
    done = run("formats", "mixed.jsonl", cwd=mixed)
    assert done.returncode == 1
    assert (
        done.stdout
        == """\
5 records, 1 blank line

alpaca  2 records
  first: mixed.jsonl:2
   0 user               Name a tree.
   1 assistant          An oak.

refused: unknown-format  1 record
  first: mixed.jsonl:1
  $: no known format has the keys of this record; it has "dialog" (a list of
  objects with "speaker", "text")
  hint: It has the keys of format dailydialog, but dialog is not list of texts.
  --map describes another one; `ismpack formats` lists all.

refused: ambiguous-format  1 record
  first: mixed.jsonl:4
  $: the record reads differently as messages and as alpaca
  hint: Choose with --format messages or --format alpaca, or remove one set of
  keys.

refused: not-an-object  1 record
  first: mixed.jsonl:6
  a record is a list, not a JSON object
  hint: Every record is one JSON object, such as {"messages": [...]}.
"""
    )


def test_formats_says_the_same_as_json(mixed: Path) -> None:
    found = json.loads(run("formats", "mixed.jsonl", "--limit", "4", "--json", cwd=mixed).stdout)
    assert (found["records"], found["blank_lines"]) == (4, 0)
    [alpaca] = found["formats"]
    assert (alpaca["name"], alpaca["records"], alpaca["first"]) == ("alpaca", 2, "mixed.jsonl:2")
    assert [message["content"] for message in alpaca["example"]] == ["Name a tree.", "An oak."]
    assert [(one["code"], one["records"], one["first"]) for one in found["refused"]] == [
        ("unknown-format", 1, "mixed.jsonl:1"),
        ("ambiguous-format", 1, "mixed.jsonl:4"),
    ]


def test_a_format_described_by_hand_converts(mixed: Path) -> None:
    mapping = "messages=dialog,role=speaker,content=text,role.user=caller,role.assistant=desk"
    asked = run("formats", "mixed.jsonl", "--map", mapping, "--limit", "1", cwd=mixed)
    assert (asked.returncode, asked.stdout.splitlines()[2]) == (0, "map  1 record")
    done = run(
        "convert", "mixed.jsonl", "-t", "sample_data/tokenizer", "-o", "out", "--map", mapping, "--limit", "1", "--json",
        cwd=mixed,
    )  # fmt: skip
    assert json.loads(done.stdout)["formats"] == {"map": 1}


@pytest.mark.parametrize("pair", ["messages", "messages=", "=dialog", "role=a,role=b", ","])
def test_a_mapping_that_is_no_mapping_is_a_usage_error(mixed: Path, pair: str) -> None:
    done = run("formats", "mixed.jsonl", "--map", pair, cwd=mixed)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--map" in done.stderr


def test_help_fits_80_columns_and_answers_quickly_with_every_option(folder: Path) -> None:
    for command in ("convert", "inspect", "verify", "formats", "template"):
        shown = run(command, "--help", cwd=folder).stdout
        body = shown.split("Examples:")[0]
        assert max(map(len, body.splitlines())) <= 80
        assert re.search(r"^  -h, --help", body, re.MULTILINE)


def test_the_version_names_the_format(folder: Path) -> None:
    assert run("--version", cwd=folder).stdout == "ismpack 0.1.0 (dataset format 1)\n"


def test_the_examples_of_every_help_run_as_they_stand(folder: Path) -> None:
    for name in ("convert", "inspect", "verify", "formats", "template"):
        examples = run(name, "--help", cwd=folder).stdout.split("Examples:")[1].splitlines()
        for line in filter(None, map(str.strip, examples)):
            command = re.sub(r"\bismpack (?=[a-z]+( |$))", f"{sys.executable} -m ismpack ", line)
            done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (line, done.stderr)
