"""Files of OpenAI's jobs: preferences for fine-tuning, and batches of requests and their responses."""

from __future__ import annotations

from ismpack.data import Conversation, Json
from ismpack.errors import RecordError
from ismpack.formats.chat.openai import answer_at, chat
from ismpack.formats.chat.responses import ITEMS, responses_conversation
from ismpack.formats.format import Format
from ismpack.formats.parts import Placed
from ismpack.formats.record import message_list
from ismpack.formats.shapes import OBJECT, TEXT, either, holding, objects
from ismpack.formats.values import kind_of


def _parse_preference(record: dict[str, Json]) -> Conversation:
    """The preferred answer; the other one is not looked at. Answers in the input are context."""
    answer: list[Placed] = []
    for index, item in enumerate(message_list(record.get("preferred_output"), "$.preferred_output")):
        answer += answer_at(item, f"$.preferred_output[{index}]")
    return chat(_object(record, "input"), "$.input", answer, context=True)


def _parse_batch(record: dict[str, Json]) -> Conversation:
    """The request is `body`, its answer `response.body`. A batch writes them to two files."""
    if record.get("body") is None:
        raise RecordError(
            "the line holds a response without its request",
            code="no-answer",
            json_path="$.response",
            hint="The questions are in the batch's input file: copy each request's body to the response with the same "
            "custom_id.",
        )
    body = _object(record, "body")
    if record.get("response") is None:
        return responses_conversation(body, "$.body") if body.get("messages") is None else chat(body, "$.body")
    response = _response_body(record)
    if body.get("messages") is None:
        return responses_conversation(body, "$.body", _present(response, "output"), "$.response.body.output")
    path = "$.response.body.choices"
    choices = message_list(_present(response, "choices"), path)
    if len(choices) > 1:
        raise RecordError(
            f"the response has {len(choices)} choices",
            code="bad-messages",
            json_path=path,
            hint="ismpack does not choose between answers: keep one of them.",
        )
    choice = choices[0]
    if not isinstance(choice, dict):
        raise RecordError(f"a choice is {kind_of(choice)}, not an object", code="bad-message", json_path=f"{path}[0]")
    return chat(body, "$.body", answer_at(choice.get("message"), f"{path}[0].message"))


def _response_body(record: dict[str, Json]) -> dict[str, Json]:
    response = _object(record, "response")
    status = response.get("status_code")
    if status not in (None, 200):
        raise RecordError(
            f"the request failed: its response has status {status}",
            code="no-answer",
            json_path="$.response.status_code",
        )
    return _object(response, "body", "$.response")


def _present(value: dict[str, Json], key: str) -> Json:
    if value.get(key) is None:
        raise RecordError(f"the response has no {key}", code="no-answer", json_path="$.response.body")
    return value[key]


def _object(record: dict[str, Json], key: str, path: str = "$") -> dict[str, Json]:
    value = record.get(key)
    if not isinstance(value, dict):
        message = f"{key} is {kind_of(value)}, not an object"
        raise RecordError(message, code="bad-messages", json_path=f"{path}.{key}")
    return value


_QUESTION: Json = {"role": "user", "content": "What is the capital of Peru?"}
_ANSWER: Json = {"role": "assistant", "content": "Lima."}

OPENAI_PREFERENCE = Format(
    name="openai-preference",
    title="OpenAI preference fine-tuning: input messages and the preferred output",
    keys={"input": holding(messages=objects("role")), "preferred_output": objects("role")},
    datasets=("OpenAI preference fine-tuning", "Together preference fine-tuning"),
    example={
        "input": {"messages": [_QUESTION]},
        "preferred_output": [_ANSWER],
        "non_preferred_output": [{"role": "assistant", "content": "Peru."}],
    },
    parse=_parse_preference,
)

OPENAI_BATCH = Format(
    name="openai-batch",
    title="OpenAI batch: a response and, copied to it, the body of its request",
    keys={"custom_id": TEXT, "response": holding(body=OBJECT)},
    optional=("body",),
    datasets=("OpenAI batch results",),
    example={
        "custom_id": "1",
        "body": {"messages": [_QUESTION]},
        "response": {"status_code": 200, "body": {"choices": [{"message": _ANSWER}]}},
    },
    parse=_parse_batch,
)

OPENAI_BATCH_REQUEST = Format(
    name="openai-batch-request",
    title="OpenAI batch: a request alone",
    keys={"custom_id": TEXT, "body": either(holding(messages=objects("role")), holding(input=either(TEXT, ITEMS)))},
    without=("response",),
    datasets=("OpenAI batch requests",),
    example={"custom_id": "1", "body": {"messages": [_QUESTION, _ANSWER]}},
    parse=_parse_batch,
)
