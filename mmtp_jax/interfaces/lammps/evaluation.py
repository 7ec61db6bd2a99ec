"""What one MPI rank computes: energies of its own atoms, their derivatives, and their grades.

The energy of an own atom depends on neighbours that may be atoms of other ranks; what it does to
them is returned with their ids, to be summed.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.active.grade import ActiveFactors, grades_of_rows, neighborhood_grades
from mmtp_jax.interfaces.lammps.rows import Rows
from mmtp_jax.potential.jacobian import energy_jacobian
from mmtp_jax.potential.observables import Graph, evaluate
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import with_floats
from mmtp_jax.structures.neighbours import PADDING

Array = Any


class RankValues(NamedTuple):
    """Contributions of the own atoms of a rank: views of one array, which is one transfer."""

    sites: Array
    """(N,) E_i, eV."""
    forces: Array
    """(M, 3) on all atoms that the rank knows, eV/Angstrom."""
    magnetic_forces: Array
    """(M,) eV/mu_B."""
    strain_derivative: Array
    """(3, 3) dE/d(strain), eV."""
    shortest: Array
    """() Angstrom."""

    @classmethod
    def of(cls, packed: np.ndarray, n_rows: int) -> RankValues:
        """The views of what `evaluate_rows` returns for N rows."""
        n_atoms = (len(packed) - n_rows - 10) // 4
        ends = np.cumsum([n_rows, 3 * n_atoms, n_atoms, 9])
        sites, forces, magnetic_forces, strain, shortest = np.split(packed, ends)
        shapes = forces.reshape(-1, 3), magnetic_forces, strain.reshape(3, 3)
        return cls(sites, *shapes, shortest[0])


def packed(positions: np.ndarray, magmoms: np.ndarray) -> np.ndarray:
    """Positions (A, 3) and moments (M,) as `evaluate_rows` takes them."""
    return np.concatenate([positions.ravel(), magmoms])


def graph_of_rows(potential: Potential, rows: Rows, positions: Array, magmoms: Array) -> Graph:
    """The graph of a rank: M atoms, of which the first N have rows. Its volume is one."""
    n_rows, width = rows.ghosts.shape
    vectors = jnp.stack(
        [positions[:, x][rows.ghosts] - positions[:n_rows, x, None] for x in range(3)], axis=1
    )
    real = jnp.arange(width) < rows.count[:, None]
    vectors = jnp.where(real[:, None], vectors, PADDING * potential.cutoff)
    graph = Graph(
        types=rows.types,
        magmoms=magmoms,
        vectors=vectors,
        neighbours=rows.neighbours,
        configuration=rows.configuration,
        volumes=jnp.ones(1),
        sums=rows.sums,
    )
    dtype = potential.radial_coeffs.dtype
    return with_floats(graph, dtype)


@partial(jax.jit, static_argnames="chunk")
def evaluate_rows(potential: Potential, rows: Rows, where: Array, chunk: int | None) -> Array:
    """Evaluate the own atoms of a rank, `RankValues` in one array; compiled once per shape.

    Args:
        potential: in the precision of the evaluation.
        rows: neighbours of own atoms.
        where: positions (A, 3) of own atoms and ghosts and moments (M,), `packed`, in float64.
        chunk: most atoms per block.
    """
    n_atoms = rows.types.shape[0]
    positions, magmoms = where[:-n_atoms].reshape(-1, 3), where[-n_atoms:]
    graph = graph_of_rows(potential, rows, positions, magmoms)
    sites, values = evaluate(potential, graph, chunk)
    squares = jnp.min(jnp.sum(graph.vectors**2, axis=1), initial=jnp.inf)
    found = RankValues(
        sites=jnp.where(rows.configuration == 0, sites, 0.0),
        forces=values.forces,
        magnetic_forces=values.magnetic_forces,
        strain_derivative=values.stress[0],
        shortest=jnp.sqrt(squares),
    )
    return jnp.concatenate([jnp.ravel(part).astype(float) for part in found])


@partial(jax.jit, static_argnames="chunk")
def grade_own_atoms(
    factors: ActiveFactors,
    potential: Potential,
    rows: Rows,
    positions: Array,
    magmoms: Array,
    chunk: int | None,
) -> Array:
    """gamma (N,) of own atoms, for an active set of neighbourhoods; 0 for padding."""
    graph = graph_of_rows(potential, rows, positions, magmoms)
    return neighborhood_grades(factors, potential, graph, chunk)


@partial(jax.jit, static_argnames="chunk")
def own_energy_row(
    potential: Potential, rows: Rows, positions: Array, magmoms: Array, chunk: int | None
) -> Array:
    """dE/dtheta (P,) of the energy of own atoms; summed over ranks, the row of the cell."""
    graph = graph_of_rows(potential, rows, positions, magmoms)
    return energy_jacobian(potential, graph, chunk)[0]


@jax.jit
def grade_of_row(factors: ActiveFactors, row: Array) -> Array:
    """gamma () of a row dE/dtheta (P,), for an active set of configurations."""
    return grades_of_rows(factors, row[None])[0]
