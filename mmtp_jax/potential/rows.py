"""Rows of elementary functions of every neighbour, with derivatives that stay cheap.

The two factors of the basic moments are stacks of rows such as x^a z^c. Building a row by
selecting which binary powers of x it contains keeps the loop over neighbours contiguous; in the
reverse direction the rows are added up one by one, again without an inner loop over rows. Neither
is what automatic differentiation of the other would give, so both are stated.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from mmtp_jax.potential.einsum import einsum
from mmtp_jax.potential.linear_map import linear_map
from mmtp_jax.potential.materialise import materialised

Array = Any

MOST_SUMS = 72
"""Most sums over neighbours in one kernel; XLA fuses no more than 96 arrays."""


def power_rows(x: Array, exponents: Sequence[int]) -> Array:
    """(N, R, K): x^e for each of R exponents, from x (N, K)."""
    exponents = np.asarray(exponents)
    rows, power = None, x[:, None, :]
    for bit in range(max(1, int(exponents.max()).bit_length())):
        has_bit = ((exponents >> bit) & 1).astype(bool)[None, :, None]
        factor = jnp.where(has_bit, power, 1.0)
        rows = factor if rows is None else rows * factor
        power = power * power
    return rows


def stacked(rows: list[Array]) -> Array:
    """(N, R, K) from R arrays (N, K).

    By selection: XLA on the CPU builds a concatenation of computed rows element by element.
    """
    index = jnp.arange(len(rows))[None, :, None]
    total = jnp.broadcast_to(rows[0][:, None], (rows[0].shape[0], len(rows), rows[0].shape[1]))
    for k, row in enumerate(rows[1:], 1):
        total = jnp.where(index == k, row[:, None], total)
    return total


def unstacked(rows: Array) -> list[Array]:
    """R arrays (N, K) from (N, R, K), the transpose of which is no sum or scatter."""
    return [jnp.squeeze(row, 1) for row in jax.lax.split(rows, (1,) * rows.shape[1], axis=1)]


def summed(rows: list[Array]) -> Array:
    """(R, N): sums over the neighbours of R products (N, K), for GPUs, which store none of these.

    Kernels have limits: longer lists are added up in parts.
    """
    parts = [rows[k : k + MOST_SUMS] for k in range(0, len(rows), MOST_SUMS)]
    return jnp.concatenate([jnp.sum(jnp.stack(part), axis=-1) for part in parts])


def powers(x: Array, highest: int) -> list[Array]:
    """x^0 ... x^highest."""
    values = [jnp.ones_like(x)]
    for _ in range(highest):
        values.append(values[-1] * x)
    return values


def _lowered(exponents: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(e - 1, 0) for e in exponents)


def _factors(exponents: tuple[int, ...], like: Array) -> np.ndarray:
    """(1, R, 1) what differentiation brings down."""
    return np.asarray(exponents, like.dtype)[None, :, None]


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def monomial_rows(a: tuple[int, ...], c: tuple[int, ...], x: Array, z: Array) -> Array:
    """(N, R, K): x^a z^c for R pairs (a, c), from x and z (N, K)."""
    return materialised(lambda x, z: power_rows(x, a) * power_rows(z, c))(x, z)


@partial(monomial_rows.defjvp, symbolic_zeros=True)
def _(a: tuple[int, ...], c: tuple[int, ...], primals: Any, tangents: Any) -> tuple[Array, Array]:
    x, z = primals
    x_dot, z_dot = tangents
    value = monomial_rows(a, c, x, z)
    terms = []
    if not isinstance(x_dot, SymbolicZero):
        terms.append(_along_power(a, c, x, z, x_dot, value))
    if not isinstance(z_dot, SymbolicZero):
        terms.append(_along_power(c, a, z, x, z_dot, value))
    return value, sum(terms[1:], start=terms[0]) if terms else jnp.zeros_like(value)


def _along_power(
    a: tuple[int, ...], c: tuple[int, ...], x: Array, z: Array, x_dot: Array, like: Array
) -> Array:
    """a x^(a-1) z^c x_dot as a linear map of x_dot."""
    return linear_map(_power_slope, _to_power, (x, z), x_dot, like, static=(a, c))


def _power_slope(a: tuple[int, ...], c: tuple[int, ...], x: Array, z: Array, dot: Array) -> Array:
    return monomial_rows(_lowered(a), c, x, z) * _factors(a, x) * dot[:, None, :]


def _to_power(a: tuple[int, ...], c: tuple[int, ...], x: Array, z: Array, rows: Array) -> Array:
    x_power, z_power = powers(x, max(_lowered(a))), powers(z, max(c))
    total = jnp.zeros_like(x)
    for row, (power, other) in enumerate(zip(a, c, strict=True)):
        if power:
            total += power * rows[:, row] * x_power[power - 1] * z_power[other]
    return total


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def weighted_power_rows(
    source: tuple[int, ...], b: tuple[int, ...], weights: Array, y: Array
) -> Array:
    """(N, R, K): w_s y^b for R pairs (s, b), from weights (N, W, K) and y (N, K)."""
    gather = np.asarray(source)
    return materialised(lambda w, y: w[:, gather] * power_rows(y, b))(weights, y)


@partial(weighted_power_rows.defjvp, symbolic_zeros=True)
def _(
    source: tuple[int, ...], b: tuple[int, ...], primals: Any, tangents: Any
) -> tuple[Array, Array]:
    weights, y = primals
    weights_dot, y_dot = tangents
    value = weighted_power_rows(source, b, weights, y)
    terms = []
    if not isinstance(weights_dot, SymbolicZero):
        terms.append(_along_weights(source, b, y, weights_dot, value))
    if not isinstance(y_dot, SymbolicZero):
        terms.append(_along_y(source, b, weights, y, y_dot, value))
    return value, sum(terms[1:], start=terms[0]) if terms else jnp.zeros_like(value)


def _along_weights(
    source: tuple[int, ...], b: tuple[int, ...], y: Array, weights_dot: Array, like: Array
) -> Array:
    static = (weights_dot.shape[1], source, b)
    return linear_map(_of_weights, _to_weights, (y,), weights_dot, like, static)


def _of_weights(
    n_weights: int, source: tuple[int, ...], b: tuple[int, ...], y: Array, dot: Array
) -> Array:
    del n_weights
    return weighted_power_rows(source, b, dot, y)


def _to_weights(
    n_weights: int, source: tuple[int, ...], b: tuple[int, ...], y: Array, rows: Array
) -> Array:
    y_power = powers(y, max(b))
    totals: list[Array | None] = [None] * n_weights
    for row, (weight, power) in enumerate(zip(source, b, strict=True)):
        term = rows[:, row] * y_power[power]
        totals[weight] = term if totals[weight] is None else totals[weight] + term
    return jnp.stack([jnp.zeros_like(y) if t is None else t for t in totals], axis=1)


def _along_y(
    source: tuple[int, ...], b: tuple[int, ...], weights: Array, y: Array, y_dot: Array, like: Array
) -> Array:
    return linear_map(_y_slope, _to_y, (weights, y), y_dot, like, static=(source, b))


def _y_slope(
    source: tuple[int, ...], b: tuple[int, ...], weights: Array, y: Array, dot: Array
) -> Array:
    slope = weighted_power_rows(source, _lowered(b), weights, y)
    return slope * _factors(b, y) * dot[:, None, :]


def _to_y(
    source: tuple[int, ...], b: tuple[int, ...], weights: Array, y: Array, rows: Array
) -> Array:
    y_power = powers(y, max(_lowered(b)))
    total = jnp.zeros_like(y)
    for row, (weight, power) in enumerate(zip(source, b, strict=True)):
        if power:
            total += power * rows[:, row] * weights[:, weight] * y_power[power - 1]
    return total


@jax.custom_jvp
def row_products(left: Array, right: Array) -> Array:
    """(N, A, B): sums over the neighbours of left (N, A, K) times right (N, B, K)."""
    return einsum("nak,nbk->nab", left, right)


@partial(row_products.defjvp, symbolic_zeros=True)
def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (left, right), (left_dot, right_dot) = primals, tangents
    value = row_products(left, right)
    terms = []
    if not isinstance(left_dot, SymbolicZero):
        terms.append(_along_left(right, left_dot, value))
    if not isinstance(right_dot, SymbolicZero):
        swapped = jax.eval_shape(partial(jnp.swapaxes, axis1=1, axis2=2), value)
        terms.append(jnp.swapaxes(_along_left(left, right_dot, swapped), 1, 2))
    return value, sum(terms[1:], start=terms[0]) if terms else jnp.zeros_like(value)


def _along_left(right: Array, left_dot: Array, like: Any) -> Array:
    """The product as a linear map of its left factor.

    Its transpose is a product of two row-major matrices, for which small batched products are
    fastest; the transpose of the einsum would leave one of them column-major.
    """
    return linear_map(_times_right, _times_rows, (right,), left_dot, like)


def _times_right(right: Array, left: Array) -> Array:
    return row_products(left, right)


def _times_rows(right: Array, bar: Array) -> Array:
    return einsum("nab,nbk->nak", bar, right)
