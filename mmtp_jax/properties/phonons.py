"""Phonons of ASE atoms, in one magnetic state or in the paramagnetic one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ase import Atoms

from mmtp_jax.interfaces.equilibration import start_structures
from mmtp_jax.options import takes
from mmtp_jax.potential.potential import Potential
from mmtp_jax.properties.bands import default_path
from mmtp_jax.properties.crystal import (
    Crystal,
    crystal_of,
    import_phonopy,
    phonopy_of,
    scaled_crystal,
    supercell_matrix,
    supercell_structure,
)
from mmtp_jax.properties.disordered_phonons import disordered_force_constants
from mmtp_jax.properties.force_constants import (
    constants_by_autodiff,
    constants_by_displacements,
    equilibrated,
)
from mmtp_jax.properties.options import PhononOptions, no_options
from mmtp_jax.properties.paramagnetic import volume_without_pressure
from mmtp_jax.properties.phonon_results import Phonons, with_imaginary
from mmtp_jax.properties.polar import set_polar
from mmtp_jax.properties.states import TIGHT, relaxed_states
from mmtp_jax.simulation.relaxation.options import RelaxOptions


@takes(PhononOptions, RelaxOptions, without=("pressure_GPa",), defaults=TIGHT)
def phonons(
    potential: Potential,
    atoms: Atoms,
    supercell: int | Sequence[Any] | None = None,
    *,
    relax: bool = True,
    callback: Callable[[int], None] | None = None,
    **options: Any,
) -> Phonons:
    """Phonons of a magnetic state, with force constants by automatic differentiation.

    The state is relaxed first and must keep the signs of its moments. Force constants are the
    adiabatic second derivatives of the energy of a supercell: moments follow the atoms, by an
    exact Schur complement. The supercell keeps the moments of the cell, and the lower symmetry
    that they leave.

    With ``states=n``, phonons of the paramagnetic state: force constants averaged over n random
    collinear states of the supercell. Half of the moments of each species are up and half down,
    with magnitudes equilibrated at the positions of the ideal crystal, and magnitudes that follow
    the atoms. The mean has the symmetry of the crystal without its moments (Kotykhov 2025, Sec.
    III.D), and `Phonons.frequency_errors`.

    Args:
        potential: the potential.
        atoms: a unit cell with moments, which define the magnetic state, or the magnitudes to
            start from; it is not changed.
        supercell: one, three or 3 x 3 integers; by default the smallest multiples whose faces are
            two cutoffs apart.
        relax: relax it first, with ``states`` only its volume, to where the mean pressure is zero;
            else only its moments are equilibrated.
        callback: called with the number of displaced supercells or of states that are done.
        **options: the fields of `PhononOptions`, e.g. ``moments="fixed"``, ``states=20``,
            ``method="displacements"``, ``born``; others are of the relaxation, as for
            `mmtp_jax.relax`, e.g. ``cell``; its tolerances are small.

    Raises:
        UnstableStateError: if moments flip or vanish, or are at no minimum; of disordered states,
            if fewer than two are minima.
        ValueError: if the relaxation does not end, no volume without pressure is found, or an
            option is not valid.
        TypeError: if an option is unknown, or there is one of a relaxation that does not take
            place.
        ImportError: if phonopy is not installed.

    Warns:
        ImaginaryModesWarning: if the crystal is dynamically unstable.

    Example:
        >>> found = mmtp.phonons(pot, atoms, 3)
        >>> print(found)
        >>> found.bands(), found.dos(), found.thermal([300, 600]), found.phonopy
        >>> mmtp.phonons(pot, atoms, 3, states=20).frequency_errors([[0.5, 0, 0]])
    """
    chosen, of_relaxation = PhononOptions.split({"supercell": supercell, **options})
    import_phonopy()
    if relax and not chosen.states:
        (structure,) = relaxed_states(potential, [atoms], of_relaxation, vectors=True)
    else:
        no_options(of_relaxation)
        (structure,) = start_structures(potential, [atoms], vectors=not chosen.states)
    crystal = crystal_of(atoms).with_structure(structure)
    if relax and chosen.states:
        matrix = supercell_matrix(supercell, structure.cell, float(potential.cutoff))
        chosen = replace(chosen, supercell=matrix)
        crystal = paramagnetic_crystal(potential, crystal, chosen)
    return phonons_of_crystal(potential, crystal, chosen, callback)


def phonons_of_crystal(
    potential: Potential,
    crystal: Crystal,
    options: PhononOptions,
    callback: Callable[[int], None] | None = None,
) -> Phonons:
    """`phonons` of a crystal where it is, with moments that are equilibrated."""
    if options.follow and not options.states:
        crystal = crystal.with_structure(equilibrated(potential, crystal.structure))
    unit = crystal.structure
    matrix = supercell_matrix(options.supercell, unit.cell, float(potential.cutoff))
    phonopy = phonopy_of(crystal, matrix, magnetic=not options.states)
    whole = supercell_structure(phonopy, unit)
    if options.states:
        found = disordered_force_constants(potential, whole, phonopy, options, callback)
    elif options.method == "autodiff":
        found = constants_by_autodiff(potential, whole, options.follow)
    else:
        found = constants_by_displacements(potential, crystal, phonopy, options, callback)
    phonopy.force_constants = found.constants
    if options.born is not None:
        set_polar(phonopy, options.born, options.dielectric, options.nac_method)
    n_atoms = len(phonopy.supercell)
    error = found.energy_error
    return with_imaginary(
        Phonons(
            phonopy=phonopy,
            energy=found.energy / n_atoms,
            volume=float(phonopy.supercell.volume) / n_atoms,
            magmoms=unit.magmoms if found.magmoms is None else found.magmoms,
            moments=options.moments,
            drift=found.drift,
            path=default_path(phonopy.primitive.cell),
            note=found.note,
            name=unit.name,
            samples=found.samples,
            energy_error=None if error is None else error / n_atoms,
            n_failed=found.n_failed,
        )
    )


def paramagnetic_crystal(potential: Potential, crystal: Crystal, options: PhononOptions) -> Crystal:
    """The crystal scaled to where the mean pressure of disordered states is zero."""
    phonopy = phonopy_of(crystal, options.supercell, magnetic=False)
    whole = supercell_structure(phonopy, crystal.structure)
    scaled = volume_without_pressure(
        potential, whole, options.states, options.magnetic, options.seed
    )
    return scaled_crystal(crystal, (scaled.volume / whole.volume) ** (1 / 3))
