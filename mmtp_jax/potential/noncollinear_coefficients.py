"""Coefficients of the terms that vanish for parallel moments: which there are, and their order.

What the terms are, and their energies, is in `noncollinear.py`. Products are numbered by pairs
(i, j), i <= j, of the vectors that `noncollinear.py` makes: m_i x V_a first, then V_a x V_b.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmtp_jax.language import named
from mmtp_jax.potential.forms import MOST_FUNCTIONS

if TYPE_CHECKING:
    from mmtp_jax.potential.potential import Potential

Array = Any


class NoncollinearTerms(NamedTuple):
    """Coefficients of G sets of terms; there is one set, but in the mean of a committee."""

    coeffs: Array
    """(G, T) linear coefficients of the terms, eV."""
    radial: Array
    """(S, S, G, N, N_phi) of the functions q_a, for (central species, neighbour species)."""


def n_terms(n_functions: int) -> int:
    """T of one set: pairs, and both kinds of products."""
    return n_functions + sum(len(of) for of in products(n_functions))


@cache
def products(n_functions: int) -> tuple[np.ndarray, np.ndarray]:
    """(T', n, n) one-hot pairs of the n = N + N^2 vectors, of X and of Y.

    V_a x V_b counts for a < b alone, V_a x W_b for all.
    """
    size = n_functions + n_functions**2
    a, b = np.divmod(np.arange(n_functions**2), n_functions)
    of_x = np.concatenate([np.ones(n_functions, bool), a < b])
    return _pairs(np.flatnonzero(of_x), size), _pairs(np.arange(size), size)


def _pairs(used: np.ndarray, size: int) -> np.ndarray:
    first, second = np.triu_indices(len(used))
    found = np.zeros((len(first), size, size))
    found[np.arange(len(first)), used[first], used[second]] = 1.0
    return found


def new_terms(potential: Potential, n_functions: int, seed: int) -> NoncollinearTerms | None:
    """Terms with random functions and linear coefficients of zero; None without functions.

    Raises:
        ValueError: if there are too many functions, or moments of the potential cannot be vectors.
    """
    if not 0 <= n_functions <= MOST_FUNCTIONS:
        raise ValueError(
            f"{named('noncollinear_terms')} is a number of functions from 0 to {MOST_FUNCTIONS}, "
            f"got {n_functions}"
        )
    if n_functions == 0:
        return None
    if not potential.even or potential.magnetic_size == 1:
        raise ValueError(
            f"{named('noncollinear_terms')} belong to energies of canted moments, which "
            + (
                "the form 'bare' does not have; take the form 'parity'"
                if potential.magnetic_size > 1
                else f"a {named('magnetic_size')} of 1 does not have; take 3"
            )
        )
    size, n_species = potential.radial_size, potential.n_species
    smoothing = (0.5 * (float(potential.cutoff) - float(potential.min_dist))) ** 2
    radial = np.random.default_rng([seed, 1]).normal(
        size=(n_species, n_species, 1, n_functions, size)
    )
    radial /= float(potential.scaling) * smoothing * (1.0 + np.arange(size))
    free = np.reshape(potential.magnetic, (1, -1, 1, 1, 1))
    return NoncollinearTerms(np.zeros((1, n_terms(n_functions))), radial * free + 0.0)


@cache
def free_radial(magnetic: tuple[bool, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Places, in C order, of the coefficients of functions of neighbours that have moments."""
    free = np.broadcast_to(np.reshape(magnetic, (1, -1, 1, 1, 1)), shape)
    return np.flatnonzero(free)


def with_min_dist(terms: NoncollinearTerms | None, change: np.ndarray) -> NoncollinearTerms | None:
    """The same functions, whose Chebyshev polynomials have been rewritten by a matrix."""
    if terms is None:
        return None
    return terms._replace(radial=np.asarray(terms.radial) @ change)


def side_by_side(
    sets: list[NoncollinearTerms | None], scalings: list[Any]
) -> NoncollinearTerms | None:
    """The mean of terms with as many functions each, for a scaling of 1."""
    if sets[0] is None:
        return None
    return NoncollinearTerms(
        np.concatenate([of.coeffs for of in sets]) / len(sets),
        np.concatenate([s * of.radial for of, s in zip(sets, scalings, strict=True)], axis=2),
    )
