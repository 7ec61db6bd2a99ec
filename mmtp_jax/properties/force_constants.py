"""Force constants of a supercell, with moments that follow the atoms or that are clamped.

Phi_ij = d2E / du_i du_j (eV/Angstrom^2). With moments that follow, exact by automatic
differentiation and a Schur complement (`response`), or from the forces of displaced supercells
whose moments are equilibrated anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import with_double_precision
from mmtp_jax.properties.crystal import Crystal, supercell_structure
from mmtp_jax.properties.response import MAGNETIC_TOLERANCE, UnstableStateError
from mmtp_jax.properties.second_derivatives import structure_response
from mmtp_jax.simulation.moments.steps import Status
from mmtp_jax.simulation.moments.structures import (
    EquilibratedStructure,
    MomentOptions,
    equilibrate_structures,
)
from mmtp_jax.structures.structure import Structure

if TYPE_CHECKING:
    from phonopy import Phonopy

MOMENTS = ("follow", "clamped")
METHODS = ("autodiff", "displacements")

DISTANCE = 0.01
"""Angstrom by which atoms are displaced."""

_TIGHT = MomentOptions(tolerance=1e-8, max_steps=400)

_KEPT = MomentOptions(tolerance=1e300, max_steps=1)
"""A tolerance that everything meets: the moments stay."""


@dataclass(frozen=True, eq=False)
class ForceConstants:
    """Second derivatives of one magnetic state, and its energy."""

    constants: np.ndarray = field(repr=False)
    """(N, N, 3, 3) eV/Angstrom^2, sums over the images of the supercell."""
    energy: float
    """Of the supercell, eV."""
    note: str = ""
    """Which moments are held, in words."""

    @property
    def drift(self) -> float:
        """Largest component of sum_j Phi_ij, zero by the acoustic sum rule, eV/Angstrom^2."""
        return float(np.abs(self.constants.sum(axis=1)).max())


def checked(choice: str, known: tuple[str, ...], name: str) -> str:
    """The choice, if it is known; else ValueError."""
    if choice not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {choice!r}")
    return choice


@with_double_precision
def equilibrated(potential: Potential, structure: Structure) -> Structure:
    """The structure with moments at their minimum, to the last digits.

    Raises:
        ValueError: if they cannot be equilibrated.
    """
    (found,) = equilibrate_structures(potential, [structure], _TIGHT)
    _require(found, structure.name)
    return replace(structure, magmoms=found.magmoms)


def constants_by_autodiff(
    potential: Potential, structure: Structure, moments: str = "follow"
) -> ForceConstants:
    """Of a supercell whose moments are equilibrated, unless they are clamped.

    Raises:
        UnstableStateError: if the moments are at no minimum.
    """
    found = structure_response(potential, structure)
    return ForceConstants(
        found.force_constants(adiabatic=moments == "follow"),
        found.energy,
        found.message if moments == "follow" else "",
    )


@with_double_precision
def constants_by_displacements(
    potential: Potential,
    crystal: Crystal,
    phonopy: Phonopy,
    moments: str = "follow",
    distance: float = DISTANCE,
    callback: Callable[[int], None] | None = None,
) -> ForceConstants:
    """Of phonopy's supercell from forces on atoms that are displaced both ways, all in one batch.

    Raises:
        UnstableStateError: if the moments of a displaced supercell are lost.
        ValueError: if they cannot be equilibrated.
    """
    ideal = supercell_structure(phonopy, crystal.structure)
    phonopy.generate_displacements(distance=distance, is_plusminus=True)
    displaced = [
        replace(ideal, positions=np.array(cell.positions))
        for cell in phonopy.supercells_with_displacements
    ]
    options = _TIGHT if moments == "follow" else _KEPT
    start, *found = equilibrate_structures(
        potential, [ideal, *displaced], options, callback=callback
    )
    if moments == "follow":
        for k, of in enumerate(found, 1):
            _require(of, f"{ideal.name}, displacement {k}")
    phonopy.forces = np.array([of.result.forces - start.result.forces for of in found])
    phonopy.produce_force_constants()
    return ForceConstants(np.array(phonopy.force_constants), start.result.energy)


def _require(found: EquilibratedStructure, name: str) -> None:
    """Raise unless moments are equilibrated, as far as they are free."""
    if found.status == Status.HELD_AT_ZERO:
        raise UnstableStateError(
            f"{name}: moments run into zero and would change their sign: the magnetic state is no "
            "minimum of this potential here; start from other moments or another volume"
        )
    if not found.converged and found.residual > 1e-2 * MAGNETIC_TOLERANCE:
        raise ValueError(f"{name}: the moments cannot be equilibrated: {found.message}")
