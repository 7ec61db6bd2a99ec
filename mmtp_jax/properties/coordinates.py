"""Joint coordinates of one periodic configuration: displacements, strain and moments.

x = (u, e, m): displacements (N, 3) of the atoms in Angstrom, the six strains e in ASE's order xx
yy zz yz xz xy with shear angles e4 = 2 eps_yz, and changes (N,) of the moments in mu_B, or (N, 3)
where they are vectors. Atoms are at (1 + eps) r + u, so that x = 0 is where the graph is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.displacement import displaced
from mmtp_jax.potential.observables import Graph, energies
from mmtp_jax.potential.potential import Potential

Array = Any

N_STRAINS = 6

_VOIGT = np.zeros((N_STRAINS, 3, 3))
for _k, (_i, _j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
    # A shear angle is twice the component of the strain.
    _VOIGT[_k, _i, _j] += 0.5
    _VOIGT[_k, _j, _i] += 0.5


class Change(NamedTuple):
    """x of a graph of N atoms and one configuration, in parts."""

    displacements: Array
    """(N, 3) Angstrom."""
    strain: Array
    """(6,)"""
    magmoms: Array
    """(N,) or (N, 3) mu_B."""


def strain_tensor(strain: Array) -> Array:
    """eps (3, 3) of the six strains."""
    return jnp.tensordot(strain, jnp.asarray(_VOIGT, strain.dtype), axes=1)


def strain_components(tensor: Array) -> Array:
    """The six strains of a symmetric eps (3, 3)."""
    scale = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
    rows, columns = np.array([0, 1, 2, 1, 0, 0]), np.array([0, 1, 2, 2, 2, 1])
    return scale * tensor[rows, columns]


def parts(x: Array, n_atoms: int) -> Change:
    """The parts of x (4 N + 6,), or (6 N + 6,) where moments are vectors."""
    u, e, m = jnp.split(x, (3 * n_atoms, 3 * n_atoms + N_STRAINS))
    vectors = m.shape[0] > n_atoms
    return Change(u.reshape(n_atoms, 3), e, m.reshape(n_atoms, 3) if vectors else m)


def size_of(graph: Graph) -> int:
    """Length of x."""
    return 3 * graph.types.shape[0] + N_STRAINS + graph.magmoms.size


def changed(graph: Graph, x: Array) -> Graph:
    """The graph after the change x; its neighbours must cover the cutoff there as well."""
    change = parts(x, graph.types.shape[0])
    return displaced(
        graph, change.displacements, change.magmoms, strain_tensor(change.strain)[None]
    )


def energy_at(potential: Potential, graph: Graph, x: Array) -> Array:
    """Energy () of the configuration after the change x, eV."""
    return energies(potential, changed(graph, x))[0]


def places(n_atoms: int, n_padded: int, of_moment: int = 1) -> np.ndarray:
    """Places in x of the coordinates of the n real atoms, and of the strain.

    Each moment has ``of_moment`` coordinates.
    """
    low = 3 * n_padded
    return np.concatenate(
        [
            np.arange(3 * n_atoms),
            low + np.arange(N_STRAINS),
            low + N_STRAINS + np.arange(of_moment * n_atoms),
        ]
    )
