"""The text that each token id stands for, read from a tokenizer.json alone.

No tokenizer is built for this: the file's vocabulary, added tokens and decoder say everything, and reading them takes
a tenth of the time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate, groupby

import msgspec
import numpy as np
import numpy.typing as npt

from ismpack.errors import TokenizerError
from ismpack.tokenization.loader import is_blank

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class TokenTexts:
    """What tokens read as, so that the texts of a document joined together are the document.

    - Control (added) tokens read as their content.
    - A character whose bytes are spread over several tokens stands whole in the token that holds its first byte; the
      others read as the rest of what they hold, often nothing.
    - A byte that belongs to no character stays what it is, as Python's `surrogateescape` writes it.
    - SentencePiece's `▁` is a space. The space that such a tokenizer puts before a text's first word is shown, because
      the model sees it. A WordPiece word has a space before it unless it starts the document or follows a control
      token; what that tokenizer normalised away cannot be told.
    - An id without a token reads `<no token 7>`.
    """

    def __init__(self, tokenizer_json: str | bytes) -> None:
        """Read the text of a tokenizer.json.

        Raises:
            TokenizerError: `tokenizer-invalid`.
        """
        try:
            parsed = msgspec.json.decode(tokenizer_json, type=_TokenizerFile)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise TokenizerError(f"this is not a tokenizer.json: {error}", code="tokenizer-invalid") from error
        vocabulary = parsed.model.vocab
        if isinstance(vocabulary, dict):
            self._tokens = {token_id: token for token, token_id in vocabulary.items()}
        else:
            self._tokens = {token_id: token for token_id, (token, _) in enumerate(vocabulary)}
        self._added = {token.id: token.content for token in parsed.added_tokens}
        self._blanks = {token.id for token in parsed.added_tokens if is_blank(token.content, special=token.special)}
        self._rules = _Rules.of(parsed)

    def is_control(self, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """bool[T]: whether each id is an added token, special or not, or no token at all.

        Added tokens that are white space and not special are none: indented text is made of them.
        """
        unique, inverse = np.unique(ids, return_inverse=True)
        added, tokens, blanks = self._added.keys(), self._tokens.keys(), self._blanks
        control = [i not in blanks and (i in added or i not in tokens) for i in unique.tolist()]
        return np.array(control, dtype=np.bool_)[inverse]

    def texts(self, ids: npt.NDArray[np.int32]) -> list[str]:
        """The text of each token of one document or row, in order.

        Args:
            ids: int32[T].
        """
        if not len(ids):
            return []
        unique, inverse = np.unique(ids, return_inverse=True)
        pieces = [self._bytes(token_id) for token_id in unique.tolist()]
        broken = np.array([_is_broken(piece) for piece in pieces])[inverse]
        whole = np.array([piece.decode(errors="surrogateescape") for piece in pieces], dtype=object)
        found: list[str] = whole[inverse].tolist()
        for start, stop in _runs(np.flatnonzero(broken)):
            found[start:stop] = _share([pieces[k] for k in inverse[start:stop].tolist()])
        if self._rules.word_mark:
            control = self.is_control(ids)
            for k in np.flatnonzero(np.concatenate([[True], control[:-1]]) & ~control).tolist():
                found[k] = found[k].removeprefix(" ")
        return found

    def _bytes(self, token_id: int) -> bytes:
        if token_id in self._added:
            return self._added[token_id].encode()
        if token_id in self._tokens:
            return self._rules.to_bytes(self._tokens[token_id])
        return f"<no token {token_id}>".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    """How a vocabulary entry is turned into text.

    Attributes:
        byte_level: Each character of an entry stands for one byte.
        byte_tokens: `<0xE4>` is the byte E4.
        replacements: (written, meant) pairs, applied in order.
        word_mark: WordPiece's mark of a token that continues a word; a token without it starts with a space.
        word_end: Suffix of a token that ends a word; it reads as a space.
    """

    byte_level: bool
    byte_tokens: bool
    replacements: tuple[tuple[str, str], ...]
    word_mark: str
    word_end: str

    @classmethod
    def of(cls, parsed: _TokenizerFile) -> _Rules:
        """Read the rules from the decoder, or, where a file has none, from what the encoder does."""
        model, steps = parsed.model, _flat(parsed.decoder) or _flat(parsed.pre_tokenizer)
        by_type = {step.type: step for step in steps}
        word_piece = by_type.get("WordPiece")
        word_ends = [step.suffix for step in steps if step.type == "BPEDecoder"]
        replacements = [(step.pattern.get("String", ""), step.content) for step in steps if step.type == "Replace"]
        replacements += [(step.replacement, " ") for step in steps if step.type == "Metaspace"]
        return cls(
            byte_level="ByteLevel" in by_type,
            byte_tokens=model.byte_fallback or "ByteFallback" in by_type,
            replacements=tuple((written, meant) for written, meant in replacements if written),
            word_mark=(word_piece.prefix if word_piece else model.continuing_subword_prefix) or "##"
            if word_piece or model.type == "WordPiece"
            else "",
            word_end=(word_ends or [model.end_of_word_suffix])[0] or "",
        )

    def to_bytes(self, token: str) -> bytes:
        """UTF-8 bytes of one vocabulary entry, possibly part of a character."""
        if self.byte_tokens and (match := _BYTE_TOKEN.fullmatch(token)):
            return bytes([int(match[1], 16)])
        if self.byte_level:
            return b"".join(_BYTE_OF.get(char) or char.encode() for char in token)
        for written, meant in self.replacements:
            token = token.replace(written, meant)
        if self.word_end and token.endswith(self.word_end):
            token = token.removesuffix(self.word_end) + " "
        if self.word_mark:
            token = token.removeprefix(self.word_mark) if token.startswith(self.word_mark) else f" {token}"
        return token.encode()


class _Model(msgspec.Struct):
    vocab: dict[str, int] | list[tuple[str, float]]
    type: str | None = None
    byte_fallback: bool = False
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None


class _AddedToken(msgspec.Struct):
    id: int
    content: str
    special: bool = False


class _Step(msgspec.Struct):
    """One decoder or pre-tokenizer; each type uses some of the fields."""

    type: str
    decoders: list[_Step] = []
    pretokenizers: list[_Step] = []
    pattern: dict[str, str] = {}
    content: str = ""
    replacement: str = "▁"
    prefix: str | None = None
    suffix: str | None = None


class _TokenizerFile(msgspec.Struct):
    """The parts of a tokenizer.json that decide what a token reads as."""

    model: _Model
    added_tokens: list[_AddedToken] = []
    decoder: _Step | None = None
    pre_tokenizer: _Step | None = None


def _flat(step: _Step | None) -> list[_Step]:
    """A decoder or pre-tokenizer as a list of steps, sequences opened."""
    if step is None:
        return []
    if step.type == "Sequence":
        return [inner for part in step.decoders + step.pretokenizers for inner in _flat(part)]
    return [step]


def _byte_of_character() -> dict[str, bytes]:
    """The byte that each character of a byte-level vocabulary stands for.

    Printable Latin-1 characters stand for themselves, the other 68 bytes are numbered on from U+0100.

    Source: GPT-2, `bytes_to_unicode`.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): bytes([byte]) for byte in printable}
    return table | {chr(0x100 + k): bytes([byte]) for k, byte in enumerate(rest)}


_BYTE_OF = _byte_of_character()


def _is_broken(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return True
    return False


def _runs(positions: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Half-open runs of neighbouring positions."""
    grouped = groupby(enumerate(positions.tolist()), key=lambda pair: pair[1] - pair[0])
    runs = [[position for _, position in group] for _, group in grouped]
    return [(run[0], run[-1] + 1) for run in runs]


def _share(pieces: list[bytes]) -> list[str]:
    """The text of neighbouring pieces of broken UTF-8: each character goes where its first byte is."""
    texts = [""] * len(pieces)
    ends = list(accumulate(len(piece) for piece in pieces))
    offset = owner = 0
    for char in b"".join(pieces).decode(errors="surrogateescape"):
        while ends[owner] <= offset:
            owner += 1
        texts[owner] += char
        offset += len(char.encode(errors="surrogateescape"))
    return texts
