"""Errors of averages over correlated series."""

from __future__ import annotations

import numpy as np

MIN_BLOCKS = 10
"""Fewer blocks than this give no error worth the name."""


def block_error(values: np.ndarray) -> float:
    """Standard error of the mean of a correlated series (t,), by the largest of blocked errors.

    Blocks of 1, 2, 4, ... values are averaged (Flyvbjerg and Petersen 1989); NaN for fewer than
    `MIN_BLOCKS` values.
    """
    values = np.asarray(values, float)
    errors, size = [], 1
    while len(values) // size >= MIN_BLOCKS:
        n_blocks = len(values) // size
        means = values[: n_blocks * size].reshape(n_blocks, size).mean(axis=1)
        errors.append(means.std(ddof=1) / np.sqrt(n_blocks))
        size *= 2
    return float(max(errors, default=np.nan))
