"""The potential as an ASE calculator."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from mmtp_jax.interfaces.evaluation import StructureEvaluator
from mmtp_jax.io.convert import to_structure
from mmtp_jax.io.mtp import load
from mmtp_jax.potential.potential import Potential


class MMTPCalculator(Calculator):
    """ASE calculator of a magnetic moment tensor potential.

    Moments are ``atoms.get_initial_magnetic_moments()``. Atoms without any, whose own calculator
    (a DFT output that ASE has read, say) has moments among its results, are evaluated at those:
    ``calc.get_potential_energy(atoms)`` works on them as they are.

    ``results`` holds energy, free_energy, energies, forces, stress (3D-periodic cells), magmoms,
    magmom and magnetic_forces (n,) = -dE/dm in eV/mu_B. All derivatives are at fixed moments.

    Args:
        potential: a `Potential` or the path of an ``.mtp`` file.
        species: chemical symbols, for a file that does not name them.
        dtype: float64, float32 or ``"mixed"``, see `mmtp_jax.evaluate`.
    """

    implemented_properties: ClassVar[list[str]] = [
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
        "magmoms",
        "magmom",
        "magnetic_forces",
    ]

    def __init__(
        self,
        potential: Potential | str | Path,
        *,
        species: tuple[str, ...] | None = None,
        dtype: Any = np.float64,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(potential, Potential):
            potential = load(potential, species=species)
        self.potential = potential
        self._evaluator = StructureEvaluator(potential, dtype)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """All properties at once; the arguments are those of ASE."""
        borrowed = None if atoms is None else _moments_of_results(atoms)
        super().calculate(atoms, properties, system_changes)
        if borrowed is not None:
            self.atoms.set_initial_magnetic_moments(borrowed)
        structure = to_structure(
            self.atoms, self.potential.species, name=str(self.atoms.symbols), moments="initial"
        )
        result = self._evaluator(structure)
        self.results = {
            "energy": result.energy,
            "free_energy": result.energy,
            "energies": result.energies,
            "forces": result.forces,
            "magmoms": structure.magmoms,
            "magmom": float(structure.magmoms.sum()),
            "magnetic_forces": result.magnetic_forces,
        }
        if result.stress is not None:
            self.results["stress"] = result.stress

    def get_magnetic_forces(self, atoms: Atoms | None = None) -> np.ndarray:
        """T = -dE/dm (n,), eV/mu_B."""
        return self.get_property("magnetic_forces", atoms)


def _moments_of_results(atoms: Atoms) -> np.ndarray | None:
    """Moments of the atoms' own calculator, where the atoms have no initial ones."""
    if atoms.has("initial_magmoms"):
        return None
    results = getattr(atoms.calc, "results", None) or {}
    return results.get("magmoms")
