"""Directions of L-BFGS in the moments, for many configurations in one graph.

The energy of a configuration depends on its own moments only, so the Hessian is block diagonal:
every inner product is a sum over the atoms of one configuration. What the direction is made of,
the last steps and the changes of the gradient, hardly depends on where the atoms are. Dynamics
may keep it from one time step to the next.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential import sums
from mmtp_jax.potential.by_platform import by_platform
from mmtp_jax.potential.observables import Graph
from mmtp_jax.potential.sums import Sums
from mmtp_jax.simulation.moments.bounds import components

Array = Any

SIZE = 8
"""Pairs of steps and changes that are kept."""

FIRST_CURVATURE = 1.0
"""d2E/dm2 in eV/mu_B^2 that is assumed before the first step."""

LEAST_CURVATURE = 1e-6
"""Pairs whose curvature is not above this share of |y|/|s| are left out."""

LONGER = 4.0
"""Factor of the step where the energy is not convex and only its slope is known."""


class Segments(NamedTuple):
    """Which of C configurations each of N atoms, or coordinates, belongs to.

    With ``components`` k each atom has k coordinates, one after the other: N is k times as large.
    """

    owner: Array
    """The configuration of each atom; C for padding."""
    n: int
    """C."""
    sums: Sums | None = None
    """Where the terms of sums are; None: they are added in their own order."""
    components: int = 1

    @classmethod
    def of(cls, graph: Graph, components: int = 1) -> Segments:
        """Those of the atoms of a graph."""
        return cls(graph.configuration, graph.n_configurations, graph.sums, components)

    def at_atoms(self, values: Array) -> Array:
        """Numbers of each configuration (C, ...) at its atoms (N, ...); 0 at padding atoms."""
        found = sums.at_atoms(values, self.owner, self.sums)
        return found if self.components == 1 else jnp.repeat(found, self.components, axis=0)

    def totals(self, *values: Array) -> tuple[Array, ...]:
        """The sum of each (N,) over the atoms of every configuration, each (C,)."""
        return tuple(jnp.moveaxis(self.total(jnp.stack(values, axis=-1)), -1, 0))

    def total(self, values: Array) -> Array:
        """The sum (C, ...) of (N, ...) over the atoms of every configuration."""
        if self.components > 1:
            values = values.reshape(-1, self.components, *values.shape[1:]).sum(axis=1)
        return sums.per_configuration(values, self.owner, self.n, self.sums)

    def largest(self, values: Array) -> Array:
        """The largest of (N,) in each configuration (C,), at least 0."""
        if self.components > 1:
            values = values.reshape(-1, self.components).max(axis=1)
        return jnp.maximum(sums.largest(values, self.owner, self.n, self.sums), 0)

    def any(self, flags: Array) -> Array:
        """(C,) bool: is one of the flags (N,) of a configuration set?"""
        return self.largest(flags.astype(jnp.int32)) > 0


class Memory(NamedTuple):
    """The last pairs of steps s and changes of the gradient y, the newest last."""

    steps: Array
    """(SIZE, N) mu_B; zero where there is none."""
    changes: Array
    """(SIZE, N) eV/mu_B."""
    scale: Array
    """(C,) inverse curvature along directions that the pairs do not cover, mu_B^2/eV."""

    @classmethod
    def empty(cls, n_atoms: int, n_configurations: int, dtype: Any) -> Memory:
        """Nothing known but `FIRST_CURVATURE`."""
        zeros = jnp.zeros((SIZE, n_atoms), dtype)
        return cls(zeros, zeros, jnp.full(n_configurations, 1.0 / FIRST_CURVATURE, dtype))


def empty_memory(graph: Graph) -> Memory:
    """An empty one for the moments of a graph."""
    moments = graph.magmoms
    size = moments.shape[0] * components(moments)
    return Memory.empty(size, graph.n_configurations, moments.dtype)


def remember(memory: Memory, pieces: Segments, step: Array, change: Array, which: Array) -> Memory:
    """Add a pair s, y (N,) in the configurations of ``which`` (C,), where its curvature is clear.

    Elsewhere in ``which`` the energy is concave along s: the next step may be longer.
    """
    sy, ss, yy = pieces.totals(step * change, step * step, change * change)
    convex = which & (sy > LEAST_CURVATURE * jnp.sqrt(ss * yy))
    at_atoms = pieces.at_atoms(convex)

    def appended(rows: Array, row: Array) -> Array:
        return jnp.where(at_atoms, jnp.concatenate([rows[1:], row[None]]), rows)

    scale = jnp.where(which & (ss > 0), LONGER * memory.scale, memory.scale)
    scale = jnp.where(convex, sy / jnp.where(convex, yy, 1.0), scale)
    return Memory(appended(memory.steps, step), appended(memory.changes, change), scale)


def forget(memory: Memory, pieces: Segments, which: Array) -> Memory:
    """Without the pairs of the configurations ``which`` (C,)."""
    kept = ~pieces.at_atoms(which)
    return memory._replace(
        steps=jnp.where(kept, memory.steps, 0.0), changes=jnp.where(kept, memory.changes, 0.0)
    )


def direction(memory: Memory, pieces: Segments, gradient: Array, free: Array) -> Array:
    """-H g (N,) with the inverse Hessian H of the ``free`` coordinates (N,); 0 at the others."""
    steps, changes = (jnp.where(free, rows, 0.0) for rows in memory[:2])
    q = jnp.where(free, gradient, 0.0)
    rest = (pieces.owner,) if pieces.sums is None else (pieces.owner, pieces.sums.members)
    args = (steps, changes, memory.scale, q, *rest)
    return by_platform(_two_loops, _in_one_pass, args, q, (pieces.n,))


def _inverse(sy: Array, ss: Array, yy: Array) -> Array:
    """1 / s.y of each pair; 0 where its curvature is not clear."""
    used = sy > LEAST_CURVATURE * jnp.sqrt(ss * yy)
    return jnp.where(used, 1.0 / jnp.where(used, sy, 1.0), 0.0)


def _pieces(n: int, size: int, owner: Array, members: Array | None) -> Segments:
    known = None if members is None else Sums(None, members)
    return Segments(owner, n, known, size // owner.shape[0])


def _two_loops(
    n: int,
    steps: Array,
    changes: Array,
    scale: Array,
    q: Array,
    owner: Array,
    members: Array | None = None,
) -> Array:
    """-H q (N,) of `direction`, pair after pair."""
    pieces = _pieces(n, q.shape[0], owner, members)
    products = pieces.total(
        jnp.stack([steps * changes, steps * steps, changes * changes], axis=-1).swapaxes(0, 1)
    )
    inverse = _inverse(*jnp.moveaxis(products, -1, 0).swapaxes(1, 2))

    def backward(k: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        q, alphas = state
        row = SIZE - 1 - k
        (along,) = pieces.totals(steps[row] * q)
        alpha = inverse[row] * along
        alphas = jax.lax.dynamic_update_index_in_dim(alphas, alpha, row, 0)
        return q - pieces.at_atoms(alpha) * changes[row], alphas

    def forward(row: Array, state: Array) -> Array:
        (along,) = pieces.totals(changes[row] * state)
        return state + pieces.at_atoms(alphas[row] - inverse[row] * along) * steps[row]

    q, alphas = jax.lax.fori_loop(0, SIZE, backward, (q, jnp.zeros_like(inverse)))
    return -jax.lax.fori_loop(0, SIZE, forward, pieces.at_atoms(scale) * q)


_S, _Y, _Q = range(SIZE), range(SIZE, 2 * SIZE), 2 * SIZE
_PRODUCTS = (
    *((s, s) for s in _S),
    *((_S[i], _Y[j]) for i in range(SIZE) for j in range(i, SIZE)),
    *((_Y[i], _Y[j]) for i in range(SIZE) for j in range(i, SIZE)),
    *((row, _Q) for row in range(2 * SIZE)),
)
"""The inner products of steps, changes and q that `_in_one_pass` needs."""


def _in_one_pass(
    n: int,
    steps: Array,
    changes: Array,
    scale: Array,
    q: Array,
    owner: Array,
    members: Array | None = None,
) -> Array:
    """`_two_loops` for GPUs: all inner products at once, then the loops on these alone.

    -H q is a combination of steps, changes and q, whose coefficients need nothing else (Chen, Wang
    and Zhou, Adv. Neural Inf. Process. Syst. 27, 2014). Sums one after the other would have to wait
    for each other.
    """
    pieces = _pieces(n, q.shape[0], owner, members)
    rows = jnp.concatenate([steps, changes, q[None]])
    left, right = np.array(_PRODUCTS).T
    found = pieces.total((rows[left] * rows[right]).T)
    of = {pair: found[:, k] for k, pair in enumerate(_PRODUCTS)}
    of |= {(b, a): value for (a, b), value in of.items()}
    inverse = [_inverse(of[s, y], of[s, s], of[y, y]) for s, y in zip(_S, _Y, strict=True)]

    alphas = [jnp.zeros_like(scale)] * SIZE
    for i in reversed(range(SIZE)):
        later = sum(alphas[j] * of[_S[i], _Y[j]] for j in range(i + 1, SIZE))
        alphas[i] = inverse[i] * (of[_S[i], _Q] - later)
    weights: list[Array] = []
    for i, y in enumerate(_Y):
        along = of[y, _Q] - sum(alpha * of[y, _Y[j]] for j, alpha in enumerate(alphas))
        earlier = sum(weight * of[_S[j], y] for j, weight in enumerate(weights))
        weights.append(alphas[i] - inverse[i] * (scale * along + earlier))
    shares = [*weights, *(-scale * alpha for alpha in alphas), scale]
    return -jnp.sum(rows * pieces.at_atoms(jnp.stack(shares, axis=-1)).T, axis=0)
