"""Which sites of a primitive cell the atoms of a supercell sit on, also where they vibrate.

Cells are rows of vectors; the supercell is ``matrix @ cell`` with integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from mmtp_jax.properties.crystal import by_spglib

NEAR = 0.25
"""Of the distance to the nearest site: farther from its site an atom is on none."""

STRAIN = 0.06
"""By which a supercell may differ from a repeated cell, as by thermal expansion."""

_SYMPREC = 0.05
_FEW, _MANY = 4, 200
"""Atoms from which a translation is tried."""


@dataclass(frozen=True, eq=False)
class Sites:
    """Atoms of a supercell on the sites of a primitive cell."""

    cell: np.ndarray
    """(3, 3) primitive cell, Angstrom, as the supercell strains it."""
    matrix: np.ndarray
    """(3, 3) integers: the supercell in primitive cells."""
    basis: np.ndarray
    """(b, 3) sites in the primitive cell, in its vectors."""
    numbers: np.ndarray
    """(b,) atomic numbers there."""
    site: np.ndarray
    """(n,) site of each atom."""
    lattice: np.ndarray
    """(n, 3) integers: the primitive cell that each atom is in."""

    @property
    def n_cells(self) -> int:
        """Primitive cells in the supercell."""
        return round(abs(np.linalg.det(self.matrix)))

    @property
    def positions(self) -> np.ndarray:
        """(n, 3) of the sites of the atoms, in vectors of the primitive cell."""
        return self.basis[self.site] + self.lattice

    @property
    def scaled(self) -> np.ndarray:
        """(n, 3) of the same in vectors of the supercell."""
        return self.positions @ np.linalg.inv(self.matrix)

    def key(self, site: np.ndarray, lattice: np.ndarray) -> np.ndarray:
        """(n,) number of each place, the same for images in other supercells."""
        size = self.n_cells
        within = np.mod(lattice @ np.rint(np.linalg.inv(self.matrix) * size).astype(int), size)
        return ((site * size + within[:, 0]) * size + within[:, 1]) * size + within[:, 2]


def find_sites(atoms: Atoms, scaled: np.ndarray, primitive: Atoms | None = None) -> Sites:
    """The sites of atoms.

    Args:
        atoms: the supercell; its positions are not looked at.
        scaled: (n, 3) mean positions in vectors of the supercell.
        primitive: the cell that it repeats; by default the smallest that it does, moments not
            looked at, with the vectors that spglib chooses.

    Raises:
        ValueError: if the atoms are on no sites that repeat.
    """
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise ValueError(
            f"waves need a supercell that is periodic in three directions, got pbc {atoms.pbc}"
        )
    cell = atoms.cell.array
    if primitive is None:
        return _find(atoms, scaled)
    if not primitive.pbc.all() or primitive.cell.rank < 3:
        raise ValueError("the cell must be periodic in three directions; set pbc")
    basis = primitive.get_scaled_positions(wrap=False)
    matrix = repeats(cell, primitive.cell.array)
    if matrix is None:
        raise ValueError(
            f"the supercell does not repeat the cell: its vectors are "
            f"{_shown(cell @ np.linalg.inv(primitive.cell.array))} of those of the cell, no whole "
            "numbers; give the cell in the orientation of the supercell"
        )
    n_cells = round(abs(np.linalg.det(matrix)))
    if n_cells * len(basis) != len(atoms):
        raise ValueError(
            f"the supercell does not repeat the cell: it has {len(atoms)} atoms, {n_cells} cells "
            f"of {len(basis)} have {n_cells * len(basis)}"
        )
    found = _placed(cell, matrix, scaled, basis, primitive.numbers)
    if found is None:
        raise ValueError(
            "the supercell does not repeat the cell: its atoms are not at the places that the "
            f"{n_cells} cells have them, on average over the trajectory"
        )
    return found


def _find(atoms: Atoms, scaled: np.ndarray) -> Sites:
    """With the smallest cell that the supercell repeats."""
    cell = atoms.cell.array
    matrix = repeats(cell, _translations(cell, scaled, atoms.numbers))
    if matrix is None:
        matrix = np.eye(3, dtype=int)
    rough = _folded(cell, matrix, scaled, atoms.numbers)
    found = by_spglib(
        "standardize_cell", rough, to_primitive=True, no_idealize=True, symprec=_SYMPREC
    )
    if found is not None and (other := repeats(cell, found[0])) is not None:
        placed = _placed(cell, other, scaled, found[1], found[2])
        if placed is not None:
            return placed
    placed = _placed(cell, matrix, scaled, *rough[1:])
    if placed is None:
        raise ValueError(
            "the atoms are on no sites that repeat; give the cell that the supercell repeats"
        )
    return placed


def repeats(cell: np.ndarray, primitive: np.ndarray) -> np.ndarray | None:
    """(3, 3) integers by which a cell repeats another, but for a strain, or None."""
    matrix = np.rint(cell @ np.linalg.inv(primitive))
    if round(np.linalg.det(matrix)) == 0:
        return None
    strain = np.linalg.inv(primitive) @ np.linalg.inv(matrix) @ cell - np.eye(3)
    return matrix.astype(int) if np.abs(strain).max() < STRAIN else None


def _placed(
    cell: np.ndarray, matrix: np.ndarray, scaled: np.ndarray, basis: np.ndarray, numbers: np.ndarray
) -> Sites | None:
    """Each atom on a site of its own, from wherever the cells begin; None if there is no way."""
    own = np.linalg.inv(matrix) @ cell
    places = scaled @ matrix
    room = NEAR * _nearest(own, basis)
    for start in basis:
        shift = places[0] - start
        for _ in range(2):
            away = places[:, None] - shift - basis
            lattice = np.rint(away)
            away = away - lattice
            lengths = np.linalg.norm(away @ own, axis=-1)
            site = np.argmin(lengths, axis=1)
            at = (np.arange(len(places)), site)
            shift = shift + away[at].mean(axis=0)
        found = Sites(own, matrix, basis, np.asarray(numbers), site, lattice[at].astype(int))
        taken = found.key(found.site, found.lattice)
        if lengths[at].max() < room and len(np.unique(taken)) == len(places):
            return found
    return None


def _nearest(cell: np.ndarray, basis: np.ndarray) -> float:
    """The least distance between two sites, Angstrom."""
    steps = np.array(list(np.ndindex(5, 5, 5))) - 2
    away = (basis[:, None, None] - basis[None, :, None] + steps).reshape(-1, 3) @ cell
    lengths = np.linalg.norm(away, axis=1)
    return float(lengths[lengths > 1e-6].min())


def _translations(cell: np.ndarray, scaled: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """(3, 3) the shortest independent vectors that map the atoms to each other.

    In three dimensions such are a basis of all that do.
    """
    kinds, counts = np.unique(numbers, return_counts=True)
    same = np.flatnonzero(numbers == kinds[np.argmin(counts)])
    away, lengths = find_mic((scaled - scaled[same[0]]) @ cell, cell)
    nearest = np.sort(lengths)[1] if len(lengths) > 1 else np.linalg.norm(cell, axis=1).min()
    room = NEAR * nearest
    candidates = np.concatenate([away[same[1:]], cell])
    candidates = candidates[np.argsort(np.linalg.norm(candidates, axis=1), kind="stable")]
    few, many = (_sample(len(scaled), n) for n in (_FEW, _MANY))
    inverse = np.linalg.inv(cell)
    chosen: list[np.ndarray] = []
    for vector in candidates:
        trial = np.array([*chosen, vector])
        volume = np.sqrt(max(np.linalg.det(trial @ trial.T), 0.0))
        if volume < 0.1 * np.prod(np.linalg.norm(trial, axis=1)):
            continue
        if _mapped(vector @ inverse, scaled, numbers, few, cell, room) is None:
            continue
        # Of many atoms, so that what they vibrate averages out.
        away = _mapped(vector @ inverse, scaled, numbers, many, cell, room)
        if away is not None:
            chosen.append(vector + away)
            if len(chosen) == 3:
                break
    return np.array(chosen)


def _sample(n: int, most: int) -> np.ndarray:
    return np.linspace(0, n - 1, min(most, n)).round().astype(int)


def _mapped(
    step: np.ndarray,
    scaled: np.ndarray,
    numbers: np.ndarray,
    sample: np.ndarray,
    cell: np.ndarray,
    room: float,
) -> np.ndarray | None:
    """Mean vector (Angstrom) by which a step from atoms misses others of their species.

    None where there is none near. The step is in vectors of the supercell.
    """
    missed = []
    for i in sample:
        away = scaled[numbers == numbers[i]] - scaled[i] - step
        away = (away - np.rint(away)) @ cell
        nearest = away[np.argmin(np.einsum("ix,ix->i", away, away))]
        if np.linalg.norm(nearest) > room:
            return None
        missed.append(nearest)
    return np.mean(missed, axis=0)


def _folded(
    cell: np.ndarray, matrix: np.ndarray, scaled: np.ndarray, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A primitive cell with the mean positions of the atoms that it stands for."""
    own = np.linalg.inv(matrix) @ cell
    places = scaled @ matrix
    left, basis, kinds = np.arange(len(places)), [], []
    n_cells = round(abs(np.linalg.det(matrix)))
    while len(left):
        away = places[left] - places[left[0]]
        away -= np.rint(away)
        lengths = np.linalg.norm(away @ own, axis=1)
        lengths[numbers[left] != numbers[left[0]]] = np.inf
        mates = np.argsort(lengths, kind="stable")[:n_cells]
        basis.append(places[left[0]] + away[mates].mean(axis=0))
        kinds.append(numbers[left[0]])
        left = np.delete(left, mates)
    return own, np.mod(basis, 1.0), np.array(kinds)


def _shown(matrix: np.ndarray) -> str:
    rows = (", ".join(f"{value:.3g}" for value in row) for row in matrix)
    return f"({'; '.join(rows)})"
