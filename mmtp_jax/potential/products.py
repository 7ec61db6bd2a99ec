"""Sums of products of rows, in the pattern of a static table, closed under differentiation.

    out[t] = sum over the terms of t of  coefficient * left[a] * right[b]

Rows are moments, columns are atoms. The derivative of such a sum, and the transpose of that
derivative, are sums of the same form with the roles of the indices exchanged; stating this as a
rule keeps every order of differentiation free of scatters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from mmtp_jax.potential.by_platform import by_platform
from mmtp_jax.potential.linear_map import linear_map

Array = Any

_FUSED_TERMS = 4
"""Terms of one target that a CPU adds in one fused loop before the sum over groups."""

_SUMMED_TERMS = 24
"""Terms of one target in one sum on a GPU; XLA stores the terms of sums of 32 and more."""


@dataclass(frozen=True, eq=False)
class ProductTable:
    """Terms ``out[target] += coefficient * left[a] * right[b]``, one array entry per term.

    ``n_left``, ``n_right`` and ``n_targets`` are the numbers of rows.
    """

    a: np.ndarray
    b: np.ndarray
    coefficient: np.ndarray
    target: np.ndarray
    n_left: int
    n_right: int
    n_targets: int

    @cached_property
    def left_adjoint(self) -> ProductTable:
        """left_bar[a] += coefficient * out_bar[target] * right[b]."""
        return ProductTable(
            self.target, self.b, self.coefficient, self.a, self.n_targets, self.n_right, self.n_left
        )

    @cached_property
    def swapped(self) -> ProductTable:
        """The same sums with left and right exchanged."""
        return ProductTable(
            self.b, self.a, self.coefficient, self.target, self.n_right, self.n_left, self.n_targets
        )

    @cached_property
    def symmetric(self) -> ProductTable:
        """The derivative of the square form: d(left[a] left[b]), both factors on the left."""
        same = self.a == self.b
        other = ~same
        return ProductTable(
            np.concatenate([self.a, self.b[other]]),
            np.concatenate([self.b, self.a[other]]),
            np.concatenate([np.where(same, 2, 1) * self.coefficient, self.coefficient[other]]),
            np.concatenate([self.target, self.target[other]]),
            self.n_left,
            self.n_right,
            self.n_targets,
        )

    def groups(self, size: int) -> Groups:
        """The terms in groups of at most ``size``, each of one target; made once per size."""
        if size not in self._groups:
            self._groups[size] = _groups(self, size)
        return self._groups[size]

    @cached_property
    def _groups(self) -> dict[int, Groups]:
        return {}

    @cached_property
    def bins(self) -> tuple[list[Bin], np.ndarray]:
        """The terms by bins of targets with about as many, and where each target is among these."""
        count = np.bincount(self.target, minlength=self.n_targets)
        order, of_target = np.argsort(count, kind="stable"), np.argsort(self.target, kind="stable")
        first = np.cumsum(count) - count
        bins = []
        for low, high in pairwise(_cuts(count[order])):
            targets = order[low:high]
            slot = np.arange(count[targets[-1]])[:, None]
            there = slot < count[targets]
            term = of_target[np.where(there, first[targets] + slot, 0)]
            bins.append(Bin(self.a[term], self.b[term], np.where(there, self.coefficient[term], 0)))
        return bins, np.argsort(order).astype(np.int32)


class Bin(NamedTuple):
    """Targets of a table with at most U terms; shorter sums end with terms of coefficient 0."""

    a: np.ndarray
    """(U, n)"""
    b: np.ndarray
    """(U, n)"""
    coefficient: np.ndarray
    """(U, n)"""


class Groups(NamedTuple):
    """Terms of a table in U rows of groups; short groups end with terms of coefficient 0."""

    a: np.ndarray
    """(U, n_groups)"""
    b: np.ndarray
    """(U, n_groups)"""
    coefficient: np.ndarray
    """(U, n_groups)"""
    target: np.ndarray
    """(n_groups,) ascending."""


def _groups(table: ProductTable, size: int) -> Groups:
    order = np.argsort(table.target, kind="stable")
    target = table.target[order]
    count = np.bincount(target, minlength=table.n_targets)
    n_groups = -(-count // size)
    first_term = np.concatenate([[0], np.cumsum(count)])[:-1]
    first_group = np.concatenate([[0], np.cumsum(n_groups)])[:-1]
    place = np.arange(len(target)) - first_term[target]
    group, slot = first_group[target] + place // size, place % size
    total = int(n_groups.sum())
    packed = []
    for values, kind in ((table.a, np.int32), (table.b, np.int32), (table.coefficient, float)):
        array = np.zeros((size, total), kind)
        array[slot, group] = values[order]
        packed.append(array)
    group_target = np.repeat(np.arange(table.n_targets, dtype=np.int32), n_groups)
    return Groups(*packed, group_target)


def _cuts(count: np.ndarray) -> list[int]:
    """Where to cut ascending numbers of terms into bins, each as wide as its last one.

    One more bin must save a share of all terms.
    """
    least, before, price = [0.0], [0], max(48, count.sum() / 12)
    for high in range(1, len(count) + 1):
        costs = [least[low] + (high - low) * count[high - 1] + price for low in range(high)]
        before.append(int(np.argmin(costs)))
        least.append(costs[before[-1]])
    cuts = [len(count)]
    while cuts[-1]:
        cuts.append(before[cuts[-1]])
    return cuts[::-1]


def _evaluate(table: ProductTable, left: Array, right: Array) -> Array:
    if len(table.target) == 0:
        return jnp.zeros((table.n_targets, left.shape[1]), left.dtype)
    like = jax.ShapeDtypeStruct((table.n_targets, left.shape[1]), left.dtype)
    return by_platform(_fused, gathered_sums, (left, right), like, static=(table,))


def _fused(table: ProductTable, left: Array, right: Array) -> Array:
    """For CPUs, where a scatter of sorted rows is a loop."""
    a, b, coefficient, target = table.groups(_FUSED_TERMS)
    total = None
    for k in range(_FUSED_TERMS):
        # A short last group is padded with terms of coefficient 0.
        if not np.any(coefficient[k]):
            continue
        term = left[a[k]] * right[b[k]]
        if not np.all(coefficient[k] == 1):
            term = term * jnp.asarray(coefficient[k], left.dtype)[:, None]
        total = term if total is None else total + term
    if len(target) == table.n_targets and np.array_equal(target, np.arange(table.n_targets)):
        return total
    return jax.ops.segment_sum(total, target, table.n_targets, indices_are_sorted=True)


def gathered_sums(table: ProductTable, left: Array, right: Array) -> Array:
    """For GPUs, where a scatter adds in any order: sums of gathered rows."""
    bins, place = table.bins
    found = []
    for each in bins:
        total = jnp.zeros((each.a.shape[1], left.shape[1]), left.dtype)
        for k in range(0, len(each.a), _SUMMED_TERMS):
            a, b, coefficient = (of[k : k + _SUMMED_TERMS] for of in each)
            terms = left[a] * (right if table.n_right == 1 else right[b])
            if not np.all(coefficient == 1):
                terms = terms * jnp.asarray(coefficient, left.dtype)[:, :, None]
            total = total + jnp.sum(terms, axis=0)
        found.append(total)
    rows = jnp.concatenate(found)
    return rows if np.array_equal(place, np.arange(len(place))) else rows[place]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def sum_of_products(table: ProductTable, left: Array, right: Array) -> Array:
    """out (n_targets, N) from left (n_left, N) and right (n_right, N)."""
    return _evaluate(table, left, right)


@partial(sum_of_products.defjvp, symbolic_zeros=True)
def _(table: ProductTable, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (left, right), (left_dot, right_dot) = primals, tangents
    out = sum_of_products(table, left, right)
    terms = []
    if not isinstance(left_dot, SymbolicZero):
        terms.append(_linear(table, right, left_dot))
    if not isinstance(right_dot, SymbolicZero):
        terms.append(_linear(table.swapped, left, right_dot))
    return out, sum(terms[1:], start=terms[0]) if terms else jnp.zeros_like(out)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def sum_of_pairs(table: ProductTable, rows: Array) -> Array:
    """out (n_targets, N) where both factors come from the same rows (n_left, N)."""
    return _evaluate(table, rows, rows)


@sum_of_pairs.defjvp
def _(table: ProductTable, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (rows,), (rows_dot,) = primals, tangents
    return sum_of_pairs(table, rows), _linear(table.symmetric, rows, rows_dot)


def _linear(table: ProductTable, right: Array, left: Array) -> Array:
    """The sum as a linear map of ``left``."""
    like = jax.ShapeDtypeStruct((table.n_targets, left.shape[1]), left.dtype)
    return linear_map(_of_left, _to_left, (right,), left, like, static=(table,))


def _of_left(table: ProductTable, right: Array, left: Array) -> Array:
    return sum_of_products(table, left, right)


def _to_left(table: ProductTable, right: Array, out: Array) -> Array:
    return sum_of_products(table.left_adjoint, out, right)
