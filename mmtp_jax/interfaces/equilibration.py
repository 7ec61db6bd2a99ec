"""Equilibration of moments on ASE atoms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mmtp_jax.io.atoms import OfDetails, named_like, of_details, to_atoms
from mmtp_jax.io.convert import given_configurations, structures_for, to_structures
from mmtp_jax.io.schema import SOURCE, set_moments
from mmtp_jax.language import argument, named
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.vector_moments import are_vectors
from mmtp_jax.simulation.moments.structures import (
    EquilibratedStructure,
    MomentOptions,
    equilibrate_structures,
)
from mmtp_jax.structures.domain import warn_of_canted
from mmtp_jax.structures.non_magnetic import for_potential
from mmtp_jax.structures.structure import Structure, n_reversed


@dataclass(frozen=True, eq=False, repr=False)
class Equilibration(OfDetails):
    """Equilibrated moments of one configuration, and how they were found."""

    atoms: Atoms
    """A copy with these moments as initial ones and with energy, forces, stress, magmoms and
    magnetic forces as results."""
    details: EquilibratedStructure
    """The same as arrays, without ASE."""

    magmoms = of_details("magmoms", "(n,) or (n, 3) mu_B.")
    start_magmoms = of_details("start_magmoms", "(n,) or (n, 3) mu_B.")
    energy = of_details("result.energy", "eV.")
    residual = of_details(
        "residual",
        "Largest |T_i| of the moments that are not held at a bound, eV/mu_B; at fixed directions, "
        "of the components along these.",
    )
    n_steps = of_details("n_steps", "Evaluations; 1 where the start was converged.")
    status = of_details("status", "A `Status`.")
    converged = of_details(
        "converged", "Whether all |T_i| are below the tolerance, inside the interval."
    )
    message = of_details("message", "How it ended, in words.")

    @property
    def n_flipped(self) -> int:
        """Moments that have changed their sign, or turned by more than 90 degrees."""
        return n_reversed(self.start_magmoms, self.magmoms)


def equilibrate(
    potential: Potential,
    atoms: Atoms | Sequence[Atoms],
    *,
    tolerance: float = MomentOptions.tolerance,
    allow_flips: bool = False,
    directions: str = MomentOptions.directions,
    start: Mapping[str, float] | None = None,
    scale: float = 1.0,
    max_steps: int = MomentOptions.max_steps,
    max_change: float = MomentOptions.max_change,
    dtype: Any = np.float64,
    callback: Callable[[int], None] | None = None,
) -> Equilibration | list[Equilibration]:
    """Moments that minimise the energy at fixed geometry (Kotykhov 2025, Sec. II.A).

    The search is local: it lowers the energy from the start, keeps each moment inside the interval
    that the potential covers and, unless ``allow_flips``, on its side of zero. Moments that are all
    zero are a stationary point of a potential that is even in them: they stay, and count as
    converged; a warning and ``message`` tell where moments vanished, or where that is no minimum.
    Many configurations go together; call it once for all of them. The confinement of a potential
    may hold moments a little beyond the interval: such a minimum does not count as converged.

    Moments that are vectors, (n, 3), also turn: their energy is minimised over lengths and
    directions, and the lengths stay below M_max. With ``directions="fixed"`` only lengths change,
    and the forces that vanish are those along the directions.

    Args:
        potential: the potential.
        atoms: one configuration or several; they are not changed. The start is their initial
            moments, or where there are none the moments of their results.
        tolerance: largest magnetic force |T_i| at the end, eV/mu_B. In float64 5e-6 (Kotykhov
            2024, Sec. 2.4) costs a few evaluations more than 1e-3, and 1e-8 is reached; in
            float32 about 1e-3 is.
        allow_flips: moments may change their sign; vectors that are free to turn do anyway.
        directions: ``"free"`` or ``"fixed"``, of vectors.
        start: moment of each species to start from, mu_B, in place of those of the atoms.
        scale: factor of the moments of the start.
        max_steps: most evaluations.
        max_change: longest change of a moment in one step, mu_B.
        dtype: float64, float32 or ``"mixed"``.
        callback: called with the number of configurations done after each batch.

    Returns:
        An `Equilibration`, or a list of them if ``atoms`` is a list.

    Raises:
        ValueError: if a configuration has no moments to start from, an unknown element, vectors as
            moments where the potential is not even, or values that are not finite.

    Example:
        >>> found = mmtp.equilibrate(pot, atoms)
        >>> found.converged, found.magmoms, found.atoms.get_potential_energy()
    """
    options = MomentOptions(tolerance, max_steps, max_change, allow_flips, directions)
    atoms_list = given_configurations(atoms, potential.species)
    structures = start_structures(
        potential, atoms_list, start, scale, takes_start=True, vectors=True
    )
    found = equilibrate_structures(potential, structures, options, dtype, callback)
    results = [
        equilibration_of(a, f, potential.species) for a, f in zip(atoms_list, found, strict=True)
    ]
    return results[0] if isinstance(atoms, Atoms) else results


def start_structures(
    potential: Potential,
    atoms_list: Sequence[Atoms],
    start: Mapping[str, float] | None = None,
    scale: float = 1.0,
    *,
    takes_start: bool = False,
    vectors: bool = False,
) -> list[Structure]:
    """Structures with the moments from which an equilibration starts; see `equilibrate`.

    ``takes_start`` says that the caller has an argument ``start`` of its own, for messages. Without
    ``vectors`` moments must be collinear.
    """
    if not np.isfinite(scale):
        raise ValueError(f"scale of the moments must be a finite number, got {scale}")
    if start is not None:
        still = dict.fromkeys(potential.non_magnetic, 0.0)
        of_species = _moments_of_species({**still, **start}, potential.species)
        structures = to_structures(_bare(atoms_list), potential.species)
        for structure in structures:
            missing = {potential.species[t] for t in structure.types if np.isnan(of_species[t])}
            if missing:
                raise ValueError(
                    f"{structure.name}: start gives no moment for {', '.join(sorted(missing))}; "
                    "name every species of the configurations"
                )
        with_start = [
            replace(s, magmoms=scale * of_species[s.types], moments_known=True) for s in structures
        ]
        return for_potential(potential, with_start)
    with_moments = []
    for k, atoms in enumerate(atoms_list, 1):
        borrowed = moments_of_results(atoms)
        needs = not set(atoms.symbols) <= set(potential.non_magnetic)
        if borrowed is None and needs and not atoms.has("initial_magmoms"):
            name = getattr(atoms, SOURCE, f"configuration {k}")
            given = argument("start", {"Fe": 2.2}, toml="magmoms = [2.2]")
            of_species = f", or give one to each species, {given}" if takes_start else ""
            raise ValueError(
                f"{name}: no magnetic moments to start from; give the configuration its moments, "
                f"as initial_magmoms or magmoms{of_species}"
            )
        with_moments.append(atoms if borrowed is None else _with_initial(atoms, borrowed))
    structures = structures_for(potential, with_moments, moments="initial", vectors=vectors)
    warn_of_canted(potential, structures)
    return [replace(s, magmoms=scale * s.magmoms) for s in structures]


def moments_of_results(atoms: Atoms) -> np.ndarray | None:
    """Moments of the atoms' own calculator, where the atoms have no initial ones.

    Those that came with the atoms from a file stay a start where the atoms move. A calculator that
    calculates may meanwhile have results of others: they count for the very same atoms only.
    """
    calc = atoms.calc
    magmoms = (getattr(calc, "results", None) or {}).get("magmoms")
    if atoms.has("initial_magmoms") or magmoms is None or len(magmoms) != len(atoms):
        return None
    frozen = isinstance(calc, SinglePointCalculator) or not hasattr(calc, "check_state")
    return magmoms if frozen or not calc.check_state(atoms) else None


def _bare(atoms_list: Sequence[Atoms]) -> list[Atoms]:
    """Copies without moments and results."""
    copies = []
    for atoms in atoms_list:
        copy = atoms.copy()
        copy.arrays.pop("initial_magmoms", None)
        copies.append(named_like(copy, atoms))
    return copies


def _with_initial(atoms: Atoms, magmoms: np.ndarray) -> Atoms:
    copy = atoms.copy()
    set_moments(copy, magmoms, are_vectors(magmoms))
    return named_like(copy, atoms)


def _moments_of_species(start: Mapping[str, float], species: Sequence[str]) -> np.ndarray:
    """(S,) NaN for the species that ``start`` does not name."""
    unknown = sorted(set(start) - set(species))
    if unknown:
        raise ValueError(
            f"{named('start')} has a moment for {', '.join(unknown)}, but the potential is for "
            f"{', '.join(species)}"
        )
    moments = np.array([float(start.get(symbol, np.nan)) for symbol in species])
    if np.isinf(moments).any() or any(np.isnan(float(value)) for value in start.values()):
        given = ", ".join(f"{symbol} {moment}" for symbol, moment in start.items())
        raise ValueError(f"the moments to start from must be finite numbers of mu_B, got {given}")
    return moments


def equilibration_of(
    atoms: Atoms, found: EquilibratedStructure, species: Sequence[str]
) -> Equilibration:
    """The result of a configuration together with its atoms."""
    return Equilibration(to_atoms(found.structure, found.result, species, atoms), found)
