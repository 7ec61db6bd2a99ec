"""The primitive cell of a crystal with moments: the smallest that its translations leave."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
from ase.geometry.minkowski_reduction import minkowski_reduce

from mmtp_jax.properties.crystal import SYMPREC
from mmtp_jax.structures.structure import Structure

_NEARBY = 0.5
"""Angstrom, and mu_B; far more than a relaxation moves atoms."""


def primitive_cell(structure: Structure, tolerance: float = SYMPREC) -> tuple[Structure, list[int]]:
    """The cell, or a smaller one of the same crystal, and which atoms are left.

    Args:
        structure: periodic in three directions, with collinear moments.
        tolerance: within which positions (Angstrom) and moments (mu_B) are the same.
    """
    cell, n = np.asarray(structure.cell, float), len(structure)
    shifts = _translations(structure, tolerance)
    if len(shifts) == 1:
        return structure, list(range(n))
    small = _basis(minkowski_reduce(cell)[0], shifts @ cell, len(shifts))
    scaled = structure.positions @ np.linalg.inv(small)
    kept: list[int] = []
    for k in range(n):
        apart = (scaled[kept] - scaled[k]) if kept else np.ones((1, 3)) / 2
        apart = (apart - np.rint(apart)) @ small
        same = np.linalg.norm(apart, axis=1) < 10 * tolerance
        if not np.any(same):
            kept.append(k)
    reduced = replace(
        structure,
        cell=small,
        positions=structure.positions[kept],
        types=structure.types[kept],
        magmoms=structure.magmoms[kept],
        magnetic=None if structure.magnetic is None else structure.magnetic[kept],
        energy=None, forces=None, stress=None, magnetic_forces=None, shift_counts=None,
    )  # fmt: skip
    return reduced, kept


def may_become_smaller(structure: Structure) -> bool:
    """Whether a crystal nearby, at rest, might have a smaller primitive cell than this one."""
    return len(_translations(structure, _NEARBY)) > 1


def _translations(structure: Structure, tolerance: float) -> np.ndarray:
    """(p, 3) in units of the cell vectors, in [-1/2, 1/2], zero first."""
    cell, moments = np.asarray(structure.cell, float), structure.magmoms
    scaled = structure.positions @ np.linalg.inv(cell)

    def same_kind(i: int) -> np.ndarray:
        return (structure.types == structure.types[i]) & (np.abs(moments - moments[i]) < tolerance)

    kinds = [same_kind(i) for i in range(len(scaled))]
    first = int(np.argmin([kind.sum() for kind in kinds]))
    found = [np.zeros(3)]
    for k in np.flatnonzero(kinds[first]):
        shift = scaled[k] - scaled[first]
        shift -= np.rint(shift)
        if k != first and all(
            _is_there(scaled[i] + shift, scaled[kinds[i]], cell, tolerance)
            for i in range(len(scaled))
        ):
            found.append(shift)
    return np.array(found)


def _is_there(place: np.ndarray, places: np.ndarray, cell: np.ndarray, tolerance: float) -> bool:
    apart = places - place
    return bool(np.linalg.norm((apart - np.rint(apart)) @ cell, axis=1).min() < tolerance)


def _basis(cell: np.ndarray, shifts: np.ndarray, n: int) -> np.ndarray:
    """The shortest right-handed basis of the lattice of a cell and n shifts."""
    images = np.array(list(product((-1, 0, 1), repeat=3))) @ cell
    vectors = (shifts[:, None] + images).reshape(-1, 3)
    lengths = np.linalg.norm(vectors, axis=1)
    vectors = vectors[np.argsort(lengths, kind="stable")][1:]
    volume = abs(np.linalg.det(cell)) / n
    a = vectors[0]
    across = np.linalg.norm(np.cross(a, vectors), axis=1)
    for b in vectors[across > 1e-3 * np.linalg.norm(a) * np.linalg.norm(vectors, axis=1)]:
        heights = vectors @ np.cross(a, b)
        fits = np.flatnonzero(np.abs(np.abs(heights) - volume) < 1e-3 * volume)
        if fits.size:
            c = vectors[fits[0]]
            return np.array([a, b, c if heights[fits[0]] > 0 else -c])
    raise AssertionError("the shifts are no lattice: this should not happen")
