"""A crystal and its supercell, as arrays of this package and as phonopy knows them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from mmtp_jax.structures.structure import Structure

if TYPE_CHECKING:
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

SYMPREC = 1e-4
"""Angstrom within which atoms are equivalent; moments are rounded to as many mu_B."""


class MissingPackageError(ImportError, ValueError):
    """An optional package is not installed."""


def import_phonopy() -> Any:
    """The package phonopy.

    Raises:
        MissingPackageError: if it is not installed.
    """
    try:
        import phonopy
    except ImportError as error:
        raise MissingPackageError(
            "phonons need phonopy >= 4 and spglib, which are not installed: pip install "
            "'phonopy>=4' spglib"
        ) from error
    return phonopy


def by_spglib(name: str, *arguments: Any, **options: Any) -> Any:
    """What a function of spglib returns; None where it fails.

    Raises:
        MissingPackageError: if spglib is not installed.
    """
    try:
        import spglib
    except ImportError as error:
        raise MissingPackageError(
            "the symmetry of crystals needs spglib, which is not installed: pip install spglib"
        ) from error
    with warnings.catch_warnings():
        # It tells of errors that its next release will raise.
        warnings.simplefilter("ignore", DeprecationWarning)
        return getattr(spglib, name)(*arguments, **options)


@dataclass(frozen=True, eq=False)
class Crystal:
    """A unit cell whose moments define a magnetic state."""

    structure: Structure
    symbols: tuple[str, ...]
    """(n,) chemical symbols."""
    masses: np.ndarray
    """(n,) amu."""

    def with_structure(self, structure: Structure) -> Crystal:
        """The same atoms elsewhere."""
        return replace(self, structure=structure)


def crystal_of(atoms: Atoms) -> Crystal:
    """Symbols and masses of atoms; the structure is to be set."""
    return Crystal(None, tuple(atoms.symbols), atoms.get_masses())


def scaled_crystal(crystal: Crystal, factor: float, name: str | None = None) -> Crystal:
    """All lengths times a factor; ``name`` is what messages call it."""
    unit = crystal.structure
    return crystal.with_structure(
        replace(
            unit,
            cell=unit.cell * factor,
            positions=unit.positions * factor,
            name=name or unit.name,
        )
    )


def phonopy_of(crystal: Crystal, supercell: np.ndarray, magnetic: bool = True) -> Phonopy:
    """A phonopy object without force constants.

    Args:
        crystal: the unit cell.
        supercell: (3, 3) integers, rows of multiples of the cell vectors as phonopy has them.
        magnetic: moments lower the symmetry; else they are not looked at.

    Raises:
        ValueError: if the cell is not periodic in three directions.
    """
    structure = crystal.structure
    if structure.volume is None:
        raise ValueError(
            f"{structure.name}: phonons need a cell that is periodic in three directions; set pbc"
        )
    phonopy = import_phonopy()
    moments = np.round(structure.magmoms, round(-np.log10(SYMPREC)))
    cell = _phonopy_atoms(crystal, moments if magnetic and moments.any() else None)
    with warnings.catch_warnings():
        # An antiferromagnet's primitive cell is that of its moments: as it should be.
        warnings.filterwarnings("ignore", message=".*Type-IV magnetic space group.*")
        warnings.filterwarnings("ignore", message="primitive_matrix defaulted to")
        warnings.filterwarnings("ignore", message=".*Point group symmetries.*")
        return phonopy.Phonopy(
            cell,
            supercell_matrix=supercell,
            primitive_matrix="auto",
            symprec=SYMPREC,
            log_level=0,
        )


def _phonopy_atoms(crystal: Crystal, moments: np.ndarray | None) -> PhonopyAtoms:
    from phonopy.structure.atoms import PhonopyAtoms

    structure = crystal.structure
    return PhonopyAtoms(
        symbols=list(crystal.symbols),
        masses=crystal.masses,
        cell=structure.cell,
        positions=structure.positions,
        magnetic_moments=moments,
    )


def unit_atoms(phonopy: Phonopy) -> np.ndarray:
    """(N,) atom of the unit cell that each atom of the supercell is an image of."""
    cell = phonopy.supercell
    return np.array([cell.u2u_map[place] for place in cell.s2u_map])


def supercell_structure(phonopy: Phonopy, unit: Structure) -> Structure:
    """The supercell in phonopy's order of atoms, with the moments of the unit cell."""
    of = unit_atoms(phonopy)
    return Structure(
        cell=np.array(phonopy.supercell.cell),
        periodic=np.ones(3, bool),
        positions=np.array(phonopy.supercell.positions),
        types=unit.types[of],
        magmoms=unit.magmoms[of],
        name=unit.name,
    )


def supercell_matrix(supercell: Any, cell: np.ndarray, cutoff: float) -> np.ndarray:
    """(3, 3) integers.

    Args:
        supercell: one, three or 3 x 3 integers; None for the smallest multiples whose faces are
            two cutoffs apart.
        cell: (3, 3) Angstrom.
        cutoff: of the potential, Angstrom.

    Raises:
        ValueError: if it is nothing of these, or has no volume.
    """
    if supercell is None:
        heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        return np.diag(np.ceil(2.0 * cutoff / heights - 1e-6).astype(int))
    found = np.asarray(supercell)
    if found.dtype.kind in "iu" and found.size in (1, 3, 9):
        matrix = found.reshape(3, 3) if found.size == 9 else np.diag(np.ones(3, int) * found)
        if round(np.linalg.det(matrix)) > 0 and (found.size == 9 or np.all(found > 0)):
            return matrix
    raise ValueError(
        f"a supercell is one, three or 3 x 3 integers with a positive determinant, got {supercell}"
    )
