"""The contraction of moments to energies against the products in the order of the tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.potential.contraction import contract, contraction_plan
from mmtp_jax.potential.moments import MomentTables, moment_tables

N_ATOMS = 3

ODD = MomentTables(
    # Products of products, a square, a scalar that is basic, one that is listed twice, and one
    # moment that no scalar needs.
    basic=np.array([[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]),
    products=np.array(
        [[0, 0, 1, 3], [1, 2, -2, 4], [3, 4, 3, 5], [5, 1, 1, 6], [2, 2, 5, 6], [0, 1, 1, 7]]
    ),
    scalars=np.array([0, 6, 3, 6]),
)
TABLES = {f"level {level}": moment_tables(level) for level in (2, 4, 6, 8, 12, 16)} | {"odd": ODD}


def naive(tables, moment_coeffs, basic):
    """Row by row, as MLIP does."""
    moments = [*basic] + [jnp.zeros(basic.shape[1])] * (tables.n_moments - tables.n_basic)
    for a, b, multiplier, target in tables.products.tolist():
        moments[target] = moments[target] + multiplier * moments[a] * moments[b]
    return sum(xi * moments[k] for xi, k in zip(moment_coeffs, tables.scalars, strict=True))


def naive_with_gradient(tables, moment_coeffs, basic):
    """Value, and the gradient in coefficients and basic moments by hand, row by row backwards."""
    moment_coeffs, basic = np.asarray(moment_coeffs), np.asarray(basic)
    moments = np.zeros((tables.n_moments, basic.shape[1]))
    moments[: tables.n_basic] = basic
    for a, b, multiplier, target in tables.products.tolist():
        moments[target] += multiplier * moments[a] * moments[b]
    adjoint = np.zeros_like(moments)
    np.add.at(adjoint, tables.scalars, moment_coeffs[:, None])
    for a, b, multiplier, target in tables.products.tolist()[::-1]:
        adjoint[a] += multiplier * adjoint[target] * moments[b]
        adjoint[b] += multiplier * adjoint[target] * moments[a]
    scalars = moments[tables.scalars]
    return moment_coeffs @ scalars, scalars, adjoint[: tables.n_basic]


def random_input(tables, seed=0):
    rng = np.random.default_rng(seed)
    xi = jnp.asarray(rng.normal(size=tables.n_scalars))
    return xi, jnp.asarray(0.7 * rng.normal(size=(tables.n_basic, N_ATOMS)))


def close(got, expected, tolerance=1e-11):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize("name", TABLES)
def test_value_and_gradient_are_those_of_the_products_in_order(name):
    tables = TABLES[name]
    plan = contraction_plan(tables)
    xi, basic = random_input(tables)

    lane_weights = jnp.arange(1.0, 1 + N_ATOMS)

    def total(xi, basic):
        energies = contract(plan, xi, basic)
        return jnp.sum(lane_weights * energies), energies

    (_, energies), gradient = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))(xi, basic)
    value, scalars, of_basic = naive_with_gradient(tables, xi, basic)
    assert energies.shape == (N_ATOMS,)
    close(energies, value)
    close(gradient, (scalars @ lane_weights, of_basic * lane_weights))


@pytest.mark.parametrize("name", ["level 6", "odd"])
def test_second_derivatives_are_those_of_the_products_in_order(name):
    tables = TABLES[name]
    plan = contraction_plan(tables)
    xi, basic = random_input(tables, 1)
    direction = random_input(tables, 2)

    def curved(f):
        return lambda xi, basic: jnp.sum(jnp.sin(f(xi, basic)))

    def ours(xi, basic):
        return contract(plan, xi, basic)

    def plain(xi, basic):
        return naive(tables, xi, basic)

    def hessian_times(f):
        """Forward over reverse, and reverse over reverse."""
        gradient = jax.grad(curved(f), (0, 1))

        def along(xi, basic):
            return sum(jnp.vdot(g, d) for g, d in zip(gradient(xi, basic), direction, strict=True))

        return jax.jit(
            lambda *point: (
                jax.jvp(gradient, point, direction)[1],
                jax.grad(along, (0, 1))(*point),
            )
        )(xi, basic)

    close(hessian_times(ours), hessian_times(plain))


def test_forward_mode_in_each_argument_alone():
    tables = TABLES["level 4"]
    plan = contraction_plan(tables)
    (xi, basic), (xi_dot, basic_dot) = random_input(tables, 4), random_input(tables, 5)
    close(
        jax.jvp(lambda x: contract(plan, x, basic), (xi,), (xi_dot,)),
        jax.jvp(lambda x: naive(tables, x, basic), (xi,), (xi_dot,)),
    )
    close(
        jax.jvp(lambda m: contract(plan, xi, m), (basic,), (basic_dot,)),
        jax.jvp(lambda m: naive(tables, xi, m), (basic,), (basic_dot,)),
    )


def test_vmap_over_coefficients():
    tables = TABLES["level 4"]
    plan = contraction_plan(tables)
    xi, basic = random_input(tables, 6)
    several = jnp.stack([xi, -xi, 3 * xi])
    got = jax.vmap(lambda x: contract(plan, x, basic))(several)
    close(got, jnp.stack([naive(tables, x, basic) for x in several]))


def test_plan_is_made_once_per_table():
    again = MomentTables(ODD.basic, ODD.products, ODD.scalars)
    assert contraction_plan(again) is contraction_plan(ODD)
