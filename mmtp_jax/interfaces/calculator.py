"""The potential as an ASE calculator."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from mmtp_jax.interfaces.equilibration import moments_of_results
from mmtp_jax.interfaces.evaluation import StructureEvaluator
from mmtp_jax.io.convert import to_structure
from mmtp_jax.io.mtp import load
from mmtp_jax.potential.potential import Potential
from mmtp_jax.simulation.moments.structures import (
    EquilibratedStructure,
    EquilibrationWarning,
    MomentOptions,
    StructureEquilibrator,
)
from mmtp_jax.structures.structure import Structure

if TYPE_CHECKING:
    from mmtp_jax.active.active_set import ActiveSet


class MMTPCalculator(Calculator):
    """ASE calculator of a magnetic moment tensor potential.

    Moments are ``atoms.get_initial_magnetic_moments()``. Atoms without any, whose own calculator
    (a DFT output that ASE has read, say) has moments among its results, are evaluated at those:
    ``calc.get_potential_energy(atoms)`` works on them as they are.

    ``results`` holds energy, free_energy, energies, forces, stress (3D-periodic cells), magmoms,
    magmom and magnetic_forces (n,) = -dE/dm in eV/mu_B. All derivatives are at fixed moments.

    With ``equilibrate`` the moments minimise the energy at each geometry, ``magmoms`` are these,
    and the derivatives at fixed moments are the adiabatic ones. The first search starts from the
    initial moments. As long as these and the species stay the same, each further one starts from
    the moments of the call before: during dynamics or a relaxation the moments follow the atoms.
    ``equilibration`` says how the last search ended.

    Args:
        potential: a `Potential` or the path of an ``.mtp`` file.
        species: chemical symbols, for a file that does not name them.
        dtype: float64, float32 or ``"mixed"``, see `mmtp_jax.evaluate`.
        equilibrate: minimise the energy over the moments.
        tolerance: largest magnetic force of equilibrated moments, eV/mu_B.
        allow_flips: equilibrated moments may change their sign.
        active_set: of this potential; ``results["grade"]`` is then the extrapolation grade of the
            configuration (Kotykhov 2025, Eq. 8) at its moments.

    Raises:
        ValueError: if the active set belongs to another potential.

    Warns:
        EquilibrationWarning: if moments could not be equilibrated.
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
        equilibrate: bool = False,
        tolerance: float = MomentOptions.tolerance,
        allow_flips: bool = False,
        active_set: ActiveSet | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(potential, Potential):
            potential = load(potential, species=species)
        self.potential = potential
        self.active_set = active_set
        if active_set is not None:
            _check_active_set(active_set, potential)
            self.implemented_properties = [*self.implemented_properties, "grade"]
        self.equilibration: EquilibratedStructure | None = None
        """How the last search of equilibrated moments ended; None without ``equilibrate``."""
        if equilibrate:
            options = MomentOptions(tolerance=tolerance, allow_flips=allow_flips)
            self._evaluator = FollowedMoments(potential, options, dtype)
        else:
            self._evaluator = StructureEvaluator(potential, dtype)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """All properties at once; the arguments are those of ASE."""
        borrowed = None if atoms is None else moments_of_results(atoms)
        super().calculate(atoms, properties, system_changes)
        if borrowed is not None:
            self.atoms.set_initial_magnetic_moments(borrowed)
        structure = to_structure(
            self.atoms, self.potential.species, name=str(self.atoms.symbols), moments="initial"
        )
        magmoms = structure.magmoms
        if isinstance(self._evaluator, FollowedMoments):
            self.equilibration = self._evaluator(structure)
            result, magmoms = self.equilibration.result, self.equilibration.magmoms
        else:
            result = self._evaluator(structure)
        self.results = {
            "energy": result.energy,
            "free_energy": result.energy,
            "energies": result.energies,
            "forces": result.forces,
            "magmoms": magmoms,
            "magmom": float(magmoms.sum()),
            "magnetic_forces": result.magnetic_forces,
        }
        if result.stress is not None:
            self.results["stress"] = result.stress
        if self.active_set is not None:
            at_moments = replace(structure, magmoms=magmoms)
            self.results["grade"] = float(self.active_set.grade([at_moments])[0])

    def get_magnetic_forces(self, atoms: Atoms | None = None) -> np.ndarray:
        """T = -dE/dm (n,), eV/mu_B."""
        return self.get_property("magnetic_forces", atoms)


def _check_active_set(active_set: ActiveSet, potential: Potential) -> None:
    same = all(
        np.array_equal(one, other)
        for one, other in zip(
            jax.tree.leaves(active_set.potential), jax.tree.leaves(potential), strict=True
        )
    )
    if not same:
        raise ValueError(
            "the active set belongs to another potential than the calculator; make one with "
            "ActiveSet.from_configurations(potential, training_configurations)"
        )


class FollowedMoments:
    """Equilibrated moments of one structure after the other, as its atoms move."""

    def __init__(self, potential: Potential, options: MomentOptions, dtype: Any) -> None:
        self._equilibrator = StructureEquilibrator(potential, options, dtype)
        self._initial: tuple[np.ndarray, np.ndarray] | None = None
        self._last: np.ndarray | None = None

    def __call__(self, structure: Structure) -> EquilibratedStructure:
        """Equilibrate; start from the last moments if types and initial moments are the same."""
        initial = (structure.types, structure.magmoms)
        same = self._initial is not None and all(map(np.array_equal, initial, self._initial))
        start = structure if not same else replace(structure, magmoms=self._last)
        found = self._equilibrator(start)
        if not found.converged:
            warnings.warn(f"{structure.name}: {found.message}", EquilibrationWarning, stacklevel=5)
        self._initial, self._last = initial, found.magmoms
        return found
