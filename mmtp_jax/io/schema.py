"""Where labels live on an ``ase.Atoms``, and what counts as collinear.

One schema, whatever the file was: energy (eV), forces (eV/Angstrom), stress (ASE order and sign,
eV/Angstrom^3) and achieved moments ``magmoms`` (mu_B) are results of the calculator; magnetic
forces T = -dE/dm (eV/mu_B) are ``atoms.arrays["magnetic_forces"]``, because ASE calculators know
no such property; moments to start from are ``atoms.get_initial_magnetic_moments()``.

Collinear moments are (n,). Codes that store vectors give (n, 3) with one non-zero column: that
is collinear too, and the axis means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

MAGNETIC_FORCES = "magnetic_forces"
"""Name of the array with T = -dE/dm."""

MAKING, KMESH = "making", "kmesh"
"""Entries of ``atoms.info``: how the labels were made (`mmtp_jax.structures.making`), and with
which mesh of k-points, ``"4x4x2"``."""

SOURCE = "source"
"""Attribute that `mmtp_jax.io.formats.read` sets on each Atoms: what messages call it.

It is a plain attribute, not an entry of ``info``: no writer writes it, no copy carries it.
"""


@dataclass(frozen=True)
class Labels:
    """What is known of one configuration."""

    results: dict[str, Any]
    """Results of the calculator for these very atoms."""
    magnetic_forces: np.ndarray | None
    """T = -dE/dm in eV/mu_B, (n,) or (n, 3)."""
    achieved_moments: np.ndarray | None
    """Of the calculator, mu_B, (n,) or (n, 3)."""
    initial_moments: np.ndarray | None
    """mu_B, (n,) or (n, 3)."""
    stale: bool
    """The calculator has results, but for other positions, cell or moments: none is used."""

    @property
    def moments(self) -> np.ndarray | None:
        """The achieved moments, or else the initial ones."""
        return self.initial_moments if self.achieved_moments is None else self.achieved_moments


def labels_of(atoms: Atoms) -> Labels:
    """The labels of a configuration, wherever they live; changes nothing.

    Per-atom arrays follow a copy whose atoms are then moved, so magnetic forces in the arrays are
    as old as the calculator's results: where these are stale, the array is not used either.
    """
    calc = atoms.calc
    results = getattr(calc, "results", None) or {}
    stale = bool(results) and hasattr(calc, "check_state") and bool(calc.check_state(atoms))
    if stale:
        results, forces = {}, None
    else:
        results = {name: value for name, value in results.items() if value is not None}
        # Forces and stress are derivatives of the free energy, where there are two.
        if "free_energy" in results:
            results["energy"] = results.pop("free_energy")
        forces = results.get(MAGNETIC_FORCES, atoms.arrays.get(MAGNETIC_FORCES))
    achieved = results.get("magmoms")
    return Labels(
        results=results,
        magnetic_forces=None if forces is None else np.asarray(forces),
        achieved_moments=None if achieved is None else np.asarray(achieved),
        initial_moments=atoms.arrays.get("initial_magmoms"),
        stale=stale,
    )


def axis_of(vectors: np.ndarray) -> int | None:
    """The column of (n, 3) vectors that holds everything (0 if all is zero), None if several do."""
    used = vectors.any(axis=0).tolist()
    if sum(used) > 1:
        return None
    return used.index(True) if any(used) else 0


def collapse(values: np.ndarray) -> np.ndarray:
    """Collinear (n,), (n, 1) or (n, 3) values as (n,); noncollinear and odd shapes unchanged."""
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0].copy()
    if values.ndim == 2 and values.shape[1] == 3:
        axis = axis_of(values)
        if axis is not None:
            return values[:, axis].copy()
    return values


def check_periodic(atoms: Atoms) -> None:
    """Refuse a periodic direction without a cell vector, which no file can hold.

    Raises:
        ValueError: if there is one.
    """
    if not atoms.cell.array[atoms.pbc].any(axis=1).all():
        raise ValueError("a periodic direction has no cell vector; set cell or pbc")


def voigt(stress: Any) -> np.ndarray:
    """A stress in the six numbers of ASE, xx yy zz yz xz xy.

    Raises:
        ValueError: if it is neither six numbers nor a symmetric matrix.
    """
    array = np.array(stress, float)
    if array.shape == (3, 3):
        if not np.allclose(array, array.T, rtol=1e-6, atol=1e-8, equal_nan=True):
            raise ValueError("stress is a matrix that is not symmetric")
        return 0.5 * (array + array.T)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    if array.shape != (6,):
        raise ValueError(f"stress has shape {array.shape}, expected (6,) or (3, 3)")
    return array


def along_moments(forces: np.ndarray, moments: np.ndarray | None) -> tuple[np.ndarray, bool]:
    """The component of magnetic forces (n, 3) along collinear moments (n, 3).

    Returns:
        The component (n,), or ``forces`` itself where no single axis is known (noncollinear
        moments, or none and several components); and whether transverse components were left
        out.

    Raises:
        ValueError: if the forces have only components across the moments.
    """
    axis = axis_of(forces)
    if moments is None or not np.any(moments):
        return (forces, False) if axis is None else (forces[:, axis].copy(), False)
    moment_axis = axis_of(moments)
    if moment_axis is None:
        return forces, False
    component = forces[:, moment_axis].copy()
    if np.any(forces) and not np.any(component):
        raise ValueError(
            f"the moments lie along {'xyz'[moment_axis]}, but the magnetic forces have no "
            "component along it; put both into columns of the same axis"
        )
    return component, axis is None
