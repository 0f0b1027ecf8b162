"""Tool definitions of a record and tool calls of a message."""

from __future__ import annotations

from ismpack.data import Json, ToolCall
from ismpack.errors import RecordError
from ismpack.formats.values import decode_text, kind_of

_CALL_SHAPE = 'A call is {"type": "function", "function": {"name": ..., "arguments": {...}}}.'


def tool_definitions(value: Json, path: str, *, wrap: bool = False) -> tuple[dict[str, Json], ...] | None:
    """The tool definitions in a list, or in text that holds a JSON list; None when there are none.

    Args:
        value: What the record has.
        path: Where it has it.
        wrap: The format writes bare functions (`name`, `parameters`); give them the shape that chat templates expect,
            `{"type": "function", "function": ...}`.

    Raises:
        RecordError: `bad-tools`.
    """
    if isinstance(value, str):
        try:
            value = decode_text(value) if value.strip() else None
        except ValueError as error:
            raise _bad_tools(f"the text of the tool definitions is not JSON: {error}", path) from None
    if value in (None, []):
        return None
    if not isinstance(value, list):
        raise _bad_tools(f"the tool definitions are {kind_of(value)}, not a list", path)
    tools: list[dict[str, Json]] = []
    for index, tool in enumerate(value):
        if not isinstance(tool, dict):
            raise _bad_tools(f"a tool definition is {kind_of(tool)}, not an object", f"{path}[{index}]")
        is_bare = "name" in tool and not {"type", "function"} & tool.keys()
        tools.append({"type": "function", "function": tool} if wrap and is_bare else tool)
    return tuple(tools)


def tool_calls(value: Json, path: str) -> tuple[ToolCall, ...]:
    """The calls in a message's `tool_calls`: objects with `function`, and perhaps `id` and `type`.

    Raises:
        RecordError: `bad-tool-call`.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _bad_call(f"tool_calls is {kind_of(value)}, not a list", path)
    return tuple(_wrapped_call(call, f"{path}[{index}]") for index, call in enumerate(value))


def function_call(value: Json, path: str, call_id: str | None = None) -> ToolCall:
    """The call in an object with `name` and `arguments`.

    Arguments are an object, or text. Text that holds a JSON object gives the object as well; text that does not, or
    that parsers would read differently, stays text.

    Raises:
        RecordError: `bad-tool-call`.
    """
    if not isinstance(value, dict):
        raise _bad_call(f"a function call is {kind_of(value)}, not an object", path)
    name, arguments = value.get("name"), value.get("arguments")
    if not isinstance(name, str) or not name.strip():
        raise _bad_call("a tool call has no name", f"{path}.name")
    if isinstance(arguments, dict):
        return ToolCall(name=name, arguments=arguments, id=call_id)
    if not isinstance(arguments, str):
        what = kind_of(arguments) if "arguments" in value else "missing"
        raise _bad_call(f"the arguments of a tool call are {what}", f"{path}.arguments")
    try:
        decoded = decode_text(arguments)
    except ValueError:
        decoded = None
    parsed = decoded if isinstance(decoded, dict) else arguments
    return ToolCall(name=name, arguments=parsed, arguments_text=arguments, id=call_id)


def calls_in_text(value: Json, path: str) -> tuple[ToolCall, ...]:
    """The calls in a message whose whole text is one call as JSON, or a list of them.

    Raises:
        RecordError: `bad-tool-call`.
    """
    if not isinstance(value, str):
        raise _bad_call(f"a function call is {kind_of(value)}, not JSON text", path)
    try:
        decoded = decode_text(value)
    except ValueError as error:
        raise _bad_call(f"the text of a function call is not JSON: {error}", path) from None
    if decoded == []:
        raise _bad_call("a function call names no function", path)
    return tuple(function_call(call, path) for call in (decoded if isinstance(decoded, list) else [decoded]))


def _wrapped_call(value: Json, path: str) -> ToolCall:
    if not isinstance(value, dict):
        raise _bad_call(f"a tool call is {kind_of(value)}, not an object", path)
    if value.get("type") not in (None, "function"):
        raise _bad_call("a tool call is not of type function", f"{path}.type")
    if value.get("function") is None:
        raise _bad_call("a tool call has no function", f"{path}.function")
    call_id = value.get("id")
    if not isinstance(call_id, str | None):
        raise _bad_call(f"the id of a tool call is {kind_of(call_id)}, not text", f"{path}.id")
    return function_call(value["function"], f"{path}.function", call_id)


def _bad_call(message: str, path: str) -> RecordError:
    return RecordError(message, code="bad-tool-call", json_path=path, hint=_CALL_SHAPE)


def _bad_tools(message: str, path: str) -> RecordError:
    hint = "Tool definitions are a list of objects, or text that holds such a list as JSON."
    return RecordError(message, code="bad-tools", json_path=path, hint=hint)
