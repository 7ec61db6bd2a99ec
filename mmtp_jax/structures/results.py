"""Predictions of a graph, cut into one result per configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from mmtp_jax.potential.observables import Observables
from mmtp_jax.readable import readable
from mmtp_jax.structures.batch import Batch
from mmtp_jax.structures.structure import Structure

VOIGT = (np.array([0, 1, 2, 1, 0, 0]), np.array([0, 1, 2, 2, 2, 1]))
"""Indices of a (3, 3) stress in ASE's order xx yy zz yz xz xy."""


@readable
@dataclass(frozen=True)
class Result:
    """What a potential says about one configuration, as numpy arrays."""

    energy: float
    """eV."""
    forces: np.ndarray
    """(n, 3) -dE/dr at fixed moments, eV/Angstrom."""
    stress: np.ndarray | None
    """(6,) ASE order and sign, eV/Angstrom^3; None where the cell is not periodic in 3D."""
    magnetic_forces: np.ndarray
    """(n,), or (n, 3) for vectors: -dE/dm, eV/mu_B."""
    energies: np.ndarray
    """(n,) energy of each atom, eV."""


@readable
@dataclass(frozen=True)
class CommitteeResult(Result):
    """What a committee of potentials says about one configuration: means over its members.

    Spreads are standard deviations over the members, with one less than their number below.
    """

    energy_std: float
    """eV; of the whole configuration."""
    forces_std: np.ndarray
    """(n, 3) of each component, eV/Angstrom."""
    stress_std: np.ndarray | None
    """(6,) eV/Angstrom^3; None where the cell is not periodic in 3D."""
    magnetic_forces_std: np.ndarray
    """As the magnetic forces, eV/mu_B."""
    energies_std: np.ndarray
    """(n,) eV. Energies of atoms may differ more than those of configurations."""
    members: tuple[Result, ...] = field(repr=False)
    """What each says."""

    @classmethod
    def of(cls, members: Sequence[Result]) -> CommitteeResult:
        """Mean and spread of the results of two or more potentials for one configuration."""
        found: dict[str, Any] = {}
        for name in (f.name for f in fields(Result)):
            values = [getattr(member, name) for member in members]
            known = values[0] is not None
            found[name] = np.mean(values, axis=0) if known else None
            found[f"{name}_std"] = np.std(values, axis=0, ddof=1) if known else None
        for name in ("energy", "energy_std"):
            found[name] = float(found[name])
        return cls(**found, members=tuple(members))


def results_of(
    batch: Batch, structures: Sequence[Structure], sites: np.ndarray, values: Observables
) -> list[tuple[int, Result]]:
    """(place in ``structures``, result) of every configuration of a batch.

    Args:
        batch: the packed configurations.
        structures: the list that was packed.
        sites: (N,) site energies, eV.
        values: observables of the graph; its energies are not used, but the sums of ``sites``.
    """
    energies = batch.split(np.asarray(sites, np.float64))
    forces = batch.split(np.asarray(values.forces, np.float64))
    magnetic = batch.split(np.asarray(values.magnetic_forces, np.float64))
    stress = np.asarray(values.stress, np.float64)
    return [
        (
            int(member),
            result_of(structures[member], energies[k], forces[k], stress[k], magnetic[k]),
        )
        for k, member in enumerate(batch.members)
    ]


def result_of(
    structure: Structure,
    energies: np.ndarray,
    forces: np.ndarray,
    stress: np.ndarray,
    magnetic_forces: np.ndarray,
) -> Result:
    """The result of one structure, from arrays of its own and the stress (3, 3)."""
    return Result(
        energy=float(energies.sum()),
        forces=forces,
        stress=None if structure.volume is None else stress[VOIGT],
        magnetic_forces=magnetic_forces,
        energies=energies,
    )
