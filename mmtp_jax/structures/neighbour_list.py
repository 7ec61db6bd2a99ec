"""Neighbours of moving atoms: a list with a skin that stays valid for many steps.

The list holds, per atom, the index of each neighbour and the image that it is in. The vector to it
follows from positions and cell inside jit, and stays exact when the cell changes:

    r_ij = r_j + S h - r_i        (rows S: integer shifts, h: cell)

Let F = 1 + h0^-1 (h - h0) be the deformation of the cell since the list was made, and u the
displacements of the atoms beside it. A pair that was left out, d0 > R_cut + skin, is now at

    d >= (1 - |F - 1|) (R_cut + skin) - 2 max |u|

with the Frobenius norm. While this is above R_cut, no pair is missed (`used_skin`). The search is
made on the host (`find_neighbours`) or on the device (`mmtp_jax.structures.list_maker`), with all
images, for cells of any size. Index conventions are those of `Graph`: C configurations, N atoms one
after the other, K neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential import sums
from mmtp_jax.potential.chunks import in_chunks
from mmtp_jax.potential.observables import Graph
from mmtp_jax.potential.sums import Sums, incoming_pairs, members_of
from mmtp_jax.structures.batch import adds_by_gathering, rounded_size
from mmtp_jax.structures.neighbours import PADDING, neighbour_table
from mmtp_jax.structures.structure import Structure

Array = Any

RATTLE = 0.1
"""Displacements in Angstrom for which `warm_width` has room: atoms of a perfect crystal mostly
have fewer neighbours than those of a warm one."""

ROOM = 0.25
"""Angstrom beyond cutoff and skin within which `roomy_width` has room for neighbours."""


class NeighbourList(NamedTuple):
    """Neighbours within R_cut + skin of N atoms, K places each."""

    index: Array
    """(N, K) int32 among the N atoms; the atom itself in free places."""
    shifts: Array
    """(N, 3, K) int32, image of the neighbour in units of the cell vectors."""
    count: Array
    """(N,) int32, places in use; 0 for padding."""
    configuration: Array
    """(N,) int32, the configuration of each atom; C for padding, which is at the end."""
    reference_positions: Array
    """(N, 3) where the list was made, Angstrom."""
    reference_cell: Array
    """(C, 3, 3) Angstrom."""
    inverse_cell: Array
    """(C, 3, 3) pseudo-inverse of the reference cell, 1/Angstrom."""
    cutoff: Array
    """() Angstrom."""
    skin: Array
    """() Angstrom."""
    sums: Sums | None = None
    """Where the terms of sums are; on devices that add up by gathering."""

    @property
    def width(self) -> int:
        """K."""
        return self.index.shape[-1]


Widest = Callable[[Sequence[Structure], float], int]
"""(structures, radius) -> most neighbours of an atom."""
Room = Callable[[int, Sequence[Structure], float, Widest], int]
"""(places needed, structures, radius, widest) -> places that a list is made with."""


def just_enough(needed: int, *_: Any) -> int:
    """Places for the neighbours that there are, of few values."""
    return rounded_size(needed)


def find_neighbours(
    structures: Sequence[Structure],
    cutoff: float,
    skin: float,
    *,
    n_atoms: int = 0,
    n_configurations: int = 0,
    width: int = 0,
    most: int = 0,
    room: Room = just_enough,
    previous: NeighbourList | None = None,
    which: np.ndarray | None = None,
) -> NeighbourList:
    """The list of structures, on the host, as numpy arrays.

    Args:
        structures: where the atoms are, of all configurations.
        cutoff: R_cut, Angstrom.
        skin: Angstrom.
        n_atoms: least number N; what is beyond the atoms is padding.
        n_configurations: least number C.
        width: least number K.
        most: least number of places for the atoms of a configuration, of `Sums.members`.
        room: how many places there are where more are needed, for neighbours to come.
        previous: an older list of the same structures; its places are kept where they suffice.
        which: bool for each structure: search again; the others keep what ``previous`` has.

    Raises:
        ValueError: if two atoms are at the same place.
    """
    again = np.ones(len(structures), bool) if previous is None or which is None else which
    tables = {k: neighbour_table(structures[k], cutoff + skin) for k in np.flatnonzero(again)}
    needed = max((table.index.shape[1] for table in tables.values()), default=0)
    if previous is not None:
        width = max(width, previous.width)
    if width < needed:
        width = room(needed, structures, cutoff + skin, _widest)
    shape = {"n_atoms": n_atoms, "n_configurations": n_configurations, "width": width}
    found = placed(structures, cutoff, skin, previous=previous, which=again, **shape)
    low = 0
    for k, structure in enumerate(structures):
        high = low + len(structure)
        if k in tables:
            table, rows, used = tables[k], slice(low, high), tables[k].index.shape[1]
            own = np.arange(low, high, dtype=np.int32)[:, None]
            found.index[rows], found.shifts[rows] = own, 0
            found.index[rows, :used] = np.where(table.index >= 0, table.index + low, own)
            found.shifts[rows, :, :used] = table.shifts
            found.count[rows] = table.count
        low = high
    return with_sums(found, most) if adds_by_gathering() else found


def with_sums(neighbours: NeighbourList, most: int = 0) -> NeighbourList:
    """A list on the host, with what devices need that add up by gathering."""
    n_atoms, n_conf = neighbours.index.shape[0], neighbours.reference_cell.shape[0]
    incoming = incoming_pairs(neighbours.index, neighbours.count, n_atoms, neighbours.width)
    members = members_of(neighbours.configuration, n_conf, most)
    return neighbours._replace(sums=Sums(incoming, members))


def _widest(structures: Sequence[Structure], radius: float) -> int:
    return max(neighbour_table(s, radius).index.shape[1] for s in structures)


def warm_width(needed: int, structures: Sequence[Structure], radius: float, widest: Widest) -> int:
    """Places for the neighbours that atoms have after displacements of `RATTLE`."""
    rng = np.random.default_rng(0)
    moved = [
        replace(s, positions=s.positions + rng.normal(0.0, RATTLE, s.positions.shape))
        for s in structures
    ]
    return rounded_size(max(needed, widest(moved, radius)))


def roomy_width(needed: int, structures: Sequence[Structure], radius: float, widest: Widest) -> int:
    """Places for neighbours up to `ROOM` further away; of few values, m 2^k with m of 4 to 7.

    Crystals that are alike so share a program.
    """
    n, step = widest(structures, radius + ROOM), 1
    while n > 7 * step:
        step *= 2
    return -(-max(n, needed) // step) * step


def longest_step(cutoff: float, skin: float) -> tuple[float, float]:
    """Displacement (Angstrom) and norm of a strain for which a fresh list is good together."""
    return 0.35 * skin, 0.25 * skin / (cutoff + skin)


def graph_at(
    neighbours: NeighbourList,
    types: Array,
    positions: Array,
    cell: Array,
    magmoms: Array,
    volumes: Array,
) -> tuple[Graph, Array]:
    """The graph that a potential is evaluated on, and the shortest distance (C,) in Angstrom.

    Args:
        neighbours: of N atoms.
        types: (N,) species.
        positions: (N, 3) Angstrom.
        cell: (C, 3, 3) Angstrom.
        magmoms: (N,) mu_B.
        volumes: (C,) Angstrom^3; infinite where there is none.
    """
    n_conf, owner = cell.shape[0], neighbours.configuration
    # Padding atoms have no neighbours, so that the clipped index does not matter.
    vectors, nearest = _vectors(positions, _at_atoms(cell, neighbours, owner), neighbours)
    graph = Graph(types, magmoms, vectors, neighbours.index, owner, volumes, neighbours.sums)
    return graph, jnp.sqrt(-sums.largest(-nearest, owner, n_conf, neighbours.sums))


def _at_atoms(values: Array, neighbours: NeighbourList, owner: Array) -> Array:
    """Rows (C, ...) of configurations at atoms (N, ...); any row at padding."""
    if neighbours.sums is None:
        return values[jnp.minimum(owner, values.shape[0] - 1)]
    return sums.at_atoms(values, owner, neighbours.sums)


def closest(neighbours: NeighbourList) -> Array:
    """(N,) distance to the nearest neighbour, Angstrom, where the list was made."""
    cell, owner = neighbours.reference_cell, neighbours.configuration
    of_atoms = cell[jnp.minimum(owner, cell.shape[0] - 1)]
    return jnp.sqrt(_vectors(neighbours.reference_positions, of_atoms, neighbours)[1])


def used_skin(neighbours: NeighbourList, positions: Array, cell: Array) -> Array:
    """Share (C,) of the skin that is used up since the search; above 1, pairs may be missing.

    Args:
        neighbours: the list.
        positions: (N, 3) Angstrom, or without the padding at the end.
        cell: (C, 3, 3) Angstrom.
    """
    size, n_conf = positions.shape[0], cell.shape[0]
    owner = neighbours.configuration[:size]
    reference = neighbours.reference_positions.reshape(-1, 3)[:size]
    deformation = neighbours.inverse_cell @ (cell - neighbours.reference_cell)
    of_atoms = _at_atoms(deformation, neighbours, owner)
    displacement = positions - reference - jnp.einsum("na,nab->nb", reference, of_atoms)
    square = jnp.sum(displacement**2, axis=1)
    # A position that is not finite must not vanish in the maximum.
    square = jnp.where(jnp.isnan(square), jnp.inf, square)
    # Configurations without atoms, which only pad, are -inf.
    furthest = sums.largest(square, owner, n_conf, neighbours.sums)
    largest = jnp.sqrt(jnp.maximum(furthest, 0.0))
    strain = jnp.sqrt(jnp.sum(deformation**2, axis=(-2, -1)))
    room = (1.0 - strain) * (neighbours.cutoff + neighbours.skin) - neighbours.cutoff
    # Nor must it count as one that has not moved.
    safe = (room >= 0.0) & (2.0 * largest <= room)
    # A skin of zero is good as long as nothing moves.
    return jnp.where(safe, 2.0 * largest / jnp.maximum(room, jnp.finfo(room.dtype).tiny), jnp.inf)


def reverse_places(neighbours: NeighbourList, chunk: int | None = None) -> Array:
    """Where the other direction of each pair is: (N, K) int32, `Sums.incoming` without a sort.

    Place K j + l is that of pair (j, l), whose neighbour is atom i in the image that is opposite
    to that of pair (i, k); -1 where there is no pair. Both directions are in every list.

    Args:
        neighbours: the list.
        chunk: most atoms per block of a loop.
    """
    index, shifts, count = map(jnp.asarray, neighbours[:3])
    width = index.shape[1]
    # Injective for images of one atom in one row, which are few cells apart; odd in the image.
    image = shifts[:, 0] + 1021 * (shifts[:, 1] + 1021 * shifts[:, 2])
    slots = jnp.arange(width, dtype=jnp.int32)
    index = jnp.where(slots < count[:, None], index, -1)

    def block(rows: tuple[Array, Array, Array]) -> Array:
        atom, neighbour, image_of = rows
        back = (index[neighbour] == atom[:, None, None]) & (
            image[neighbour] == -image_of[:, :, None]
        )
        place = width * neighbour + jnp.argmax(back, axis=2).astype(jnp.int32)
        return jnp.where(neighbour >= 0, place, -1)

    return in_chunks(block, (jnp.arange(len(index), dtype=jnp.int32), index, image), chunk)


def _vectors(positions: Array, cell: Array, neighbours: NeighbourList) -> tuple[Array, Array]:
    """(N, 3, K) to the neighbours, and the square (N,) of the shortest of each atom."""
    index, shifts, count = neighbours[:3]
    vectors = jnp.stack(
        [
            sums.at_neighbours(positions[:, x], index, neighbours.sums)
            - positions[:, x, None]
            + sum(shifts[:, k] * cell[:, k, x, None] for k in range(3))
            for x in range(3)
        ],
        axis=1,
    )
    real = jnp.arange(index.shape[1]) < count[:, None]
    vectors = jnp.where(real[:, None], vectors, PADDING * neighbours.cutoff)
    return vectors, jnp.min(jnp.sum(vectors * vectors, axis=1), axis=1, initial=jnp.inf)


def placed(
    structures: Sequence[Structure],
    cutoff: float,
    skin: float,
    *,
    n_atoms: int = 0,
    n_configurations: int = 0,
    width: int = 0,
    previous: NeighbourList | None = None,
    which: Sequence[bool] | None = None,
) -> NeighbourList:
    """A list with the places of structures, and the neighbours that ``previous`` has, or none.

    Arguments are those of `find_neighbours`; numpy arrays to write into.
    """
    n_atoms = max(sum(map(len, structures)), n_atoms)
    n_conf = max(len(structures), n_configurations)
    found = NeighbourList(
        index=np.tile(np.arange(n_atoms, dtype=np.int32)[:, None], (1, width)),
        shifts=np.zeros((n_atoms, 3, width), np.int32),
        count=np.zeros(n_atoms, np.int32),
        configuration=np.full(n_atoms, n_conf, np.int32),
        reference_positions=np.zeros((n_atoms, 3)),
        reference_cell=np.tile(np.eye(3), (n_conf, 1, 1)),
        inverse_cell=np.tile(np.eye(3), (n_conf, 1, 1)),
        cutoff=np.float64(cutoff),
        skin=np.float64(skin),
    )
    if previous is not None:
        old = previous.width
        found.index[:, :old], found.shifts[:, :, :old] = previous.index, previous.shifts
        for new, kept in zip(found[2:7], previous[2:7], strict=True):
            new[:] = kept
    low = 0
    for k, structure in enumerate(structures):
        high = low + len(structure)
        if which is None or which[k]:
            found.configuration[low:high] = k
            found.reference_positions[low:high] = structure.positions
            found.reference_cell[k] = structure.cell
            found.inverse_cell[k] = np.linalg.pinv(np.asarray(structure.cell, float))
        low = high
    return found
