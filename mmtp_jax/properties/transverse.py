"""Second derivatives of the energy of a crystal by turns of its moments, without a supercell.

The energy is a sum of site energies, each of an atom's own moment and those of its neighbours. So
d2E/dm_a dm_b of the infinite crystal is a finite sum over the sites that see both a and b: it ends
at two cutoffs, and is exact at each distance. Of a collinear state only the components across the
axis are needed. Without spin-orbit coupling the two are equal, and do not mix with each other nor
with the lengths.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.interruption import check
from mmtp_jax.potential.einsum import matmul
from mmtp_jax.potential.energy import site_energies
from mmtp_jax.potential.observables import Graph, neighborhoods
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import with_double_precision
from mmtp_jax.properties.second_derivatives import ATOMS_PER_BLOCK, response_graph
from mmtp_jax.structures.domain import check_domain
from mmtp_jax.structures.neighbours import NeighbourTable, neighbour_table
from mmtp_jax.structures.structure import Structure

Array = Any


class Transverse(NamedTuple):
    """d2E/dm_a dm_b of one component across the axis, each pair of atoms in both orders."""

    first: np.ndarray
    """(p,) a, atoms of the cell."""
    second: np.ndarray
    """(p,) b."""
    shifts: np.ndarray
    """(p, 3) cell of b in units of the cell vectors; a is in cell 0."""
    values: np.ndarray
    """(p,) eV/mu_B^2."""
    magnetic_forces: np.ndarray
    """(n,) -dE/dm along the axis, eV/mu_B."""
    energy: float
    """eV per cell."""


@jax.jit
def transverse_rows(potential: Potential, graph: Graph, slots: Array) -> tuple[Array, Array, Array]:
    """Second derivatives of each atom's site energy, its slopes along the axis, and itself.

    Slot 0 is the atom, slot 1 + k its neighbour k; moments are along z, and turn towards x.

    Args:
        potential: the potential.
        graph: one configuration of N atoms with K neighbours each, whose moments are vectors.
        slots: (blocks, width) slots of one derivative; width of them are computed together.

    Returns:
        (blocks, width, N, 1 + K) eV/mu_B^2, dE_i/dm_z (N, 1 + K) eV/mu_B, and E_i (N,) eV.
    """
    rows = neighborhoods(graph)
    n, width = rows.vectors.shape[0], rows.vectors.shape[2]
    axes = jnp.eye(3, dtype=rows.vectors.dtype)[jnp.array([0, 2])]

    def energy(changes: Array) -> tuple[Array, Array]:
        of_slots = matmul(changes, axes)
        moved = rows._replace(
            magmoms=rows.magmoms + of_slots[:, 0],
            neighbour_magmoms=rows.neighbour_magmoms + jnp.swapaxes(of_slots[:, 1:], 1, 2),
        )
        sites = site_energies(potential, moved)
        return jnp.sum(sites), sites

    origin = jnp.zeros((n, 1 + width, len(axes)), rows.vectors.dtype)
    slopes, along, sites = jax.linearize(jax.grad(energy, has_aux=True), origin, has_aux=True)

    def block(of: Array) -> Array:
        # Sites do not know of each other, so one slot of all of them goes at once.
        slot = jax.nn.one_hot(of, 1 + width, dtype=origin.dtype)[:, None, :, None]
        towards_x = slot * jnp.array([1.0, 0.0], origin.dtype)
        return jax.vmap(lambda t: along(jnp.broadcast_to(t, origin.shape))[..., 0])(towards_x)

    return jax.lax.map(block, slots), slopes[..., 1], sites


@with_double_precision
def transverse(potential: Potential, structure: Structure) -> Transverse:
    """Second derivatives of the energy of the infinite crystal, in float64.

    Args:
        potential: one that is even.
        structure: a cell with collinear moments (n,).

    Warns:
        ExtrapolationWarning: if distances or moments lie outside of the potential's intervals.
    """
    check()
    cutoff = float(potential.cutoff)
    table = neighbour_table(structure, cutoff)
    check_domain(potential, [structure], [table]).warn()
    zeros = np.zeros(len(structure))
    along_z = replace(structure, magmoms=np.stack([zeros, zeros, structure.magmoms], axis=1))
    graph = response_graph(along_z, table, cutoff)
    n_slots = 1 + graph.neighbours.shape[1]
    width = min(max(ATOMS_PER_BLOCK // graph.types.shape[0], 1), n_slots)
    slots = np.arange(-(-n_slots // width) * width).reshape(-1, width)
    found, slopes, sites = jax.device_get(
        transverse_rows(potential.astype(np.float64), graph, slots)
    )
    blocks = found.reshape(-1, *found.shape[2:]).swapaxes(0, 1)
    return _of_pairs(table, blocks, slopes, float(sites[: len(structure)].sum()))


def _of_pairs(
    table: NeighbourTable, blocks: np.ndarray, slopes: np.ndarray, energy: float
) -> Transverse:
    """Sums over the sites that see both atoms of a pair.

    Args:
        table: neighbours of n atoms.
        blocks: (N >= n, slots, slots) second derivatives of the site energies.
        slopes: (N, slots) their first derivatives along the axis.
        energy: eV.
    """
    n = len(table.index)
    forces, keys, values = np.zeros(n), [], []
    for i in range(n):
        k = int(table.count[i])
        # Neighbours are the first places of a row.
        atoms = np.concatenate([[i], table.index[i, :k]])
        cells = np.concatenate([np.zeros((1, 3), int), table.shifts[i, :, :k].T])
        np.add.at(forces, atoms, -slopes[i, : k + 1])
        a, b = np.divmod(np.arange((k + 1) ** 2), k + 1)
        keys.append(np.column_stack([atoms[a], atoms[b], cells[b] - cells[a]]))
        values.append(blocks[i, : k + 1, : k + 1].ravel())
    every = np.concatenate(keys)
    # One number for each pair sorts faster than five.
    low = every.min(axis=0)
    sizes = every.max(axis=0) - low + 1
    _, places, inverse = np.unique(
        np.ravel_multi_index((every - low).T, sizes), return_index=True, return_inverse=True
    )
    pairs = every[places]
    total = np.bincount(inverse, np.concatenate(values), len(places))
    return Transverse(pairs[:, 0], pairs[:, 1], pairs[:, 2:], total, forces, energy)
