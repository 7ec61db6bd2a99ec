"""How to walk over the signs of moments: one frozen dataclass, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mmtp_jax.simulation.dynamics.evaluation import MOMENTS
from mmtp_jax.simulation.dynamics.options import WHEN_STOPPED
from mmtp_jax.simulation.moments.equilibrate import MAX_STEPS, TOLERANCE
from mmtp_jax.simulation.spins.moves import MOVES


@dataclass(frozen=True)
class SpinOptions:
    """Moves, treatment of the magnitudes, and length of the walk."""

    move: str = "flip"
    """``"flip"`` of single moments, or ``"swap"`` of opposite ones, which keeps their numbers."""
    moments: str = "equilibrate"
    """Magnitudes after each change: ``"equilibrate"`` or ``"fixed"``."""
    sweeps: int = 1000
    """That are recorded; one sweep has as many trials as there are magnetic atoms."""
    burn_in: int = 100
    """Sweeps before them."""
    warm: bool = False
    """Equilibrations start from the magnitudes of the present state, not from the same ones for
    each pattern of signs: shorter, but exact only where a pattern has a single minimum."""
    tolerance: float = TOLERANCE
    """Largest |T_i| of equilibrated moments, eV/mu_B."""
    max_equilibration_steps: int = MAX_STEPS
    """Most evaluations of one equilibration."""
    magnetic: tuple[str, ...] | None = None
    """Species whose signs change; None for all atoms that have a moment at the start."""
    when_stopped: str = "freeze"
    """``"freeze"``: the others go on where the watch has stopped one; ``"all"``: all stop."""
    seed: int = 0
    """Of the first replica; the others have the next ones."""
    dtype: Any = np.float64
    """Of the evaluation: float64, float32 or ``"mixed"``."""

    def __post_init__(self) -> None:
        for name, known in (("move", MOVES), ("moments", MOMENTS), ("when_stopped", WHEN_STOPPED)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if self.sweeps < 1 or self.burn_in < 0 or self.max_equilibration_steps < 1:
            raise ValueError(
                f"need at least one sweep, no negative burn_in and at least one equilibration "
                f"step, got sweeps {self.sweeps}, burn_in {self.burn_in}, "
                f"max_equilibration_steps {self.max_equilibration_steps}"
            )
        if not self.tolerance > 0.0:
            raise ValueError(f"tolerance must be positive, got {self.tolerance}")
