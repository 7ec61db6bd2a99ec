import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.potential.sums import (
    Sums,
    at_atoms,
    at_neighbours,
    incoming_pairs,
    largest,
    members_of,
    per_configuration,
    to_neighbours,
)

CONFIGURATION = np.array([0, 0, 1, 1, 1, 3, 4, 4])
"""The third of four configurations has no atoms; two atoms pad."""
N_CONF = 4


@pytest.fixture(scope="module")
def pairs():
    """neighbours (N, K), count (N,), and M > N atoms."""
    rng = np.random.default_rng(0)
    n, k, m = 8, 5, 11
    neighbours = rng.integers(0, m, (n, k)).astype(np.int32)
    # Free places have a neighbour as well, which must not count.
    return neighbours, np.array([5, 0, 3, 5, 2, 1, 0, 4]), m


@pytest.fixture(scope="module")
def sums(pairs):
    neighbours, count, m = pairs
    return Sums(incoming_pairs(neighbours, count, m, 7), members_of(CONFIGURATION, N_CONF))


@pytest.mark.parametrize("xp", [np, jnp])
def test_incoming_pairs_are_those_that_an_atom_is_the_neighbour_in(pairs, xp):
    neighbours, count, m = pairs
    found = incoming_pairs(xp.asarray(neighbours), xp.asarray(count), m, 7, xp=xp)
    assert found.shape == (m, 7)
    for atom, row in enumerate(np.asarray(found)):
        want = [
            i * neighbours.shape[1] + k for i, k in np.argwhere(neighbours == atom) if k < count[i]
        ]
        assert row.tolist() == want + [-1] * (7 - len(want))


def test_incoming_pairs_inside_jit_and_without_any(pairs):
    neighbours, count, m = pairs
    inside = jax.jit(lambda i, c: incoming_pairs(i, c, m, 7, xp=jnp))(neighbours, count)
    np.testing.assert_array_equal(inside, incoming_pairs(neighbours, count, m, 7))
    assert np.all(incoming_pairs(neighbours[:, :0], 0 * count, m, 2) == -1)


def test_members_are_the_atoms_of_each_configuration():
    assert members_of(CONFIGURATION, N_CONF).tolist() == [
        [0, 1, -1], [2, 3, 4], [-1, -1, -1], [5, -1, -1]
    ]  # fmt: skip
    assert members_of(CONFIGURATION, N_CONF, 5).shape == (N_CONF, 5)
    # Of one configuration there are as many places as atoms, so that no shape depends on padding.
    assert members_of(np.array([0, 1]), 1).tolist() == [[0, -1]]


def real(neighbours, count):
    return np.arange(neighbours.shape[1]) < count[:, None]


@pytest.mark.usefixtures("gpu_path")
def test_sums_and_their_derivatives_are_those_of_scatters(pairs, sums):
    neighbours, count, m = pairs
    rng = np.random.default_rng(1)
    mask = real(neighbours, count)[:, :, None]
    of_pairs, of_atoms = rng.normal(size=(*neighbours.shape, 2)) * mask, rng.normal(size=(m, 2))
    of_own, of_conf = rng.normal(size=(8, 2)), rng.normal(size=(N_CONF, 2))

    def all_of(sums):
        def function(of_pairs, of_atoms, of_own, of_conf):
            if sums is None:
                summed = jnp.zeros((m, 2)).at[neighbours].add(of_pairs)
            else:
                summed = to_neighbours(of_pairs, neighbours, sums)
            return (
                summed,
                # Pairs that are not there have no derivative.
                at_neighbours(of_atoms, neighbours, sums) * mask,
                per_configuration(of_own, CONFIGURATION, N_CONF, sums),
                at_atoms(of_conf, CONFIGURATION, sums),
            )

        args = (of_pairs, of_atoms, of_own, of_conf)
        value, pull_back = jax.vjp(function, *args)
        back = pull_back(jax.tree.map(jnp.sin, value))
        return value, (back[0] * mask, *back[1:]), jax.jvp(function, args, args)

    found, wanted = jax.jit(all_of, static_argnums=0)(None), all_of(sums)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-14), found, wanted)


@pytest.mark.usefixtures("gpu_path")
def test_no_derivative_of_a_sum_is_a_scatter(pairs, sums):
    neighbours, _, m = pairs

    def function(of_atoms, of_conf):
        of_pairs = at_neighbours(of_atoms, neighbours, sums)
        totals = per_configuration(of_pairs.sum(1), CONFIGURATION, N_CONF, sums)
        rows = at_atoms(totals * of_conf, CONFIGURATION, sums)
        return jnp.sum(to_neighbours(of_pairs * rows[:, None], neighbours, sums) ** 3)

    for derivative in (jax.grad(function, (0, 1)), jax.hessian(function)):
        text = str(jax.make_jaxpr(derivative)(np.ones(m), np.ones(N_CONF)))
        assert "linear_map" in text
        assert "scatter" not in text
        text = jax.jit(derivative).lower(np.ones(m), np.ones(N_CONF)).as_text()
        assert "scatter" not in text


@pytest.mark.parametrize("dtype", [float, int])
def test_the_largest_of_each_configuration(sums, dtype):
    values = np.array([-3, -2, 5, 1, 2, -7, 9, 9]).astype(dtype)
    found = np.asarray(largest(jnp.asarray(values), CONFIGURATION, N_CONF, sums))
    np.testing.assert_array_equal(found, largest(values, CONFIGURATION, N_CONF, None))
    assert found[[0, 1, 3]].tolist() == [-2, 5, -7]


def test_flags_stay_flags_at_the_atoms(sums):
    flags = np.array([True, False, True, True])
    for of in (sums, None):
        found = at_atoms(jnp.asarray(flags), CONFIGURATION, of)
        assert found.dtype == bool
        assert found.tolist() == [True, True, False, False, False, True, False, False]
