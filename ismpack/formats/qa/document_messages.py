"""ChatQA: messages up to a question, the answer beside them, and the document that is asked about."""

from __future__ import annotations

from msgspec import structs

from ismpack.data import Conversation, Json, Message
from ismpack.errors import RecordError
from ismpack.formats.chat.openai import MESSAGES, as_context
from ismpack.formats.chat.sides import joined, side
from ismpack.formats.format import Format
from ismpack.formats.record import AROUND_KEYS, message_list, text_at
from ismpack.formats.shapes import Shape, objects

_SOMETHING = Shape("anything but null and empty", lambda value: value not in (None, "", [], {}))


def _parse(record: dict[str, Json]) -> Conversation:
    """Messages that end with an answer are whole; what stands beside them is then about them."""
    asked, path_of = side(record.get("messages"), "$.messages")
    if asked[-1].role == "assistant":
        return MESSAGES.parse(record)
    path, text = _answer(record.get("answers"))
    before = (_with_document(as_context(asked), record), path_of)
    return joined(record, before, ([Message(role="assistant", content=text)], lambda _: path))


def _answer(value: Json) -> tuple[str, str]:
    """The only answer, and its JSON path. An item is a text, an object that has it, or a list of equally good ones."""
    path = "$.answers"
    for _ in range(2):
        items = message_list(value, path)
        if len(items) != 1:
            message = f"the record has {len(items)} answers to one question"
            raise RecordError(message, code="bad-messages", json_path=path, hint="Keep one of them.")
        value, path = items[0], f"{path}[0]"
        if not isinstance(value, list):
            break
    if isinstance(value, dict):
        value, path = value.get("text"), f"{path}.text"
    return path, text_at(value, path)


def _with_document(messages: list[Message], record: dict[str, Json]) -> list[Message]:
    """The messages, the document and a blank line before the first question."""
    if record.get("document") in (None, ""):
        return messages
    document = text_at(record["document"], "$.document")
    first = next((index for index, message in enumerate(messages) if message.role == "user"), None)
    if first is None:
        raise RecordError("no user message asks about the document", code="bad-messages", json_path="$.document")
    asked = messages[first].content or ""
    content = f"{document}\n\n{asked}" if isinstance(asked, str) else (f"{document}\n\n", *asked)
    return [*messages[:first], structs.replace(messages[first], content=content), *messages[first + 1 :]]


DOCUMENT_MESSAGES = Format(
    name="document-messages",
    title="ChatQA: messages up to a question, its only answer in answers, perhaps a document before the first question",
    keys={"messages": objects("role"), "answers": _SOMETHING},
    without=("ans_id",),
    optional=("document", *AROUND_KEYS),
    datasets=("nvidia/ChatQA-Training-Data",),
    example={
        "document": "Ada lives in Lima.",
        "messages": [{"role": "user", "content": "Where does Ada live?"}],
        "answers": ["In Lima."],
    },
    parse=_parse,
)
