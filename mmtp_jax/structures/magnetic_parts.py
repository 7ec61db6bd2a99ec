"""Magnetic forces along and across moments that are vectors, and the torques that they make."""

from __future__ import annotations

import numpy as np


def directions(magmoms: np.ndarray) -> np.ndarray:
    """Unit vectors (n, 3) along moments (n, 3); zero where a moment is."""
    lengths = np.linalg.norm(magmoms, axis=1, keepdims=True)
    return np.divide(magmoms, lengths, out=np.zeros_like(magmoms), where=lengths > 0.0)


def along(forces: np.ndarray, magmoms: np.ndarray) -> np.ndarray:
    """The component (n,) of -dE/dm (n, 3) along each moment (n, 3), -dE/d|m|, eV/mu_B."""
    return np.sum(forces * directions(magmoms), axis=1)


def across(forces: np.ndarray, magmoms: np.ndarray) -> np.ndarray:
    """The part (n, 3) of -dE/dm (n, 3) across each moment (n, 3); all of it where that is zero."""
    return forces - along(forces, magmoms)[:, None] * directions(magmoms)


def torques(forces: np.ndarray, magmoms: np.ndarray) -> np.ndarray:
    """m x (-dE/dm) (n, 3), eV: minus the change of the energy as a moment turns."""
    return np.cross(magmoms, forces)
