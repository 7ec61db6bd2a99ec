"""What a user of JAX writes, with public names only, in all precisions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp

EPS = {"float32": 2e-3, "mixed": 2e-3, "float64": 1e-8}


@pytest.mark.parametrize("dtype", list(EPS))
def test_a_pipeline_of_pure_functions(dtype) -> None:
    pot = mmtp.Potential.new(level=2, species=("Fe",), radial_size=4, cutoff=4.0, seed=1)
    atoms = bulk("Fe", a=2.8, cubic=True)
    atoms.rattle(0.03, seed=1)
    atoms.set_initial_magnetic_moments([2.0, 1.5])
    theta = pot.flatten()
    with mmtp.double_precision():
        graph = mmtp.graph(pot, atoms, dtype=dtype)

        def energy(theta, positions, magmoms):
            there, missed = mmtp.move(graph, positions=positions, magmoms=magmoms)
            return jnp.where(missed[0], jnp.nan, mmtp.energy(pot.unflatten(theta), there)[0])

        x, m = graph.positions, graph.magmoms

        @jax.jit
        def everything(theta, x, m):
            slopes = jax.grad(energy, argnums=(0, 1, 2))(theta, x, m)
            second = jax.hessian(energy, argnums=2)(theta, x, m)
            several = jax.vmap(energy, (None, None, 0))(theta, x, jnp.stack([m, -m]))
            force_slope = jax.jacfwd(jax.grad(energy, argnums=2), argnums=1)(theta, x, m)
            return slopes, second, several, force_slope

        slopes, second, several, mixed = jax.device_get(everything(theta, x, m))
        (plain,) = mmtp.evaluate(pot, atoms)
        second_order = mmtp.response(pot, atoms)
        shift = 1e-4 * np.random.default_rng(2).normal(size=len(theta)) * np.abs(theta)
        ends = [
            mmtp.evaluate(pot.unflatten(theta + sign * shift), atoms)[0].energy for sign in (1, -1)
        ]
    close = {"rtol": EPS[dtype], "atol": EPS[dtype]}
    np.testing.assert_allclose(several, plain.energy, **close)
    np.testing.assert_allclose(-slopes[1], plain.forces, **close)
    np.testing.assert_allclose(-slopes[2], plain.magnetic_forces, **close)
    np.testing.assert_allclose(slopes[0] @ shift, (ends[0] - ends[1]) / 2, rtol=2e-3, atol=1e-9)
    np.testing.assert_allclose(second, second_order.mm, **close)
    np.testing.assert_allclose(mixed.reshape(2, -1), second_order.um.T, **close)
