"""Tool definitions of a record and tool calls of a message."""

from __future__ import annotations

from ismpack.data import Json, ToolCall
from ismpack.errors import RecordError
from ismpack.formats.values import decode_text, kind_of

_DECLARATIONS = ("functionDeclarations", "function_declarations")
_PARAMETERS = {"input_schema": "parameters", "inputSchema": "parameters"}
_CALL_SHAPE = 'A call is {"type": "function", "function": {"name": ..., "arguments": {...}}}.'


def tool_definitions(value: Json, path: str) -> tuple[dict[str, Json], ...] | None:
    """The tool definitions in a list, or in text that holds a JSON list; None when there are none.

    A function that is written in another way (bare, or as one of the chat APIs has it) gets the shape that templates
    expect, `{"type": "function", "function": ...}`.

    Args:
        value: What the record has.
        path: Where it has it.

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
        tools += _standard(tool, f"{path}[{index}]")
    return tuple(tools)


def _standard(tool: dict[str, Json], path: str) -> list[dict[str, Json]]:
    """A definition as chat templates expect it; one that is no function, or no known spelling of one, as it is."""
    for key in _DECLARATIONS:
        declared = tool.get(key)
        if isinstance(declared, list):
            wrong = next((n for n, function in enumerate(declared) if not isinstance(function, dict)), None)
            if wrong is not None:
                what = kind_of(declared[wrong])
                raise _bad_tools(f"a tool definition is {what}, not an object", f"{path}.{key}[{wrong}]")
            return [_wrapped(function) for function in declared if isinstance(function, dict)]
    spec = tool.get("toolSpec")
    if isinstance(spec, dict):
        return [_wrapped(spec)]
    named = isinstance(tool.get("name"), str) and tool.get("function") is None
    if named and (tool.get("type") in (None, "function") or tool.get("input_schema") is not None):
        return [_wrapped({key: value for key, value in tool.items() if key not in ("type", "function")})]
    return [tool]


def _wrapped(function: dict[str, Json]) -> dict[str, Json]:
    """A function in its wrapper, its parameters under the name that templates read."""
    schema = function.get("inputSchema")
    if isinstance(schema, dict) and "json" in schema:
        function = {**function, "inputSchema": schema["json"]}
    renamed = {} if "parameters" in function else _PARAMETERS
    return {"type": "function", "function": {renamed.get(key, key): value for key, value in function.items()}}


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


def function_call(value: Json, path: str, call_id: str | None = None, *, arguments_key: str = "arguments") -> ToolCall:
    """The call in an object with `name` and `arguments`.

    Arguments are an object, or text. Text that holds a JSON object gives the object as well; text that does not, or
    that parsers would read differently, stays text.

    Args:
        value: What the record has.
        path: Where it has it.
        call_id: The call's id.
        arguments_key: Key of the arguments.

    Raises:
        RecordError: `bad-tool-call`.
    """
    if not isinstance(value, dict):
        raise _bad_call(f"a function call is {kind_of(value)}, not an object", path)
    name, arguments = value.get("name"), value.get(arguments_key)
    if not isinstance(name, str) or not name.strip():
        raise _bad_call("a tool call has no name", f"{path}.name")
    if isinstance(arguments, dict):
        return ToolCall(name=name, arguments=arguments, id=call_id)
    if not isinstance(arguments, str):
        what = kind_of(arguments) if arguments_key in value else "missing"
        raise _bad_call(f"the arguments of a tool call are {what}", f"{path}.{arguments_key}")
    try:
        decoded = decode_text(arguments)
    except ValueError:
        decoded = None
    parsed = decoded if isinstance(decoded, dict) else arguments
    return ToolCall(name=name, arguments=parsed, arguments_text=arguments, id=call_id)


def calls_in_text(value: Json, path: str) -> tuple[ToolCall, ...]:
    """The calls in a message that is nothing but one call, or a list of them, as JSON or as text that holds it.

    Raises:
        RecordError: `bad-tool-call`.
    """
    try:
        decoded = decode_text(value) if isinstance(value, str) else value
    except ValueError as error:
        raise _bad_call(f"the text of a function call is not JSON: {error}", path) from None
    if decoded == []:
        raise _bad_call("a function call names no function", path)
    return tuple(function_call(call, path) for call in (decoded if isinstance(decoded, list) else [decoded]))


def _wrapped_call(value: Json, path: str) -> ToolCall:
    """A call inside `function`; Qwen's templates also read one that has its name and arguments outside."""
    if not isinstance(value, dict):
        raise _bad_call(f"a tool call is {kind_of(value)}, not an object", path)
    if value.get("type") not in (None, "function"):
        raise _bad_call("a tool call is not of type function", f"{path}.type")
    call_id = value.get("id")
    if not isinstance(call_id, str | None):
        raise _bad_call(f"the id of a tool call is {kind_of(call_id)}, not text", f"{path}.id")
    if value.get("function") is not None:
        return function_call(value["function"], f"{path}.function", call_id)
    if value.get("name") is None:
        raise _bad_call("a tool call has no function", f"{path}.function")
    return function_call(value, path, call_id)


def _bad_call(message: str, path: str) -> RecordError:
    return RecordError(message, code="bad-tool-call", json_path=path, hint=_CALL_SHAPE)


def _bad_tools(message: str, path: str) -> RecordError:
    hint = "Tool definitions are a list of objects, or text that holds such a list as JSON."
    return RecordError(message, code="bad-tools", json_path=path, hint=hint)
