"""linear_map behaves as the plain function under every transformation."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.potential.linear_map import linear_map


def function(a, b, x):
    """(n,) from a (n, m), b (n,) and x (m,); linear in x only."""
    return (a**2 @ x) * jnp.sin(b)


def transpose(a, b, y):
    return (a**2).T @ (y * jnp.sin(b))


def mapped(a, b, x):
    return linear_map(function, transpose, (a, b), x)


@pytest.fixture(scope="module")
def point():
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=shape)) for shape in ((4, 3), (4,), (3,)))


@pytest.fixture(scope="module")
def tangent():
    rng = np.random.default_rng(1)
    return tuple(jnp.asarray(rng.normal(size=shape)) for shape in ((4, 3), (4,), (3,)))


def close(got, expected, tolerance=1e-13):
    leaves = zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    for a, b in leaves:
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_value(point):
    close(mapped(*point), function(*point))
    close(jax.jit(mapped)(*point), function(*point))


def test_forward_mode(point, tangent):
    close(jax.jvp(mapped, point, tangent), jax.jvp(function, point, tangent))


@pytest.mark.parametrize("moving", [(0,), (1,), (2,), (0, 2), (0, 1)])
def test_forward_mode_with_some_arguments_at_rest(moving, point, tangent):
    def partly(f):
        def of(*values):
            full = list(point)
            for k, value in zip(moving, values, strict=True):
                full[k] = value
            return f(*full)

        return of

    at, along = [point[k] for k in moving], [tangent[k] for k in moving]
    close(jax.jvp(partly(mapped), at, along), jax.jvp(partly(function), at, along))


def test_reverse_mode(point):
    y = jnp.arange(1.0, 5.0)
    (value, pull), (expected, expected_pull) = jax.vjp(mapped, *point), jax.vjp(function, *point)
    close(value, expected)
    close(pull(y), expected_pull(y))


def test_reverse_mode_uses_the_transpose_that_is_given(point):
    """With a wrong transpose the gradient is wrong: it is really the one that is used."""
    a, b, x = point

    def wrong(x):
        return linear_map(function, lambda a, b, y: 2 * transpose(a, b, y), (a, b), x).sum()

    close(jax.grad(wrong)(x), 2 * jax.grad(lambda x: function(a, b, x).sum())(x))


def test_gradient_of_gradient(point, tangent):
    def inner(f):
        return lambda *args: sum(
            jnp.sum(jnp.cos(g)) for g in jax.grad(lambda *p: jnp.sum(f(*p) ** 2), (0, 1, 2))(*args)
        )

    close(
        jax.grad(inner(mapped), (0, 1, 2))(*point),
        jax.grad(inner(function), (0, 1, 2))(*point),
        1e-12,
    )
    close(jax.jvp(inner(mapped), point, tangent), jax.jvp(inner(function), point, tangent), 1e-12)


BATCHES = [
    axes
    for axes in product((None, 0, 1), (None, 0), (None, 0, 1))
    if any(axis is not None for axis in axes)
]


@pytest.mark.parametrize("in_axes", BATCHES, ids=str)
def test_vmap_of_any_arguments(in_axes, point):
    scale = jnp.array([1.0, -0.5, 2.0])

    def stacked(value, axis):
        if axis is None:
            return value
        return jnp.stack([s * value for s in scale], axis=axis)

    args = tuple(stacked(v, axis) for v, axis in zip(point, in_axes, strict=True))

    @partial(jax.jit, static_argnums=0)
    def everything(f, *args):
        def square(*p):
            return jnp.sum(f(*p) ** 2)

        def whole_square(*p):
            return jnp.sum(jax.vmap(f, in_axes)(*p) ** 2)

        return {
            "value": jax.vmap(f, in_axes)(*args),
            "gradient of each": jax.vmap(jax.grad(square, (0, 1, 2)), in_axes)(*args),
            # Reverse mode through the batched map sums over what is shared.
            "gradient of all": jax.grad(whole_square, (0, 1, 2))(*args),
        }

    close(everything(mapped, *args), everything(function, *args))


def test_vmap_of_vmap(point):
    a, b, x = point
    xs = jnp.stack([jnp.stack([x, 2 * x]), jnp.stack([3 * x, -x]), jnp.stack([x, x])])

    def twice(f):
        return jax.vmap(jax.vmap(f, (None, None, 0)), (None, None, 0))

    close(twice(mapped)(a, b, xs), twice(function)(a, b, xs))


def test_inside_jit_and_scan(point):
    a, b, x = point

    def chain(f):
        def step(x, scale):
            y = f(scale * a, b, x)
            return y[:3], y.sum()

        def total(a_scale, x):
            last, sums = jax.lax.scan(step, x, a_scale * jnp.array([0.3, 0.5, 0.7]))
            return jnp.sum(last) + jnp.sum(sums**2)

        return jax.jit(jax.value_and_grad(total, (0, 1)))

    close(chain(mapped)(1.1, x), chain(function)(1.1, x), 1e-12)


def test_jacobians_in_both_modes(point):
    for mode in (jax.jacfwd, jax.jacrev):
        close(jax.jit(mode(mapped, (0, 1, 2)))(*point), mode(function, (0, 1, 2))(*point))


def test_float32_stays_float32(point):
    single = tuple(v.astype(jnp.float32) for v in point)
    assert mapped(*single).dtype == jnp.float32
    assert jax.grad(lambda x: mapped(*single[:2], x).sum())(single[2]).dtype == jnp.float32
