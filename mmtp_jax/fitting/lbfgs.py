"""optax L-BFGS with a zoom line search, one compiled step that the host calls in a loop.

It works in the coordinates of `metric`, in which the loss is about equally curved in every
direction. The metric is that of the parameters at the start, and is renewed after 50 steps, 100,
200 and so on, as the curvature changes with the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from mmtp_jax.fitting.dataset import Targets
from mmtp_jax.fitting.initial import places_of_terms
from mmtp_jax.fitting.loss import loss
from mmtp_jax.fitting.metric import metric
from mmtp_jax.fitting.normal_equations import normal_equations
from mmtp_jax.fitting.processes import from_first
from mmtp_jax.fitting.sharding import replicated
from mmtp_jax.potential.einsum import matmul
from mmtp_jax.potential.potential import Potential

Array = Any

MEMORY = 40
"""Pairs of past steps and gradient changes that approximate the Hessian."""

MAX_LINESEARCH_STEPS = 25

NOT_EVALUATED = 1e300
"""A loss that any other is lower than."""

FIRST_RENEWAL = 50
"""Steps after which the metric is renewed for the first time."""


class Iterate(NamedTuple):
    """Where the optimisation stands; a pytree, so that it can be saved and resumed exactly."""

    origin: Array
    """(P,) parameters where the metric was made."""
    metric: Array
    """(P, P)"""
    x: Array
    """(P,) theta = origin + metric x."""
    n_steps: Array
    """Steps so far, ()."""
    loss: Array
    """Loss at x."""
    gradient: Array
    """(P,) with respect to x."""
    optimizer_state: Any


Loss = Callable[..., Array]
"""loss(theta, *data) -> scalar."""


class LBFGS:
    """The optimiser for one data set.

    Args:
        potential: gives everything but the parameters.
        targets: the data set.
        chunk: atoms per block of a loop.
        sample: the part of the data set that its curvature is taken from.
        mesh: the devices that both are spread over.
    """

    stall_window = 100
    default_iterations = 2000

    def __init__(
        self,
        potential: Potential,
        targets: Sequence[Targets],
        chunk: int | None,
        sample: Sequence[Targets],
        mesh: Mesh | None = None,
    ) -> None:
        self.loss, self.mesh = _loss_in_chunks(chunk, mesh), mesh
        self.data = (potential, list(targets))
        self.sample, self.chunk = list(sample), chunk
        # A metric costs P Jacobian-vector products of the sample, each about 0.6 gradients; at
        # most half of all time goes there.
        share = _n_atoms(sample) / _n_atoms(targets)
        self.first_renewal = max(FIRST_RENEWAL, int(0.6 * potential.n_parameters * share))

    def start(self, theta: Array) -> Iterate:
        """The state before the first step."""
        return self._at(theta, np.zeros((), int))

    def shapes(self, theta: Array) -> Any:
        """Shapes of a state."""
        theta = jnp.asarray(theta)
        square = jnp.zeros((len(theta), len(theta)), theta.dtype)
        return jax.eval_shape(
            partial(start, self.loss), theta, square, np.zeros((), int), *self.data
        )

    def step(self, progress: Iterate) -> Iterate:
        """One direction and line search."""
        if self.is_due(int(progress.n_steps)):
            progress = self.restart(progress)
        return step(self.loss, progress, *self.data)

    def restart(self, progress: Iterate) -> Iterate:
        """The same parameters with a new metric, and the memory of past steps cleared."""
        return self._at(self.theta(progress), progress.n_steps)

    def is_due(self, n_steps: int) -> bool:
        """Is the metric to be renewed before the next step?"""
        times, rest = divmod(n_steps, self.first_renewal)
        return rest == 0 and times.bit_count() == 1

    def theta(self, progress: Iterate) -> Array:
        """Parameters (P,)."""
        return theta_of(progress)

    def value(self, progress: Iterate) -> float:
        """Loss."""
        return float(progress.loss)

    def _at(self, theta: Array, n_steps: Array) -> Iterate:
        matrix, _ = normal_equations(theta, self.data[0], self.sample, self.chunk, self.mesh)
        columns = from_first(metric(matrix, places_of_terms(self.data[0])))
        return start(self.loss, jnp.asarray(theta), columns, n_steps, *self.data, mesh=self.mesh)


def _n_atoms(targets: Sequence[Targets]) -> int:
    # With shards there are two axes.
    return sum(int(np.prod(part.graph.types.shape)) for part in targets)


@cache
def _loss_in_chunks(chunk: int | None, mesh: Mesh | None) -> Loss:
    """The loss for a chunk size; always the same object, so that nothing is compiled twice."""
    return partial(loss, chunk=chunk, mesh=mesh)


def make_optimizer() -> optax.GradientTransformationExtraArgs:
    """L-BFGS that tries a step of length one first, which the metric makes about right."""
    return optax.lbfgs(
        memory_size=MEMORY,
        linesearch=optax.scale_by_zoom_linesearch(
            max_linesearch_steps=MAX_LINESEARCH_STEPS, initial_guess_strategy="one"
        ),
    )


def theta_of(progress: Iterate) -> Array:
    """Parameters (P,)."""
    return progress.origin + matmul(progress.metric, progress.x)


def start(
    loss: Loss,
    theta: Array,
    metric: Array,
    n_steps: Array,
    *data: Any,
    mesh: Mesh | None = None,
) -> Iterate:
    """The state before a step with a new metric.

    Loss and gradient come from a step of length zero, whose first trial is where it starts: to
    compile them by themselves takes as long as the step.
    """
    x = jnp.zeros_like(theta)
    still = _strongly_typed(
        Iterate(theta, metric, x, n_steps, NOT_EVALUATED, x, make_optimizer().init(x))
    )
    # Where a step leaves its arrays: from elsewhere it would be compiled once more.
    still = replicated(still, mesh)
    found = step(loss, still, *data)
    value = jnp.where(found.loss < NOT_EVALUATED, found.loss, jnp.nan)
    return still._replace(loss=value, gradient=found.gradient)


@partial(jax.jit, static_argnums=0)
def step(loss: Loss, progress: Iterate, *data: Any) -> Iterate:
    """One step of L-BFGS: direction, line search, new parameters."""

    def loss_of(x: Array) -> Array:
        return loss(theta_of(progress._replace(x=x)), *data)

    updates, state = make_optimizer().update(
        progress.gradient,
        progress.optimizer_state,
        progress.x,
        value=progress.loss,
        grad=progress.gradient,
        value_fn=loss_of,
    )
    # The line search has evaluated the point that it accepted.
    return _strongly_typed(
        progress._replace(
            x=optax.apply_updates(progress.x, updates),
            n_steps=progress.n_steps + 1,
            loss=optax.tree.get(state, "value"),
            gradient=optax.tree.get(state, "grad"),
            optimizer_state=state,
        )
    )


@partial(jax.jit, static_argnums=0)
def step_together(loss: Loss, progress: Iterate, active: Array, *data: Any) -> Iterate:
    """One step of several members at once; leaves of ``progress`` have the members first.

    Under `vmap` the members wait for the longest line search, and both branches of each of its
    conditions are evaluated, so a member costs about twice as much as alone. Members that are not
    ``active`` (M,) get a zero gradient: their search ends at once and nobody waits for it.
    """
    gradient = jnp.where(active[:, None], progress.gradient, 0.0)
    progress = progress._replace(gradient=gradient)
    return jax.vmap(lambda member: step(loss, member, *data))(progress)


def _strongly_typed(progress: Iterate) -> Iterate:
    """Weakly typed leaves of the first state would make the second step compile once more."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.asarray(leaf).dtype), progress)
