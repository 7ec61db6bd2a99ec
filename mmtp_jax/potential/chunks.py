"""Loops over blocks of atoms, which bound the memory and keep a CPU inside its cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Array = Any


def fold_chunks(
    function: Callable[[Any, Any], tuple[Any, Any]], start: Any, rows: Any, chunk: int | None
) -> tuple[Any, Any]:
    """``carry, out = function(carry, block)`` over blocks of at most ``chunk`` atoms.

    Every array of ``rows`` and of ``out`` has the atoms on its first axis. Their number is halved
    until a block is small enough, or it is odd.

    Returns:
        The last carry, and ``out`` of all atoms.
    """
    n_atoms = jax.tree.leaves(rows)[0].shape[0]
    block = _block_size(n_atoms, chunk)
    if block == n_atoms:
        return function(start, rows)
    split = jax.tree.map(lambda a: a.reshape(-1, block, *a.shape[1:]), rows)
    carry, out = jax.lax.scan(function, start, split)
    return carry, jax.tree.map(lambda a: a.reshape(n_atoms, *a.shape[2:]), out)


def in_chunks(function: Callable[[Any], Any], rows: Any, chunk: int | None) -> Any:
    """``function(rows)`` on blocks; every array of the result has the atoms on its first axis."""
    return fold_chunks(lambda _, block: (None, function(block)), None, rows, chunk)[1]


def sum_over_chunks(function: Callable[[Any], Any], rows: Any, chunk: int | None) -> Any:
    """The sum of ``function`` over blocks, where the result does not have the atoms as an axis."""
    n_atoms = jax.tree.leaves(rows)[0].shape[0]
    block = _block_size(n_atoms, chunk)
    first = jax.tree.map(lambda a: jax.ShapeDtypeStruct((block, *a.shape[1:]), a.dtype), rows)
    shapes = jax.eval_shape(function, first)
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
    return fold_chunks(
        lambda total, rows: (jax.tree.map(jnp.add, total, function(rows)), None),
        zeros,
        rows,
        chunk,
    )[0]


def padded_count(n: int, chunk: int | None) -> int:
    """The least number of atoms >= n that can be halved until a block holds at most ``chunk``."""
    step = 1
    while chunk is not None and -(-n // step) > chunk:
        step *= 2
    return -(-n // step) * step


def _block_size(n_atoms: int, chunk: int | None) -> int:
    size = n_atoms
    while chunk is not None and size > chunk and size % 2 == 0:
        size //= 2
    return size
