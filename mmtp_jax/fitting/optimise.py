"""The loop around an optimiser: when to stop, what to keep, whom to tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np

from mmtp_jax.fitting.checkpoint import Checkpoint, fingerprint
from mmtp_jax.fitting.processes import check_interruption, check_same

Array = Any


class Optimiser(Protocol):
    """What the loop needs of an optimiser; states are pytrees of arrays."""

    stall_window: int
    """A fit has converged when the loss falls by less than the tolerance over so many steps."""
    default_iterations: int

    def start(self, theta: Array) -> Any: ...

    def shapes(self, theta: Array) -> Any: ...

    def step(self, state: Any) -> Any: ...

    def restart(self, state: Any) -> Any: ...

    def theta(self, state: Any) -> Array: ...

    def value(self, state: Any) -> float: ...


@dataclass(frozen=True)
class Outcome:
    """How an optimisation ended."""

    theta: np.ndarray
    """(P,) the best parameters met."""
    history: np.ndarray
    """(n_iterations + 1,) the lowest loss so far, after each step."""
    converged: bool
    interrupted: bool
    message: str
    kept: int | None = None
    """Step that the parameters are of, where that is not the one of the lowest loss."""


def optimise(
    optimiser: Optimiser,
    theta: Callable[[], Array],
    max_iterations: int,
    tolerance: float,
    checkpoint: Checkpoint | None,
    tell: Callable[[int, float, np.ndarray], str],
    window: int | None = None,
) -> Outcome:
    """Take steps until nothing is gained, the limit is reached, or the user interrupts.

    Args:
        optimiser: takes the steps.
        theta: makes the starting parameters; not called where a checkpoint is resumed.
        max_iterations: limit of the number of steps.
        tolerance: smallest relative fall of the loss over the optimiser's window of steps that
            is worth going on for.
        checkpoint: where states are kept, or None.
        tell: called with (steps, loss, parameters) before the first and after each step; says why
            the fit is to end, or an empty text.
        window: in place of the optimiser's.
    """
    state, history = _begin(optimiser, theta, checkpoint)
    course = Course(state, history, window or optimiser.stall_window, tolerance)
    # What is resumed may have had its last step.
    course.judge()
    interrupted = False
    try:
        why = tell(len(history) - 1, history[-1], _parameters(optimiser, course.best))
        course.message = course.message or why
        while not course.message and len(history) <= max_iterations:
            check_interruption()
            state = optimiser.step(state)
            n_before = len(history)
            if course.take(optimiser.value(state), state):
                state = course.best if course.message else optimiser.restart(course.best)
            if len(history) == n_before:
                break
            why = tell(len(history) - 1, history[-1], _parameters(optimiser, course.best))
            course.message = course.message or why
            if checkpoint is not None and checkpoint.is_due(len(history) - 1):
                checkpoint.save(history, state)
    except KeyboardInterrupt:
        interrupted = True
    if checkpoint is not None:
        checkpoint.save(history, state)
    return course.outcome(_parameters(optimiser, course.best), max_iterations, interrupted)


@dataclass
class Course:
    """What one optimisation has met so far, and why it ended if it has."""

    best: Any
    """State of the lowest loss."""
    history: list[float]
    """Lowest loss so far, after each step."""
    window: int
    tolerance: float
    restarted: bool = False
    converged: bool = False
    message: str = ""
    """Why it ended; empty while it goes on."""

    def take(self, value: float, state: Any) -> bool:
        """Judge a step; is the optimiser to go back to the best state?"""
        lowest = self.history[-1]
        if not np.isfinite(value):
            self.message = "stopped: the loss became infinite or NaN; this is the best before it"
            return True
        if value < lowest:
            self.best, lowest, self.restarted = state, value, False
        elif self.restarted:
            # Not even steepest descent, which a restart begins with, gets any lower.
            self.converged = True
            self.message = "converged: no step lowers the loss any further"
            return True
        else:
            self.restarted = True
        self.history.append(lowest)
        self.judge()
        return self.restarted

    def judge(self) -> None:
        """Has too little been gained of late to go on?"""
        lowest = self.history[-1]
        if len(self.history) > self.window:
            before = self.history[-1 - self.window]
            if before - lowest < self.tolerance * before:
                self.converged = True
                self.message = (
                    f"converged: the loss fell by less than {self.tolerance:g} of itself over "
                    f"{self.window} steps"
                )

    def outcome(self, theta: np.ndarray, max_iterations: int, interrupted: bool) -> Outcome:
        """How it ended; what had ended before Ctrl-C was not interrupted."""
        interrupted = interrupted and not self.message
        message = self.message or (
            "stopped by the user; this is the best so far"
            if interrupted
            else f"stopped after {max_iterations} iterations"
        )
        return Outcome(theta, np.array(self.history), self.converged, interrupted, message)


def _begin(
    optimiser: Optimiser, theta: Callable[[], Array], checkpoint: Checkpoint | None
) -> tuple[Any, list[float]]:
    found = checkpoint.load() if checkpoint is not None and checkpoint.exists() else None
    check_same(fingerprint("checkpoint", found), "checkpoints")
    if found is not None:
        return found
    state = optimiser.start(theta())
    return state, [optimiser.value(state)]


def _parameters(optimiser: Optimiser, state: Any) -> np.ndarray:
    return np.asarray(jax.device_get(optimiser.theta(state)))
