"""Labels as one number per configuration, and the groups of configurations that are alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import gcd

import numpy as np

from mmtp_jax.structures.structure import Structure

DILUTE = 2.0
"""Volume per atom over the median of the composition above which a cell holds vacuum."""


@dataclass(frozen=True)
class LabelNumbers:
    """What is compared: one number per configuration, NaN where there is no label."""

    energies: np.ndarray
    """eV/atom."""
    forces: np.ndarray
    stress: np.ndarray
    magnetic_forces: np.ndarray
    volumes: np.ndarray
    """Angstrom^3 per atom, NaN where the cell is not periodic in three directions."""
    fractions: np.ndarray
    """(N, S) of each species."""
    groups: dict[str, np.ndarray] = field(repr=False)
    """Configurations that can be compared, by what messages call them."""
    dense: np.ndarray
    """(N,) bool: periodic, without vacuum."""

    @classmethod
    def of(cls, structures: Sequence[Structure], species: Sequence[str]) -> LabelNumbers:
        counts = np.array([np.bincount(s.types, minlength=len(species)) for s in structures])
        sizes = counts.sum(axis=1)
        volumes = np.array([np.nan if s.volume is None else s.volume for s in structures]) / sizes
        alike: dict[str, list[int]] = {}
        for k, row in enumerate(counts):
            alike.setdefault(_formula(row, species), []).append(k)
        groups: dict[str, np.ndarray] = {}
        dense = np.zeros(len(structures), bool)
        for formula, numbers in alike.items():
            members = np.array(numbers)
            v = volumes[members]
            bulk = np.zeros(len(members), bool)
            if not np.isnan(v).all():
                bulk = v <= DILUTE * np.nanmedian(v)
            dense[members] = bulk
            groups[formula] = members[bulk]
            groups[f"{formula} with vacuum"] = members[~bulk & ~np.isnan(v)]
            groups[f"{formula} clusters"] = members[np.isnan(v)]
        energies = [np.nan if s.energy is None else s.energy / len(s) for s in structures]
        return cls(
            energies=np.array(energies, float),
            forces=_largest(
                None if s.forces is None else np.linalg.norm(s.forces, axis=1) for s in structures
            ),
            stress=_largest(s.stress for s in structures),
            magnetic_forces=_largest(
                None
                if s.magnetic_labels is None
                else np.linalg.norm(s.magnetic_labels.reshape(s.n_magnetic, -1), axis=1)
                for s in structures
            ),
            volumes=volumes,
            fractions=counts / sizes[:, None],
            groups={name: members for name, members in groups.items() if len(members)},
            dense=dense,
        )

    def strains(self, members: np.ndarray) -> np.ndarray:
        """ln(V / median of V); zero without volumes."""
        volumes = self.volumes[members]
        if np.isnan(volumes).any():
            return np.zeros(len(members))
        return np.log(volumes / np.median(volumes))


def _largest(arrays: Iterable[np.ndarray | None]) -> np.ndarray:
    return np.array([np.nan if a is None else np.abs(a).max(initial=0.0) for a in arrays])


def _formula(counts: np.ndarray, species: Sequence[str]) -> str:
    """Reduced formula, e.g. CrN for 4 Cr and 4 N."""
    divisor = gcd(*counts.tolist())
    parts = zip(species, (int(n) // divisor for n in counts), strict=True)
    return "".join(f"{s}{n if n > 1 else ''}" for s, n in parts if n)
