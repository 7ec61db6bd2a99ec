"""Which changes of the cell a relaxation may make, as strains.

The strain is the logarithmic one, L in h = h0 exp(L), symmetric: rotations change no energy. What
is allowed is a linear space of such L, given by an orthonormal basis. A constraint that is linear
in L holds at any size of the change: without trace the volume stays, and a cell that may change
along x only keeps what it has along y and z.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmtp_jax.io.fields import shown
from mmtp_jax.language import in_python, named

AXES = ("xx", "yy", "zz", "yz", "xz", "xy")
"""Components of a strain, in ASE's order."""

N_STRAINS = 6
"""Directions in the space of all symmetric strains."""

CELLS = ("full", "volume", "shape", "c/a", "tetragonal", "none")
"""Named spaces: all strains; only the volume; all but the volume; one axis against the other two
at fixed volume; both lengths of a tetragonal or hexagonal cell whose axis is z; nothing."""


def basis_of(cell: bool | str | Sequence[Any]) -> np.ndarray:
    """Orthonormal strains (6, 3, 3) that the cell may take part in; zero after the last.

    Args:
        cell: True for "full", False for "none", one of `CELLS`, components such as
            ``("xx", "yy")`` or ``"xx yy"``, or six flags in the order of `AXES`.

    Raises:
        ValueError: for anything else.
    """
    names = _names(cell)
    basis = np.zeros((N_STRAINS, 3, 3))
    for k, strain in enumerate(_strains(names, cell)):
        basis[k] = strain / np.linalg.norm(strain)
    return basis


def _names(cell: Any) -> tuple[str, ...]:
    if isinstance(cell, (bool, np.bool_)):
        return ("full",) if cell else ("none",)
    if isinstance(cell, str):
        return tuple(cell.replace(",", " ").split())
    given = list(np.asarray(cell).tolist()) if np.ndim(cell) == 1 else []
    if len(given) == len(AXES) and all(flag in (0, 1) for flag in given):
        return tuple(axis for axis, flag in zip(AXES, given, strict=True) if flag) or ("none",)
    return tuple(str(name) for name in given)


def _strains(names: tuple[str, ...], cell: Any) -> list[np.ndarray]:
    x, y, z = (np.diag(row) for row in np.eye(3))
    by_name = {
        "full": [_component(axis) for axis in AXES],
        "volume": [np.eye(3)],
        "shape": [x - y, x + y - 2 * z, *(_component(axis) for axis in AXES[3:])],
        "c/a": [2 * z - x - y],
        "tetragonal": [x + y, z],
        "none": [],
    }
    if len(names) == 1 and names[0] in by_name:
        return by_name[names[0]]
    if names and len(set(names)) == len(names) and set(names) <= set(AXES):
        return [_component(axis) for axis in names]
    raise ValueError(
        f"{named('cell')} must be {in_python('True, False, ')}one of {', '.join(CELLS)}, or "
        f"components among {' '.join(AXES)}, got {shown(cell)}"
    )


def _component(axis: str) -> np.ndarray:
    i, j = ("xyz".index(letter) for letter in axis)
    strain = np.zeros((3, 3))
    strain[i, j] = strain[j, i] = 1.0
    return strain
