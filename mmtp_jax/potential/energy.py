"""The energy of every atom, from its neighbours' vectors and moments (Burov 2026, Eqs. 1-7).

Everything about one atom is a function of its own row of neighbours, so derivatives with respect
to these rows are local as well; `observables.py` sends them back to the atoms.

A neighbour beyond the cutoff contributes nothing. Rows are padded with such neighbours: there is
no mask, and no vector of length zero whose norm would have no derivative.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmtp_jax.potential.basic_moments import (
    basic_plan,
    component_lanes,
    direct_component_lanes,
)
from mmtp_jax.potential.by_platform import by_platform
from mmtp_jax.potential.confinement import confined
from mmtp_jax.potential.contraction import contract, contraction_plan
from mmtp_jax.potential.linear_map import linear_map
from mmtp_jax.potential.materialise import stored
from mmtp_jax.potential.moments import MomentTables
from mmtp_jax.potential.noncollinear import (
    has_terms,
    noncollinear_energies,
    noncollinear_energies_along,
)
from mmtp_jax.potential.potential import Potential, traced
from mmtp_jax.potential.radial import Pairs, radial_functions, radial_functions_along
from mmtp_jax.potential.vector_moments import are_vectors
from mmtp_jax.potential.vectors import reversed_too, tables_for

Array = Any


class Neighborhoods(NamedTuple):
    """What the energies of N atoms depend on, K neighbours each."""

    types: Array
    """(N,) species of the central atoms."""
    magmoms: Array
    """(N,) moments of the central atoms, mu_B; (N, 3) where they are vectors."""
    vectors: Array
    """(N, 3, K) from the central atom to the neighbour, Angstrom."""
    neighbour_types: Array
    """(N, K) species of the neighbours."""
    neighbour_magmoms: Array
    """(N, K) moments of the neighbours, mu_B; (N, 3, K) where they are vectors."""


def geometry(vectors: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    """Distances (N, K) and the components of the unit vectors, each (N, K)."""
    x, y, z = jnp.moveaxis(vectors, 1, 0)
    distance = jnp.sqrt(x * x + y * y + z * z)
    inverse = 1.0 / distance
    return distance, (x * inverse, y * inverse, z * inverse)


def basic_moments(
    potential: Potential,
    tables: MomentTables,
    radial: Array,
    direction: tuple[Array, Array, Array],
    direct: bool = False,
) -> Array:
    """Components of all M_{mu,nu}, (n_basic, lanes), from f (N, parities * N_mu, K).

    Usually there is one lane per atom. The symmetrised one has 2 N for collinear moments: the
    moments with the given magnetic moments, then those with all of them reversed.
    """
    # In mixed precision the linear coefficients carry more digits than the radial ones.
    dtype = jnp.result_type(radial, potential.moment_coeffs)
    lanes = direct_component_lanes if direct else component_lanes
    sets = lanes(basic_plan(tables), radial, direction, dtype)
    if len(sets) == 1:
        return sets[0]
    even, odd = sets
    return jnp.concatenate([even + odd, even - odd], axis=1)


def contracted(
    potential: Potential,
    radial: Array,
    direction: tuple[Array, Array, Array],
    vectors: bool = False,
    direct: bool = False,
) -> Array:
    """sum_a xi_a B_a (N,), averaged over reversal of all moments if symmetrised.

    With ``vectors`` the radial functions are those of `vector_tables`.
    """
    tables = tables_for(potential, vectors)
    basic = basic_moments(potential, tables, radial, direction, direct)
    values = contract(contraction_plan(tables), potential.moment_coeffs, basic)
    return values.reshape(2, -1).mean(axis=0) if reversed_too(potential, vectors) else values


def site_energies(
    potential: Potential, neighborhoods: Neighborhoods, direct: bool = False
) -> Array:
    """E_i (N,), eV: e0(z_i) + sum_a xi_a B_a(n_i); ``direct`` is the way of GPUs."""
    potential = traced(potential)
    distance, direction = geometry(neighborhoods.vectors)
    pairs, outside = confined(potential, pairs_of(neighborhoods, distance))
    radial, vectors = radial_functions(potential, pairs), are_vectors(pairs.magmoms)
    energies = contracted(potential, radial, direction, vectors, direct) + outside
    if has_terms(potential, pairs.magmoms):
        energies += noncollinear_energies(potential, pairs, direction, direct)
    return energies + of_species(potential.species_coeffs, neighborhoods.types)


def site_energies_along(
    potential: Potential,
    neighborhoods: Neighborhoods,
    dots: Neighborhoods,
    direct: bool = False,
) -> tuple[Array, Array]:
    """E_i and its derivative along changes of vectors and moments, both (N,).

    The Jacobian-vector product of `site_energies`, in a form whose derivatives with respect to
    the parameters are cheap. The types in ``dots`` are not used.
    """
    potential = traced(potential)

    def of_rows(vectors: Array, magmoms: Array, neighbour_magmoms: Array) -> Any:
        distance, direction = geometry(vectors)
        rows = neighborhoods._replace(magmoms=magmoms, neighbour_magmoms=neighbour_magmoms)
        pairs, outside = confined(potential, pairs_of(rows, distance))
        return pairs[2:], direction, outside

    (moving, direction, outside), (moving_dot, direction_dot, outside_dot) = jax.jvp(
        of_rows,
        (neighborhoods.vectors, neighborhoods.magmoms, neighborhoods.neighbour_magmoms),
        (dots.vectors, dots.magmoms, dots.neighbour_magmoms),
    )
    types = (neighborhoods.types, neighborhoods.neighbour_types)
    pairs, pairs_dot = Pairs(*types, *moving), Pairs(*types, *moving_dot)
    radial, radial_dot = radial_functions_along(potential, pairs, pairs_dot, direct)
    radial, radial_dot = stored((radial, radial_dot))
    energies, energies_dot = jax.jvp(
        lambda f, u: contracted(potential, f, u, are_vectors(neighborhoods.magmoms), direct),
        (radial, direction),
        (radial_dot, direction_dot),
    )
    energies += outside + of_species(potential.species_coeffs, neighborhoods.types)
    energies_dot += outside_dot
    if has_terms(potential, pairs.magmoms):
        more, more_dot = noncollinear_energies_along(
            potential, pairs, pairs_dot, direction, direction_dot, direct
        )
        energies, energies_dot = energies + more, energies_dot + more_dot
    return energies, energies_dot


def of_species(values: Array, types: Array) -> Array:
    """Values (S,) of the species of atoms (N,)."""
    like = jax.ShapeDtypeStruct(types.shape, values.dtype)
    static = (values.shape[0],)
    return linear_map(_of_species, _per_species, (types,), values, like, static, inline=True)


def _of_species(n_species: int, types: Array, values: Array) -> Array:
    del n_species
    return values[types]


def _per_species(n_species: int, types: Array, values: Array) -> Array:
    like = jax.ShapeDtypeStruct((n_species,), values.dtype)
    return by_platform(_scattered, _selected, (types, values), like, (n_species,))


def _scattered(n_species: int, types: Array, values: Array) -> Array:
    return jnp.zeros(n_species, values.dtype).at[types].add(values)


def _selected(n_species: int, types: Array, values: Array) -> Array:
    return jnp.stack([jnp.sum(jnp.where(types == k, values, 0)) for k in range(n_species)])


def pairs_of(neighborhoods: Neighborhoods, distance: Array) -> Pairs:
    """What the radial functions depend on."""
    return Pairs(
        neighborhoods.types,
        neighborhoods.neighbour_types,
        neighborhoods.magmoms,
        neighborhoods.neighbour_magmoms,
        distance,
    )
