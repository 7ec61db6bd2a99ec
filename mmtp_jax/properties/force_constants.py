"""Force constants of a supercell, with moments that follow the atoms or that are fixed.

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
from mmtp_jax.properties.options import PhononOptions
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

_TIGHT = MomentOptions(tolerance=1e-8, max_steps=400)

_KEPT = MomentOptions(tolerance=1e300, max_steps=1)
"""A tolerance that everything meets: the moments stay."""


@dataclass(frozen=True, eq=False)
class ForceConstants:
    """Second derivatives of one magnetic state or the mean over k of them, and the energy."""

    constants: np.ndarray = field(repr=False)
    """(N, N, 3, 3) eV/Angstrom^2, sums over the images of the supercell."""
    energy: float
    """Of the supercell, eV."""
    note: str = ""
    """Which moments are held, in words."""
    samples: np.ndarray | None = field(repr=False, default=None)
    """(k, n, N, 3, 3) of the n atoms of the primitive cell, for each state of a mean."""
    energy_error: float | None = None
    """Standard error of the energy of a mean, eV."""
    magmoms: np.ndarray | None = field(repr=False, default=None)
    """(k, N) mu_B of the states of a mean."""
    n_failed: int = 0
    """States that do not count because their moments are at no minimum."""

    @property
    def drift(self) -> float:
        """Largest component of sum_j Phi_ij, zero by the acoustic sum rule, eV/Angstrom^2."""
        return float(np.abs(self.constants.sum(axis=1)).max())


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
    potential: Potential, structure: Structure, follow: bool = True
) -> ForceConstants:
    """Of a supercell whose moments are equilibrated, unless they do not follow.

    Raises:
        UnstableStateError: if the moments are at no minimum.
    """
    found = structure_response(potential, structure)
    return ForceConstants(
        found.force_constants(follow), found.energy, found.message if follow else ""
    )


@with_double_precision
def constants_by_displacements(
    potential: Potential,
    crystal: Crystal,
    phonopy: Phonopy,
    options: PhononOptions,
    callback: Callable[[int], None] | None = None,
) -> ForceConstants:
    """Of phonopy's supercell from forces on atoms that are displaced both ways, all in one batch.

    Raises:
        UnstableStateError: if the moments of a displaced supercell are lost.
        ValueError: if they cannot be equilibrated.
    """
    ideal = supercell_structure(phonopy, crystal.structure)
    phonopy.generate_displacements(distance=options.distance, is_plusminus=True)
    displaced = [
        replace(ideal, positions=np.array(cell.positions))
        for cell in phonopy.supercells_with_displacements
    ]
    search = _TIGHT if options.follow else _KEPT
    start, *found = equilibrate_structures(
        potential, [ideal, *displaced], search, callback=callback
    )
    if options.follow:
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
    close = found.residual <= 1e-2 * MAGNETIC_TOLERANCE and found.status != Status.OUTSIDE
    if not found.converged and not close:
        raise ValueError(f"{name}: the moments cannot be equilibrated: {found.message}")
