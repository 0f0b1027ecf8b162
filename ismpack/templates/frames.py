"""The control tokens between which a template puts data: those that open a message, and those that close an answer.

An assistant's data may hold tokens that the model writes itself, such as `<think>`, but none that would look like the
end of its answer or the beginning of another message. Which those are is found on small conversations.
"""

from __future__ import annotations

import contextlib

from ismpack.data import Conversation, Message, ToolCall
from ismpack.errors import IsmpackError, RecordError
from ismpack.templates.dialect import Dialect, template_messages
from ismpack.templates.environment import ChatTemplate
from ismpack.templates.reference import PlainRenders, segment
from ismpack.templates.rules import SegmentRules

_QUESTION, _ANSWER = Message(role="user", content="question"), Message(role="assistant", content="answer")
_CALL = ToolCall(name="look_up", arguments={"key": "value"}, id="call00001")
_PROBES = (
    (_QUESTION, _ANSWER, _QUESTION, _ANSWER, _QUESTION),
    (Message(role="system", content="system"), _QUESTION, _ANSWER, _QUESTION),
    (
        _QUESTION,
        Message(role="assistant", content="", tool_calls=(_CALL,)),
        Message(role="tool", content="result", name="look_up", tool_call_id="call00001"),
        _ANSWER,
        _QUESTION,
    ),
)


def frame_tokens(template: ChatTemplate, dialect: Dialect, rules: SegmentRules) -> frozenset[str]:
    """First control token of every message and generation prompt, and unlisted tokens that close answers."""
    found: set[str] = set()
    for messages in _PROBES:
        conversation = Conversation(messages=messages)
        with contextlib.suppress(IsmpackError):
            found |= segment(conversation, template, dialect, rules).inferred_stops
        renders = PlainRenders(conversation, template, template_messages(conversation, dialect))
        for count in range(1, len(messages)):
            for prompt in (False, True):
                found |= _first_token(renders, count, rules, prompt=prompt)
    return frozenset(found)


def _first_token(renders: PlainRenders, count: int, rules: SegmentRules, *, prompt: bool) -> set[str]:
    """The first control token of what a message, or the generation prompt, adds to the messages before it."""
    try:
        before = renders.prefix(count)
        after = renders.prompt(count) if prompt else renders.prefix(count + 1)
    except RecordError:
        return set()
    token = rules.control_pattern.search(after, len(before)) if after.startswith(before) else None
    return {token.group()} if token else set()
