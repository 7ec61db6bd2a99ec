"""Heat baths. Each samples the canonical distribution of atoms whose total momentum is zero.

- Langevin: friction and noise of BAOAB (Leimkuhler and Matthews, Appl. Math. Res. Express 2013).
- Bussi: stochastic velocity rescaling (Bussi, Donadio, Parrinello, J. Chem. Phys. 126, 014101).
- Nose-Hoover chain (Martyna, Klein and Tuckerman, J. Chem. Phys. 97, 2635; integrated as in
  Martyna, Tuckerman, Tobias and Klein, Mol. Phys. 87, 1117).

A chain on all atoms together is not ergodic in a small, nearly harmonic crystal: the average of
the kinetic energy is right, but it may swing more than it should. Langevin's bath is safe there.

Random numbers are a function of the replica's key and of the step, so that a step that is taken
again, or after a restart, draws the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.simulation.system import (
    System,
    degrees_of_freedom,
    kinetic_energy,
    without_drift,
)

Array = Any

CHAIN_LENGTH = 3

_KEYS = "threefry2x32"
_SUZUKI_YOSHIDA = (1 / (2 - 2 ** (1 / 3)), 1 - 2 / (2 - 2 ** (1 / 3)), 1 / (2 - 2 ** (1 / 3)))


class Bath(NamedTuple):
    """What surrounds the replicas, in units of `constants`."""

    timestep: Array
    """()"""
    thermal_energy: Array
    """(R,) k_B T, eV."""
    time: Array
    """() relaxation time of the thermostat; of Langevin, one over the friction."""
    pressure: Array
    """(R,) eV/Angstrom^3."""
    mobility: Array
    """(R,) of the strain of the cell, see `barostats`."""
    damping: Array | float = 0.0
    """() Gilbert's, of precession."""
    stretch: Array | float = 0.0
    """() one over the square root of the mass of lengths of moments, see `precession`."""


class Chain(NamedTuple):
    """Positions and velocities of Nose-Hoover chains."""

    position: Array
    """(R, CHAIN_LENGTH)"""
    velocity: Array
    """(R, CHAIN_LENGTH)"""


def keys_of(seeds: Any) -> Array:
    """Raw random keys (R, 2) of seeds, one per replica."""
    keys = [jax.random.key_data(jax.random.key(int(s), impl=_KEYS)) for s in seeds]
    # On the host: `jnp.stack` compiles for seconds for thousands of them.
    return jnp.asarray(np.stack(keys))


def key_of(raw: Array, step: Array, purpose: int) -> Array:
    """The key of one replica for one purpose in one step."""
    key = jax.random.wrap_key_data(raw, impl=_KEYS)
    return jax.random.fold_in(jax.random.fold_in(key, step), purpose)


def normals(keys: Array, step: Array, purpose: int, shape: tuple[int, ...]) -> Array:
    """Normal random numbers (R, *shape) of a step, independent for each purpose."""

    return jax.vmap(lambda raw: jax.random.normal(key_of(raw, step, purpose), shape))(keys)


def langevin(system: System, bath: Bath, keys: Array, step: Array) -> Array:
    """Velocities after friction and noise over one time step."""
    kept = jnp.exp(-bath.timestep / bath.time)
    noise = normals(keys, step, 0, system.velocities.shape[1:])
    thermal = jnp.sqrt(bath.thermal_energy[:, None, None] / system.masses[:, None])
    # The projection is orthogonal in mass-weighted velocities and commutes with the friction.
    return without_drift(
        kept * system.velocities + jnp.sqrt(1.0 - kept**2) * thermal * noise, system.masses
    )


def bussi(system: System, bath: Bath, keys: Array, step: Array) -> Array:
    """Velocities rescaled by a random factor, over one time step (Bussi 2007, Eq. A7)."""
    freedom = max(degrees_of_freedom(system.n_atoms), 1)
    kept = jnp.exp(-bath.timestep / bath.time)
    noise = normals(keys, step, 1, (freedom,))
    kinetic = kinetic_energy(system)
    # Atoms at rest stay at rest: a factor cannot set them in motion.
    ratio = jnp.where(kinetic > 0.0, bath.thermal_energy / (2.0 * kinetic), 0.0)
    along = jnp.sqrt(kept) + jnp.sqrt((1.0 - kept) * ratio) * noise[:, 0]
    across = (1.0 - kept) * ratio * jnp.sum(noise[:, 1:] ** 2, axis=1)
    factor = jnp.where(along < 0.0, -1.0, 1.0) * jnp.sqrt(along**2 + across)
    return factor[:, None, None] * system.velocities


def chain_at_rest(n_replicas: int) -> Chain:
    """The start of `nose_hoover`."""
    zeros = jnp.zeros((n_replicas, CHAIN_LENGTH))
    return Chain(zeros, zeros)


def nose_hoover(system: System, chain: Chain, bath: Bath) -> tuple[Array, Chain]:
    """Velocities and chain after half a time step."""
    freedom = max(degrees_of_freedom(system.n_atoms), 1)
    thermal = bath.thermal_energy
    masses = _chain_masses(freedom, bath)
    kinetic = kinetic_energy(system)
    position = [chain.position[:, k] for k in range(CHAIN_LENGTH)]
    velocity = [chain.velocity[:, k] for k in range(CHAIN_LENGTH)]
    scale = jnp.ones_like(kinetic)

    def push(k: int, dt: Array) -> None:
        if k == 0:
            force = 2.0 * kinetic * scale**2 - freedom * thermal
        else:
            force = masses[k - 1] * velocity[k - 1] ** 2 - thermal
        if k + 1 == CHAIN_LENGTH:
            velocity[k] = velocity[k] + dt / 4 * force / masses[k]
            return
        slow = jnp.exp(-dt / 8 * velocity[k + 1])
        velocity[k] = (velocity[k] * slow + dt / 4 * force / masses[k]) * slow

    for weight in _SUZUKI_YOSHIDA:
        dt = weight * bath.timestep
        for k in reversed(range(CHAIN_LENGTH)):
            push(k, dt)
        scale = scale * jnp.exp(-dt / 2 * velocity[0])
        position = [x + dt / 2 * v for x, v in zip(position, velocity, strict=True)]
        for k in range(CHAIN_LENGTH):
            push(k, dt)
    chain = Chain(jnp.stack(position, axis=1), jnp.stack(velocity, axis=1))
    return scale[:, None, None] * system.velocities, chain


def chain_energy(n_atoms: int, chain: Chain, bath: Bath) -> Array:
    """What the chains hold (R,), eV; with the energy of the atoms it is conserved."""
    freedom = max(degrees_of_freedom(n_atoms), 1)
    masses = jnp.stack(_chain_masses(freedom, bath), axis=1)
    weights = np.array([freedom, *[1.0] * (CHAIN_LENGTH - 1)])
    return 0.5 * jnp.sum(masses * chain.velocity**2, axis=1) + bath.thermal_energy * jnp.sum(
        weights * chain.position, axis=1
    )


def _chain_masses(freedom: int, bath: Bath) -> list[Array]:
    one = bath.thermal_energy * bath.time**2
    return [freedom * one, *[one] * (CHAIN_LENGTH - 1)]
