"""Exchange constants and magnons of ASE atoms in a collinear magnetic state."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

from mmtp_jax.interfaces.equilibration import start_structures
from mmtp_jax.language import named
from mmtp_jax.options import takes
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.vectors import check_vectors
from mmtp_jax.properties.exchange_results import BY_FORM, Exchange
from mmtp_jax.properties.force_constants import equilibrated
from mmtp_jax.properties.magnon_results import Magnons, magnons_of
from mmtp_jax.properties.options import ExchangeOptions, no_options
from mmtp_jax.properties.primitive import primitive_cell
from mmtp_jax.properties.response import MAGNETIC_TOLERANCE, UnstableStateError
from mmtp_jax.properties.spin_model import SpinModel
from mmtp_jax.properties.states import TIGHT, relaxed_states
from mmtp_jax.properties.transverse import Transverse, transverse
from mmtp_jax.simulation.relaxation.options import RelaxOptions
from mmtp_jax.structures.domain import ExtrapolationWarning, canted_by_form_alone
from mmtp_jax.structures.structure import Structure
from mmtp_jax.warn import warn

_ZERO = 1e-6
"""mu_B."""


@takes(ExchangeOptions, RelaxOptions, without=("pressure_GPa",), defaults=TIGHT)
def exchange(potential: Potential, atoms: Atoms, *, relax: bool = True, **options: Any) -> Exchange:
    """Exchange constants J_ij of a collinear state, from exact second derivatives.

    The state is relaxed first, as for `phonons`, and brought to its primitive cell. Couplings are
    those of the infinite crystal up to two cutoffs, where they end: there is no supercell, and no
    image counts for another. Only energies between the axes enter, which there are none of
    in collinear labels: the result says where it is extrapolated by the form.

    Args:
        potential: one that is even in the moments.
        atoms: a crystal with collinear moments, which define the magnetic state; not changed.
        relax: relax it first; else only its moments are equilibrated.
        **options: ``min_moment``, ``moments="fixed"``; others are of the relaxation, as for
            `mmtp_jax.relax`, e.g. ``cell``; its tolerances are small.

    Raises:
        UnstableStateError: if moments flip or vanish.
        ValueError: if the potential is not even, the atoms are no crystal, no moments or not
            collinear, or the relaxation does not end.
        TypeError: if an option is unknown, or one of a relaxation that does not take place.

    Warns:
        ExtrapolationWarning: if the potential was fitted to collinear moments alone.

    Example:
        >>> found = mmtp.exchange(pot, atoms)
        >>> print(found)
        >>> found.shells[0].J, found.J, found.pairs, found.mean_field_K
    """
    chosen, of_relaxation = ExchangeOptions.split(options)
    check_vectors(potential)
    (start,) = start_structures(potential, [atoms])
    if start.volume is None:
        raise ValueError(
            f"{start.name}: exchange constants and magnons need a crystal, periodic in three "
            "directions; set pbc, with empty space where there is none"
        )
    _require_moments(start, chosen.min_moment)
    if relax:
        fixed = {"moments": chosen.moments}
        (start,) = relaxed_states(potential, [atoms], {**of_relaxation, **fixed})
    else:
        no_options(of_relaxation)
    if canted_by_form_alone(potential):
        warn(f"{start.name}: {BY_FORM}", ExtrapolationWarning)
    structure = equilibrated(potential, start) if chosen.moments == "equilibrate" else start
    unit, kept = primitive_cell(structure)
    return exchange_of_structure(
        potential, unit, tuple(atoms.symbols[k] for k in kept), chosen.min_moment
    )


@takes(ExchangeOptions, RelaxOptions, without=("pressure_GPa",), defaults=TIGHT)
def magnons(potential: Potential, atoms: Atoms, *, relax: bool = True, **options: Any) -> Magnons:
    """Adiabatic magnons of a collinear state: ferro-, ferri- or antiferromagnetic.

    Linear spin waves of the second derivatives of `exchange`, which has the arguments and errors.

    Warns:
        SoftMagnonsWarning: if turns of the moments lower the energy: the state is no minimum.
        ExtrapolationWarning: if the potential was fitted to collinear moments alone.

    Example:
        >>> found = mmtp.magnons(pot, atoms)
        >>> print(found)  # stiffness, critical temperatures
        >>> found.bands(), found.dos(), found.energies([[0.5, 0, 0]]), found.exchange
    """
    return magnons_of(exchange(potential, atoms, relax=relax, **options))


def exchange_of_structure(
    potential: Potential,
    structure: Structure,
    symbols: tuple[str, ...],
    min_moment: float = ExchangeOptions.min_moment,
) -> Exchange:
    """`exchange` of a crystal as it is.

    Raises:
        UnstableStateError: if moments that follow are held at zero by their sign.
        ValueError: if there are no moments.
    """
    spins = _require_moments(structure, min_moment)
    found = transverse(potential, structure)
    magnetic = np.asarray(potential.magnetic)[structure.types]
    follow = magnetic & ~spins
    pulled = np.abs(found.magnetic_forces) > MAGNETIC_TOLERANCE
    held = np.flatnonzero(follow & pulled & (np.abs(structure.magmoms) < _ZERO))
    if held.size:
        raise UnstableStateError(
            f"{structure.name}: the moment of atom {held[0]}, {structure.magmoms[held[0]]:.3g} "
            "mu_B, is held at zero: the magnetic state is no minimum of this potential here; "
            "start from other moments or another volume"
        )
    model = spin_model(structure, found, spins, follow)
    notes = []
    if follow.any():
        notes.append(
            f"{int(follow.sum())} atoms with moments below {min_moment:g} mu_B follow the others: "
            "J are at their fixed moments, magnons and temperatures at the least energy"
        )
    if n_held := int(np.sum(pulled & (spins | follow))):
        notes.append(f"{n_held} moments are held at lengths that do not minimise the energy")
    return Exchange(
        structure=structure,
        symbols=symbols,
        model=model,
        spins=np.flatnonzero(spins),
        energy=found.energy / len(structure),
        volume=structure.volume / len(structure),
        range=2.0 * float(potential.cutoff),
        sum_rule=model.sum_rule(),
        by_form=canted_by_form_alone(potential),
        note="; ".join(notes),
        name=structure.name,
    )


def spin_model(
    structure: Structure, found: Transverse, spins: np.ndarray, follow: np.ndarray
) -> SpinModel:
    """Derivatives by turns of atoms (n,) that precess, and by moments that follow."""
    order = np.concatenate([np.flatnonzero(spins), np.flatnonzero(follow)])
    place = np.full(len(structure), -1)
    place[order] = np.arange(len(order))
    scale = np.where(spins, np.abs(structure.magmoms), 1.0)
    inside = (place[found.first] >= 0) & (place[found.second] >= 0)
    first, second, shifts = found.first[inside], found.second[inside], found.shifts[inside]
    values = found.values[inside] * scale[first] * scale[second]
    own = (first == second) & ~shifts.any(axis=1) & (structure.magmoms[first] != 0.0)
    # A moment that turns is shorter along the axis.
    loss = scale**2 * found.magnetic_forces / np.where(structure.magmoms, structure.magmoms, 1.0)
    values = values + np.where(own, loss[first], 0.0)
    return SpinModel(
        cell=np.asarray(structure.cell, float),
        positions=structure.positions[order],
        moments=structure.magmoms[order],
        n_spins=int(spins.sum()),
        first=place[first],
        second=place[second],
        shifts=shifts,
        values=values,
    )


def _require_moments(structure: Structure, least: float) -> np.ndarray:
    """(n,) bool: atoms with moments."""
    spins = np.abs(structure.magmoms) >= least
    if not spins.any():
        largest = float(np.abs(structure.magmoms).max(initial=0.0))
        raise ValueError(
            f"{structure.name}: no atom has a moment of {least:g} mu_B (the largest is "
            f"{largest:.3g}), so that there is nothing to precess; give it moments, or "
            f"a smaller {named('min_moment')}"
        )
    return spins
