"""Point symmetry of a crystal without its moments, and averages of tensors over it.

Only the 48 operations that permute and reverse x, y and z are looked for: all of those of cubic,
tetragonal and orthorhombic crystals whose axes are along x, y and z.
"""

from __future__ import annotations

from itertools import permutations, product

import numpy as np

from mmtp_jax.structures.neighbours import NeighbourTable

SAME = 1e-3
"""Angstrom by which neighbours may differ from where symmetry has them."""

_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def signed_permutations() -> np.ndarray:
    """(48, 3, 3) operations of a cube with its axes along x, y and z."""
    unit = np.eye(3)
    return np.array(
        [
            np.diag(signs) @ unit[list(order)]
            for order in permutations(range(3))
            for signs in product((1.0, -1.0), repeat=3)
        ]
    )


def operations(table: NeighbourTable, types: np.ndarray) -> np.ndarray:
    """(k, 3, 3) operations that leave the crystal as it is, its moments not looked at.

    An operation is one if it maps the neighbours of every atom to those of an atom of the same
    species.
    """
    environments = [
        np.column_stack([types[index[index >= 0]], vectors.T[index >= 0]])
        for index, vectors in zip(table.index, table.vectors, strict=True)
    ]
    found = [
        rotation
        for rotation in signed_permutations()
        if all(
            any(
                _same(_rotated(environments[i], rotation), environments[j])
                for j in np.flatnonzero(types == types[i])
            )
            for i in range(len(types))
        )
    ]
    return np.array(found)


def averaged(tensor: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """(6, 6) elastic tensor averaged over rotated copies of it."""
    full = full_tensor(tensor)
    return np.mean([voigt_tensor(rotated(full, r)) for r in rotations], axis=0)


def full_tensor(tensor: np.ndarray) -> np.ndarray:
    """(3, 3, 3, 3) from (6, 6) in ASE's order."""
    place = np.empty((3, 3), int)
    for k, (i, j) in enumerate(_PAIRS):
        place[i, j] = place[j, i] = k
    return np.asarray(tensor)[place[:, :, None, None], place[None, None]]


def voigt_tensor(full: np.ndarray) -> np.ndarray:
    """(6, 6) from (3, 3, 3, 3)."""
    rows, columns = np.transpose(_PAIRS)
    return full[rows[:, None], columns[:, None], rows, columns]


def rotated(full: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """A tensor (3, 3, 3, 3) of the crystal after a rotation."""
    r = rotation
    return np.einsum("ai,bj,ck,dl,ijkl->abcd", r, r, r, r, full, optimize=True)


def _rotated(environment: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    copy = environment.copy()
    copy[:, 1:] = environment[:, 1:] @ rotation.T
    return copy


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Are two sets of rows (species, x, y, z) the same?"""
    if len(one) != len(other):
        return False
    distance = np.linalg.norm(one[:, None, 1:] - other[None, :, 1:], axis=-1)
    distance[one[:, None, 0] != other[None, :, 0]] = np.inf
    return bool(np.all(distance.min(axis=1, initial=np.inf) < SAME))
