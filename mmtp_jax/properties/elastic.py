"""Elastic constants of ASE atoms, in one magnetic state or in the paramagnetic one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ase import Atoms

from mmtp_jax.interfaces.equilibration import start_structures
from mmtp_jax.potential.potential import Potential
from mmtp_jax.properties.elastic_results import MAX_STRESS_GPA, ElasticConstants, constants_of
from mmtp_jax.properties.paramagnetic import disordered_constants
from mmtp_jax.properties.second_derivatives import structure_response
from mmtp_jax.properties.states import relaxed_states


def elastic_constants(
    potential: Potential,
    atoms: Atoms,
    *,
    relax: bool = True,
    max_stress_GPa: float = MAX_STRESS_GPA,
    **options: Any,
) -> ElasticConstants:
    """Elastic constants of a magnetic state, by exact second derivatives.

    The state is relaxed (positions, cell and moments), and must keep the signs of its moments.
    ``constants`` are those with positions and moments that follow the strain, by an exact Schur
    complement; ``clamped_moments`` and ``clamped_ions`` are those where they do not.

    Args:
        potential: the potential.
        atoms: the configuration; it is not changed. Its moments define the magnetic state.
        relax: relax it first; else it is taken as it is.
        max_stress_GPa: largest component of the stress that is neglected.
        **options: of the relaxation, as for `mmtp_jax.relax`; its tolerances are small.

    Raises:
        UnstableStateError: if moments flip or vanish, or moments or positions are at no minimum.
        ValueError: if the relaxation does not end, or the stress is too large.

    Example:
        >>> found = mmtp.elastic_constants(pot, atoms)
        >>> print(found)
        >>> found.constants, found.is_stable, found.averages.bulk
    """
    if relax:
        (structure,) = relaxed_states(potential, [atoms], options)
    else:
        (structure,) = start_structures(potential, [atoms])
    return constants_of(structure_response(potential, structure), max_stress_GPa)


def paramagnetic_elastic_constants(
    potential: Potential,
    atoms: Atoms,
    n: int = 20,
    *,
    relax: bool = True,
    magnetic: Sequence[str] | None = None,
    seed: int = 0,
    max_stress_GPa: float = MAX_STRESS_GPA,
    callback: Callable[[int], None] | None = None,
) -> ElasticConstants:
    """Elastic constants of the paramagnetic state, averaged over random collinear states.

    Second derivatives are averaged over states without net moment at the same positions, then the
    positions relax; rotations of the crystal without its moments are averaged over, too
    (Kotykhov 2025, Table II).

    Args:
        potential: the potential.
        atoms: a supercell of the ideal crystal; its moments give the magnitudes to start from.
        n: number of states.
        relax: scale the cell to where the mean pressure is zero.
        magnetic: species with disordered signs; None for all atoms with a moment.
        seed: of the states.
        max_stress_GPa: largest component of the mean stress that is neglected.
        callback: called with the number of states that are done.

    Returns:
        `ElasticConstants` with the standard ``error`` of each constant.

    Raises:
        UnstableStateError: if fewer than two states are minima, or the mean positions are at none.
        ValueError: if no volume without pressure is found, or the mean stress is too large.
    """
    (structure,) = start_structures(potential, [atoms])
    return disordered_constants(
        potential,
        structure,
        n,
        relax=relax,
        magnetic=None if magnetic is None else tuple(magnetic),
        seed=seed,
        max_stress_GPa=max_stress_GPa,
        callback=callback,
    )
