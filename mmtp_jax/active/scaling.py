"""Sizes of the columns of dE/dtheta, from rows, so that the grade knows no units."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

ROUND_OFF = 1e-10
"""A column smaller than this, relative to the largest, is taken for zero."""


def column_scale(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """(P,) root mean square of each column over all rows of all blocks (n, P).

    A column of zeros (a pair of species that no row has, say) says nothing about its own size. It
    gets that of the smallest other column: the first row that has it then counts as new.
    """
    total, n_rows = 0.0, 0
    for rows in blocks:
        total = total + np.sum(rows**2, axis=0)
        n_rows += len(rows)
    scale = np.sqrt(np.asarray(total) / max(n_rows, 1))
    positive = scale > ROUND_OFF * scale.max(initial=0.0)
    if not positive.any():
        return np.ones_like(scale)
    return np.where(positive, scale, scale[positive].min())
