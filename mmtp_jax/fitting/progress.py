"""What a callback is told during a fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mmtp_jax.fitting import processes
from mmtp_jax.fitting.report import Errors

if TYPE_CHECKING:
    from mmtp_jax.fitting.fit import FitProblem

PART, ALL = "part", "all"
"""The stages of a fit: to a part of the data, to all of it."""


@dataclass(frozen=True)
class Progress:
    """One step of a fit."""

    iteration: int
    """Of its stage."""
    max_iterations: int
    loss: float
    training: Errors | None = None
    """Errors at this iteration, where they were evaluated."""
    stage: str = ALL
    """Whose loss and errors these are: of a ``"part"`` of the data, or of ``"all"``."""
    stages: tuple[str, ...] = (ALL,)
    """All stages of the fit."""


@dataclass(frozen=True)
class Teller:
    """Passes the progress on to a callback, with errors every now and then."""

    problem: FitProblem
    callback: Callable[[Progress], None] | None
    errors: dict[int, Errors] = field(default_factory=dict)
    """Of the data that are fitted by iteration, where they were evaluated."""
    stage: str = ALL
    stages: tuple[str, ...] = (ALL,)

    def __call__(self, iteration: int, loss: float, theta: np.ndarray) -> None:
        """Tell of one step."""
        problem, errors = self.problem, None
        # All processes evaluate the errors together, whoever of them has a callback.
        if self.callback is None and not processes.several():
            return
        if iteration % problem.options.report_every == 0:
            errors = problem.data.errors(*problem.split(theta))
            self.errors[iteration] = errors
        if self.callback is None:
            return
        limit = problem.max_iterations
        self.callback(Progress(iteration, limit, loss, errors, self.stage, self.stages))
