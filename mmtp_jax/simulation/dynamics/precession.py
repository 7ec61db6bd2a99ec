"""Spin dynamics: moments that precess in their magnetic forces, with damping, noise and lengths.

With T_i = -dE/dm_i, gamma = g / hbar, g = 2 and e_i = m_i / |m_i|, the stochastic equation of
Landau, Lifshitz and Gilbert (Antropov et al., Phys. Rev. B 54, 1019; Garcia-Palacios and Lazaro,
Phys. Rev. B 58, 14937) turns each moment,

    dm_i/dt = omega_i x m_i    omega_i = gamma / (1 + a^2) [T_i + a e_i x T_i] + noise,

about T_i as a spin in a field along it, where the noise is white with the strength
2 a gamma k_B T / ((1 + a^2) |m_i|), so that exp(-E / k_B T) is stationary at fixed lengths.

The angle of a step is that of the magnetic force in its middle, extrapolated from the last ones,

    T(n + 1/2) = 9/5 T(n) - 6/5 T(n-1) + 18/35 T(n-2) - 9/70 T(n-3) + 1/70 T(n-4),

so that one evaluation serves atoms and moments. The coefficients make the extrapolation of a
precession exp(i w t) one to real factors of order (w dt)^2, up to (w dt)^9: it reverses in time up
to there, and energies do not drift (Kolafa, J. Comput. Chem. 25, 335, does so with induced
dipoles). A precession of w dt = 0.3 gains 5e-8 of its amplitude in a step, of 0.5 1e-5.

What is extrapolated is T_i + k m_i, about which m_i turns as about T_i. The gauge k is half of the
trace of d2E/dm_i^2 across the moments, its mean over the atoms of a species at the start: the force
on a moment by its neighbours is left, which it turns about as about an outer field. That by its own
length would turn with it, and be extrapolated where it needs not be.

Lengths that move do so as the distance from the origin of a particle with the mass mu (see
`DynamicsOptions`) in three dimensions, as spins of arXiv 2506.12877 do, one evaluation a step:

    mu d2|m_i|/dt2 = T_i.e_i + mu v_i^2 / |m_i|    |m_i| v_i = const.

v is its speed across the radius, by which e_i does not turn: it precesses. So the phase space is
that of d3m d3p and the measure d3m = m^2 dm dOmega, that of Langevin's equation in m and of Monte
Carlo; the energy with that of the particles is conserved without a bath.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.confinement import lengths_of
from mmtp_jax.simulation.constants import GYROMAGNETIC
from mmtp_jax.simulation.dynamics.thermostats import Bath, normals
from mmtp_jax.simulation.system import System

Array = Any

EXTRAPOLATION = np.array([9 / 5, -6 / 5, 18 / 35, -9 / 70, 1 / 70])
"""Of the magnetic forces in the middle of a step, from the newest back."""


class Precession(NamedTuple):
    """What spin dynamics goes on from; no forces and no speeds in runs without it."""

    forces: Array
    """(R, 5, n, 3) the last magnetic forces with the gauge, the newest first, eV/mu_B."""
    gauge: Array
    """(R, n) k, eV/mu_B^2."""
    speeds: Array
    """(R, n, 3) sqrt(mu) times the speeds of lengths along the radius and across it, sqrt(eV)."""


class Turned(NamedTuple):
    """Moments after the middle of a step."""

    magmoms: Array
    """(R, n, 3) mu_B."""
    by_bath: Array
    """(R, n, 3) the part of their change that damping and noise have made, mu_B."""


def at_rest(n_replicas: int, n_atoms: int, moves: bool) -> Precession:
    """The start; without arrays where nothing ``moves``."""
    size, n = (len(EXTRAPOLATION), n_atoms) if moves else (0, 0)
    of_atoms = jnp.zeros((n_replicas, n, 3))
    return Precession(jnp.zeros((n_replicas, size, n, 3)), of_atoms[..., 0], of_atoms)


def directions(magmoms: Array) -> Array:
    """e (..., 3); zero where there is no moment."""
    size = lengths_of(magmoms, True)
    return magmoms / jnp.where(size > 0, size, 1.0)[..., None]


def turned(vectors: Array, angles: Array) -> Array:
    """Vectors (..., 3) turned about the directions of ``angles`` (..., 3) by their lengths, rad."""
    square = jnp.sum(angles * angles, axis=-1, keepdims=True)
    angle = jnp.sqrt(jnp.where(square > 0, square, 1.0))
    sine = jnp.where(square > 0, jnp.sin(angle) / angle, 1.0)
    # (1 - cos) / angle^2 without the difference.
    half = jnp.where(square > 0, jnp.sin(angle / 2) / (angle / 2), 1.0)
    once = jnp.cross(angles, vectors)
    return vectors + sine * once + 0.5 * half**2 * jnp.cross(angles, once)


def precessed(
    magmoms: Array, precession: Precession, bath: Bath, keys: Array, step: Array, damped: bool
) -> Turned:
    """Moments turned over one time step.

    Args:
        magmoms: (R, n, 3) in the middle of the step as to their lengths.
        precession: the last magnetic forces.
        bath: time step, damping and temperature.
        keys: (R, 2) random keys.
        step: number of the step.
        damped: there are damping and noise.
    """
    forces = jnp.sum(EXTRAPOLATION[:, None, None] * precession.forces, axis=1)
    if not damped:
        angles = GYROMAGNETIC * bath.timestep * forces
        return Turned(turned(magmoms, angles), jnp.zeros_like(magmoms))
    damping, e = bath.damping, directions(magmoms)
    rate = GYROMAGNETIC / (1 + damping**2) * bath.timestep
    # Damping by the direction in the middle of the step.
    halfway = turned(e, 0.5 * rate * (forces + damping * jnp.cross(e, forces)))
    size = lengths_of(magmoms, True)
    thermal = bath.thermal_energy[:, None] / jnp.where(size > 0, size, 1.0)
    noise = normals(keys, step, _PURPOSE, magmoms.shape[1:])
    noise = jnp.sqrt(2 * damping * rate * thermal)[..., None] * noise
    by_bath = rate * damping * jnp.cross(halfway, forces) + noise
    after = turned(magmoms, rate * forces + by_bath)
    return Turned(after, jnp.cross(by_bath, (magmoms + after) / 2))


def heat(by_bath: Array, magnetic_forces: Array) -> Array:
    """Half of the energy (R,) that damping and noise give, by the forces at one end of the step."""
    return -0.5 * jnp.sum(by_bath * magnetic_forces, axis=(1, 2))


def kicked(system: System, speeds: Array, magnetic_forces: Array, bath: Bath) -> Array:
    """Speeds (R, n, 3) of lengths after half a step."""
    along = jnp.sum(magnetic_forces * directions(system.magmoms), axis=-1)
    return speeds + (0.5 * bath.timestep * bath.stretch) * along[..., None] * np.eye(3)[0]


def stretched(magmoms: Array, speeds: Array, bath: Bath) -> tuple[Array, Array]:
    """Moments and speeds after half a step of free motion."""
    size = lengths_of(magmoms, True)
    time = 0.5 * bath.timestep * bath.stretch
    across = jnp.sum(speeds[..., 1:] ** 2, axis=-1)
    radial = size + time * speeds[..., 0]
    after = jnp.sqrt(radial**2 + time**2 * across)
    safe = jnp.where(after > 0, after, 1.0)
    ratio = after / jnp.where(size > 0, size, 1.0)
    first = (radial * speeds[..., 0] + time * across) / safe
    rest = speeds[..., 1:] * (size / safe)[..., None]
    return ratio[..., None] * magmoms, jnp.concatenate([first[..., None], rest], axis=-1)


def with_noise(speeds: Array, magmoms: Array, bath: Bath, keys: Array, step: Array) -> Array:
    """Speeds of lengths after friction and noise over one time step, those of BAOAB."""
    kept = jnp.exp(-bath.timestep / bath.time)
    noise = normals(keys, step, _PURPOSE + 1, speeds.shape[1:])
    thermal = jnp.sqrt(bath.thermal_energy * (1.0 - kept**2))[:, None, None]
    return _where_moments(magmoms, kept * speeds + thermal * noise)


def gauged(precession: Precession, magmoms: Array, magnetic_forces: Array) -> Array:
    """T_i + k m_i (R, n, 3), which is extrapolated."""
    return magnetic_forces + precession.gauge[..., None] * magmoms


def remembered(
    precession: Precession, magmoms: Array, magnetic_forces: Array, first: Array
) -> Array:
    """The last forces with the newest ones; of the ``first`` step, these in all places."""
    newest = gauged(precession, magmoms, magnetic_forces)[:, None]
    known = jnp.concatenate([newest, precession.forces[:, :-1]], axis=1)
    return jnp.where(first, newest, known)


def energy_of_lengths(precession: Precession) -> Array:
    """Kinetic energy (R,) of lengths that move, eV."""
    return 0.5 * jnp.sum(precession.speeds**2, axis=(1, 2))


@jax.jit
def thermal_speeds(magmoms: Array, thermal_energy: Array, keys: Array) -> Array:
    """Speeds (R, n, 3) of the lengths of moments (R, n, 3) at k_B T (R,) in eV, at a start."""
    drawn = normals(keys, jnp.zeros((), jnp.int32), _PURPOSE + 2, magmoms.shape[1:])
    return _where_moments(magmoms, jnp.sqrt(thermal_energy)[:, None, None] * drawn)


def _where_moments(magmoms: Array, speeds: Array) -> Array:
    """Speeds, zero where there is no moment."""
    return jnp.where(lengths_of(magmoms, True)[..., None] > 0, speeds, 0.0)


_PURPOSE = 3
"""Of random numbers, and the next two; see `thermostats.normals`."""
