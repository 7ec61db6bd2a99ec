"""The loop of `optimise` for several members of one shape at once, by L-BFGS under `vmap`.

It pays on a device that one member leaves idle. On a CPU members one after the other are faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.fitting import lbfgs
from mmtp_jax.fitting.lbfgs import LBFGS
from mmtp_jax.fitting.optimise import Course, Outcome
from mmtp_jax.fitting.processes import check_interruption

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
    members = [Course(_parameters(state), [float(state.loss)], window, tolerance) for state in each]
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    interrupted = False
    try:
        _tell(tell, 0, members)
        for iteration in range(1, max_iterations + 1):
            active = np.array([not member.message for member in members])
            if not active.any():
                break
            check_interruption()
            if optimisers[0].is_due(iteration - 1):
                for k in np.flatnonzero(active):
                    states = _replaced(states, k, optimisers[k].restart(_member(states, k)))
            states = lbfgs.step_together(loss, states, active, *data)
            values, found = np.asarray(states.loss), _parameters(states)
            for k in np.flatnonzero(active):
                if members[k].take(float(values[k]), found[k]):
                    # Also where it has ended: its lane must hold numbers that are finite.
                    fresh = optimisers[k].start(members[k].best)
                    fresh = fresh._replace(n_steps=states.n_steps[k])
                    states = _replaced(states, k, fresh)
            _tell(tell, iteration, members)
    except KeyboardInterrupt:
        interrupted = True
    return [member.outcome(member.best, max_iterations, interrupted) for member in members]


def _parameters(state: lbfgs.Iterate) -> np.ndarray:
    return np.asarray(jax.device_get(_theta(state)))


_theta = jax.jit(
    lambda state: lbfgs.theta_of(state) if state.x.ndim == 1 else jax.vmap(lbfgs.theta_of)(state)
)


def _member(states: lbfgs.Iterate, k: int) -> lbfgs.Iterate:
    return jax.tree.map(lambda leaf: leaf[k], states)


def _replaced(states: lbfgs.Iterate, k: int, state: lbfgs.Iterate) -> lbfgs.Iterate:
    return jax.tree.map(lambda leaf, new: leaf.at[k].set(new), states, state)


def _tell(
    tell: Callable[[int, float, np.ndarray], None], iteration: int, members: list[Course]
) -> None:
    lowest = min(members, key=lambda member: member.history[-1])
    tell(iteration, lowest.history[-1], lowest.best)
