"""Self-Instruct: a task and its instances."""

from __future__ import annotations

from ismpack.data import Conversation, Json
from ismpack.errors import RecordError
from ismpack.formats.format import Format
from ismpack.formats.qa.pairs import question
from ismpack.formats.record import AROUND_KEYS, alternating, message_list, text_at, text_in
from ismpack.formats.shapes import objects
from ismpack.formats.transcripts.rendered_prompts import PLAIN_QUESTION
from ismpack.formats.values import kind_of


def _parse_instances(record: dict[str, Json]) -> Conversation:
    """Several instances would be several conversations, and a record is one."""
    path = "$.instances"
    instances = message_list(record.get("instances"), path)
    if len(instances) != 1:
        raise RecordError(
            f"the task has {len(instances)} instances, which are as many conversations",
            code="bad-messages",
            json_path=path,
            hint="Write a record for each: instruction, input and output.",
        )
    instance = instances[0]
    if not isinstance(instance, dict):
        message = f"an instance is {kind_of(instance)}, not an object"
        raise RecordError(message, code="bad-message", json_path=f"{path}[0]")
    given = text_at(instance.get("input", ""), f"{path}[0].input")
    asked = question({"instruction": text_in(record, "instruction"), "input": given}, ("instruction", "input"))
    answer = f"{path}[0].output"
    return alternating(record, [("$.instruction", asked), (answer, text_at(instance.get("output"), answer))])


SELF_INSTRUCT = Format(
    name="self-instruct",
    title="Self-Instruct tasks: instruction, and instances with input and output",
    keys={"instruction": PLAIN_QUESTION, "instances": objects("output")},
    optional=AROUND_KEYS,
    datasets=("Self-Instruct seed tasks",),
    example={"instruction": "Translate to French.", "instances": [{"input": "Good morning", "output": "Bonjour"}]},
    parse=_parse_instances,
)
