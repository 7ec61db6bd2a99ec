"""Equilibration of vectors: against the collinear search, turned, fixed directions, bounds."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.simulation.moments.steps import Status
from mmtp_jax.simulation.moments.structures import equilibrate_batch

LENGTHS = np.array([2.2, 2.0, 1.9, 2.3])


@pytest.fixture(scope="module")
def cell():
    atoms = bulk("Fe", a=2.83, cubic=True) * (2, 1, 1)
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.fixture(scope="module")
def canted():
    return LENGTHS[:, None] * _directions(4, seed=2)


def _directions(n: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed).normal(size=(n, 3))
    return random / np.linalg.norm(random, axis=1, keepdims=True)


def _with(atoms, moments):
    copy = atoms.copy()
    copy.arrays.pop("initial_magmoms", None)
    copy.set_initial_magnetic_moments(moments)
    return copy


@pytest.mark.parametrize("directions", ["free", "fixed"])
def test_along_one_axis_it_is_the_collinear_search(directions, iron, cell) -> None:
    signed = LENGTHS * [1, -1, 1, 1]
    axis = _directions(1, seed=3)
    given = [_with(cell, signed), _with(cell, signed[:, None] * axis)]
    collinear, vectors = mmtp.equilibrate(
        iron, given, tolerance=1e-8, allow_flips=True, directions=directions
    )
    assert vectors.n_steps == collinear.n_steps > 1
    np.testing.assert_allclose(vectors.magmoms, collinear.magmoms[:, None] * axis, atol=1e-9)
    assert vectors.energy == pytest.approx(collinear.energy, rel=1e-14)
    assert vectors.n_flipped == collinear.n_flipped
    assert vectors.message == collinear.message
    kept = vectors.atoms
    np.testing.assert_array_equal(kept.get_initial_magnetic_moments(), vectors.magmoms)
    np.testing.assert_array_equal(kept.calc.results["magmoms"], vectors.magmoms)


@pytest.mark.filterwarnings("ignore:.* have vanished")
@pytest.mark.parametrize("directions", ["free", "fixed"])
def test_turning_all_moments_commutes_with_it(directions, iron, cell, canted) -> None:
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    found, turned = mmtp.equilibrate(
        iron, [_with(cell, m) for m in (canted, canted @ turn)], directions=directions
    )
    assert turned.n_steps == found.n_steps > 3
    np.testing.assert_allclose(turned.magmoms, found.magmoms @ turn, atol=1e-8)


def test_free_vectors_turn_until_no_component_of_a_force_is_left(iron, cell, canted) -> None:
    found = mmtp.equilibrate(iron, _with(cell, canted), tolerance=1e-6)
    assert found.converged
    (there,) = mmtp.evaluate(iron, found.atoms)
    assert np.linalg.norm(there.magnetic_forces, axis=1).max() == pytest.approx(found.residual)
    assert found.residual < 1e-6
    # Iron is a ferromagnet.
    up = mmtp.equilibrate(iron, _with(cell, LENGTHS), tolerance=1e-6)
    assert found.energy == pytest.approx(up.energy, abs=1e-9)
    np.testing.assert_allclose(np.linalg.norm(found.magmoms, axis=1), up.magmoms, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.* have vanished")
def test_at_fixed_directions_only_lengths_change(iron, cell, canted) -> None:
    near = _directions(1, seed=5) + 0.2 * _directions(4, seed=6)
    near *= (LENGTHS / np.linalg.norm(near, axis=1))[:, None]
    found = mmtp.equilibrate(iron, _with(cell, near), directions="fixed", tolerance=1e-7)
    assert found.converged
    units = near / np.linalg.norm(near, axis=1, keepdims=True)
    lengths = np.linalg.norm(found.magmoms, axis=1)
    np.testing.assert_allclose(found.magmoms, lengths[:, None] * units, atol=1e-12)
    (there,) = mmtp.evaluate(iron, found.atoms)
    along = np.sum(there.magnetic_forces * units, axis=1)
    assert np.abs(along).max() == pytest.approx(found.residual, abs=1e-12)
    assert np.linalg.norm(there.magnetic_forces, axis=1).max() > 1e-3
    # What starts without a direction takes any.
    near[3] = 0.0
    found = mmtp.equilibrate(iron, _with(cell, near), directions="fixed", tolerance=1e-7)
    (there,) = mmtp.evaluate(iron, found.atoms)
    assert found.converged
    assert np.linalg.norm(found.magmoms[3]) > 1.0
    assert np.linalg.norm(there.magnetic_forces[3]) < 1e-7
    kept = np.linalg.norm(np.cross(found.magmoms[:3], units[:3]), axis=1)
    np.testing.assert_allclose(kept, 0.0, atol=1e-12)
    # One that would have to turn around is held, and not lost: its direction is.
    held = mmtp.equilibrate(iron, _with(cell, canted), directions="fixed", tolerance=1e-7)
    assert held.status == Status.HELD_AT_ZERO
    assert "vanished" in held.message
    assert np.linalg.norm(held.magmoms, axis=1).min() > 0.0


def test_lengths_stay_inside_and_turn_at_the_end_of_their_interval(iron, cell, canted) -> None:
    narrow = iron.replace(confinement=None).with_intervals(np.array([-1.9]), np.array([1.9]))
    found = mmtp.equilibrate(narrow, _with(cell, 0.8 * canted), tolerance=1e-6)
    assert found.status == Status.HELD_AT_BOUND
    np.testing.assert_allclose(np.linalg.norm(found.magmoms, axis=1), 1.9, rtol=1e-12)
    (there,) = mmtp.evaluate(narrow, found.atoms)
    torques = np.cross(found.magmoms, there.magnetic_forces)
    assert np.linalg.norm(torques, axis=1).max() < 4e-6
    assert np.all(np.sum(found.magmoms * there.magnetic_forces, axis=1) > 0.01)


def test_energies_by_a_calculator_follow_and_are_compiled_once(iron, cell, canted) -> None:
    calc = mmtp.MMTPCalculator(iron, equilibrate=True, follow=True, tolerance=1e-5)
    atoms = _with(cell, canted)
    atoms.calc = calc
    atoms.get_potential_energy()
    assert calc.results["magmoms"].shape == (4, 3)
    before = equilibrate_batch._cache_size()
    steps = [calc.equilibration.n_steps]
    for k in range(2):
        atoms.rattle(0.01, seed=k)
        atoms.get_potential_energy()
        steps.append(calc.equilibration.n_steps)
    assert equilibrate_batch._cache_size() == before
    assert max(steps[1:]) < steps[0]
    assert np.linalg.norm(calc.magnetic_forces, axis=1).max() < 1e-5


def test_a_committee_follows_the_mean_of_its_members(iron, cell, canted) -> None:
    other = iron.replace(radial_coeffs=1.05 * np.asarray(iron.radial_coeffs))
    calc = mmtp.MMTPCalculator([iron, other], equilibrate=True, directions="fixed")
    near = canted[:1] + 0.1 * canted
    atoms = _with(cell, near)
    mean = calc.get_potential_energy(atoms)
    moments = calc.results["magmoms"]
    units = near / np.linalg.norm(near, axis=1, keepdims=True)
    assert np.abs(np.sum(calc.magnetic_forces * units, axis=1)).max() < 1e-3
    there = [mmtp.evaluate(of, _with(cell, moments))[0] for of in (iron, other)]
    assert mean == pytest.approx(np.mean([of.energy for of in there]), rel=1e-12)
    assert calc.magnetic_forces_std.shape == (4, 3)


def test_forms_that_are_not_even_refuse(magnetic_bare, cell, canted) -> None:
    with pytest.raises(ValueError, match=r"configuration 1: .* even under reversal"):
        mmtp.equilibrate(magnetic_bare, _with(cell, canted))


@pytest.fixture(scope="module")
def magnetic_bare(random_potential):
    return random_potential(1, n_species=1, form="bare")
