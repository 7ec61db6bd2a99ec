"""Confined potentials: nothing changes inside of the intervals, what is outside is pushed back."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.fitting.confine import with_confinement, without_confinement, zbl
from mmtp_jax.potential.confinement import is_outside, reach
from mmtp_jax.potential.jacobian import energy_jacobian
from mmtp_jax.potential.observables import Observables, energies, evaluate, observables

STEP = 1e-5


@pytest.fixture(scope="module")
def inside(random_potential):
    """Covers distances from 1.6 Angstrom and moments up to about 3 mu_B."""
    return random_potential(5, magnetic_size=3)


@pytest.fixture(scope="module")
def outside(inside):
    """The same on intervals that random structures leave on all sides."""
    narrow = inside.replace(
        min_dist=np.float64(2.3), min_magmom=np.array([-1.5, -0.8]), max_magmom=np.array([1.5, 0.8])
    )
    return with_confinement(narrow)


@pytest.fixture(scope="module")
def structure(random_structure):
    return random_structure(11, 6, margin=1e-3)


def test_inside_nothing_changes_to_the_last_bit(inside, structure, evaluated):
    plain = evaluated(inside, structure)
    for name, values in evaluated(with_confinement(inside), structure).items():
        np.testing.assert_array_equal(values, plain[name])


def test_derivatives_outside_are_those_of_the_energy(outside, structure, evaluated):
    got = evaluated(outside, structure)

    def slope(change):
        ends = [evaluated(outside, change(sign * STEP))["energy"] for sign in (1, -1)]
        return (ends[0] - ends[1]) / (2 * STEP)

    def moved(k, axis, h):
        positions = structure.positions.copy()
        positions[k, axis] += h
        return replace(structure, positions=positions)

    def turned(k, h):
        magmoms = structure.magmoms.copy()
        magmoms[k] += h
        return replace(structure, magmoms=magmoms)

    def strained(h):
        deform = np.diag([1.0 + h, 1.0, 1.0])
        return replace(
            structure, cell=structure.cell @ deform, positions=structure.positions @ deform
        )

    close = 1e-7 * np.abs(got["forces"]).max()
    for k, axis in ((0, 0), (3, 2)):
        expected = -slope(partial(moved, k, axis))
        assert got["forces"][k, axis] == pytest.approx(expected, abs=close)
    for k in np.argsort(np.abs(structure.magmoms))[[0, -2, -1]]:
        assert got["magnetic_forces"][k] == pytest.approx(-slope(partial(turned, k)), abs=close)
    volume = abs(np.linalg.det(structure.cell))
    assert got["stress"][0, 0] == pytest.approx(slope(strained) / volume, abs=close)


def test_rows_and_gradients_by_parameters_are_those_of_the_energy(outside, structure, graph_of):
    graph, theta = graph_of(structure), jnp.asarray(outside.flatten())
    row = jax.jit(energy_jacobian)(outside, graph)[0]
    expected = jax.jit(jax.grad(lambda t: energies(outside.unflatten(t), graph)[0]))(theta)
    np.testing.assert_allclose(row, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())

    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(lambda: evaluate(outside, graph)[1])
    weights = Observables(*(rng.normal(size=shape.shape) for shape in shapes))

    @jax.jit
    @jax.value_and_grad
    def weighted(theta):
        found = observables(theta, outside, graph)
        return sum(jnp.vdot(w, v) for w, v in zip(weights, found, strict=True))

    direction = rng.normal(size=theta.shape)
    (one, _), (other, _) = (weighted(theta + sign * STEP * direction) for sign in (1, -1))
    along = float(jnp.vdot(weighted(theta)[1], direction))
    assert along == pytest.approx(float(one - other) / (2 * STEP), rel=1e-6)


def _pair(random_structure, distance, magmoms=(0.0, 0.0)):
    template = random_structure(1, 2, periodic=False)
    positions = np.array([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]])
    types = np.zeros(2, np.int32)
    return replace(template, positions=positions, types=types, magmoms=np.array(magmoms, float))


def _of_pair(potential, random_structure, graph_of):
    """E(distance, moment) of a pair, compiled once."""
    graph = graph_of(_pair(random_structure, 2.0))
    row = int(np.argmin(np.linalg.norm(np.asarray(graph.vectors[0]), axis=0)))
    other = int(np.argmin(np.linalg.norm(np.asarray(graph.vectors[1]), axis=0)))

    def energy(distance, moment):
        vectors = jnp.asarray(graph.vectors)
        vectors = vectors.at[0, :, row].set(jnp.array([1.0, 0.0, 0.0]) * distance)
        vectors = vectors.at[1, :, other].set(jnp.array([-1.0, 0.0, 0.0]) * distance)
        magmoms = jnp.asarray(graph.magmoms).at[0].set(moment)
        return energies(potential, graph._replace(vectors=vectors, magmoms=magmoms))[0]

    return energy


def test_two_derivatives_are_continuous_at_the_ends(inside, random_structure, graph_of):
    confined = with_confinement(inside)
    energy = _of_pair(confined, random_structure, graph_of)
    r, m = float(inside.min_dist), float(inside.max_magmom[0])
    for argument, end in ((0, r), (1, m)):
        for order in range(3):
            function = energy
            for _ in range(order):
                function = jax.grad(function, argument)
            function = jax.jit(function)
            at = [r + 0.4, 0.3]
            values = []
            for side in (-1e-10, 1e-10):
                at[argument] = end + side
                values.append(float(function(*at)))
            assert values[0] == pytest.approx(values[1], rel=1e-4, abs=1e-4), (argument, order)


def test_the_repulsion_is_that_of_bare_atoms_and_moments_are_pulled_back(
    inside, random_structure, graph_of
):
    potential = with_confinement(inside.replace(moment_coeffs=0.0 * inside.moment_coeffs))
    energy = jax.jit(_of_pair(potential, random_structure, graph_of))
    r, m = float(inside.min_dist), float(inside.max_magmom[0])
    constants = 2 * float(inside.species_coeffs[0])
    # Switched on in full at three quarters of R_min; the exponential is exact at a half.
    assert float(energy(r / 2, 0.0)) - constants == pytest.approx(zbl(["Fe"], r / 2)[0, 0])
    between = float(energy(0.7 * r, 0.0)) - constants
    assert between == pytest.approx(zbl(["Fe"], 0.7 * r)[0, 0], rel=0.25)
    assert float(energy(r, m)) == pytest.approx(constants)
    u = 0.1
    expected = float(potential.confinement.stiffness[0]) * m * u**3
    assert float(energy(r, -(1 + u) * m)) - constants == pytest.approx(expected)
    slopes = [float(jax.grad(energy, 0)(x * r, 0.0)) for x in (0.4, 0.6, 0.8, 0.95)]
    assert max(slopes) < 0
    assert np.isfinite(float(energy(1e-3, 0.0)))


def test_zbl_is_that_of_the_book():
    """Iron at 1 Angstrom by hand: a = 0.46850 / (2 * 26^0.23) Angstrom, x = 9.030."""
    a = 0.46850 / (2 * 26**0.23)
    phi = (
        0.18175 * np.exp(-3.1998 / a) + 0.50986 * np.exp(-0.94229 / a)
        + 0.28022 * np.exp(-0.4029 / a) + 0.02817 * np.exp(-0.20162 / a)
    )  # fmt: skip
    assert zbl(["Fe"], 1.0)[0, 0] == pytest.approx(14.399645 * 26**2 * phi, rel=1e-12)
    table = zbl(["Fe", "Al"], 2.0)
    np.testing.assert_allclose(table, table.T, rtol=1e-14)
    assert table[0, 0] > table[0, 1] > table[1, 1]


def test_reach_and_what_is_outside(inside):
    confined = with_confinement(inside)
    assert reach(inside).min_dist == inside.min_dist
    np.testing.assert_allclose(reach(confined).high, 1.15 * inside.max_magmom)
    np.testing.assert_allclose(reach(confined).low, 1.15 * inside.min_magmom)
    assert float(reach(confined).min_dist) == pytest.approx(0.75 * float(inside.min_dist))
    types, high = np.array([0, 1]), np.asarray(inside.max_magmom)
    magmoms = np.stack([0.5 * high, 1.01 * high, 0.5 * high])
    shortest = np.array([1.7, 1.7, 1.5])
    for potential in (inside, confined):
        found = is_outside(potential, types, magmoms, shortest)
        np.testing.assert_array_equal(found, [False, True, True])
    assert without_confinement(confined).confinement is None


def test_derivatives_by_the_ends_of_the_intervals_are_kept(outside, structure, graph_of):
    """What is stored for the derivatives by coordinates leaves those by other numbers alone."""
    graph = graph_of(structure)
    energy = jax.jit(lambda r: energies(outside.replace(min_dist=r), graph)[0])
    r = float(outside.min_dist)
    expected = (float(energy(r + STEP)) - float(energy(r - STEP))) / (2 * STEP)
    got = float(jax.jit(jax.grad(energy))(jnp.asarray(r)))
    assert got == pytest.approx(expected, rel=1e-6)


def test_lengths_of_vectors_are_confined_as_collinear_moments(outside, structure, graph_of):
    """Along any axis the same energy and slopes; the slopes of others are those of differences."""
    rng = np.random.default_rng(3)
    axis = np.linalg.qr(rng.normal(size=(3, 3)))[0][0]
    graph = graph_of(structure)
    compiled = jax.jit(evaluate)
    _, expected = compiled(outside, graph)
    along = graph._replace(magmoms=graph.magmoms[:, None] * axis)
    _, found = compiled(outside, along)
    np.testing.assert_allclose(found.energy, expected.energy, rtol=1e-12)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=1e-9, atol=1e-9)
    slopes = np.asarray(expected.magnetic_forces)[:, None] * axis
    np.testing.assert_allclose(found.magnetic_forces, slopes, rtol=1e-9, atol=1e-9)

    canted = along._replace(magmoms=along.magmoms + rng.normal(size=along.magmoms.shape))
    lengths = np.linalg.norm(canted.magmoms[: len(structure)], axis=1)
    assert np.any(lengths > outside.max_magmom[structure.types])
    dot = rng.normal(size=canted.magmoms.shape)
    ends = [
        compiled(outside, canted._replace(magmoms=canted.magmoms + h * dot))[1].energy[0]
        for h in (STEP, -STEP)
    ]
    slope = -np.sum(compiled(outside, canted)[1].magnetic_forces * dot)
    assert slope == pytest.approx(float(ends[0] - ends[1]) / (2 * STEP), rel=1e-6)
