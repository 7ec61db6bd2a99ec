"""Disordered collinear states: half of the magnetic moments up and half down, at random.

Averages over them at fixed geometry describe the paramagnetic state well above its temperature of
order, where every pattern is equally likely (magnetic sampling; Kotykhov 2025, Sec. III.B).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from mmtp_jax.simulation.dynamics.thermostats import key_of

Array = Any

_PURPOSE = 8
"""Of random numbers; see `thermostats.normals` and `moves`."""


@jax.jit
def random_signs(keys: Array, step: Array, types: Array, magnetic: Array) -> Array:
    """Signs (R, n) of states without net moment; +1 at atoms that are not magnetic.

    Half of the magnetic atoms of each species are up, all such states equally likely. Of an odd
    number one is left over, whose sign is drawn.

    Args:
        keys: (R, 2) raw random keys.
        step: () number of the draw.
        types: (n,) species.
        magnetic: (n,) bool.
    """
    group = jnp.where(magnetic, types, -1)
    n = types.shape[0]
    # Place of the first atom of each atom's group in the order by groups, and the group's size.
    smaller = jnp.sum(group[None, :] < group[:, None], axis=1)
    size = jnp.sum(group[None, :] == group[:, None], axis=1)

    def of_replica(raw: Array) -> Array:
        draw, left_over = jax.random.split(key_of(raw, step, _PURPOSE))
        order = jnp.lexsort((jax.random.uniform(draw, (n,)), group))
        place = jnp.zeros(n, order.dtype)
        place = place.at[order].set(jnp.arange(n), unique_indices=True) - smaller
        extra = jax.random.bernoulli(jax.random.fold_in(left_over, 0), shape=(n,))
        # The same for all atoms of a group: that of its first place.
        extra = extra[jnp.minimum(smaller, n - 1)] & (size % 2 == 1)
        up = place < size // 2 + extra
        return jnp.where(magnetic & ~up, -1.0, 1.0)

    return jax.vmap(of_replica)(keys)
