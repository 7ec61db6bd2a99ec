"""The matrix of second derivatives of the energy, as a differentiable function of theta.

H = d2E/dx2 is taken forwards over backwards. In a reverse pass only the contraction with a
cotangent W is wanted, and with W + W^T = 2 sum_a l_a v_a v_a^T that is

    <W, H> = sum_a l_a d2E/ds2 (x + s v_a)

so that the pass is backwards over second directional derivatives: no third derivatives as a
program that is transposed as it stands, which compiles three times as long and needs memory with
the square of the number of atoms.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from mmtp_jax.potential.linear_map import linear_map
from mmtp_jax.potential.observables import Graph
from mmtp_jax.potential.potential import Potential
from mmtp_jax.properties.coordinates import N_STRAINS, energy_at

Array = Any


def hessian(potential: Potential, graph: Graph) -> Array:
    """d2E/dx2 (4 n + 6, 4 n + 6) of one configuration without padding where it is.

    Forward and reverse mode pass through to the parameters and to vectors and moments of the
    graph. The coordinates x are those of `coordinates`.
    """
    size = 4 * graph.types.shape[0] + N_STRAINS
    moving, of_moving = ravel_pytree((potential.flatten(), graph.vectors, graph.magmoms))
    still, structure = jax.tree.flatten((potential, graph))

    def energy(arrays: Any, y: Array, x: Array) -> Array:
        fixed_potential, fixed_graph = jax.tree.unflatten(structure, arrays)
        theta, vectors, magmoms = of_moving(y)
        at = fixed_graph._replace(vectors=vectors, magmoms=magmoms)
        return energy_at(fixed_potential.unflatten(theta), at, x)

    def whole(arrays: Any, y: Array) -> Array:
        origin = jnp.zeros(size, y.dtype)
        return jax.jacfwd(jax.grad(partial(energy, arrays, y)))(origin)

    def forward(*args: Array) -> Array:
        *arrays, y, y_dot = args
        return jax.jvp(partial(whole, arrays), (y,), (y_dot,))[1]

    def backward(*args: Array) -> Array:
        *arrays, y, cotangent = args
        weights, directions = jnp.linalg.eigh((cotangent + cotangent.T) / 2)
        return jax.grad(contraction, argnums=1)(arrays, y, weights, directions.T)

    def contraction(arrays: Any, y: Array, weights: Array, directions: Array) -> Array:
        def second(direction: Array) -> Array:
            def slope(x: Array) -> Array:
                return jax.jvp(partial(energy, arrays, y), (x,), (direction,))[1]

            return jax.jvp(slope, (jnp.zeros(size, y.dtype),), (direction,))[1]

        return weights @ jax.vmap(second)(directions)

    @jax.custom_jvp
    def of(arrays: Any, y: Array) -> Array:
        return whole(arrays, y)

    @of.defjvp
    def _tangent(primals: Any, tangents: Any) -> tuple[Array, Array]:
        (arrays, y), (_, y_dot) = primals, tangents
        value = of(arrays, y)
        return value, linear_map(forward, backward, (*arrays, y), y_dot, value)

    # What moves is in `moving` alone: the same arrays among the others have no tangents.
    return of(jax.lax.stop_gradient(still), moving)
