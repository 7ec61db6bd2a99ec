"""Terms that vanish for parallel moments: against sums in numpy, and finite differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.fitting.initial import with_domain
from mmtp_jax.potential.committee import mean_potential
from mmtp_jax.potential.jacobian import energy_jacobian, site_jacobian
from mmtp_jax.potential.noncollinear_coefficients import n_terms
from mmtp_jax.potential.observables import energies, evaluate, observables
from mmtp_jax.potential.parity import as_parity

N = 5
compiled = jax.jit(evaluate)


@pytest.fixture(scope="module")
def pair(random_potential):
    """The potential without and with terms, of two functions."""
    plain = random_potential(51, form="parity", magnetic_size=3)
    return plain, with_terms(plain, 51)


@pytest.fixture(scope="module")
def still(pair):
    """The same, but atoms of the second species have no moments."""
    plain = pair[0].replace(non_magnetic=("Al",))
    plain = plain.replace(radial_coeffs=plain.masked(plain.radial_coeffs))
    return plain, with_terms(plain, 52)


def with_terms(plain, seed, n=2):
    terms = plain.with_noncollinear_terms(n, seed).noncollinear
    coeffs = np.random.default_rng(seed).normal(size=terms.coeffs.shape)
    return plain.replace(noncollinear=terms._replace(coeffs=coeffs))


@pytest.fixture(scope="module")
def structure(random_structure):
    return random_structure(51, N, margin=1e-3)


@pytest.fixture(scope="module")
def given(structure):
    return np.random.default_rng(51).normal(size=(N, 3))


def _random_turn(seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]


# --- the energy ---------------------------------------------------------------------


def _expected(potential, structure, moments, pairs):
    """Energies of the terms, one by one, with (a x b).(c x d) as differences of pairings."""
    coeffs, radial = potential.noncollinear
    n, size = radial.shape[3:]
    types, found = structure.types, []
    low, high = float(potential.min_dist), float(potential.cutoff)

    def crossed(a, b, c, d):
        return (a @ c) * (b @ d) - (a @ d) * (b @ c)

    for i, m in enumerate(moments):
        biquadratic, v, w = np.zeros(n), np.zeros((n, 3)), np.zeros((n, 3, 3))
        for first, j, vector in zip(*pairs, strict=True):
            if first != i:
                continue
            r = np.linalg.norm(vector)
            phi = np.cos(np.arange(size) * np.arccos((2 * r - low - high) / (high - low)))
            q = radial[types[i], types[j], 0] @ phi * potential.scaling * (high - r) ** 2
            other = moments[j]
            biquadratic += q * ((m @ m) * (other @ other) - (m @ other) ** 2)
            v += q[:, None] * other
            w += q[:, None, None] * np.multiply.outer(vector / r, other)
        x = [(m, v[a]) for a in range(n)]
        x += [(v[a], v[b]) for a in range(n) for b in range(a + 1, n)]
        y = [[(m, w[a, k]) for k in range(3)] for a in range(n)]
        y += [[(v[a], w[b, k]) for k in range(3)] for a in range(n) for b in range(n)]
        terms = list(biquadratic)
        terms += [crossed(*x[k], *x[other]) for k in range(len(x)) for other in range(k, len(x))]
        terms += [
            sum(crossed(*s, *t) for s, t in zip(y[k], y[other], strict=True))
            for k in range(len(y))
            for other in range(k, len(y))
        ]
        found.append(coeffs[0] @ terms)
    return np.array(found)


@pytest.mark.parametrize("which", ["pair", "still"])
def test_energies_are_the_sums_of_the_terms(
    which, request, structure, given, graph_at, image_pairs, relative_error
):
    pair = request.getfixturevalue(which)
    potential = pair[1]
    given = given * np.array(potential.magnetic)[structure.types, None]
    before, after = (compiled(of, graph_at(given))[0][:N] for of in pair)
    pairs = image_pairs(structure, float(potential.cutoff))
    expected = _expected(potential, structure, given, pairs)
    assert relative_error(after - before, expected) < 1e-11
    assert np.abs(expected).min() > 1e-3 * np.abs(before).max()
    assert n_terms(2) == potential.noncollinear.coeffs.size == 29


def test_parallel_moments_do_not_feel_them(pair, given, graph_at):
    plain, potential = pair
    collinear, vectors = graph_at(given[:, 0]), graph_at(given[:, :1] * [0.0, 0.0, 1.0])
    oblique = graph_at(given[:, :1] * _random_turn(1)[0])
    for graph, most in ((collinear, 0.0), (vectors, 1e-13), (oblique, 1e-12)):
        found, expected = (jax.tree.leaves(compiled(of, graph)) for of in (potential, plain))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=most * np.abs(b).max())
    # The program of collinear moments is the same, too.
    texts = [jax.jit(evaluate).lower(of, collinear).as_text() for of in pair]
    arguments = [text.count("\n") for text in texts]
    assert arguments[0] == arguments[1]


def test_turning_moments_or_positions_or_reversal_changes_no_energy(
    pair, given, graph_at, relative_error
):
    potential = pair[1]
    sites, found = compiled(potential, graph_at(given))
    turn = _random_turn(2)
    turned_sites, turned = compiled(potential, graph_at(given @ turn))
    assert relative_error(turned_sites, sites) < 1e-12
    assert relative_error(turned.magnetic_forces, found.magnetic_forces @ turn) < 1e-12
    mirrored = turn * np.sign(np.linalg.det(turn)) * -1
    moved_sites, moved = compiled(potential, graph_at(given, mirrored))
    assert relative_error(moved_sites, sites) < 1e-11
    assert relative_error(moved.forces, found.forces @ mirrored) < 1e-11
    assert relative_error(moved.magnetic_forces, found.magnetic_forces) < 1e-11
    assert relative_error(compiled(potential, graph_at(-given))[0], sites) < 1e-13
    still = compiled(potential, graph_at(0 * given))[1]
    assert np.all(np.asarray(still.magnetic_forces) == 0.0)


# --- derivatives --------------------------------------------------------------------


def _difference(function, x, dot, step=1e-5):
    return (function(x + step * dot) - function(x - step * dot)) / (2 * step)


def test_derivatives_are_those_of_differences(pair, given, graph_at):
    seed, potential = 52, pair[1]
    rng, graph = np.random.default_rng(seed), graph_at(given)
    found, theta = compiled(potential, graph)[1], potential.flatten()
    n = potential.n_noncollinear
    assert len(theta) == pair[0].n_parameters + n
    theta_dot = np.zeros_like(theta)
    theta_dot[-n:] = rng.normal(size=n)
    vectors_dot, magmoms_dot = (rng.normal(size=a.shape) for a in (graph.vectors, graph.magmoms))
    weights = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), found)

    def weighted(theta, magmoms, vectors):
        moved = graph._replace(magmoms=magmoms, vectors=vectors)
        values = observables(theta, potential, moved)
        return sum(jnp.sum(a * b) for a, b in zip(values, weights, strict=True))

    start, dots = (theta, graph.magmoms, graph.vectors), (theta_dot, magmoms_dot, vectors_dot)
    energy = jax.jit(
        lambda t, m, v: energies(potential.unflatten(t), graph._replace(magmoms=m, vectors=v))[0]
    )
    slopes = jax.jit(jax.grad(energy, (0, 1, 2)))(*start)
    rows = jax.jit(energy_jacobian)(potential, graph)[0]
    np.testing.assert_allclose(rows, slopes[0], rtol=1e-9, atol=1e-9 * np.abs(rows).max())
    atoms = jax.jit(site_jacobian)(potential, graph)[:N]
    np.testing.assert_allclose(atoms.sum(0)[-n:], rows[-n:], rtol=1e-9, atol=1e-11)
    gradients = jax.jit(jax.grad(weighted, (0, 1, 2)))(*start)
    value = jax.jit(weighted)
    for function, exact in ((energy, slopes), (value, gradients)):
        for k, (slope, dot) in enumerate(zip(exact, dots, strict=True)):

            def of_one(x, k=k, function=function):
                return float(function(*start[:k], x, *start[k + 1 :]))

            difference = _difference(of_one, start[k], dot)
            assert float(np.sum(slope * dot)) == pytest.approx(difference, rel=5e-6), (seed, k)
    # Forces and stress are derivatives of these energies, as all are.
    assert float(np.sum(found.magnetic_forces * magmoms_dot)) == pytest.approx(
        -float(np.sum(slopes[1] * magmoms_dot)), rel=1e-9
    )


def test_rows_of_parallel_moments_are_those_without_terms(pair, given, graph_at):
    plain, potential = pair
    n = plain.n_parameters
    for moments in (given[:, 0], given[:, :1] * [0.0, 0.0, 1.0]):
        rows, expected = (
            np.asarray(jax.jit(energy_jacobian)(of, graph_at(moments))) for of in (potential, plain)
        )
        assert np.array_equal(rows[:, :n], expected)
        assert not rows[:, n:].any()


# --- parameters ---------------------------------------------------------------------


@pytest.mark.parametrize("which", ["pair", "still"])
def test_parameters_are_flattened_and_counted(which, request):
    plain, potential = request.getfixturevalue(which)
    neighbours = sum(potential.magnetic)
    assert potential.n_noncollinear == 29 + 2 * neighbours * 2 * potential.radial_size
    assert potential.n_parameters == plain.n_parameters + potential.n_noncollinear
    assert sum(potential.parameter_sizes.values()) == potential.n_parameters
    theta = potential.flatten()
    assert np.array_equal(theta[: plain.n_parameters], plain.flatten())
    for given in (theta, jnp.asarray(theta)):
        again = potential.unflatten(given)
        assert np.array_equal(again.flatten(), theta)
        for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(potential), strict=True):
            assert np.array_equal(a, b)
    assert "noncollinear terms 2" in repr(potential)
    half = potential.astype("float32", "float64")
    assert half.noncollinear.coeffs.dtype == np.float64
    assert half.noncollinear.radial.dtype == np.float32


def test_off_they_leave_nothing(random_potential):
    options = {"level": 4, "species": ("Fe",), "seed": 3}
    plain, other = (
        mmtp.Potential.new(**options),
        mmtp.Potential.new(noncollinear_terms=0, **options),
    )
    assert plain.noncollinear is None
    assert jax.tree.structure(plain) == jax.tree.structure(other)
    # Those with terms are the same beside them.
    new = mmtp.Potential.new(noncollinear_terms=1, **options)
    assert np.array_equal(new.flatten()[: plain.n_parameters], plain.flatten())
    assert not new.noncollinear.coeffs.any()
    assert new.with_noncollinear_terms(0).noncollinear is None


def test_other_intervals_and_forms_change_no_energy(random_potential, given, graph_at):
    potential = with_terms(random_potential(53, magnetic_size=3, form="symmetrised"), 53)
    expected = compiled(potential, graph_at(given))[0]
    wider = with_domain(potential, min_dist=1.3, max_magmom=(5.0, 4.0))
    for other in (wider, as_parity(potential)):
        found = compiled(other, graph_at(given))[0]
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_the_mean_of_potentials_has_the_mean_of_their_terms(random_potential, given, graph_at):
    members = [with_terms(random_potential(54, form="parity", magnetic_size=3), k) for k in (1, 2)]
    members[1] = members[1].replace(scaling=2.0 * members[0].scaling)
    mean = mean_potential(members)
    sites = [compiled(of, graph_at(given))[0] for of in (*members, mean)]
    np.testing.assert_allclose(sites[2], (sites[0] + sites[1]) / 2, rtol=1e-11, atol=1e-11)
    rows = jax.jit(energy_jacobian)(mean, graph_at(given))
    assert rows.shape == (1, mean.n_parameters)
    with pytest.raises(ValueError, match="numbers of functions of noncollinear terms"):
        mean_potential([members[0], members[1].with_noncollinear_terms(1)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "bare"}, "the form 'bare' does not have"),
        ({"magnetic_size": 1}, "magnetic_size of 1"),
        ({"noncollinear_terms": 5}, "from 0 to 4, got 5"),
    ],
)
def test_what_has_no_such_terms_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        mmtp.Potential.new(**{"level": 4, "species": ("Fe",), "noncollinear_terms": 2, **options})
