"""Values that stand apart from a median, and fits that do not follow them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

WIDTH = 8.0
"""Robust standard deviations from the median beyond which a label stands apart."""
MANY = 8
"""Labels from which on the median and the deviation of a composition are trusted."""
FEW = 4
"""Labels from which on they are used at all, with twice the floor."""


def apart(
    values: np.ndarray, floor: float, extra: np.ndarray, centre: float | None = None
) -> Iterator[tuple[int, float, float]]:
    """Index, distance from the median and limit of each value that is beyond the limit."""
    there = np.isfinite(values)
    n = int(there.sum())
    if n < FEW:
        return
    middle = float(np.median(values[there])) if centre is None else centre
    off = np.where(there, values - middle, 0.0)
    sigma = 1.4826 * float(np.median(np.abs(off[there])))
    limits = np.maximum(WIDTH * sigma, floor * (1.0 if n >= MANY else 2.0)) + extra
    for k in np.flatnonzero(np.abs(off) > limits):
        yield int(k), float(off[k]), float(limits[k])


def least_absolute(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """x that minimises sum |b - a x|, by weighted least squares."""
    weights = np.ones(len(b))
    for _ in range(50):
        root = np.sqrt(weights)
        x = np.linalg.lstsq(a * root[:, None], b * root, rcond=None)[0]
        weights = 1.0 / np.maximum(np.abs(b - a @ x), 1e-3)
    return x
