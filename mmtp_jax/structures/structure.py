"""One configuration as plain arrays, with the labels that it carries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mmtp_jax.potential.vector_moments import are_vectors

CANTED_FROM = 1e-3
"""mu_B across the largest moment from which moments are canted; below, files have rounded them."""

LABELS = ("energy", "forces", "stress", "magnetic_forces")
"""The kinds of label, in the order of every report."""


@dataclass(frozen=True, eq=False)
class Structure:
    """A configuration: what the energy depends on, and what is known about it.

    A label that is None is missing: it takes no part in a fit or in an error.
    """

    cell: np.ndarray
    """(3, 3) Angstrom, rows are the cell vectors; zero rows where not periodic."""
    periodic: np.ndarray
    """(3,) bool."""
    positions: np.ndarray
    """(n, 3) Angstrom."""
    types: np.ndarray
    """(n,) int32, index of each atom's species in the potential's species."""
    magmoms: np.ndarray
    """(n,) collinear moments, or (n, 3) vectors, mu_B; zeros where they are unknown."""
    energy: float | None = None
    """eV, of the whole configuration."""
    forces: np.ndarray | None = None
    """(n, 3) eV/Angstrom."""
    stress: np.ndarray | None = None
    """(3, 3) eV/Angstrom^3, sign of (1/V) dE/d(strain)."""
    magnetic_forces: np.ndarray | None = None
    """(n,), or (n, 3) for vectors: T = -dE/dm, eV/mu_B."""
    transverse: bool = False
    """Of magnetic forces that are vectors only the part across each moment is known, as where a
    calculation constrains directions alone."""
    magnetic: np.ndarray | None = None
    """(n,) bool, which atoms have moments in the potential that this is for; None for all.

    Magnetic forces of the others are no labels (`mmtp_jax.structures.non_magnetic`).
    """
    weight: float = 1.0
    """Factor of this configuration in the loss."""
    making: str = ""
    """How the labels were made (`mmtp_jax.structures.making`); empty where nobody knows."""
    kmesh: tuple[int, int, int] | None = None
    """Mesh of k-points of the labels, where it is known."""
    shift_counts: np.ndarray | None = None
    """(m,) atoms that each constant of the energies counts for (`mmtp_jax.fitting.shifts`)."""
    moments_known: bool = True
    """Whether the moments were given; zeros that were given are known."""
    name: str = field(default="structure")
    """What messages call it, e.g. 'train.cfg, configuration 3'."""

    def __len__(self) -> int:
        return len(self.types)

    @property
    def vectors(self) -> bool:
        """Whether the moments are vectors."""
        return are_vectors(self.magmoms)

    @property
    def lengths(self) -> np.ndarray:
        """(n,) absolute values or lengths of the moments, mu_B."""
        return lengths(self.magmoms)

    @property
    def canted(self) -> bool:
        """Whether moments are vectors along more than one axis."""
        if not self.vectors or not self.magmoms.any():
            return False
        longest = self.magmoms[int(np.argmax(self.lengths))]
        across = np.cross(self.magmoms, longest / np.linalg.norm(longest))
        return bool(np.any(np.abs(across) > CANTED_FROM))

    @property
    def n_magnetic(self) -> int:
        """Atoms that have moments."""
        return len(self) if self.magnetic is None else int(np.sum(self.magnetic))

    @property
    def magnetic_labels(self) -> np.ndarray | None:
        """Magnetic forces of the atoms that have moments, eV/mu_B."""
        if self.magnetic is None or self.magnetic_forces is None:
            return self.magnetic_forces
        return self.magnetic_forces[self.magnetic]

    def count(self, kind: str) -> int:
        """Numbers in a label that it has: 1 energy, 3 n forces, 6 stresses, a dE/dm per moment.

        Of a vector dE/dm has three, two where it is only known across the moment.
        """
        of_moment = (3 - self.transverse) if self.vectors else 1
        # A symmetric matrix has six independent numbers.
        return {"stress": 6, "magnetic_forces": of_moment * self.n_magnetic}.get(
            kind, int(np.size(getattr(self, kind)))
        )

    @property
    def volume(self) -> float | None:
        """Angstrom^3, or None where the cell does not span space."""
        volume = abs(float(np.linalg.det(self.cell)))
        return volume if volume > 0.0 and bool(np.all(self.periodic)) else None


def repeated(structure: Structure, counts: Sequence[int]) -> Structure:
    """The cell so many times along each of its vectors, without labels."""
    shifts = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), axis=-1).reshape(-1, 3)
    n, magnetic = len(shifts), structure.magnetic
    positions = structure.positions + (shifts @ structure.cell)[:, None]
    return replace(
        structure,
        cell=structure.cell * np.array(counts)[:, None],
        positions=positions.reshape(-1, 3),
        types=np.tile(structure.types, n),
        magmoms=np.tile(structure.magmoms, (n, 1) if structure.vectors else n),
        magnetic=None if magnetic is None else np.tile(magnetic, n),
        **dict.fromkeys(LABELS),
    )


def lengths(of_atoms: np.ndarray) -> np.ndarray:
    """Absolute values of numbers (n,), or lengths of vectors (n, 3)."""
    of_atoms = np.asarray(of_atoms)
    return np.linalg.norm(of_atoms, axis=1) if are_vectors(of_atoms) else np.abs(of_atoms)


def n_reversed(start: np.ndarray, end: np.ndarray) -> int:
    """Moments (n,) that have changed their sign, or vectors (n, 3) by more than 90 degrees."""
    products = np.asarray(start) * np.asarray(end)
    return int(np.sum(products.reshape(len(products), -1).sum(axis=1) < 0.0))


def kinds_of_moments(structures: Sequence[Structure]) -> list[list[int]]:
    """Indices of those whose moments are collinear, and of those whose moments are vectors.

    They go through different programs; a kind that none has is left out.
    """
    kinds = [[k for k, s in enumerate(structures) if s.vectors == of] for of in (False, True)]
    return [kind for kind in kinds if kind]


def of_one_kind(structures: Sequence[Structure]) -> tuple[list[Structure], int]:
    """The structures with moments of one kind, and how many were collinear among vectors.

    Where some have vectors, collinear moments and their magnetic forces become vectors along z:
    without spin-orbit coupling the energy depends on no direction in space.
    """
    if not any(structure.vectors for structure in structures):
        return list(structures), 0
    return [along_z(s) for s in structures], sum(not s.vectors for s in structures)


def along_z(structure: Structure) -> Structure:
    """The structure with collinear moments, and their magnetic forces, as vectors along z."""
    if structure.vectors:
        return structure
    forces = structure.magnetic_forces
    return replace(
        structure,
        magmoms=_on_z(structure.magmoms),
        magnetic_forces=None if forces is None else _on_z(forces),
    )


def _on_z(values: np.ndarray) -> np.ndarray:
    return np.stack([np.zeros_like(values), np.zeros_like(values), values], axis=1)
