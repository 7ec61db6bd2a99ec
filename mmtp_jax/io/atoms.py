"""Atoms that carry what was found for them: results on a calculator, magnetic forces with stamp."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mmtp_jax.io.schema import SOURCE, remove_magnetic_forces, set_magnetic_forces, set_moments
from mmtp_jax.structures.structure import Structure

if TYPE_CHECKING:
    # Labellers, which pass here, start without JAX.
    from mmtp_jax.structures.results import Result


def to_atoms(
    structure: Structure,
    result: Result | None,
    species: Sequence[str],
    like: Atoms | None = None,
) -> Atoms:
    """A structure as atoms, with its moments as initial ones.

    Args:
        structure: positions, cell and moments.
        result: what a potential says there; None for no results.
        species: chemical symbols of the types.
        like: atoms that it was made from, from which it has everything else, in a copy.
    """
    if like is None:
        atoms = Atoms(
            [species[k] for k in structure.types],
            positions=structure.positions,
            cell=structure.cell,
            pbc=structure.periodic,
        )
    else:
        atoms = named_like(like.copy(), like)
        # Cell vectors of directions that are not periodic are no part of a structure.
        atoms.set_cell(np.where(structure.periodic[:, None], structure.cell, like.cell.array))
        atoms.set_positions(structure.positions, apply_constraint=False)
        remove_magnetic_forces(atoms)
    set_moments(atoms, structure.magmoms, structure.vectors)
    if result is None:
        return atoms
    return with_results(atoms, {**found_in(result), "magmoms": structure.magmoms},
                        result.magnetic_forces)  # fmt: skip


class OfDetails:
    """A result of a configuration: its atoms, and its ``details`` as arrays, without ASE."""

    def __repr__(self) -> str:
        """The numbers and words of the details; no arrays."""
        named = {
            name: getattr(self, name)
            for name, value in vars(type(self)).items()
            if isinstance(value, property)
        }
        shown = [f"{k}={v!r}" for k, v in named.items() if not isinstance(v, np.ndarray)]
        return f"{type(self).__name__}({', '.join(shown)})"


def of_details(path: str, doc: str) -> Any:
    """A property that is one of the ``details``; its path has dots."""
    return property(attrgetter(f"details.{path}"), doc=doc)


def found_in(result: Result) -> dict[str, Any]:
    """What ASE knows a name for."""
    names = ("energy", "energies", "forces", "stress")
    return {name: getattr(result, name) for name in names}


def with_results(
    atoms: Atoms, results: Mapping[str, Any], magnetic_forces: np.ndarray | None = None
) -> Atoms:
    """The same atoms, with results by ASE's names; those that are None are left out.

    Args:
        atoms: they are changed.
        results: energy (eV), forces (eV/Angstrom), stress (ASE order and sign, eV/Angstrom^3),
            magmoms (mu_B), ...
        magnetic_forces: (n,) eV/mu_B, of these results.
    """
    known = {name: value for name, value in results.items() if value is not None}
    atoms.calc = SinglePointCalculator(atoms, **known)
    if magnetic_forces is not None:
        set_magnetic_forces(atoms, magnetic_forces)
    return atoms


def bare_atoms(atoms: Atoms, magmoms: np.ndarray) -> Atoms:
    """Only elements, positions, cell and periodicity of atoms, with other initial moments."""
    return Atoms(
        atoms.symbols,
        positions=atoms.positions,
        cell=atoms.cell,
        pbc=atoms.pbc,
        magmoms=magmoms,
    )


def named_like(copy: Atoms, atoms: Atoms) -> Atoms:
    """The copy, which messages call what they call the atoms."""
    if hasattr(atoms, SOURCE):
        setattr(copy, SOURCE, getattr(atoms, SOURCE))
    return copy
