"""Levenberg-Marquardt: the loss is a sum of squares, so its curvature is nearly J^T J.

One step forms the normal equations J^T J and J^T r from P Jacobian-vector products of the
observables, and solves (J^T J + damping * D) step = -J^T r with the diagonal D of the largest
curvature met so far (More 1978). Steps are few and each costs about P gradients; a step of L-BFGS
costs one to three.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mmtp_jax.fitting.dataset import Targets
from mmtp_jax.fitting.initial import DETERMINED, ROUND_OFF, places_of_terms
from mmtp_jax.fitting.loss import loss
from mmtp_jax.fitting.normal_equations import normal_equations
from mmtp_jax.fitting.processes import from_first
from mmtp_jax.potential.potential import Potential

Array = Any

MAX_REJECTIONS = 12
FIRST_DAMPING = 1e-3


class State(NamedTuple):
    """Where the optimisation stands."""

    theta: np.ndarray
    """(P,)"""
    value: np.ndarray
    """Loss, ()."""
    damping: np.ndarray
    """()"""
    curvature: np.ndarray
    """(P,) largest diagonal of J^T J so far."""


class GaussNewton:
    """The optimiser for one data set."""

    stall_window = 3
    default_iterations = 60

    def __init__(
        self,
        potential: Potential,
        targets: Sequence[Targets],
        chunk: int | None,
        mesh: Mesh | None = None,
    ) -> None:
        self.potential, self.targets, self.chunk, self.mesh = potential, list(targets), chunk, mesh

    def start(self, theta: Array) -> State:
        """The state before the first step."""
        value = self._loss(theta)
        zeros = np.zeros(len(theta))
        return State(np.asarray(theta), np.asarray(value), np.asarray(FIRST_DAMPING), zeros)

    def shapes(self, theta: Array) -> State:
        """Shapes of a state."""
        zeros, zero = np.zeros(len(theta)), np.zeros(())
        return State(zeros, zero, zero, zeros)

    def step(self, state: State) -> State:
        """The first damped step that lowers the loss; the same state if none does."""
        matrix, gradient = normal_equations(
            state.theta, self.potential, self.targets, self.chunk, self.mesh
        )
        diagonal = np.maximum(state.curvature, np.diag(matrix))
        # What vanishes by symmetry leaves columns of round-off, or of errors of the labels.
        nothing = diagonal <= ROUND_OFF**2 * diagonal.max(initial=0.0)
        terms = places_of_terms(self.potential)
        of_terms = diagonal[terms]
        nothing[terms] |= of_terms <= DETERMINED**2 * of_terms.max(initial=0.0)
        matrix = np.where(nothing | nothing[:, None], 0.0, matrix)
        gradient = np.where(nothing, 0.0, gradient)
        # Parameters that no label depends on still need a finite step.
        metric = np.maximum(diagonal, 1e-12 * diagonal.max(initial=0.0))
        damping = float(state.damping)
        for _ in range(MAX_REJECTIONS):
            step = from_first(_solve(matrix + damping * np.diag(metric), -gradient))
            value = self._loss(state.theta + step)
            if np.isfinite(value) and value < state.value:
                expected = -(2.0 * gradient @ step + step @ matrix @ step)
                gain = (float(state.value) - value) / expected if expected > 0.0 else 0.0
                # Nielsen's rule: a step as good as expected lowers the damping to a third.
                damping *= max(1.0 / 3.0, 1.0 - (2.0 * gain - 1.0) ** 3)
                return State(state.theta + step, np.asarray(value), np.asarray(damping), diagonal)
            damping *= 4.0
        return state._replace(damping=np.asarray(damping), curvature=diagonal)

    def restart(self, state: State) -> State:
        """Go on from a state after a step that failed; there is nothing to forget."""
        return state

    def theta(self, state: State) -> np.ndarray:
        """Parameters (P,)."""
        return state.theta

    def value(self, state: State) -> float:
        """Loss."""
        return float(state.value)

    def _loss(self, theta: Array) -> float:
        return float(
            sum(
                _sum_of_squares(theta, self.potential, part, self.chunk, self.mesh)
                for part in self.targets
            )
        )


@partial(jax.jit, static_argnames=("chunk", "mesh"))
def _sum_of_squares(
    theta: Array, potential: Potential, part: Targets, chunk: int | None, mesh: Mesh | None
) -> Array:
    return loss(jnp.asarray(theta), potential, [part], chunk, mesh)


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError:
        return np.linalg.lstsq(matrix, right, rcond=None)[0]
