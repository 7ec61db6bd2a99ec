"""What a training set does not determine, though the potential has room for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmtp_jax.fitting.initial import SMALLEST_MAX_MAGMOM, largest_magmoms
from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures.structure import Structure
from mmtp_jax.warn import warn


class CoverageWarning(UserWarning):
    """A fit has parameters that its training set says nothing about."""


def uncovered(potential: Potential, structures: Sequence[Structure]) -> list[str]:
    """One sentence for the species that no structure has, and one for those without any moment.

    Args:
        potential: with the intervals that are fitted.
        structures: the training set.
    """
    found = []
    absent = absent_species(structures, potential.n_species)
    if absent.any():
        symbols = _symbols(potential, absent)
        found.append(
            f"no configuration of the training set has {symbols}: coefficients and energies of "
            "species without data stay as they were at the start, and mean nothing"
        )
    largest = largest_magmoms(structures, potential.n_species)
    most = np.asarray(potential.max_magmom)
    # M_max of the smallest size is what a fit itself gives to species without moments.
    still = ~absent & (largest == 0.0) & (most > SMALLEST_MAX_MAGMOM)
    if still.any():
        sizes = ", ".join(f"{most[k]:.4g}" for k in np.flatnonzero(still))
        found.append(
            f"all moments of {_symbols(potential, still)} in the training set are zero, but its "
            f"largest moment was set to {sizes} mu_B: nothing is known of energies at other moments"
        )
    return found


def warn_of_coverage(potential: Potential, structures: Sequence[Structure]) -> None:
    """Issue the sentences as `CoverageWarning`."""
    for sentence in uncovered(potential, structures):
        warn(sentence, CoverageWarning)


def absent_species(structures: Sequence[Structure], n_species: int) -> np.ndarray:
    """(S,) whether no structure has a species."""
    present = np.zeros(n_species, bool)
    for structure in structures:
        present[structure.types] = True
    return ~present


def _symbols(potential: Potential, which: np.ndarray) -> str:
    return ", ".join(potential.species[k] for k in np.flatnonzero(which))
