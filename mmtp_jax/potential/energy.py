"""The energy of every atom, from its neighbours' vectors and moments (Burov 2026, Eqs. 1-7).

Everything about one atom is a function of its own row of neighbours, so derivatives with respect
to these rows are local as well; `derivatives.py` sends them back to the atoms.

A neighbour beyond the cutoff contributes nothing. Rows are padded with such neighbours: there is
no mask, and no vector of length zero whose norm would have no derivative.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmtp_jax.potential.basic_moments import basic_plan, left_rows, right_rows
from mmtp_jax.potential.chebyshev import chebyshev, reversal, to_unit_interval
from mmtp_jax.potential.contraction import contract, contraction_plan
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.products import sum_of_products

Array = Any


class Neighborhoods(NamedTuple):
    """What the energies of N atoms depend on, K neighbours each."""

    types: Array
    """(N,) species of the central atoms."""
    magmoms: Array
    """(N,) moments of the central atoms, mu_B."""
    vectors: Array
    """(N, 3, K) from the central atom to the neighbour, Angstrom."""
    neighbour_types: Array
    """(N, K) species of the neighbours."""
    neighbour_magmoms: Array
    """(N, K) moments of the neighbours, mu_B."""


def magnetic_basis(potential: Potential, types: Array, magmoms: Array) -> list[Array]:
    """T_beta(y(m)) of each atom's own species, and 0 for the others: S N_psi arrays.

    One block of N_psi per species makes the sum over species pairs an ordinary sum over rows.
    """
    blocks = []
    for species in range(potential.n_species):
        y = to_unit_interval(magmoms, potential.min_magmom[species], potential.max_magmom[species])
        values = chebyshev(y, potential.magnetic_size)
        if potential.n_species > 1:
            values = [jnp.where(types == species, value, 0.0) for value in values]
        blocks += values
    return blocks


def radial_basis(potential: Potential, distance: Array) -> list[Array]:
    """s (R_cut - r)^2 T_zeta(x(r)), zero beyond the cutoff: N_phi arrays."""
    inside = jnp.maximum(potential.cutoff - distance, 0.0)
    smooth = potential.scaling * inside**2
    x = to_unit_interval(distance, potential.min_dist, potential.cutoff)
    return [smooth * value for value in chebyshev(x, potential.radial_size)]


def pair_coefficients(potential: Potential) -> Array:
    """c as (S N_psi, parities, N_mu, N_phi, S N_psi) on the blocks of `magnetic_basis`.

    The bare potential has one parity. The symmetrised one has two, the parts of c that are even
    and odd under reversal of all moments.
    """
    c = potential.radial_coeffs
    n_blocks = potential.n_species * potential.magnetic_size
    parts = [c]
    if potential.symmetrised:
        flip = jax.vmap(reversal, (0, 0, None))(
            potential.min_magmom, potential.max_magmom, potential.magnetic_size
        )
        # f(-m) = psi(-m_i) c psi(-m_j) = psi(m_i) [A^T c A] psi(m_j)
        reversed_c = jnp.einsum("ijmzbg,ibp,jgq->ijmzpq", c, flip, flip)
        parts = [(c + reversed_c) / 2, (c - reversed_c) / 2]
    stacked = jnp.stack(parts)
    blocked = jnp.transpose(stacked, (1, 5, 0, 3, 4, 2, 6))
    return blocked.reshape(n_blocks, len(parts), *c.shape[2:4], n_blocks)


def radial_functions(potential: Potential, neighborhoods: Neighborhoods, distance: Array) -> Array:
    """f_mu (N, parities * N_mu, K) of every neighbour (Kotykhov 2025, Eq. 4)."""
    central = jnp.stack(
        magnetic_basis(potential, neighborhoods.types, neighborhoods.magmoms), axis=-1
    )
    coefficients = pair_coefficients(potential)
    n_blocks, n_parities, n_mu, n_phi, _ = coefficients.shape
    of_atom = central @ coefficients.reshape(n_blocks, -1)
    of_atom = of_atom.reshape(len(of_atom), n_parities * n_mu, n_phi * n_blocks)
    magnetic = magnetic_basis(
        potential, neighborhoods.neighbour_types, neighborhoods.neighbour_magmoms
    )
    rows = [phi * psi for phi in radial_basis(potential, distance) for psi in magnetic]
    return jnp.einsum("nmz,nzk->nmk", of_atom, jnp.stack(rows, axis=1))


def basic_moments(potential: Potential, neighborhoods: Neighborhoods) -> Array:
    """Components of all M_{mu,nu}, (n_basic, lanes).

    The bare potential has one lane per atom. The symmetrised one has 2 N: the moments with the
    given magnetic moments, then those with all of them reversed.
    """
    x, y, z = jnp.moveaxis(neighborhoods.vectors, 1, 0)
    distance = jnp.sqrt(x * x + y * y + z * z)
    x, y, z = x / distance, y / distance, z / distance
    radial = radial_functions(potential, neighborhoods, distance)

    plan = basic_plan(potential.tables)
    n_atoms, n_mu, _ = radial.shape
    right = right_rows(plan, x, z)
    one = jnp.ones((1, 1), radial.dtype)

    def components(radial: Array) -> Array:
        products = jnp.einsum("nak,nbk->nab", left_rows(plan, radial, y), right)
        rows = products.reshape(n_atoms, -1).T
        return sum_of_products(plan.terms, rows, jnp.broadcast_to(one, (1, n_atoms)))

    if not potential.symmetrised:
        return components(radial)
    even = components(radial[:, : n_mu // 2])
    odd = components(radial[:, n_mu // 2 :])
    return jnp.concatenate([even + odd, even - odd], axis=1)


def site_energies(potential: Potential, neighborhoods: Neighborhoods) -> Array:
    """E_i (N,), eV: e0(z_i) + sum_a xi_a B_a(n_i), averaged over reversal if symmetrised."""
    basic = basic_moments(potential, neighborhoods)
    plan = contraction_plan(potential.tables)
    energies = contract(plan, potential.moment_coeffs, basic)
    if potential.symmetrised:
        energies = energies.reshape(2, -1).mean(axis=0)
    return energies + potential.species_coeffs[neighborhoods.types]
