"""The potential as an ASE calculator."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from mmtp_jax.active.beside import find_beside
from mmtp_jax.interfaces.equilibration import moments_of_results
from mmtp_jax.interfaces.evaluation import CommitteeEvaluator, StructureEvaluator
from mmtp_jax.interfaces.forked import calculate_elsewhere
from mmtp_jax.interfaces.outside import GRADE, Outside
from mmtp_jax.io.convert import structures_for
from mmtp_jax.io.mtp import load
from mmtp_jax.io.schema import MAGNETIC_FORCES
from mmtp_jax.potential.committee import mean_potential
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.vector_moments import are_vectors
from mmtp_jax.precision import is_fork
from mmtp_jax.simulation.moments.collapse import EquilibrationWarning
from mmtp_jax.simulation.moments.steps import Status
from mmtp_jax.simulation.moments.structures import (
    EquilibratedStructure,
    MomentOptions,
    StructureEquilibrator,
)
from mmtp_jax.structures.domain import DomainReport, warn_of_canted
from mmtp_jax.structures.results import CommitteeResult
from mmtp_jax.structures.structure import Structure
from mmtp_jax.warn import warn

if TYPE_CHECKING:
    from mmtp_jax.active.active_set import ActiveSet

logger = logging.getLogger(__name__)

SPREADS = ("energy_std", "forces_std", "stress_std", "magnetic_forces_std")


class MMTPCalculator(Calculator):
    """ASE calculator of a magnetic moment tensor potential.

    Moments are ``atoms.get_initial_magnetic_moments()``. Atoms without any, whose own calculator
    (a DFT output that ASE has read, say) has moments among its results, are evaluated at those:
    ``calc.get_potential_energy(atoms)`` works on them as they are. Moments (n, 3) are vectors, and
    so are magnetic forces then; the potential must be even.

    ``results`` holds energy, free_energy, energies, forces, stress (3D-periodic cells), magmoms
    and magmom: names that ASE knows, so that ``SinglePointCalculator(atoms, **calc.results)``
    keeps them. ``calc.magnetic_forces``, or ``calc.get_property("magnetic_forces", atoms)``, is
    -dE/dm (n,) in eV/mu_B. All derivatives are at fixed moments.

    With ``equilibrate`` the moments minimise the energy at each geometry, ``magmoms`` are these,
    and the derivatives at fixed moments are the adiabatic ones. Each search starts from the
    initial moments of the atoms, so that their energy does not depend on what was calculated
    before. With ``follow`` it starts from the moments of the call before, as long as these were
    equilibrated and did not vanish and the initial moments and the species stay the same: moments
    that flip or jump during dynamics or a relaxation stay where they are, and searches are shorter.
    ``equilibration`` says how the last search ended.

    Several potentials are a committee: results are means over its members, and ``calc.energy_std``
    (eV), ``forces_std``, ``stress_std`` and ``magnetic_forces_std`` their standard deviations, also
    by ``calc.get_property("energy_std", atoms)``. Moments with ``equilibrate`` minimise the mean
    energy (`mmtp_jax.mean_potential`).

    Copies, also those that were pickled for another process, give the same numbers. In a process
    that was forked after JAX had started, where JAX would hang, a helper calculates; spawned
    processes do without.

    Args:
        potential: a `Potential`, the path of an ``.mtp`` file, or the name of a potential that
            comes with the program; or several.
        species: chemical symbols, for a file that does not name them.
        dtype: float64, float32 or ``"mixed"``, see `mmtp_jax.evaluate`.
        equilibrate: minimise the energy over the moments.
        follow: start the equilibration from the last moments.
        tolerance: largest magnetic force of equilibrated moments, eV/mu_B.
        allow_flips: equilibrated moments may change their sign.
        directions: of equilibrated vectors, ``"free"`` or ``"fixed"``, see `mmtp_jax.equilibrate`.
        active_set: of this potential; ``calc.grade``, or ``calc.get_property("grade", atoms)``, is
            then the extrapolation grade of the configuration (Kotykhov 2025, Eq. 8) at its moments,
            which is calculated when it is asked for. For a file, that beside it is taken
            (``pot.active.npz``) if it belongs to the potential.
        grade_every: with an active set, the first calculation and every so many later is graded,
            and a grade far from the training set warned of; 0 for none. For 54 atoms a grade costs
            as much as some 30 calculations.

    Raises:
        ValueError: if the active set belongs to another potential, ``follow`` is asked for
            without ``equilibrate``, or the potentials of a committee do not fit together.

    Warns:
        ExtrapolationWarning: if distances or moments lie outside of the potential's intervals, or
            the grade is above 10: in the first, tenth, hundredth calculation and so on that has
            such. ``calc.outside`` counts them all.
        EquilibrationWarning: if moments could not be equilibrated, or have vanished.
    """

    implemented_properties: ClassVar[list[str]] = [
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
        "magmoms",
        "magmom",
        MAGNETIC_FORCES,
    ]

    def __init__(
        self,
        potential: Potential | str | Path | Sequence[Potential | str | Path],
        *,
        species: tuple[str, ...] | None = None,
        dtype: Any = np.float64,
        equilibrate: bool = False,
        follow: bool = False,
        tolerance: float = MomentOptions.tolerance,
        allow_flips: bool = False,
        directions: str = MomentOptions.directions,
        active_set: ActiveSet | None = None,
        grade_every: int = 1000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if follow and not equilibrate:
            raise ValueError("follow=True is about equilibrated moments; give equilibrate=True too")
        self._committee: CommitteeEvaluator | None = None
        if isinstance(potential, (Potential, str, Path)):
            given, potential = potential, _loaded(potential, species)
            if active_set is None and not isinstance(given, Potential):
                active_set, why_not = find_beside(given, potential)
                if why_not:
                    logger.warning("%s", why_not)
        else:
            members = [_loaded(member, species) for member in potential]
            self._committee = CommitteeEvaluator(members, dtype)
            self.implemented_properties = [*self.implemented_properties, *SPREADS]
            potential = mean_potential(members) if equilibrate else members[0]
            if active_set is not None:
                raise ValueError(
                    "an active set belongs to one potential; drop it, for the spread over a "
                    "committee says where its members extrapolate"
                )
        self.potential = potential
        """Of a committee, the mean of its members with ``equilibrate``, or else the first."""
        self.active_set = active_set
        if active_set is not None:
            active_set.check(potential, "the calculator")
            self.implemented_properties = [*self.implemented_properties, GRADE]
        self.grade_every = grade_every
        self.outside = Outside()
        """What was met outside of the range of the potential."""
        self.equilibration: EquilibratedStructure | None = None
        """How the last search of equilibrated moments ended; None without ``equilibrate``."""
        self._told_of_canted = False
        self._own_results: dict[str, Any] = {}
        self._evaluated: Structure | None = None
        """What the grade is of."""
        self._grades_at_once = False
        if equilibrate:
            options = MomentOptions(
                tolerance=tolerance, allow_flips=allow_flips, directions=directions
            )
            self._evaluator = EquilibratedMoments(potential, options, dtype, follow)
        else:
            self._evaluator = self._committee or StructureEvaluator(potential, dtype)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """All properties at once; the arguments are those of ASE."""
        if is_fork():
            self._grades_at_once = True
            vars(self).update(calculate_elsewhere(self, self.atoms if atoms is None else atoms))
            return
        self.results, self._own_results = {}, {}
        super().calculate(None if atoms is None else self._with_moments(atoms))
        (structure,) = structures_for(
            self.potential,
            [self.atoms],
            [str(self.atoms.symbols)],
            moments="initial",
            vectors=True,
        )
        self._told_of_canted = self._told_of_canted or warn_of_canted(self.potential, [structure])
        self.outside.begin()
        tell, magmoms = self.outside.look, structure.magmoms
        if isinstance(self._evaluator, EquilibratedMoments):
            self.equilibration = self._evaluator(structure, tell)
            result, magmoms = self.equilibration.result, self.equilibration.magmoms
            if self._committee is not None:
                result = self._committee(replace(structure, magmoms=magmoms), tell)
        else:
            result = self._evaluator(structure, tell)
        own = {MAGNETIC_FORCES: result.magnetic_forces}
        if isinstance(result, CommitteeResult):
            own |= {name: getattr(result, name) for name in SPREADS}
        self._evaluated = replace(structure, magmoms=magmoms)
        results = {
            "energy": result.energy,
            "free_energy": result.energy,
            "energies": result.energies,
            "forces": result.forces,
            "magmoms": magmoms,
            "magmom": magmoms.sum(axis=0) if are_vectors(magmoms) else float(magmoms.sum()),
        }
        if result.stress is not None:
            results["stress"] = result.stress
        self.results, self._own_results = results, own
        if self._grades_at_once and self.active_set is not None:
            self._own(GRADE)
        if self._is_graded:
            self.outside.grade(structure.name, self._own(GRADE), self.active_set)

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation, borrowed moments included.

        Nothing is tolerated: to compare bits is ten times as fast as to compare numbers.
        """
        if self.atoms is None:
            return list(all_changes)
        before, now = _state_of(self.atoms), _state_of(self._with_moments(atoms))
        return [name for name in all_changes if not np.array_equal(before[name], now[name])]

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """A property by its name, those that ASE does not know included."""
        own = (MAGNETIC_FORCES, GRADE, *SPREADS)
        if name not in own or name not in self.implemented_properties:
            return super().get_property(name, atoms, allow_calculation)
        # Calculated together with the energy, or not at all.
        if super().get_property("energy", atoms, allow_calculation) is None:
            return None
        value = self._own(name)
        return value.copy() if isinstance(value, np.ndarray) else value

    def get_magnetic_forces(self, atoms: Atoms | None = None) -> np.ndarray:
        """T = -dE/dm (n,), eV/mu_B."""
        return self.get_property(MAGNETIC_FORCES, atoms)

    @property
    def magnetic_forces(self) -> np.ndarray:
        """T = -dE/dm (n,) of the last calculation, eV/mu_B."""
        return self._of_last(MAGNETIC_FORCES)

    @property
    def grade(self) -> float:
        """Extrapolation grade of the last calculation, with an active set."""
        return self._of_last(GRADE)

    @property
    def energy_std(self) -> float:
        """Standard deviation over the committee in the last calculation, eV."""
        return self._of_last("energy_std")

    @property
    def forces_std(self) -> np.ndarray:
        """(n, 3) standard deviations over the committee in the last calculation, eV/Angstrom."""
        return self._of_last("forces_std")

    @property
    def stress_std(self) -> np.ndarray | None:
        """(6,) standard deviations over the committee in the last calculation, eV/Angstrom^3."""
        return self._of_last("stress_std")

    @property
    def magnetic_forces_std(self) -> np.ndarray:
        """(n,) standard deviations over the committee in the last calculation, eV/mu_B."""
        return self._of_last("magnetic_forces_std")

    def _own(self, name: str) -> Any:
        """A result that ASE does not know; the grade is calculated when it is first asked for."""
        if name == GRADE and GRADE not in self._own_results:
            self._own_results[GRADE] = float(self.active_set.grade([self._evaluated])[0])
        return self._own_results[name]

    @property
    def _is_graded(self) -> bool:
        """Whether the running calculation is one of those whose grades are looked at."""
        if self.active_set is None or not self.grade_every:
            return False
        return (self.outside.n_calculations - 1) % self.grade_every == 0

    def _of_last(self, name: str) -> Any:
        if not self.results and name in self.implemented_properties:
            raise PropertyNotImplementedError(f"there is no {name} before the first calculation")
        return self.get_property(name)

    def _with_moments(self, atoms: Atoms) -> Atoms:
        """The atoms, or a copy of them with the moments that they borrow from other results."""
        borrowed = None if atoms.calc is self else moments_of_results(atoms)
        if borrowed is None:
            return atoms
        copy = atoms.copy()
        copy.set_initial_magnetic_moments(borrowed)
        return copy


def _state_of(atoms: Atoms) -> dict[str, np.ndarray]:
    """What ASE asks a calculator to notice changes of."""
    return {
        "positions": atoms.positions,
        "numbers": atoms.numbers,
        "cell": atoms.cell.array,
        "pbc": atoms.pbc,
        "initial_charges": atoms.get_initial_charges(),
        "initial_magmoms": atoms.get_initial_magnetic_moments(),
    }


def _loaded(potential: Potential | str | Path, species: tuple[str, ...] | None) -> Potential:
    return potential if isinstance(potential, Potential) else load(potential, species=species)


class EquilibratedMoments:
    """Equilibrated moments of one structure after the other."""

    def __init__(
        self, potential: Potential, options: MomentOptions, dtype: Any, follow: bool
    ) -> None:
        self.follow = follow
        self._equilibrator = StructureEquilibrator(potential, options, dtype)
        self._initial: tuple[np.ndarray, np.ndarray] | None = None
        self._last: EquilibratedStructure | None = None

    def __call__(
        self, structure: Structure, tell: Callable[[DomainReport], None]
    ) -> EquilibratedStructure:
        """Equilibrate, from the moments of the structure or those of the call before."""
        initial = (structure.types, structure.magmoms)
        if self._goes_on(initial):
            found = self._equilibrator(replace(structure, magmoms=self._last.magmoms), tell)
        else:
            self._equilibrator.forget()
            found = self._equilibrator(structure, tell)
        # Moments may also vanish in steps, so what counts is where they came from.
        told = replace(found, start=structure)
        if not found.converged or told.collapse:
            warn(f"{structure.name}: {told.message}", EquilibrationWarning)
        self._initial, self._last = initial, told
        return found

    def _goes_on(self, initial: tuple[np.ndarray, np.ndarray]) -> bool:
        """Whether the last moments are a start for these types and initial moments."""
        if not self.follow or self._initial is None:
            return False
        same = all(map(np.array_equal, initial, self._initial))
        found = self._last.status in (Status.CONVERGED, Status.OUTSIDE)
        return same and found and not self._last.collapse
