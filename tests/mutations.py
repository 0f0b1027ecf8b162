"""The same conversation with other contents: what a skeleton that was made for one must do right for all.

Kept: how many messages, their roles, which fields each has, how many parts and calls. Changed: every text, the names,
the ids, the arguments and their keys, the tool definitions. Everything follows from the random generator given.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from msgspec.structs import replace

from ismpack.data import Conversation, Json, Message, ToolCall

TEXTS = (
    "", " ", "\n", "\n\n", "\t \n", "\u00a0", "\u2028", "\u0085", "a", "A", "b", "x", "yes", "no", "ok", "Bye", "twice", "5", "-1", "0.5",
    "Hello there", "the end.", "Why?", "What? Now!", "stop!", "THE LOUD ONE", "all small", "q\n", "\nq", " q ", "\n\n a \n\n", "a\r\nb",
    "a\tb\tc", "one\ntwo\nthree", "one\n\n\ntwo", "line\n", "  indented\n    more",
    "<think>", "</think>", "<think></think>", "<think>\n\n</think>\n\n", "<think>\nhm\n</think>\n\nso", "<think>hm</think>so", "<think>\nhm",
    "hm\n</think>\n\nso", "a</think>b</think>c", "<think>a<think>b</think>c</think>d", "</think>\n\n<think>\n",
    "<tool_call>\n{}\n</tool_call>", "<tool_response>\nx\n</tool_response>", "<tools>", "</tool_response>", "<thinking>x</thinking>", "/no_think", "/think",
    "user", "assistant", "system", "tool", "user\n", "assistant\n", "\nassistant\n", "assistant\n<think>\n", "assistant\n<think>\n\n</think>\n\n",
    "Human: x\n\nAssistant:", "### Response:\n", "ROLE", "TEXT", "ROLE TEXT", "@@", "##", "@@(##)", "zzz", "zz",
    "%", "%s", "%(name)s", "100%", "{", "}", "{}", "{0}", "{name}", "{{", "}}", "{{ x }}", "{% x %}", "{# x #}", "'", '"', "'x'", '"x"', '"', "\\", "\\n",
    "\\\"", "\\u0041", "`x`", "$x", "a,b;c", "[]", "[1]", '{"a": 1}', '{"role": "user", "content": "x"}', "{'a': 1}", '["x"', "null", "None", "True",
    "&lt;", "<b>&</b>", "<|", "|>", "<", ">", "[", "<|x|>", "<|IM_END|>", "<| im_end |>", "im_end", "<|im_", "]", "[/", "INST",
    "é", "e\u0301", "\u0301", "ﷺ", "你好", "👩‍👩‍👧‍👦", "\u200b", "\ufeff", "ſß", "İ", "ǅ", "\U0010ffff", "\x1b[0m", "\x1c", "\x7f", "𝔘𝔫𝔦",
    "word " * 300, "x" * 700, "line of text\n" * 90, "é" * 257,
)  # fmt: skip
"""What any text may become, or a piece of what it becomes."""

NAMES = (
    "f", "get_time", "get_weather_for_a_town", "a.b-c", "F", "name", "run_shell", "look up", "функция", "x" * 70, '"', "%s", "{}", "</tool_call>"
)  # fmt: skip
IDS = ("call00001", "abcdefghi", "000000000", "Ab3dEf6hI", "zzzzzzzzz")
KEYS = (
    "place",
    "clock",
    "command",
    "url",
    "",
    " ",
    "a",
    "b",
    "name",
    "arguments",
    "type",
    "items",
    "keys",
    "é",
    '"',
    "'",
    "%s",
    "{x}",
    "</think>",
    "1",
)
NUMBERS: tuple[Json, ...] = (0, 1, -7, 2.5, 1e-9, 1e22, 12345678901234567890, True, False, None)


def mutate(conversation: Conversation, rng: Random, *, control: Sequence[str] = ()) -> Conversation:
    """A conversation of the same structure with other contents.

    Args:
        conversation: What to start from; not changed.
        rng: Decides everything.
        control: Texts of control tokens to weave into the data; none otherwise.
    """
    return _Mutator(rng, control).conversation(conversation)


class _Mutator:
    def __init__(self, rng: Random, control: Sequence[str]) -> None:
        self.rng = rng
        self.control = control

    def conversation(self, conversation: Conversation) -> Conversation:
        # Names and ids are mutated alike wherever they occur, so that results still answer their calls.
        self.names: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        return replace(
            conversation,
            messages=tuple(self.message(message) for message in conversation.messages),
            tools=None if conversation.tools is None else tuple(self.tool(tool) for tool in conversation.tools),
        )

    def message(self, message: Message) -> Message:
        content = message.content
        return replace(
            message,
            content=tuple(map(self.text, content)) if isinstance(content, tuple) else content and self.text(content),
            reasoning=None if message.reasoning is None else self.text(message.reasoning),
            tool_calls=tuple(map(self.call, message.tool_calls)),
            name=None if message.name is None else self.name(message.name),
            tool_call_id=None if message.tool_call_id is None else self.id(message.tool_call_id),
            extra={self.key(key): self.same_shape(value) for key, value in message.extra.items()},
        )

    def call(self, call: ToolCall) -> ToolCall:
        made = replace(call, name=self.name(call.name), id=None if call.id is None else self.id(call.id))
        if isinstance(call.arguments, str):
            text = self.text(call.arguments)
            return replace(made, arguments=text, arguments_text=text)
        arguments = self.object() if self.rng.random() < 0.4 else self.same_shape(call.arguments)
        assert isinstance(arguments, dict)
        return replace(made, arguments=arguments, arguments_text=None)

    def tool(self, tool: dict[str, Json]) -> dict[str, Json]:
        function = tool.get("function")
        if not isinstance(function, dict):
            return tool
        function = {**function, "name": self.name(str(function["name"])), "description": self.text("d")}
        parameters = function.get("parameters")
        properties = parameters.get("properties") if isinstance(parameters, dict) else None
        if isinstance(parameters, dict) and isinstance(properties, dict):
            renamed = {self.key(key): self.same_shape(schema) for key, schema in properties.items()}
            function["parameters"] = {**parameters, "properties": renamed, "required": list[Json](renamed)}
        return {**tool, "function": function}

    def text(self, text: str) -> str:
        """Another text, often made of several; sometimes the same."""
        kind = self.rng.random()
        if kind < 0.1:
            made = text
        elif kind < 0.6:
            made = self.rng.choice(TEXTS)
        elif kind < 0.7:
            made = text + self.rng.choice(TEXTS)
        else:
            made = "".join(self.rng.choices(TEXTS, k=self.rng.randint(2, 5)))
        return self.weave(made)

    def weave(self, text: str) -> str:
        """The text, often with control strings somewhere inside."""
        if not self.control or self.rng.random() < 0.3:
            return text
        for _ in range(self.rng.randint(1, 3)):
            at = self.rng.randint(0, len(text))
            text = text[:at] + self.rng.choice(self.control) + text[at:]
        return text

    def name(self, name: str) -> str:
        if name not in self.names:
            self.names[name] = self.weave(self.rng.choice((*NAMES, name, name)))
        return self.names[name]

    def id(self, text: str) -> str:
        if text not in self.ids:
            self.ids[text] = self.weave(self.rng.choice(IDS)) if self.control else self.rng.choice(IDS)
        return self.ids[text]

    def key(self, key: str) -> str:
        return self.weave(self.rng.choice((*KEYS, *[key] * 20)))

    def same_shape(self, value: Json) -> Json:
        """JSON of the same types: texts and numbers differ, some keys do."""
        if isinstance(value, dict):
            return {self.key(key): self.same_shape(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.same_shape(item) for item in value]
        if isinstance(value, str):
            return self.text(value)
        return value if value is None or isinstance(value, bool) else self.rng.choice(NUMBERS[:4])

    def object(self, depth: int = 0) -> dict[str, Json]:
        """Any JSON object."""
        return {self.key(self.rng.choice(KEYS)): self.json(depth + 1) for _ in range(self.rng.randint(0, 4))}

    def json(self, depth: int) -> Json:
        kind = self.rng.random()
        if kind < 0.15 and depth < 4:
            return self.object(depth)
        if kind < 0.3 and depth < 4:
            return [self.json(depth + 1) for _ in range(self.rng.randint(0, 3))]
        return self.text("v") if kind < 0.75 else self.rng.choice(NUMBERS)
