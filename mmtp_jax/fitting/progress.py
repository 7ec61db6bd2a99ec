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
    from mmtp_jax.fitting.held_out import HeldOut

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
    validation: Errors | None = None
    """Those of the validation set, likewise."""
    validation_loss: float | None = None
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
    held_out: HeldOut | None = None

    def __call__(self, iteration: int, loss: float, theta: np.ndarray) -> str:
        """Tell of one step; says why the fit is to end, or an empty text."""
        problem, held_out = self.problem, self.held_out
        options = problem.options
        # All processes evaluate the errors together, whoever of them has a callback.
        told = self.callback is not None or processes.several()
        if iteration % options.report_every == 0:
            if told:
                self.errors[iteration] = problem.data.errors(*problem.split(theta))
            if held_out is not None and (told or options.follows_validation):
                held_out.look(iteration, theta)
        if self.callback is not None:
            seen = held_out is not None
            self.callback(
                Progress(
                    iteration,
                    problem.max_iterations,
                    loss,
                    self.errors.get(iteration),
                    held_out.errors.get(iteration) if seen else None,
                    held_out.losses.get(iteration) if seen else None,
                    self.stage,
                    self.stages,
                )
            )
        return held_out.ends(iteration) if held_out is not None else ""
