"""Terms of the energy that vanish for parallel moments, with coefficients of their own.

The energies of canted moments follow from the parameters of collinear ones (`vectors.py`), so that
labels of canted states cannot change what is between the axes alone. With N radial functions
q_a(r, z_i, z_j) of the distance, an atom has the vectors

    V_a = sum_j q_a m_j        W_a = sum_j q_a m_j (x) u_ij

and its energy the terms, each with a linear coefficient,

    sum_j q_a |m_i x m_j|^2                     biquadratic exchange,
    X.X'    of all X = m_i x V_a, V_a x V_b,
    Y:Y'    of all Y = m_i x W_a, V_a x W_b.

(a x b).(c x d) = (a.c)(b.d) - (a.d)(b.c): they are differences of the ways in which four odd
factors can be paired, or of squares and products of them. All are even, and do not change where
moments turn, or positions do. Moments are in mu_B, so that intervals do not matter.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from mmtp_jax.potential.einsum import einsum
from mmtp_jax.potential.materialise import materialised
from mmtp_jax.potential.noncollinear_coefficients import NoncollinearTerms, products
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.radial import (
    Pairs,
    bases,
    projected_on,
    radial_functions,
    radial_functions_along,
)
from mmtp_jax.potential.rows import row_products, stacked, summed, unstacked
from mmtp_jax.potential.vector_moments import are_vectors

Array = Any
Direction = tuple[Array, Array, Array]


def has_terms(potential: Potential, magmoms: Array) -> bool:
    """Whether there is anything to add for moments of this kind."""
    return potential.noncollinear is not None and are_vectors(magmoms)


def noncollinear_energies(
    potential: Potential, pairs: Pairs, direction: Direction, direct: bool = False
) -> Array:
    """(N,) eV, for moments that are vectors; ``direct`` is the way of GPUs."""
    functions = radial_functions(_functions_of(potential), _without_moments(pairs))
    return _of_functions(potential.noncollinear, functions, direction, *_moments(pairs), direct)


def noncollinear_energies_along(
    potential: Potential,
    pairs: Pairs,
    dots: Pairs,
    direction: Direction,
    direction_dot: Direction,
    direct: bool = False,
) -> tuple[Array, Array]:
    """Energies and their derivative along changes of distances, directions and moments, (N,)."""
    found, along = radial_functions_along(
        _functions_of(potential), _without_moments(pairs), _without_moments(dots)
    )
    return jax.jvp(
        lambda *args: _of_functions(potential.noncollinear, *args, direct),
        (found, direction, *_moments(pairs)),
        (along, direction_dot, *_moments(dots)),
    )


def noncollinear_columns(
    potential: Potential, pairs: Pairs, direction: Direction, direct: bool = False
) -> Array:
    """dE_i/dtheta (N, P') of the parameters of these terms, in the order of `flatten`."""
    terms, of = potential.noncollinear, _functions_of(potential)
    without = _without_moments(pairs)
    functions = radial_functions(of, without)
    linear = _terms(_sums(terms, functions, direction, *_moments(pairs), direct), pairs.magmoms)
    _, pull_back = jax.vjp(
        lambda f: jnp.sum(_of_functions(terms, f, direction, *_moments(pairs), direct)), functions
    )
    (bar,) = pull_back(jnp.ones((), jnp.result_type(functions, terms.coeffs)))
    central, phi, psi = bases(of, without)
    projected = projected_on(bar, phi, psi)
    radial = einsum("nx,nmzy->nxymz", jnp.stack(central, axis=-1), projected)
    free = potential.free_noncollinear(radial.reshape(len(radial), -1))
    return jnp.concatenate([linear, free], axis=1)


def _functions_of(potential: Potential) -> Potential:
    """A potential of the same species, whose radial functions are q_a: they know no moments."""
    radial = potential.noncollinear.radial
    merged = radial.reshape(*radial.shape[:2], -1, radial.shape[-1], 1, 1)
    return potential.replace(
        radial_coeffs=merged, form="bare", parities="", non_magnetic=(), noncollinear=None
    )


def _moments(pairs: Pairs) -> tuple[Array, Array]:
    return pairs.magmoms, pairs.neighbour_magmoms


def _without_moments(pairs: Pairs) -> Pairs:
    dtype = pairs.distance.dtype
    return pairs._replace(
        magmoms=jnp.zeros(pairs.magmoms.shape[:1], dtype),
        neighbour_magmoms=jnp.zeros(pairs.distance.shape, dtype),
    )


def _of_functions(
    terms: NoncollinearTerms,
    functions: Array,
    direction: Direction,
    magmoms: Array,
    neighbour_magmoms: Array,
    direct: bool,
) -> Array:
    """Energies (N,) from q (N, G * N_q, K)."""
    sums = _sums(terms, functions, direction, magmoms, neighbour_magmoms, direct)
    n = sums.shape[1]
    pairs, *vectors = _vectors(sums, magmoms)
    energies = einsum("ga,gan->n", terms.coeffs[:, :n], pairs)
    first = n
    for one_hot, of in zip(products(n), vectors, strict=True):
        coeffs = terms.coeffs[:, first : first + len(one_hot)]
        first += len(one_hot)
        matrix = einsum("gt,tab->gab", coeffs, jnp.asarray(one_hot, coeffs.dtype))
        energies += jnp.sum(of * einsum("gab,gbpn->gapn", matrix, of), axis=(0, 1, 2))
    return energies


def _terms(sums: Array, magmoms: Array) -> Array:
    """(N, G * T) the terms that linear coefficients multiply."""
    pairs, *vectors = _vectors(sums, magmoms)
    found = [pairs]
    for one_hot, of in zip(products(sums.shape[1]), vectors, strict=True):
        squares = einsum("gapn,gbpn->gabn", of, of)
        found.append(einsum("tab,gabn->gtn", jnp.asarray(one_hot, of.dtype), squares))
    return jnp.concatenate(found, axis=1).reshape(-1, sums.shape[-1]).T


def _sums(
    terms: NoncollinearTerms,
    functions: Array,
    direction: Direction,
    magmoms: Array,
    neighbour_magmoms: Array,
    direct: bool,
) -> Array:
    """(G, N_q, 4, 4, N): sums over neighbours of q_a (1, x, y, z) times (m, |m_i x m|^2)."""
    x, y, z = unstacked(neighbour_magmoms)
    a, b, c = (magmoms[:, k, None] for k in range(3))
    square = (b * z - c * y) ** 2 + (c * x - a * z) ** 2 + (a * y - b * x) ** 2
    if direct:
        left = [q * u for q in unstacked(functions) for u in (1.0, *direction)]
        sums = summed([f * row for f in left for row in (x, y, z, square)])
    else:
        of_direction = materialised(stacked)([jnp.ones_like(x), *direction])
        left = materialised(_times)(functions, of_direction)
        right = materialised(stacked)([x, y, z, square])
        sums = jnp.moveaxis(row_products(left, right), 0, -1)
    shape = (terms.coeffs.shape[0], -1, 4, 4, functions.shape[0])
    return sums.reshape(shape).astype(jnp.result_type(functions, terms.coeffs))


def _times(functions: Array, of_direction: Array) -> Array:
    """q_a (1, x, y, z) as rows (N, 4 G * N_q, K)."""
    products = functions[:, :, None] * of_direction[:, None]
    return products.reshape(products.shape[0], -1, products.shape[-1])


def _vectors(sums: Array, magmoms: Array) -> tuple[Array, Array, Array]:
    """The pairs (G, N_q, N), X (G, n, 3, N) and Y (G, n, 9, N), n = N_q + N_q^2."""
    m = magmoms.T.astype(sums.dtype)
    v, w = sums[:, :, 0, :3], sums[:, :, 1:, :3]
    x = [_cross(m, v), _flat(_cross(v[:, :, None], v[:, None]))]
    y = [_cross(m, w), _flat(_cross(v[:, :, None, None], w[:, None]))]
    y = jnp.concatenate(y, axis=1)
    return sums[:, :, 0, 3], jnp.concatenate(x, axis=1), y.reshape(*y.shape[:2], 9, -1)


def _flat(pairs: Array) -> Array:
    """(G, N_q, N_q, ...) as (G, N_q^2, ...)."""
    return pairs.reshape(pairs.shape[0], -1, *pairs.shape[3:])


def _cross(a: Array, b: Array) -> Array:
    """a x b for vectors on the last axis but one."""
    a, b = ([of[..., k, :] for k in range(3)] for of in (a, b))
    return jnp.stack([a[k - 2] * b[k - 1] - a[k - 1] * b[k - 2] for k in range(3)], axis=-2)
