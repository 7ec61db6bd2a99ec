"""Neighbours of every atom within a cutoff, all periodic images included (host side).

Cells may be smaller than the cutoff, so an atom can be the neighbour of another, and of itself,
through several images.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from vesin import NeighborList

from mmtp_jax.structures.sanity import FREE_PAIRS, MOST_NEIGHBOURS, search_radius
from mmtp_jax.structures.structure import Structure

PADDING = 2.0
"""Distance of neighbours that are not there, in units of the cutoff."""


SAME_PLACE = 1e-6
"""Atoms closer than this, in Angstrom, are taken for one atom given twice."""
_CLOSE = 0.1
"""Where every atom has another within this distance, in Angstrom, lengths have another unit."""


class NeighbourTable(NamedTuple):
    """Neighbours as rows, one per atom, K of them; free places have the index -1."""

    index: np.ndarray
    """(n, K) index of the neighbour, -1 where there is none."""
    vectors: np.ndarray
    """(n, 3, K) from the atom to its neighbour, Angstrom; beyond the cutoff in free places."""
    count: np.ndarray
    """(n,) number of neighbours."""
    shifts: np.ndarray
    """(n, 3, K) int32, image of the neighbour in units of the cell vectors; zero in free places."""

    @property
    def lengths(self) -> np.ndarray:
        """Distances of all neighbours that there are, one after the other, Angstrom."""
        return np.linalg.norm(self.vectors, axis=1)[self.index >= 0]


def neighbour_table(structure: Structure, cutoff: float) -> NeighbourTable:
    """The neighbours of every atom within ``cutoff`` (Angstrom).

    Raises:
        ValueError: if a periodic direction has a cell vector of length zero, atoms coincide, or
            lengths cannot be in Angstrom (see `mmtp_jax.structures.sanity`).
    """
    n_atoms = len(structure)
    radius = checked_radius(structure, float(cutoff))
    try:
        i, j, shift, vector = _pairs(structure, float(cutoff), radius)
        count = np.bincount(i, minlength=n_atoms)
        width = int(count.max(initial=0))
        if n_atoms * width > FREE_PAIRS + MOST_NEIGHBOURS * n_atoms:
            raise ValueError(
                f"atom {int(count.argmax())} has {width} neighbours within {cutoff:.3g} Angstrom, "
                f"more than {MOST_NEIGHBOURS}; are cell and positions in Angstrom?"
            )
    except ValueError as error:
        raise ValueError(f"{structure.name}: {error}") from error
    used = np.arange(width) < count[:, None]
    index = np.full((n_atoms, width), -1, np.int32)
    vectors = np.zeros((n_atoms, 3, width))
    vectors[:, 0] = PADDING * cutoff
    shifts = np.zeros((n_atoms, 3, width), np.int32)
    # Pairs come sorted by their first atom.
    index[used] = j
    for x in range(3):
        vectors[:, x][used] = vector[:, x]
        shifts[:, x][used] = shift[:, x]
    return NeighbourTable(index, vectors, count, shifts)


def checked_radius(structure: Structure, cutoff: float) -> float:
    """`sanity.search_radius` of a structure, whose name is in the errors."""
    periodic = np.asarray(structure.periodic, bool)
    positions = np.asarray(structure.positions, float)
    try:
        return search_radius(structure.cell, periodic, positions, cutoff)
    except ValueError as error:
        raise ValueError(f"{structure.name}: {error}") from error


def _pairs(structure: Structure, cutoff: float, radius: float) -> tuple[np.ndarray, ...]:
    """Both atoms, image and vector of every pair."""
    periodic = np.asarray(structure.periodic, bool)
    positions = np.ascontiguousarray(structure.positions, float)
    search = NeighborList(cutoff=radius, full_list=True, sorted=True)
    i, j, shift, vector = search.compute(
        points=positions,
        box=np.where(periodic[:, None], structure.cell, 0.0),
        periodic=periodic.tolist(),
        quantities="ijSD",
    )
    square = np.einsum("ka,ka->k", vector, vector)
    if radius > cutoff:
        inside = square < cutoff**2
        i, j, shift, vector, square = (a[inside] for a in (i, j, shift, vector, square))
    if len(square) and square.min() < _CLOSE**2:
        check_distances(i, j, np.sqrt(square), len(positions))
    return i, j, shift, vector


def check_distances(i: np.ndarray, j: np.ndarray, distance: np.ndarray, n_atoms: int) -> None:
    """Whether distances (k,) of pairs can be those of atoms.

    Raises:
        ValueError: if two atoms are at the same place, or every atom has another within `_CLOSE`.
    """
    k = int(distance.argmin())
    nearest = np.full(n_atoms, np.inf)
    np.minimum.at(nearest, i, distance)
    if distance[k] > 0.0 and nearest.max() < _CLOSE:
        raise ValueError(
            f"every atom has another within {nearest.max():.3g} Angstrom; are cell and positions "
            "in Angstrom?"
        )
    if distance[k] < SAME_PLACE:
        raise ValueError(
            f"atoms {int(i[k])} and {int(j[k])} are at the same place; remove one of them"
        )
