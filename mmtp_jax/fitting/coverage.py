"""What a training set does not determine, though the potential has room for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmtp_jax.fitting.initial import SMALLEST_MAX_MAGMOM, largest_magmoms
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.language import argument
from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures.structure import LABELS, Structure
from mmtp_jax.warn import warn

PER_PARAMETER = 2.0
"""Numbers in the labels for each parameter, below which they are few; forces of one small cell are
not independent of each other, so this is no luxury."""


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


def warn_of_coverage(
    potential: Potential, structures: Sequence[Structure], weights: Weights = Weights()
) -> None:
    """Issue the sentences, and that of `few_labels`, as `CoverageWarning`."""
    for sentence in [
        *uncovered(potential, structures),
        *few_labels(potential, structures, weights),
    ]:
        warn(sentence, CoverageWarning)


def count_numbers(structures: Sequence[Structure], weights: Weights = Weights()) -> int:
    """Numbers in all labels that have a weight: one energy, 3 n forces, six stresses, n dE/dm."""
    return sum(
        6 if kind == "stress" else int(np.size(getattr(structure, kind)))
        for structure in structures
        for kind in LABELS
        if getattr(weights, kind) > 0.0 and getattr(structure, kind) is not None
    )


def few_labels(
    potential: Potential, structures: Sequence[Structure], weights: Weights = Weights()
) -> list[str]:
    """What to change where the labels have fewer numbers than a potential needs.

    Empty where there are `PER_PARAMETER` times as many as parameters.
    """
    n, n_parameters = count_numbers(structures, weights), potential.n_parameters
    if n >= PER_PARAMETER * n_parameters:
        return []
    smaller = _largest_form(potential, n / PER_PARAMETER)
    advice = "give more labels" if smaller is None else f"take {smaller}, or give more labels"
    few = "fewer than" if n < n_parameters else f"less than {PER_PARAMETER:g} times"
    return [
        f"the labels have {n} numbers, {few} the {n_parameters} parameters of the potential, so "
        f"that much of it is left to chance: {advice}, and look at the errors of a validation set"
    ]


def _largest_form(potential: Potential, most: float) -> str | None:
    """Level and sizes of a potential of the same kind with at most so many parameters."""
    if potential.level is None or potential.form == "parity":
        return None
    for radial_size in dict.fromkeys((potential.radial_size, min(potential.radial_size, 6), 4)):
        for level in range(potential.level, 1, -2):
            found = Potential.new(
                level=level, species=potential.species, form=potential.form,
                radial_size=radial_size, magnetic_size=potential.magnetic_size,
            ).n_parameters  # fmt: skip
            if found <= most:
                sizes = argument("level", level), argument("radial_size", radial_size)
                return f"{' and '.join(sizes)} ({found} parameters)"
    return None


def absent_species(structures: Sequence[Structure], n_species: int) -> np.ndarray:
    """(S,) whether no structure has a species."""
    present = np.zeros(n_species, bool)
    for structure in structures:
        present[structure.types] = True
    return ~present


def _symbols(potential: Potential, which: np.ndarray) -> str:
    return ", ".join(potential.species[k] for k in np.flatnonzero(which))
