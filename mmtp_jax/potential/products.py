"""Sums of products of rows, in the pattern of a static table, closed under differentiation.

    out[t] = sum over the terms of t of  coefficient * left[a] * right[b]

Rows are moments, columns are atoms. The derivative of such a sum, and the transpose of that
derivative, are sums of the same form with the roles of the indices exchanged; stating this as a
rule keeps every order of differentiation free of scatters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from mmtp_jax.potential.linear_map import linear_map

Array = Any

_FUSED_TERMS = 4
"""Terms of one target that are added in one fused loop before the sum over groups."""


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

    @cached_property
    def groups(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(a, b, coefficient), each (U, n_groups), and the target of each group, ascending."""
        order = np.argsort(self.target, kind="stable")
        target = self.target[order]
        count = np.bincount(target, minlength=self.n_targets)
        n_groups = -(-count // _FUSED_TERMS)
        first_term = np.concatenate([[0], np.cumsum(count)])[:-1]
        first_group = np.concatenate([[0], np.cumsum(n_groups)])[:-1]
        place = np.arange(len(target)) - first_term[target]
        group, slot = first_group[target] + place // _FUSED_TERMS, place % _FUSED_TERMS
        total = int(n_groups.sum())
        packed = []
        for values, kind in ((self.a, np.int32), (self.b, np.int32), (self.coefficient, float)):
            array = np.zeros((_FUSED_TERMS, total), kind)
            array[slot, group] = values[order]
            packed.append(array)
        group_target = np.repeat(np.arange(self.n_targets, dtype=np.int32), n_groups)
        return packed[0], packed[1], packed[2], group_target


def _evaluate(table: ProductTable, left: Array, right: Array) -> Array:
    a, b, coefficient, target = table.groups
    if len(target) == 0:
        return jnp.zeros((table.n_targets, left.shape[1]), left.dtype)
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
