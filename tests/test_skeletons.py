"""The fast engine against the slow reference and against plain renders, on every template and conversation at hand.

Three questions: does it give the reference's segments (equality), does a skeleton that was made for one conversation
give another's text (mutation), and can data pass for a control token of the template (injection).

At full size: `ISMPACK_MUTATIONS=20000 pytest tests/test_skeletons.py -k mutated`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter, itemgetter
from random import Random

import pytest
from adversarial_templates import ADVERSARIAL
from chats import CHATS, DATE, assistant, chat, system, trl_templates, user
from more_chats import INJECTIONS, MORE_CHATS
from msgspec.structs import replace
from mutations import mutate
from test_template_corpus import STOPS, VARIABLES, stops_of

from ismpack.data import Conversation, Json, Message, Origin, PlainConversation, Segment, ToolCall
from ismpack.errors import RecordError
from ismpack.templates import (
    ChatTemplate,
    Dialect,
    Segmentation,
    Segmenter,
    SegmentRules,
    find_dialect,
    segment,
)
from ismpack.templates.dialect import template_messages
from ismpack.templates.rules import any_of

TEMPLATES = trl_templates() | ADVERSARIAL
CONVERSATIONS = CHATS | MORE_CHATS

SPECIAL = re.compile(r"<[|｜][^|｜<>\s]+[|｜]?>|<[^|｜<>\s]+[|｜]>|\[/?[A-Z_]+\]|<(?:start|end)_of_turn>")
WRITTEN = ("<think>", "</think>", "<tool_call>", "</tool_call>")
"""Control tokens that are not special: a model writes them."""

FIELDS = frozenset({"content", "reasoning_content", "tool_calls", "tools"})


class Setting:
    """One template with its dialect, its control tokens, and a plain render for each question."""

    def __init__(self, name: str, *, written: Sequence[str] = WRITTEN, **options: object) -> None:
        source = TEMPLATES[name]
        self.template = ChatTemplate(source, variables=VARIABLES, date=DATE)
        self.dialect: Dialect = find_dialect(self.template)
        special = sorted({*STOPS, *stops_of(source), *SPECIAL.findall(source), *VARIABLES.values()})
        self.control = (*special, *(token for token in written if token in source))
        self.own = tuple(token for token in self.control if token in source or token in VARIABLES.values())
        self.rules = SegmentRules(
            stop_tokens=stops_of(source),
            control_tokens={token: token not in WRITTEN for token in self.control},
            **options,  # type: ignore[arg-type]
        )

    def render(self, conversation: Conversation, count: int, *, prompt: bool) -> str:
        return self.template.render(
            template_messages(conversation, self.dialect)[:count],
            tools=conversation.tools,
            add_generation_prompt=prompt,
            args=conversation.template_args,
        )

    def reference(self, conversation: Conversation) -> Segmentation | str:
        try:
            return segment(conversation, self.template, self.dialect, self.rules)
        except RecordError as error:
            return error.code

    def engine(self) -> Segmenter:
        return Segmenter(self.template, self.dialect, self.rules)


def run(engine: Segmenter, conversation: Conversation | PlainConversation) -> Segmentation | str:
    try:
        return engine.segment(conversation)
    except RecordError as error:
        return error.code


def plainly(conversation: Conversation) -> PlainConversation | None:
    """A conversation in its other form; None if it has none."""
    texts = [message.content for message in conversation.messages if isinstance(message.content, str)]
    plain = PlainConversation(tuple(message.role for message in conversation.messages), texts, "messages")
    return plain if len(texts) == len(plain.roles) and plain.written_out() == conversation else None


def answers(conversation: Conversation) -> list[int]:
    """Assistant messages after the first user or tool message."""
    roles = [message.role for message in conversation.messages]
    opened = next((i for i, role in enumerate(roles) if role in ("user", "tool")), len(roles))
    return [i for i, role in enumerate(roles) if role == "assistant" and i > opened]


def types(part: Segment) -> list[tuple[int, int]]:
    """(type, characters) of each stretch of one type."""
    return [
        (kind, sum(n for _, n in group))
        for kind, group in groupby(((p.type_id, len(p.text)) for p in part.pieces), itemgetter(0))
    ]


def stretches(part: Segment) -> Iterator[tuple[Origin, str, int]]:
    """Origin, text and start of each stretch of one origin."""
    at = 0
    for origin, pieces in groupby(part.pieces, lambda piece: piece.origin):
        text = "".join(piece.text for piece in pieces)
        yield origin, text, at
        at += len(text)


def essence(result: Segmentation | str, *, restore: Callable[[str], str] = str) -> object:
    """All that two results must have in common: everything but who wrote what."""
    if isinstance(result, str):
        return result
    samples = [
        [(restore(part.text), types(part), part.is_answer, part.turn, part.loss) for part in sample]
        for sample in result.samples
    ]
    return samples, sorted(set(result.warnings) - {"control-string-in-data"}), result.inferred_stops


def contradiction(setting: Setting, conversation: Conversation, result: Segmentation) -> str:
    """How a stitched result contradicts the plain renders; empty if it does not."""
    [sample] = result.samples
    held = ""
    said = [part for part in sample if part.is_answer]
    indices = answers(conversation)
    if [part.turn for part in said] != list(range(len(indices))):
        return "the answers are not the conversation's"
    for turn, (k, answer) in enumerate(zip(indices, said, strict=True)):
        given = setting.render(conversation, k, prompt=True)
        full = setting.render(conversation, k + 1, prompt=False)
        query = "".join(part.text for part in sample if part.turn == turn and not part.is_answer)
        if not given.endswith(query):
            return f"query {turn} is not the end of its prompt: {query!r} of {given!r}"
        if "history-rewritten" not in result.warnings and given != held + query:
            return f"query {turn} does not follow what is held: {held + query!r} is not {given!r}"
        if not full.startswith(given + answer.text):
            return f"answer {turn} does not follow its prompt: {given + answer.text!r} does not begin {full!r}"
        held = given + answer.text
    return ""


# ------------------------------------------------------------------------------------------------------------ equality

REFUSALS = {
    "special-token-in-data", "no-answer", "no-target", "template-error", "data-dropped", "empty-answer",
    "generation-prompt-not-continued", "no-stop-token", "stitch-ambiguous",
}  # fmt: skip
LENIENT: dict[str, object] = {
    "allow_dropped": FIELDS, "allow_unterminated": True, "loss": "last", "on_rewrite": "split",
}  # fmt: skip
SLOW = ("forty-two turns", "one message of 200 kB", "an answer of 30 kB")
QUICK = {title: given for title, given in CONVERSATIONS.items() if title not in SLOW}

# Template -> conversation -> how the result differs.
DEFAULT_SYSTEM = {"empty everywhere": "types", "white space everywhere": "types"}
KNOWN: dict[str, dict[str, str]] = {
    # Their default system prompt, which an empty system message leaves in place: the reference, which finds owners by
    # changing texts, calls it the message's, and provenance says that nobody wrote it.
    "cohere2": {"empty everywhere": "types"},
    "cohere2_training": {"empty everywhere": "types"},
    "qwen3_8": DEFAULT_SYSTEM,
    "qwen3_8_training": DEFAULT_SYSTEM,
}
KNOWN_LENIENT: dict[str, dict[str, str]] = {
    # Without a stop token an answer ends with its data, and the reference sees where data could stand.
    "glm4moe": {
        "answer of white space": "accepted, but ours: empty-answer",
        "empty answer": "accepted, but ours: empty-answer",
    },
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_conversation_gives_the_references_segments(name: str) -> None:
    # Training templates differ little from their originals, and letter by letter 200 kB take Jinja seconds.
    conversations = QUICK if name.endswith("_training") or name == "characters" else CONVERSATIONS
    assert differences(Setting(name, written=()), conversations) == KNOWN.get(name, {})


@pytest.mark.parametrize("name", [name for name in TEMPLATES if not name.endswith("_training")])
def test_lenient_options_give_the_references_segments_too(name: str) -> None:
    assert differences(Setting(name, written=(), **LENIENT), CHATS) == KNOWN_LENIENT.get(name, {})


def differences(setting: Setting, conversations: Mapping[str, Conversation]) -> dict[str, str]:
    """How the engine's result differs from the reference's, by title.

    Every conversation is given three times: the second sight of a shape is kept, the third is answered from what was
    kept. Control strings in data, which the reference refuses, are the subject of the tests of injections.
    """
    found = {}
    engine = setting.engine()
    expected = {title: setting.reference(given) for title, given in conversations.items()}
    for sight in range(3):
        for title, conversation in conversations.items():
            if expected[title] == "special-token-in-data" or (sight and title in SLOW):
                continue
            ours = run(engine, conversation)
            assert not isinstance(ours, str) or ours in REFUSALS
            if kind := difference(expected[title], ours):
                found[title] = kind
    return found


def difference(expected: Segmentation | str, found: Segmentation | str) -> str:
    """In a few words how two results differ; empty if they do not."""
    if essence(expected) == essence(found):
        return ""
    if isinstance(expected, str) or isinstance(found, str):
        return f"{expected if isinstance(expected, str) else 'accepted'}, but ours: {found if isinstance(found, str) else 'accepted'}"
    ways: dict[str, Callable[[Segment], object]] = {
        "texts": attrgetter("text"), "types": types, "loss": attrgetter("loss"), "turns": attrgetter("turn", "is_answer"),
    }  # fmt: skip
    for way, of in ways.items():
        if [[of(part) for part in sample] for sample in expected.samples] != [
            [of(part) for part in sample] for sample in found.samples
        ]:
            return way
    return f"warnings {sorted(expected.warnings)}, but ours: {sorted(found.warnings)}"


PLAIN = [given for title, given in CONVERSATIONS.items() if title not in SLOW and plainly(given)]


@pytest.mark.parametrize("name", [name for name in TEMPLATES if not name.endswith("_training")])
def test_plain_conversations_give_the_same_segments_in_both_forms(name: str) -> None:
    """Each form finds what the other one left: first sights are traced, later ones are known."""
    setting = Setting(name)
    in_turn, apart = setting.engine(), setting.engine()
    for sight in range(3):
        for number, conversation in enumerate(PLAIN):
            plain = plainly(conversation)
            assert plain is not None
            found = run(in_turn, plain if (sight + number) % 2 else conversation)
            assert (sight, conversation, exact(found)) == (sight, conversation, exact(run(apart, conversation)))
    assert in_turn.counts == apart.counts
    assert len(PLAIN) > 20


def exact(result: Segmentation | str) -> object:
    """All that a result holds, skeletons written out."""
    return result if isinstance(result, str) else result._replace(samples=tuple(map(tuple, result.samples)))


# ------------------------------------------------------------------------------------------------------------ mutation

FULL_SIZE = int(os.environ.get("ISMPACK_MUTATIONS", "1000"))
SHAPES = (
    "three turns", "system and turns", "thinking inline, two turns", "reasoning, two turns", "tool, system, later turn",
    "tool and reasoning", "two answers in a row", "text parts", "agent that is interrupted", "all kinds of values",
    "parts with blanks", "other keys on messages", "tool result and question",
)  # fmt: skip

# Templates that seldom or never give a hit: they refuse nearly all conversations, or do with data what is not followed
# (then the reference decides), or let every text take a way of its own.
SELDOM = {
    "deepseek_r1_distill", "deepseek_r1_distill_training", "deepseekv3", "deepseekv3_training", "glm4moe",
    "nemotron_3_5_lightning", "nemotron_3_5_lightning_training", "nemotron_3_nano", "nemotron_3_nano_training",
    "nemotron_3_super", "nemotron_3_super_training", "nemotron_3_ultra", "nemotron_3_ultra_training",
    "formatting", "lengths", "python repr", "rare filters", "arithmetic", "laundering", "data on data",
    "characters", "comparisons", "membership", "slices of strings", "tests", "line by line", "qwen3_5_nothink",
}  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
def test_mutated_contents_give_what_a_plain_render_gives(name: str) -> None:
    """Until enough are answered from what was kept. Every result is compared, however it was found."""
    setting = Setting(name, written=(), allow_dropped=FIELDS)
    engine = setting.engine()
    rng = Random(name)  # noqa: S311 - the same on every run
    wrong: list[tuple[Conversation, str]] = []
    hits = -(-FULL_SIZE // (len(TEMPLATES) - len(SELDOM)))
    tries = 0
    most = (4 if name in SELDOM else 16) * hits
    while engine.counts["known"] < hits and tries < most:
        conversation = mutate(CONVERSATIONS[SHAPES[tries // 8 % len(SHAPES)]], rng)
        tries += 1
        found, expected = run(engine, conversation), setting.reference(conversation)
        if isinstance(found, Segmentation) and (reason := contradiction(setting, conversation, found)):
            wrong.append((conversation, reason))
        if expected == "special-token-in-data" and isinstance(found, str):
            continue  # refused by both
        kind = difference(expected, found)
        if kind and not is_known(kind, conversation):
            wrong.append((conversation, kind))
    assert wrong == []
    assert engine.counts["known"] >= hits or name in SELDOM


def is_known(kind: str, conversation: Conversation) -> bool:
    """Whether a difference to the reference is one for which the reference is not to be asked."""
    if kind == "types":  # it sees whose an empty text would be; provenance has no place for it
        contents = [message.content for message in conversation.messages]
        return any(not "".join(content).strip() for content in contents if content is not None)
    return kind in (
        # Data spells a control token together with the text around it; who wrote what is known all the same.
        "special-token-in-data, but ours: accepted",
        # It takes a tool's name for no proof, because templates repeat it.
        "stitch-ambiguous, but ours: accepted",
    )


# ----------------------------------------------------------------------------------------------------------- injection


def changed(conversation: Conversation, given: Callable[[str], str], written: Callable[[str], str]) -> Conversation:
    """The conversation with every string replaced: `written` ones of assistant messages, and all others `given`."""

    def of_json(value: Json, change: Callable[[str], str]) -> Json:
        if isinstance(value, dict):
            return {change(key): of_json(item, change) for key, item in value.items()}
        if isinstance(value, list):
            return [of_json(item, change) for item in value]
        return change(value) if isinstance(value, str) else value

    def of_object(value: Mapping[str, Json], change: Callable[[str], str]) -> dict[str, Json]:
        return {change(key): of_json(item, change) for key, item in value.items()}

    def of_call(call: ToolCall, change: Callable[[str], str]) -> ToolCall:
        arguments = change(call.arguments) if isinstance(call.arguments, str) else of_object(call.arguments, change)
        return ToolCall(
            name=change(call.name),
            arguments=arguments,
            arguments_text=call.arguments_text and change(call.arguments_text),
            id=call.id and change(call.id),
        )

    def of_message(message: Message) -> Message:
        change = written if message.role == "assistant" else given
        content = message.content
        return replace(
            message,
            content=tuple(map(change, content)) if isinstance(content, tuple) else content and change(content),
            reasoning=message.reasoning and change(message.reasoning),
            tool_calls=tuple(of_call(call, change) for call in message.tool_calls),
            name=message.name and change(message.name),
            tool_call_id=message.tool_call_id and change(message.tool_call_id),
            extra=of_object(message.extra, change),
        )

    return replace(
        conversation,
        messages=tuple(map(of_message, conversation.messages)),
        tools=conversation.tools and tuple(of_object(tool, given) for tool in conversation.tools),
    )


class Twin:
    """The same conversation with other letters where it has control strings: harmless, and equally long.

    Args:
        conversation: May hold control strings anywhere.
        setting: Says which strings are control strings.
    """

    def __init__(self, conversation: Conversation, setting: Setting) -> None:
        # Also in other letters, because a template may make capitals small.
        every = dict.fromkeys([*setting.control, *(token.swapcase() for token in setting.control)])
        words = {token: f"Q{i:02d}".ljust(len(token), "Z") for i, token in enumerate(every)}
        assert all(len(word) == len(token) for token, word in words.items())
        self.original = conversation
        self.setting = setting
        self.tokens = {word: token for token, word in words.items()}
        special = {token: word for token, word in words.items() if token not in setting.rules.written_by_model}
        self.conversation = changed(conversation, partial(_replaced, words), partial(_replaced, special))

    def restore(self, text: str) -> str:
        return _replaced(self.tokens, text)

    def renders_alike(self) -> bool:
        """Whether the template took the control strings for any other text, in all renders."""
        for k in answers(self.original):
            for count, prompt in ((k, True), (k + 1, False)):
                try:
                    twin = self.setting.render(self.conversation, count, prompt=prompt)
                    mine = self.setting.render(self.original, count, prompt=prompt)
                except RecordError:
                    return False
                if self.restore(twin) != mine:
                    return False
        return True


def _replaced(words: Mapping[str, str], text: str) -> str:
    pattern = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    return re.sub(pattern, lambda match: words[match[0]], text)


def tokens_seen(setting: Setting, result: Segmentation) -> list[list[tuple[int, str]]]:
    """Position and text of each control token that a tokenizer would find, segment by segment."""
    seen = []
    for part in (part for sample in result.samples for part in sample):
        found = []
        for origin, text, start in stretches(part):
            allowed = {
                Origin.TEMPLATE: frozenset(setting.control),
                Origin.ASSISTANT: setting.rules.written_by_model,
                Origin.DATA: frozenset[str](),
            }[origin]
            found += [(start + match.start(), match[0]) for match in any_of(allowed).finditer(text)]
        seen.append(found)
    return seen


def tokens_written(setting: Setting, result: Segmentation) -> list[list[tuple[int, str]]]:
    """Position and text of each control token in a result without control strings in its data."""
    parts = [part for sample in result.samples for part in sample]
    return [
        [(match.start(), match[0]) for match in setting.rules.control_pattern.finditer(part.text)] for part in parts
    ]


SENTINEL = "90210"
SPOILED = (
    "tool, system, later turn", "tool and reasoning", "text parts", "names on messages", "three turns",
    "thinking inline, two turns", "agent that ends with a result",
)  # fmt: skip


def injections(setting: Setting, rng: Random) -> Iterator[tuple[str, Conversation]]:
    """Conversations full of the template's own control strings."""
    yield from INJECTIONS.items()

    def bad(text: str) -> str:
        first, second, third = rng.choices(setting.own, k=3)
        return f"{text}{SENTINEL}{first}{SENTINEL}{second}{SENTINEL}{third.swapcase()}{SENTINEL}"

    for title in SPOILED:
        yield f"sentinels in {title}", changed(CONVERSATIONS[title], bad, bad)
        for i in range(3):
            yield f"{title} mutated, {i}", mutate(CONVERSATIONS[title], rng, control=setting.own)
    for token in setting.own:
        yield f"nothing but {token}", chat(system(token), user(token), assistant(token), user(token), assistant("a"))
        shout = f"{SENTINEL}{token.swapcase()}"
        yield f"{token} in other letters", chat(system(shout), user(shout), assistant("a"))


# No conversation at all: their generation prompt opens a <think> that no answer continues.
REFUSE_ALL = {"deepseek_r1_distill", "deepseekv3", "deepseekv3_training"}


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_control_string_in_data_passes_for_the_templates(name: str) -> None:
    setting = Setting(name, allow_dropped=FIELDS)
    engine = setting.engine()
    wrong = []
    accepted = 0
    for title, conversation in injections(setting, Random(name)):  # noqa: S311 - the same on every run
        found = run(engine, conversation)
        if isinstance(found, Segmentation):
            accepted += 1
            wrong += [(title, reason) for reason in injected(setting, conversation, found)]
        wrong += [(title, reason) for reason in unlike_its_twin(setting, conversation, found)]
    assert wrong == []
    assert (accepted == 0) == (name in REFUSE_ALL)


def injected(setting: Setting, conversation: Conversation, result: Segmentation) -> Iterator[str]:
    """What is wrong with a result by itself."""
    if reason := contradiction(setting, conversation, result):
        yield reason
    parts = [part for sample in result.samples for part in sample]
    pieces = [piece for part in parts for piece in part.pieces]
    traced = any(piece.origin is not Origin.TEMPLATE for piece in pieces)
    passing = re.compile(SENTINEL if traced else f"{SENTINEL}({setting.rules.control_pattern.pattern})")
    for origin, text, _ in (stretch for part in parts for stretch in stretches(part)):
        if origin is Origin.TEMPLATE and (match := passing.search(text)):
            yield f"data passes for the template's: {text[match.start() :]!r}"
    foreign = any(p.origin and setting.rules.foreign_pattern(p.origin).search(p.text) for p in pieces)
    if foreign != ("control-string-in-data" in result.warnings):
        yield f"control strings in data: {foreign}, but the warnings are {result.warnings}"


def needs_reference(setting: Setting, conversation: Conversation) -> bool:
    engine = setting.engine()
    run(engine, conversation)
    return engine.counts["reference"] > 0


def unlike_its_twin(setting: Setting, conversation: Conversation, found: Segmentation | str) -> Iterator[str]:
    """How a result differs from that of the harmless twin, if the template takes the two for the same."""
    twin = Twin(conversation, setting)
    expected = setting.reference(twin.conversation)
    if "special-token-in-data" in (found, expected) or not twin.renders_alike():
        return
    if expected == "no-stop-token":
        return  # the reference does not see where data ends that is a key or a number
    if isinstance(found, str) and needs_reference(setting, twin.conversation):
        return  # without provenance control strings cannot be told from the template's, so they are refused
    if essence(found) != essence(expected, restore=twin.restore):
        yield f"{essence(expected, restore=twin.restore)} became {essence(found)}"
    elif isinstance(found, Segmentation) and isinstance(expected, Segmentation):
        written, seen = tokens_written(setting, expected), tokens_seen(setting, found)
        if written != seen:
            yield f"the tokens {written} became {seen}"
