"""Curves of several members on one grid, so that values at the same argument go together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_NOTHING = 1e-6
"""Share of a curve's largest value that counts as zero."""


def on_one_grid(
    xs: Sequence[np.ndarray], ys: Sequence[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """A grid (g,), as fine as the finest of ``xs``, and the curves ``ys`` on it, (..., g) each.

    The grid spans what all members span. Where all curves begin, or end, with two zeros, as
    densities of states do, it spans what any of them spans: they are zero beyond.

    Args:
        xs: rising arguments (n,) of each member.
        ys: values (..., n) of each member.

    Raises:
        ValueError: if members have nothing in common.
    """
    if all(len(x) == len(xs[0]) and np.allclose(x, xs[0]) for x in xs):
        return xs[0], list(ys)
    starts, ends = ([x[k] for x in xs] for k in (0, -1))
    low = min(starts) if _vanish(ys, slice(2)) else max(starts)
    high = max(ends) if _vanish(ys, slice(-2, None)) else min(ends)
    if low >= high:
        raise ValueError("the curves of the members have no range in common")
    step = min((x[-1] - x[0]) / (len(x) - 1) for x in xs)
    grid = np.linspace(low, high, round((high - low) / step) + 1)
    # Before the first and beyond the last argument np.interp repeats the value there, zero.
    along = [
        np.apply_along_axis(lambda of, x=x: np.interp(grid, x, of), -1, y)
        for x, y in zip(xs, ys, strict=True)
    ]
    return grid, along


def _vanish(ys: Sequence[np.ndarray], places: slice) -> bool:
    return all(np.all(np.abs(y[..., places]) <= _NOTHING * np.abs(y).max(initial=0.0)) for y in ys)
