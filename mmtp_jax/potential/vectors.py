"""The energy of atoms whose moments are vectors, with the parameters of the collinear one.

Each number that depends on moments is an element (s, v) of the spin factor, a scalar and a vector,
with the product (s1, v1) o (s2, v2) = (s1 s2 + v1.v2, s1 v2 + s2 v1). Then the magnetic Chebyshev
polynomials on [-M, M] are scalars g(|m|^2) for even orders and vectors m h(|m|^2) for odd ones,
an even radial function is a scalar,

    f_mu = sum c (g g' or h h' m_i.m_j) phi(r),

an odd one a vector, with terms g h' m_j and g' h m_i, and so are moments and their products. The
energy is the scalar part. Turning all moments together changes nothing, nor does turning all
positions alone: there is no spin-orbit coupling. For moments along one axis the energy is that of
the collinear potential, to the last digits, because there the product is that of numbers.

The product is not associative: with four odd factors (a.b)(c.d) and (a.c)(b.d) differ. The tables
of a potential say in which pairs its factors are multiplied, and by that what its energies between
the axes are. All components of a contraction must pair alike, or the energy would change when
positions turn; `check_vectors` refuses tables that do not.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.einsum import einsum
from mmtp_jax.potential.moments import MomentTables
from mmtp_jax.potential.parity import Function, split_tables

if TYPE_CHECKING:
    from mmtp_jax.potential.potential import Potential

Array = Any

DIMENSION = 3


class VectorTables(NamedTuple):
    """The tables of a collinear potential, with components for what is odd."""

    tables: MomentTables
    functions: tuple[Function, ...]
    """Of each radial function of ``tables``: mu, whether it is odd, and its component."""


def vector_tables(potential: Potential) -> VectorTables:
    """Tables of an even potential for moments that are vectors; made once per table."""
    return _vector_tables(potential.tables, parts_of(potential))


def tables_for(potential: Potential, vectors: bool) -> MomentTables:
    """The tables that moments of one kind, vectors or collinear ones, go through."""
    return vector_tables(potential).tables if vectors else potential.tables


def reversed_too(potential: Potential, vectors: bool) -> bool:
    """Whether basic moments come twice: as they are, and with all moments reversed."""
    return potential.form == "symmetrised" and not vectors


def parts_of(potential: Potential) -> str:
    """Parts of each radial function: ``e`` or ``o``, or ``b`` for both."""
    return potential.parities or "b" * potential.tables.n_radial


@cache
def _vector_tables(tables: MomentTables, parts: str) -> VectorTables:
    split, functions, scalars = split_tables(tables, parts, DIMENSION)
    # Every basis function of an even potential has an even part.
    assert len(scalars) == tables.n_scalars
    return VectorTables(split, tuple(functions))


def check_vectors(potential: Potential) -> None:
    """ValueError if the energy of a potential is not defined for moments that are vectors."""
    if not potential.even:
        raise ValueError(
            "moments that are vectors need a potential that is even under reversal of all "
            "moments; this one has the form 'bare': fit one of the form 'parity', or give "
            "collinear moments"
        )
    if not np.array_equal(potential.min_magmom, np.negative(potential.max_magmom)):
        raise ValueError(
            "moments that are vectors need intervals [-M, M], and those of this potential are not; "
            "mmtp convert --form parity writes the same energy on such ones"
        )
    wrong = _pairs_differ(potential.tables, parts_of(potential))
    if wrong:
        raise ValueError(
            f"{wrong} of the {potential.tables.n_scalars} basis functions of this potential pair "
            "their four odd factors in different ways for different components: its energy would "
            "not be invariant under rotation for moments that are vectors; fit one of another "
            "level or of the form 'parity'"
        )


@cache
def _pairs_differ(tables: MomentTables, parts: str) -> int:
    """How many basis functions change when the positions of random neighbours are turned."""
    split, functions = _vector_tables(tables, parts)
    rng = np.random.default_rng(0)
    n = 7
    positions, turn = rng.normal(size=(n, 3)), np.linalg.qr(rng.normal(size=(3, 3)))[0]
    radial = rng.normal(size=(len(functions), n))
    before, after = (_basis_functions(split, radial, x) for x in (positions, positions @ turn))
    return int(np.sum(np.abs(after - before) > 1e-8 * (1 + np.abs(before))))


def _basis_functions(tables: MomentTables, radial: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """B_a of one atom by the tables, without JAX."""
    unit = positions / np.linalg.norm(positions, axis=1)[:, None]
    values = np.zeros(tables.n_moments)
    mu, exponents = tables.basic[:, 0], tables.basic[:, 1:]
    powers = np.prod(unit[None] ** exponents[:, None], axis=2)
    values[: tables.n_basic] = np.sum(radial[mu] * powers, axis=1)
    for a, b, factor, target in tables.products.tolist():
        values[target] += factor * values[a] * values[b]
    return values[tables.scalars]


def component_basis(components: list[Array], size: int) -> list[Array]:
    """Chebyshev polynomials of a vector y in [-1, 1]: g for even orders, h y for odd ones.

    Args:
        components: the three of y, of one shape.
        size: number of orders.

    Returns:
        One array for each even order, three for each odd one.
    """
    square = sum(y * y for y in components)
    # T_0 = 1, T_1 = y, T_{k+1} = 2 y o T_k - T_{k-1}, as g and h.
    factors = [jnp.ones_like(square), jnp.ones_like(square)]
    for order in range(2, size):
        last = factors[-1] if order % 2 else square * factors[-1]
        factors.append(2 * last - factors[-2])
    found = []
    for order, factor in enumerate(factors[:size]):
        found += [factor * y for y in components] if order % 2 else [factor]
    return found


def component_coefficients(c: Array, functions: tuple[Function, ...], n_mu: int) -> Array:
    """c (S, S, parts * N_mu, N_phi, N_psi, N_psi) as (blocks, functions, N_phi, blocks).

    Blocks are those of `component_basis` for each species.

    Args:
        c: of one part of each mu, or of the even ones and then of the odd ones.
        functions: of the tables.
        n_mu: N_mu.
    """
    n_species, _, n_parts, n_phi, size, _ = c.shape
    orders = [(b, p) for b in range(size) for p in range(DIMENSION if b % 2 else 1)]
    of_order = np.array([[b == of for of in range(size)] for b, _ in orders], float)
    chosen = np.zeros((len(functions), n_parts))
    # Which pairs of components make which component of a function.
    pairs = np.zeros((len(functions), len(orders), len(orders)))
    for k, (mu, odd, component) in enumerate(functions):
        chosen[k, mu + (odd * n_mu if n_parts > n_mu else 0)] = 1.0
        for i, (beta, p) in enumerate(orders):
            for j, (gamma, q) in enumerate(orders):
                if odd:
                    fits = (beta + gamma) % 2 and (p if beta % 2 else q) == component
                else:
                    fits = beta % 2 == gamma % 2 and p == q
                pairs[k, i, j] = fits
    chosen, of_order, pairs = (jnp.asarray(a, c.dtype) for a in (chosen, of_order, pairs))
    wide = einsum("xymzbg,pb,qg->xymzpq", c, of_order, of_order)
    wide = einsum("xymzpq,km,kpq->xpkzyq", wide, chosen, pairs)
    return wide.reshape(n_species * len(orders), len(functions), n_phi, -1)
