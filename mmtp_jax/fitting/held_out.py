"""The validation set during a fit: its loss and errors on the way, the best step, an early end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from mmtp_jax.fitting.checkpoint import Validated
from mmtp_jax.fitting.report import Errors

if TYPE_CHECKING:
    from mmtp_jax.fitting.fit import FitProblem
    from mmtp_jax.fitting.optimise import Outcome


@dataclass
class HeldOut:
    """What was met so far; steps are those at which the errors are evaluated."""

    problem: FitProblem
    met: Validated = field(default_factory=Validated)
    """Of a checkpoint, where there is one: it keeps them, and fills in those before a restart."""
    errors: dict[int, Errors] = field(default_factory=dict)

    @property
    def losses(self) -> dict[int, float]:
        """By iteration."""
        return self.met.losses

    @property
    def best(self) -> tuple[int, np.ndarray] | None:
        """Iteration of the lowest loss, and the parameters (P + m,) there."""
        return self.met.best

    def look(self, iteration: int, theta: np.ndarray) -> None:
        """Evaluate the validation set at parameters (P + m,)."""
        potential, validation = self.problem.held_out(theta)
        loss = validation.loss(potential, self.problem.options.weights)
        self.errors[iteration] = validation.errors(potential)
        if loss is None:
            return
        self.losses[iteration] = loss
        if self.best is None or loss < self.losses[self.best[0]]:
            self.met.best = iteration, np.array(theta)

    def ends(self, iteration: int) -> str:
        """Why the fit is to end here: the best step is too far back; empty while it goes on."""
        patience = self.problem.options.patience
        if patience is None or self.best is None or iteration - self.best[0] < patience:
            return ""
        return f"stopped: the validation loss has not fallen for {iteration - self.best[0]} steps"

    def kept(self, outcome: Outcome) -> Outcome:
        """The outcome with the parameters of the best step, where these are asked for."""
        options = self.problem.options
        if self.best is None or not options.follows_validation:
            return outcome
        iteration, theta = self.best
        message = f"{outcome.message}; kept is step {iteration}, of the lowest validation loss"
        return replace(outcome, theta=theta, message=message, kept=iteration)
