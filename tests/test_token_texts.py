"""Texts of tokens against what the `tokenizers` library decodes, on tiny tokenizers built here."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from ismpack.errors import TokenizerError
from ismpack.tokenization.texts import TokenTexts


def ids_of(*values: int) -> npt.NDArray[np.int32]:
    return np.array(values, dtype=np.int32)


def byte_level() -> Tokenizer:
    """One token per byte, then `<|end|>` and `<think>`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: k for k, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.add_tokens([AddedToken("<think>", special=False)])
    return tokenizer


def sentence_piece() -> Tokenizer:
    """A vocabulary with a few words; all else falls back to byte tokens."""
    pieces = [*(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁▁", "a", "b", "▁a", "é"]
    merges = [("▁", "▁"), ("▁", "a")]
    vocabulary = {piece: k for k, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


BYTE_LEVEL = byte_level()
BYTE_LEVEL_TEXTS = TokenTexts(BYTE_LEVEL.to_str())
SENTENCE_PIECE = sentence_piece()
SENTENCE_PIECE_TEXTS = TokenTexts(SENTENCE_PIECE.to_str())


def byte_level_id(token: str) -> int:
    token_id = BYTE_LEVEL.token_to_id(token)
    assert token_id is not None
    return token_id


def test_a_character_stands_in_the_token_with_its_first_byte() -> None:
    ids = BYTE_LEVEL.encode("a中b").ids
    assert BYTE_LEVEL_TEXTS.texts(ids_of(*ids)) == ["a", "中", "", "", "b"]


def test_a_byte_token_of_sentence_piece_is_part_of_a_character() -> None:
    ids = SENTENCE_PIECE.encode("a ü").ids
    assert SENTENCE_PIECE_TEXTS.texts(ids_of(*ids)) == ["a", " ", "ü", ""]


def test_a_token_may_hold_the_end_of_one_character_and_the_start_of_the_next() -> None:
    vocabulary = {"ä¸": 0, "ŃæĸĢ": 1, "ĩ!": 2}  # bytes e4 b8, then ad e6 96 80, then 87 21
    texts = TokenTexts(json.dumps({"model": {"vocab": vocabulary}, "decoder": {"type": "ByteLevel"}}))
    assert texts.texts(ids_of(0, 1)) == ["中", "斀"]
    assert texts.texts(ids_of(2)) == ["\udc87!"]


@given(st.text())
def test_joined_texts_are_the_document_for_byte_level_tokens(text: str) -> None:
    ids = BYTE_LEVEL.encode(text).ids
    assert "".join(BYTE_LEVEL_TEXTS.texts(ids_of(*ids))) == BYTE_LEVEL.decode(ids, skip_special_tokens=False) == text


@given(st.text(st.characters(codec="utf-8", exclude_characters="▁")))
def test_joined_texts_are_the_document_for_sentence_piece_tokens(text: str) -> None:
    ids = SENTENCE_PIECE.encode(text).ids
    assert "".join(SENTENCE_PIECE_TEXTS.texts(ids_of(*ids))) == text


# Printable Latin-1 characters of a byte-level vocabulary stand for the byte of their own number.
@given(st.text(st.characters(codec="latin-1", categories=["L", "N", "P", "S"])))
def test_bytes_that_are_no_text_survive_as_surrogate_escapes(tokens: str) -> None:
    ids = [byte_level_id(char) for char in tokens]
    joined = "".join(BYTE_LEVEL_TEXTS.texts(ids_of(*ids)))
    assert joined.encode(errors="surrogateescape") == tokens.encode("latin-1")


def test_added_tokens_read_as_their_content_and_are_control() -> None:
    ids = ids_of(byte_level_id("<|end|>"), byte_level_id("<think>"), byte_level_id("a"))
    assert BYTE_LEVEL_TEXTS.texts(ids) == ["<|end|>", "<think>", "a"]
    assert BYTE_LEVEL_TEXTS.is_control(ids).tolist() == [True, True, False]


def test_an_id_without_a_token_is_named_and_never_taken_for_text() -> None:
    assert BYTE_LEVEL_TEXTS.texts(ids_of(99999, -1)) == ["<no token 99999>", "<no token -1>"]
    assert BYTE_LEVEL_TEXTS.is_control(ids_of(99999)).tolist() == [True]


def test_no_ids_give_no_texts() -> None:
    assert BYTE_LEVEL_TEXTS.texts(ids_of()) == []
    assert BYTE_LEVEL_TEXTS.is_control(ids_of()).tolist() == []


def test_a_metaspace_without_a_decoder_is_a_space() -> None:
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁a", -1.0), ("b", -1.0), ("▁", -2.0)], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    texts = TokenTexts(tokenizer.to_str())
    assert texts.texts(ids_of(*tokenizer.encode("ab a").ids)) == [" a", "b", " a"]


def test_word_pieces_are_joined_and_words_are_parted() -> None:
    vocabulary = {"un": 0, "##able": 1, "to": 2}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[SEP]"])
    ids = tokenizer.encode("unable to[SEP]to unable").ids
    texts = TokenTexts(tokenizer.to_str())
    assert texts.texts(ids_of(*ids)) == ["un", "able", " to", "[SEP]", "to", " un", "able"]


def test_the_suffix_of_a_words_last_token_is_a_space() -> None:
    tokenizer = Tokenizer(models.BPE(vocab={"lo": 0, "w</w>": 1}, merges=[], end_of_word_suffix="</w>"))
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    assert TokenTexts(tokenizer.to_str()).texts(ids_of(0, 1)) == ["lo", "w "]


@pytest.mark.parametrize("text", ["", "[1]", '{"model": {}}', b"\xff"])
def test_what_is_no_tokenizer_file_is_refused(text: str | bytes) -> None:
    with pytest.raises(TokenizerError) as caught:
        TokenTexts(text)
    assert caught.value.code == "tokenizer-invalid"
