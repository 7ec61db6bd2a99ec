"""Elastic constants of the paramagnetic state: averages over disordered magnetic states.

Well above the temperature of order, moments change much faster than atoms move. What atoms and
cell feel is the mean energy of all patterns of signs (Kotykhov 2025, Sec. III.C), so second
derivatives, at magnitudes that follow, are averaged first; then the positions relax:

    V C = <A_ee> - <A_eu> <A_uu>^+ <A_ue>

and the volume is the one where the mean pressure is zero. All rotations of the crystal without
moments make equally likely states of each other, so that the average over them is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mmtp_jax.potential.potential import Potential
from mmtp_jax.properties.elastic_results import ElasticConstants, require_no_stress
from mmtp_jax.properties.response import (
    Response,
    UnstableStateError,
    strain_curvature,
)
from mmtp_jax.properties.second_derivatives import structure_response
from mmtp_jax.properties.symmetry import averaged, operations
from mmtp_jax.simulation.constants import GPA
from mmtp_jax.simulation.moments.options import MomentOptions
from mmtp_jax.simulation.spins.disorder_sampling import sample_states
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.structure import Structure

PRESSURE_GPA = 0.01
"""Mean pressure at which a volume is found."""

MAX_VOLUMES = 12

_START_GPA = 150.0
"""Bulk modulus of the first step."""

_TIGHT = MomentOptions(tolerance=1e-6, max_steps=400)


def disordered_constants(
    potential: Potential,
    structure: Structure,
    n: int = 20,
    *,
    relax: bool = True,
    magnetic: tuple[str, ...] | None = None,
    seed: int = 0,
    max_stress_GPa: float = 0.1,
    callback: Callable[[int], None] | None = None,
) -> ElasticConstants:
    """Mean elastic constants over n random collinear states without net moment.

    Args:
        potential: the potential.
        structure: a supercell of the ideal crystal; its moments give the magnitudes to start from.
        n: number of states.
        relax: scale the cell to where the mean pressure is zero.
        magnetic: species with disordered signs, None for all atoms with a moment.
        seed: of the states.
        max_stress_GPa: largest component of the mean stress that is neglected.
        callback: called with the number of states that are done.

    Raises:
        UnstableStateError: if fewer than two states are minima, or the mean positions are at none.
        ValueError: if the volume is not found, or the mean stress is too large.
    """
    if relax:
        structure = volume_without_pressure(potential, structure, n, magnetic, seed)
    responses = disordered_minima(potential, structure, n, magnetic, seed, callback)
    rotations = operations(neighbour_table(structure, float(potential.cutoff)), structure.types)
    stress = _symmetric(np.mean([r.stress for r in responses], axis=0), rotations) / GPA
    require_no_stress(structure.name, stress, max_stress_GPa)

    volume = structure.volume

    def constants(chosen: list[Response], adiabatic: bool = True, positions: bool = True):
        mean = _mean([r.without_moments(adiabatic) for r in chosen])
        curvature = strain_curvature(*mean, structure.name, positions)
        return averaged(curvature / (volume * GPA), rotations)

    # Jackknife: the relaxation of the positions is not linear in the averages.
    n_good = len(responses)
    left_out = [constants(responses[:k] + responses[k + 1 :]) for k in range(n_good)]
    return ElasticConstants(
        constants=constants(responses),
        clamped_moments=constants(responses, adiabatic=False),
        clamped_ions=constants(responses, positions=False),
        stress=stress,
        volume=volume / len(structure),
        n_atoms=len(structure),
        magmoms=np.array([r.structure.magmoms for r in responses]),
        error=np.sqrt((n_good - 1) * np.var(left_out, axis=0)),
        n_states=n_good,
        n_failed=n - n_good,
    )


def volume_without_pressure(
    potential: Potential,
    structure: Structure,
    n: int = 20,
    magnetic: tuple[str, ...] | None = None,
    seed: int = 0,
) -> Structure:
    """The structure scaled to where the mean pressure of n disordered states is zero.

    The states are the same at all volumes, so that their mean pressure is a smooth function.

    Raises:
        ValueError: if it is not found within a few steps, or the volume leaves what is sensible.
    """
    scaled, before = structure, None
    for _ in range(MAX_VOLUMES):
        states = disordered_minima(potential, scaled, n, magnetic, seed, moments_only=True)
        pressure = -float(np.mean([r.stress[:3] for r in states])) / GPA
        if abs(pressure) < PRESSURE_GPA:
            return scaled
        logarithm = float(np.log(scaled.volume))
        bulk = _START_GPA
        if before is not None and before[0] != logarithm:
            bulk = -(pressure - before[1]) / (logarithm - before[0])
        if bulk <= 0.0:
            break
        before = logarithm, pressure
        factor = np.exp(np.clip(pressure / bulk, -0.1, 0.1) / 3)
        scaled = replace(scaled, cell=scaled.cell * factor, positions=scaled.positions * factor)
    lost = n - len(states)
    raise ValueError(
        f"{structure.name}: no volume without mean pressure was found near that of the start (last "
        f"mean pressure {pressure:.3g} GPa)"
        + (f"; {lost} of {n} states are no minima there, which makes it jump" if lost else "")
        + "; start from another volume, or keep the volume"
    )


def disordered_minima(
    potential: Potential,
    structure: Structure,
    n: int,
    magnetic: tuple[str, ...] | None = None,
    seed: int = 0,
    callback: Callable[[int], None] | None = None,
    *,
    moments_only: bool = False,
) -> list[Response]:
    """Second derivatives of those of n disordered states that are minima by their moments.

    A pattern with symmetric magnitudes can be equilibrated to a saddle: it does not count. What
    ``moments_only`` leaves out is in `structure_response`.

    Raises:
        UnstableStateError: if there are fewer than two.
    """
    states = sample_states(potential, structure, n, options=_TIGHT, magnetic=magnetic, seed=seed)
    found = []
    for k, magmoms in enumerate(states.magmoms, 1):
        state = replace(structure, magmoms=magmoms)
        response = structure_response(potential, state, moments_only=moments_only)
        try:
            response.moment_response()
            found.append(response)
        except UnstableStateError:
            pass
        if callback is not None:
            callback(k)
    if len(found) < 2:
        raise UnstableStateError(
            f"{structure.name}: only {len(found)} of {n} disordered states are minima of the "
            "energy by their moments; start from other moments or another volume"
        )
    return found


def _mean(blocks: list[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    return tuple(np.mean(of_states, axis=0) for of_states in zip(*blocks, strict=True))


def _symmetric(stress: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """A stress (6,) averaged over rotations."""
    xx, yy, zz, yz, xz, xy = stress
    full = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    mean = np.mean(rotations @ full @ rotations.transpose(0, 2, 1), axis=0)
    return mean[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
