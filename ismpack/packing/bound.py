"""How many rows any packing needs at the least: what the rows that were made are measured by.

The bound is the one that Martello and Toth call L2 (Knapsack Problems, 1990, section 8.3.2). Choose a threshold `t` of
at most half a row and leave out the samples below it. A sample longer than `capacity - t` then has its row to itself,
and one longer than half a row shares its row with none of its kind; what those leave free is all that the shorter
samples find before they need rows of their own. The best threshold counts; `t = 0` gives the number of tokens divided
by the capacity, or of samples longer than half a row, whichever is more.

    capacity 10, lengths 7 7 7 4 4 4     33 tokens would fit in 4 rows, yet no row can hold a 7 and a 4

    t = 4     7 7 7 have rows to themselves, and 12 tokens need 2 more: at least 5
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def row_bound(samples: Mapping[int, int], capacity: int) -> int:
    """No packing of samples needs fewer rows than this.

    Args:
        samples: Length -> samples of so many tokens, each length from 1 to `capacity`.
        capacity: Tokens per row.

    Raises:
        ValueError: A length is below 1 or above the capacity.
    """
    if not samples:
        return 0
    lengths, counts = np.array(sorted(samples.items()), np.int64).T
    if not 1 <= lengths[0] <= lengths[-1] <= capacity:
        raise ValueError(f"lengths must be from 1 to {capacity}, got {lengths[0]} to {lengths[-1]}")
    number = np.concatenate([[0], np.cumsum(counts)])  # of the samples shorter than `lengths[k]`
    tokens = np.concatenate([[0], np.cumsum(counts * lengths)])
    half = np.searchsorted(lengths, capacity // 2, side="right")
    thresholds = np.concatenate([[0], lengths[:half]])
    shortest = np.searchsorted(lengths, thresholds)
    alone = np.searchsorted(lengths, capacity - thresholds, side="right")
    free = (number[alone] - number[half]) * capacity - (tokens[alone] - tokens[half])
    more = -(-(tokens[half] - tokens[shortest] - free) // capacity)
    return int((number[-1] - number[half] + np.maximum(more, 0)).max())
