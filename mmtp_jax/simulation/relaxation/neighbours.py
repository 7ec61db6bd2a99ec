"""Neighbours of configurations of different sizes that relax together: a list with a skin.

As in `neighbours`, of which this is the form for atoms (N, 3) of C configurations one after the
other: the list is made on the host and holds image shifts; no pair is missed while

    (1 - |F - 1|) (R_cut + skin) - 2 max |u| >= R_cut

for the deformation F of a cell since then, and the displacements u beside it. Steps of at most
`longest_step` from where a list was made are always inside of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.observables import Graph
from mmtp_jax.simulation.relaxation.coordinates import Geometry, Problem, at_atoms
from mmtp_jax.structures.neighbours import PADDING, neighbour_table
from mmtp_jax.structures.structure import Structure

Array = Any

ROOM = 0.25
"""Angstrom beyond cutoff and skin within which a first list has room for neighbours."""


class RaggedList(NamedTuple):
    """Neighbours within R_cut + skin of N atoms, K places each."""

    index: Array
    """(N, K) int32; the atom itself in free places."""
    shifts: Array
    """(N, 3, K) int32, image of the neighbour in units of the cell vectors."""
    count: Array
    """(N,) places in use; 0 for padding."""
    positions: Array
    """(N, 3) where the list was made, Angstrom."""
    cell: Array
    """(C, 3, 3) Angstrom."""
    inverse: Array
    """(C, 3, 3) pseudo-inverse of the cell, 1/Angstrom."""
    cutoff: Array
    """() Angstrom."""
    skin: Array
    """() Angstrom."""

    @property
    def width(self) -> int:
        """K."""
        return self.index.shape[1]


def longest_step(cutoff: float, skin: float) -> tuple[float, float]:
    """Displacement (Angstrom) and norm of a strain for which a fresh list is good together."""
    return 0.35 * skin, 0.25 * skin / (cutoff + skin)


def search(
    structures: Sequence[Structure],
    shape: tuple[int, int],
    cutoff: float,
    skin: float,
    previous: RaggedList | None = None,
    which: Sequence[int] | None = None,
    width: int = 0,
) -> RaggedList:
    """The list of structures, on the host, as numpy arrays.

    Args:
        structures: where the atoms are, all of the batch.
        shape: N and C, padding included.
        cutoff: R_cut, Angstrom.
        skin: Angstrom.
        previous: an older list of the same structures.
        which: those to search again; the others keep what ``previous`` has.
        width: least number of places.

    Raises:
        ValueError: if two atoms are at the same place.
    """
    again = range(len(structures)) if previous is None or which is None else which
    radius = cutoff + skin
    tables = {k: neighbour_table(structures[k], radius) for k in again}
    needed = max((table.index.shape[1] for table in tables.values()), default=0)
    width = max(width, 0 if previous is None else previous.width)
    if width < needed:
        with_room = [neighbour_table(structures[k], radius + ROOM).index.shape[1] for k in again]
        width = _rounded_width(max(with_room))
    found = _start(shape, width, cutoff, skin, previous)
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in structures])])
    for k, table in tables.items():
        structure, rows, used = structures[k], slice(*offsets[k : k + 2]), table.index.shape[1]
        inverse, real = np.linalg.pinv(structure.cell), table.index >= 0
        own = np.arange(offsets[k], offsets[k + 1], dtype=np.int32)[:, None]
        found.index[rows], found.shifts[rows] = own, 0
        found.index[rows, :used] = np.where(real, table.index + offsets[k], own)
        # The search gives vectors; what is left of them beside the positions are whole cells.
        partner = structure.positions[np.maximum(table.index, 0)]
        beside = np.swapaxes(table.vectors, 1, 2) - partner + structure.positions[:, None]
        shifts = np.swapaxes(np.rint(beside @ inverse), 1, 2).astype(np.int32)
        found.shifts[rows, :, :used] = np.where(real[:, None], shifts, 0)
        found.count[rows] = table.count
        found.positions[rows] = structure.positions
        found.cell[k], found.inverse[k] = structure.cell, inverse
    return found


def graph_at(
    problem: Problem, neighbours: RaggedList, geometry: Geometry, magmoms: Array
) -> tuple[Graph, Array]:
    """The graph to evaluate, and the shortest distance (C,) in Angstrom."""
    positions, cell = geometry.positions, at_atoms(problem, geometry.cell)
    vectors = jnp.stack(
        [
            positions[:, x][neighbours.index]
            - positions[:, x, None]
            + sum(neighbours.shifts[:, k] * cell[:, k, x, None] for k in range(3))
            for x in range(3)
        ],
        axis=1,
    )
    real = jnp.arange(neighbours.width) < neighbours.count[:, None]
    vectors = jnp.where(real[:, None], vectors, PADDING * neighbours.cutoff)
    of_atom = jnp.min(jnp.sum(vectors * vectors, axis=1), axis=1, initial=jnp.inf)
    nearest = jax.ops.segment_min(of_atom, problem.configuration, problem.n_configurations)
    graph = Graph(
        types=problem.types,
        magmoms=magmoms,
        vectors=vectors,
        neighbours=neighbours.index,
        configuration=problem.configuration,
        volumes=geometry.volume,
    )
    return graph, jnp.sqrt(nearest)


def used_share(problem: Problem, neighbours: RaggedList, geometry: Geometry) -> Array:
    """Share (C,) of the skin that is used up; above 1, pairs may be missing."""
    deformation = neighbours.inverse @ (geometry.cell - neighbours.cell)
    carried = jnp.einsum("na,nab->nb", neighbours.positions, at_atoms(problem, deformation))
    displacement = geometry.positions - neighbours.positions - carried
    largest = jax.ops.segment_max(
        jnp.sum(displacement**2, axis=1), problem.configuration, problem.n_configurations
    )
    # Configurations without atoms, which only pad, would be -inf.
    largest = jnp.sqrt(jnp.maximum(largest, 0.0))
    strain = jnp.sqrt(jnp.sum(deformation**2, axis=(1, 2)))
    room = (1.0 - strain) * (neighbours.cutoff + neighbours.skin) - neighbours.cutoff
    # A position that is not finite must not count as one that has not moved.
    return jnp.where((room > 0.0) & (2.0 * largest <= room), 2.0 * largest / room, jnp.inf)


def _rounded_width(n: int) -> int:
    """The smallest m * 2^k >= n with m of 4 to 7: crystals that are alike share a program."""
    step = 1
    while n > 7 * step:
        step *= 2
    return -(-n // step) * step


def _start(
    shape: tuple[int, int], width: int, cutoff: float, skin: float, previous: RaggedList | None
) -> RaggedList:
    """A list to write into: what ``previous`` has, or nothing."""
    n_atoms, n_conf = shape
    found = RaggedList(
        index=np.tile(np.arange(n_atoms, dtype=np.int32)[:, None], (1, width)),
        shifts=np.zeros((n_atoms, 3, width), np.int32),
        count=np.zeros(n_atoms, np.int32),
        positions=np.zeros((n_atoms, 3)),
        cell=np.tile(np.eye(3), (n_conf, 1, 1)),
        inverse=np.tile(np.eye(3), (n_conf, 1, 1)),
        cutoff=np.float64(cutoff),
        skin=np.float64(skin),
    )
    if previous is not None:
        old = previous.width
        found.index[:, :old], found.shifts[:, :, :old] = previous.index, previous.shifts
        for name in ("count", "positions", "cell", "inverse"):
            getattr(found, name)[:] = getattr(previous, name)
    return found
