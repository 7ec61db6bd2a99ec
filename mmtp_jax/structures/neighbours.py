"""Neighbours of every atom within a cutoff, all periodic images included (host side).

Cells may be smaller than the cutoff, so an atom can be the neighbour of another, and of itself,
through several images.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from vesin import NeighborList

from mmtp_jax.structures.structure import Structure

PADDING = 2.0
"""Distance of neighbours that are not there, in units of the cutoff."""


SAME_PLACE = 1e-6
"""Atoms closer than this, in Angstrom, are taken for one atom given twice."""


class NeighbourTable(NamedTuple):
    """Neighbours as rows, one per atom, K of them; free places have the index -1."""

    index: np.ndarray
    """(n, K) index of the neighbour, -1 where there is none."""
    vectors: np.ndarray
    """(n, 3, K) from the atom to its neighbour, Angstrom; beyond the cutoff in free places."""
    count: np.ndarray
    """(n,) number of neighbours."""

    @property
    def lengths(self) -> np.ndarray:
        """Distances of all neighbours that there are, one after the other, Angstrom."""
        return np.linalg.norm(self.vectors, axis=1)[self.index >= 0]


def neighbour_table(structure: Structure, cutoff: float) -> NeighbourTable:
    """The neighbours of every atom within ``cutoff`` (Angstrom).

    Raises:
        ValueError: if a periodic direction has a cell vector of length zero, or atoms coincide.
    """
    n_atoms = len(structure)
    i, j, vector = _pairs(structure, cutoff)
    count = np.bincount(i, minlength=n_atoms)
    width = int(count.max(initial=0))
    place = np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count)

    index = np.full((n_atoms, width), -1, np.int32)
    vectors = np.zeros((n_atoms, 3, width))
    vectors[:, 0] = PADDING * cutoff
    index[i, place] = j
    vectors[i, :, place] = vector
    return NeighbourTable(index, vectors, count)


def _pairs(structure: Structure, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    periodic = np.asarray(structure.periodic, bool)
    lengths = np.linalg.norm(structure.cell, axis=1)
    if np.any(periodic & (lengths == 0.0)):
        raise ValueError(
            f"{structure.name}: periodic along {periodic.tolist()} but the cell vectors have "
            f"lengths {lengths.tolist()} Angstrom; give a cell vector for each periodic direction"
        )
    box = np.where(periodic[:, None], structure.cell, 0.0)
    search = NeighborList(cutoff=float(cutoff), full_list=True, sorted=True)
    i, j, vector = search.compute(
        points=np.ascontiguousarray(structure.positions, float),
        box=box,
        periodic=periodic.tolist(),
        quantities="ijD",
    )
    square = np.einsum("ka,ka->k", vector, vector)
    if len(square) and square.min() < SAME_PLACE**2:
        k = int(square.argmin())
        raise ValueError(
            f"{structure.name}: atoms {int(i[k])} and {int(j[k])} are at the same place; "
            "remove one of them"
        )
    return i, j, vector
