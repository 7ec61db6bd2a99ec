from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.potential.by_platform import by_platform, in_two_ways

X, Y = np.arange(1.0, 4.0), np.arange(2.0, 5.0)


def sine(power, x, y):
    return jnp.sin(x) ** power * y


def cosine(power, x, y):
    return jnp.cos(x) ** power * y


def both(x, y):
    return by_platform(sine, cosine, (x, y), x, static=(2,))


def test_the_way_is_chosen_where_a_program_is_lowered():
    traced = jax.jit(both).trace(X, Y)
    for platform, has, hasn_t in (("cpu", "sine", "cosine"), ("cuda", "cosine", "sine")):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert f"stablehlo.{has} " in text
        assert f"stablehlo.{hasn_t} " not in text


def test_a_program_for_several_platforms_has_both():
    exported = jax.export.export(jax.jit(both), platforms=("cpu", "cuda"))(X, Y)
    np.testing.assert_allclose(exported.call(X, Y), sine(2, X, Y))


@pytest.mark.parametrize("jit", [jax.jit, lambda function: function])
def test_here_it_is_the_function_for_cpus_to_every_transformation(jit):
    for change in (
        lambda f: f,
        jax.vmap,
        lambda f: jax.vmap(f, (None, 0)),
        lambda f: jax.grad(lambda x, y: f(x, y).sum()),
        lambda f: jax.grad(lambda x, y: f(x, y).sum(), argnums=(0, 1)),
    ):
        found, wanted = (jit(change(f))(X, Y) for f in (both, partial(sine, 2)))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-14), found, wanted)


def pair(x, y, direct=False):
    function = jnp.cos if direct else jnp.sin
    return {"sum": x["a"] + y, "wave": function(x["a"]) * y}


def of_both(x, y):
    return in_two_ways(pair, ({"a": x}, y), {"sum": x, "wave": x})


def test_a_whole_function_has_two_ways():
    traced = jax.jit(of_both).trace(X, Y)
    for platform, has, hasn_t in (("cpu", "sine", "cosine"), ("cuda", "cosine", "sine")):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert f"stablehlo.{has} " in text
        assert f"stablehlo.{hasn_t} " not in text


def test_its_derivative_is_that_of_the_first_way_on_every_platform():
    def change(x):
        return jax.jvp(lambda x: of_both(x, Y), (x,), (np.ones(3),))

    wanted = {"sum": np.ones(3), "wave": np.cos(X) * Y}
    for function in (change, jax.jit(change)):
        value, found = function(X)
        np.testing.assert_allclose(value["wave"], np.sin(X) * Y)
        jax.tree.map(np.testing.assert_allclose, found, wanted)
    text = jax.jit(change).trace(X).lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("stablehlo.sine ") == text.count("stablehlo.cosine ") == 1
    for k, row in enumerate(jax.jacrev(lambda x: of_both(x, Y)["wave"])(X)):
        np.testing.assert_allclose(row[k], wanted["wave"][k])
    mapped = jax.vmap(of_both)(np.stack([X, Y]), np.stack([Y, X]))
    np.testing.assert_allclose(mapped["wave"], [np.sin(X) * Y, np.sin(Y) * X])


@pytest.mark.usefixtures("gpu_path")
class TestOnTheWayOfGPUs:
    def test_the_other_function_runs(self):
        np.testing.assert_allclose(both(X, Y), cosine(2, X, Y))
        np.testing.assert_allclose(of_both(X, Y)["wave"], np.cos(X) * Y)
