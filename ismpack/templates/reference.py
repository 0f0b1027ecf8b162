"""Conversation to segments, by plain renders: slow, obvious, and for ever the oracle of anything faster.

The stream is what an engine that reuses its KV cache holds. For the assistant message at index k:

    G_k = render(messages[:k], add_generation_prompt=True)      what the engine is given before it answers
    E_k = render(messages[:k + 1])                              the same with the answer
    answer = E_k after G_k, up to and including its stop token
    query  = what the next G adds to what is held; the first query is all of the first G

If E_k up to the stop is a prefix of the next G, the query is the rest of that G. If it is not, the template rewrites
history (it strips earlier thinking, say), and the query starts after the stop token that closes the answer there: the
n-th of that G, where n counts the stop tokens of E_k up to the answer's end. Such a cut is then tested by changing the
data on either side: text before it must not move with later messages, text after it not with the answer.

All of this rests on one precondition: the data holds no control token's text, so every control token in a render comes
from the template. Conversations that break it are refused (`special-token-in-data`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from ismpack.data import Conversation, Piece, Segment
from ismpack.errors import RecordError
from ismpack.schema import SegmentType
from ismpack.templates.dialect import Dialect, template_messages
from ismpack.templates.dropped import PrintedData
from ismpack.templates.environment import ChatTemplate
from ismpack.templates.marks import append_mark, common_prefix, common_suffix, end_of_data, fresh_root, strings
from ismpack.templates.ownership import Query
from ismpack.templates.renders import Renders
from ismpack.templates.rules import Segmentation, SegmentRules, any_of


def segment(conversation: Conversation, template: ChatTemplate, dialect: Dialect, rules: SegmentRules) -> Segmentation:
    """The query and answer segments of a conversation (contract of the stream: see the module's docstring).

    Raises:
        RecordError: `special-token-in-data`, `no-answer`, `no-target`, `template-error`, `data-dropped`,
            `generation-prompt-not-continued`, `no-stop-token`, `answer-rewritten`, `stitch-ambiguous` or
            `empty-answer`.
    """
    return _Segmenter(conversation, template, dialect, rules).run()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """Where an answer lies: `E_k[start:end]` of message k."""

    k: int
    start: int
    end: int
    terminated: bool
    loss: bool


class _Segmenter:
    """One conversation on its way through the steps; holds what the steps share."""

    def __init__(
        self, conversation: Conversation, template: ChatTemplate, dialect: Dialect, rules: SegmentRules
    ) -> None:
        self.conversation = conversation
        self.rules = rules
        self.roles = [message.role for message in conversation.messages]
        self.renders = Renders(
            template=template,
            messages=template_messages(conversation, dialect),
            tools=conversation.tools,
            args=conversation.template_args,
        )
        self.warnings: dict[str, None] = {}
        self.inferred_stops: set[str] = set()

    def run(self) -> Segmentation:
        self.refuse_control_tokens()
        indices = self.answer_indices()
        answers = [self.answer(k, is_last=k == indices[-1]) for k in indices]
        if not any(answer.loss for answer in answers):
            raise RecordError("every answer's loss flag is off, so nothing would be trained", code="no-target")
        pairs = list(pairwise(answers))
        cuts = [self.append_cut(*pair) for pair in pairs]
        printed = PrintedData(self.renders, indices)
        printed.refuse_formed_tokens(self.rules.control_pattern)
        printed.refuse_dropped(self.roles, self.rules.allow_dropped, append_only=None not in cuts)
        if None in cuts:
            self.warnings["history-rewritten"] = None
            if self.rules.on_rewrite == "split":
                return self.done([self.sample([answer], []) for answer in answers if answer.loss])
        found = [self.rewritten_cut(*pair) if cut is None else cut for pair, cut in zip(pairs, cuts, strict=True)]
        return self.done([self.sample(answers, found)])

    def done(self, samples: list[tuple[Segment, ...]]) -> Segmentation:
        return Segmentation(
            samples=tuple(samples), warnings=tuple(self.warnings), inferred_stops=frozenset(self.inferred_stops)
        )

    def refuse_control_tokens(self) -> None:
        """Check the precondition of every text rule below."""
        data = (self.renders.messages, self.conversation.tools or (), self.conversation.template_args)
        # No control token contains NUL, so none can be found across two strings.
        found = self.rules.control_pattern.search("\0".join(string for part in data for string in strings(part)))
        if found:
            raise RecordError(
                f"the data holds {found.group()!r}, the text of a control token", code="special-token-in-data"
            )

    def answer_indices(self) -> list[int]:
        """Assistant messages after the first user or tool message; earlier ones are greetings, part of the query."""
        opened = next((i for i, role in enumerate(self.roles) if role in ("user", "tool")), len(self.roles))
        indices = [i for i, role in enumerate(self.roles) if role == "assistant" and i > opened]
        if not indices:
            raise RecordError("no assistant message follows a user or tool message", code="no-answer")
        if "assistant" in self.roles[:opened]:
            self.warnings["greeting-in-query"] = None
        if indices[-1] + 1 < len(self.roles):
            self.warnings["trailing-query-dropped"] = None
        return indices

    def answer(self, k: int, *, is_last: bool) -> _Answer:
        """Find the answer of message k in E_k."""
        given, text = self.renders.prompt(k), self.renders.prefix(k + 1)
        if not text.startswith(given):
            at = common_prefix(given, text)
            raise RecordError(
                f"the answer in message {k} does not continue the generation prompt: the prompt goes on with "
                f"{given[at : at + 40]!r}, the rendered answer with {text[at : at + 40]!r}",
                code="generation-prompt-not-continued",
                hint="A template argument may help (--template-arg enable_thinking=false, for example).",
            )
        loss = self.conversation.messages[k].loss is not False and (self.rules.loss == "all" or is_last)
        end, terminated = self.answer_end(k, text, len(given))
        if end == len(given):
            raise RecordError(f"the template prints nothing for the answer in message {k}", code="empty-answer")
        return _Answer(k=k, start=len(given), end=end, terminated=terminated, loss=loss)

    def answer_end(self, k: int, text: str, start: int) -> tuple[int, bool]:
        """Just after the first stop token that follows the answer's last data, and whether there is one."""
        stops = self.rules.stop_ends(text, start)
        if len(stops) == 1 and not text[stops[0] :].strip():
            return stops[0], True  # nothing follows the only stop token, so no data does
        message, before = self.renders.messages[k], list(self.renders.messages[:k])
        data_end = end_of_data(message, text, lambda changed: self.renders.of([*before, changed]), start=start)
        if data_end is None:
            raise RecordError(
                f"where the data of message {k} ends cannot be told: the template refuses it when it is changed",
                code="no-stop-token",
            )
        closing = [end for end in stops if end > data_end]
        if closing:
            return closing[0], True
        control = self.rules.control_pattern.search(text, data_end)
        if control and not text[control.end() :].strip():  # nothing else could close the answer
            self.inferred_stops.add(control.group())
            self.warnings["stop-token-inferred"] = None
            return control.end(), True
        if not self.rules.allow_unterminated:
            raise RecordError(
                f"no stop token closes the answer in message {k}; the template goes on with {text[data_end:][:40]!r}",
                code="no-stop-token",
                hint="Name the token that ends an answer with --stop-token, or accept this with --allow-unterminated.",
            )
        self.warnings["answer-unterminated"] = None
        return data_end, False

    def append_cut(self, held: _Answer, answer: _Answer) -> int | None:
        """Where the query before `answer` starts in its G if G only appends to what is held, else None."""
        text = self.renders.prefix(held.k + 1)[: held.end]
        return held.end if self.renders.prompt(answer.k).startswith(text) else None

    def rewritten_cut(self, held: _Answer, answer: _Answer) -> int:
        """Where the query before `answer` starts in its G although the template changed what came before."""
        text = self.renders.prefix(held.k + 1)[: held.end]
        prompt = self.renders.prompt(answer.k)
        if self.rules.on_rewrite == "error":
            at = common_prefix(text, prompt)
            raise RecordError(
                f"message {answer.k - 1} changes how the answer in message {held.k} is rendered: "
                f"{text[at : at + 40]!r} becomes {prompt[at : at + 40]!r}",
                code="answer-rewritten",
                hint="--on-rewrite stitch keeps each answer as it was generated; split makes one sample per answer.",
            )
        n, ends = len(self.stop_ends(text)), self.stop_ends(prompt)
        if n == 0 or not held.terminated or len(ends) < n or not self.cut_is_proven(held, answer, ends[n - 1]):
            raise RecordError(
                f"the template rewrites the answer in message {held.k}, and where the next query starts is ambiguous",
                code="stitch-ambiguous",
                hint="--on-rewrite split makes one sample per answer; if the template closes earlier answers with "
                "another token than the last one, name it with --stop-token.",
            )
        return ends[n - 1]

    def stop_ends(self, text: str) -> list[int]:
        """Where each stop token ends, inferred ones among them."""
        stops = any_of(self.rules.stop_tokens | self.inferred_stops)
        return [match.end() for match in stops.finditer(text)]

    def cut_is_proven(self, held: _Answer, answer: _Answer, cut: int) -> bool:
        """Whether the text before the cut ignores the later messages, and the text after it the held answer."""
        prompt, messages = self.renders.prompt(answer.k), self.renders.messages[: answer.k]
        mark = fresh_root(prompt)
        later = [m if i <= held.k else append_mark(m, mark, blank=True) for i, m in enumerate(messages)]
        try:
            if common_prefix(prompt, self.renders.of(later, prompt=True)) < cut:
                return False
            # A tool's name may be printed again beside its result, and a mark in a blank text may appear where nothing
            # was, so these count only if there is nothing else.
            for blank, names in product((False, True), (False, True)):
                changed = append_mark(messages[held.k], mark, blank=blank, names=names)
                earlier = self.renders.of([*messages[: held.k], changed, *messages[held.k + 1 :]], prompt=True)
                if earlier != prompt:
                    return common_suffix(prompt, earlier) >= len(prompt) - cut
        except RecordError:
            pass
        return False

    def sample(self, answers: Sequence[_Answer], cuts: Sequence[int]) -> tuple[Segment, ...]:
        """Queries and answers in turn; `cuts` says where each query after the first starts in its G."""
        segments: list[Segment] = []
        start, leftover = 0, ""
        for turn, (answer, cut) in enumerate(zip(answers, [0, *cuts], strict=True)):
            pieces, unowned = Query(
                renders=self.renders,
                roles=self.roles,
                messages=range(start, answer.k),
                cut=cut,
                leftover=leftover,
                control_pattern=self.rules.control_pattern,
            ).pieces()
            if unowned:
                self.warnings["unowned-template-text"] = None
            if pieces:
                segments.append(Segment(pieces=pieces, is_answer=False, turn=turn, loss=False))
            text = self.renders.prefix(answer.k + 1)
            piece = Piece(text[answer.start : answer.end], SegmentType.ANSWER)
            segments.append(Segment(pieces=(piece,), is_answer=True, turn=turn, loss=answer.loss))
            start, leftover = answer.k + 1, text[answer.end :]
        return tuple(segments)
