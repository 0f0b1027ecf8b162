"""Everything that a partition needs besides its bytes, made once from the options.

A `Setup` is what the options name, loaded: plain values, which can be sent to another process. A `Toolkit` is what is
built from it, in every process anew: compiled templates, and tokenizers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import structs

from ismpack.data import Conversation, Json, Message, PlainConversation
from ismpack.errors import Location, TokenizerError
from ismpack.formats import Format, chosen_format
from ismpack.manifest import canonical_digest
from ismpack.options import ConvertOptions
from ismpack.templates import ChatTemplate, Segmentation, Segmenter, SegmentRules, find_dialect, frame_tokens
from ismpack.tokenization import SampleTokenizer, TokenizerFiles, load_tokenizer

_TOOL_USE = "tool_use"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What the options name.

    Attributes:
        options: The run's options.
        files: The tokenizer.
        templates: Jinja text of the templates in use, by name; `default` is always there.
    """

    options: ConvertOptions
    files: TokenizerFiles
    templates: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Toolkit:
    """A template and the rules, ready for use.

    Attributes:
        setup: What it is made from.
        format: The format that every record is read as; None = find it for each.
        rules: What decides the segments besides the template.
        segmenters: Conversations to segments, by the template's name.
    """

    setup: Setup
    format: Format | None
    rules: SegmentRules
    segmenters: dict[str, Segmenter]

    @property
    def options(self) -> ConvertOptions:
        """The run's options."""
        return self.setup.options

    @property
    def files(self) -> TokenizerFiles:
        """The tokenizer."""
        return self.setup.files

    @property
    def templates(self) -> dict[str, str]:
        """Jinja text of the templates in use, by name."""
        return self.setup.templates

    @property
    def template_digest(self) -> str:
        """Hex sha256 of the templates."""
        return canonical_digest(self.templates)

    @property
    def stop_ids(self) -> list[int]:
        """Ids of the stop tokens, sorted."""
        return sorted(self.files.control_tokens[content].id for content in self.rules.stop_tokens)

    def segments(self, conversation: Conversation | PlainConversation) -> Segmentation:
        """The conversation's segments under its template.

        Raises:
            RecordError: See `templates.Segmenter.segment`.
        """
        if self.options.default_system is not None:
            conversation = with_default_system(conversation.written_out(), self.options.default_system)
        name = _TOOL_USE if conversation.tools and _TOOL_USE in self.segmenters else "default"
        return self.segmenters[name].segment(conversation)

    def tokenizer(self, engine: str = "hf") -> SampleTokenizer:
        """What makes samples of segments; building it takes up to a second.

        Raises:
            TokenizerError: `tokenizer-engine-unfit`.
        """
        policy = self.options.special_tokens_in_data
        return SampleTokenizer(self.files, policy, self.rules.written_by_model, engine=engine)


def load_setup(options: ConvertOptions) -> Setup:
    """Read the tokenizer and the templates.

    Raises:
        TokenizerError: The tokenizer or its template cannot be used.
    """
    files = load_tokenizer(options.tokenizer)
    return Setup(options=options, files=files, templates=_templates(options, files))


def make_toolkit(setup: Setup) -> Toolkit:
    """Compile the templates.

    Raises:
        TokenizerError: A template or a stop token cannot be used.
        UsageError: `bad-option`: there is no such format.
    """
    options, files, templates = setup.options, setup.files, setup.templates
    chosen = chosen_format(options.format, options.map)
    variables: dict[str, Json] = {**files.variables, **options.template_args}
    compiled = {}
    for name, source in templates.items():
        template = ChatTemplate(source, variables=variables, date=options.date, name=options.chat_template or name)
        compiled[name] = (template, find_dialect(template))
    rules = SegmentRules(
        stop_tokens=_stop_tokens(options, files),
        # White-space tokens are ordinary vocabulary: nobody is fooled by them.
        control_tokens={
            content: token.special for content, token in files.control_tokens.items() if not token.is_blank
        },
        special_tokens_in_data=options.special_tokens_in_data,
        on_rewrite=options.on_rewrite,
        loss=options.loss,
        allow_dropped=frozenset(options.allow_dropped),
        allow_unterminated=options.allow_unterminated,
    )
    frames = (frame_tokens(template, dialect, rules) for template, dialect in compiled.values())
    rules = replace(rules, frame_tokens=frozenset().union(*frames))
    return Toolkit(
        setup=setup,
        format=chosen,
        rules=rules,
        segmenters={name: Segmenter(template, dialect, rules) for name, (template, dialect) in compiled.items()},
    )


def with_default_system(conversation: Conversation, text: str) -> Conversation:
    """The conversation with a system message in front, unless it has one."""
    if any(message.role in ("system", "developer") for message in conversation.messages):
        return conversation
    return structs.replace(conversation, messages=(Message(role="system", content=text), *conversation.messages))


def _templates(options: ConvertOptions, files: TokenizerFiles) -> dict[str, str]:
    if options.chat_template is not None:
        try:
            return {"default": Path(options.chat_template).read_text(encoding="utf-8")}
        except (OSError, UnicodeDecodeError) as error:
            raise TokenizerError(
                f"cannot read the chat template {options.chat_template}: {getattr(error, 'strerror', None) or error}",
                code="chat-template-missing",
                location=Location(path=options.chat_template),
            ) from error
    if "default" not in files.chat_templates:
        raise TokenizerError(
            f"the tokenizer {options.tokenizer} has no chat template",
            code="chat-template-missing",
            hint="Give one with --chat-template FILE.",
        )
    return {name: files.chat_templates[name] for name in ("default", _TOOL_USE) if name in files.chat_templates}


def _stop_tokens(options: ConvertOptions, files: TokenizerFiles) -> frozenset[str]:
    for content in options.stop_tokens:
        if content not in files.control_tokens:
            raise TokenizerError(
                f"--stop-token {content!r} is not an added token of the tokenizer",
                code="stop-token-not-encodable",
                hint="Only a single token of its own can end an answer; see added_tokens in its tokenizer.json.",
            )
    listed = {content for content, token in files.control_tokens.items() if token.id in files.eos_ids}
    return frozenset(listed.union(options.stop_tokens))
