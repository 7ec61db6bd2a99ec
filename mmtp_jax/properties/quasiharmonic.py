"""Quasi-harmonic thermodynamics of ASE atoms, in one magnetic state or in the paramagnetic one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from mmtp_jax.interfaces.equilibration import start_structures
from mmtp_jax.io.schema import SOURCE, set_moments
from mmtp_jax.options import also, takes
from mmtp_jax.potential.potential import Potential
from mmtp_jax.properties.crystal import (
    crystal_of,
    import_phonopy,
    scaled_crystal,
    supercell_matrix,
)
from mmtp_jax.properties.options import PhononOptions, no_options
from mmtp_jax.properties.phonon_results import MESH, ImaginaryModesWarning
from mmtp_jax.properties.phonons import paramagnetic_crystal, phonons_of_crystal
from mmtp_jax.properties.quasiharmonic_fit import MIN_VOLUMES, SCALED, QuasiHarmonic, quasi_harmonic
from mmtp_jax.properties.states import TIGHT, relaxed_states
from mmtp_jax.simulation.relaxation.options import RelaxOptions
from mmtp_jax.structures.structure import Structure
from mmtp_jax.warn import warn

STRAINS = tuple(float(x) for x in np.linspace(-0.01, 0.02, 7).round(6))
"""Of lengths, against the relaxed crystal."""

TEMPERATURES = tuple(range(0, 1001, 10))


class MissingStatesWarning(UserWarning):
    """Averages at different volumes are over different magnetic states."""


@also(temperatures_K="temperatures")
@takes(PhononOptions, RelaxOptions, without=("cell",), defaults=TIGHT)
def quasiharmonic(
    potential: Potential,
    atoms: Atoms,
    supercell: int | Sequence[Any] | None = None,
    temperatures: Sequence[float] = TEMPERATURES,
    *,
    strains: Sequence[float] = STRAINS,
    relax: bool = True,
    pressure_GPa: float = 0.0,
    eos: str = "vinet",
    mesh: float | Sequence[int] = MESH,
    allow_imaginary: bool = False,
    callback: Callable[[int], None] | None = None,
    **options: Any,
) -> QuasiHarmonic:
    """Thermal expansion, heat capacity, bulk modulus over temperature (Kotykhov 2025, Sec. III.E).

    The crystal is relaxed; then all its lengths are scaled by each strain, shape, positions and
    moments relax at that volume, and phonons are calculated. The paramagnetic state is an average
    over disordered magnetic states of the ideal crystal at each volume, the same ones at all.

    Args:
        potential: the potential.
        atoms: a unit cell with moments; it is not changed.
        supercell: as for `mmtp_jax.phonons`.
        temperatures: K.
        strains: of lengths, five or more.
        relax: strains are of the crystal where it has the external pressure, or without any in the
            paramagnetic state; else of ``atoms``.
        pressure_GPa: external pressure.
        eos: ``"vinet"``, ``"birch_murnaghan"`` or ``"murnaghan"``.
        mesh: of q: length in Angstrom, or three integers.
        allow_imaginary: leave imaginary modes out, in place of an error.
        callback: called with the number of volumes that are done.
        **options: the fields of `PhononOptions`, e.g. ``states=20`` for the paramagnetic state,
            ``moments="fixed"``; others are of the relaxations, as for `mmtp_jax.relax`.

    Raises:
        UnstableStateError: if moments flip or vanish at a volume, or there are imaginary modes.
        ValueError: if a relaxation does not end, or no equation of state fits.
        ImportError: if phonopy is not installed.

    Warns:
        VolumeRangeWarning: if the volume leaves those that were calculated.
        MissingStatesWarning: if a disordered state is no minimum at some of the volumes.

    Example:
        >>> found = mmtp.quasiharmonic(pot, atoms, 3, range(0, 801, 10))
        >>> print(found)
        >>> found.expansion, found.heat_capacity, found.bulk_modulus, found.at(300)
    """
    import_phonopy()
    strains = volume_strains(strains)
    of_atoms = crystal_of(atoms)
    matrix = supercell_matrix(supercell, atoms.cell.array, float(potential.cutoff))
    chosen, of_relaxation = PhononOptions.split({"supercell": matrix, **options})
    if chosen.states:
        no_options(of_relaxation)
        (structure,) = start_structures(potential, [atoms])
        ideal = of_atoms.with_structure(structure)
        if relax:
            ideal = paramagnetic_crystal(potential, ideal, chosen)
        crystals = [scaled_crystal(ideal, 1 + s, _name(ideal.structure, s)) for s in strains]
    else:
        first = {"pressure_GPa": pressure_GPa} if relax else {"cell": "none"}
        at_volumes = states_at_volumes(
            potential, atoms, strains, first, of_relaxation, vectors=True
        )
        crystals = [of_atoms.with_structure(structure) for structure in at_volumes]
    found = []
    for crystal in crystals:
        with warnings.catch_warnings():
            # They are an error later, unless they are allowed.
            warnings.simplefilter("ignore", ImaginaryModesWarning)
            found.append(phonons_of_crystal(potential, crystal, chosen))
        if callback is not None:
            callback(len(found))
    counts = [p.n_states for p in found]
    if min(counts) < chosen.states:
        warn(
            f"{ideal.structure.name}: of {chosen.states} magnetic states {min(counts)} to "
            f"{max(counts)} count at the volumes, the others lose their moments: the averages "
            "are over different states; take larger volumes",
            MissingStatesWarning,
        )
    return quasi_harmonic(
        found, temperatures, pressure_GPa=pressure_GPa, eos=eos, mesh=mesh,
        allow_imaginary=allow_imaginary,
    )  # fmt: skip


def volume_strains(strains: Sequence[float]) -> list[float]:
    """Strains of lengths in ascending order, each once.

    Raises:
        ValueError: if they are too few or too far.
    """
    chosen = sorted(set(map(float, strains)))
    if len(chosen) < MIN_VOLUMES or chosen[0] <= -0.2:
        raise ValueError(
            f"give {MIN_VOLUMES} or more different strains of lengths above -0.2, got {chosen}"
        )
    return chosen


def states_at_volumes(
    potential: Potential,
    atoms: Atoms,
    strains: Sequence[float],
    first: dict[str, Any],
    options: dict[str, Any],
    vectors: bool = False,
) -> list[Structure]:
    """A relaxed crystal with its lengths scaled by each strain, relaxed at that volume.

    Args:
        potential: the potential.
        atoms: the crystal.
        strains: of lengths.
        first: options of the first relaxation only.
        options: of all relaxations.
        vectors: moments may be vectors.

    Raises:
        UnstableStateError: if moments flip or vanish.
        ValueError: if a relaxation does not end.
    """
    (relaxed,) = relaxed_states(potential, [atoms], {**options, **first}, vectors)
    scaled = []
    for strain in strains:
        copy = atoms.copy()
        copy.set_cell(relaxed.cell * (1 + strain))
        copy.set_positions(relaxed.positions * (1 + strain))
        set_moments(copy, relaxed.magmoms, relaxed.vectors)
        copy.calc = None
        setattr(copy, SOURCE, _name(relaxed, strain))
        scaled.append(copy)
    return relaxed_states(potential, scaled, {**options, "cell": "shape"}, vectors)


def _name(structure: Structure, strain: float) -> str:
    """What messages call a scaled crystal."""
    return f"{structure.name}{SCALED}{1 + strain:.4g}"
