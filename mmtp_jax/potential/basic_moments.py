"""Basic moments: M_{mu,nu} = sum_j f_mu(j) u_j^(x)nu, with u = r/|r| (Kotykhov 2025, Eq. 3).

A component of M_{mu,nu} is sum_j f_mu x^a y^b z^c. With z^2 = 1 - x^2 - y^2 every one is a fixed
combination of those with c of 0 or 1, and these are one small matrix product per atom between the
left factors f_mu y^b and the right factors x^a z^c: at level 20, 295 components come from 25 left
and 17 right rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from math import comb
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.moments import MomentTables
from mmtp_jax.potential.products import ProductTable, sum_of_products
from mmtp_jax.potential.rows import (
    MOST_SUMS,
    monomial_rows,
    powers,
    row_products,
    summed,
    unstacked,
    weighted_power_rows,
)

Array = Any


@dataclass(frozen=True, eq=False)
class BasicPlan:
    """Which rows the two factors have, and how their products make the components."""

    left: tuple[tuple[int, int], ...]
    """(mu, b) of each left row f_mu y^b."""
    right: tuple[tuple[int, int], ...]
    """(a, c) of each right row x^a z^c, c in {0, 1}."""
    terms: ProductTable
    """Components from the products (left, right), left-major; the right factor is a row of ones."""

    @cached_property
    def used(self) -> tuple[np.ndarray, ProductTable]:
        """The products that components need, ascending, and the components from these alone."""
        products, place = np.unique(self.terms.a, return_inverse=True)
        return products, replace(self.terms, a=place, n_left=len(products))


@cache
def basic_plan(tables: MomentTables) -> BasicPlan:
    """The factors for a table; made once per table."""
    basic = tables.basic
    rank = basic[:, 1:].sum(axis=1)
    max_rank = [int(rank[basic[:, 0] == mu].max(initial=0)) for mu in range(tables.n_radial)]
    top = max(max_rank)
    left = tuple((mu, b) for mu in range(tables.n_radial) for b in range(max_rank[mu] + 1))
    right = tuple((a, c) for c in range(min(1, top) + 1) for a in range(top + 1 - c))
    left_row = {row: k for k, row in enumerate(left)}
    right_row = {row: k for k, row in enumerate(right)}

    source, coefficient, target = [], [], []
    for component, (mu, ax, ay, az) in enumerate(basic.tolist()):
        half, c = divmod(az, 2)
        # (1 - x^2 - y^2)^half, term with i factors of -x^2 and j of -y^2.
        for i in range(half + 1):
            for j in range(half + 1 - i):
                row = left_row[mu, ay + 2 * j] * len(right) + right_row[ax + 2 * i, c]
                source.append(row)
                coefficient.append((-1.0) ** (i + j) * comb(half, i) * comb(half - i, j))
                target.append(component)
    terms = ProductTable(
        np.array(source),
        np.zeros(len(source), int),
        np.array(coefficient),
        np.array(target),
        len(left) * len(right),
        1,
        len(basic),
    )
    return BasicPlan(left, right, terms)


def component_lanes(
    plan: BasicPlan, radial: Array, direction: tuple[Array, Array, Array], dtype: Any
) -> list[Array]:
    """The components (n_basic, N) for each set of N_mu radial functions in (N, sets * N_mu, K).

    The matrix product is made in the precision of ``radial``, what follows in ``dtype``.
    """
    x, y, z = direction
    n_atoms, n_rows, _ = radial.shape
    n_mu = 1 + max(mu for mu, _ in plan.left)
    n_sets = n_rows // n_mu
    source = tuple(part * n_mu + mu for part in range(n_sets) for mu, _ in plan.left)
    power = tuple(b for _ in range(n_sets) for _, b in plan.left)
    left = weighted_power_rows(source, power, radial, y)
    right = monomial_rows(tuple(a for a, _ in plan.right), tuple(c for _, c in plan.right), x, z)
    products = row_products(left, right)
    products = products.reshape(n_atoms, n_sets, -1).transpose(1, 2, 0).astype(dtype)
    one = jnp.ones((1, n_atoms), dtype)
    return [sum_of_products(plan.terms, rows, one) for rows in products]


def direct_component_lanes(
    plan: BasicPlan, radial: Array, direction: tuple[Array, Array, Array], dtype: Any
) -> list[Array]:
    """`component_lanes` for GPUs, where memory is slower than arithmetic, and no row is stored.

    Each product that is needed is made and added up in one kernel. Plain differentiation makes the
    same of it in the other direction.
    """
    n_mu, n_right = 1 + max(mu for mu, _ in plan.left), len(plan.right)
    n_sets = radial.shape[1] // n_mu
    products, terms = plan.used
    used = [
        (part * n_mu + mu, a, b, c)
        for (mu, b), (a, c) in (
            (plan.left[k // n_right], plan.right[k % n_right]) for k in products.tolist()
        )
        for part in range(n_sets)
    ]
    # Stored in both directions, between what makes and what needs them.
    functions = jax.lax.optimization_barrier(unstacked(radial))
    n_parts = -(-len(used) // MOST_SUMS)
    size = -(-len(used) // n_parts)
    sums = []
    for k in range(0, len(used), size):
        some = used[k : k + size]
        weights, components = {m: functions[m] for m, *_ in some}, direction
        if n_parts > 1:
            # Each part has kernels of its own in the other direction, too.
            weights, components = jax.lax.optimization_barrier((weights, components))
        sums.append(summed(_products(some, weights, components)))
    one = jnp.ones((1, radial.shape[0]), dtype)
    rows = jnp.concatenate(sums).astype(dtype).reshape(len(products), n_sets, -1)
    return [sum_of_products(terms, of, one) for of in unstacked(rows)]


def _products(
    used: list[tuple[int, int, int, int]], weights: dict[int, Array], direction: tuple[Array, ...]
) -> list[Array]:
    """w_m x^a y^b z^c for each (m, a, b, c)."""
    x, y, z = direction
    x_power, y_power = (
        powers(x, max(a for _, a, *_ in used)),
        powers(y, max(b for *_, b, _ in used)),
    )
    # Those that several weights need are made once.
    monomials = {(a, b, c): x_power[a] * y_power[b] * (z if c else 1.0) for _, a, b, c in used}
    return [weights[m] * monomials[a, b, c] for m, a, b, c in used]
