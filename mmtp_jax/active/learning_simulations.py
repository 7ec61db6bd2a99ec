"""Simulations that explore for active learning: what the loop runs, and the two kinds that exist.

Anything with a name and a method ``run`` takes part in the loop (`LearningSimulation`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mmtp_jax.active.magnetic_states import with_state
from mmtp_jax.active.preselection import Preselection
from mmtp_jax.language import counted
from mmtp_jax.options import also
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import with_double_precision
from mmtp_jax.simulation.dynamics.integrate import Outcome
from mmtp_jax.simulation.dynamics.molecular_dynamics import simulate
from mmtp_jax.simulation.dynamics.options import DynamicsOptions
from mmtp_jax.simulation.moments.options import MomentOptions
from mmtp_jax.simulation.moments.steps import Status
from mmtp_jax.simulation.moments.structures import equilibrate_structures
from mmtp_jax.simulation.system import system_of, thermal_velocities
from mmtp_jax.structures.non_magnetic import for_potential
from mmtp_jax.structures.structure import Structure

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class Happened:
    """How a simulation ended."""

    completed: bool
    """Did all of it run to its end?"""
    message: str
    """In words; where it did not, why."""


class LearningSimulation(Protocol):
    """A simulation that a loop of active learning runs in every iteration."""

    name: str
    """Names its folder."""

    def run(self, potential: Potential, watch: Preselection, iteration: int) -> Happened:
        """Run from the start, and show all that is evaluated to the watch.

        A simulation that breaks says so in its result. Random numbers are a function of
        ``iteration`` alone, so that an iteration that was cut off can be done again.
        """
        ...


@dataclass(frozen=True, eq=False)
class EquilibrationRun:
    """Equilibration of the moments of given structures; make it with `of`."""

    name: str
    structures: Sequence[Structure]
    states: Sequence[str] = ("given",)
    """Magnetic states that each structure starts in, see `magnetic_states`."""
    magmoms: Sequence[float] | None = None
    """(S,) sizes of the moments of the states, mu_B; None takes those of the structures."""
    options: MomentOptions = field(default_factory=MomentOptions)
    seed: int = 0

    @classmethod
    def of(
        cls,
        name: str,
        atoms_list: Sequence[Atoms],
        species: Sequence[str],
        *,
        states: Sequence[str] = ("given",),
        magmoms: Mapping[str, float] | None = None,
        seed: int = 0,
        **options: object,
    ) -> EquilibrationRun:
        """From ASE atoms with initial moments.

        Args:
            name: of the simulation.
            atoms_list: the structures.
            species: of the potential, in its order.
            states: magnetic states that each of them starts in.
            magmoms: sizes of the moments by species, mu_B; by default those of the atoms.
            seed: of random signs.
            **options: fields of `MomentOptions`.
        """
        structures = _structures(atoms_list, species, name, magmoms)
        sizes = _sizes(magmoms, species)
        return cls(name, structures, tuple(states), sizes, MomentOptions(**options), seed)

    def run(self, potential: Potential, watch: Preselection, iteration: int) -> Happened:
        """Equilibrate all structures in all states."""
        rng = np.random.default_rng([self.seed, iteration])
        start = [
            with_state(structure, state, self.magmoms, rng)
            for structure in self.structures
            for state in self.states
        ]
        start = for_potential(potential, start)
        found = equilibrate_structures(potential, start, self.options, watch=watch)
        by_watch = sum(f.stopped for f in found)
        held = sum(f.status in (Status.HELD_AT_BOUND, Status.OUTSIDE) for f in found)
        unconverged = sum(f.status in (Status.STEP_LIMIT, Status.NO_DESCENT) for f in found)
        reasons = [
            f"{number} {why}"
            for number, why in (
                (by_watch, "stopped at a grade above the upper threshold"),
                (held, "with moments at or beyond the end of the interval that is covered"),
                (unconverged, "not converged"),
            )
            if number
        ]
        message = f"{counted(len(found), 'configuration')} equilibrated"
        return Happened(not reasons, ", ".join([message, *reasons]))


@dataclass(frozen=True, eq=False)
class DynamicsRun:
    """Molecular dynamics of each structure at all volumes and temperatures, in all states.

    All combinations run together as replicas. Make it with `of`.
    """

    name: str
    structures: Sequence[Structure]
    masses: Sequence[np.ndarray]
    """(n,) of each structure, amu."""
    n_steps: int
    volumes: Sequence[float] = (1.0,)
    """Factors of the volume."""
    temperatures: Sequence[float] = (300.0,)
    """K."""
    states: Sequence[str] = ("given",)
    """Magnetic states at the start, see `magnetic_states`."""
    magmoms: Sequence[float] | None = None
    """(S,) sizes of the moments of the states, mu_B; None takes those of the structures."""
    strain: float = 0.0
    """Largest element of a random strain of the cell, new in each iteration."""
    options: DynamicsOptions = field(default_factory=lambda: DynamicsOptions(ensemble="nvt"))
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.structures:
            raise ValueError(f"{self.name}: there is no structure to start from")
        if self.n_steps < 1:
            raise ValueError(f"{self.name}: the number of steps must be positive")
        if not all(v > 0.0 for v in self.volumes) or not 0.0 <= self.strain < 0.5:
            raise ValueError(
                f"{self.name}: volumes are factors above 0, and the strain is from 0 to 0.5; got "
                f"{list(self.volumes)} and {self.strain}"
            )

    @classmethod
    @also(steps="n_steps", temperatures="temperatures_K")
    def of(
        cls,
        name: str,
        atoms_list: Sequence[Atoms],
        species: Sequence[str],
        n_steps: int,
        *,
        volumes: Sequence[float] = (1.0,),
        temperatures_K: Sequence[float] = (300.0,),
        states: Sequence[str] = ("given",),
        magmoms: Mapping[str, float] | None = None,
        strain: float = 0.0,
        seed: int = 0,
        **options: object,
    ) -> DynamicsRun:
        """From ASE atoms with initial moments.

        Args:
            name: of the simulation.
            atoms_list: the structures.
            species: of the potential, in its order.
            n_steps: of each replica.
            volumes: factors of the volume.
            temperatures_K: temperatures.
            states: magnetic states at the start.
            magmoms: sizes of the moments by species, mu_B; by default those of the atoms.
            strain: largest element of a random strain.
            seed: of velocities, noise, strains and random signs.
            **options: fields of `DynamicsOptions`; the ensemble is ``"nvt"`` if not given.
        """
        structures = _structures(atoms_list, species, name, magmoms)
        return cls(
            name=name,
            structures=structures,
            masses=[atoms.get_masses() for atoms in atoms_list],
            n_steps=n_steps,
            volumes=tuple(volumes),
            temperatures=tuple(temperatures_K),
            states=tuple(states),
            magmoms=_sizes(magmoms, species),
            strain=strain,
            options=DynamicsOptions(**{"ensemble": "nvt", **options}),
            seed=seed,
        )

    @with_double_precision
    def run(self, potential: Potential, watch: Preselection, iteration: int) -> Happened:
        """Run all replicas, those of each structure together."""
        watch.check(potential)
        rng = np.random.default_rng([self.seed, iteration])
        outcomes: Counter[Outcome] = Counter()
        n_unconverged = 0
        for k, (structure, masses) in enumerate(zip(self.structures, self.masses, strict=True)):
            replicas, temperatures = self._replicas(structure, rng)
            system = system_of(for_potential(potential, replicas), masses)
            first = 1_000_003 * (iteration + 1) + 1009 * k + self.seed
            seeds = [first + r for r in range(len(replicas))]
            system = system._replace(velocities=thermal_velocities(system, temperatures, seeds))
            options = replace(self.options, temperature_K=temperatures, seed=first)
            # One row is enough: nothing of the time series is used.
            options = replace(options, log_every=self.n_steps)
            result = simulate(potential, system, self.n_steps, options, watch=watch)
            if result.interrupted:
                raise KeyboardInterrupt
            outcomes.update(result.outcomes)
            n_unconverged += int(np.sum(result.n_unconverged))
        n_replicas = sum(outcomes.values())
        reasons = [
            f"{n} {_WHY.get(outcome, f'stopped ({outcome.name.lower()})')}"
            for outcome, n in sorted(outcomes.items())
            if outcome != Outcome.RUNNING
        ]
        done = f"{n_replicas} replicas of {self.n_steps} steps"
        if n_unconverged:
            done += f" ({n_unconverged} equilibrations of moments did not converge)"
        return Happened(not reasons, ", ".join([done, *reasons]))

    def _replicas(
        self, structure: Structure, rng: np.random.Generator
    ) -> tuple[list[Structure], np.ndarray]:
        """The replicas and their temperatures."""
        replicas, temperatures = [], []
        for volume in self.volumes:
            for temperature in self.temperatures:
                for state in self.states:
                    start = with_state(structure, state, self.magmoms, rng)
                    change = rng.uniform(-self.strain, self.strain, (3, 3))
                    change = np.eye(3) + (change + change.T) / 2
                    # The strain changes the shape; the volume is what was asked for.
                    change *= np.cbrt(volume / np.linalg.det(change))
                    replicas.append(
                        replace(start, cell=start.cell @ change, positions=start.positions @ change)
                    )
                    temperatures.append(temperature)
        return replicas, np.array(temperatures, float)


_WHY = {
    Outcome.WATCH: "stopped at a grade above the upper threshold",
    Outcome.TOO_CLOSE: "stopped with two atoms closer than the potential covers",
    Outcome.MOMENT: "stopped with a moment at the end of the interval that the potential covers",
    Outcome.BLEW_UP: "blew up",
}


def _structures(
    atoms_list: Sequence[Atoms],
    species: Sequence[str],
    name: str,
    magmoms: Mapping[str, float] | None,
) -> list[Structure]:
    from mmtp_jax.io.convert import to_structures

    if not atoms_list:
        raise ValueError(f"{name}: there is no structure to start from")
    structures = to_structures(atoms_list, species, vectors=True)
    unknown = [s.name for s in structures if not s.moments_known]
    if unknown and magmoms is None:
        raise ValueError(
            f"simulation {name!r}: {len(unknown)} of {len(structures)} structures to start from "
            f"have no magnetic moments (first {unknown[0]}); give them moments, or sizes of the "
            "moments of the species as magmoms"
        )
    return structures


def _sizes(magmoms: Mapping[str, float] | None, species: Sequence[str]) -> np.ndarray | None:
    if magmoms is None:
        return None
    unknown = sorted(set(magmoms) - set(species))
    if unknown:
        raise ValueError(
            f"magmoms are given for {', '.join(unknown)}, but the potential is for "
            f"{', '.join(species)}"
        )
    return np.array([float(magmoms.get(symbol, 0.0)) for symbol in species])
