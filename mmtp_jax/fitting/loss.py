"""The loss (Kotykhov 2024, Eq. 8), as a weighted sum of squares over all observables."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mmtp_jax.fitting.dataset import Targets, scaled
from mmtp_jax.fitting.sharding import add_up
from mmtp_jax.potential.einsum import matmul
from mmtp_jax.potential.observables import observables
from mmtp_jax.potential.potential import Potential

Array = Any


def residuals(theta: Array, potential: Potential, part: Targets, chunk: int | None = None) -> Array:
    """sqrt(weight) * (predicted - label) of every observable of one graph, as one vector.

    What follows the P parameters of the potential in ``theta`` are constants of the energies, see
    `mmtp_jax.fitting.shifts`.
    """
    n = potential.n_parameters
    predicted = observables(theta[:n], potential, part.graph, chunk)
    if part.shift_counts is not None:
        shifted = predicted.energy + matmul(part.shift_counts, theta[n:])
        predicted = predicted._replace(energy=shifted)
    weighted = jax.tree.map(
        lambda p, label, w: jnp.ravel(scaled(w, p - label)),
        predicted,
        part.values,
        part.weights,
    )
    return jnp.concatenate(list(weighted))


def loss(
    theta: Array,
    potential: Potential,
    targets: Sequence[Targets],
    chunk: int | None = None,
    mesh: Mesh | None = None,
) -> Array:
    """sum over observables of weight * (predicted - label)^2, a scalar.

    Args:
        theta: parameters (P,).
        potential: gives everything but the parameters.
        targets: the data set.
        chunk: atoms per block of a loop, see `observables`.
        mesh: the devices that ``targets`` are spread over, see `Shards`.
    """
    return add_up(partial(_loss, chunk=chunk), mesh)(theta, potential, list(targets))


def _loss(
    theta: Array, potential: Potential, targets: Sequence[Targets], chunk: int | None
) -> Array:
    total = jnp.zeros((), theta.dtype)
    for part in targets:
        total += jnp.sum(residuals(theta, potential, part, chunk) ** 2)
    return total
