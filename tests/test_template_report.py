"""What `ismpack template` says about templates whose behaviour is worked out by hand."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chats import DATE, trl_templates
from click.testing import CliRunner, Result

import ismpack
from ismpack.cli import main
from ismpack.cli.template_text import template_text
from ismpack.errors import TokenizerError, UsageError
from ismpack.templates import SegmentRules
from ismpack.templates.report import PROBES, Subject, TemplateReport, examine
from ismpack.templates.report.fields import words_of
from ismpack.templates.report.rewrites import difference, excerpt
from ismpack.templates.report.subject import answer_indices
from ismpack.templates.report.variables import free_variables
from ismpack.templates.report.verdicts import Outcome, Verdict, is_safe

CONTROL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|end|>")


def report_on(source: str, *, stops: tuple[str, ...] = ("<|im_end|>",), date: str | None = None) -> TemplateReport:
    rules = SegmentRules(stop_tokens=frozenset(stops), control_tokens=dict.fromkeys(CONTROL, True))
    subject = Subject({"default": source}, variables={"bos_token": "<s>"}, date=date or DATE, rules=rules)
    return examine(subject, name="mine", date=date)


def chatml(body: str, *, opening: str = "", generation_prompt: str = "<|im_start|>assistant\n") -> str:
    """A template with one body per message."""
    return (
        f"{opening}{{% for m in messages %}}<|im_start|>{{{{ m.role }}}}\n{body}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{generation_prompt}{{% endif %}}"
    )


CONTENT = "{{ m.content }}<|im_end|>\n"
FORGETS_UNLESS = (
    "{% if m.reasoning_content and (loop.last or CONDITION) %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{{ m.content }}<|im_end|>\n"
)
FORGETS = chatml(FORGETS_UNLESS.replace("CONDITION", "keep_thinking"))
APPENDS = chatml(CONTENT)


def verdicts(report: TemplateReport) -> dict[str, str]:
    return {kind.kind: str(kind.outcome) for kind in report.kinds}


# --- the probes


@pytest.mark.parametrize("kind", PROBES)
def test_every_field_of_a_probe_holds_a_word_of_its_own(kind: str) -> None:
    found: dict[str, set[str]] = {}
    for _, field, words in words_of(PROBES[kind]):
        found.setdefault(field, set()).update(words)
    for field, words in found.items():
        others = set().union(*(set(more) for name, more in found.items() if name != field))
        assert words - others, field


@pytest.mark.parametrize("kind", PROBES)
def test_every_probe_has_a_later_turn(kind: str) -> None:
    conversation = PROBES[kind]
    answers = answer_indices(conversation)
    assert len(answers) >= 2
    assert answers[-1] == len(conversation.messages) - 1


# --- verdicts


def test_a_template_that_only_appends_is_safe_although_it_refuses_what_it_would_drop() -> None:
    report = report_on(APPENDS)
    dropped = "refused (data-dropped)"
    assert verdicts(report) == {
        "plain": "append-only", "system": "append-only", "reasoning": dropped, "inline-thinking": "append-only",
        "tools": dropped, "parallel-tools": dropped, "tools-and-reasoning": dropped, "empty-answer": "append-only",
        "white-space": "append-only", "greeting": "append-only", "answers-in-a-row": "append-only",
    }  # fmt: skip
    assert {kind.kind: kind.dropped for kind in report.kinds if kind.dropped} == {
        "reasoning": ("reasoning_content",),
        "tools": ("tool_calls", "tools"),
        "parallel-tools": ("tool_calls", "tools"),
        "tools-and-reasoning": ("reasoning_content", "tool_calls", "tools"),
    }
    assert report.safe
    assert report.problems == ()
    assert [repair.options for repair in report.repairs] == [
        "--allow-dropped reasoning_content",
        "--allow-dropped tool_calls --allow-dropped tools",
        "--allow-dropped reasoning_content --allow-dropped tool_calls --allow-dropped tools",
    ]


def test_a_template_that_forgets_reasoning_is_shown_with_what_it_forgets() -> None:
    report = report_on(FORGETS)
    [kind] = [kind for kind in report.kinds if kind.outcome.verdict is Verdict.REWRITTEN]
    assert kind.kind == "reasoning"
    rewrite = kind.rewrite
    assert rewrite is not None
    assert (rewrite.answer, rewrite.message, rewrite.follower) == (1, 1, 2)
    assert (rewrite.removed, rewrite.inserted) == ("<think>carry from ten</think>", "")
    assert rewrite.before == "<|im_start|>assistant\n"
    assert rewrite.after == "Fifteen.<|im_end|>\n<|im_start|>user\n"
    assert kind.why == (
        "answer 1 (message 1) is rendered differently once message 2 follows: "
        "'<think>carry from ten</think>' disappears"
    )
    assert not report.safe
    assert report.problems == ("rewrites history in reasoning",)


def test_a_change_by_the_generation_prompt_alone_is_said_to_come_from_there() -> None:
    ends = "{{ m.content }}{{ '<|im_end|>' if loop.last and not add_generation_prompt else '<|end|>' }}\n"
    report = report_on(chatml(ends), stops=("<|im_end|>", "<|end|>"))
    row = next(kind for kind in report.kinds if kind.kind == "answers-in-a-row")
    assert row.rewrite is not None
    assert row.rewrite.follower is None
    assert row.why.endswith("once the next answer is asked for: '<|im_end|>' becomes '<|end|>'")


def test_an_answer_that_does_not_continue_its_prompt_makes_a_template_unsafe() -> None:
    report = report_on(chatml(CONTENT, generation_prompt="<|im_start|>assistant\n<think>\n"))
    assert verdicts(report)["plain"] == "refused (generation-prompt-not-continued)"
    assert report.problems == ("refuses 10 of 11 kinds (generation-prompt-not-continued)",)
    assert verdicts(report)["inline-thinking"] == "append-only"


@pytest.mark.parametrize(
    ("outcomes", "safe"),
    [
        ({"plain": "append-only", "tools": "append-only"}, True),
        ({"plain": "append-only", "tools": "template-error"}, True),
        ({"plain": "append-only", "reasoning": "data-dropped"}, True),
        ({"plain": "append-only", "empty-answer": "empty-answer"}, True),
        ({"plain": "append-only", "inline-thinking": "special-token-in-data"}, True),
        ({"plain": "append-only", "system": "template-error"}, True),
        ({"plain": "append-only", "system": "data-dropped"}, False),
        ({"plain": "template-error", "tools": "append-only"}, False),
        ({"plain": "append-only", "tools": "rewritten"}, False),
        ({"plain": "append-only", "tools": "no-stop-token"}, False),
        ({"plain": "append-only", "tools": "stitch-ambiguous"}, False),
        ({"plain": "append-only", "tools": "generation-prompt-not-continued"}, False),
    ],
)
def test_what_is_safe(outcomes: dict[str, str], safe: bool) -> None:
    def outcome(word: str) -> Outcome:
        return Outcome(verdict=Verdict(word)) if word in set(Verdict) else Outcome(verdict=Verdict.REFUSED, code=word)

    assert is_safe({kind: outcome(word) for kind, word in outcomes.items()}) is safe


# --- what helps


def test_the_argument_that_keeps_the_reasoning_is_found() -> None:
    report = report_on(FORGETS)
    assert report.variables == ("keep_thinking",)
    first = report.repairs[0]
    assert first.options == "--template-arg keep_thinking=true"
    assert (first.better, first.worse, first.safe) == ({"reasoning": Outcome(verdict=Verdict.APPEND_ONLY)}, {}, True)


def test_two_arguments_that_help_only_together_are_found() -> None:
    report = report_on(chatml(FORGETS_UNLESS.replace("CONDITION", "(keep and not drop | default(true))")))
    assert report.repairs[0].options == "--template-arg drop=false --template-arg keep=true"
    assert report.repairs[0].safe


def test_what_an_argument_breaks_is_told_with_what_it_repairs() -> None:
    opens = "<|im_start|>assistant\n{% if not plain %}<think>{% endif %}"
    body = "{% if m.role == 'assistant' and m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    report = report_on(chatml(body + CONTENT, generation_prompt=opens))
    assert verdicts(report)["reasoning"] == "append-only"
    repair = report.repairs[0]
    assert repair.options == "--template-arg plain=true"
    assert set(repair.better) == {"plain", "system", "empty-answer", "white-space", "greeting", "answers-in-a-row"}
    assert repair.worse == {}
    other = report_on(
        chatml(body + CONTENT, opening="{% set plain = plain | default(true) %}", generation_prompt=opens)
    )
    assert other.repairs[0].options == "--allow-dropped tool_calls --allow-dropped tools"


def test_an_argument_that_only_breaks_things_is_not_offered() -> None:
    report = report_on(chatml("{% if loud %}{{ m.missing.field }}{% endif %}" + CONTENT))
    assert report.variables == ("loud",)
    assert not [repair for repair in report.repairs if "loud" in repair.options]


def test_variables_that_the_user_has_set_are_not_tried() -> None:
    rules = SegmentRules(stop_tokens=frozenset(["<|im_end|>"]), control_tokens=dict.fromkeys(CONTROL, True))
    subject = Subject({"default": FORGETS}, variables={"keep_thinking": False}, date=DATE, rules=rules)
    report = examine(subject, name="mine", date=None)
    assert report.variables == ()
    assert not [repair for repair in report.repairs if "--template-arg" in repair.options]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("{{ a }}{{ messages }}{{ tools }}{{ bos_token }}{{ add_generation_prompt }}", ["a"]),
        ("{% if a is defined and a %}x{% endif %}", ["a"]),
        ("{% if not a is defined %}{% set a = 1 %}{% endif %}{{ a }}", ["a"]),
        ("{% set a = a | default(true) %}{{ a }}", ["a"]),
        ("{% set a = a or false %}{{ a }}", ["a"]),
        ("{% if x %}{% set a = 1 %}{% endif %}{{ a }}", ["x"]),
        ("{% set a = 1 %}\n{% if a is defined %}{{ a }}{% endif %}", []),
        ("{% for a in messages %}{{ a }}{{ loop.index }}{% endfor %}", []),
        ("{% macro a(b) %}{{ b }}{% endmacro %}{{ a(1) }}", []),
        ("{% set ns = namespace(a=1) %}{{ ns.a }}{{ raise_exception('x') }}{{ strftime_now('%Y') }}", []),
        ("{%- generation -%}{{ a }}{%- endgeneration -%}", ["a"]),
        ("{% for m in messages %}{% if b %}{% continue %}{% endif %}{% endfor %}", ["b"]),
    ],
)
def test_variables_that_a_template_reads_and_does_not_set(source: str, names: list[str]) -> None:
    assert free_variables(source) == names


# --- stop tokens


def test_stop_tokens_are_told_apart_by_what_they_do() -> None:
    ends = "{% if m.role == 'user' %}{{ m.content }}<|end|>\n{% else %}" + CONTENT + "{% endif %}"
    stops = report_on(chatml(ends), stops=("<|im_end|>", "<|endoftext|>", "<|end|>")).stops
    assert (stops.closing, stops.inferred) == (("<|im_end|>",), ())
    assert (stops.idle, stops.unprinted) == (("<|end|>",), ("<|endoftext|>",))


def test_a_token_that_closes_answers_unlisted_is_named() -> None:
    stops = report_on(APPENDS, stops=("<|endoftext|>",)).stops
    assert (stops.closing, stops.inferred, stops.unprinted) == ((), ("<|im_end|>",), ("<|endoftext|>",))


def test_without_a_stop_token_the_option_that_accepts_it_is_offered() -> None:
    report = report_on(chatml("{{ m.content }}\n"))
    assert verdicts(report)["plain"] == "refused (no-stop-token)"
    assert (report.stops.answers, report.stops.unprinted) == (0, ("<|im_end|>",))
    assert [repair.options for repair in report.repairs if "plain" in repair.better] == ["--allow-unterminated"]


def test_a_stop_token_that_should_be_listed_is_found() -> None:
    report = report_on(chatml("{{ m.content }}<|end|>\n--\n"))
    assert verdicts(report)["plain"] == "refused (no-stop-token)"
    [listed] = [repair for repair in report.repairs if "--stop-token" in repair.options]
    assert listed.options == '--stop-token "<|end|>"'
    assert listed.safe


# --- fields


def test_fields_are_printed_dropped_or_refused() -> None:
    body = (
        "{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
        "{% if not m.content.endswith('\\t') %}{{ m.content }}{% endif %}<|im_end|>\n"
    )
    fields = {one.field: one for one in report_on(chatml(body)).fields}
    assert fields["content"].dropped == ("white-space",)
    assert "system" in fields["content"].printed
    assert (fields["reasoning_content"].printed, fields["reasoning_content"].dropped) == (
        (), ("reasoning", "tools-and-reasoning"),
    )  # fmt: skip
    assert fields["tool_calls"].dropped == ("tools", "parallel-tools", "tools-and-reasoning")
    assert (fields["tool results"].printed, fields["tool results"].dropped) == ((), ())


# --- generation markers

MARKED_BODY = "{% if m.role == 'assistant' %}%s{% else %}{{ m.content }}<|im_end|>\n{% endif %}"


def marked(answer: str, *, generation_prompt: str = "<|im_start|>assistant\n") -> str:
    return chatml(MARKED_BODY.replace("%s", answer), generation_prompt=generation_prompt)


@pytest.mark.parametrize(
    ("answer", "faults"),
    [
        ("{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}\n", []),
        ("{%- generation -%}\n  {{ m.content }}<|im_end|>\n{%- endgeneration %}\n\n", []),
        (
            "{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>\n",
            [("end-left-out", "<|im_end|>"), ("answer-left-out", "<|im_end|>")],
        ),
        ("{% generation %}{{ m.content }}<|im_end|>\n{% endgeneration %}", [("following-included", "\n")]),
        ("{{ m.content }}<|im_end|>\n", [("answer-left-out", "Danube.<|im_end|>")]),
        (
            "{{ m.content[:2] }}{% generation %}{{ m.content[2:] }}<|im_end|>{% endgeneration %}\n",
            [("beginning-left-out", "Da")],
        ),
        (
            "{% generation %}{{ m.content[:2] }}{% endgeneration %}{{ m.content[2:4] }}"
            "{% generation %}{{ m.content[4:] }}<|im_end|>{% endgeneration %}\n",
            [("middle-left-out", "nu")],
        ),
    ],
)  # fmt: skip
def test_markers_are_compared_with_what_the_model_writes(answer: str, faults: list[tuple[str, str]]) -> None:
    # One template without any marker is told from a template that marks nothing by a marker that prints nothing.
    report = report_on(marked(answer) + "{% generation %}{% endgeneration %}")
    assert report.markers is not None
    assert "plain" in report.markers.compared
    found = [(one.fault.value, one.text) for one in report.markers.faults]
    plain = [(one.fault.value, one.text) for one in report.markers.faults if "plain" in one.kinds]
    assert sorted(plain) == sorted(fault for fault in faults if fault[1] != "<|im_end|>" or fault[0] == "end-left-out")
    assert {fault for fault, _ in faults if fault != "answer-left-out"} <= {fault for fault, _ in found}


def test_markers_that_begin_in_the_generation_prompt_are_told() -> None:
    answer = "{% generation %}<think>{{ m.content }}<|im_end|>{% endgeneration %}\n"
    report = report_on(marked(answer, generation_prompt="<|im_start|>assistant\n<think>"))
    assert report.markers is not None
    [fault] = report.markers.faults
    assert (fault.fault.value, fault.text) == ("prompt-included", "<think>")
    assert fault.sentence == "include '<think>' of the generation prompt, which the model is given"


def test_a_template_without_markers_has_no_report_on_them() -> None:
    assert report_on(APPENDS).markers is None


def test_markers_that_change_the_render_are_not_compared() -> None:
    answer = (
        "{% set text %}{% generation %}{{ m.content }}{% endgeneration %}{% endset %}{{ text | length }}<|im_end|>\n"
    )
    report = report_on(marked(answer))
    assert report.markers is not None
    assert report.markers.compared == ()


# --- clock and generation prompt


def test_a_template_that_reads_the_clock_needs_a_date_and_is_safe_with_one() -> None:
    source = chatml(CONTENT, opening="{% if tools %}{{ strftime_now('%Y') }}{% endif %}")
    without, dated = report_on(source), report_on(source, date=DATE)
    assert without.clock == dated.clock == ("tools", "parallel-tools", "tools-and-reasoning")
    assert (without.needs_date, without.safe, without.safe_with_date) == (True, False, True)
    assert without.problems == ("needs --date, for it reads the clock",)
    assert (dated.needs_date, dated.safe, dated.problems) == (False, True, ())


def test_a_generation_prompt_that_nobody_asked_for_is_shown() -> None:
    unasked = chatml(CONTENT, generation_prompt="") + "{{ '<|im_start|>assistant\n' }}"
    assert report_on(unasked).unasked_prompt == "\n<|im_start|>assistant\n"
    assert report_on(unasked).safe
    assert report_on(APPENDS).unasked_prompt is None


# --- differences


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("ab<t>x</t>cd", "abcdef", (2, "<t>x</t>", "")),
        ("abcd", "ab<t>cdef", (2, "", "<t>")),
        ("one two.", "one six. more", (4, "two", "six")),
        ("a<t>x</t><u>y", "a<u>y", (1, "<t>x</t>", "")),
        ("hi<|return|>", "hi<|end|><|start|>", (2, "<|return|>", "<|end|>")),
        ("abc", "abx", (2, "c", "x")),
        ("abc", "ab", (2, "c", "")),
    ],
)
def test_the_first_difference_is_the_smallest_whole_piece(before: str, after: str, expected: object) -> None:
    assert difference(before, after, re.compile(r"</?[^<>\s]+>")) == expected


def test_an_excerpt_is_cut_in_the_middle_and_never_inside_an_escape() -> None:
    assert excerpt("a\nb") == r"'a\nb'"
    assert excerpt("012345\n\n6789", 15) == r"'0123 ... 6789'"
    assert excerpt("012\n\n\n\n789", 15) == r"'012 ... 789'"
    assert len(excerpt("x" * 500)) <= 60


# --- templates of real models


def test_official_qwen3_rewrites_history_and_no_argument_repairs_it() -> None:
    report = report_on(trl_templates()["qwen3"])
    assert verdicts(report)["plain"] == verdicts(report)["reasoning"] == "rewritten"
    plain = report.kinds[0].rewrite
    assert plain is not None
    assert plain.removed == "<think>\n\n</think>\n\n"
    assert report.variables == ("enable_thinking",)
    assert report.repairs == ()


def test_the_training_template_of_qwen3_is_clean() -> None:
    report = report_on(trl_templates()["qwen3_training"])
    assert set(verdicts(report).values()) == {"append-only"}
    assert report.safe
    assert report.markers is not None
    assert [(one.fault.value, one.text) for one in report.markers.faults] == [("following-included", "\n")]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("qwen3_6", "--template-arg preserve_thinking=true"),
        ("lfm2_2_5", "--template-arg preserve_thinking=true"),
        ("nemotron_3_nano", "--template-arg enable_thinking=false"),
    ],
)
def test_the_argument_that_repairs_a_known_template_is_found(name: str, options: str) -> None:
    assert report_on(trl_templates()[name]).repairs[0].options == options


# --- the function and the command


@pytest.fixture
def template(tmp_path: Path) -> Iterator[Path]:
    handler = signal.getsignal(signal.SIGTERM)
    yield tmp_path / "template.jinja"
    signal.signal(signal.SIGTERM, handler)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["template", *arguments], env={"COLUMNS": "80"})


def test_the_function_is_public_and_takes_the_options_of_convert(sample_tokenizer: str, template: Path) -> None:
    template.write_text(FORGETS)
    assert ismpack.check_template(sample_tokenizer).safe
    options = {"chat_template": str(template), "template_args": {"keep_thinking": True}}
    assert not ismpack.check_template(sample_tokenizer, chat_template=str(template)).safe
    assert ismpack.check_template(sample_tokenizer, **options).safe
    with pytest.raises(UsageError, match="no option 'chat_tempalte'"):
        ismpack.check_template(sample_tokenizer, chat_tempalte="x")
    with pytest.raises(TokenizerError, match="not an added token"):
        ismpack.check_template(sample_tokenizer, stop_tokens=("<stop>",))


def test_a_default_system_message_goes_into_every_conversation(sample_tokenizer: str, template: Path) -> None:
    template.write_text("{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + APPENDS)
    report = ismpack.check_template(sample_tokenizer, chat_template=str(template), default_system="Be kind.")
    assert set(verdicts(report).values()) == {"refused (template-error)"}
    assert not report.safe


def test_a_clean_template_is_one_short_page(sample_tokenizer: str) -> None:
    done = run(sample_tokenizer)
    kinds = "\n".join(f"  {kind:20} append-only" for kind in PROBES)
    assert done.output == (
        f"{sample_tokenizer}: safe for multi-turn ISM\n"
        "  11 of 11 kinds of conversation are append-only.\n"
        f"\nConversations\n{kinds}\n"
        "\nFields\n"
        "  printed              content, reasoning_content, tool_calls, tool results,\n"
        "                       tools\n"
        "\nStop tokens\n"
        "  end answers          <|im_end|>\n"
        "  never printed        <|endoftext|>\n"
    )
    assert done.exit_code == 0


def test_a_rewriting_template_exits_with_1_and_shows_piece_and_remedy(sample_tokenizer: str, template: Path) -> None:
    template.write_text(FORGETS)
    done = run(sample_tokenizer, "--chat-template", str(template))
    assert done.exit_code == 1
    assert done.output.startswith(
        f"{template}: not safe for multi-turn ISM without stitching\n  It rewrites history in reasoning.\n"
    )
    assert "  reasoning            rewritten    answer 1 loses '<think>carr ... ten</think>'\n" in done.output
    assert (
        "What is rewritten\n"
        "  In reasoning, answer 1 (message 1) is rendered differently once message 2\n"
        "  follows:\n"
        "      <|im_start|>assistant\\n\n"
        "    - <think>carry from ten</think>\n"
        "      Fifteen.<|im_end|>\\n\n"
        "      <|im_start|>user\\n\n"
    ) in done.output
    assert (
        "What helps\n"
        "  --template-arg keep_thinking=true\n"
        "      append-only: reasoning\n"
        "      This makes it safe.\n"
    ) in done.output  # fmt: skip
    repaired = run(sample_tokenizer, "--chat-template", str(template), "--template-arg", "keep_thinking=true")
    assert repaired.exit_code == 0


def test_a_missing_date_exits_with_1_and_a_given_one_with_0(sample_tokenizer: str, template: Path) -> None:
    template.write_text("{{ strftime_now('%Y') }}" + APPENDS)
    missing = run(sample_tokenizer, "--chat-template", str(template))
    assert (missing.exit_code, missing.output.splitlines()[0]) == (
        1, f"{template}: safe for multi-turn ISM, but only with --date",
    )  # fmt: skip
    given = run(sample_tokenizer, "--chat-template", str(template), "--date", DATE)
    assert given.exit_code == 0
    assert "It reads today's date, which --date 2024-02-29 freezes." in given.output


@pytest.mark.parametrize(
    ("source", "code"),
    [("{% if %}", "chat-template-invalid"), ("{{ [1, 2] | random }}", "chat-template-nondeterministic")],
)
def test_what_cannot_be_examined_exits_with_2(sample_tokenizer: str, template: Path, source: str, code: str) -> None:
    template.write_text(source)
    done = run(sample_tokenizer, "--chat-template", str(template), "--json")
    assert (done.exit_code, done.stdout) == (2, "")
    assert json.loads(done.stderr)["code"] == code
    assert run("./nothing").exit_code == 2
    assert run().exit_code == 2


def test_json_is_one_object_with_everything(sample_tokenizer: str, template: Path) -> None:
    template.write_text(FORGETS + "{% generation %}{% endgeneration %}")
    done = run(sample_tokenizer, "--chat-template", str(template), "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 1
    assert set(report) == {
        "schema", "name", "safe", "problems", "kinds", "fields", "stop_tokens", "markers", "variables", "repairs",
        "unasked_prompt", "clock",
    }  # fmt: skip
    assert (report["schema"], report["name"], report["safe"]) == ("ismpack.template/1", str(template), False)
    assert [kind["kind"] for kind in report["kinds"]] == list(PROBES)
    assert report["kinds"][0] == {
        "kind": "plain", "verdict": "append-only", "code": None, "why": "", "dropped": [], "rewrite": None,
    }  # fmt: skip
    assert report["kinds"][2]["rewrite"]["removed"] == "<think>carry from ten</think>"
    assert report["repairs"][0] == {
        "options": "--template-arg keep_thinking=true", "safe": True, "better": {"reasoning": "append-only"},
        "worse": {},
    }  # fmt: skip
    assert report["stop_tokens"]["closing"] == ["<|im_end|>"]
    assert report["markers"]["faults"][0]["fault"] == "answer-left-out"
    assert report["clock"] == {"kinds": [], "date": None, "needs_date": False}


@pytest.mark.parametrize(
    "name", ["qwen3", "gptoss", "phi3_training", "nemotron_3_nano_training", "glm4moe", "llama3_2"]
)
@pytest.mark.parametrize("width", [40, 80])
def test_the_text_fits_the_terminal_and_cannot_move_its_cursor(name: str, width: int) -> None:
    text = template_text(report_on(trl_templates()[name] + "\x1b[2J"), width=width)
    lines = [re.sub(r"\x1b\[\d+m", "", line) for line in text.splitlines()]
    assert max(len(line) for line in lines[1:]) <= width
    assert "\x1b" not in "".join(lines)


def test_colour_is_only_for_terminals(sample_tokenizer: str, template: Path) -> None:
    assert "\x1b[" not in run(sample_tokenizer).output
    coloured = CliRunner().invoke(main, ["--color", "always", "template", sample_tokenizer])
    assert "\x1b[32m" in coloured.output


def test_the_examples_of_the_help_run_as_they_stand(
    sample_data: Path, tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sample_data").symlink_to(sample_data)
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"^  ismpack template (.*)$", main.commands["template"].epilog or "", re.MULTILINE)
    assert len(examples) == 3
    assert [run(*line.split()).exit_code for line in examples] == [0, 0, 0]


def test_the_help_fits_80_columns_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom ismpack.cli import main\n"
        "try:\n    main(['template', '--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'numpy', 'transformers', 'tokenizers', 'jinja2', 'tqdm'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert max(map(len, done.stdout.split("Examples:")[0].splitlines())) <= 80
