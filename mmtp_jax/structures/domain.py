"""Is a configuration inside the intervals that a potential was fitted on?

Outside of them the Chebyshev polynomials grow quickly, so energies are extrapolated. That is
allowed, and counted.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures.neighbours import NeighbourTable
from mmtp_jax.structures.structure import Structure


class ExtrapolationWarning(UserWarning):
    """Distances below R_min or moments beyond M_max were met."""


@dataclass(frozen=True)
class DomainReport:
    """How many configurations, pairs and atoms lie outside of the fitted intervals."""

    close_configurations: tuple[str, ...]
    n_close_pairs: int
    shortest: float
    """Shortest distance, Angstrom; infinite without neighbours."""
    magmom_configurations: tuple[str, ...]
    n_magmoms: int
    largest: float
    """Largest absolute moment outside of its interval, mu_B; 0 if there is none."""
    min_dist: float

    def messages(self) -> list[str]:
        """One sentence per kind of extrapolation; empty where there is none."""
        found = []
        if self.n_close_pairs:
            found.append(
                f"{self.n_close_pairs} pairs in {len(self.close_configurations)} configurations "
                f"are closer than min_dist {self.min_dist:.4f} Angstrom (shortest "
                f"{self.shortest:.4f}, first in {self.close_configurations[0]}); their energies "
                "are extrapolated"
            )
        if self.n_magmoms:
            found.append(
                f"{self.n_magmoms} moments in {len(self.magmom_configurations)} configurations "
                f"are outside of the interval of the potential (largest {self.largest:.4f} mu_B, "
                f"first in {self.magmom_configurations[0]}); their energies are extrapolated"
            )
        return found

    def warn(self, stacklevel: int = 2) -> None:
        """Issue the messages as `ExtrapolationWarning`."""
        for message in self.messages():
            warnings.warn(message, ExtrapolationWarning, stacklevel=stacklevel + 1)


def check_domain(
    potential: Potential, structures: Sequence[Structure], tables: Sequence[NeighbourTable]
) -> DomainReport:
    """Count what lies outside of R_min and the moment intervals of a potential."""
    # The shortest pair of a training set defines R_min, and must not count by round-off.
    min_dist = float(potential.min_dist)
    close, n_close, shortest = [], 0, np.inf
    outside, n_outside, largest = [], 0, 0.0
    for structure, table in zip(structures, tables, strict=True):
        lengths = table.lengths
        if lengths.size:
            shortest = min(shortest, float(lengths.min()))
            short = int(np.sum(lengths < min_dist * (1 - 1e-9)))
            if short:
                close.append(structure.name)
                n_close += short // 2
        low = np.asarray(potential.min_magmom)[structure.types]
        high = np.asarray(potential.max_magmom)[structure.types]
        margin = 1e-9 * (high - low)
        beyond = (structure.magmoms < low - margin) | (structure.magmoms > high + margin)
        if np.any(beyond):
            outside.append(structure.name)
            n_outside += int(beyond.sum())
            largest = max(largest, float(np.abs(structure.magmoms[beyond]).max()))
    return DomainReport(
        tuple(close), n_close, shortest, tuple(outside), n_outside, largest, min_dist
    )
