"""Loops over blocks of atoms, which bound the memory and keep a CPU inside its cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Array = Any


def in_chunks(function: Callable[[Any], Any], rows: Any, chunk: int | None) -> Any:
    """``function(rows)``, on blocks of at most ``chunk`` atoms where their number can be halved.

    Every array of ``rows`` and of the result has the atoms on its first axis.
    """
    n_atoms = jax.tree.leaves(rows)[0].shape[0]
    block = _block_size(n_atoms, chunk)
    if block == n_atoms:
        return function(rows)
    result = jax.lax.map(function, _split(rows, block))
    return jax.tree.map(lambda a: a.reshape(n_atoms, *a.shape[2:]), result)


def sum_over_chunks(function: Callable[[Any], Any], blocks: Any, chunk: int | None) -> Any:
    """The sum of ``function`` over blocks, where the result does not have the atoms as an axis."""
    n_atoms = jax.tree.leaves(blocks)[0].shape[0]
    block = _block_size(n_atoms, chunk)
    if block == n_atoms:
        return function(blocks)
    split = _split(blocks, block)
    shapes = jax.eval_shape(function, jax.tree.map(lambda a: a[0], split))
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

    def step(total: Any, block: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, function(block)), None

    return jax.lax.scan(step, zeros, split)[0]


def _block_size(n_atoms: int, chunk: int | None) -> int:
    size = n_atoms
    while chunk is not None and size > chunk and size % 2 == 0:
        size //= 2
    return size


def _split(tree: Any, block: int) -> Any:
    """Every array (N, ...) as (N / block, block, ...)."""
    return jax.tree.map(lambda a: a.reshape(-1, block, *a.shape[1:]), tree)
