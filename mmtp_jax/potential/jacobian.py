"""Derivatives of energies with respect to the parameters, one row per configuration or atom.

These rows are what the extrapolation grade is made of (Kotykhov 2025, Eq. 8). They cost about one
evaluation:

    dE_i/dxi_a = B_a        dE_i/de0(z) = 1 for z = z_i
    dE_i/dc = psi(m_i) (x) sum_j (dE_i/df_mu(j)) phi_zeta(r_ij) psi(m_j)
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from mmtp_jax.potential import sums
from mmtp_jax.potential.by_platform import in_two_ways
from mmtp_jax.potential.chunks import in_chunks, sum_over_chunks
from mmtp_jax.potential.confinement import confined
from mmtp_jax.potential.contraction import (
    all_moments,
    contraction_plan,
    moment_gradient,
    scalar_moments,
)
from mmtp_jax.potential.einsum import einsum
from mmtp_jax.potential.energy import Neighborhoods, basic_moments, geometry, pairs_of
from mmtp_jax.potential.noncollinear import has_terms, noncollinear_columns
from mmtp_jax.potential.observables import Graph, neighborhoods
from mmtp_jax.potential.potential import Potential, traced
from mmtp_jax.potential.radial import bases, pair_coefficients, projected_on, radial_functions
from mmtp_jax.potential.vector_moments import are_vectors
from mmtp_jax.potential.vectors import reversed_too, tables_for

Array = Any


def site_jacobian(potential: Potential, graph: Graph, chunk: int | None = None) -> Array:
    """dE_i/dtheta (N, P), the columns in the order of `Potential.flatten`.

    Args:
        potential: the potential.
        graph: atoms and neighbours; rows of padding atoms are those of an isolated atom.
        chunk: most atoms per step of a loop over blocks.
    """
    potential, graph = traced((potential, graph))
    vectors = are_vectors(graph.magmoms)

    def of_block(rows: Neighborhoods) -> Array:
        linear, blocked = _factors(potential, rows)
        return _joined(potential, linear, jax.vmap(_outer)(*blocked), vectors)

    return in_chunks(of_block, neighborhoods(graph), chunk)


def energy_jacobian(potential: Potential, graph: Graph, chunk: int | None = None) -> Array:
    """dE/dtheta (C, P) of each configuration, the columns in the order of `Potential.flatten`."""
    potential, graph = traced((potential, graph))
    vectors = are_vectors(graph.magmoms)
    if graph.sums is not None:
        linear, (central, projected) = in_chunks(
            partial(_factors, potential), neighborhoods(graph), chunk
        )
        central, projected = (
            sums.of_members(factor, graph.sums).astype(projected.dtype)
            for factor in (central, projected)
        )
        blocked = einsum("cna,cnmz->camz", central, projected)
        linear = jnp.sum(sums.of_members(linear, graph.sums), axis=1)
        return _joined(potential, linear, blocked, vectors)

    def of_block(block: tuple[Neighborhoods, Array]) -> tuple[Array, Array]:
        rows, owner = block
        linear, blocked = _factors(potential, rows)
        to_configuration = partial(
            jax.ops.segment_sum, segment_ids=owner, num_segments=graph.n_configurations
        )
        return to_configuration(linear), to_configuration(jax.vmap(_outer)(*blocked))

    totals = sum_over_chunks(of_block, (neighborhoods(graph), graph.configuration), chunk)
    return _joined(potential, *totals, vectors)


def _factors(potential: Potential, rows: Neighborhoods) -> tuple[Array, tuple[Array, Array]]:
    """`_factors_in_one_way`, in that of the platform."""
    n, vectors = rows.types.shape[0], are_vectors(rows.magmoms)
    of_pairs = partial(pair_coefficients, vectors=vectors)
    n_blocks, n_mu, n_phi, _ = jax.eval_shape(of_pairs, potential).shape
    edges = jnp.result_type(rows.vectors, potential.radial_coeffs)
    number = jnp.result_type(edges, potential.moment_coeffs)
    n_linear = potential.n_species + tables_for(potential, vectors).n_scalars
    if has_terms(potential, rows.magmoms):
        n_linear += potential.n_noncollinear
    like = (
        jax.ShapeDtypeStruct((n, n_linear), number),
        (
            jax.ShapeDtypeStruct((n, n_blocks), edges),
            jax.ShapeDtypeStruct((n, n_mu, n_phi * n_blocks), edges),
        ),
    )
    return in_two_ways(_factors_in_one_way, (potential, rows), like)


def _factors_in_one_way(
    potential: Potential, rows: Neighborhoods, direct: bool = False
) -> tuple[Array, tuple[Array, Array]]:
    """Rows (N, S + N_B) for e0 and xi, and the two factors of those for c.

    The former also have those of terms that vanish for parallel moments, where these are vectors.

    The factors are psi_a(m_i) (N, blocks) and sum_j (dE_i/df) phi psi (N, parities * N_mu,
    N_phi * blocks).
    """
    distance, direction = geometry(rows.vectors)
    pairs, _ = confined(potential, pairs_of(rows, distance))
    radial = radial_functions(potential, pairs)
    vectors = are_vectors(pairs.magmoms)
    tables = tables_for(potential, vectors)
    basic, pull_back = jax.vjp(
        lambda f: basic_moments(potential, tables, f, direction, direct), radial
    )

    plan = contraction_plan(tables)
    moments = all_moments(plan, basic)
    lanes = 2 if reversed_too(potential, vectors) else 1
    gradient = moment_gradient(plan, potential.moment_coeffs, moments) / lanes
    (radial_bar,) = pull_back(gradient)
    scalars = scalar_moments(plan, moments).reshape(len(plan.scalars), lanes, -1).mean(axis=1).T
    is_species = rows.types[:, None] == jnp.arange(potential.n_species)

    central, phi, psi = bases(potential, pairs)
    projected = projected_on(radial_bar, phi, psi)
    projected = projected.reshape(*projected.shape[:2], -1)
    linear = [is_species.astype(scalars.dtype), scalars]
    if has_terms(potential, pairs.magmoms):
        columns = noncollinear_columns(potential, pairs, direction, direct)
        linear.append(columns.astype(scalars.dtype))
    linear = jnp.concatenate(linear, axis=1)
    return linear, (jnp.stack(central, axis=-1), projected)


def _outer(central: Array, projected: Array) -> Array:
    return central[:, None, None] * projected[None]


def _joined(potential: Potential, linear: Array, blocked: Array, vectors: bool) -> Array:
    """Rows over theta from rows over e0, xi and the blocks of `pair_coefficients`."""

    def blocks_of(radial_coeffs: Array) -> Array:
        return pair_coefficients(potential.replace(radial_coeffs=radial_coeffs), vectors)

    shape = jax.eval_shape(blocks_of, potential.radial_coeffs)
    (transposed,) = jax.vmap(jax.linear_transpose(blocks_of, potential.radial_coeffs))(
        blocked.reshape(-1, *shape.shape)
    )
    free = potential.free_radial(transposed.reshape(len(linear), -1))
    if potential.noncollinear is None:
        return jnp.concatenate([linear, free], axis=1)
    n_before = potential.n_species + len(potential.moment_coeffs)
    linear, others = linear[:, :n_before], linear[:, n_before:]
    if not vectors:
        others = jnp.zeros((len(linear), potential.n_noncollinear), linear.dtype)
    return jnp.concatenate([linear, free, others], axis=1)
