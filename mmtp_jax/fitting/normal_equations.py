"""Normal equations J^T J and J^T r of the weighted residuals, by Jacobian-vector products."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mmtp_jax.fitting.dataset import Targets
from mmtp_jax.fitting.loss import residuals
from mmtp_jax.fitting.sharding import add_up
from mmtp_jax.potential.einsum import matmul
from mmtp_jax.potential.potential import Potential

Array = Any


def normal_equations(
    theta: Array,
    potential: Potential,
    targets: Sequence[Targets],
    chunk: int | None,
    mesh: Mesh | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """J^T J (P, P) and J^T r (P,), added up over the graphs of a data set, and over its shards."""
    matrix, gradient = 0.0, 0.0
    for part in targets:
        a, g = _of_graph(theta, potential, part, chunk, mesh)
        matrix, gradient = matrix + np.asarray(a), gradient + np.asarray(g)
    return matrix, gradient


@partial(jax.jit, static_argnames=("chunk", "mesh"))
def _of_graph(
    theta: Array, potential: Potential, part: Targets, chunk: int | None, mesh: Mesh | None
) -> tuple[Array, Array]:
    return add_up(partial(_of_part, chunk=chunk), mesh)(jnp.asarray(theta), potential, part)


def _of_part(
    theta: Array, potential: Potential, part: Targets, chunk: int | None
) -> tuple[Array, Array]:
    def of(theta: Array) -> Array:
        return residuals(theta, potential, part, chunk)

    # One column after the other: several at once under vmap take three times as long to compile.
    rows = jax.lax.map(
        lambda direction: jax.jvp(of, (theta,), (direction,))[1],
        jnp.eye(len(theta), dtype=theta.dtype),
    )
    return matmul(rows, rows.T), matmul(rows, of(theta))
