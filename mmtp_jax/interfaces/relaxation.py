"""Relaxation of ASE atoms: positions, cell and moments.

ASE's own optimisers do the same with ``MMTPCalculator(potential, equilibrate=True)``, one
configuration at a time:

    atoms.calc = mmtp.MMTPCalculator(potential, equilibrate=True, tolerance=1e-4)
    ase.optimize.BFGS(ase.filters.FrechetCellFilter(atoms)).run(fmax=1e-3)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from mmtp_jax.fitting.series import numbered
from mmtp_jax.interfaces.equilibration import start_structures
from mmtp_jax.io.atoms import OfDetails, of_details, to_atoms, with_results
from mmtp_jax.io.convert import given_configurations
from mmtp_jax.io.schema import SOURCE
from mmtp_jax.io.writing import write
from mmtp_jax.options import made, takes
from mmtp_jax.potential.potential import Potential
from mmtp_jax.simulation.relaxation.options import RelaxOptions
from mmtp_jax.simulation.relaxation.status import RelaxStatus
from mmtp_jax.simulation.relaxation.structures import Frame, RelaxedStructure, relax_structures
from mmtp_jax.simulation.watch import BoundWatch, Watch
from mmtp_jax.structures.structure import Structure


@dataclass(frozen=True, eq=False, repr=False)
class Relaxation(OfDetails):
    """Where the relaxation of one configuration ended, and why."""

    atoms: Atoms
    """A copy with the final positions, cell and moments, and with energy, forces, stress, magmoms
    and magnetic forces as results."""
    details: RelaxedStructure
    """The same as arrays, without ASE."""

    converged = of_details(
        "converged", "Are forces, stress and magnetic forces small, inside of what is covered?"
    )
    status = of_details("status", "A `RelaxStatus`.")
    message = of_details("message", "How it ended, in words.")
    energy = of_details("result.energy", "eV.")
    enthalpy = of_details("enthalpy", "E + p V, eV.")
    force = of_details("force", "Largest |f_i|, eV/Angstrom.")
    stress_GPa = of_details(
        "stress_GPa", "Largest component of stress plus pressure, of those that the cell follows."
    )
    magnetic_force = of_details(
        "magnetic_force", "Largest |T_i| of the moments that are not held, eV/mu_B."
    )
    volume = of_details(
        "structure.volume", "Angstrom^3; None where not periodic in three directions."
    )
    start_volume = of_details("start.volume", "Angstrom^3, or None.")
    magmoms = of_details("structure.magmoms", "(n,) or (n, 3) mu_B.")
    start_magmoms = of_details("start.magmoms", "(n,) or (n, 3) mu_B.")
    n_steps = of_details("n_steps", "Geometries that were evaluated.")
    n_evaluations = of_details(
        "n_evaluations", "Evaluations of the potential, those of all equilibrations included."
    )


@takes(RelaxOptions)
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

    At each geometry the moments are equilibrated first, as `mmtp_jax.equilibrate` does, those that
    are vectors (n, 3) included; then atoms and cell take a step. The search is local, and keeps the
    symmetry of the start.

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
            ``positions=False``, ``moments="fixed"``, ``allow_flips``, ``directions="fixed"``
            (of vectors), ``max_volume_change``, ``bounded=False``, ``dtype``, ...

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
    atoms_list = given_configurations(atoms, potential.species)
    structures = relaxable_structures(potential, atoms_list, start, scale)
    if isinstance(watch, BoundWatch):
        watch.check(potential)
    frames: list[list[Atoms]] = [[] for _ in atoms_list]

    def note(k: int, frame: Frame) -> None:
        if trajectory is not None:
            structure = frame.structure
            at = to_atoms(structure, None, potential.species, atoms_list[k])
            results = {"energy": frame.energy, "magmoms": structure.magmoms}
            frames[k].append(with_results(at, results))
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
    results = [
        Relaxation(to_atoms(f.structure, f.result, potential.species, a), f)
        for a, f in zip(atoms_list, found, strict=True)
    ]
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
    return start_structures(potential, atoms_list, start, scale, takes_start=True, vectors=True)
