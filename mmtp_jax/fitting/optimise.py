"""The loop around an optimiser: when to stop, what to keep, whom to tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np

from mmtp_jax.fitting.checkpoint import Checkpoint

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


def optimise(
    optimiser: Optimiser,
    theta: Callable[[], Array],
    max_iterations: int,
    tolerance: float,
    checkpoint: Checkpoint | None,
    tell: Callable[[int, float, np.ndarray], None],
) -> Outcome:
    """Take steps until nothing is gained, the limit is reached, or the user interrupts.

    Args:
        optimiser: takes the steps.
        theta: makes the starting parameters; not called where a checkpoint is resumed.
        max_iterations: limit of the number of steps.
        tolerance: smallest relative fall of the loss over the optimiser's window of steps that
            is worth going on for.
        checkpoint: where states are kept, or None.
        tell: called with (steps, loss, parameters) before the first and after each step.
    """
    state, history = _begin(optimiser, theta, checkpoint)
    best, lowest = state, history[-1]
    converged, interrupted = False, False
    message = f"stopped after {max_iterations} iterations"
    restarted = False
    try:
        tell(len(history) - 1, lowest, _parameters(optimiser, best))
        while len(history) <= max_iterations:
            state = optimiser.step(state)
            value = optimiser.value(state)
            if not np.isfinite(value):
                message = "stopped: the loss became infinite or NaN; this is the best before it"
                # A fit that is resumed from here must not start from NaN.
                state = best
                break
            if value < lowest:
                best, lowest, restarted = state, value, False
            elif restarted:
                # Not even steepest descent, which a restart begins with, gets any lower.
                converged, message = True, "converged: no step lowers the loss any further"
                break
            else:
                state, restarted = optimiser.restart(best), True
            history.append(lowest)
            tell(len(history) - 1, lowest, _parameters(optimiser, best))
            if checkpoint is not None and checkpoint.is_due(len(history) - 1):
                checkpoint.save(history, state)
            if _stalled(history, optimiser.stall_window, tolerance):
                converged = True
                message = (
                    f"converged: the loss fell by less than {tolerance:g} of itself over "
                    f"{optimiser.stall_window} steps"
                )
                break
    except KeyboardInterrupt:
        interrupted, message = True, "stopped by the user; this is the best so far"
    if checkpoint is not None:
        checkpoint.save(history, state)
    theta_best = _parameters(optimiser, best)
    return Outcome(theta_best, np.array(history), converged, interrupted, message)


def _begin(
    optimiser: Optimiser, theta: Callable[[], Array], checkpoint: Checkpoint | None
) -> tuple[Any, list[float]]:
    if checkpoint is not None and checkpoint.exists():
        return checkpoint.load()
    state = optimiser.start(theta())
    return state, [optimiser.value(state)]


def _parameters(optimiser: Optimiser, state: Any) -> np.ndarray:
    return np.asarray(jax.device_get(optimiser.theta(state)))


def _stalled(history: list[float], window: int, tolerance: float) -> bool:
    if len(history) <= window:
        return False
    before, now = history[-1 - window], history[-1]
    return before - now < tolerance * before
