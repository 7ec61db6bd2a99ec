"""What is recorded of each step, one number per replica."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from mmtp_jax.potential.confinement import lengths_of
from mmtp_jax.simulation.constants import GPA
from mmtp_jax.simulation.dynamics.integrate import State, conserved_energy
from mmtp_jax.simulation.system import kinetic_energy, kinetic_tensor, temperatures, volumes

Array = Any


class Series(NamedTuple):
    """Numbers of t steps of R replicas, (t, R) each; those of a stopped replica repeat."""

    energy: Array
    """Potential energy, eV."""
    kinetic: Array
    """eV."""
    temperature: Array
    """K."""
    pressure: Array
    """(sum m v^2 / 3 - tr dE/d(strain) / 3) / V, GPa; zero without a volume."""
    volume: Array
    """Angstrom^3; infinite without one."""
    conserved: Array
    """Energy of the atoms less what heat bath and barostat have given to them, eV."""
    magnetisation: Array
    """Sum of the moments, mu_B; of vectors, the length of it."""
    mean_moment: Array
    """Mean of |m_i|, mu_B, as the lengths of vectors."""
    max_magnetic_force: Array
    """Largest |T_i|, eV/mu_B."""
    n_equilibration: Array
    """Evaluations of the equilibration."""
    shortest: Array
    """Shortest distance, Angstrom."""
    n_flips: Array
    """Flips or swaps of signs that were accepted so far."""
    grade: Array
    """Largest grade of extrapolation that the step met; NaN where no watch knows it."""
    spin_temperature: Array
    """Of directions of moments, K, see `spin_temperature`, of the last step that 10 divides; NaN
    without spin dynamics."""
    magnetisation_x: Array
    """Sum of the moments along x, mu_B; NaN without spin dynamics."""
    magnetisation_y: Array
    magnetisation_z: Array


UNITS = Series(
    energy="eV",
    kinetic="eV",
    temperature="K",
    pressure="GPa",
    volume="Angstrom^3",
    conserved="eV",
    magnetisation="mu_B",
    mean_moment="mu_B",
    max_magnetic_force="eV/mu_B",
    n_equilibration="",
    shortest="Angstrom",
    n_flips="",
    grade="",
    spin_temperature="K",
    magnetisation_x="mu_B",
    magnetisation_y="mu_B",
    magnetisation_z="mu_B",
)
"""Of each number."""

OF_SPINS = ("spin_temperature", "magnetisation_x", "magnetisation_y", "magnetisation_z")
"""Numbers of spin dynamics only."""


def row_of(state: State, grade: Array | None = None, spins: bool = False) -> Series:
    """The numbers of one state, (R,) each.

    Args:
        state: the state.
        grade: (R,) what a watch says of its step.
        spins: it is a state of spin dynamics.
    """
    system, known = state.system, state.known
    volume, unknown = volumes(system), jnp.full_like(known.energy, jnp.nan)
    total = jnp.sum(system.magmoms, axis=1)
    kinetic = jnp.trace(kinetic_tensor(system), axis1=1, axis2=2)
    vectors = system.vectors
    pressure = (kinetic / volume - jnp.trace(known.stress, axis1=1, axis2=2)) / (3 * GPA)
    return Series(
        energy=known.energy,
        kinetic=kinetic_energy(system),
        temperature=temperatures(system),
        pressure=pressure,
        volume=volume,
        conserved=conserved_energy(state),
        magnetisation=lengths_of(total, vectors),
        mean_moment=jnp.mean(jnp.abs(lengths_of(system.magmoms, vectors)), axis=1),
        max_magnetic_force=jnp.max(jnp.abs(lengths_of(known.magnetic_forces, vectors)), axis=1),
        n_equilibration=known.n_equilibration.astype(float),
        shortest=known.shortest,
        n_flips=state.spins.accepted.astype(float),
        grade=unknown if grade is None else grade,
        spin_temperature=known.spin_temperature if spins else unknown,
        magnetisation_x=total[:, 0] if spins else unknown,
        magnetisation_y=total[:, 1] if spins else unknown,
        magnetisation_z=total[:, 2] if spins else unknown,
    )
