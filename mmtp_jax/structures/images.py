"""Neighbours as indices and images: what all lists with a skin of moving atoms share.

The vector to a neighbour follows from positions and cell inside jit, and stays exact when the cell
changes:

    r_ij = r_j + S h - r_i        (rows S: integer shifts, h: cell)

Let F = 1 + h0^-1 (h - h0) be the deformation of the cell since the list was made, and u the
displacements of the atoms beside it. A pair that was left out, d0 > R_cut + skin, is now at

    d >= (1 - |F - 1|) (R_cut + skin) - 2 max |u|

with the Frobenius norm. While this is above R_cut, no pair is missed.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from mmtp_jax.structures.neighbours import PADDING, NeighbourTable

Array = Any


def image_shifts(table: NeighbourTable, positions: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """The images (n, 3, K) int32 of the neighbours that a search found; zero in free places.

    Args:
        table: what the search found.
        positions: (n, 3) where it was made, Angstrom.
        inverse: (3, 3) pseudo-inverse of the cell, 1/Angstrom.
    """
    # The search gives vectors; what is left of them beside the positions are whole cells.
    partner = positions[np.maximum(table.index, 0)]
    beside = np.swapaxes(table.vectors, 1, 2) - partner + positions[:, None]
    shifts = np.swapaxes(np.rint(beside @ inverse), 1, 2).astype(np.int32)
    return np.where((table.index >= 0)[:, None], shifts, 0)


def image_vectors(
    positions: Array, cell: Array, index: Array, shifts: Array, count: Array, cutoff: Array
) -> tuple[Array, Array]:
    """The vectors (N, 3, K) to the neighbours, and the square (N,) of the shortest of each atom.

    Args:
        positions: (N, 3) Angstrom.
        cell: (N, 3, 3) of the configuration of each atom, Angstrom.
        index: (N, K) neighbours.
        shifts: (N, 3, K) their images.
        count: (N,) places in use; the vectors of the others are outside of ``cutoff``.
        cutoff: () Angstrom.
    """
    vectors = jnp.stack(
        [
            positions[:, x][index]
            - positions[:, x, None]
            + sum(shifts[:, k] * cell[:, k, x, None] for k in range(3))
            for x in range(3)
        ],
        axis=1,
    )
    real = jnp.arange(index.shape[1]) < count[:, None]
    vectors = jnp.where(real[:, None], vectors, PADDING * cutoff)
    return vectors, jnp.min(jnp.sum(vectors * vectors, axis=1), axis=1, initial=jnp.inf)


def share_of_skin(displacement: Array, deformation: Array, cutoff: Array, skin: Array) -> Array:
    """Share (C,) of the skin that is used up; above 1, pairs may be missing.

    Args:
        displacement: (C,) largest displacement beside that of the cell, Angstrom.
        deformation: (C, 3, 3) F - 1 of the cell.
        cutoff: () Angstrom.
        skin: () Angstrom.
    """
    strain = jnp.sqrt(jnp.sum(deformation**2, axis=(-2, -1)))
    room = (1.0 - strain) * (cutoff + skin) - cutoff
    # A position that is not finite must not count as one that has not moved.
    safe = (room > 0.0) & (2.0 * displacement <= room)
    return jnp.where(safe, 2.0 * displacement / room, jnp.inf)
