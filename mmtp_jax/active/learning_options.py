"""How a loop of active learning runs: one frozen dataclass, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmtp_jax.active.jacobian import CONFIGURATION, check_mode
from mmtp_jax.active.preselection import CAPACITY, Thresholds
from mmtp_jax.fitting.fit import FitOptions
from mmtp_jax.oracles.oracle import MOMENT_TOLERANCE


@dataclass(frozen=True)
class LearnOptions:
    """Preselection, selection, labels and fit of every iteration."""

    thresholds: Thresholds = field(default_factory=Thresholds)
    mode: str = CONFIGURATION
    """``"configuration"``, or ``"neighborhood"`` for simulations of larger cells than those that
    can be labelled are compared with."""
    limit: int | None = None
    """Most configurations to label in one iteration: the first that maxvol takes."""
    every: int | None = None
    """Keep at most one candidate of a replica in so many steps; None keeps all."""
    capacity: int = CAPACITY
    """Candidates in memory per replica."""
    max_iterations: int = 20
    """Rounds of simulations."""
    min_dist_margin: float = 0.95
    """R_min over the shortest distance of the training set: room for simulations to come closer
    before they stop, as `fitting.initial.MAGMOM_MARGIN` is for moments. The grade watches there."""
    fit: FitOptions = field(default_factory=FitOptions)
    """Of the first fit and of every refit, which starts from the parameters before."""
    retries: int = 1
    """Further attempts of a job that failed."""
    timeout_s: float | None = None
    """Wall time of one attempt."""
    moment_tolerance: float = MOMENT_TOLERANCE
    """Largest miss of a target moment by a label, mu_B."""
    accept_outliers: bool = False
    """Fit to labels that stand apart from the others (`mmtp_jax.structures.screening`), too."""
    workers: int = 1
    """Jobs at once, where there is no executor."""
    mixed_meshes: bool = False
    """Allow different meshes of k-points for cells alike."""

    def __post_init__(self) -> None:
        check_mode(self.mode)
        for name in ("limit", "every", "capacity", "max_iterations", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0.0 < self.min_dist_margin <= 1.0:
            raise ValueError(f"min_dist_margin must be in (0, 1], got {self.min_dist_margin}")
        if self.retries < 0:
            raise ValueError(f"retries must be at least 0, got {self.retries}")
        for name in ("timeout_s", "moment_tolerance"):
            value = getattr(self, name)
            if value is not None and not value > 0.0:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.fit.checkpoint is not None:
            raise ValueError("the fits of a loop have no checkpoint: an iteration is done again")
