"""Attention in JAX, with the mask built from two vectors inside the compiled function.

    ismpack convert chats.jsonl --tokenizer T -o DIR
    python examples/jax_attention.py DIR

What to copy: `ism_attention`, and the two lines of `main` that pad a row and make its intervals. Needs no PyTorch.
"""

import argparse

import jax
import jax.numpy as jnp

import ismpack
from ismpack import masks


@jax.jit
def ism_attention(query: jax.Array, key: jax.Array, value: jax.Array, lo: jax.Array, hi: jax.Array) -> jax.Array:
    """Attention of one row, float[T, heads, width]; token i sees the tokens lo[i] to hi[i] - 1 (int32[T] each)."""
    token = jnp.arange(len(lo))
    mask = (token >= lo[:, None]) & (token < hi[:, None])
    return jax.nn.dot_product_attention(query, key, value, mask=mask[None])


def main(arguments: list[str] | None = None) -> None:
    """Attention with random states over the first rows, and the gradient of its sum."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", metavar="DIR", help="what `ismpack convert -o DIR` wrote")
    parser.add_argument("--rows", type=int, default=2)
    given = parser.parse_args(arguments)
    dataset = ismpack.load(given.directory)
    length = dataset.manifest.options["max_length"]
    gradient = jax.grad(lambda query, *rest: ism_attention(query, *rest).sum())
    for number in range(min(given.rows, len(dataset))):
        row = dataset[number]
        # All rows get one length, so that everything is compiled once.
        padded = masks.pad(row.segment_type_ids, row.turn_ids, row.seq_lengths, length)
        lo, hi, _, _ = masks.intervals(*padded)
        states = jax.random.normal(jax.random.key(number), (3, length, 4, 16))
        out = ism_attention(*states, lo, hi)
        slope = gradient(*states, lo, hi)
        print(f"row {number}: {len(row)} tokens, output {out.shape}, gradient of query {slope.shape}")


if __name__ == "__main__":
    main()
