"""The sandbox against transformers' own on every template of trl, what it refuses, and how messages are spelled."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from chats import CHATS, CLOCK, DATE, StoppedClock, assistant, call, chat, dicts, trl_templates, user
from transformers.utils import chat_template_utils

from ismpack.data import ROLES, Message, Role, ToolCall
from ismpack.errors import IsmpackError, RecordError, TokenizerError
from ismpack.templates import ChatTemplate, Dialect, find_dialect
from ismpack.templates.dialect import template_messages
from ismpack.templates.reference import PlainRenders

VARIABLES = {"bos_token": "<BOS>", "eos_token": "<EOS>", "pad_token": "<PAD>", "unk_token": "<UNK>"}
QUESTION = [{"role": "user", "content": "probe"}]
TEMPLATES = trl_templates()


def refusal(source: str, *, date: str | None = None, messages: list[dict[str, Any]] | None = None) -> IsmpackError:
    with pytest.raises(IsmpackError) as caught:
        ChatTemplate(source, date=date).render(messages or QUESTION)
    return caught.value


# ------------------------------------------------------------------------------------------ the same as transformers


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_render_is_the_one_of_transformers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same text, or both raise with the same words: all prefixes, with and without the generation prompt."""
    monkeypatch.setattr(chat_template_utils, "datetime", StoppedClock)
    template = ChatTemplate(TEMPLATES[name], variables=VARIABLES, date=DATE)
    dialect = find_dialect(template)
    for conversation in CHATS.values():
        ours, theirs = template_messages(conversation, dialect), dicts(conversation, dialect)
        tools = list(conversation.tools) if conversation.tools else None
        for count, prompt in itertools.product(range(len(ours) + 1), (False, True)):
            expected: str | Exception
            try:
                rendered, _ = chat_template_utils.render_jinja_template(
                    [theirs[:count]],
                    tools=tools,
                    chat_template=TEMPLATES[name],
                    add_generation_prompt=prompt,
                    **VARIABLES,
                )
                expected = rendered[0]
            except Exception as error:  # whatever a template raises
                expected = error
            if isinstance(expected, str):
                assert template.render(ours[:count], tools=tools, add_generation_prompt=prompt) == expected
                continue
            with pytest.raises(RecordError) as caught:
                template.render(ours[:count], tools=tools, add_generation_prompt=prompt)
            assert caught.value.code == "template-error"
            assert caught.value.message == f"the chat template refuses this conversation: {expected}"


def test_trl_ships_templates_that_show_the_date() -> None:
    """The clock above is not stopped for nothing."""
    assert [name for name, source in TEMPLATES.items() if "strftime_now" in source] == [
        "gptoss", "gptoss_training", "llama3_2", "muse_glimmer", "muse_glimmer_training"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages | tojson }} {{ {'b': 1, 'a': '<é>'} | tojson(sort_keys=true, indent=2) }}",
        "{{ tools }}|{{ documents }}|{{ add_generation_prompt }}|{{ nothing }}",
        "{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
        "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
        "{{ dict(a=1) }} {{ dict.fromkeys(['a'], 1) }}",
        "{% set n = namespace(a=1) %}{% set n.b = 2 %}{{ n.a + n.b }} {{ namespace({'c': 3}).c }}",
        "{% set n = namespace([['a', 1]] | map('list')) %}{{ n.a }}",
        "  {% if true %}\n  yes\n  {% endif %}\n{{ messages[0].content.missing }}\n",
        "{{ ''.__class__ }}{{ '{0.__class__}'.format(1) }}{{ '' | attr('__class__') }}",
    ],
)
def test_jinja_itself_behaves_as_in_transformers(source: str) -> None:
    expected, _ = chat_template_utils.render_jinja_template([QUESTION], chat_template=source)
    assert ChatTemplate(source).render(QUESTION) == expected[0]


def test_tools_reach_the_template_as_a_list() -> None:
    conversation = chat(user("q"), assistant("a"), tools=CLOCK)
    source = "{{ tools + [] == tools }} {{ tools }}"
    dialect = Dialect(text_roles=frozenset(ROLES), part_roles=frozenset(), text_arguments=False)
    renders = PlainRenders(conversation, ChatTemplate(source), template_messages(conversation, dialect))
    expected, _ = chat_template_utils.render_jinja_template(
        [dicts(conversation, dialect)], tools=list(CLOCK), chat_template=source
    )
    assert renders.prefix(2) == expected[0]


# ------------------------------------------------------------------------------------------------------------ spelling


@pytest.mark.parametrize(
    ("source", "text", "parts"),
    [
        ("{{ messages[-1].content }}", True, False),
        ("{{ messages[-1].content + '.' }}", True, False),
        ("{% for part in messages[-1].content %}{{ part.text }}{% endfor %}", False, True),
        ("{{ messages[-1].content | map(attribute='text') | join }}", False, True),
        (
            "{% if messages[-1].content is string %}{{ messages[-1].content }}{% else %}"
            "{{ messages[-1].content[0].text }}{% endif %}",
            True,
            True,
        ),
        ("{{ messages[-1].role }}", True, False),
        ("{{ raise_exception('no') }}", True, False),
    ],
    ids=["text", "text, refuses parts", "parts", "parts by filter", "both", "prints neither", "refuses both"],
)
def test_what_content_a_template_reads(source: str, text: bool, parts: bool) -> None:
    found = find_dialect(ChatTemplate(source))
    assert ("user" in found.text_roles, "user" in found.part_roles) == (text, parts)
    assert ("assistant" in found.text_roles, "assistant" in found.part_roles) == (text, parts)


def test_each_role_is_tried_on_its_own() -> None:
    source = "{% for m in messages %}{{ m.content[0].text if m.role == 'user' and m.content is not string else m.content }}{% endfor %}"
    found = find_dialect(ChatTemplate(source))
    assert found.part_roles == {"user"}
    assert found.text_roles == set(ROLES)


@pytest.mark.parametrize(
    ("printed", "as_text"),
    [
        ("{{ arguments | tojson }}", False),
        ("{% for k, v in arguments.items() %}{{ k }}={{ v }}{% endfor %}", False),
        ("{% if arguments is string %}{{ arguments }}{% else %}{{ arguments | tojson }}{% endif %}", False),
        ("{{ arguments }}", True),
        ("{{ 'arguments: ' + arguments }}", True),
        ("", False),
        ("{{ raise_exception('no tools') }}", False),
    ],
    ids=["as JSON", "key by key", "both", "as it is", "joined to text", "not printed", "refused"],
)
def test_what_tool_arguments_a_template_wants(printed: str, as_text: bool) -> None:
    source = (
        "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}{% set arguments = c.function.arguments %}"
        + printed
        + "{% endfor %}{% endfor %}"
    )
    assert find_dialect(ChatTemplate(source)).text_arguments is as_text


def spelled(
    message: Message, *, text: bool = True, parts: bool = False, text_arguments: bool = False
) -> dict[str, Any]:
    everyone, nobody = frozenset(ROLES), frozenset[Role]()
    dialect = Dialect(
        text_roles=everyone if text else nobody,
        part_roles=everyone if parts else nobody,
        text_arguments=text_arguments,
    )
    return template_messages(chat(message), dialect)[0]


def test_content_is_spelled_as_the_template_reads_it() -> None:
    split = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    whole = [{"type": "text", "text": "ab"}]
    assert spelled(user("ab"))["content"] == "ab"
    assert spelled(user(("a", "b")))["content"] == "ab"
    assert spelled(user("ab"), parts=True)["content"] == "ab"
    assert spelled(user(("a", "b")), parts=True)["content"] == split
    assert spelled(user("ab"), text=False, parts=True)["content"] == whole
    assert spelled(user(("a", "b")), text=False, parts=True)["content"] == split


def test_arguments_are_spelled_as_the_template_wants_them() -> None:
    def function(made: ToolCall, *, text_arguments: bool) -> object:
        return spelled(assistant("", calls=(made,)), text_arguments=text_arguments)["tool_calls"][0]["function"]

    given = ToolCall(name="f", arguments={"a": "é"})
    with_text = ToolCall(name="f", arguments={"a": 1}, arguments_text='{"a":1}')
    no_json = ToolCall(name="f", arguments="a=1")
    assert function(given, text_arguments=False) == {"name": "f", "arguments": {"a": "é"}}
    assert function(given, text_arguments=True) == {"name": "f", "arguments": '{"a": "é"}'}
    assert function(with_text, text_arguments=False) == {"name": "f", "arguments": {"a": 1}}
    assert function(with_text, text_arguments=True) == {"name": "f", "arguments": '{"a":1}'}
    assert function(no_json, text_arguments=True) == {"name": "f", "arguments": "a=1"}


def test_absent_values_are_left_out_and_reasoning_has_two_names() -> None:
    assert spelled(assistant(None, thought="hm", calls=(call("Oslo"),))) == {
        "role": "assistant",
        "tool_calls": [
            {
                "id": "call00001",
                "type": "function",
                "function": {"name": "get_time", "arguments": {"place": "Oslo", "clock": "24h"}},
            }
        ],
        "reasoning_content": "hm",
        "thinking": "hm",
    }
    assert spelled(Message(role="tool", content="08:15", name="get_time", tool_call_id="1", extra={"ok": True})) == {
        "role": "tool",
        "content": "08:15",
        "name": "get_time",
        "tool_call_id": "1",
        "ok": True,
    }


# --------------------------------------------------------------------------------------------------- chance and clock


def test_a_template_that_shows_the_date_needs_a_frozen_one() -> None:
    error = refusal("{{ strftime_now('%d %b %Y') }}")
    assert isinstance(error, TokenizerError)
    assert error.code == "chat-template-nondeterministic"
    assert error.hint == "Freeze it: --date YYYY-MM-DD."
    assert ChatTemplate("{{ strftime_now('%d %b %Y') }}", date=DATE).render(QUESTION) == "29 Feb 2024"


def test_the_date_is_asked_for_before_the_first_record() -> None:
    with pytest.raises(TokenizerError, match="chat-template-nondeterministic"):
        find_dialect(ChatTemplate("{{ strftime_now('%Y') }}{{ messages[0].content }}"))


def test_a_template_that_may_show_the_date_but_does_not_needs_none() -> None:
    source = "{% if day is defined %}{{ day }}{% else %}{{ strftime_now('%d') }}{% endif %}"
    assert ChatTemplate(source, variables={"day": "1 May"}).render(QUESTION) == "1 May"


@pytest.mark.parametrize("source", ["{{ [1, 2] | random }}", "{{ lipsum() }}"])
def test_a_template_that_asks_for_chance_is_refused(source: str) -> None:
    assert refusal(source).code == "chat-template-nondeterministic"


# -------------------------------------------------------------------------------------------------------- bad templates


def test_invalid_jinja_is_refused_with_its_line() -> None:
    with pytest.raises(TokenizerError) as caught:
        ChatTemplate("one\ntwo\n{% if %}\n", name="chat.jinja")
    assert caught.value.code == "chat-template-invalid"
    assert caught.value.message.startswith("the chat.jinja is not valid Jinja: ")
    assert str(caught.value.location) == "chat.jinja:3"


@pytest.mark.parametrize("tag", ["{% do 1 %}", "{% trans %}x{% endtrans %}", "{% generation %}"])
def test_tags_that_transformers_lacks_are_invalid(tag: str) -> None:
    with pytest.raises(TokenizerError, match="chat-template-invalid"):
        ChatTemplate(tag)


def test_a_template_that_python_cannot_compile_is_invalid() -> None:
    with pytest.raises(TokenizerError, match="chat-template-invalid"):
        ChatTemplate("{% for x in [1] %}" * 25 + "{% endfor %}" * 25)


def test_the_templates_own_refusal_is_passed_on() -> None:
    error = refusal("{{ raise_exception('Roles must alternate!') }}")
    assert isinstance(error, RecordError)
    assert str(error) == "[template-error] the chat template refuses this conversation: Roles must alternate!"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ nothing.at_all }}", "'nothing' is undefined"),
        ("{{ 'a' + 1 }}", 'can only concatenate str (not "int") to str'),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% include 'other' %}", "no loader for this environment specified"),
        ("{{ range(10 ** 9) | list }}", "Range too big"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "maximum recursion depth exceeded"),
    ],
)
def test_whatever_goes_wrong_in_a_template_refuses_the_conversation(source: str, words: str) -> None:
    error = refusal(source)
    assert error.code == "template-error"
    assert words in error.message


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'content': 'x'}) }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ (''|attr('__class__')).mro() }}",
        "{{ '{0.__class__.__mro__}'.format('').x.y }}",
        "{{ dict.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ raise_exception.__globals__.x }}",
        "{{ strftime_now.__closure__[0] }}",
        "{% set n = namespace(__class__=1) %}",
        "{% set n = namespace() %}{% set n.__init__ = 1 %}",
    ],
)
def test_the_way_out_of_the_sandbox_is_shut(source: str) -> None:
    messages = [{"role": "user", "content": "probe"}]
    assert refusal(source, date=DATE, messages=messages).code == "template-error"
    assert messages == QUESTION


def test_generation_blocks_print_their_body() -> None:
    source = "a{% generation %}b{{ messages[0].content }}{% endgeneration %}c"
    assert ChatTemplate(source).render(QUESTION) == "abprobec"


def test_a_records_arguments_win_over_the_runs_and_never_over_the_conversation() -> None:
    template = ChatTemplate(
        "{{ think }} {{ bos_token }} {{ messages[0].content }}", variables={"think": 1, "bos_token": "<s>"}
    )
    assert template.render(QUESTION) == "1 <s> probe"
    assert template.render(QUESTION, args={"think": 2}) == "2 <s> probe"
    assert template.render(QUESTION) == "1 <s> probe"
