"""Densities of states by the linear tetrahedron method (Lehmann and Taut 1972)."""

from __future__ import annotations

from itertools import permutations

import numpy as np


def states_below(
    bands: np.ndarray, energies: np.ndarray, shares: np.ndarray | None = None
) -> np.ndarray:
    """Number of states (e,) per cell below energies (e,), all bands together.

    Args:
        bands: (n1, n2, n3, b) at an even mesh of q with periods n1, n2 and n3.
        energies: of any unit, that of the bands.
        shares: (n1, n2, n3, b, s) of each state in s kinds, which are counted apart, (e, s); those
            of a tetrahedron are the means of its corners.
    """
    corners = np.sort(_corners(bands), axis=0)
    weights = np.ones((corners.shape[1], 1))
    if shares is not None:
        kinds = np.moveaxis(shares, -1, 0)
        weights = np.stack([_corners(of).mean(axis=0) for of in kinds], axis=1)
    found = np.empty((len(energies), weights.shape[1]))
    for k, energy in enumerate(energies):
        found[k] = weights[energy >= corners[3]].sum(axis=0)
        cut = (corners[0] < energy) & (energy < corners[3])
        low, second, third, high = corners[:, cut]
        x = energy
        with np.errstate(divide="ignore", invalid="ignore"):
            first = (x - low) ** 3 / ((second - low) * (third - low) * (high - low))
            between = (
                (second - low) ** 2
                + 3 * (second - low) * (x - second)
                + 3 * (x - second) ** 2
                - (third - low + high - second)
                * (x - second) ** 3
                / ((third - second) * (high - second))
            ) / ((third - low) * (high - low))
            last = 1 - (high - x) ** 3 / ((high - low) * (high - second) * (high - third))
        found[k] += np.where(x < second, first, np.where(x < third, between, last)) @ weights[cut]
    found *= bands.shape[3] / corners.shape[1]
    return found[:, 0] if shares is None else found


def _corners(bands: np.ndarray) -> np.ndarray:
    """(4, k) values at the corners of all tetrahedra: six to a cell, around its long diagonal."""
    found = []
    for order in permutations(range(3)):
        corner, values = bands, [bands]
        for axis in order:
            corner = np.roll(corner, -1, axis)
            values.append(corner)
        found.append(np.stack([value.ravel() for value in values]))
    return np.concatenate(found, axis=1)
