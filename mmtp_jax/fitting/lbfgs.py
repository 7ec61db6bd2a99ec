"""optax L-BFGS with a zoom line search, one compiled step that the host calls in a loop.

It works on parameters divided by a scale, chosen so that the loss is about equally curved along
each of them: energies per atom and Chebyshev coefficients differ by many orders of magnitude.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mmtp_jax.fitting.dataset import Targets
from mmtp_jax.fitting.loss import loss
from mmtp_jax.potential.observables import Observables
from mmtp_jax.potential.potential import Potential

Array = Any

MEMORY = 40
"""Pairs of past steps and gradient changes that approximate the Hessian."""

MAX_LINESEARCH_STEPS = 25

SCALE_SAMPLES = 16
"""Random vectors from which the curvature of each parameter is estimated."""


class Progress(NamedTuple):
    """Where the optimisation stands; a pytree, so that it can be saved and resumed exactly."""

    scale: Array
    """(P,)"""
    x: Array
    """(P,) scaled parameters, theta / scale."""
    loss: Array
    """Loss at x."""
    gradient: Array
    """(P,) with respect to x."""
    optimizer_state: Any


Loss = Callable[..., Array]
"""loss(theta, *data) -> scalar."""


class LBFGS:
    """The optimiser for one data set."""

    stall_window = 100
    default_iterations = 2000

    def __init__(
        self,
        potential: Potential,
        targets: Sequence[Targets],
        chunk: int | None,
        predict: Callable[[Potential], Sequence[Observables]],
    ) -> None:
        self.loss = _loss_in_chunks(chunk)
        self.data = (potential, list(targets))
        self.predict = predict

    def start(self, theta: Array) -> Progress:
        """The state before the first step."""
        theta = jnp.asarray(theta)
        return start(self.loss, self._curvature_scale(theta), theta, *self.data)

    def shapes(self, theta: Array) -> Any:
        """Shapes of a state."""
        theta = jnp.asarray(theta)
        return jax.eval_shape(partial(start, self.loss), theta, theta, *self.data)

    def step(self, progress: Progress) -> Progress:
        """One direction and line search."""
        return step(self.loss, progress, *self.data)

    def restart(self, progress: Progress) -> Progress:
        """The same parameters, with the memory of past steps cleared."""
        return start(self.loss, progress.scale, self.theta(progress), *self.data)

    def theta(self, progress: Progress) -> Array:
        """Parameters (P,)."""
        return progress.x * progress.scale

    def value(self, progress: Progress) -> float:
        """Loss."""
        return float(progress.loss)

    def _curvature_scale(self, theta: Array) -> Array:
        """One over the root of each parameter's curvature in the loss, J^T W J.

        The diagonal is the mean of (J^T sqrt(W) z)^2 over vectors z of random signs, and
        J^T sqrt(W) z is a gradient of the loss itself, for labels off by z / (2 sqrt(W)).
        """
        potential, targets = self.data
        rng = np.random.default_rng(0)
        predicted = self.predict(potential.unflatten(np.asarray(theta)))
        diagonal = jnp.zeros_like(theta)
        for _ in range(SCALE_SAMPLES):
            shifted = [
                part._replace(
                    values=jax.tree.map(
                        lambda p, w: jnp.asarray(_shifted(np.asarray(p), np.asarray(w), rng)),
                        values,
                        part.weights,
                    )
                )
                for part, values in zip(targets, predicted, strict=True)
            ]
            probe = start(self.loss, jnp.ones_like(theta), theta, potential, shifted)
            diagonal += probe.gradient**2 / SCALE_SAMPLES
        # Parameters that no label depends on keep the scale of the softest that matter.
        floor = 1e-10 * jnp.max(diagonal)
        return 1.0 / jnp.sqrt(jnp.maximum(diagonal, floor))


def _shifted(predicted: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    root = np.sqrt(np.broadcast_to(weights, predicted.shape))
    used = root > 0.0
    # Signs for labels only, so that padding does not change the path of a fit.
    signs = rng.choice([-1.0, 1.0], int(used.sum()))
    shifted = np.array(predicted)
    shifted[used] -= signs / (2.0 * root[used])
    return shifted


_LOSSES: dict[int | None, Loss] = {}


def _loss_in_chunks(chunk: int | None) -> Loss:
    """The loss for a chunk size; always the same object, so that nothing is compiled twice."""
    if chunk not in _LOSSES:
        _LOSSES[chunk] = partial(loss, chunk=chunk)
    return _LOSSES[chunk]


def make_optimizer() -> optax.GradientTransformationExtraArgs:
    """L-BFGS whose first step has the length of one scaled parameter."""
    return optax.lbfgs(
        memory_size=MEMORY,
        linesearch=optax.scale_by_zoom_linesearch(
            max_linesearch_steps=MAX_LINESEARCH_STEPS, initial_guess_strategy="one"
        ),
    )


@partial(jax.jit, static_argnums=0)
def start(loss: Loss, scale: Array, theta: Array, *data: Any) -> Progress:
    """The state before the first step."""
    x = theta / scale
    value, gradient = jax.value_and_grad(lambda x: loss(x * scale, *data))(x)
    return _strongly_typed(Progress(scale, x, value, gradient, make_optimizer().init(x)))


@partial(jax.jit, static_argnums=0)
def step(loss: Loss, progress: Progress, *data: Any) -> Progress:
    """One step of L-BFGS: direction, line search, new parameters."""

    def scaled_loss(x: Array) -> Array:
        return loss(x * progress.scale, *data)

    updates, state = make_optimizer().update(
        progress.gradient,
        progress.optimizer_state,
        progress.x,
        value=progress.loss,
        grad=progress.gradient,
        value_fn=scaled_loss,
    )
    # The line search has evaluated the point that it accepted.
    return _strongly_typed(
        Progress(
            progress.scale,
            optax.apply_updates(progress.x, updates),
            optax.tree.get(state, "value"),
            optax.tree.get(state, "grad"),
            state,
        )
    )


@partial(jax.jit, static_argnums=0)
def step_together(loss: Loss, progress: Progress, active: Array, *data: Any) -> Progress:
    """One step of several members at once; leaves of ``progress`` have the members first.

    Under `vmap` the members wait for the longest line search, and both branches of each of its
    conditions are evaluated, so a member costs about twice as much as alone. Members that are not
    ``active`` (M,) get a zero gradient: their search ends at once and nobody waits for it.
    """
    gradient = jnp.where(active[:, None], progress.gradient, 0.0)
    progress = progress._replace(gradient=gradient)
    return jax.vmap(lambda member: step(loss, member, *data))(progress)


def _strongly_typed(progress: Progress) -> Progress:
    """Weakly typed leaves of the first state would make the second step compile once more."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), progress)
