"""Neighbours of every atom within a cutoff, all periodic images included (host side).

Cells may be smaller than the cutoff, so an atom can be the neighbour of another, and of itself,
through several images.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from vesin import NeighborList

from mmtp_jax.structures.structure import Structure


class NeighbourTable(NamedTuple):
    """Neighbours as rows, one per atom, K of them; free places have the index -1."""

    index: np.ndarray
    """(n, K) index of the neighbour, -1 where there is none."""
    vectors: np.ndarray
    """(n, 3, K) from the atom to its neighbour, Angstrom."""
    count: np.ndarray
    """(n,) number of neighbours."""


def neighbour_table(structure: Structure, cutoff: float) -> NeighbourTable:
    """The neighbours of every atom within ``cutoff`` (Angstrom).

    Raises:
        ValueError: if a periodic direction has a cell vector of length zero, or atoms coincide.
    """
    n_atoms = len(structure)
    i, j, vector = _pairs(structure, cutoff)
    # Each pair is listed once; the reverse pair has the opposite vector.
    first = np.concatenate([i, j])
    count = np.bincount(first, minlength=n_atoms)
    order = np.argsort(first, kind="stable")
    row = first[order]
    place = np.arange(len(row)) - (np.cumsum(count) - count)[row]

    width = int(count.max(initial=0))
    index = np.full((n_atoms, width), -1, np.int32)
    vectors = np.zeros((n_atoms, 3, width))
    index[row, place] = np.concatenate([j, i])[order]
    vectors[row, :, place] = np.concatenate([vector, -vector])[order]
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
    search = NeighborList(cutoff=float(cutoff), full_list=False)
    i, j, vector = search.compute(
        points=np.ascontiguousarray(structure.positions, float),
        box=box,
        periodic=periodic.tolist(),
        quantities="ijD",
    )
    if len(vector) and not np.all(np.any(vector != 0.0, axis=1)):
        k = int(np.flatnonzero(~np.any(vector != 0.0, axis=1))[0])
        raise ValueError(
            f"{structure.name}: atoms {int(i[k])} and {int(j[k])} are at the same place; "
            "remove one of them"
        )
    return i.astype(np.int64), j.astype(np.int64), vector
