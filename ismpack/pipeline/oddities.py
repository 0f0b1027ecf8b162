"""What is unusual about a conversation and no reason to refuse it: counted, so that nobody is surprised later."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xxhash

from ismpack.data import Conversation, PlainConversation, SampleBatch


def oddities(conversation: Conversation | PlainConversation) -> list[str]:
    """Warning codes of a conversation; each at most once."""
    if isinstance(conversation, PlainConversation):  # it has no calls
        return ["tool-result-without-call"] if "tool" in conversation.roles else []
    nul = unread = results = False
    for message in conversation.messages:
        content = message.content
        nul = nul or (type(content) is str and "\0" in content) or (type(content) is tuple and "\0" in "".join(content))
        unread = unread or bool(message.extra)
        results = results or message.role == "tool"
    found = {
        "nul-in-data": nul,
        "message-key-unread": unread,
        "tool-result-without-call": results and _has_unasked_result(conversation),
    }
    return [code for code, is_odd in found.items() if is_odd]


def _has_unasked_result(conversation: Conversation) -> bool:
    """Whether a tool result comes before any call, or names a call that nobody made."""
    calls = 0
    made: set[str] = set()
    for message in conversation.messages:
        calls += len(message.tool_calls)
        made |= {call.id for call in message.tool_calls if call.id is not None}
        if message.role == "tool" and (not calls or (made and message.tool_call_id not in (None, *made))):
            return True
    return False


def digests(batch: SampleBatch) -> npt.NDArray[np.uint64]:
    """uint64[N]: a digest of each sample's tokens and loss, by which equal ones are found."""
    ends = np.cumsum(batch.lengths, dtype=np.int64)
    ids, loss = memoryview(batch.input_ids.tobytes()), memoryview(batch.loss_mask.tobytes())
    width = batch.input_ids.itemsize
    found = np.empty(len(ends), np.uint64)
    start = 0
    for index, end in enumerate(ends.tolist()):
        hasher = xxhash.xxh3_64(ids[width * start : width * end])
        hasher.update(loss[start:end])
        found[index] = hasher.intdigest()
        start = end
    return found


def repeats(parts: list[npt.NDArray[np.uint64]]) -> int:
    """How many samples equal an earlier one."""
    everything = np.concatenate([np.zeros(0, np.uint64), *parts])
    return len(everything) - len(np.unique(everything))
