"""How far cells are strained against each other, whatever the order of their vectors."""

from __future__ import annotations

import itertools
import math

import numpy as np

ALIKE = math.log(1.1) + 1e-9
"""Logarithm of the largest stretch of cells that count as alike: a strain of 10 %."""

PERMUTATIONS = tuple(itertools.permutations(range(3)))
"""Orders of three cell vectors; the first is the one that they have."""

_SIGNS = np.array([[1, 1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]], float)


def stretches(reference: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Largest |ln stretch| that takes a cell to others, for each order of their vectors.

    Rotations and signs of cell vectors do not count.

    Args:
        reference: (3, 3), rows are vectors, which span space.
        cells: (n, 3, 3).

    Returns:
        (n, 6), for the `PERMUTATIONS`: vector ``p[k]`` of a cell goes with vector k of the
        reference. Infinite for cells without volume.
    """
    cells = np.asarray(cells, float)
    inverse = np.linalg.inv(np.linalg.cholesky(reference @ reference.T))
    metrics = cells @ np.swapaxes(cells, 1, 2)
    orders = np.array(PERMUTATIONS)
    permuted = metrics[:, orders[:, :, None], orders[:, None, :]]
    signs = _SIGNS[:, :, None] * _SIGNS[:, None, :]
    all_metrics = permuted[:, :, None] * signs
    values = np.linalg.eigvalsh(inverse @ all_metrics @ inverse.T)
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = 0.5 * np.abs(np.log(np.maximum(values, 0.0))).max(axis=-1)
    return largest.min(axis=2)
