"""Force constants of the paramagnetic state: averages over disordered magnetic states.

Atoms feel the mean force of all patterns of signs (spin-space averaging; Kotykhov 2025, Secs.
III.B and III.D). The patterns that the symmetry of the crystal without moments makes of a state
are as likely as the state, so that the average over them is exact: it is taken of each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mmtp_jax.potential.potential import Potential
from mmtp_jax.properties.force_constants import ForceConstants
from mmtp_jax.properties.options import PhononOptions
from mmtp_jax.properties.response import UnstableStateError
from mmtp_jax.properties.second_derivatives import structure_response
from mmtp_jax.simulation.moments.options import MomentOptions
from mmtp_jax.simulation.spins.disorder_sampling import sample_states
from mmtp_jax.structures.structure import Structure

if TYPE_CHECKING:
    from phonopy import Phonopy

_TIGHT = MomentOptions(tolerance=1e-6, max_steps=400)


def disordered_force_constants(
    potential: Potential,
    structure: Structure,
    phonopy: Phonopy,
    options: PhononOptions,
    callback: Callable[[int], None] | None = None,
) -> ForceConstants:
    """The mean over random collinear states without net moment.

    Args:
        potential: the potential.
        structure: phonopy's supercell; its moments give the magnitudes to start from.
        phonopy: of the crystal without moments.
        options: how many states, of which species, and whether magnitudes follow the atoms.
        callback: called with the number of states that are done.

    Raises:
        UnstableStateError: if fewer than two states are minima of the energy by their moments.
    """
    states = sample_states(
        potential, structure, options.states, options=_TIGHT, magnetic=options.magnetic,
        seed=options.seed,
    )  # fmt: skip
    symmetry = SupercellSymmetry(phonopy)
    rows = np.asarray(phonopy.primitive.p2s_map)
    samples, energies, good = [], [], []
    mean = np.zeros((len(structure), len(structure), 3, 3))
    for k, magmoms in enumerate(states.magmoms):
        found = structure_response(potential, replace(structure, magmoms=magmoms))
        try:
            constants = symmetry.averaged(found.force_constants(options.follow))
        except UnstableStateError:
            continue
        finally:
            if callback is not None:
                callback(k + 1)
        mean += constants
        samples.append(constants[rows])
        energies.append(found.energy)
        good.append(magmoms)
    if len(good) < 2:
        raise UnstableStateError(
            f"{structure.name}: only {len(good)} of {options.states} disordered states are minima "
            "of the energy by their moments; start from other moments or another volume"
        )
    return ForceConstants(
        mean / len(good),
        float(np.mean(energies)),
        samples=np.array(samples),
        energy_error=float(np.std(energies, ddof=1) / np.sqrt(len(good))),
        magmoms=np.array(good),
        n_failed=options.states - len(good),
    )


class SupercellSymmetry:
    """Operations of a supercell: its translations, and one operation for each rotation."""

    def __init__(self, phonopy: Phonopy) -> None:
        found = phonopy.symmetry
        rotations = np.asarray(found.symmetry_operations["rotations"])
        permutations = np.asarray(found.atomic_permutations)
        axes = np.array(phonopy.supercell.cell).T
        _, first = np.unique(rotations.reshape(-1, 9), axis=0, return_index=True)
        unit = np.all(rotations == np.eye(3, dtype=int), axis=(1, 2))
        self.translations = permutations[unit]
        self.permutations = permutations[first]
        self.rotations = axes @ rotations[first] @ np.linalg.inv(axes)

    def averaged(self, constants: np.ndarray) -> np.ndarray:
        """(N, N, 3, 3) mean over all operations."""
        # An operation sends atom i to p[i] and turns the block of i and j by R.
        moved = np.zeros_like(constants)
        for p in self.translations:
            moved[np.ix_(p, p)] += constants
        turned = np.zeros_like(constants)
        for p, rotation in zip(self.permutations, self.rotations, strict=True):
            turned[np.ix_(p, p)] += rotation @ moved @ rotation.T
        return turned / (len(self.translations) * len(self.permutations))
