"""How the potential runs in LAMMPS: one frozen dataclass, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mmtp_jax.simulation.dynamics.evaluation import MOMENTS
from mmtp_jax.simulation.moments.equilibrate import MAX_CHANGE, MAX_STEPS, TOLERANCE

ROUTES = ("external", "mliap")


@dataclass(frozen=True)
class BridgeOptions:
    """Treatment of the moments, and when to stop; the names are those of `DynamicsOptions`."""

    route: str = "external"
    """``"external"`` is ``fix external``, which every LAMMPS with Python has. ``"mliap"`` is
    ``pair_style mliap unified``: neighbours and forces of pairs stay in LAMMPS, which then has
    energies and virials of atoms, too; it must have been built for that."""
    moments: str = "equilibrate"
    """``"equilibrate"`` or ``"fixed"``."""
    moments_every: int = 1
    """Steps between two equilibrations."""
    tolerance: float = TOLERANCE
    """Largest |T_i| of equilibrated moments, eV/mu_B. Minimisers of LAMMPS, which compare energies,
    want 1e-6."""
    max_equilibration_steps: int = MAX_STEPS
    """Most evaluations of one equilibration."""
    max_change: float = MAX_CHANGE
    """Longest change of a moment in one step of it, mu_B."""
    allow_flips: bool = False
    """Equilibrated moments may change their sign."""
    bounded: bool = True
    """Stop at a distance below R_min, or at a moment at the end of its interval."""
    grade_every: int = 1
    """Steps between two looks at the extrapolation grade, where there is a preselection. A look
    costs about as much as an evaluation."""
    skin: float = 0.5
    """Of the list of neighbours, Angstrom."""
    dtype: Any = np.float64
    """Of the evaluation: float64, float32 or ``"mixed"``. Sums over ranks are in float64."""

    def __post_init__(self) -> None:
        if self.route not in ROUTES:
            raise ValueError(f"route must be one of {', '.join(ROUTES)}, got {self.route!r}")
        if self.moments not in MOMENTS:
            raise ValueError(f"moments must be one of {', '.join(MOMENTS)}, got {self.moments!r}")
        for name in ("tolerance", "max_change", "skin"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("moments_every", "max_equilibration_steps", "grade_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
