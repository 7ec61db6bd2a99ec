"""Relaxation of ASE atoms: positions, cell and moments.

ASE's own optimisers do the same with ``MMTPCalculator(potential, equilibrate=True)``, one
configuration at a time:

    atoms.calc = mmtp.MMTPCalculator(potential, equilibrate=True, tolerance=1e-4)
    ase.optimize.BFGS(ase.filters.FrechetCellFilter(atoms)).run(fmax=1e-3)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mmtp_jax.fitting.series import numbered
from mmtp_jax.interfaces.equilibration import start_structures
from mmtp_jax.io.schema import (
    SOURCE,
    remove_magnetic_forces,
    set_magnetic_forces,
    set_moments,
)
from mmtp_jax.io.writing import write
from mmtp_jax.options import made
from mmtp_jax.potential.potential import Potential
from mmtp_jax.simulation.relaxation.options import RelaxOptions
from mmtp_jax.simulation.relaxation.status import RelaxStatus
from mmtp_jax.simulation.relaxation.structures import Frame, RelaxedStructure, relax_structures
from mmtp_jax.simulation.watch import BoundWatch, Watch
from mmtp_jax.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class Relaxation:
    """Where the relaxation of one configuration ended, and why."""

    atoms: Atoms = field(repr=False)
    """A copy with the final positions, cell and moments, and with energy, forces, stress, magmoms
    and magnetic forces as results."""
    converged: bool
    """Are forces, stress and magnetic forces below their tolerances?"""
    status: RelaxStatus
    message: str
    """How it ended, in words."""
    energy: float
    """eV."""
    enthalpy: float
    """E + p V, eV."""
    force: float
    """Largest |f_i|, eV/Angstrom."""
    stress_GPa: float
    """Largest component of stress plus pressure, of those that the cell may follow."""
    magnetic_force: float
    """Largest |T_i| of the moments that are not held, eV/mu_B."""
    volume: float | None
    """Angstrom^3; None where the cell is not periodic in three directions."""
    start_volume: float | None
    magmoms: np.ndarray = field(repr=False)
    """(n,) mu_B."""
    start_magmoms: np.ndarray = field(repr=False)
    """(n,) mu_B."""
    n_steps: int
    """Geometries that were evaluated."""
    n_evaluations: int
    """Evaluations of the potential, those of all equilibrations included."""
    details: RelaxedStructure = field(repr=False)
    """The same as arrays, without ASE."""


def relax(
    potential: Potential,
    atoms: Atoms | Sequence[Atoms],
    *,
    cell: bool | str | Sequence[Any] = True,
    pressure_GPa: float = 0.0,
    start: Mapping[str, float] | None = None,
    scale: float = 1.0,
    trajectory: str | Path | None = None,
    watch: Watch | None = None,
    keep: Callable[[list[Any]], None] | None = None,
    callback: Callable[[int], None] | None = None,
    record: Callable[[int, Frame], None] | None = None,
    **options: Any,
) -> Relaxation | list[Relaxation]:
    """Minimise the enthalpy E + p V over positions, cell and moments (Kotykhov 2024, Sec. 2.1).

    At each geometry the moments are equilibrated first, as `mmtp_jax.equilibrate` does; then
    atoms and cell take a step. The search is local, and keeps the symmetry of the start.

    A configuration stops where the potential does not cover what comes next: two atoms too close,
    a moment at the end of its interval, too large a change of the volume, a grade above the
    threshold of the ``watch``. ``converged`` is then False and ``message`` says why.

    Many configurations go together; call it once for all of them. Ctrl-C ends it with what was
    done so far.

    Args:
        potential: the potential.
        atoms: one configuration or several, of any sizes; they are not changed. Moments start
            from the initial ones, or where there are none from those of the results.
        cell: True or "full", "volume" (its shape stays), "shape" (its volume stays), "c/a" (one
            ratio at fixed volume), "tetragonal" (a and c), components of the strain such as
            "xx yy" or six flags in ASE's order, False or "none".
        pressure_GPa: p, positive where it compresses: at the end the stress is -p.
        start: moment of each species to start from, mu_B, in place of those of the atoms.
        scale: factor of the moments of the start.
        trajectory: file for the start and each step that was taken, .extxyz or .cfg; of several
            configurations ``run.0.extxyz`` and so on.
        watch: looks at every configuration, e.g. a `mmtp_jax.Preselection`.
        keep: called with what the watch has kept.
        callback: called with the number of configurations that are done.
        record: called with the place of a configuration in the list and its `Frame`, for the start
            and each step that was taken.
        **options: the other fields of `RelaxOptions`: ``force_tolerance`` (eV/Angstrom),
            ``stress_tolerance_GPa``, ``magnetic_tolerance`` (eV/mu_B), ``max_steps``,
            ``positions=False``, ``moments="fixed"``, ``allow_flips``, ``max_volume_change``,
            ``bounded=False``, ``dtype``, ...

    Returns:
        A `Relaxation`, or a list of them if ``atoms`` is a list.

    Raises:
        ValueError: if a configuration has no moments to start from, constraints, an unknown
            element or a cell that cannot relax; an option is out of range; or the watch belongs
            to another potential.

    Example:
        >>> found = mmtp.relax(pot, atoms, cell="volume", pressure_GPa=10)
        >>> found.converged, found.atoms.cell.cellpar(), found.magmoms
    """
    chosen = made(RelaxOptions, {"cell": cell, "pressure_GPa": pressure_GPa, **options}, "relax")
    atoms_list = [atoms] if isinstance(atoms, Atoms) else list(atoms)
    structures = relaxable_structures(potential, atoms_list, start, scale)
    if isinstance(watch, BoundWatch):
        watch.check(potential)
    frames: list[list[Atoms]] = [[] for _ in atoms_list]

    def note(k: int, frame: Frame) -> None:
        if trajectory is not None:
            frames[k].append(_frame(atoms_list[k], frame))
        if record is not None:
            record(k, frame)

    try:
        found = relax_structures(
            potential,
            structures,
            chosen,
            watch=watch,
            keep=keep,
            callback=callback,
            record=None if trajectory is None and record is None else note,
        )
    finally:
        if trajectory is not None:
            several = len(atoms_list) > 1
            for k, steps in enumerate(frames):
                path = numbered(trajectory, k) if several else Path(trajectory)
                if steps:
                    write(path, steps, species=potential.species)
    results = [relaxation_of(a, f) for a, f in zip(atoms_list, found, strict=True)]
    return results[0] if isinstance(atoms, Atoms) else results


def uninterrupted(found: list[Relaxation]) -> list[Relaxation]:
    """Relaxations that a calculation needs all of.

    Raises:
        KeyboardInterrupt: if Ctrl-C ended them.
    """
    if any(result.status == RelaxStatus.INTERRUPTED for result in found):
        raise KeyboardInterrupt
    return found


def relaxable_structures(
    potential: Potential,
    atoms_list: Sequence[Atoms],
    start: Mapping[str, float] | None = None,
    scale: float = 1.0,
) -> list[Structure]:
    """Structures with the moments from which a relaxation starts; see `relax`."""
    for k, atoms in enumerate(atoms_list, 1):
        if atoms.constraints:
            name = getattr(atoms, SOURCE, f"configuration {k}")
            raise ValueError(
                f"{name}: has constraints, which a relaxation does not know; remove them, "
                "keep all positions, or use an ASE optimiser with the calculator"
            )
    return start_structures(potential, atoms_list, start, scale, takes_start=True)


def relaxation_of(atoms: Atoms, found: RelaxedStructure) -> Relaxation:
    """The result of a configuration together with its atoms."""
    end = found.structure
    return Relaxation(
        atoms=_with_results(atoms, found),
        converged=found.converged,
        status=found.status,
        message=found.message,
        energy=found.result.energy,
        enthalpy=found.enthalpy,
        force=found.force,
        stress_GPa=found.stress_GPa,
        magnetic_force=found.magnetic_force,
        volume=end.volume,
        start_volume=found.start.volume,
        magmoms=end.magmoms,
        start_magmoms=found.start.magmoms,
        n_steps=found.n_steps,
        n_evaluations=found.n_evaluations,
        details=found,
    )


def _moved(atoms: Atoms, structure: Structure) -> Atoms:
    """A copy where the structure is, with its moments as initial ones and no results."""
    copy = atoms.copy()
    if hasattr(atoms, SOURCE):
        setattr(copy, SOURCE, getattr(atoms, SOURCE))
    # Cell vectors of directions that are not periodic are no part of a structure.
    cell = np.where(structure.periodic[:, None], structure.cell, atoms.cell.array)
    copy.set_cell(cell)
    copy.set_positions(structure.positions)
    set_moments(copy, structure.magmoms)
    remove_magnetic_forces(copy)
    return copy


def _frame(atoms: Atoms, frame: Frame) -> Atoms:
    copy = _moved(atoms, frame.structure)
    copy.calc = SinglePointCalculator(copy, energy=frame.energy, magmoms=frame.structure.magmoms)
    return copy


def _with_results(atoms: Atoms, found: RelaxedStructure) -> Atoms:
    """A copy at the end with all that the potential says there."""
    copy, result = _moved(atoms, found.structure), found.result
    predicted = {
        "energy": result.energy,
        "energies": result.energies,
        "forces": result.forces,
        "magmoms": found.structure.magmoms,
    }
    if result.stress is not None:
        predicted["stress"] = result.stress
    copy.calc = SinglePointCalculator(copy, **predicted)
    set_magnetic_forces(copy, result.magnetic_forces)
    return copy
