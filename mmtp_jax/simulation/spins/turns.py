"""Changes of vectors that are tried: turns of one moment, and stretches of it.

A trial takes a magnetic atom at random, and one of these, each as likely as its reverse:

- cone: a direction drawn evenly from a cone about the present one, whose width adapts;
- random: a direction drawn evenly from the sphere;
- reversal: the opposite direction;
- reflection: of the direction e about that of h = sum_j w(r_ij) m_j over the neighbours, e' =
  2 (e.h) h / h^2 - e, with w = (R_cut - r)^2 and, where moments are equilibrated, over those that
  the walk turns, with lengths of the reference: h does not depend on e, so that the way back is as
  likely. Where h is along the field
  on the moment and the energy is linear in e, it costs no energy: over-relaxation (Brown and Woch,
  Phys. Rev. Lett. 58, 2394, 1987). Elsewhere Metropolis' rule takes or refuses it as any other;
- stretch: another length, drawn evenly from an interval about the present one, whose width adapts;
  one outside of 0 to M_max is refused.

The measure of a vector is d3m = m^2 dm dOmega: a stretch from m to m' has the weight (m' / m)^2
beside that of its energy. With the measure dm dOmega it has none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmtp_jax.simulation.dynamics.thermostats import key_of
from mmtp_jax.simulation.spins.moves import one_of
from mmtp_jax.simulation.spins.options import BOTH
from mmtp_jax.simulation.spins.turning import KINDS, RANDOM, REFLECTION, REVERSAL, STRETCH, Turning
from mmtp_jax.simulation.spins.walk import Spins, Surroundings, Walk

Array = Any

_PURPOSE = 9
"""Of random numbers; see `thermostats.normals`, `moves` and `disorder`."""

SHARES = {
    "turn": (0.4, 0.15, 0.05, 0.4, 0.0),
    "stretch": (0.0, 0.0, 0.0, 0.0, 1.0),
    BOTH: (0.25, 0.1, 0.05, 0.25, 0.35),
}
"""Of the `turning.KINDS` among the trials of each move."""


class Turn(NamedTuple):
    """One change for each of R replicas."""

    atoms: Array
    """(R, 1) the atom that changes."""
    direction: Array
    """(R, 3) its direction after it."""
    length: Array
    """(R,) its length after it, mu_B; at equilibrated lengths that of the reference."""
    possible: Array
    """(R,) bool: the length is inside of its interval."""
    log_uniform: Array
    """(R,) the logarithm of a random number between 0 and 1, for Metropolis' rule."""
    log_weight: Array
    """(R,) logarithm of the measure after it over that before."""
    kind: Array
    """(R,) of `turning.KINDS`."""


def propose_turn(walk: Walk, around: Surroundings, spins: Spins, trial: Array) -> Turn:
    """Draw one change for each replica, a function of its key, the step and the trial."""

    def numbers(raw: Array) -> Array:
        return jax.random.uniform(
            jax.random.fold_in(key_of(raw, around.step, _PURPOSE), trial), (6,)
        )

    which, of_kind, cosine, azimuth, stretch, metropolis = jax.vmap(numbers)(around.keys).T
    atom, rows = one_of(around.magnetic, which), jnp.arange(which.shape[0])
    shares = jnp.cumsum(jnp.asarray(SHARES[walk.move]))[:-1]
    kind = jnp.sum(of_kind[:, None] >= shares, axis=1)
    old = spins.magmoms[rows, atom]
    length = jnp.sqrt(jnp.sum(old * old, axis=1))
    direction = old / length[:, None]
    turned = _turned(kind, direction, cosine, azimuth, spins.turning)
    if walk.move != "stretch":
        field = _field(walk, around, spins, atom)
        turned = jnp.where((kind == REFLECTION)[:, None], _reflected(direction, field), turned)
    turned = jnp.where((kind == STRETCH)[:, None], direction, turned)
    turned = turned / jnp.sqrt(jnp.sum(turned * turned, axis=1, keepdims=True))
    possible, log_weight = jnp.ones(length.shape, bool), jnp.zeros_like(length)
    if walk.moments.kind != "sampled":
        length = around.reference[rows, atom]
    else:
        largest = around.largest[atom]
        change = (2.0 * stretch - 1.0) * spins.turning.stretch * largest
        longer = length + jnp.where(kind == STRETCH, change, 0.0)
        possible = (longer > 0.0) & (longer <= largest)
        if walk.measure == "d3m":
            log_weight = 2.0 * jnp.log(jnp.where(possible, longer, length) / length)
        length = longer
    log_uniform = jnp.log1p(-metropolis)
    return Turn(atom[:, None], turned, length, possible, log_uniform, log_weight, kind)


def directions_of(magmoms: Array) -> Array:
    """Unit vectors (R, n, 3); zero where there is no moment."""
    length = jnp.sqrt(jnp.sum(magmoms * magmoms, axis=-1, keepdims=True))
    return magmoms / jnp.where(length > 0.0, length, 1.0)


def _turned(
    kind: Array, direction: Array, cosine: Array, azimuth: Array, turning: Turning
) -> Array:
    """Directions (R, 3) on a cone about the present ones, anywhere, or opposite to them."""
    cap = jnp.where(kind == RANDOM, 2.0, turning.cap) * cosine
    sine = jnp.sqrt(cap * (2.0 - cap))
    x, y, z = direction.T
    # Two axes across a direction, without a case that fails.
    sign = jnp.where(z < 0.0, -1.0, 1.0)
    a = -1.0 / (sign + z)
    b = x * y * a
    one = jnp.stack([1.0 + sign * x * x * a, sign * b, -sign * x], axis=1)
    other = jnp.stack([b, sign + y * y * a, -y], axis=1)
    angle = 2.0 * jnp.pi * azimuth
    across = jnp.cos(angle)[:, None] * one + jnp.sin(angle)[:, None] * other
    found = (1.0 - cap)[:, None] * direction + sine[:, None] * across
    return jnp.where((kind == REVERSAL)[:, None], -direction, found)


def _reflected(direction: Array, field: Array) -> Array:
    square = jnp.sum(field * field, axis=1, keepdims=True)
    along = jnp.sum(field * direction, axis=1, keepdims=True)
    return 2.0 * along / jnp.where(square > 0.0, square, 1.0) * field - direction


def _field(walk: Walk, around: Surroundings, spins: Spins, atom: Array) -> Array:
    """h (R, 3), see the head of this file; images of the atom itself are left out."""
    graph = around.graph
    n_replicas, n_atoms = around.reference.shape
    first = n_atoms * jnp.arange(n_replicas)
    neighbours = graph.neighbours[atom + first]
    vectors = graph.vectors[atom + first].astype(float)
    distance = jnp.sqrt(jnp.sum(vectors * vectors, axis=1))
    local = jnp.clip(neighbours - first[:, None], 0, n_atoms - 1)
    rows = jnp.arange(n_replicas)[:, None]
    weight = jnp.maximum(around.reach - distance, 0.0) ** 2
    weight = jnp.where(local == atom[:, None], 0.0, weight)
    moments = spins.magmoms[rows, local]
    if walk.moments.kind == "equilibrate":
        lengths = jnp.where(around.magnetic[local], around.reference[rows, local], 0.0)
        moments = lengths[..., None] * directions_of(moments)
    return jnp.einsum("rk,rkx->rx", weight, moments)


assert all(len(shares) == len(KINDS) for shares in SHARES.values())
