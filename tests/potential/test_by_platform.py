from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.potential.by_platform import by_platform

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


@pytest.mark.usefixtures("gpu_path")
class TestOnTheWayOfGPUs:
    def test_the_other_function_runs(self):
        np.testing.assert_allclose(both(X, Y), cosine(2, X, Y))
