"""Atoms of non-magnetic species: moments that are given count as zero, and nothing moves them."""

import warnings

import numpy as np
import pytest
from ase import Atoms

import mmtp_jax as mmtp
from mmtp_jax.fitting.confine import with_confinement
from mmtp_jax.properties.implicit import curvature
from mmtp_jax.properties.second_derivatives import response
from mmtp_jax.simulation.spins.moves import magnetic_atoms
from mmtp_jax.structures.domain import moment_at_end

AL = [1, 3]


@pytest.fixture(scope="module")
def potential(pair_iron):
    """Iron, and a second species that is like it but without moments."""
    return with_confinement(pair_iron(("Fe", "Al"), ("Al",)))


@pytest.fixture
def atoms():
    cell = Atoms("FeAl", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[2.85] * 3, pbc=True)
    found = cell.repeat((1, 1, 2))
    found.rattle(0.03, seed=1)
    found.set_initial_magnetic_moments([2.2, 0.04, 2.2, -0.3])
    return found


def test_given_moments_count_as_zero_and_this_is_said(potential, atoms):
    bare = atoms.copy()
    bare.set_initial_magnetic_moments([2.2, 0.0, 2.2, 0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (expected,) = mmtp.evaluate(potential, bare)
    said = "2 moments of Al in 1 of 2 configurations .* the largest 0.3 mu_B; .* count as zero"
    with pytest.warns(mmtp.NonMagneticWarning, match=said) as told:
        got = mmtp.evaluate(potential, [bare, atoms])
    assert len(told) == 1
    assert got[1].energy == pytest.approx(expected.energy, abs=1e-12)
    assert not np.any(got[1].magnetic_forces[AL])


def test_a_calculator_says_it_once(potential, atoms):
    atoms.calc = mmtp.MMTPCalculator(potential)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(3):
            atoms.positions[0] += 0.01
            atoms.get_potential_energy()
    assert [w.category for w in told] == [mmtp.NonMagneticWarning]
    np.testing.assert_array_equal(atoms.calc.results["magmoms"], [2.2, 0.0, 2.2, 0.0])


@pytest.mark.filterwarnings("ignore::mmtp_jax.NonMagneticWarning")
def test_equilibration_leaves_them(potential, atoms):
    for how in ({}, {"start": {"Fe": 2.0}}, {"allow_flips": True}):
        found = mmtp.equilibrate(potential, atoms, **how)
        assert found.converged, found.message
        assert not np.any(found.magmoms[AL])
        assert np.all(found.magmoms[[0, 2]] > 1.0)
        assert found.n_steps > 1


def test_crystals_of_them_need_no_moments(potential, atoms):
    alone = atoms[AL]
    alone.arrays.pop("initial_magmoms")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = mmtp.equilibrate(potential, alone)
    assert found.converged
    assert not np.any(found.magmoms)


@pytest.mark.filterwarnings("ignore::mmtp_jax.NonMagneticWarning")
def test_monte_carlo_and_disorder_leave_them(potential, atoms):
    walk = mmtp.montecarlo(potential, atoms, 500.0, sweeps=3, burn_in=0)
    np.testing.assert_array_equal(walk.magnetic, [True, False, True, False])
    assert walk.n_magnetic == 2
    assert not np.any(walk.magmoms[:, AL])
    states = mmtp.sample_disorder(potential, atoms, n=4, moments="fixed")
    assert not np.any(states.magmoms[:, AL])
    assert np.all(np.abs(states.magmoms[:, [0, 2]]) == 2.2)
    for run in (
        lambda: mmtp.montecarlo(potential, atoms, 500.0, magnetic=("Fe", "Al")),
        lambda: mmtp.sample_disorder(potential, atoms, magnetic=("Fe", "Al")),
    ):
        with pytest.raises(ValueError, match="names Al, which is non-magnetic"):
            run()


def test_signs_of_stray_moments_do_not_change(potential):
    found = magnetic_atoms(np.array([0, 1, 0]), np.array([[2.0, 0.5, -1.0]]), potential)
    np.testing.assert_array_equal(found, [True, False, True])


@pytest.mark.filterwarnings("ignore::mmtp_jax.NonMagneticWarning")
def test_second_derivatives_have_no_response_of_theirs(potential, atoms, relative_error):
    relaxed = mmtp.equilibrate(potential, atoms, tolerance=1e-9).atoms
    found = response(potential, relaxed)
    follows = found.moment_response()
    assert not np.any(follows[AL])
    assert np.any(follows[[0, 2]])
    assert found.message == ""
    state = mmtp.DifferentiableState(potential, relaxed, relax=False, cell=False, positions=False)
    with mmtp.double_precision():
        second = curvature(state(potential.flatten()))
    assert relative_error(second.uu, found.without_moments()[0]) < 1e-6


def test_the_moment_that_stops_a_run_is_none_of_theirs(potential):
    words = moment_at_end(potential, np.array([0, 1, 0]), np.array([1.0, 0.5, -3.4]), first=1)
    assert words.startswith("the moment of atom 3 (Fe), -3.4 mu_B, is at the end")
