"""Moments as vectors: against the spin factor in numpy, the collinear energy, and differences."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.potential import factorization
from mmtp_jax.potential.jacobian import energy_jacobian
from mmtp_jax.potential.moments import tables_of
from mmtp_jax.potential.multigraphs import scalar_contractions
from mmtp_jax.potential.observables import energies, evaluate, observables
from mmtp_jax.potential.parity import split_tables
from mmtp_jax.potential.vectors import check_vectors, vector_tables

N = 5
FORMS = {
    "parity": {"form": "parity", "level": 4},
    # An odd function beside an even one; and both of each mu.
    "parity, odd": {"form": "parity", "level": 12, "magnetic_size": 4, "radial_size": 2},
    "symmetrised": {"form": "symmetrised", "level": 8, "radial_size": 2},
}
compiled = jax.jit(evaluate)


@pytest.fixture(scope="module", params=list(FORMS))
def potential(request, random_potential):
    options = {"magnetic_size": 3, "n_species": 2, **FORMS[request.param]}
    return random_potential(41, **options)


@pytest.fixture(scope="module")
def structure(random_structure):
    return random_structure(41, N)


@pytest.fixture(scope="module")
def given(structure):
    return np.random.default_rng(41).normal(size=(N, 3))


def _turn(seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]


# --- the energy ---------------------------------------------------------------------


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(s1, v1) o (s2, v2) = (s1 s2 + v1.v2, s1 v2 + s2 v1), on the first axis."""
    return np.concatenate([(a * b).sum(0)[None], a[:1] * b[1:] + b[:1] * a[1:]])


def _chebyshev(x: np.ndarray, size: int, product) -> list[np.ndarray]:
    one = np.ones_like(x) if product is np.multiply else np.eye(4)[0] + 0 * x
    found = [one, x]
    for _ in range(2, size):
        found.append(2 * product(x, found[-1]) - found[-2])
    return found[:size]


def _site_energies(potential, structure, moments, pairs) -> np.ndarray:
    """Every number of the collinear potential as an element of the spin factor, one by one."""
    tables, c, types = potential.tables, potential.radial_coeffs, structure.types
    values = np.zeros((len(types), tables.n_moments, 4))
    psi = [
        _chebyshev(np.array([0, *(m / potential.max_magmom[z])]), potential.magnetic_size, _product)
        for m, z in zip(moments, types, strict=True)
    ]
    for i, j, vector in zip(*pairs, strict=True):
        r = np.linalg.norm(vector)
        low, high = potential.min_dist, potential.cutoff
        phi = _chebyshev((2 * r - low - high) / (high - low), potential.radial_size, np.multiply)
        own = c[types[i], types[j]] * potential.scaling * (high - r) ** 2
        f = sum(
            np.einsum("mz,z->m", own[..., b, g], phi)[:, None] * _product(p, q)
            for b, p in enumerate(psi[i])
            for g, q in enumerate(psi[j])
        )
        powers = np.prod((vector / r) ** tables.basic[:, 1:], axis=1)
        values[i, : tables.n_basic] += f[tables.basic[:, 0]] * powers[:, None]
    for atom in values:
        for a, b, factor, target in tables.products:
            atom[target] += factor * _product(atom[a], atom[b])
    scalars = values[:, tables.scalars, 0]
    return potential.species_coeffs[types] + scalars @ potential.moment_coeffs


def test_energies_are_those_of_the_spin_factor(
    potential, structure, given, graph_at, image_pairs, relative_error
):
    pairs = image_pairs(structure, float(potential.cutoff))
    sites, _ = compiled(potential, graph_at(given))
    expected = _site_energies(potential, structure, given, pairs)
    assert relative_error(sites[:N], expected) < 1e-12
    # A test on moments that do not matter would test nothing.
    still = _site_energies(potential, structure, 0 * given, pairs)
    assert relative_error(still, expected) > 1e-3


def test_parallel_moments_have_the_collinear_energy(potential, given, graph_at, relative_error):
    axis = _turn(1)[0]
    sites, found = compiled(potential, graph_at(given[:, :1] * axis))
    expected_sites, expected = compiled(potential, graph_at(given[:, 0]))
    assert relative_error(sites, expected_sites) < 1e-13
    for name in ("energy", "forces", "stress"):
        assert relative_error(getattr(found, name), getattr(expected, name)) < 1e-12, name
    along = np.asarray(expected.magnetic_forces)[:, None] * axis
    assert relative_error(found.magnetic_forces, along) < 1e-12


def test_turning_moments_or_positions_or_reversal_changes_no_energy(
    potential, given, graph_at, relative_error
):
    sites, found = compiled(potential, graph_at(given))
    turn = _turn(2)
    turned_sites, turned = compiled(potential, graph_at(given @ turn))
    assert relative_error(turned_sites, sites) < 1e-12
    assert relative_error(turned.forces, found.forces) < 1e-12
    assert relative_error(turned.magnetic_forces, found.magnetic_forces @ turn) < 1e-12
    moved_sites, moved = compiled(potential, graph_at(given, turn))
    assert relative_error(moved_sites, sites) < 1e-11
    assert relative_error(moved.forces, found.forces @ turn) < 1e-11
    assert relative_error(moved.magnetic_forces, found.magnetic_forces) < 1e-11
    back, _ = compiled(potential, graph_at(-given))
    assert relative_error(back, sites) < 1e-13


def test_zero_moments_have_no_magnetic_forces(potential, given, graph_at):
    found = compiled(potential, graph_at(0 * given))[1]
    assert np.all(np.asarray(found.magnetic_forces) == 0.0)
    assert np.isfinite(found.forces).all()


# --- derivatives --------------------------------------------------------------------


def _difference(function, x, dot, step=1e-5):
    return (function(x + step * dot) - function(x - step * dot)) / (2 * step)


def test_derivatives_by_moments_and_parameters(potential, given, graph_at):
    rng, graph = np.random.default_rng(7), graph_at(given)
    found = compiled(potential, graph)[1]
    theta = potential.flatten()
    dot, theta_dot = rng.normal(size=graph.magmoms.shape), rng.normal(size=theta.shape)
    weights = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), found)

    def weighted(theta, magmoms):
        values = observables(theta, potential, graph._replace(magmoms=magmoms))
        return sum(jnp.sum(a * b) for a, b in zip(values, weights, strict=True))

    slope, (by_theta, by_moments) = jax.jit(jax.value_and_grad(weighted, (0, 1)))(
        theta, graph.magmoms
    )
    del slope
    value = jax.jit(weighted)
    rows = jax.jit(energy_jacobian)(potential, graph)[0]

    energy = jax.jit(lambda t, m: energies(potential.unflatten(t), graph._replace(magmoms=m))[0])
    for exact, difference in (
        (
            -np.sum(found.magnetic_forces * dot),
            _difference(lambda m: energy(theta, m), graph.magmoms, dot),
        ),
        (rows @ theta_dot, _difference(lambda t: energy(t, graph.magmoms), theta, theta_dot)),
        (by_theta @ theta_dot, _difference(lambda t: value(t, graph.magmoms), theta, theta_dot)),
        (np.sum(by_moments * dot), _difference(lambda m: value(theta, m), graph.magmoms, dot)),
    ):
        assert exact == pytest.approx(float(difference), rel=2e-6)


# --- tables and mistakes ------------------------------------------------------------


def test_one_component_is_the_collinear_case(random_potential):
    tables = random_potential(3, level=8, form="symmetrised").tables
    parts = "b" * tables.n_radial
    one, functions, scalars = split_tables(tables, parts, 1)
    three, of_three, of_scalars = split_tables(tables, parts, 3)
    assert scalars == of_scalars
    assert len(of_three) == sum(3 if odd else 1 for _, odd, _ in functions)
    assert len(three.products) > len(one.products)


def test_even_functions_need_no_further_products(random_potential):
    potential = random_potential(3, level=8, form="parity", magnetic_size=3)
    assert vector_tables(potential).tables == potential.tables


def test_what_has_no_energy_of_vectors_is_refused(random_potential):
    with pytest.raises(ValueError, match="form 'bare'"):
        check_vectors(random_potential(3, form="bare"))
    with pytest.raises(ValueError, match=r"intervals \[-M, M\]"):
        check_vectors(random_potential(3, intervals="asymmetric"))


@pytest.mark.parametrize("level", [8, 12, 16, 20, pytest.param(24, marks=pytest.mark.slow)])
def test_generated_tables_pair_alike(random_potential, level):
    check_vectors(random_potential(3, level=level, form="symmetrised"))


def test_tables_that_pair_differently_are_refused(random_potential, monkeypatch):
    monkeypatch.setattr(factorization, "_pairs_alike", lambda *_: True)
    factorization.splits.cache_clear()
    tables = tables_of(scalar_contractions(20), 20)
    factorization.splits.cache_clear()
    potential = random_potential(3, level=20, form="symmetrised")
    with pytest.raises(ValueError, match="1 of the 288 basis functions"):
        check_vectors(replace(potential, tables=tables))
