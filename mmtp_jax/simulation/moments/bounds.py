"""What moves when moments are equilibrated, and how far: the coordinates x of a search.

Collinear moments are coordinates themselves, between the ends of their intervals. Vectors have
three each, and stay in the ball of radius M. With directions that are fixed, the lengths s of
vectors m = s n are the coordinates, and the forces on them are T.n: a collinear search along axes
that differ from atom to atom.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from mmtp_jax.potential.confinement import reach
from mmtp_jax.potential.observables import Graph
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.vector_moments import are_vectors
from mmtp_jax.potential.vectors import DIMENSION

Array = Any

NEXT_TO_ZERO = 1e-9
"""mu_B: where a moment that was held at zero starts again, on its own side; and the least length at
a fixed direction, which would be lost at zero."""


def components(magmoms: Array, fixed_directions: bool) -> int:
    """Coordinates of each moment of (N,) or (N, 3)."""
    return DIMENSION if are_vectors(magmoms) and not fixed_directions else 1


class Bounds(NamedTuple):
    """Where each moment may go, mu_B; all (N,)."""

    low: Array
    high: Array
    outer_low: Array
    """End of the interval that the potential covers, whatever the signs."""
    outer_high: Array
    directions: Array | None = None
    """(N, 3) n where only lengths change, zero where a moment has none; None elsewhere."""

    def coordinates(self, of_atoms: Array) -> Array:
        """x (N,) or (3 N,) of moments; of magnetic forces, those on x."""
        if self.directions is not None:
            return jnp.sum(of_atoms * self.directions, axis=1)
        return of_atoms.reshape(-1)

    def moments(self, x: Array) -> Array:
        """(N,) or (N, 3) mu_B."""
        if self.directions is not None:
            return x[:, None] * self.directions
        return x.reshape(self.low.shape[0], -1) if self.has_vectors(x) else x

    def has_vectors(self, x: Array) -> bool:
        """Whether each moment has three coordinates."""
        return x.shape[0] != self.low.shape[0]

    def sizes(self, x: Array) -> Array:
        """(N,) absolute values, or lengths of vectors."""
        return jnp.sqrt(jnp.sum(self.moments(x) ** 2, axis=1)) if self.has_vectors(x) else abs(x)

    def inside(self, x: Array, held: Array | bool = False) -> Array:
        """The nearest x within the bounds; vectors that are ``held`` (N,) at the end of theirs."""
        if not self.has_vectors(x):
            return jnp.clip(x, self.low, self.high)
        size = jnp.where(held, self.sizes(x), jnp.maximum(self.sizes(x), self.high))
        return (self.moments(x) * (self.high / size)[:, None]).reshape(-1)

    def held(self, x: Array, forces: Array) -> Array:
        """(N,) bool: moments at a bound that push outwards."""
        if not self.has_vectors(x):
            return _held(x, forces, self.low, self.high)
        outwards = jnp.sum(self.moments(x) * self.moments(forces), axis=1) > 0
        # Vectors that were shortened end where rounding takes them.
        at_end = self.sizes(x) >= self.high * (1 - 8 * jnp.finfo(x.dtype).eps)
        return at_end & outwards

    def outside(self, x: Array, forces: Array) -> Array:
        """(N,) bool: those of them at the end of what the potential covers."""
        if self.has_vectors(x):
            return self.held(x, forces)
        return _held(x, forces, self.outer_low, self.outer_high)

    def free(self, x: Array, forces: Array) -> tuple[Array, Array]:
        """What of forces on x moves moments, and which coordinates take part (N,) or (3 N,).

        A vector at the end of its length still turns.
        """
        held = self.held(x, forces)
        if not self.has_vectors(x):
            return jnp.where(held, 0.0, forces), ~held
        return self._across(x, forces, held), jnp.ones(x.shape, bool)

    def both_free(
        self, before: tuple[Array, Array], after: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        """The forces of two pairs (x, forces), between which their slopes are those of the energy.

        Of a vector that is held in both only those across it: it moves on a sphere.
        """
        if not self.has_vectors(before[0]):
            return before[1], after[1]
        held = self.held(*before) & self.held(*after)
        return self._across(*before, held), self._across(*after, held)

    def _across(self, x: Array, forces: Array, which: Array) -> Array:
        """Forces (3 N,), of vectors ``which`` (N,) without what is along them."""
        along, force = self.moments(x), self.moments(forces)
        square = jnp.sum(along * along, axis=1)
        share = jnp.sum(along * force, axis=1) / jnp.where(square > 0, square, 1.0)
        return (force - jnp.where(which, share, 0.0)[:, None] * along).reshape(-1)


def bounds_of(
    potential: Potential, graph: Graph, allow_flips: bool, fixed_directions: bool = False
) -> Bounds:
    """The intervals of the species; without flips, only the side of zero of the start.

    Vectors that may turn may also pass through zero, whatever ``allow_flips`` says.
    """
    start = graph.magmoms
    far = reach(potential)
    outer_low = jnp.asarray(far.low, start.dtype)[graph.types]
    outer_high = jnp.asarray(far.high, start.dtype)[graph.types]
    low, high, directions = outer_low, outer_high, None
    if are_vectors(start):
        if fixed_directions:
            length = jnp.sqrt(jnp.sum(start * start, axis=1, keepdims=True))
            directions = start / jnp.where(length > 0, length, 1.0)
            low = low if allow_flips else jnp.full_like(low, NEXT_TO_ZERO)
    elif not allow_flips:
        low = jnp.where(start > 0, jnp.maximum(low, 0.0), low)
        high = jnp.where(start < 0, jnp.minimum(high, 0.0), high)
    return Bounds(low, high, outer_low, outer_high, directions)


def _held(x: Array, forces: Array, low: Array, high: Array) -> Array:
    return ((x <= low) & (forces < 0)) | ((x >= high) & (forces > 0))
