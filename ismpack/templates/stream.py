"""The rules of the stream: which text of the renders is query, and which is answer.

The stream is what an engine that reuses its KV cache holds. For the assistant message at index k:

    G_k = render(messages[:k], add_generation_prompt=True)      what the engine is given before it answers
    E_k = render(messages[:k + 1])                              the same with the answer
    answer = E_k after G_k, up to and including its stop token
    query  = what the next G adds to what is held; the first query is all of the first G

If E_k up to the stop is a prefix of the next G, the query is the rest of that G. If it is not, the template rewrites
history (it strips earlier thinking, say), and the query starts after the stop token that closes the answer there: the
n-th of that G, where n counts the stop tokens of E_k up to the answer's end. Such a cut counts only if it is proven:
before it stands no data of later messages, after it none of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ismpack.data import Conversation, Piece, Segment
from ismpack.errors import RecordError
from ismpack.schema import SegmentType
from ismpack.templates.marks import common_prefix
from ismpack.templates.ownership import Query
from ismpack.templates.renders import Renders
from ismpack.templates.rules import Segmentation, SegmentRules, any_of


def segment_stream(conversation: Conversation, renders: Renders, rules: SegmentRules) -> Segmentation:
    """The query and answer segments of a conversation, in the renders' own text.

    Raises:
        RecordError: `no-answer`, `no-target`, `template-error`, `data-dropped`, `generation-prompt-not-continued`,
            `no-stop-token`, `answer-rewritten`, `stitch-ambiguous` or `empty-answer`.
    """
    return _Segmenter(conversation, renders, rules).run()


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

    def __init__(self, conversation: Conversation, renders: Renders, rules: SegmentRules) -> None:
        self.conversation = conversation
        self.rules = rules
        self.roles = [message.role for message in conversation.messages]
        self.renders = renders
        self.warnings: dict[str, None] = {}
        self.inferred_stops: set[str] = set()

    def run(self) -> Segmentation:
        indices = self.answer_indices()
        answers = [self.answer(k, is_last=k == indices[-1]) for k in indices]
        if not any(answer.loss for answer in answers):
            raise RecordError("every answer's loss flag is off, so nothing would be trained", code="no-target")
        pairs = list(pairwise(answers))
        cuts = [self.append_cut(*pair) for pair in pairs]
        self.renders.refuse_lost_data(indices, self.rules, append_only=None not in cuts)
        if None in cuts:
            self.warnings["history-rewritten"] = None
            if self.rules.on_rewrite == "split":
                return self.done([([answer], []) for answer in answers if answer.loss])
        found = [self.rewritten_cut(*pair) if cut is None else cut for pair, cut in zip(pairs, cuts, strict=True)]
        return self.done([(answers, found)])

    def done(self, samples: Sequence[tuple[Sequence[_Answer], Sequence[int]]]) -> Segmentation:
        segments = tuple(self.sample(answers, cuts) for answers, cuts in samples)
        return Segmentation(
            samples=segments,
            warnings=tuple(self.warnings),
            inferred_stops=frozenset(self.inferred_stops),
            answers=tuple(tuple(answer.k for answer in answers) for answers, _ in samples),
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
        if not self.renders.continues(k):
            given, text = self.renders.prompt(k), self.renders.prefix(k + 1)
            at = common_prefix(given, text)
            raise RecordError(
                f"the answer in message {k} does not continue the generation prompt: the prompt goes on with "
                f"{self.shown(given[at:])}, the rendered answer with {self.shown(text[at:])}",
                code="generation-prompt-not-continued",
                hint="A template argument may help (--template-arg enable_thinking=false, for example).",
            )
        given, text = self.renders.prompt(k), self.renders.prefix(k + 1)
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
        data_end = self.renders.data_end(k, k + 1, prompt=False)
        if data_end is None:
            raise RecordError(
                f"where the data of message {k} ends cannot be told: the template refuses it when it is changed",
                code="no-stop-token",
            )
        data_end = max(start, data_end)
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
                f"no stop token closes the answer in message {k}; the template goes on with "
                f"{self.shown(text[data_end:])}",
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
                f"{self.shown(text[at:])} becomes {self.shown(prompt[at:])}",
                code="answer-rewritten",
                hint="--on-rewrite stitch keeps each answer as it was generated; split makes one sample per answer.",
            )
        n, ends = len(self.stop_ends(text)), self.stop_ends(prompt)
        if n == 0 or not held.terminated or len(ends) < n or not self.renders.proves_cut(held.k, answer.k, ends[n - 1]):
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

    def shown(self, text: str) -> str:
        """The beginning of a piece of a render, for messages."""
        return repr(self.renders.show(text[:40])[:40])

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
