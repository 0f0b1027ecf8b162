"""Role words: exactly as a family of formats writes them, and what a record is told that writes another."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from ismpack.data import Json, Role
from ismpack.errors import RecordError
from ismpack.formats.values import kind_of, shown


def role_of(word: Json, roles: Mapping[str, Role], path: str) -> Role:
    """The role that a word stands for.

    Args:
        word: What the record has.
        roles: The known words.
        path: JSON path of the word.

    Raises:
        RecordError: `bad-message`: it is no text; `unknown-role`.
    """
    if not isinstance(word, str):
        what = "missing" if word is None else f"{kind_of(word)}, not text"
        raise RecordError(f"the role of a message is {what}", code="bad-message", json_path=path)
    if word not in roles:
        near = difflib.get_close_matches(word.strip().lower()[:40], roles, n=1)
        guess = f'Did you mean "{near[0]}"? ' if near else ""
        raise RecordError(
            f"a message has role {shown(word)}, which is not known",
            code="unknown-role",
            json_path=path,
            hint=f"{guess}Known roles: {', '.join(roles)}.",
        )
    return roles[word]
