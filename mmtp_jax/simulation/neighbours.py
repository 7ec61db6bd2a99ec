"""Neighbours of moving atoms: a list with a skin that is valid for many steps.

The list holds, per atom, the index of each neighbour and the image that it is in; `images` says how
far atoms and cell may move before a pair is missed. It is made on the host, with all images, for
cells of any size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.chunks import padded_count
from mmtp_jax.potential.observables import Graph
from mmtp_jax.simulation.system import System, volumes
from mmtp_jax.structures.batch import rounded_size
from mmtp_jax.structures.images import image_shifts, image_vectors, share_of_skin
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.structure import Structure

Array = Any

RATTLE = 0.1
"""Displacements in Angstrom for which a first list has room: atoms of a perfect crystal mostly have
fewer neighbours than those of a warm one."""


class NeighbourList(NamedTuple):
    """Neighbours within R_cut + skin of N atoms, K places each; rows beyond R n are padding."""

    index: Array
    """(N, K) int32 among the N atoms; the atom itself in free places."""
    shifts: Array
    """(N, 3, K) int32, image of the neighbour in units of the cell vectors."""
    count: Array
    """(N,) places in use."""
    configuration: Array
    """(N,) replica; R for padding."""
    reference_positions: Array
    """(R, n, 3) where the list was made, Angstrom."""
    reference_cell: Array
    """(R, 3, 3) Angstrom."""
    inverse_cell: Array
    """(R, 3, 3) pseudo-inverse of the reference cell, 1/Angstrom."""
    cutoff: Array
    """() Angstrom."""
    skin: Array
    """() Angstrom."""

    @property
    def width(self) -> int:
        """K."""
        return self.index.shape[1]


def find_neighbours(
    system: System,
    cutoff: float,
    skin: float,
    *,
    chunk: int | None = None,
    width: int = 0,
    previous: NeighbourList | None = None,
    which: np.ndarray | None = None,
) -> NeighbourList:
    """The list of a system, on the host, as numpy arrays.

    Args:
        system: where the atoms are.
        cutoff: R_cut, Angstrom.
        skin: Angstrom.
        chunk: most atoms per block of an evaluation; the atoms are padded so that blocks fit.
        width: least number of places.
        previous: an older list of the same system; its shape is kept where it is wide enough.
        which: (R,) replicas to search again; the rows of the others are those of ``previous``.

    Raises:
        ValueError: if two atoms are at the same place.
    """
    n, n_replicas = system.n_atoms, system.n_replicas
    again = np.ones(n_replicas, bool) if which is None or previous is None else which
    positions, cell = np.array(system.positions, float), np.array(system.cell, float)
    if previous is not None:
        positions = np.where(again[:, None, None], positions, previous.reference_positions)
        cell = np.where(again[:, None, None], cell, previous.reference_cell)
    tables = {
        int(r): neighbour_table(_structure(system, positions[r], cell[r], f"replica {r}"),
                                cutoff + skin)
        for r in np.flatnonzero(again)
    }  # fmt: skip
    inverse = np.linalg.pinv(cell)
    largest = max((table.index.shape[1] for table in tables.values()), default=0)
    if previous is not None:
        width = max(width, previous.width)
    if width < largest:
        width = rounded_size(max(largest, _width_when_warm(system, positions, cell, cutoff + skin)))
    found = _empty(n, n_replicas, chunk, width)
    if previous is not None:
        old = previous.width
        found.index[:, :old], found.shifts[:, :, :old] = previous.index, previous.shifts
        found.count[:] = previous.count
    for r, table in tables.items():
        rows, used = slice(r * n, (r + 1) * n), table.index.shape[1]
        own = np.arange(r * n, (r + 1) * n, dtype=np.int32)[:, None]
        found.index[rows] = own
        found.shifts[rows] = 0
        found.index[rows, :used] = np.where(table.index >= 0, table.index + r * n, own)
        found.shifts[rows, :, :used] = image_shifts(table, positions[r], inverse[r])
        found.count[rows] = table.count
    return found._replace(
        reference_positions=positions,
        reference_cell=cell,
        inverse_cell=inverse,
        cutoff=np.float64(cutoff),
        skin=np.float64(skin),
    )


def graph_of(system: System, neighbours: NeighbourList) -> tuple[Graph, Array]:
    """The graph that a potential is evaluated on, and the shortest distance (R,) in Angstrom.

    Atoms come in the order of `System`, padding after them.
    """
    size = neighbours.index.shape[0]
    padding = size - system.n_replicas * system.n_atoms

    def rows(values: Array) -> Array:
        flat = values.reshape(-1, *values.shape[2:])
        return jnp.pad(flat, [(0, padding)] + [(0, 0)] * (flat.ndim - 1))

    positions = rows(system.positions)
    # Padding atoms have no neighbours, so that the clipped index does not matter.
    cell = system.cell[jnp.minimum(neighbours.configuration, system.n_replicas - 1)]
    vectors, of_atom = image_vectors(positions, cell, *neighbours[:3], neighbours.cutoff)
    shortest = jnp.sqrt(jnp.min(of_atom[: size - padding].reshape(system.n_replicas, -1), axis=1))
    graph = Graph(
        types=rows(jnp.broadcast_to(system.types, system.magmoms.shape)),
        magmoms=rows(system.magmoms),
        vectors=vectors,
        neighbours=neighbours.index,
        configuration=neighbours.configuration,
        volumes=volumes(system),
    )
    return graph, shortest


def used_skin(system: System, neighbours: NeighbourList) -> Array:
    """Share (R,) of the skin that the motion since the search has used; above 1, pairs may miss."""
    deformation = neighbours.inverse_cell @ (system.cell - neighbours.reference_cell)
    reference = neighbours.reference_positions
    displacement = system.positions - reference - reference @ deformation
    largest = jnp.sqrt(jnp.max(jnp.sum(displacement**2, axis=-1), axis=-1))
    return share_of_skin(largest, deformation, neighbours.cutoff, neighbours.skin)


def _width_when_warm(system: System, positions: np.ndarray, cell: np.ndarray, radius: float) -> int:
    moved = positions + np.random.default_rng(0).normal(0.0, RATTLE, positions.shape)
    warm = (
        neighbour_table(_structure(system, *replica, "replica"), radius)
        for replica in zip(moved, cell, strict=True)
    )
    return max(table.index.shape[1] for table in warm)


def _empty(n: int, n_replicas: int, chunk: int | None, width: int) -> NeighbourList:
    size = padded_count(n * n_replicas, chunk)
    configuration = np.full(size, n_replicas, np.int32)
    configuration[: n * n_replicas] = np.repeat(np.arange(n_replicas), n)
    nothing = np.zeros(0)
    return NeighbourList(
        index=np.tile(np.arange(size, dtype=np.int32)[:, None], (1, width)),
        shifts=np.zeros((size, 3, width), np.int32),
        count=np.zeros(size, np.int32),
        configuration=configuration,
        reference_positions=nothing,
        reference_cell=nothing,
        inverse_cell=nothing,
        cutoff=nothing,
        skin=nothing,
    )


def _structure(system: System, positions: np.ndarray, cell: np.ndarray, name: str) -> Structure:
    return Structure(
        cell=cell,
        periodic=np.asarray(system.periodic),
        positions=positions,
        types=np.asarray(system.types),
        magmoms=np.zeros(system.n_atoms),
        name=name,
    )
