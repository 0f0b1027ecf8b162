"""The bare engines: text to ids and nothing else, on the texts that `ismpack convert` encodes."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeAlias

from suite.processes import keep_to
from suite.rounds import NotMeasuredError, Outcome
from suite.texts import batches, engine_json

Encoded: TypeAlias = Any
"""What an engine returns for a batch: of another type for each."""

Engine: TypeAlias = tuple[Callable[[list[str]], Encoded], Callable[[Encoded], int]]
"""What encodes a batch, and what then counts its tokens."""


def encode(engine: str, threads: int, folder: str) -> Outcome:
    """Time an engine's encoding of all texts, batch by batch.

    Loading, reading the texts and counting tokens are not in `seconds`. The garbage collector is off, which is the
    best case for an engine that makes an object for each text.
    """
    keep_to(threads)
    os.environ |= {name: str(threads) for name in ("RAYON_NUM_THREADS", "FASTOKENS_BPE_THREADS")}
    os.environ["TOKENIZERS_PARALLELISM"] = str(threads > 1).lower()
    gc.disable()
    begin = perf_counter()
    run, count = _load(engine, engine_json(folder), threads)
    load = perf_counter() - begin
    seconds, tokens = 0.0, 0
    for texts in batches(folder):
        begin = perf_counter()
        encoded = run(texts)
        seconds += perf_counter() - begin
        tokens += count(encoded)
        del encoded  # giving the memory back is not the next batch's work
    return Outcome(figures={"seconds": seconds, "load": load, "tokens": tokens})


def _load(engine: str, content: str, threads: int) -> Engine:
    load = {"fastokens": _fastokens, "gigatoken": _gigatoken, "hf": _hf}[engine]
    try:
        return load(content, threads)
    except ImportError as error:
        raise NotMeasuredError(f"{engine} is not installed") from error
    except (RuntimeError, ValueError) as error:
        raise NotMeasuredError(f"{engine} does not take this tokenizer: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _fastokens(content: str, _: int) -> Engine:
    """fastokens, ids and offsets as bytes."""
    import fastokens

    tokenizer = fastokens.Tokenizer.from_json_str(content)
    return lambda texts: tokenizer.encode_batch_flat(texts, False, False), lambda flat: len(flat[0]) // 4


def _gigatoken(content: str, threads: int) -> Engine:
    """gigatoken, ids and offsets as arrays without a copy."""
    from gigatoken.gigatoken_rs import load_hf_json

    tokenizer = load_hf_json(content)
    tokenizer.encode_batch(["a", "b"], parallel=threads > 1)  # the first call loads more
    return (
        lambda texts: tokenizer.encode_batch(texts, parallel=threads > 1).layout,
        lambda layout: int(layout.offsets.data[-1]),
    )


def _hf(content: str, _: int) -> Engine:
    """Hugging Face tokenizers, an Encoding for each text."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_str(content)
    return (
        lambda texts: tokenizer.encode_batch(texts, add_special_tokens=False),
        lambda encodings: sum(map(len, encodings)),
    )
