"""One configuration as plain arrays, with the labels that it carries."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

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
        """Numbers in a label that it has: 1 energy, 3 n forces, 6 stresses, a dE/dm per moment."""
        # A symmetric matrix has six independent numbers.
        return {"stress": 6, "magnetic_forces": self.n_magnetic}.get(
            kind, int(np.size(getattr(self, kind)))
        )

    @property
    def volume(self) -> float | None:
        """Angstrom^3, or None where the cell does not span space."""
        volume = abs(float(np.linalg.det(self.cell)))
        return volume if volume > 0.0 and bool(np.all(self.periodic)) else None
