"""Replicas of one set of atoms: the same species, each with its own positions, cell and moments.

R replicas of n atoms are R configurations of one graph with R n atoms, atom i of replica r being
atom r n + i: one evaluation serves all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.simulation.constants import KB
from mmtp_jax.structures.structure import Structure

Array = Any


class System(NamedTuple):
    """R replicas of n atoms. Velocities are in units of `constants`."""

    positions: Array
    """(R, n, 3) Angstrom; not wrapped back into the cell."""
    velocities: Array
    """(R, n, 3)."""
    cell: Array
    """(R, 3, 3) Angstrom, rows are the cell vectors; zero rows where not periodic."""
    magmoms: Array
    """(R, n) mu_B; (R, n, 3) where they are vectors."""
    masses: Array
    """(n,) amu."""
    types: Array
    """(n,) species index."""
    periodic: Array
    """(3,) bool."""
    running: Array
    """(R,) bool; the others have stopped and do not move."""

    @property
    def vectors(self) -> bool:
        """Whether moments are vectors."""
        return self.magmoms.ndim > 2

    @property
    def n_replicas(self) -> int:
        """R."""
        return self.positions.shape[0]

    @property
    def n_atoms(self) -> int:
        """n, of each replica."""
        return self.positions.shape[1]


def system_of(
    structures: Sequence[Structure], masses: np.ndarray, velocities: np.ndarray | None = None
) -> System:
    """Replicas from structures with the same species in the same order.

    Args:
        structures: one per replica.
        masses: (n,) amu.
        velocities: (R, n, 3) in units of `constants`; zero if not given.

    Raises:
        ValueError: if there is no structure, or the structures differ in species, periodic
            directions, or in whether moments are vectors.
    """
    if not structures:
        raise ValueError("there is no configuration to simulate; give at least one")
    first = structures[0]
    for other in structures[1:]:
        same = len(other) == len(first) and np.array_equal(other.types, first.types)
        if not same or not np.array_equal(other.periodic, first.periodic):
            raise ValueError(
                f"{other.name} and {first.name} differ in their species, in the order of their "
                "atoms or in their periodic directions; replicas of one run must have the same"
            )
        if other.vectors != first.vectors:
            one, two = (other, first) if other.vectors else (first, other)
            raise ValueError(
                f"the moments of {one.name} are vectors, and those of {two.name} are numbers; "
                "replicas of one run must have the same: give all of them as vectors"
            )
    positions = np.stack([s.positions for s in structures]).astype(float)
    return System(
        positions=positions,
        velocities=np.zeros_like(positions) if velocities is None else np.array(velocities, float),
        cell=np.stack([s.cell for s in structures]).astype(float),
        magmoms=np.stack([s.magmoms for s in structures]).astype(float),
        masses=np.asarray(masses, float),
        types=np.asarray(first.types, np.int32),
        periodic=np.asarray(first.periodic, bool),
        running=np.ones(len(structures), bool),
    )


@jax.jit
def volumes(system: System) -> Array:
    """(R,) Angstrom^3; infinite where the cell is not periodic in three directions."""
    volume = jnp.abs(jnp.linalg.det(system.cell))
    return jnp.where(jnp.all(jnp.asarray(system.periodic)), volume, jnp.inf)


def degrees_of_freedom(n_atoms: int) -> int:
    """3 n - 3: the momentum of the whole is zero and stays zero."""
    return 3 * n_atoms - 3


def kinetic_tensor(system: System) -> Array:
    """sum_i m_i v_i (x) v_i (R, 3, 3), eV; its trace is twice the kinetic energy."""
    weighted = system.masses[:, None] * system.velocities
    return jnp.sum(weighted[..., :, None] * system.velocities[..., None, :], axis=1)


@jax.jit
def kinetic_energy(system: System) -> Array:
    """(R,) eV."""
    return 0.5 * jnp.sum(system.masses[:, None] * system.velocities**2, axis=(1, 2))


@jax.jit
def temperatures(system: System) -> Array:
    """2 K / (N_f k_B) (R,), K; zero for a single atom, which has no motion of its own."""
    return 2.0 * kinetic_energy(system) / (max(degrees_of_freedom(system.n_atoms), 1) * KB)


@jax.jit
def without_drift(velocities: Array, masses: Array) -> Array:
    """Velocities (R, n, 3) of which the whole has no momentum."""
    momentum = jnp.sum(masses[:, None] * velocities, axis=1, keepdims=True)
    return velocities - momentum / jnp.sum(masses)


def thermal_velocities(system: System, temperature: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
    """Maxwell-Boltzmann velocities (R, n, 3) at temperatures (R,) in K, without total momentum.

    The kinetic energy is scaled to be exactly N_f k_B T / 2.
    """
    drawn = np.stack(
        [np.random.default_rng(seed).normal(size=(system.n_atoms, 3)) for seed in seeds]
    )
    drawn /= np.sqrt(np.asarray(system.masses))[:, None]
    velocities = np.asarray(without_drift(drawn, np.asarray(system.masses)))
    if system.n_atoms == 1:
        return np.zeros_like(velocities)
    present = np.asarray(temperatures(system._replace(velocities=velocities)))
    return velocities * np.sqrt(np.asarray(temperature) / present)[:, None, None]
