"""maxvol (Goreinov et al. 2010): P rows of a tall matrix with a large volume |det A|.

Exchanging row j of A for row i of the matrix multiplies the volume by |C_ij|, C = B A^-1. So the
largest |C_ij| says which exchange to make; it changes C by a matrix of rank one. When no |C_ij|
exceeds 1 + tolerance, A is done, and every row of B has a grade of at most 1 + tolerance.

The exchanges end in a local maximum that depends on the start. Two are tried: the rows that a QR
decomposition with pivoting takes (the largest residual first), and tiny rows of the identity, from
which the exchanges do a Gaussian elimination with complete pivoting (so do MLIP-2 and MLIP-3).

Rows of the identity times ``missing_scale`` are among the rows, so that any number of rows of any
rank will do: those stand in the directions that B does not reach (Kotykhov 2025, Sec. II.B).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.precision import double_precision
from mmtp_jax.structures.batch import rounded_size

Array = Any

TOLERANCE = 1e-3
"""Least relative gain of an exchange. MLIP has the same. A smaller one (motep: 1e-9) makes many
exchanges between rows that are equally good, and with that a grade which is as good: 1.001 is no
extrapolation."""

MISSING_SCALE = 0.1
"""Size of the identity's rows relative to the columns, which says what a grade means while the
training set reaches fewer than P directions: there it is inversely proportional to this number.
Active sets of 10, 20 and 40 of the shipped configurations of iron (level 8, N_psi 2, P = 74)
grade the others, in the median, 7, 3 and 1.1 at 0.1, but 70, 33 and 4 at 0.01 and 700, 330 and 41
at 0.001, as the error of energies falls from 32 over 16 to 9 meV/atom. So with 0.1 the thresholds
2 and 10 of Kotykhov 2025 tell configurations apart from the beginning; with less all of them
would stop a simulation. Where the training set reaches all directions, it does not matter."""

_SEED = 1e-6
"""Size of the tiny rows of the second start, relative to ``missing_scale``. None of them stays."""

_MAX_DRIFT = 1e-8
"""Deviation of the coefficients of A's own rows from the identity that calls for new ones."""


@dataclass(frozen=True, eq=False)
class MaxVol:
    """Result of `maxvol`."""

    active: np.ndarray
    """(P,) the rows of A: k >= 0 is row k of the matrix, -1 - p is row p of the identity."""
    submatrix: np.ndarray
    """A (P, P)."""
    log_volume: float
    """log |det A|."""
    entry: np.ndarray
    """(K,) at which exchange each row came into A for the last time, -1 where it never did."""
    entry_grade: np.ndarray
    """(K,) the grade that it had then, relative to the A of that time."""
    n_swaps: int
    """Exchanges made."""
    converged: bool
    """Whether no exchange that gains more than the tolerance is left."""


class _State(NamedTuple):
    active: Array
    swaps: Array
    entry: Array
    entry_grade: Array


class _Inner(NamedTuple):
    state: _State
    coefficients: Array
    """C^T (P, M): the largest of each row of C is a reduction over the first axis, which
    vectorises."""
    grades: Array
    drift: Array


def maxvol(
    rows: np.ndarray,
    *,
    missing_scale: float = MISSING_SCALE,
    tolerance: float = TOLERANCE,
    start: np.ndarray | None = None,
    max_swaps: int | None = None,
) -> MaxVol:
    """Choose P of the rows (K, P) and of ``missing_scale`` times the identity, of large volume.

    Args:
        rows: the matrix; its columns should be of comparable size, about one.
        missing_scale: size of the identity's rows.
        tolerance: an exchange must multiply the volume by more than 1 + tolerance.
        start: active rows to start from, coded as `MaxVol.active`; by default both starts of the
            module are tried, and the larger volume is taken.
        max_swaps: most exchanges from one start, for tests.

    Raises:
        ValueError: if rows are no finite matrix, or the scale or tolerance is not positive.
    """
    rows = np.asarray(rows, np.float64)
    _check(rows, missing_scale, tolerance)
    n_rows, size = rows.shape
    # Rows of zeros do nothing; without them each number of rows would be compiled anew.
    padding = rounded_size(n_rows) - n_rows
    matrix = np.concatenate([rows, np.zeros((padding, size)), missing_scale * np.eye(size)])
    first = len(matrix) - size
    limit = 100 * size + 1000 if max_swaps is None else max_swaps
    with double_precision():
        on_device = jnp.asarray(matrix)
        if start is not None:
            start = np.asarray(start)
            starts = [jnp.asarray(np.where(start < 0, first - 1 - start, start))]
        else:
            # Both of one type, not a weak one: `_climb` is compiled once for both.
            seeded = jnp.asarray(np.full(size, len(matrix)))
            starts = [pivoted_rows(on_device), seeded]
        seed = _SEED * missing_scale
        climbed = [jax.device_get(_climb(on_device, s, tolerance, limit, seed)) for s in starts]
    volumes = [_log_volume(matrix, c[0].active) for c in climbed]
    # Of volumes that agree to round-off, the first one's.
    best = 0 if volumes[0] >= max(volumes) - 1e-9 else int(np.argmax(volumes))
    state, converged = climbed[best]
    return MaxVol(
        active=np.where(state.active >= first, first - 1 - state.active, state.active),
        submatrix=matrix[state.active],
        log_volume=volumes[best],
        entry=state.entry[:n_rows],
        entry_grade=state.entry_grade[:n_rows],
        n_swaps=int(state.swaps),
        converged=bool(converged),
    )


@jax.jit
def pivoted_rows(matrix: Array) -> Array:
    """(P,) the rows that QR of the transpose with pivoting takes: the largest residual first.

    Modified Gram-Schmidt, for JAX has pivoting on few devices. Directions are orthogonalised
    a second time, so that small residuals do not spoil them.
    """
    size = matrix.shape[1]

    def step(k: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        residuals, directions, chosen = carry
        pivot = jnp.argmax(jnp.sum(residuals**2, axis=0))
        direction = residuals[:, pivot]
        direction = direction - directions.T @ (directions @ direction)
        direction = direction / jnp.linalg.norm(direction)
        residuals = residuals - jnp.outer(direction, direction @ residuals)
        # Exactly zero, so that round-off cannot choose it again.
        residuals = residuals.at[:, pivot].set(0.0)
        return residuals, directions.at[k].set(direction), chosen.at[k].set(pivot)

    start = (matrix.T, jnp.zeros((size, size), matrix.dtype), jnp.zeros(size, int))
    return jax.lax.fori_loop(0, size, step, start)[2]


@jax.jit
def _climb(
    matrix: Array, start: Array, tolerance: Array, max_swaps: Array, seed: Array
) -> tuple[_State, Array]:
    """Exchanges from a start until none is worth it, and whether that was reached.

    Where the start has an index beyond the last row, the slot holds its row of the identity,
    times ``seed``.

    The coefficients are computed afresh whenever the updates have drifted, and before the end:
    that no exchange is left is only believed of fresh ones.
    """
    transposed, (n_rows, size) = matrix.T, matrix.shape
    seeds = seed * jnp.eye(size, dtype=matrix.dtype)

    def own_rows(active: Array) -> Array:
        """A^T (P, P)."""
        return jnp.where(active < n_rows, transposed[:, jnp.minimum(active, n_rows - 1)], seeds)

    def is_worth(grades: Array) -> Array:
        return jnp.max(grades) > 1.0 + tolerance

    def swap(inner: _Inner) -> _Inner:
        state, coefficients, grades, drift = inner
        incoming = jnp.argmax(grades)
        column = coefficients[:, incoming]
        slot = jnp.argmax(jnp.abs(column))
        unit = jnp.zeros_like(column).at[slot].set(1.0)
        outgoing = state.active[slot]
        deviation = jnp.max(jnp.abs(coefficients[:, outgoing] - unit))
        # A seed is no row of the matrix, so nothing is known of its coefficients.
        drift = jnp.where(outgoing < n_rows, jnp.maximum(drift, deviation), drift)
        coefficients = coefficients - jnp.outer(column - unit, coefficients[slot] / column[slot])
        state = _State(
            state.active.at[slot].set(incoming),
            state.swaps + 1,
            state.entry.at[incoming].set(state.swaps),
            state.entry_grade.at[incoming].set(grades[incoming]),
        )
        return _Inner(state, coefficients, jnp.max(jnp.abs(coefficients), axis=0), drift)

    def may_swap(inner: _Inner) -> Array:
        return (
            is_worth(inner.grades) & (inner.drift <= _MAX_DRIFT) & (inner.state.swaps < max_swaps)
        )

    def refresh(carry: tuple[_State, Array]) -> tuple[_State, Array]:
        state, _ = carry
        coefficients = jnp.linalg.solve(own_rows(state.active), transposed)
        grades = jnp.max(jnp.abs(coefficients), axis=0)
        inner = _Inner(state, coefficients, grades, jnp.zeros((), matrix.dtype))
        return jax.lax.while_loop(may_swap, swap, inner).state, is_worth(grades)

    state = _State(
        start,
        jnp.zeros((), int),
        jnp.full(n_rows, -1),
        jnp.zeros(n_rows, matrix.dtype),
    )
    state, open_ended = jax.lax.while_loop(
        lambda carry: carry[1] & (carry[0].swaps < max_swaps),
        refresh,
        (state, jnp.array(True)),
    )
    return state, ~open_ended


def _log_volume(matrix: np.ndarray, active: np.ndarray) -> float:
    if np.any(active >= len(matrix)):
        # Stopped before all seeds were gone.
        return -np.inf
    return float(np.linalg.slogdet(matrix[active])[1])


def _check(rows: np.ndarray, missing_scale: float, tolerance: float) -> None:
    if rows.ndim != 2 or not rows.shape[1]:
        raise ValueError(f"maxvol needs a matrix (K, P), got shape {rows.shape}")
    if not np.all(np.isfinite(rows)):
        raise ValueError("maxvol needs finite numbers")
    if not 0.0 < missing_scale < np.inf:
        raise ValueError(f"missing_scale must be positive, got {missing_scale}")
    if not 0.0 < tolerance < np.inf:
        raise ValueError(f"tolerance must be positive, got {tolerance}")
