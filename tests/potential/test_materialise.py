import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.potential.materialise import materialised, pointwise, stored

X = np.linspace(0.1, 0.9, 6)


def lowered(function, *args, platform):
    return jax.jit(function).trace(*args).lower(lowering_platforms=(platform,)).as_text()


def product(x, y):
    return materialised(lambda x, y: {"a": jnp.sin(x) * y, "b": (x, y)})(x, y)


def test_programs_are_marked_where_they_are_lowered_for_a_cpu():
    def function(x):
        return product(x, 2.0 * x), jax.value_and_grad(lambda x: jnp.sum(stored(x) ** 2))(x)

    # The product, and the cotangent of what is stored; its value is not stored for a gradient.
    assert lowered(function, X, platform="cpu").count('inlineable = "false"') == 2
    assert 'inlineable = "false"' not in lowered(function, X, platform="cuda")


def test_a_program_for_several_platforms_computes_the_same():
    exported = jax.export.export(jax.jit(product), platforms=("cpu", "cuda"))(X, 2.0 * X)
    found = jax.export.deserialize(exported.serialize()).call(X, 2.0 * X)
    np.testing.assert_array_equal(found["a"], jax.jit(jnp.sin)(X) * 2.0 * X)


@pytest.mark.parametrize("jit", [jax.jit, lambda function: function])
def test_it_is_the_function_to_every_transformation(jit):
    def plain(x, y):
        return {"a": jnp.sin(x) * y, "b": (x, y)}

    def total(of):
        return lambda x, y: sum(jnp.sum(leaf**3) for leaf in jax.tree.leaves(of(x, y)))

    for change in (
        lambda f: f,
        jax.vmap,
        lambda f: jax.vmap(f, (0, None)),
        lambda f: jax.grad(total(f)),
        lambda f: jax.hessian(total(f), argnums=1),
        lambda f: lambda x, y: jax.jvp(lambda x: f(x, y), (x,), (y,)),
    ):
        want, got = (jit(change(f))(X, 2.0 * X) for f in (plain, product))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), want, got)


def test_stored_values_and_cotangents_are_stored_without_those_that_do_not_move():
    indices = np.arange(3)

    def function(x):
        kept, index = stored((x, indices))
        return jnp.sum(kept**2 * index[0]) + jnp.sum(kept[index])

    np.testing.assert_allclose(jax.grad(function)(X[:4]), [1.0, 1.0, 1.0, 0.0])
    assert stored(()) == ()


def test_slopes_are_those_of_the_function():
    cube = pointwise(lambda x, a: a * x**3)
    np.testing.assert_allclose(jax.grad(lambda x: cube(x, 2.0).sum())(X), 6.0 * X**2)
    assert jax.grad(cube, argnums=1)(2.0, 3.0) == pytest.approx(8.0)
