"""optax L-BFGS with a zoom line search, one compiled step that the host calls in a loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Array = Any

MEMORY = 40
"""Pairs of past steps and gradient changes that approximate the Hessian."""

MAX_LINESEARCH_STEPS = 25


class Progress(NamedTuple):
    """Where the optimisation stands; a pytree, so that it can be saved and resumed exactly."""

    x: Array
    """(P,) scaled parameters, theta / scale."""
    value: Array
    """Loss at x."""
    gradient: Array
    """(P,) with respect to x."""
    optimizer_state: Any


Loss = Callable[..., Array]
"""loss(theta, *data) -> scalar."""


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
    return _strongly_typed(Progress(x, value, gradient, make_optimizer().init(x)))


@partial(jax.jit, static_argnums=0)
def step(loss: Loss, scale: Array, progress: Progress, *data: Any) -> Progress:
    """One step of L-BFGS: direction, line search, new parameters."""

    def scaled_loss(x: Array) -> Array:
        return loss(x * scale, *data)

    updates, state = make_optimizer().update(
        progress.gradient,
        progress.optimizer_state,
        progress.x,
        value=progress.value,
        grad=progress.gradient,
        value_fn=scaled_loss,
    )
    # The line search has evaluated the point that it accepted.
    return _strongly_typed(
        Progress(
            optax.apply_updates(progress.x, updates),
            optax.tree.get(state, "value"),
            optax.tree.get(state, "grad"),
            state,
        )
    )


def _strongly_typed(progress: Progress) -> Progress:
    """Weakly typed leaves of the first state would make the second step compile once more."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), progress)
