"""How a relaxation goes, and when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmtp_jax.simulation.relaxation.cell import basis_of

EQUILIBRATION_SHARE = 0.1
"""Each equilibration ends at this share of the tolerance of the magnetic forces: what is left of
them changes the forces on the atoms, and must not be what the geometry follows."""


@dataclass(frozen=True)
class RelaxOptions:
    """Constraints, tolerances and limits of a relaxation."""

    cell: bool | str | Sequence[Any] = True
    """What the cell may do, see `cell.basis_of`."""
    positions: bool = True
    """The atoms move in the cell; else they only follow it."""
    moments: str = "equilibrate"
    """At each geometry, or ``"fixed"``."""
    allow_flips: bool = False
    """Moments may change their sign."""
    pressure_GPa: float = 0.0
    """p of the enthalpy E + p V; positive compresses."""
    force_tolerance: float = 1e-3
    """Largest |f_i| at the end, eV/Angstrom."""
    stress_tolerance_GPa: float = 0.01
    """Largest component of the stress plus p at the end, of those that the cell may follow."""
    magnetic_tolerance: float = 1e-3
    """Largest |T_i| at the end, eV/mu_B."""
    max_steps: int = 300
    """Most geometries."""
    max_step: float = 0.15
    """Longest step of an atom, Angstrom; at most 0.35 ``skin`` is used."""
    max_volume_change: float = 0.5
    """The volume may grow by this share, or shrink by the factor that undoes that."""
    bounded: bool = True
    """Stop at distances and moments that the potential does not cover."""
    max_equilibration_steps: int = 200
    """Most evaluations of one equilibration."""
    skin: float = 0.5
    """Angstrom by which neighbours are searched farther than the cutoff."""
    dtype: Any = np.float64
    """float64 or ``"mixed"``; float32 ends at forces of about 1e-2 eV/Angstrom."""

    def __post_init__(self) -> None:
        basis_of(self.cell)
        if self.moments not in ("equilibrate", "fixed"):
            raise ValueError(
                f"moments of a relaxation must be 'equilibrate' or 'fixed', got {self.moments!r}"
            )
        if not np.isfinite(self.pressure_GPa):
            raise ValueError(f"pressure_GPa must be a finite number, got {self.pressure_GPa}")
        for name in _POSITIVE:
            value = getattr(self, name)
            if not 0 < value < np.inf:
                raise ValueError(f"{name} of a relaxation must be positive, got {value}")


_POSITIVE = (
    "force_tolerance",
    "stress_tolerance_GPa",
    "magnetic_tolerance",
    "max_steps",
    "max_step",
    "max_volume_change",
    "max_equilibration_steps",
    "skin",
)
