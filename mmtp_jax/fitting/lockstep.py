"""The loop of `optimise` for several members of one shape at once, by L-BFGS under `vmap`.

It pays on a device that one member leaves idle. On a CPU members one after the other are faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.fitting import lbfgs
from mmtp_jax.fitting.lbfgs import LBFGS
from mmtp_jax.fitting.optimise import Outcome

Array = Any


def optimise_together(
    optimisers: Sequence[LBFGS],
    thetas: Sequence[Array],
    max_iterations: int,
    tolerance: float,
    tell: Callable[[int, float, np.ndarray], None],
) -> list[Outcome]:
    """Take steps of all members until the last one ends, as `optimise` would end it.

    Args:
        optimisers: of one data set and one form of potential.
        thetas: starting parameters of each.
        max_iterations: limit of the number of steps.
        tolerance: see `optimise`.
        tell: called with (steps, lowest loss of all, its parameters).
    """
    loss, data = optimisers[0].loss, optimisers[0].data
    window = optimisers[0].stall_window
    each = [optimiser.start(theta) for optimiser, theta in zip(optimisers, thetas, strict=True)]
    members = [_Member(_parameters(state), [float(state.loss)]) for state in each]
    scales = [state.scale for state in each]
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    interrupted = False
    try:
        _tell(tell, 0, members)
        for iteration in range(1, max_iterations + 1):
            active = np.array([not member.message for member in members])
            if not active.any():
                break
            states = lbfgs.step_together(loss, states, active, *data)
            values, found = np.asarray(states.loss), _parameters(states)
            for k in np.flatnonzero(active):
                if members[k].take(float(values[k]), found[k], window, tolerance):
                    # Also where it has ended: its lane must hold numbers that are finite.
                    fresh = lbfgs.start(loss, scales[k], members[k].theta, *data)
                    states = jax.tree.map(lambda a, new, k=k: a.at[k].set(new), states, fresh)
            _tell(tell, iteration, members)
    except KeyboardInterrupt:
        interrupted = True
    return [member.outcome(max_iterations, interrupted) for member in members]


@dataclass
class _Member:
    """What one member has met so far, and why it ended if it has."""

    theta: np.ndarray
    """(P,) of the lowest loss."""
    history: list[float]
    restarted: bool = False
    converged: bool = False
    message: str = ""

    def take(self, value: float, theta: np.ndarray, window: int, tolerance: float) -> bool:
        """Judge a step by the rules of `optimise`; is the member to start again from its best?"""
        lowest = self.history[-1]
        if not np.isfinite(value):
            self.message = "stopped: the loss became infinite or NaN; this is the best before it"
            return True
        if value < lowest:
            self.theta, lowest, self.restarted = theta, value, False
        elif self.restarted:
            self.converged = True
            self.message = "converged: no step lowers the loss any further"
            return True
        else:
            self.restarted = True
        self.history.append(lowest)
        if len(self.history) > window:
            before = self.history[-1 - window]
            if before - lowest < tolerance * before:
                self.converged = True
                self.message = (
                    f"converged: the loss fell by less than {tolerance:g} of itself over "
                    f"{window} steps"
                )
        return self.restarted

    def outcome(self, max_iterations: int, interrupted: bool) -> Outcome:
        """How it ended; a member that had ended before Ctrl-C was not interrupted."""
        interrupted = interrupted and not self.message
        message = self.message or (
            "stopped by the user; this is the best so far"
            if interrupted
            else f"stopped after {max_iterations} iterations"
        )
        return Outcome(self.theta, np.array(self.history), self.converged, interrupted, message)


def _parameters(state: lbfgs.Progress) -> np.ndarray:
    return np.asarray(jax.device_get(state.x * state.scale))


def _tell(
    tell: Callable[[int, float, np.ndarray], None], iteration: int, members: list[_Member]
) -> None:
    best = min(members, key=lambda member: member.history[-1])
    tell(iteration, best.history[-1], best.theta)
