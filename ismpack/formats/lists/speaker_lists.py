"""Dialogues of research sets, whose turns name a speaker. The system, or assistant, is the model.

Turns are a list of objects, or, where a table was made of them, an object of lists. What stands beside the text of a
turn (states, slots, dialogue acts) is annotation and no part of the conversation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ismpack.data import Conversation, Json, Role
from ismpack.errors import RecordError
from ismpack.formats.format import Format
from ismpack.formats.record import AROUND_KEYS, dialogue, message_list, text_at
from ismpack.formats.shapes import LIST, TEXTS, either, holding, objects
from ismpack.formats.values import kind_of, shown

_Roles: TypeAlias = Mapping[str | int, Role]

_MAX_NAME_SHOWN = 40

_SPEAKING_ORDER: tuple[Role, Role] = ("user", "assistant")

_SGD_SPEAKERS: _Roles = {
    "USER": "user",
    "SYSTEM": "assistant",
    "user": "user",
    "system": "assistant",
    0: "user",  # the numbers that `datasets` gives USER and SYSTEM
    1: "assistant",
}

_TASKMASTER_SPEAKERS: _Roles = {
    "USER": "user",
    "ASSISTANT": "assistant",
    "user": "user",
    "assistant": "assistant",
}


@dataclass(frozen=True, slots=True)
class _Turn:
    """What one turn says, and where the record has it."""

    speaker: Json
    speaker_path: str
    text: str
    text_path: str


def _listed(value: Json, path: str, text_key: str) -> Iterator[_Turn]:
    """The turns of a list of objects."""
    for index, item in enumerate(message_list(value, path)):
        at = f"{path}[{index}]"
        if not isinstance(item, dict):
            what = f"a turn is {kind_of(item)}, not an object"
            raise RecordError(what, code="bad-message", json_path=at)
        text = text_at(item.get(text_key), f"{at}.{text_key}")
        yield _Turn(item.get("speaker"), f"{at}.speaker", text, f"{at}.{text_key}")


def _paired(speakers: Json, speaker_path: str, texts: Json, text_path: str) -> Iterator[_Turn]:
    """The turns of two lists of equal length."""
    names, said = message_list(speakers, speaker_path), message_list(texts, text_path)
    if len(names) != len(said):
        raise RecordError(
            f"there are {len(said)} texts, but {len(names)} speakers", code="bad-messages", json_path=speaker_path
        )
    for index, (name, text) in enumerate(zip(names, said, strict=True)):
        at = f"{text_path}[{index}]"
        yield _Turn(name, f"{speaker_path}[{index}]", text_at(text, at), at)


def _conversation(record: dict[str, Json], turns: Iterator[_Turn], roles: _Roles) -> Conversation:
    return dialogue(record, [(_role(turn, roles), turn.text_path, turn.text) for turn in turns])


def _role(turn: _Turn, roles: _Roles) -> Role:
    word = turn.speaker
    if not isinstance(word, (str, int)) or isinstance(word, bool):
        what = f"the speaker of a turn is {kind_of(word)}, not text"
        raise RecordError(what, code="bad-message", json_path=turn.speaker_path)
    if word not in roles:
        raise RecordError(
            f"a turn has the speaker {shown(str(word))}, which is not known",
            code="unknown-role",
            json_path=turn.speaker_path,
            hint=f"Known speakers: {', '.join(_brief(str(known)) for known in roles)}.",
        )
    return roles[word]


def _brief(name: str) -> str:
    """A name as hints list it: a record may hold texts of any length where names should be."""
    return name if len(name) <= _MAX_NAME_SHOWN else f"{name[:_MAX_NAME_SHOWN]}…"


def _parse_sgd(record: dict[str, Json]) -> Conversation:
    turns = record.get("turns")
    if isinstance(turns, dict):
        columns = _paired(turns.get("speaker"), "$.turns.speaker", turns.get("utterance"), "$.turns.utterance")
        return _conversation(record, columns, _SGD_SPEAKERS)
    return _conversation(record, _listed(turns, "$.turns", "utterance"), _SGD_SPEAKERS)


def _parse_taskmaster(record: dict[str, Json]) -> Conversation:
    return _conversation(record, _listed(record.get("utterances"), "$.utterances", "text"), _TASKMASTER_SPEAKERS)


def _parse_soda(record: dict[str, Json]) -> Conversation:
    """Two people talk; who speaks first is the user."""
    turns = list(_paired(record.get("speakers"), "$.speakers", record.get("dialogue"), "$.dialogue"))
    names = list(dict.fromkeys(turn.speaker for turn in turns if isinstance(turn.speaker, str)))
    return _conversation(record, iter(turns), dict(zip(names, _SPEAKING_ORDER, strict=False)))


SGD = Format(
    name="sgd",
    title="Schema-Guided Dialogue: turns with speaker USER or SYSTEM and utterance",
    keys={"turns": either(objects("speaker", "utterance"), holding(speaker=LIST, utterance=LIST))},
    optional=AROUND_KEYS,
    datasets=("SGD", "MultiWOZ 2.2", "ConvLab-3"),
    example={
        "turns": [
            {"speaker": "USER", "utterance": "I need a table for two."},
            {"speaker": "SYSTEM", "utterance": "For what time?"},
        ]
    },
    parse=_parse_sgd,
)

TASKMASTER = Format(
    name="taskmaster",
    title="Taskmaster: utterances with speaker USER or ASSISTANT and text",
    keys={"utterances": objects("speaker", "text")},
    optional=AROUND_KEYS,
    datasets=("Taskmaster 1 / 2 / 3 / 4",),
    example={
        "utterances": [
            {"speaker": "USER", "text": "I need a table for two."},
            {"speaker": "ASSISTANT", "text": "For what time?"},
        ]
    },
    parse=_parse_taskmaster,
)

SODA = Format(
    name="soda",
    title="SODA: texts in dialogue and who says them in speakers; who speaks first is the user",
    keys={"dialogue": TEXTS, "speakers": TEXTS},
    optional=AROUND_KEYS,
    datasets=("SODA",),
    example={"dialogue": ["Have you been to Peru?", "Yes, last year."], "speakers": ["Ada", "Ben"]},
    parse=_parse_soda,
)

SPEAKER_FORMATS: tuple[Format, ...] = (SGD, TASKMASTER, SODA)
