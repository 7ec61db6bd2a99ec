"""Radial functions f_mu(r_ij, z_i, z_j, m_i, m_j) (Kotykhov 2025, Eq. 4).

    f_mu = sum_(zeta, b) C_mu[zeta, b] phi_zeta(r_ij) psi_b(m_j)
    C_mu[zeta, b] = sum_a psi_a(m_i) c[a, mu, zeta, b]

phi_zeta is a Chebyshev polynomial of the distance times s (R_cut - r)^2. a and b run over blocks
of N_psi magnetic polynomials per species, of which an atom fills its own and leaves zeros in the
others: the sum over species pairs becomes an ordinary sum. C belongs to the central atom.

Moments may be vectors (`vectors`). Then psi has three blocks for each odd order, and an odd
function three components; the sums stay the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from mmtp_jax.potential.by_platform import by_platform
from mmtp_jax.potential.chebyshev import chebyshev, reversal, to_unit_interval
from mmtp_jax.potential.einsum import einsum, matmul
from mmtp_jax.potential.linear_map import linear_map
from mmtp_jax.potential.materialise import materialised
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.rows import stacked, summed, unstacked
from mmtp_jax.potential.vector_moments import are_vectors
from mmtp_jax.potential.vectors import (
    DIMENSION,
    component_basis,
    component_coefficients,
    vector_tables,
)

Array = Any

_COEFFICIENTS = 64
"""Most C of an atom that one kernel of a GPU has; XLA fuses no more than 96 arrays."""


class Settings(NamedTuple):
    """The numbers of a potential that the radial functions need beside c."""

    scaling: Array
    min_dist: Array
    cutoff: Array
    min_magmom: Array
    """(S,)"""
    max_magmom: Array
    """(S,)"""


class Pairs(NamedTuple):
    """N central atoms with K neighbours each."""

    types: Array
    """(N,)"""
    neighbour_types: Array
    """(N, K)"""
    magmoms: Array
    """(N,) or (N, 3) mu_B."""
    neighbour_magmoms: Array
    """(N, K) or (N, 3, K) mu_B."""
    distance: Array
    """(N, K) Angstrom."""


def settings_of(potential: Potential) -> Settings:
    """The settings of a potential."""
    return Settings(*(getattr(potential, name) for name in Settings._fields))


def magnetic_basis(settings: Settings, size: int, types: Array, magmoms: Array) -> list[Array]:
    """psi_b(m): T_beta(y(m)) on the interval of each atom's own species, 0 in other blocks.

    Moments that are vectors have their components on the second axis, and intervals [-M, M].
    """
    n_species = settings.min_magmom.shape[0]
    blocks = []
    for species in range(n_species):
        y = to_unit_interval(magmoms, settings.min_magmom[species], settings.max_magmom[species])
        if magmoms.ndim > types.ndim:
            values = component_basis([y[:, k] for k in range(DIMENSION)], size)
        else:
            values = chebyshev(y, size)
        if n_species > 1:
            values = [jnp.where(types == species, value, 0.0) for value in values]
        blocks += values
    return blocks


def radial_basis(settings: Settings, size: int, distance: Array) -> list[Array]:
    """phi_zeta(r) = s (R_cut - r)^2 T_zeta(x(r)), zero beyond the cutoff."""
    smooth = settings.scaling * jnp.maximum(settings.cutoff - distance, 0.0) ** 2
    x = to_unit_interval(distance, settings.min_dist, settings.cutoff)
    return [smooth * value for value in chebyshev(x, size)]


def pair_coefficients(potential: Potential, vectors: bool = False) -> Array:
    """c as (blocks, parities * N_mu, N_phi, blocks), for the blocks of `magnetic_basis`.

    The symmetrised potential has two parities: the parts of c that are even and odd under reversal
    of all moments. Others have one. With ``vectors`` the functions are those of `vector_tables`.
    """
    # Coefficients that are zero by declaration have no derivative either, whoever changes them.
    c = potential.masked(potential.radial_coeffs)
    n_blocks = potential.n_species * potential.magnetic_size
    parts = [c]
    if potential.form == "symmetrised":
        flip = jax.vmap(reversal, (0, 0, None))(
            potential.min_magmom, potential.max_magmom, potential.magnetic_size
        )
        # f(-m) = psi(-m_i) c psi(-m_j) = psi(m_i) [A^T c A] psi(m_j)
        reversed_c = einsum("ijmzbg,ibp,jgq->ijmzpq", c, flip, flip)
        parts = [(c + reversed_c) / 2, (c - reversed_c) / 2]
    if vectors:
        functions = vector_tables(potential).functions
        return component_coefficients(jnp.concatenate(parts, axis=2), functions, c.shape[2])
    stacked = jnp.transpose(jnp.stack(parts), (1, 5, 0, 3, 4, 2, 6))
    return stacked.reshape(n_blocks, len(parts) * c.shape[2], c.shape[3], n_blocks)


def bases(potential: Potential, pairs: Pairs) -> tuple[list[Array], list[Array], list[Array]]:
    """psi_a(m_i) of the central atoms (N,), phi_zeta and psi_b of the neighbours (N, K)."""
    settings, size = settings_of(potential), potential.magnetic_size
    return (
        magnetic_basis(settings, size, pairs.types, pairs.magmoms),
        radial_basis(settings, potential.radial_size, pairs.distance),
        magnetic_basis(settings, size, pairs.neighbour_types, pairs.neighbour_magmoms),
    )


def radial_functions(potential: Potential, pairs: Pairs) -> Array:
    """f (N, parities * N_mu, K) of every pair."""
    point = _Point(
        jax.tree.map(jnp.asarray, settings_of(potential)),
        pairs.types,
        pairs.neighbour_types,
        pair_coefficients(potential, are_vectors(pairs.magmoms)),
        pairs.magmoms,
        pairs.distance,
        pairs.neighbour_magmoms,
    )
    return _radial(potential.magnetic_size, point)


def radial_functions_along(
    potential: Potential, pairs: Pairs, dots: Pairs, direct: bool = False
) -> tuple[Array, Array]:
    """f and its derivative along (m_i, r_ij, m_j), for derivatives with respect to c.

    The same numbers as the Jacobian-vector product of `radial_functions`, as matrix products
    C P whose transpose in c is cheap. ``dots`` holds the direction; its types are not used.
    ``direct`` is the way of GPUs.
    """
    coefficients = pair_coefficients(potential, are_vectors(pairs.magmoms))
    (central, phi, psi), (central_dot, phi_dot, psi_dot) = jax.jvp(
        lambda m, r, n: bases(
            potential, pairs._replace(magmoms=m, distance=r, neighbour_magmoms=n)
        ),
        (pairs.magmoms, pairs.distance, pairs.neighbour_magmoms),
        (dots.magmoms, dots.distance, dots.neighbour_magmoms),
    )
    if direct:
        value = jax.lax.stop_gradient(radial_functions(potential, pairs))
        c, c_dot = (
            _of_atom_by_terms(coefficients, jnp.stack(basis, axis=-1))
            for basis in (central, central_dot)
        )
        return _by_stored_rows(value, c, c_dot, (phi, phi_dot), (psi, psi_dot))
    p = product_rows(phi, psi)
    p_dot = product_rows(phi_dot, psi) + product_rows(phi, psi_dot)
    c, c_dot = (
        _of_atom(coefficients, jnp.stack(basis, axis=-1)).reshape(p.shape[0], -1, p.shape[1])
        for basis in (central, central_dot)
    )
    value = einsum("nmz,nzk->nmk", c, p)
    return value, einsum("nmz,nzk->nmk", c, p_dot) + einsum("nmz,nzk->nmk", c_dot, p)


def _by_stored_rows(
    value: Array,
    c: Array,
    c_dot: Array,
    phi: tuple[list[Array], list[Array]],
    psi: tuple[list[Array], list[Array]],
) -> tuple[Array, Array]:
    """f and its derivative for GPUs: the rows of p and its derivative are stored once.

    ``value`` is f, made as in evaluations, so that XLA makes it once where there is one too.
    """
    c, c_dot = (of.reshape(*value.shape[:2], -1) for of in (c, c_dot))
    of_phi, of_psi = zip(*phi, strict=True), zip(*psi, strict=True)
    pairs = [(*a, *b) for a, b in product(of_phi, of_psi)]
    rows = [p * q for p, _, q, _ in pairs]
    rows += [p_dot * q + p * q_dot for p, p_dot, q, q_dot in pairs]
    rows = jax.lax.optimization_barrier(jnp.stack(rows, axis=1))
    along = einsum("nmz,nzk->nmk", jnp.concatenate([c_dot, c], axis=2), rows)
    return _with_derivative(value, c, rows[:, : c.shape[2]]), along


@jax.custom_jvp
def _with_derivative(value: Array, c: Array, p: Array) -> Array:
    """``value`` of C p, whose derivative in C is that of the product."""
    del c, p
    return value


@partial(_with_derivative.defjvp, symbolic_zeros=True)
def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
    value, _, p = primals
    c_dot = tangents[1]
    if isinstance(c_dot, SymbolicZero):
        return value, jnp.zeros_like(value)
    return value, einsum("nmz,nzk->nmk", c_dot, p)


def _of_atom(coefficients: Array, central: Array) -> Array:
    """C (N, N_mu, N_phi, blocks) from c and psi_a(m_i) (N, blocks)."""
    return einsum("na,amzb->nmzb", central, coefficients)


def _of_atom_by_terms(coefficients: Array, central: Array) -> Array:
    """The same for GPUs, which fuse it with what needs it: a product would be cut into elements."""
    return sum(
        central[:, a, None, None, None] * coefficients[a] for a in range(coefficients.shape[0])
    )


def product_rows(phi: Sequence[Array], psi: Sequence[Array]) -> Array:
    """phi_zeta psi_b as rows (N, N_phi * blocks, K)."""
    stack = materialised(stacked)
    products = stack(phi)[:, :, None] * stack(psi)[:, None, :]
    return products.reshape(products.shape[0], -1, products.shape[-1])


def _combine(of_atom: Array, phi: list[Array], psi: list[Array]) -> Array:
    """sum_(zeta, b) C[:, mu, zeta, b] phi_zeta psi_b, (N, N_mu, K)."""
    total = None
    for zeta, phi_zeta in enumerate(phi):
        inner = None
        for b, psi_b in enumerate(psi):
            term = of_atom[:, :, zeta, b, None] * psi_b[:, None, :]
            inner = term if inner is None else inner + term
        term = inner * phi_zeta[:, None, :]
        total = term if total is None else total + term
    return total


def _combine_each(of_atom: Array, phi: list[Array], psi: list[Array]) -> Array:
    """The same for GPUs, mu by mu, of which one kernel makes all."""
    rows = []
    for mu in range(of_atom.shape[1]):
        total = None
        for zeta, phi_zeta in enumerate(phi):
            inner = sum(of_atom[:, mu, zeta, b, None] * psi_b for b, psi_b in enumerate(psi))
            term = inner * phi_zeta
            total = term if total is None else total + term
        rows.append(total)
    return jnp.stack(rows, axis=1)


def _project(of_atom: Array, phi: Sequence[Array], psi: Sequence[Array], rows: Array) -> Array:
    """sum_mu rows[:, mu] * _combine(...)[:, mu], (N, K)."""
    total = None
    for zeta, phi_zeta in enumerate(phi):
        inner = None
        for b, psi_b in enumerate(psi):
            weight = None
            for mu in range(of_atom.shape[1]):
                term = rows[:, mu] * of_atom[:, mu, zeta, b, None]
                weight = term if weight is None else weight + term
            term = weight * psi_b
            inner = term if inner is None else inner + term
        term = inner * phi_zeta
        total = term if total is None else total + term
    return total


class _Point(NamedTuple):
    """Everything that the radial functions depend on."""

    settings: Settings
    types: Array
    neighbour_types: Array
    coefficients: Array
    magmoms: Array
    distance: Array
    neighbour_magmoms: Array


def _factors(
    size: int, point: _Point, slope: str | None = None, dot: Array | None = None
) -> tuple[Array, list[Array], list[Array]]:
    """C, phi and psi; the one that depends on the argument named ``slope`` as its derivative.

    That is the slope by numbers, or the change along ``dot``.
    """

    def basis(function: Any, argument: str) -> list[Array]:
        value = getattr(point, argument)
        if slope != argument:
            return function(value)
        return jax.jvp(function, (value,), (jnp.ones_like(value) if dot is None else dot,))[1]

    settings = point.settings
    n_phi = point.coefficients.shape[2]
    central = basis(lambda m: magnetic_basis(settings, size, point.types, m), "magmoms")
    phi = basis(lambda r: radial_basis(settings, n_phi, r), "distance")
    psi = basis(
        lambda m: magnetic_basis(settings, size, point.neighbour_types, m), "neighbour_magmoms"
    )
    like = jax.ShapeDtypeStruct(
        (point.magmoms.shape[0], *point.coefficients.shape[1:]), point.coefficients.dtype
    )
    args = (point.coefficients, jnp.stack(central, axis=-1))
    return by_platform(_of_atom, _of_atom_by_terms, args, like), phi, psi


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _radial(size: int, point: _Point) -> Array:
    leaves = (*point.settings, *point[1:])
    like = jax.ShapeDtypeStruct(
        (point.distance.shape[0], point.coefficients.shape[1], point.distance.shape[1]),
        point.coefficients.dtype,
    )
    return by_platform(_radial_stored, _radial_each, leaves, like, static=(size,))


def _radial_stored(size: int, *leaves: Array) -> Array:
    return materialised(lambda point: _combine(*_factors(size, point)))(_point_of(leaves))


def _radial_each(size: int, *leaves: Array) -> Array:
    return _combine_each(*_factors(size, _point_of(leaves)))


@partial(_radial.defjvp, symbolic_zeros=True)
def _(size: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (point,), (dots,) = primals, tangents
    value = _radial(size, point)
    of_moments = _along_vectors if are_vectors(point.magmoms) else _along
    rules = {
        "coefficients": _along_coefficients,
        "magmoms": partial(of_moments, "magmoms"),
        "distance": partial(_along, "distance"),
        "neighbour_magmoms": partial(of_moments, "neighbour_magmoms"),
    }
    terms = [
        rule(size, point, getattr(dots, name), value)
        for name, rule in rules.items()
        if not isinstance(getattr(dots, name), SymbolicZero)
    ]
    moving = {
        name: dot
        for name, dot in dots.settings._asdict().items()
        if not isinstance(dot, SymbolicZero)
    }
    if moving:
        # Nobody fits cutoffs, so these derivatives are left to plain differentiation.
        start = {name: getattr(point.settings, name) for name in moving}

        def of_settings(values: dict[str, Array]) -> Array:
            changed = point._replace(settings=point.settings._replace(**values))
            return _combine(*_factors(size, changed))

        terms.append(jax.jvp(of_settings, (start,), (moving,))[1])
    return value, sum(terms[1:], start=terms[0]) if terms else jnp.zeros_like(value)


def _point_of(residuals: tuple[Array, ...]) -> _Point:
    n_settings = len(Settings._fields)
    return _Point(Settings(*residuals[:n_settings]), *residuals[n_settings:])


def _along(argument: str, size: int, point: _Point, dot: Array, like: Array) -> Array:
    """The derivative along one argument, a number per neighbour or per atom."""
    per_atom = dot.ndim == 1
    residuals = (*point.settings, *point[1:])
    return linear_map(_slope, _to_slope, residuals, dot, like, static=(argument, size, per_atom))


def _slope(argument: str, size: int, per_atom: bool, *residuals_and_dot: Array) -> Array:
    *residuals, dot = residuals_and_dot
    slope = _combine(*_factors(size, _point_of(residuals), argument))
    return slope * (dot[:, None, None] if per_atom else dot[:, None, :])


def _to_slope(argument: str, size: int, per_atom: bool, *residuals_and_rows: Array) -> Array:
    *residuals, rows = residuals_and_rows
    of_atom, phi, psi = _factors(size, _point_of(residuals), argument)
    n, _, k = rows.shape
    like = jax.ShapeDtypeStruct((n,) if per_atom else (n, k), rows.dtype)
    args, static = (of_atom, rows, *phi, *psi), (len(phi), per_atom)
    return by_platform(_project_at_once, _project_in_parts, args, like, static)


def _project_at_once(
    n_phi: int, per_atom: bool, of_atom: Array, rows: Array, *factors: Array
) -> Array:
    projected = _project(of_atom, factors[:n_phi], factors[n_phi:], rows)
    # A product with ones, since a fused sum would keep the loop before it from vectorising.
    return matmul(projected, jnp.ones(projected.shape[1], rows.dtype)) if per_atom else projected


def _project_in_parts(
    n_phi: int, per_atom: bool, of_atom: Array, rows: Array, *factors: Array
) -> Array:
    """The same for GPUs, stored: then XLA makes one kernel of those of all slopes.

    It has as many functions as there is room for their coefficients.
    """
    step = max(1, _COEFFICIENTS // (of_atom.shape[2] * of_atom.shape[3]))
    parts = []
    for k in range(0, rows.shape[1], step):
        some, of_some = rows[:, k : k + step], of_atom[:, k : k + step]
        part = _project(of_some, factors[:n_phi], factors[n_phi:], some)
        parts.append(jax.lax.optimization_barrier(part))
    projected = sum(parts[1:], start=parts[0])
    return jnp.sum(projected, axis=1) if per_atom else projected


def _along_vectors(argument: str, size: int, point: _Point, dot: Array, like: Array) -> Array:
    """The derivative along vectors, of the central atoms (N, 3) or of the neighbours (N, 3, K)."""
    residuals = (*point.settings, *point[1:])
    static = (argument, size)
    return linear_map(_slope_of_vectors, _to_vectors, residuals, dot, like, static=static)


def _slope_of_vectors(argument: str, size: int, *residuals_and_dot: Array) -> Array:
    *residuals, dot = residuals_and_dot
    return _combine(*_factors(size, _point_of(residuals), argument, dot))


def _to_vectors(argument: str, size: int, *residuals_and_rows: Array) -> Array:
    *residuals, rows = residuals_and_rows
    point = _point_of(residuals)
    of_atom, phi, psi = _factors(size, point)
    if argument == "magmoms":
        types, weights = point.types, projected_on(rows, phi, psi)
        weights = list(einsum("nmzb,amzb->an", weights, point.coefficients))
    else:
        types = point.neighbour_types
        weights = [_project(of_atom[..., b : b + 1], phi, [1.0], rows) for b in range(len(psi))]
    basis = partial(magnetic_basis, point.settings, size, types)
    (found,) = jax.vjp(basis, getattr(point, argument))[1](weights)
    return found


def _along_coefficients(size: int, point: _Point, dot: Array, like: Array) -> Array:
    """The derivative along c, in which the functions are linear."""
    residuals = (*point.settings, *point[1:])
    return linear_map(_of_coefficients, _to_coefficients, residuals, dot, like, static=(size,))


def _of_coefficients(size: int, *residuals_and_dot: Array) -> Array:
    *residuals, dot = residuals_and_dot
    return _radial(size, _point_of(residuals)._replace(coefficients=dot))


def _to_coefficients(size: int, *residuals_and_rows: Array) -> Array:
    *residuals, rows = residuals_and_rows
    point = _point_of(residuals)
    settings, n_phi = point.settings, point.coefficients.shape[2]
    central = magnetic_basis(settings, size, point.types, point.magmoms)
    phi = radial_basis(settings, n_phi, point.distance)
    psi = magnetic_basis(settings, size, point.neighbour_types, point.neighbour_magmoms)
    of_atom = projected_on(rows, phi, psi)
    return einsum("na,nmzb->amzb", jnp.stack(central, axis=-1), of_atom)


def projected_on(rows: Array, phi: list[Array], psi: list[Array]) -> Array:
    """sum_k rows phi_zeta psi_b, (N, N_mu, N_phi, blocks), from rows (N, N_mu, K)."""
    n, n_mu, _ = rows.shape
    like = jax.ShapeDtypeStruct((n, n_mu, len(phi) * len(psi)), rows.dtype)
    args, static = (rows, *phi, *psi), (len(phi),)
    found = by_platform(_projected_by_product, _projected_by_sums, args, like, static)
    return found.reshape(n, n_mu, len(phi), len(psi))


def _projected_by_product(n_phi: int, rows: Array, *factors: Array) -> Array:
    products = product_rows(factors[:n_phi], factors[n_phi:])
    return einsum("nmk,nzk->nmz", rows, products)


def _projected_by_sums(n_phi: int, rows: Array, *factors: Array) -> Array:
    terms = [f * (p * q) for f in unstacked(rows) for p in factors[:n_phi] for q in factors[n_phi:]]
    return summed(terms).T.reshape(*rows.shape[:2], -1)
