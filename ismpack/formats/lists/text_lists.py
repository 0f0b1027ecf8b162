"""Lists of bare texts in turn: the user speaks first, then the model, and so on."""

from __future__ import annotations

from functools import partial

from ismpack.data import Conversation, Json
from ismpack.errors import RecordError
from ismpack.formats.format import Format
from ismpack.formats.record import AROUND_KEYS, alternating, message_list, text_at
from ismpack.formats.shapes import TEXTS, Shape, objects
from ismpack.formats.values import kind_of

_ID = Shape("text or a number", lambda value: isinstance(value, (str, int)) and not isinstance(value, bool))


def _parse_texts(record: dict[str, Json], *, key: str) -> Conversation:
    path = f"$.{key}"
    items = message_list(record.get(key), path)
    return alternating(record, [(at := f"{path}[{index}]", text_at(item, at)) for index, item in enumerate(items)])


def _parse_log(record: dict[str, Json]) -> Conversation:
    """MultiWOZ up to 2.1 names no speaker: its dialogues begin with the user, and the two take turns."""
    turns: list[tuple[str, str]] = []
    for index, item in enumerate(message_list(record.get("log"), "$.log")):
        path = f"$.log[{index}]"
        if not isinstance(item, dict):
            what = f"an item of log is {kind_of(item)}, not an object"
            raise RecordError(what, code="bad-message", json_path=path)
        turns.append((f"{path}.text", text_at(item.get("text"), f"{path}.text")))
    return alternating(record, turns)


ULTRACHAT = Format(
    name="ultrachat",
    title="UltraChat: texts in turn in data, the user first, beside an id",
    keys={"id": _ID, "data": TEXTS},
    optional=AROUND_KEYS,
    datasets=("UltraChat",),
    example={"id": "0", "data": ["What is the capital of Peru?", "Lima."]},
    parse=partial(_parse_texts, key="data"),
)

LIMA = Format(
    name="lima",
    title="LIMA: texts in turn in conversations, the user first",
    keys={"conversations": TEXTS},
    optional=AROUND_KEYS,
    datasets=("LIMA",),
    example={"conversations": ["What is the capital of Peru?", "Lima."]},
    parse=partial(_parse_texts, key="conversations"),
)

DAILYDIALOG = Format(
    name="dailydialog",
    title="DailyDialog: texts in turn in dialog; who speaks first is the user",
    keys={"dialog": TEXTS},
    optional=AROUND_KEYS,
    datasets=("DailyDialog",),
    example={"dialog": ["Have you been to Peru?", "Yes, last year."]},
    parse=partial(_parse_texts, key="dialog"),
)

MULTIWOZ_LOG = Format(
    name="multiwoz-log",
    title="MultiWOZ up to 2.1: texts in turn in log, the user first",
    keys={"log": objects("text", "metadata")},
    optional=AROUND_KEYS,
    datasets=("MultiWOZ 2.0 / 2.1 / 2.4",),
    example={"log": [{"text": "I need a taxi.", "metadata": {}}, {"text": "Where to?", "metadata": {}}]},
    parse=_parse_log,
)

TEXT_FORMATS: tuple[Format, ...] = (ULTRACHAT, LIMA, DAILYDIALOG, MULTIWOZ_LOG)
