"""What keeps atoms and moments from running out of the intervals of a potential.

Outside of [R_min, R_cut] and [-M, M] Chebyshev polynomials grow as fast as polynomials can, so the
energy of a fit falls or rises there by chance. A confined potential is the same to the last bit
inside. Outside, with two continuous derivatives,

- distances and moments enter the radial functions as r - R_min -> -w s((R_min - r) / w), with
  s(t) = t (1 + t) / (1 + t + t^2), which follows t and then stands still;
- each pair below R_min has the energy A exp(-r / lambda) (10 u^3 - 15 u^4 + 6 u^5), a repulsion
  of Born and Mayer that is switched on over u = (R_min - r) / (R_min / 4) from 0 to 1;
- each moment beyond M has the energy k M u^3, u = (|m| - M) / M.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from mmtp_jax.potential.materialise import pointwise, stored
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.radial import Pairs
from mmtp_jax.potential.vector_moments import are_vectors

Array = Any

SOFT_DISTANCE = 0.03
"""w of distances over R_cut - R_min: the Chebyshev polynomial T_7 rises by a factor 6 over it."""
SOFT_MAGMOM = 0.1
"""w of moments over M."""
SWITCH = 0.25
"""Share of R_min over which the repulsion is switched on."""
BEYOND_MAGMOM = 0.15
"""Share of M beyond which a confined moment is out of hand."""


OUTSIDE = "steps outside of the distances and moments that the potential was fitted to"
"""What reports count."""


class Reach(NamedTuple):
    """A shortest distance, and intervals of moments: those of a potential, or how far one may go.

    Arrays of numpy stay those.
    """

    min_dist: Array
    """() Angstrom."""
    low: Array
    """(S,) mu_B."""
    high: Array
    """(S,) mu_B."""

    def too_close(self, shortest: Array) -> Array:
        """Whether distances are too short, Angstrom."""
        # The shortest pair of a training set defines R_min, and must not count by round-off.
        return shortest < self.min_dist * (1 - 1e-9)

    def too_large(self, types: Array, magmoms: Array) -> Array:
        """Whether moments (..., n) of atoms of types (n,) are beyond the ends, mu_B."""
        low, high = self.low[types], self.high[types]
        margin = 1e-6 * (high - low)
        return (magmoms < low - margin) | (magmoms > high + margin)

    def at_end(self, types: Array, magmoms: Array) -> Array:
        """Whether moments (..., n) of atoms of types (n,) are at the ends or beyond, mu_B."""
        low, high = self.low[types], self.high[types]
        margin = 1e-9 * (high - low)
        return (magmoms <= low + margin) | (magmoms >= high - margin)


def intervals(potential: Potential) -> Reach:
    """What a potential was fitted to."""
    return Reach(potential.min_dist, potential.min_magmom, potential.max_magmom)


def reach(potential: Potential) -> Reach:
    """The intervals of a potential, or what lies so far out that its confinement has failed."""
    inside = intervals(potential)
    if potential.confinement is None:
        return inside
    min_dist, low, high = inside
    more = BEYOND_MAGMOM * (high - low) / 2
    return Reach((1 - SWITCH) * min_dist, low - more, high + more)


def is_outside(potential: Potential, types: Array, magmoms: Array, shortest: Array) -> Array:
    """(R,) bool: a distance below R_min, or a moment beyond its interval or at the end of it.

    Args:
        potential: the potential.
        types: (n,) species of the atoms.
        magmoms: (R, n) mu_B, or (R, n, 3).
        shortest: (R,) shortest distances, Angstrom.
    """
    inside = Reach(*map(jnp.asarray, intervals(potential)))
    sizes = lengths_of(magmoms, magmoms.ndim > 2)
    return inside.too_close(shortest) | jnp.any(inside.at_end(types, sizes), axis=-1)


def lengths_of(magmoms: Array, vectors: bool) -> Array:
    """What intervals are of: moments (...) as they are, or the lengths of vectors (..., 3)."""
    return jnp.sqrt(jnp.sum(magmoms * magmoms, axis=-1)) if vectors else magmoms


def confined(potential: Potential, pairs: Pairs) -> tuple[Pairs, Array | float]:
    """What enters the radial functions, and the energy (N,) of being outside, eV."""
    confinement = potential.confinement
    if confinement is None:
        return pairs, 0.0
    r_min, soft = potential.min_dist, SOFT_DISTANCE * (potential.cutoff - potential.min_dist)
    low, high = (_of_atoms(of, pairs.types) for of in (potential.min_magmom, potential.max_magmom))
    half = (high - low) / 2
    if are_vectors(pairs.magmoms):
        u = (_length(pairs.magmoms, high) - high) / half
        clipped = _shortened
    else:
        u = (jnp.maximum(pairs.magmoms - high, 0.0) + jnp.maximum(low - pairs.magmoms, 0.0)) / half
        clipped = _clipped
    energy = _of_atoms(confinement.stiffness, pairs.types) * half * u**3
    distance = stored(pairs.distance)
    strength = _of_pairs(confinement.repulsion, pairs)
    rate = _of_pairs(1 / confinement.decay, pairs)
    repulsion = jnp.sum(_repulsion(distance, r_min, strength, rate), axis=1)
    inside = pairs._replace(
        magmoms=clipped(pairs.magmoms, low, high),
        distance=_far_enough(distance, r_min, soft),
        neighbour_magmoms=clipped(
            pairs.neighbour_magmoms,
            _of_atoms(potential.min_magmom, pairs.neighbour_types),
            _of_atoms(potential.max_magmom, pairs.neighbour_types),
        ),
    )
    # Half of a pair belongs to each of its atoms.
    return inside, energy + repulsion / 2


def _saturating(t: Array) -> Array:
    """t at t << 1, 1 at t >> 1; no second derivative at 0."""
    return t * (1.0 + t) / (1.0 + t + t * t)


@pointwise
def _far_enough(distance: Array, r_min: Array, soft: Array) -> Array:
    gap = jnp.maximum(r_min - distance, 0.0)
    return jnp.maximum(distance, r_min) - soft * _saturating(gap / soft)


@pointwise
def _repulsion(distance: Array, r_min: Array, strength: Array, rate: Array) -> Array:
    u = jnp.minimum(jnp.maximum(r_min - distance, 0.0) / (SWITCH * r_min), 1.0)
    return strength * jnp.exp(-rate * distance) * u * u * u * (10.0 + u * (6.0 * u - 15.0))


@pointwise
def _clipped(magmoms: Array, low: Array, high: Array) -> Array:
    soft = SOFT_MAGMOM * (high - low) / 2
    above, below = jnp.maximum(magmoms - high, 0.0), jnp.maximum(low - magmoms, 0.0)
    return jnp.clip(magmoms, low, high) + soft * (
        _saturating(above / soft) - _saturating(below / soft)
    )


def _length(vectors: Array, least: Array) -> Array:
    """Lengths of vectors (N, 3, ...), or the least one, which has no slope at zero."""
    square = sum(vectors[:, k] * vectors[:, k] for k in range(3))
    return jnp.sqrt(jnp.maximum(square, least * least))


def _shortened(magmoms: Array, low: Array, high: Array) -> Array:
    """`_clipped` lengths of vectors (N, 3, ...); unchanged to the last bit inside."""
    size = _length(magmoms, high)
    return magmoms * (_clipped(size, low, high) / size)[:, None]


def _of_atoms(values: Array, types: Array) -> Array:
    """values (S,) of atoms of any shape; by selection, as gathers are slow on a CPU."""
    total = values[0]
    for species in range(1, values.shape[0]):
        total = jnp.where(types == species, values[species], total)
    return total


def _of_pairs(table: Array, pairs: Pairs) -> Array:
    """table (S, S) of pairs (N, K), or one number for one species."""
    if table.shape[0] == 1:
        return table[0, 0]
    own = table[pairs.types]
    total = own[:, :1]
    for species in range(1, table.shape[0]):
        total = jnp.where(pairs.neighbour_types == species, own[:, species, None], total)
    return total
