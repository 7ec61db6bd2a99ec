"""The basic moments by rows, the way of CPUs, and directly, the way of GPUs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.potential.basic_moments import (
    basic_plan,
    component_lanes,
    direct_component_lanes,
)

N, K = 3, 5


@pytest.fixture(params=[("parity", 8), ("parity", 12), ("symmetrised", 6)], ids=str)
def case(request):
    """Tables, how many sets of functions, and their numbers."""
    form, level = request.param
    tables = mmtp.Potential.new(level=level, species=("Fe",), form=form).tables
    n_sets = 1 + (form == "symmetrised")
    rng = np.random.default_rng(level)
    directions = rng.normal(size=(3, N, K))
    directions /= np.linalg.norm(directions, axis=0)
    radial = rng.normal(size=(N, n_sets * tables.n_radial, K))
    return tables, n_sets, radial, tuple(directions)


def lanes(way, tables, radial, direction):
    return jnp.stack(way(basic_plan(tables), radial, direction, float))


def test_components_are_the_sums_of_their_definition(case, relative_error):
    tables, n_sets, radial, (x, y, z) = case
    wanted = [
        np.sum(radial[:, part * tables.n_radial + mu] * x**a * y**b * z**c, axis=1)
        for part in range(n_sets)
        for mu, a, b, c in tables.basic.tolist()
    ]
    for way in (component_lanes, direct_component_lanes):
        found = lanes(way, tables, radial, (x, y, z))
        assert relative_error(found.reshape(-1, N), np.array(wanted)) < 1e-13


def test_both_ways_have_the_same_derivatives(case, relative_error):
    tables, _, radial, direction = case
    rng = np.random.default_rng(0)
    dots = (rng.normal(size=radial.shape), tuple(rng.normal(size=(3, N, K))))
    found = []
    for way in (component_lanes, direct_component_lanes):

        def function(radial, direction, way=way):
            return lanes(way, tables, radial, direction)

        value, along = jax.jvp(function, (radial, direction), dots)
        weights = np.random.default_rng(1).normal(size=value.shape)
        back = jax.vjp(function, radial, direction)[1](weights)
        found.append([along, *jax.tree.leaves(back)])
    for a, b in zip(*found, strict=True):
        assert relative_error(a, b) < 1e-13


def test_directly_only_what_is_needed_is_made():
    plan = basic_plan(mmtp.Potential.new(level=12, species=("Fe",)).tables)
    products, terms = plan.used
    assert len(products) == terms.n_left < len(plan.left) * len(plan.right)
    np.testing.assert_array_equal(products[terms.a], plan.terms.a)
