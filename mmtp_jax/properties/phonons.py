"""Phonons of ASE atoms, in one magnetic state or in the paramagnetic one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.cell import Cell
from ase.dft.kpoints import parse_path_string

from mmtp_jax.interfaces.equilibration import start_structures
from mmtp_jax.potential.potential import Potential
from mmtp_jax.properties.crystal import (
    Crystal,
    import_phonopy,
    phonopy_of,
    supercell_matrix,
    supercell_structure,
)
from mmtp_jax.properties.disordered_phonons import disordered_force_constants
from mmtp_jax.properties.force_constants import (
    DISTANCE,
    METHODS,
    MOMENTS,
    checked,
    constants_by_autodiff,
    constants_by_displacements,
    equilibrated,
)
from mmtp_jax.properties.paramagnetic import volume_without_pressure
from mmtp_jax.properties.phonon_results import Path, Phonons, with_imaginary
from mmtp_jax.properties.polar import set_polar
from mmtp_jax.properties.states import relaxed_states

POINTS = 201
"""Of a path of bands, about."""


def phonons(
    potential: Potential,
    atoms: Atoms,
    supercell: int | Sequence[Any] | None = None,
    *,
    relax: bool = True,
    cell: bool | str = True,
    moments: str = "follow",
    method: str = "autodiff",
    distance: float = DISTANCE,
    born: Mapping[str, Any] | None = None,
    dielectric: Any = None,
    nac_method: str = "gonze",
    callback: Callable[[int], None] | None = None,
    **options: Any,
) -> Phonons:
    """Phonons of a magnetic state, with force constants by automatic differentiation.

    The state is relaxed first and must keep the signs of its moments. Force constants are the
    adiabatic second derivatives of the energy of a supercell: moments follow the atoms, by an
    exact Schur complement. The supercell keeps the moments of the cell, and the lower symmetry
    that they leave.

    Args:
        potential: the potential.
        atoms: a unit cell with moments, which define the magnetic state; it is not changed.
        supercell: one, three or 3 x 3 integers; by default the smallest multiples whose faces are
            two cutoffs apart.
        relax: relax it first; else only its moments are equilibrated.
        cell: what of the cell may relax, as for `mmtp_jax.relax`.
        moments: ``"follow"`` the atoms, or ``"clamped"`` at those of the ideal crystal.
        method: ``"autodiff"``, or ``"displacements"``: differences of forces at displaced atoms,
            with moments equilibrated anew, as codes without second derivatives do.
        distance: of displacements, Angstrom.
        born: Born charge of each species, e; with ``dielectric`` the splitting of longitudinal
            and transverse modes, e.g. ``born={"Cr": 4.4, "N": -4.4}, dielectric=22``.
        dielectric: electronic dielectric constant, a number or (3, 3).
        nac_method: ``"gonze"`` or ``"wang"``.
        callback: called with the number of displaced supercells that are done.
        **options: of the relaxation, as for `mmtp_jax.relax`; its tolerances are small.

    Raises:
        UnstableStateError: if moments flip or vanish, or are at no minimum.
        ValueError: if the relaxation does not end, or an option is unknown.
        ImportError: if phonopy is not installed.

    Warns:
        ImaginaryModesWarning: if the crystal is dynamically unstable.

    Example:
        >>> found = mmtp.phonons(pot, atoms, 3)
        >>> print(found)
        >>> found.bands(), found.dos(), found.thermal([300, 600]), found.phonopy
    """
    checked(method, METHODS, "method")
    checked(moments, MOMENTS, "moments")
    import_phonopy()
    if relax:
        (structure,) = relaxed_states(potential, [atoms], {"cell": cell, **options})
    else:
        _no_options(options)
        (structure,) = start_structures(potential, [atoms])
    return phonons_of_crystal(
        potential,
        crystal_of(atoms).with_structure(structure),
        supercell,
        moments=moments,
        method=method,
        distance=distance,
        born=born,
        dielectric=dielectric,
        nac_method=nac_method,
        callback=callback,
    )


def phonons_of_crystal(
    potential: Potential,
    crystal: Crystal,
    supercell: Any = None,
    *,
    moments: str = "follow",
    method: str = "autodiff",
    distance: float = DISTANCE,
    born: Mapping[str, Any] | None = None,
    dielectric: Any = None,
    nac_method: str = "gonze",
    callback: Callable[[int], None] | None = None,
) -> Phonons:
    """`phonons` of a crystal where it is, with moments that are equilibrated."""
    unit = crystal.structure
    if moments == "follow":
        unit = equilibrated(potential, unit)
        crystal = crystal.with_structure(unit)
    matrix = supercell_matrix(supercell, unit.cell, float(potential.cutoff))
    phonopy = phonopy_of(crystal, matrix)
    if method == "autodiff":
        found = constants_by_autodiff(potential, supercell_structure(phonopy, unit), moments)
    else:
        found = constants_by_displacements(potential, crystal, phonopy, moments, distance, callback)
    phonopy.force_constants = found.constants
    _set_polar(phonopy, born, dielectric, nac_method)
    n_atoms = len(phonopy.supercell)
    return with_imaginary(
        Phonons(
            phonopy=phonopy,
            energy=found.energy / n_atoms,
            volume=float(phonopy.supercell.volume) / n_atoms,
            magmoms=unit.magmoms,
            moments=moments,
            drift=found.drift,
            path=default_path(phonopy.primitive.cell),
            note=found.note,
            name=unit.name,
        )
    )


def paramagnetic_phonons(
    potential: Potential,
    atoms: Atoms,
    supercell: int | Sequence[Any] | None = None,
    n: int = 20,
    *,
    relax: bool = True,
    moments: str = "follow",
    magnetic: Sequence[str] | None = None,
    seed: int = 0,
    born: Mapping[str, Any] | None = None,
    dielectric: Any = None,
    nac_method: str = "gonze",
    callback: Callable[[int], None] | None = None,
) -> Phonons:
    """Phonons of the paramagnetic state: force constants averaged over random collinear states.

    Half of the moments of each species are up and half down, with magnitudes equilibrated at the
    positions of the ideal crystal, and magnitudes that follow the atoms. The mean has the symmetry
    of the crystal without its moments (Kotykhov 2025, Sec. III.D).

    Args:
        potential: the potential.
        atoms: a unit cell of the ideal crystal; its moments give the magnitudes to start from.
        supercell: in which the states are drawn, as for `phonons`.
        n: number of states.
        relax: scale the cell to where the mean pressure is zero.
        moments: magnitudes ``"follow"``, or are ``"clamped"`` at those of the ideal positions.
        magnetic: species with disordered signs; None for all atoms with a moment.
        seed: of the states.
        born: Born charge of each species, e, as for `phonons`.
        dielectric: electronic dielectric constant.
        nac_method: ``"gonze"`` or ``"wang"``.
        callback: called with the number of states that are done.

    Returns:
        `Phonons` with `Phonons.frequency_errors`.

    Raises:
        UnstableStateError: if fewer than two states are minima of the energy by their moments.
        ValueError: if no volume without pressure is found.
        ImportError: if phonopy is not installed.

    Warns:
        ImaginaryModesWarning: if the mean is dynamically unstable.
    """
    checked(moments, MOMENTS, "moments")
    import_phonopy()
    (structure,) = start_structures(potential, [atoms])
    crystal = crystal_of(atoms).with_structure(structure)
    magnetic = None if magnetic is None else tuple(magnetic)
    matrix = supercell_matrix(supercell, structure.cell, float(potential.cutoff))
    if relax:
        crystal = paramagnetic_crystal(potential, crystal, matrix, n, magnetic, seed)
    return paramagnetic_phonons_of_crystal(
        potential, crystal, matrix, n, moments=moments, magnetic=magnetic, seed=seed, born=born,
        dielectric=dielectric, nac_method=nac_method, callback=callback,
    )  # fmt: skip


def paramagnetic_crystal(
    potential: Potential,
    crystal: Crystal,
    matrix: np.ndarray,
    n: int,
    magnetic: tuple[str, ...] | None,
    seed: int,
) -> Crystal:
    """The crystal scaled to where the mean pressure of n disordered states is zero."""
    unit = crystal.structure
    whole = supercell_structure(phonopy_of(crystal, matrix, magnetic=False), unit)
    scaled = volume_without_pressure(potential, whole, n, magnetic, seed)
    return scaled_crystal(crystal, (scaled.volume / whole.volume) ** (1 / 3))


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


def paramagnetic_phonons_of_crystal(
    potential: Potential,
    crystal: Crystal,
    supercell: Any,
    n: int,
    *,
    moments: str = "follow",
    magnetic: tuple[str, ...] | None = None,
    seed: int = 0,
    born: Mapping[str, Any] | None = None,
    dielectric: Any = None,
    nac_method: str = "gonze",
    callback: Callable[[int], None] | None = None,
) -> Phonons:
    """`paramagnetic_phonons` of a crystal where it is."""
    unit = crystal.structure
    phonopy = phonopy_of(crystal, supercell, magnetic=False)
    found = disordered_force_constants(
        potential, supercell_structure(phonopy, unit), phonopy, n, moments=moments,
        magnetic=magnetic, seed=seed, callback=callback,
    )  # fmt: skip
    phonopy.force_constants = found.mean
    _set_polar(phonopy, born, dielectric, nac_method)
    n_atoms = len(phonopy.supercell)
    energies = found.energies / n_atoms
    return with_imaginary(
        Phonons(
            phonopy=phonopy,
            energy=float(energies.mean()),
            volume=float(phonopy.supercell.volume) / n_atoms,
            magmoms=found.magmoms,
            moments=moments,
            drift=found.drift,
            path=default_path(phonopy.primitive.cell),
            name=unit.name,
            samples=found.samples,
            energy_error=float(energies.std(ddof=1) / np.sqrt(len(energies))),
            n_failed=found.n_failed,
        )
    )


def crystal_of(atoms: Atoms) -> Crystal:
    """Symbols and masses of atoms; the structure is to be set."""
    return Crystal(None, tuple(atoms.symbols), atoms.get_masses())


def default_path(cell: np.ndarray, points: int = POINTS, path: str | None = None) -> Path:
    """Lines between the special points of the lattice of a primitive cell.

    Args:
        cell: (3, 3) Angstrom.
        points: of all lines together, about.
        path: names of special points, e.g. ``"GXWKGL,UX"``; by default ASE's choice.
    """
    found = Cell(cell).bandpath(path, npoints=0, eps=1e-3)
    reciprocal = np.linalg.inv(cell)
    lines = [
        (names[k], names[k + 1])
        for names in parse_path_string(found.path)
        for k in range(len(names) - 1)
    ]
    ends = [(found.special_points[a], found.special_points[b]) for a, b in lines]
    lengths = np.array([np.linalg.norm(reciprocal @ (b - a)) for a, b in ends])
    counts = np.maximum(np.rint(points * lengths / lengths.sum()).astype(int), 2)
    segments = [np.linspace(a, b, k) for (a, b), k in zip(ends, counts, strict=True)]
    return Path(segments, lines)


def _set_polar(phonopy: Any, born: Any, dielectric: Any, method: str) -> None:
    if (born is None) != (dielectric is None):
        raise ValueError("give both Born charges and the dielectric constant, or neither")
    if born is not None:
        set_polar(phonopy, born, dielectric, method)


def _no_options(options: dict[str, Any]) -> None:
    if options:
        raise TypeError(f"options of the relaxation without one: {sorted(options)}")
