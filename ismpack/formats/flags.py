"""Loss flags: a message's own word on whether it is trained."""

from __future__ import annotations

from ismpack.data import Json, Role
from ismpack.errors import RecordError
from ismpack.formats.values import kind_of

LOSS_FLAGS: tuple[str, ...] = ("weight", "train", "loss", "label", "loss_weight")
"""Keys of a message that say it; all mean the same."""


def loss_flag(item: dict[str, Json], role: Role, path: str) -> bool | None:
    """What a message says about its own loss; None when it says nothing (null is nothing).

    Raises:
        RecordError: `fractional-weight`: a number other than 0 and 1; `bad-message`: neither number nor boolean;
            `conflicting-flags`: two flags disagree; `loss-on-query`: true on a message that the model does not write.
    """
    flags = {key: _flag(item[key], f"{path}.{key}") for key in LOSS_FLAGS if item.get(key) is not None}
    if not flags:
        return None
    if len(set(flags.values())) > 1:
        raise RecordError(
            f"the loss flags {' and '.join(flags)} disagree",
            code="conflicting-flags",
            json_path=path,
            hint="Keep one of them.",
        )
    key, loss = next(iter(flags.items()))
    if loss and role != "assistant":
        raise RecordError(
            f"{key} asks to train a {role} message",
            code="loss-on-query",
            json_path=f"{path}.{key}",
            hint="Only assistant messages are written by the model; remove the flag or set it to 0.",
        )
    return loss


def _flag(value: Json, path: str) -> bool:
    if not isinstance(value, (int, float)):
        raise RecordError(f"a loss flag is {kind_of(value)}", code="bad-message", json_path=path, hint="Use 0 or 1.")
    if value not in (0, 1):
        raise RecordError(
            f"a loss flag is {value}",
            code="fractional-weight",
            json_path=path,
            hint="Only 0/1 and true/false are possible; ismpack stores a mask, not weights.",
        )
    return bool(value)
