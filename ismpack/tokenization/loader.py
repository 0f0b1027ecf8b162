"""Loading a tokenizer: one backend JSON from which every engine is built, and the facts that go with it.

"HF" means what `AutoTokenizer.from_pretrained` gives; its backend's JSON is the one that is digested and stored beside
the shards. A bare tokenizer.json stands for itself. No remote code, no pickle; the network is used only when the user
names a hub repository. What was loaded once is kept (`cache.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import tokenizers

from ismpack.errors import Location, TokenizerError
from ismpack.tokenization.cache import file_key, folder_key, hub_key, through_cache

GENERATION_CONFIG = "generation_config.json"
WHITE_SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""Unicode White_Space, which is what the tokenizers library strips; `str.strip()` takes \\x1c to \\x1f as well."""

_MAX_ID = (1 << 24) - 1
"""Tables are as long as the largest id; no vocabulary comes near this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlToken:
    """An added token of the tokenizer, special or not.

    Attributes:
        content: Its text.
        id: Its id.
        special: The tokenizer's `special` flag.
        lstrip: It swallows white space before it.
        rstrip: It swallows white space after it.
        single_word: It is no token when letters or digits touch it.
        normalized: It is looked for after the tokens that are not normalized.
    """

    content: str
    id: int
    special: bool
    lstrip: bool
    rstrip: bool
    single_word: bool
    normalized: bool

    @property
    def is_blank(self) -> bool:
        """Whether it stands for white space and no more: ordinary vocabulary (GPT-NeoX's runs of blanks)."""
        return is_blank(self.content, special=self.special)


def is_blank(content: str, *, special: bool) -> bool:
    """Whether an added token of this text is ordinary vocabulary, which data may hold: white space, not special."""
    return not special and not content.strip(WHITE_SPACE)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFiles:
    """All that the pipeline needs to know of a tokenizer.

    Attributes:
        backend_json: The `tokenizers` JSON of the backend.
        digest: Hex sha256 of the backend JSON.
        chat_templates: Name -> Jinja text (`default`, perhaps `tool_use`); empty if the tokenizer has none.
        variables: Special tokens as templates see them (`bos_token`, ...).
        control_tokens: Every added token, by content.
        eos_ids: Ids that end a generation: generation_config.json's and the tokenizer's own.
        unknown_id: Id of the model's unknown token, if it has one.
        largest_id: Largest id in the vocabulary.
        generation_config: Text of generation_config.json, if there is one.
    """

    backend_json: str
    digest: str
    chat_templates: Mapping[str, str]
    variables: Mapping[str, str]
    control_tokens: Mapping[str, ControlToken]
    eos_ids: tuple[int, ...]
    unknown_id: int | None
    largest_id: int
    generation_config: str | None


class _Model(msgspec.Struct):
    unk_token: str | None = None
    unk_id: int | None = None


class _Facts(msgspec.Struct):
    """What is read of a backend's JSON; its vocabulary, which is nearly all of it, is passed over."""

    model: _Model
    added_tokens: list[ControlToken]


def load_tokenizer(name: str) -> TokenizerFiles:
    """Load a tokenizer by hub name, directory, or path of a tokenizer.json.

    Raises:
        TokenizerError: `tokenizer-not-found` or `tokenizer-invalid`.
    """
    path = Path(name)
    if path.is_file():
        key = partial(file_key, path, path.parent / GENERATION_CONFIG)
        return through_cache(key, partial(_from_file, path), TokenizerFiles)
    if not path.is_dir() and (path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1):
        raise TokenizerError(
            f"there is no tokenizer at {name}",
            code="tokenizer-not-found",
            hint="Give a directory with tokenizer.json, the file itself, or a hub name such as org/model.",
        )
    key = partial(folder_key if path.is_dir() else hub_key, name)
    return through_cache(key, partial(_from_pretrained, name), TokenizerFiles)


def _from_file(path: Path) -> TokenizerFiles:
    try:
        backend = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises plain Exception for a file that is no tokenizer
        raise TokenizerError(
            f"{path} is not a tokenizer.json: {error}", code="tokenizer-invalid", location=Location(path=str(path))
        ) from error
    beside = path.parent / GENERATION_CONFIG
    return _files(backend, generation_config=_read_text(beside), templates={}, variables={}, eos_id=None)


def _from_pretrained(name: str) -> TokenizerFiles:
    import transformers  # noqa: PLC0415 - takes more than a second, and `inspect` of a shard needs none of it
    from transformers.utils import cached_file  # noqa: PLC0415

    what = f"the tokenizer {name!r}"
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        what = f"{GENERATION_CONFIG} of {name!r}"
        config_path = cached_file(name, GENERATION_CONFIG, _raise_exceptions_for_missing_entries=False)
    except Exception as error:  # hub, file and format errors have no common base
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TokenizerError(
            f"cannot load {what}: {reason[:300]}",
            code="tokenizer-invalid" if Path(name).is_dir() else "tokenizer-not-found",
            hint="Give a directory with tokenizer.json, the file itself, or a hub name such as org/model.",
        ) from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise TokenizerError(
            f"the tokenizer {name!r} has no `tokenizers` backend",
            code="tokenizer-invalid",
            hint="Convert it to a tokenizer.json first; slow Python tokenizers are not supported.",
        )
    templates = tokenizer.chat_template or {}
    return _files(
        backend,
        generation_config=_read_text(Path(config_path)) if config_path else None,
        templates={"default": templates} if isinstance(templates, str) else dict(templates),
        variables=dict(tokenizer.special_tokens_map),
        eos_id=tokenizer.eos_token_id,
    )


def _files(
    backend: tokenizers.Tokenizer,
    *,
    generation_config: str | None,
    templates: Mapping[str, str],
    variables: Mapping[str, str],
    eos_id: int | None,
) -> TokenizerFiles:
    largest = max(backend.get_vocab(with_added_tokens=True).values())
    if largest > _MAX_ID:
        raise TokenizerError(
            f"the tokenizer has the token id {largest}, which is no vocabulary", code="tokenizer-invalid"
        )
    backend_json = backend.to_str()
    facts = msgspec.json.decode(backend_json, type=_Facts)
    model = facts.model
    eos = _eos_ids(generation_config) + ([] if eos_id is None else [eos_id])
    return TokenizerFiles(
        backend_json=backend_json,
        digest=hashlib.sha256(backend_json.encode()).hexdigest(),
        chat_templates=templates,
        variables=variables,
        control_tokens={token.content: token for token in facts.added_tokens},
        eos_ids=tuple(dict.fromkeys(eos)),
        unknown_id=backend.token_to_id(model.unk_token) if model.unk_token else model.unk_id,
        largest_id=largest,
        generation_config=generation_config,
    )


def _eos_ids(generation_config: str | None) -> list[int]:
    if generation_config is None:
        return []
    try:
        value = json.loads(generation_config).get("eos_token_id")
    except (ValueError, AttributeError) as error:
        raise TokenizerError(f"{GENERATION_CONFIG} is not a JSON object: {error}", code="tokenizer-invalid") from error
    ids = [] if value is None else value if isinstance(value, list) else [value]
    if not all(type(one) is int and one >= 0 for one in ids):
        raise TokenizerError(
            f"eos_token_id in {GENERATION_CONFIG} is neither a token id nor a list of them: {json.dumps(value)}",
            code="tokenizer-invalid",
        )
    return ids


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(
            f"cannot read {path.name}: {error}", code="tokenizer-invalid", location=Location(path=str(path))
        ) from error
