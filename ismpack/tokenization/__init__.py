"""Segments to samples. The only home of the transformers and tokenizers libraries."""

from ismpack.tokenization.loader import ControlToken, TokenizerFiles, load_tokenizer
from ismpack.tokenization.samples import SampleTokenizer

__all__ = ["ControlToken", "SampleTokenizer", "TokenizerFiles", "load_tokenizer"]
