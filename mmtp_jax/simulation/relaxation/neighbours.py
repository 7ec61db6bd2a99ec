"""Neighbours of configurations of different sizes that relax together: a list with a skin.

The form of `mmtp_jax.simulation.neighbours` for atoms (N, 3) of C configurations one after the
other. Steps of at most `longest_step` from where a list was made never miss a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.observables import Graph
from mmtp_jax.simulation.relaxation.coordinates import Geometry, Problem, at_atoms
from mmtp_jax.structures.images import image_shifts, image_vectors, share_of_skin
from mmtp_jax.structures.neighbours import neighbour_table
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
        inverse = np.linalg.pinv(structure.cell)
        own = np.arange(offsets[k], offsets[k + 1], dtype=np.int32)[:, None]
        found.index[rows], found.shifts[rows] = own, 0
        found.index[rows, :used] = np.where(table.index >= 0, table.index + offsets[k], own)
        found.shifts[rows, :, :used] = image_shifts(table, structure.positions, inverse)
        found.count[rows] = table.count
        found.positions[rows] = structure.positions
        found.cell[k], found.inverse[k] = structure.cell, inverse
    return found


def graph_at(
    problem: Problem, neighbours: RaggedList, geometry: Geometry, magmoms: Array
) -> tuple[Graph, Array]:
    """The graph to evaluate, and the shortest distance (C,) in Angstrom."""
    positions, cell = geometry.positions, at_atoms(problem, geometry.cell)
    vectors, of_atom = image_vectors(positions, cell, *neighbours[:3], neighbours.cutoff)
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
    return share_of_skin(largest, deformation, neighbours.cutoff, neighbours.skin)


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
