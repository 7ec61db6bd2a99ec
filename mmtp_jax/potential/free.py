"""Which coefficients c of the radial functions are parameters, and which are zero by declaration.

A radial function of one parity has the coefficients c^(beta,gamma) whose beta + gamma has that
parity (`mmtp_jax.potential.parity`). A species without moments has beta = 0 alone where it is the
central atom, and gamma = 0 alone where it is the neighbour: no energy depends on its moment.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

Array = Any


@cache
def free_coefficients(
    parities: str, magnetic: tuple[bool, ...], shape: tuple[int, ...]
) -> np.ndarray:
    """(S, S, N_mu, 1, N_psi, N_psi) which c are free.

    Args:
        parities: ``e`` or ``o`` for each radial function; empty where they have none.
        magnetic: of each species, whether it has moments; empty where all have.
        shape: of c, (S, S, N_mu, N_phi, N_psi, N_psi).
    """
    n_species, _, n_mu, _, size, _ = shape
    free = np.ones((n_species, n_species, n_mu, 1, size, size), bool)
    if parities:
        odd = np.array([letter == "o" for letter in parities])
        order = np.add.outer(np.arange(size), np.arange(size)) % 2
        free &= (order[None] == odd[:, None, None])[:, None]
    for species, has_moments in enumerate(magnetic):
        if not has_moments:
            free[species, ..., 1:, :] = False
            free[:, species, ..., 1:] = False
    return free


@cache
def free_indices(parities: str, magnetic: tuple[bool, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Places of the free ones among c of a shape, in C order."""
    return np.flatnonzero(np.broadcast_to(free_coefficients(parities, magnetic, shape), shape))


def masked(parities: str, magnetic: tuple[bool, ...], radial_coeffs: Array) -> Array:
    """c with zeros where it is not free; unchanged where all of it is."""
    if not parities and all(magnetic):
        return radial_coeffs
    # Plus 0, for files shall not have -0.0.
    return radial_coeffs * free_coefficients(parities, magnetic, radial_coeffs.shape) + 0.0


def spread(places: np.ndarray, size: int, values: Array) -> Array:
    """(size,) of values at some places, ascending, and zeros elsewhere.

    A gather, whose transpose is one as well.
    """
    if len(places) == size:
        return values
    if isinstance(values, np.ndarray):
        found = np.zeros(size, values.dtype)
        found[places] = values
        return found
    import jax

    from mmtp_jax.potential.linear_map import linear_map

    like = jax.ShapeDtypeStruct((size,), values.dtype)
    static = (tuple(places.tolist()), size)
    return linear_map(_spread, _gathered, (), values, like, static, inline=True)


def _spread(places: tuple[int, ...], size: int, values: Array) -> Array:
    import jax.numpy as jnp

    place = np.full(size, -1)
    place[list(places)] = np.arange(len(places))
    return jnp.where(place >= 0, values[np.maximum(place, 0)], 0)


def _gathered(places: tuple[int, ...], size: int, values: Array) -> Array:
    del size
    return values[np.array(places)]
