"""The extrapolation grade gamma = max_j |(b A^-1)_j| (Kotykhov 2025, Eqs. 8-9), safe under jit.

b is a row dE/dtheta, A the active set. Both have their columns divided by the scale of each
parameter, which changes nothing in b A^-1 but keeps A well-conditioned. A is factored once; a
grade costs two triangular solves beside the row.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from mmtp_jax.potential import sums
from mmtp_jax.potential.jacobian import energy_jacobian, site_jacobian
from mmtp_jax.potential.observables import Graph
from mmtp_jax.potential.potential import Potential

Array = Any


class ActiveFactors(NamedTuple):
    """A factored: what a simulation carries along to ask for grades; a pytree of arrays."""

    lu: Array
    """(P, P) L and U of the transpose of A D^-1, as LAPACK packs them."""
    permutation: Array
    """(P,) of its rows."""
    scale: Array
    """(P,) D, the size of each column."""


@jax.jit
def factorise(submatrix: Array, scale: Array) -> ActiveFactors:
    """Factors of A, given as A D^-1 (P, P) and the scale D (P,) of its columns."""
    lu, _, permutation = jax.lax.linalg.lu(submatrix.T)
    return ActiveFactors(lu, permutation, scale)


def grades_of_rows(factors: ActiveFactors, rows: Array) -> Array:
    """gamma (n,) of rows dE/dtheta (n, P)."""
    right = (rows / factors.scale).T[factors.permutation]
    forward = solve_triangular(factors.lu, right, lower=True, unit_diagonal=True)
    return jnp.max(jnp.abs(solve_triangular(factors.lu, forward)), axis=0)


def configuration_grades(
    factors: ActiveFactors, potential: Potential, graph: Graph, chunk: int | None = None
) -> Array:
    """gamma (C,) of each configuration, for an active set of configurations; 0 for padding.

    Args:
        factors: `ActiveSet.factors`.
        potential: the one that the active set belongs to.
        graph: atoms and neighbours.
        chunk: most atoms per step of a loop over blocks.

    Example:
        >>> grade = jax.jit(configuration_grades, static_argnames="chunk")
        >>> grade(active.factors, active.potential, graph)
    """
    return grades_of_rows(factors, energy_jacobian(potential, graph, chunk))


def neighborhood_grades(
    factors: ActiveFactors, potential: Potential, graph: Graph, chunk: int | None = None
) -> Array:
    """gamma (N,) of each atom, for an active set of neighbourhoods; 0 for padding atoms.

    The rows of all atoms exist at once, (N, P).
    """
    grades = grades_of_rows(factors, site_jacobian(potential, graph, chunk))
    return jnp.where(graph.configuration < graph.n_configurations, grades, 0.0)


def largest_per_configuration(graph: Graph, grades: Array) -> Array:
    """(C,) from grades of atoms (N,): a configuration extrapolates as much as its worst atom."""
    largest = sums.largest(grades, graph.configuration, graph.n_configurations, graph.sums)
    # Configurations without atoms, which only pad, would be -inf.
    return jnp.maximum(largest, 0.0)
