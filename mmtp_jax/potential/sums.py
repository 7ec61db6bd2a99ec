"""Sums over pairs and atoms, with or without a list of the terms of each sum.

Two kinds of sums take numbers from where they are made to where they belong: from the pairs (i, k)
to the atom that is the neighbour in them, and from the atoms to their configurations. Added up in
the order of their terms they are scatters. A CPU does these in a loop. On a GPU they are atomic
additions, so results would differ from run to run, and all atoms of a cell would wait for one
address. With `Sums` both are gathers, in one order, and so are all their derivatives.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.by_platform import by_platform
from mmtp_jax.potential.linear_map import linear_map

Array = Any


class Sums(NamedTuple):
    """Where the terms are, for N atoms with K neighbours each in C configurations."""

    incoming: Array | None
    """(M, J) int32, places K i + k of the pairs (i, k) that an atom is the neighbour in; then -1.
    None where there are sums over atoms only."""
    members: Array
    """(C, A) int32, the atoms of each configuration; then -1."""


def incoming_pairs(
    neighbours: Array, count: Array, n_atoms: int, width: int, xp: Any = np
) -> Array:
    """`Sums.incoming`, with J = ``width`` places; with ``xp=jax.numpy`` inside jit too.

    Args:
        neighbours: (N, K) index of the neighbour among M atoms.
        count: (N,) places of ``neighbours`` in use, the first ones.
        n_atoms: M.
        width: at least as many as the pairs of any atom; K where both directions of each pair are
            there.
        xp: numpy or jax.numpy.
    """
    n, k = neighbours.shape
    if not n * k:
        return xp.full((n_atoms, width), -1, np.int32)
    atom = xp.where(xp.arange(k) < count[:, None], neighbours, n_atoms).ravel()
    order = xp.argsort(atom, stable=True)
    bounds = xp.searchsorted(atom[order], xp.arange(n_atoms + 1))
    place = bounds[:-1, None] + xp.arange(width)
    found = xp.where(place < bounds[1:, None], order[xp.minimum(place, n * k - 1)], -1)
    return found.astype(np.int32)


def members_of(configuration: np.ndarray, n_configurations: int, most: int = 0) -> np.ndarray:
    """`Sums.members` from the configuration (N,) of each atom, C for padding; on the host.

    There are at least ``most`` places A; all N where there is only one configuration.
    """
    inside = np.flatnonzero(configuration < n_configurations)
    inside = inside[np.argsort(configuration[inside], kind="stable")]
    count = np.bincount(configuration[inside], minlength=n_configurations)
    most = max(most, len(configuration) if n_configurations == 1 else int(count.max(initial=0)))
    members = np.full((n_configurations, most), -1, np.int32)
    column = np.arange(len(inside)) - np.repeat(np.cumsum(count) - count, count)
    members[configuration[inside], column] = inside
    return members


def at_neighbours(values: Array, neighbours: Array, sums: Sums | None) -> Array:
    """Values (M, ...) of atoms at the pairs (N, K, ...) that they are neighbours in."""
    values = jnp.asarray(values)
    if sums is None:
        return values[neighbours]
    like = jax.ShapeDtypeStruct((*neighbours.shape, *values.shape[1:]), values.dtype)
    return linear_map(
        _at_neighbours, _to_neighbours, (neighbours, sums.incoming), values, like, inline=True
    )


def to_neighbours(pairs: Array, neighbours: Array, sums: Sums) -> Array:
    """The sum (M, ...) over the pairs (N, K, ...) that each atom is the neighbour in."""
    like = jax.ShapeDtypeStruct((sums.incoming.shape[0], *pairs.shape[2:]), pairs.dtype)
    return linear_map(
        _to_neighbours, _at_neighbours, (neighbours, sums.incoming), pairs, like, inline=True
    )


def per_configuration(
    values: Array, configuration: Array, n_configurations: int, sums: Sums | None
) -> Array:
    """The sum (C, ...) over the atoms (N, ...) of each configuration."""
    if sums is None:
        # Padding atoms have the segment C, which is out of range and dropped.
        return jax.ops.segment_sum(values, configuration, n_configurations)
    like = jax.ShapeDtypeStruct((n_configurations, *values.shape[1:]), values.dtype)
    return linear_map(
        _per_configuration, _at_atoms, (configuration, sums.members), values, like, inline=True
    )


def at_atoms(values: Array, configuration: Array, sums: Sums | None) -> Array:
    """Values (C, ...) of configurations at their atoms (N, ...); zero at padding atoms."""
    if sums is None:
        # Indices are clipped, so padding atoms get what comes last.
        return jnp.concatenate([values, jnp.zeros_like(values[:1])])[configuration]
    like = jax.ShapeDtypeStruct((*configuration.shape, *values.shape[1:]), values.dtype)
    return linear_map(
        _at_atoms, _per_configuration, (configuration, sums.members), values, like, inline=True
    )


def of_members(values: Array, sums: Sums) -> Array:
    """Values (N, ...) of atoms as rows (C, A, ...) of configurations; zero where there is none."""
    return _gathered(values, sums.members)


def largest(values: Array, configuration: Array, n_configurations: int, sums: Sums | None) -> Array:
    """The largest (C,) of the numbers (N,) of each configuration; the least there is without."""
    if sums is None:
        return jax.ops.segment_max(values, configuration, n_configurations)
    least = -jnp.inf if jnp.issubdtype(values.dtype, jnp.floating) else jnp.iinfo(values.dtype).min
    if n_configurations == 1:
        # Nothing is there without atoms that pad, either.
        return jnp.max(_of_the_only_one(configuration, values, least), initial=least)[None]
    return jnp.max(_gathered(values, sums.members, least), axis=1, initial=least)


_linear = partial(linear_map, inline=True)


def _gathered(values: Array, places: Array, fill: Any = 0) -> Array:
    there = (places >= 0).reshape(*places.shape, *[1] * (values.ndim - 1))
    return jnp.where(there, values[jnp.maximum(places, 0)], jnp.asarray(fill, values.dtype))


def _of_the_only_one(configuration: Array, values: Array, fill: Any) -> Array:
    """The values (N, ...) of one configuration, and ``fill`` at padding atoms: no gather."""
    there = (configuration == 0).reshape(-1, *[1] * (values.ndim - 1))
    return jnp.where(there, values, jnp.asarray(fill, values.dtype))


def _at_neighbours(neighbours: Array, incoming: Array, values: Array) -> Array:
    del incoming
    return values[neighbours]


def _to_neighbours(neighbours: Array, incoming: Array, pairs: Array) -> Array:
    like = jax.ShapeDtypeStruct((incoming.shape[0], *pairs.shape[2:]), pairs.dtype)
    return by_platform(_pairs_in_order, _gathered_pairs, (neighbours, incoming, pairs), like)


def _pairs_in_order(neighbours: Array, incoming: Array, pairs: Array) -> Array:
    zeros = jnp.zeros((incoming.shape[0], *pairs.shape[2:]), pairs.dtype)
    return zeros.at[neighbours].add(pairs)


def _gathered_pairs(neighbours: Array, incoming: Array, pairs: Array) -> Array:
    del neighbours
    # Over the first axis a GPU adds while it gathers; over the second it would store the terms.
    return jnp.sum(_gathered(pairs.reshape(-1, *pairs.shape[2:]), incoming.T), axis=0)


def _per_configuration(configuration: Array, members: Array, values: Array) -> Array:
    if members.shape[0] == 1:
        return jnp.sum(_of_the_only_one(configuration, values, 0), axis=0)[None]
    return jnp.sum(_gathered(values, members), axis=1)


def _at_atoms(configuration: Array, members: Array, values: Array) -> Array:
    n = members.shape[0]
    inside = (configuration < n).reshape(-1, *[1] * (values.ndim - 1))
    return jnp.where(inside, values[jnp.minimum(configuration, n - 1)], jnp.zeros((), values.dtype))
