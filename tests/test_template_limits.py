"""Templates that would never end or eat all memory are refused, and ordinary ones notice nothing of the limits."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator

import pytest
from chats import trl_templates
from transformers.utils import chat_template_utils

from ismpack.errors import IsmpackError, RecordError
from ismpack.templates import ChatTemplate, limits
from ismpack.templates.limits import limited

QUESTION = [{"role": "user", "content": "probe"}]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}"
)
LONG, MANY, WIDE, STEPS = (
    "makes a text of more than 100,000 characters",
    "makes a list of more than 10,000 items",
    "makes a number of more than 16,384 bits",
    "takes more than 10,000 steps",
)
FOR_EVER = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"


@pytest.fixture(autouse=True)
def _no_signal_is_left() -> Iterator[None]:
    yield
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_LENGTH", 100_000)
    monkeypatch.setattr(limits, "MAX_ITEMS", 10_000)
    monkeypatch.setattr(limits, "MAX_STEPS", 10_000)


def refusal(source: str) -> IsmpackError:
    template = ChatTemplate(source)
    with pytest.raises(RecordError) as caught:
        template.render(QUESTION)
    assert caught.value.code == "template-error"
    return caught.value


def doubled(start: str, double: str) -> str:
    return f"{{% set n = namespace(x={start}) %}}{{% for i in range(100) %}}{{% set n.x = {double} %}}{{% endfor %}}"


# ---------------------------------------------------------------------------------------------------------- what is made


@pytest.mark.parametrize(
    ("source", "deed"),
    [
        # operators
        (doubled("'x'", "n.x + n.x"), LONG),
        (doubled("'x'", "n.x ~ n.x"), LONG),
        (doubled("'x'", "n.x * 2"), LONG),
        (doubled("'x'", "2 * n.x"), LONG),
        (doubled("[1]", "n.x + n.x"), MANY),
        (doubled("(1,)", "n.x + n.x"), MANY),
        (doubled("3", "n.x * n.x"), WIDE),
        ("{% set x = 'x' * 1000 %}" + "{% set x = x + x %}" * 50, LONG),
        ("{% macro double(x) %}{{ double(x + x) }}{% endmacro %}{{ double('x') }}", LONG),
        ("{% set x = 'x' * 10000 %}{% set y = " + "x + " * 20 + "'' %}", LONG),
        ("{% set x = 'x' * 10000 %}{% set y = " + "x ~ " * 20 + "'' %}", LONG),
        ("{{ 'x' * 10 ** 10 }}", LONG),
        ("{{ ('x'.encode() * 10 ** 10) | length }}", LONG),
        ("{{ ([1] * 10 ** 10) | length }}", MANY),
        ("{{ 10 ** (10 ** 10) }}", WIDE),
        ("{{ '%1000000000d' % 1 }}", LONG),
        ("{{ '%*d' % (1000000000, 1) }}", LONG),
        ("{{ '%.1000000000f' | format(1) }}", LONG),
        ("{{ ('%(a)s' * 1000) % {'a': 'x' * 1000} }}", LONG),
        ("{{ '%s%s' % ('x' * 60000, 'x' * 60000) }}", LONG),
        # methods, however they are reached
        ("{{ 'x'.center(10 ** 10) }}", LONG),
        ("{{ 'x'['ljust'](10 ** 10) }}", LONG),
        ("{{ ('x' | attr('rjust'))(10 ** 10) }}", LONG),
        ("{{ '1'.zfill(10 ** 10) }}", LONG),
        ("{{ '\\t'.expandtabs(10 ** 10) }}", LONG),
        ("{{ (1).to_bytes(length=10 ** 10, byteorder='big') }}", LONG),
        ("{{ ('x' * 1000).join(['y'] * 1000) }}", LONG),
        ("{{ ''.join(['x' * 1000] | map('upper')) }}{{ 'x'.join(range(5) | map('center', 50000)) }}", LONG),
        ("{{ ('x' * 1000).replace('x', 'y' * 1000) }}", LONG),
        ("{{ ('x' * 1000).replace('', 'y' * 1000) }}", LONG),
        ("{{ ('x' * 1000).translate({120: 'y' * 1000}) }}", LONG),
        ("{{ ('x ' * 40000).split() | length }}", MANY),
        ("{{ ('x,' * 40000).rsplit(',') | length }}", MANY),
        ("{{ ('\\n' * 40000).splitlines() | length }}", MANY),
        ("{{ '{:>1000000000}'.format(1) }}", LONG),
        ("{{ '{:>{}}'.format(1, 10 ** 9) }}", LONG),
        ("{{ ('{0}' * 1000).format('x' * 1000) }}", LONG),
        ("{{ '{a:>1000000000}'.format_map({'a': 1}) }}", LONG),
        ("{{ ('{:>1000000000}' | escape).format(1) }}", LONG),
        # filters
        ("{{ 'x' | center(10 ** 10) }}", LONG),
        ("{{ 'x' | center(10000000000) }}", LONG),
        ("{{ ['x'] | map('center', 10 ** 10) | join }}", LONG),
        ("{{ ('x\n' * 1000) | indent(1000) }}", LONG),
        ("{{ ('\\r' * 1000) | indent('y' * 1000, blank=true) }}", LONG),
        ("{{ (['x'] * 1000) | join('y' * 1000) }}", LONG),
        ("{{ ([{'a': 'x' * 1000}] * 1000) | join(attribute='a') }}", LONG),
        ("{{ ('x' * 1000) | replace('x', 'y' * 1000) }}", LONG),
        ("{{ 1111 | replace(1, 'y' * 50000) }}", LONG),
        ("{{ ('x ' * 1000) | wordwrap(1, wrapstring='y' * 1000) }}", LONG),
        ("{{ [1] | tojson(indent=10 ** 9) }}", LONG),
        ("{{ [1] | tojson(indent='x' * 1000) }}", LONG),
        ("{{ ('x' * 40000) | list | length }}", MANY),
        ("{{ [1] | batch(linecount=10 ** 10, fill_with=1) | list }}", MANY),
        ("{{ [1] | slice(10 ** 10) | list }}", MANY),
        ("{{ ([[1] * 1000] * 1000) | sum(start=[]) }}", MANY),
        ("{{ ([{'a': [1] * 1000}] * 1000) | sum(attribute='a', start=[]) }}", MANY),
        ("{{ 1 | round(10 ** 10, 'ceil') }}", WIDE),
        ("{{ 1 | round(-10 ** 10) }}", WIDE),
        # what prints
        ("{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}", "prints more than 100,000 characters"),
        ("{{ 'x' * 60000 }}{{ 'x' * 60000 }}", LONG),
        ("{% macro f() %}{{ 'x' * 60000 }}{% endmacro %}{% set x = [f() + f()] %}", LONG),
        ("{% set x %}{% for i in range(1000) %}{{ 'x' * 1000 }}{% endfor %}{% endset %}", "prints more than 100,000"),
        ("{% filter upper %}{% for i in range(1000) %}{{ 'x' * 1000 }}{% endfor %}{% endfilter %}", "prints more than"),
        (
            "{% generation %}{% for i in range(1000) %}{{ 'x' * 1000 }}{% endfor %}{% endgeneration %}",
            "prints more than",
        ),
    ],
)
@pytest.mark.usefixtures("small")
def test_what_would_grow_too_long_is_refused(source: str, deed: str) -> None:
    assert refusal(source).message.startswith(f"the chat template {deed}")


# ---------------------------------------------------------------------------------------------------------- what is done


@pytest.mark.parametrize(
    "source",
    [
        FOR_EVER,
        "{% for i in range(100000) %}{% for j in range(100000) if false %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(50) }}",
        "{% for i in [1, 2] recursive %}{{ loop([1, 2]) if loop.depth < 50 }}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ caller(n) }}{{ caller(n) }}{% endif %}{% endmacro %}"
        "{% macro g(n) %}{% call(m) f(n) %}{{ g(m - 1) }}{% endcall %}{% endmacro %}{{ g(50) }}",
        "{% set n = namespace(d=0) %}{% block b %}{% set n.d = n.d + 1 %}"
        "{% if n.d < 30 %}{{ self.b() }}{{ self.b() }}{% endif %}{% set n.d = n.d - 1 %}{% endblock %}",
    ],
    ids=["loops", "filtered loops", "macros", "a recursive loop", "call blocks", "blocks"],
)
@pytest.mark.usefixtures("small")
def test_what_would_never_end_is_refused(source: str) -> None:
    assert refusal(source).message == f"the chat template {STEPS}"


def test_endless_recursion_is_refused() -> None:
    error = refusal("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}")
    assert error.message.startswith("the chat template refuses this conversation: maximum recursion depth exceeded")


def test_a_loop_over_the_messages_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_STEPS", 10)
    source = "{% for m in messages if m.role %}{{ m.role }}{% endfor %}"
    assert ChatTemplate(source).render(QUESTION * 2_000) == "user" * 2_000


@pytest.mark.usefixtures("small")
def test_every_render_counts_from_zero_also_inside_another() -> None:
    template = ChatTemplate("{% for i in range(2) %}{% for j in range(3000) %}{% endfor %}{% endfor %}done")
    assert [template.render(QUESTION) for _ in range(2)] == ["done", "done"]
    with limited():
        assert [template.render(QUESTION) for _ in range(2)] == ["done", "done"]
    with limited(), pytest.raises(RecordError, match="steps"):
        ChatTemplate(FOR_EVER).render(QUESTION)


# ---------------------------------------------------------------------------------------------------------- the watch


def test_a_render_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SECONDS", 0.05)
    assert refusal(FOR_EVER).message == "the chat template takes more than 0.05 seconds"


def test_a_filter_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SECONDS", 0.05)
    error = refusal("{{ ([range(1000)] * 1000000) | map('sum') | list | length }}")
    assert error.message == "the chat template takes more than 0.05 seconds"


@pytest.mark.parametrize(
    "source",
    [
        "{% macro f() %}{% for i in range(100000) %}{{ 'x' * 300000 }}{% endfor %}{% endmacro %}{{ f() }}",
        "{% set n = namespace(x=[]) %}{% for i in range(100000) %}{% set n.x = n.x + ['x' * 300000] %}{% endfor %}",
        "{{ (['x' * 300000] * 100000) | map('upper') | list | length }}",
    ],
    ids=["printed", "kept", "filtered"],
)
def test_many_texts_of_lawful_size_are_stopped(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_MEMORY", 50_000_000)
    assert refusal(source).message == "the chat template takes more than 50,000,000 bytes of memory"


def test_a_signal_that_somebody_else_handles_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_STEPS", 5_000)

    def handler(*_: object) -> None:
        raise AssertionError

    try:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 1_000)
        assert refusal(FOR_EVER).message == "the chat template takes more than 5,000 steps"
        assert signal.getsignal(signal.SIGALRM) is handler
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


@pytest.mark.usefixtures("small")
def test_steps_are_counted_in_any_thread() -> None:
    errors: list[IsmpackError] = []
    thread = threading.Thread(target=lambda: errors.append(refusal(FOR_EVER)))
    thread.start()
    thread.join()
    assert [error.message for error in errors] == [f"the chat template {STEPS}"]


# ------------------------------------------------------------------------------------------------- what else is raised


@pytest.mark.parametrize(
    ("error", "words"),
    [(MemoryError(), "MemoryError"), (OverflowError("too large"), "too large"), (RecursionError("deep"), "deep")],
)
def test_what_foreign_code_raises_refuses_the_conversation(error: Exception, words: str) -> None:
    with pytest.raises(RecordError) as caught, limited():
        raise error
    assert caught.value.code == "template-error"
    assert caught.value.message == f"the chat template refuses this conversation: {words}"
    assert caught.value.__cause__ is error


def test_an_interrupt_passes() -> None:
    with pytest.raises(KeyboardInterrupt), limited():
        raise KeyboardInterrupt


# ------------------------------------------------------------------------------------------------- ordinary templates


@pytest.mark.parametrize("name", ["chatml", "qwen3"])
def test_a_thousand_messages_pass(name: str) -> None:
    source = CHATML if name == "chatml" else trl_templates()[name]
    messages = [{"role": role, "content": f"{i} {role} " * 20} for i in range(500) for role in ("user", "assistant")]
    expected, _ = chat_template_utils.render_jinja_template([messages], chat_template=source)
    assert ChatTemplate(source).render(messages) == expected[0]


def test_a_constant_that_is_too_long_to_be_worked_out_beforehand_is_printed() -> None:
    assert ChatTemplate("{{ 'x' | center(5000) | trim }}{{ 'y' | center(5001) | length }}").render([]) == "x5001"


@pytest.mark.parametrize(
    "source",
    [
        "{{ 2 * 3 }} {{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ [1] * 2 }} {{ 'a' * -1 }} {{ 2.5 * 2 }} {{ true * 3 }}",
        "{{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2.0 ** 3 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7.5 % 2 }}",
        "{{ '%s-%05d-%.2f' % ('a', 3, 1.5) }} {{ '%(a)s %%' % {'a': 1} }} {{ '%*d' % (5, 1) }} {{ '%s' % [1] }}",
        "{{ 'a' + 'b' ~ 1 + 'c' }} {% set x = 'a' ~ 1 ~ none %}{{ x }} {% set y = [1] + [2] %}{{ y }} {{ 1 + 2 }}",
        "{% set x = " + "'a' + " * 40 + "'b' %}{{ x }} {% set y = " + "1 ~ " * 40 + "2 %}{{ y }}",
        "{{ " + "'a' ~ 'b' + " * 20 + "'c' }} {{ " + "1 ~ (2 + 3) ~ " * 20 + "4 }}",
        "{{ 'a'.center(5, '*') }} {{ 'a'.ljust(3) }}|{{ 'a'.rjust(3) }} {{ '7'.zfill(3) }} {{ 'a\\tb'.expandtabs(4) }}",
        "{{ ', '.join(['a', 'b']) }} {{ '-'.join('abc') }} {{ ''.join(['a', 'b'] | map('upper')) }} {{ 'x'.join({}) }}",
        "{{ 'aXbX'.replace('X', 'yy') }} {{ 'aXbX'.replace('X', 'yy', 1) }} {{ 'ab'.replace('', '-') }}",
        "{{ 'ab'.translate({97: 'xy', 98: none}) }} {{ 'a b'.split() }} {{ 'a,b'.rsplit(',', 1) }} {{ 'a\nb'.splitlines() }}",
        "{{ '{} {x:>4} {0[0]}'.format('ab', x=1) }} {{ '{a}{b!r}'.format_map({'a': 1, 'b': 'c'}) }}",
        "{{ ('<{}>' | escape).format('<') }} {{ (5).to_bytes(2, 'big') }} {{ (5).bit_length() }} {{ 'ab'.encode().hex() }}",
        "{{ 'a' | center(5) }}|{{ 'a\nb' | indent }}|{{ 'a\nb' | indent('> ', true) }}|{{ 'a\n\nb' | indent(2, blank=true) }}",
        "{{ ['a', 1, none] | join('-') }} {{ [{'a': 1}, {'a': 2}] | join(', ', attribute='a') }} {{ nothing | join }}",
        "{{ 'aab' | replace('a', 'x') }} {{ 'aab' | replace('a', 'x', 1) }} {{ 121 | replace(1, 3) }}",
        "{{ '%s %s' | format('a', 1) }} {{ '%(a)s' | format(a=2) }} {{ 2.345 | round(2) }} {{ 2.1 | round(method='ceil') }}",
        "{{ 'ab' | list }} {{ range(3) | list }} {{ [1, 2, 3] | batch(2, 0) | list }} {{ [1, 2, 3] | slice(2) | list }}",
        "{{ 'some words here' | wordwrap(6) }} {{ 'some words here' | wordwrap(6, wrapstring='/') }}",
        "{{ [1, 2] | sum }} {{ [{'a': 1}] | sum('a', 2) }} {{ [[1], [2]] | sum(start=[]) }} {{ [] | sum(start=(1,)) }}",
        "{{ [{'a': [1]}, {'a': [2]}] | sum(attribute='a', start=[]) }} {{ [1, {'a': 'b'}] | tojson(indent=2) }}",
        "{% for x in [1, 2, 3] if x != 2 %}{{ loop.index }}{{ loop.last }}{% else %}none{% endfor %}",
        "{% for x in [[1], [2]] %}{% for y in x if y > 1 %}{{ y }}{% else %}none{% endfor %}{% endfor %}",
        "{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}",
        "{% macro f(x, y=2) %}{{ x }}{{ y }}{{ caller() if caller }}{% endmacro %}{{ f(1) }}{% call f(3) %}c{% endcall %}",
        "{% block b %}{{ messages[0].role }}{% endblock %}{{ self.b() }}",
        "{% autoescape true %}{{ '<' + '>' }}{{ '<' ~ 'a' }}{{ ['<'] | join('>') }}{% set x = '<' ~ '>' %}{{ x }}{% endautoescape %}",
        # refused, in the same words
        "{{ 'a' * 'b' }}",
        "{{ [] ** 2 }}",
        "{{ '%d' % 'a' }}",
        "{{ '%s %s' % 'a' }}",
        "{{ 'a'.center('b') }}",
        "{{ 'a'.join(1) }}",
        "{{ 'a'.join([1]) }}",
        "{{ 'a'.replace('b') }}",
        "{{ '{}'.format() }}",
        "{{ '{}'.format_map() }}",
        "{{ '{}'.format_map(a=1) }}",
        "{{ 'a' | center('b') }}",
        "{{ 'a' | indent(none) }}",
        "{{ 1 | join }}",
        "{{ 'a' | replace('b') }}",
        "{{ [1] | batch('a') | list }}",
        "{{ ['a'] | sum }}",
        "{{ ['a'] | sum(start='') }}",
        "{{ [1] | sum(start=[]) }}",
        "{{ none | list }}",
        "{% set x = 'a' + 1 %}",
        "{% set x = [1] + (2,) %}",
    ],
)
def test_what_is_checked_does_what_it_does_in_transformers(source: str) -> None:
    def outcome(render: Callable[[], str]) -> str:
        try:
            return render()
        except RecordError as error:
            return error.message
        except Exception as error:  # whatever Python raises
            return f"the chat template refuses this conversation: {error}"

    theirs = outcome(lambda: chat_template_utils.render_jinja_template([QUESTION], chat_template=source)[0][0])
    assert outcome(lambda: ChatTemplate(source).render(QUESTION)) == theirs
