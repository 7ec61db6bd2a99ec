"""What moves when moments are equilibrated, and how far: the coordinates x of a search.

Collinear moments are coordinates themselves, between the ends of their intervals. Vectors have
three each, and stay in the ball of radius M. Of those whose direction n is fixed, m = s n, forces
have the part along n alone: a collinear search of s along axes that differ from atom to atom.
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


def components(magmoms: Array) -> int:
    """Coordinates of each moment of (N,) or (N, 3)."""
    return DIMENSION if are_vectors(magmoms) else 1


class Bounds(NamedTuple):
    """Where each moment may go, mu_B; all (N,)."""

    low: Array
    high: Array
    outer_low: Array
    """End of the interval that the potential covers, whatever the signs."""
    outer_high: Array
    directions: Array | None = None
    """(N, 3) n of vectors whose lengths alone change, zero of those that turn; None if all do."""

    def coordinates(self, of_atoms: Array) -> Array:
        """x (N,) or (3 N,) of moments; of magnetic forces, those on x."""
        if self.directions is not None:
            along = jnp.sum(of_atoms * self.directions, axis=1, keepdims=True) * self.directions
            of_atoms = jnp.where(self.turns[:, None], of_atoms, along)
        return of_atoms.reshape(-1)

    def moments(self, x: Array) -> Array:
        """(N,) or (N, 3) mu_B."""
        return x.reshape(self.low.shape[0], -1) if self.has_vectors(x) else x

    @property
    def turns(self) -> Array:
        """(N,) bool: vectors whose directions are not fixed."""
        if self.directions is None:
            return jnp.ones(self.low.shape, bool)
        return jnp.all(self.directions == 0.0, axis=1)

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
        found = self.moments(x) * (self.high / size)[:, None]
        if self.directions is not None:
            length = jnp.clip(self._outwards(x, x)[0], self.low, self.high)
            found = jnp.where(self.turns[:, None], found, length[:, None] * self.directions)
        return found.reshape(-1)

    def held(self, x: Array, forces: Array) -> Array:
        """(N,) bool: moments at a bound that push outwards."""
        return _held(*self._outwards(x, forces), self.low, self.high)

    def outside(self, x: Array, forces: Array) -> Array:
        """(N,) bool: those of them at the end of what the potential covers."""
        return _held(*self._outwards(x, forces), self.outer_low, self.outer_high)

    def free(self, x: Array, forces: Array) -> tuple[Array, Array]:
        """What of forces on x moves moments, and which coordinates take part (N,) or (3 N,).

        A vector at the end of its length still turns.
        """
        held = self.held(x, forces)
        if not self.has_vectors(x):
            return jnp.where(held, 0.0, forces), ~held
        free = jnp.repeat(~held | self.turns, DIMENSION)
        return self._across(x, forces, held), free

    def both_free(
        self, before: tuple[Array, Array], after: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        """The forces of two pairs (x, forces), between which their slopes are those of the energy.

        Of a vector that is held in both only those across it: it moves on a sphere.
        """
        if not self.has_vectors(before[0]):
            return before[1], after[1]
        held = self.held(*before) & self.held(*after) & self.turns
        return self._across(*before, held), self._across(*after, held)

    def _outwards(self, x: Array, forces: Array) -> tuple[Array, Array]:
        """What is between bounds (N,), and the sign of the force on it (N,).

        Those are numbers, lengths of vectors along fixed directions, and those of vectors that turn
        along their own.
        """
        if not self.has_vectors(x):
            return x, forces
        along, force = self.moments(x), self.moments(forces)
        found = self.sizes(x), jnp.sum(along * force, axis=1)
        if self.directions is None:
            return found
        fixed = (jnp.sum(of * self.directions, axis=1) for of in (along, force))
        return tuple(jnp.where(self.turns, a, b) for a, b in zip(found, fixed, strict=True))

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

    Vectors that may turn may also pass through zero, whatever ``allow_flips`` says; one that starts
    at zero has no direction to keep, and may turn.
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
            if not allow_flips:
                low = jnp.where(length[:, 0] > 0, NEXT_TO_ZERO, low).astype(start.dtype)
    elif not allow_flips:
        low = jnp.where(start > 0, jnp.maximum(low, 0.0), low)
        high = jnp.where(start < 0, jnp.minimum(high, 0.0), high)
    return Bounds(low, high, outer_low, outer_high, directions)


def _held(x: Array, forces: Array, low: Array, high: Array) -> Array:
    # A step to a bound ends where rounding takes it.
    rounding = 8 * jnp.finfo(x.dtype).eps * jnp.maximum(jnp.abs(low), jnp.abs(high))
    return ((x <= low + rounding) & (forces < 0)) | ((x >= high - rounding) & (forces > 0))
