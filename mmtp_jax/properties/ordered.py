"""The axis of a magnetic order and the moments along it, from moments that fluctuate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_ATOM = 0.02
"""Of the mean size of moments: a smaller mean along the axis has no sign."""


class Order(NamedTuple):
    """A collinear order."""

    axis: np.ndarray
    """(3,) unit vector; the net moment is not against it."""
    signs: np.ndarray
    """(n,) of the mean moments along it, 0 where there is none."""
    moment: float
    """Mean size of the mean moments along the axis, mu_B."""
    share: float
    """Mean moments along the axis, of the mean size: 1 in the ground state, 0 in a paramagnet."""
    across: float
    """Mean moments across the axis, of all mean moments, root mean square: 0 where collinear."""


def order_of(moments: np.ndarray) -> Order:
    """The order of moments (t, n, 3)."""
    mean = moments.mean(axis=0)
    size = float(np.sqrt(np.einsum("tix,tix->ti", moments, moments)).mean())
    along = np.linalg.eigh(mean.T @ mean)[1][:, -1]
    projected = mean @ along
    signs = np.where(np.abs(projected) > _ATOM * size, np.sign(projected), 0.0)
    net = projected.sum()
    if abs(net) < _ATOM * np.abs(projected).sum():
        # They cancel: the first atom decides.
        net = signs[np.argmax(signs != 0.0)]
    sense = -1.0 if net < 0.0 else 1.0
    squares = np.einsum("ix,ix->", mean, mean)
    across = np.sqrt(max(1.0 - projected @ projected / squares, 0.0)) if squares > 0.0 else 0.0
    return Order(
        axis=sense * along,
        signs=(sense * signs).astype(int),
        moment=float(np.abs(projected).mean()),
        share=float(np.abs(projected).mean() / size) if size > 0.0 else 0.0,
        across=float(across),
    )


def axis_along(mean: np.ndarray, signs: np.ndarray, before: np.ndarray) -> np.ndarray:
    """(3,) axis of an order of known signs in mean moments (n, 3), ``before`` where none is."""
    vector = signs @ mean
    length = np.linalg.norm(vector)
    return vector / length if length > 0.0 else before


def across_axis(axis: np.ndarray) -> np.ndarray:
    """(3,) complex ``e1 + i e2`` of right-handed unit vectors (e1, e2, axis)."""
    helper = np.eye(3)[np.argmin(np.abs(axis))]
    e1 = np.cross(helper, axis)
    e1 /= np.linalg.norm(e1)
    return e1 + 1j * np.cross(axis, e1)
