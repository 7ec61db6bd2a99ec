"""Chebyshev polynomials of the first kind, orders from 0."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

Array = Any


def chebyshev(x: Array, size: int) -> list[Array]:
    """T_0(x) ... T_{size-1}(x), each of the shape of x."""
    values = [jnp.ones_like(x), x]
    for _ in range(2, size):
        values.append(2 * x * values[-1] - values[-2])
    return values[:size]


def to_unit_interval(value: Array, low: Array, high: Array) -> Array:
    """The linear map of (low, high) to (-1, 1)."""
    return (2 * value - (low + high)) / (high - low)


def reversal(low: Array, high: Array, size: int) -> Array:
    """A (size, size) with T_n(y(-m)) = sum_k A[n, k] T_k(y(m)), y mapping (low, high) to (-1, 1).

    On a symmetric interval it is diagonal with the signs (-1)^n; a file may bring another one.
    """
    # y(-m) = -y(m) + shift; multiply series in T_k by that, with the Chebyshev recursion.
    shift = -2 * (low + high) / (high - low)
    unit = jnp.eye(size, dtype=jnp.result_type(shift))

    def times_argument(series: Array) -> Array:
        up, down = jnp.pad(series[:-1], (1, 0)), jnp.pad(series[1:], (0, 1))
        # x T_0 = T_1, and x T_n = (T_{n-1} + T_{n+1}) / 2.
        return shift * series - ((up + down) / 2 + jnp.pad(series[:1] / 2, (1, size - 1))[:size])

    rows = [unit[0]]
    if size > 1:
        rows.append(times_argument(rows[0]))
    for _ in range(2, size):
        rows.append(2 * times_argument(rows[-1]) - rows[-2])
    return jnp.stack(rows)


def chebyshev_rescaling(
    size: int, old: tuple[float, float], new: tuple[float, float]
) -> np.ndarray:
    """A (size, size) with T_n(x_old(m)) = sum_k A[n, k] T_k(x_new(m)).

    x_old and x_new map the intervals ``old`` and ``new`` linearly to (-1, 1).
    """
    # x_old = slope * x_new + offset
    slope = (new[1] - new[0]) / (old[1] - old[0])
    offset = (new[1] + new[0] - old[1] - old[0]) / (old[1] - old[0])
    argument = np.polynomial.Chebyshev([offset, slope])
    rows = np.zeros((size, size))
    for n in range(size):
        series = np.polynomial.Chebyshev.basis(n)(argument)
        rows[n, : len(series.coef)] = series.coef
    return rows
