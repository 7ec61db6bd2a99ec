"""Elastic constants of ASE atoms, in one magnetic state or in the paramagnetic one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ase import Atoms

from mmtp_jax.interfaces.equilibration import start_structures
from mmtp_jax.options import takes
from mmtp_jax.potential.potential import Potential
from mmtp_jax.properties.elastic_results import MAX_STRESS_GPA, ElasticConstants, constants_of
from mmtp_jax.properties.options import no_options
from mmtp_jax.properties.paramagnetic import disordered_constants
from mmtp_jax.properties.second_derivatives import structure_response
from mmtp_jax.properties.states import TIGHT, relaxed_states
from mmtp_jax.simulation.relaxation.options import RelaxOptions


@takes(RelaxOptions, defaults=TIGHT)
def elastic_constants(
    potential: Potential,
    atoms: Atoms,
    *,
    relax: bool = True,
    max_stress_GPa: float = MAX_STRESS_GPA,
    states: int = 0,
    magnetic: Sequence[str] | None = None,
    seed: int = 0,
    callback: Callable[[int], None] | None = None,
    **options: Any,
) -> ElasticConstants:
    """Elastic constants of a magnetic state, by exact second derivatives.

    The state is relaxed (positions, cell and moments), and must keep the signs of its moments.
    ``constants`` are those with positions and moments that follow the strain, by an exact Schur
    complement; ``clamped_moments`` and ``clamped_ions`` are those where they do not.

    With ``states=n``, of the paramagnetic state: second derivatives are averaged over n random
    collinear states without net moment at the same positions, then the positions relax; rotations
    of the crystal without its moments are averaged over, too (Kotykhov 2025, Table II).

    Args:
        potential: the potential.
        atoms: the configuration; it is not changed. Its moments define the magnetic state. For an
            average, a supercell of the ideal crystal with the magnitudes to start from.
        relax: relax it first, with ``states`` only its volume, to where the mean pressure is zero;
            else it is taken as it is.
        max_stress_GPa: largest component of the (mean) stress that is neglected.
        states: disordered magnetic states to average over; 0 for the given one.
        magnetic: species with disordered signs; None for all atoms with a moment.
        seed: of the states.
        callback: called with the number of states that are done.
        **options: of the relaxation, as for `mmtp_jax.relax`; its tolerances are small.

    Returns:
        `ElasticConstants`; of an average with the standard ``error`` of each constant.

    Raises:
        UnstableStateError: if moments flip or vanish, or moments or positions are at no minimum;
            of disordered states, if fewer than two are minima.
        ValueError: if the relaxation does not end, no volume without pressure is found, or the
            stress is too large.
        TypeError: if there are options of a relaxation that does not take place.

    Example:
        >>> found = mmtp.elastic_constants(pot, atoms)
        >>> print(found)
        >>> found.constants, found.is_stable, found.averages.bulk
        >>> mmtp.elastic_constants(pot, supercell, states=50).error
    """
    if relax and not states:
        (structure,) = relaxed_states(potential, [atoms], options, vectors=True)
    else:
        no_options(options)
        (structure,) = start_structures(potential, [atoms], vectors=not states)
    if states:
        return disordered_constants(
            potential, structure, states, relax=relax, magnetic=magnetic, seed=seed,
            max_stress_GPa=max_stress_GPa, callback=callback,
        )  # fmt: skip
    return constants_of(structure_response(potential, structure), max_stress_GPa)
