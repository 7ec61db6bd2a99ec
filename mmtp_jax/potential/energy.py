"""The energy of every atom, from its neighbours' vectors and moments (Burov 2026, Eqs. 1-7).

Everything about one atom is a function of its own row of neighbours, so derivatives with respect
to these rows are local as well; `derivatives.py` sends them back to the atoms.

A neighbour beyond the cutoff contributes nothing. Rows are padded with such neighbours: there is
no mask, and no vector of length zero whose norm would have no derivative.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from mmtp_jax.potential.basic_moments import basic_plan, component_lanes
from mmtp_jax.potential.contraction import contract, contraction_plan
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.radial import Pairs, radial_functions

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


def basic_moments(potential: Potential, neighborhoods: Neighborhoods) -> Array:
    """Components of all M_{mu,nu}, (n_basic, lanes).

    The bare potential has one lane per atom. The symmetrised one has 2 N: the moments with the
    given magnetic moments, then those with all of them reversed.
    """
    x, y, z = jnp.moveaxis(neighborhoods.vectors, 1, 0)
    distance = jnp.sqrt(x * x + y * y + z * z)
    x, y, z = x / distance, y / distance, z / distance
    pairs = Pairs(
        neighborhoods.types,
        neighborhoods.neighbour_types,
        neighborhoods.magmoms,
        neighborhoods.neighbour_magmoms,
        distance,
    )
    radial = radial_functions(potential, pairs)
    sets = component_lanes(basic_plan(potential.tables), radial, (x, y, z))
    if not potential.symmetrised:
        return sets[0]
    even, odd = sets
    return jnp.concatenate([even + odd, even - odd], axis=1)


def site_energies(potential: Potential, neighborhoods: Neighborhoods) -> Array:
    """E_i (N,), eV: e0(z_i) + sum_a xi_a B_a(n_i), averaged over reversal if symmetrised."""
    basic = basic_moments(potential, neighborhoods)
    plan = contraction_plan(potential.tables)
    energies = contract(plan, potential.moment_coeffs, basic)
    if potential.symmetrised:
        energies = energies.reshape(2, -1).mean(axis=0)
    return energies + potential.species_coeffs[neighborhoods.types]
