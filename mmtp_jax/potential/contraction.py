"""From basic moments to site energies: sum_a xi_a B_a (Kotykhov 2025, Eq. 2).

The tables of the potential say which products of moments are added up to which moments; here they
are ordered into layers, each of which needs only earlier ones, and evaluated layer by layer on
arrays (moments, atoms). The gradient with respect to the moments runs through the same layers
backwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from mmtp_jax.potential.by_platform import by_platform
from mmtp_jax.potential.einsum import matmul
from mmtp_jax.potential.linear_map import linear_map
from mmtp_jax.potential.moments import MomentTables
from mmtp_jax.potential.products import ProductTable, gathered_sums, sum_of_pairs, sum_of_products

Array = Any


@dataclass(frozen=True, eq=False)
class ContractionPlan:
    """The products of a potential's tables, renumbered so that layers are contiguous.

    ``bounds[k]`` is the number of moments known after layer k; layer 0 are the basic moments.
    """

    bounds: tuple[int, ...]
    layers: tuple[ProductTable, ...]
    """Layer k + 1 from all moments of layers 0..k."""
    adjoint_layers: tuple[ProductTable, ...]
    """Gradient rows of layer k from the gradient rows of all later layers, times moments."""
    scalars: np.ndarray
    """(n_scalars,) place of each basis function among the renumbered moments."""
    placing: ProductTable
    """Puts rows of basis functions, times one, to these places."""

    @property
    def n_moments(self) -> int:
        """Number of moments of all layers."""
        return self.bounds[-1]


@cache
def contraction_plan(tables: MomentTables) -> ContractionPlan:
    """The layers of a table; made once per table."""
    depth = np.zeros(tables.n_moments, int)
    for a, b, _, target in tables.products:
        depth[target] = max(depth[target], depth[a] + 1, depth[b] + 1)
    order = np.argsort(depth, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    n_layers = int(depth.max()) + 1
    bounds = tuple(int(np.sum(depth <= k)) for k in range(n_layers))

    a, b, target = (place[tables.products[:, k]] for k in (0, 1, 3))
    coefficient = tables.products[:, 2].astype(float)
    layers = []
    for low, high in pairwise(bounds):
        inside = (low <= target) & (target < high)
        layers.append(
            ProductTable(
                a[inside],
                b[inside],
                coefficient[inside],
                target[inside] - low,
                low,
                low,
                high - low,
            )
        )
    whole = ProductTable(a, b, coefficient, target, len(order), len(order), len(order))
    adjoint = whole.symmetric.left_adjoint
    adjoint_layers = []
    for low, high in zip((0, *bounds[:-1]), bounds, strict=True):
        inside = (low <= adjoint.target) & (adjoint.target < high)
        adjoint_layers.append(
            ProductTable(
                # Moments of layer k enter only moments of later layers, which start at `high`.
                adjoint.a[inside] - high,
                adjoint.b[inside],
                adjoint.coefficient[inside],
                adjoint.target[inside] - low,
                len(order) - high,
                len(order),
                high - low,
            )
        )
    scalars = place[tables.scalars].astype(np.int32)
    n, none = len(scalars), np.zeros(len(scalars), int)
    placing = ProductTable(np.arange(n), none, np.ones(n), scalars, n, 1, len(order))
    return ContractionPlan(bounds, tuple(layers), tuple(adjoint_layers), scalars, placing)


def all_moments(plan: ContractionPlan, basic: Array) -> Array:
    """Moments of all layers (n_moments, N) from the basic ones (n_basic, N)."""
    moments = basic
    for layer in plan.layers:
        moments = jnp.concatenate([moments, sum_of_pairs(layer, moments)])
    return moments


def basis_functions(plan: ContractionPlan, basic: Array) -> Array:
    """B_a (n_scalars, N) from the basic moments (n_basic, N)."""
    return scalar_moments(plan, all_moments(plan, basic))


def scalar_moments(plan: ContractionPlan, moments: Array) -> Array:
    """B_a (n_scalars, N) among the moments of all layers (n_moments, N)."""
    like = jax.ShapeDtypeStruct((len(plan.scalars), moments.shape[1]), moments.dtype)
    return linear_map(_picked, _placed, (), moments, like, (plan,), inline=True)


def _picked(plan: ContractionPlan, moments: Array) -> Array:
    return moments[plan.scalars]


def _placed(plan: ContractionPlan, rows: Array) -> Array:
    like = jax.ShapeDtypeStruct((plan.n_moments, rows.shape[1]), rows.dtype)
    return by_platform(_scattered, _gathered, (rows,), like, static=(plan,))


def _scattered(plan: ContractionPlan, rows: Array) -> Array:
    return jnp.zeros((plan.n_moments, rows.shape[1]), rows.dtype).at[plan.scalars].add(rows)


def _gathered(plan: ContractionPlan, rows: Array) -> Array:
    return gathered_sums(plan.placing, rows, jnp.ones((1, 1), rows.dtype))


def moment_gradient(plan: ContractionPlan, moment_coeffs: Array, moments: Array) -> Array:
    """d(sum_a xi_a B_a)/d(basic moments), (n_basic, N), at the moments of all layers."""
    like = jax.ShapeDtypeStruct((plan.n_moments, 1), moments.dtype)
    coefficients = jnp.asarray(moment_coeffs, moments.dtype)[:, None]
    direct = linear_map(_placed, _picked, (), coefficients, like, (plan,), inline=True)
    n_lanes = moments.shape[1]
    gradient = jnp.zeros((0, n_lanes), moments.dtype)
    lows = (0, *plan.bounds[:-1])
    for low, high, layer in zip(
        reversed(lows), reversed(plan.bounds), reversed(plan.adjoint_layers), strict=True
    ):
        rows = sum_of_products(layer, gradient, moments) + direct[low:high]
        gradient = jnp.concatenate([rows, gradient]) if low else rows
    return gradient


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def contract(plan: ContractionPlan, moment_coeffs: Array, basic: Array) -> Array:
    """sum_a xi_a B_a (N,) from xi (n_scalars,) and the basic moments (n_basic, N)."""
    return matmul(moment_coeffs, basis_functions(plan, basic))


@partial(contract.defjvp, symbolic_zeros=True)
def _(plan: ContractionPlan, primals: Any, tangents: Any) -> tuple[Array, Array]:
    # One walk back through the layers serves forward mode, as an inner product, and reverse mode,
    # which transposes that product.
    (moment_coeffs, basic), (moment_coeffs_dot, basic_dot) = primals, tangents
    moments = all_moments(plan, basic)
    scalars = scalar_moments(plan, moments)
    value = matmul(moment_coeffs, scalars)
    value_dot = jnp.zeros_like(value)
    if not isinstance(basic_dot, SymbolicZero):
        gradient = moment_gradient(plan, moment_coeffs, moments)
        value_dot += jnp.sum(gradient * basic_dot, axis=0)
    if not isinstance(moment_coeffs_dot, SymbolicZero):
        value_dot += matmul(moment_coeffs_dot, scalars)
    return value, value_dot
