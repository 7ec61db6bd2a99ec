"""How to run dynamics: one frozen dataclass, checked when it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmtp_jax.simulation.dynamics.barostats import BAROSTATS
from mmtp_jax.simulation.dynamics.evaluation import MOMENTS
from mmtp_jax.simulation.dynamics.thermostats import THERMOSTATS
from mmtp_jax.simulation.moments.equilibrate import MAX_STEPS
from mmtp_jax.simulation.spins.dynamics import SPINS

ENSEMBLES = ("nve", "nvt", "npt")
WHEN_STOPPED = ("freeze", "all")

Numbers = float | Sequence[float]
"""One number for all replicas, or one for each."""


@dataclass(frozen=True)
class DynamicsOptions:
    """Ensemble, time step, treatment of the moments, and when to stop."""

    ensemble: str = "nve"
    """``"nve"``, ``"nvt"`` or ``"npt"``."""
    timestep_fs: float = 1.0
    temperature_K: Numbers = 300.0
    """Of the heat bath, and of the velocities where the start has none."""
    pressure_GPa: Numbers = 0.0
    """Of the barostat."""
    thermostat: str = "langevin"
    """``"langevin"``, ``"bussi"`` or ``"nose-hoover"``; see `thermostats`."""
    thermostat_time_fs: float = 100.0
    """Relaxation time; of Langevin, one over the friction."""
    barostat: str = "isotropic"
    """``"isotropic"`` or ``"full"`` (all lengths and angles); see `barostats`."""
    barostat_time_fs: float = 1000.0
    """Relaxation time of the volume."""
    bulk_modulus_GPa: float = 100.0
    """About that of the material. It sets the speed of the barostat, not its average."""
    moments: str = "equilibrate"
    """``"equilibrate"`` or ``"fixed"``."""
    moments_every: int = 1
    """Steps between two equilibrations."""
    tolerance: float = 1e-3
    """Largest |T_i| of equilibrated moments, eV/mu_B."""
    max_equilibration_steps: int = MAX_STEPS
    """Most evaluations of one equilibration."""
    allow_flips: bool = False
    """Equilibrated moments may change their sign."""
    spins: str = "none"
    """Signs of moments: ``"none"`` change beyond the rest, ``"flip"`` and ``"swap"`` by Metropolis'
    rule, ``"disorder"`` drawn at random without net moment; see `simulation.spins.dynamics`."""
    spin_every: int = 10
    """Steps between two blocks of trials, or between two disordered states."""
    trials: int = 0
    """Flips or swaps in each block; 0 for as many as there are magnetic atoms."""
    magnetic: tuple[str, ...] | None = None
    """Species whose signs change; None for all atoms that have a moment at the start."""
    bounded: bool = True
    """Stop replicas with a distance below R_min, or with a moment at the end of its interval."""
    when_stopped: str = "freeze"
    """``"freeze"``: the others go on where one has stopped; ``"all"``: all stop."""
    skin: float = 0.5
    """Of the list of neighbours, Angstrom."""
    log_every: int = 1
    """Steps between two rows of the time series."""
    seed: int = 0
    """Of the first replica; the others have the next ones."""
    dtype: Any = np.float64
    """Of the evaluation: float64, float32 or ``"mixed"``. Positions are in float64 always."""
    chunk_steps: int = 256
    """Most steps between two returns to the host."""

    def __post_init__(self) -> None:
        for name, known in (
            ("ensemble", ENSEMBLES), ("thermostat", THERMOSTATS), ("barostat", BAROSTATS),
            ("moments", MOMENTS), ("when_stopped", WHEN_STOPPED), ("spins", SPINS),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        for name in (
            "timestep_fs", "thermostat_time_fs", "barostat_time_fs", "bulk_modulus_GPa",
            "tolerance", "skin",
        ):  # fmt: skip
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in (
            "moments_every",
            "max_equilibration_steps",
            "log_every",
            "chunk_steps",
            "spin_every",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if np.any(np.asarray(self.temperature_K) < 0.0):
            raise ValueError(f"temperature_K must not be negative, got {self.temperature_K}")
        has_bath = self.ensemble != "nve"
        if self.trials < 0:
            raise ValueError(f"trials must not be negative, got {self.trials}")
        if self.spins != "none" and not has_bath:
            raise ValueError(
                f"spins={self.spins!r} changes the energy, which only a heat bath can give or "
                "take; set ensemble to nvt or npt"
            )
        cold = bool(np.any(np.asarray(self.temperature_K) == 0.0))
        if has_bath and cold and self.thermostat == "nose-hoover":
            raise ValueError("a Nose-Hoover chain needs a temperature_K above zero; use langevin")

    def per_replica(self, name: str, n_replicas: int) -> np.ndarray:
        """Temperatures or pressures (R,).

        Raises:
            ValueError: if there are neither one nor R numbers.
        """
        values = np.asarray(getattr(self, name), float)
        if values.ndim > 1 or values.size not in (1, n_replicas):
            raise ValueError(
                f"{name} has {values.size} numbers for {n_replicas} replicas; give one number, or "
                "one per replica"
            )
        return np.broadcast_to(values.reshape(-1), (n_replicas,)).copy()
