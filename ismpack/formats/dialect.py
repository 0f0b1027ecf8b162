"""How a family of formats writes a message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ismpack.data import Json, Role, ToolCall
from ismpack.formats.tools import calls_in_text


def _read_json_calls(text: Json, path: str) -> tuple[None, tuple[ToolCall, ...]]:
    return None, calls_in_text(text, path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one format family writes a message.

    Attributes:
        role_key: Key of the role.
        content_key: Key of the text.
        roles: The family's role words, exactly as written -> our roles.
        call_roles: Role words of an assistant message whose text is tool calls.
        read_calls: What is said before the calls in such a text (None if nothing is), and the calls. By default, the
            whole text is one call as JSON, or a list of them. Raises RecordError `bad-tool-call`.
        metadata: Keys of a message that say something about it and are not for the template.
    """

    role_key: str
    content_key: str
    roles: Mapping[str, Role]
    call_roles: frozenset[str] = frozenset()
    read_calls: Callable[[Json, str], tuple[str | None, tuple[ToolCall, ...]]] = _read_json_calls
    metadata: frozenset[str] = frozenset()
