"""Disordered states: no net moment, all equally likely, averages with honest errors."""

from __future__ import annotations

import warnings
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from scipy.stats import chisquare

import mmtp_jax as mmtp
from mmtp_jax.simulation.dynamics.thermostats import keys_of
from mmtp_jax.simulation.spins.disorder import random_signs
from mmtp_jax.simulation.spins.disorder_sampling import FewStatesWarning


def _signs(types, magnetic, n: int) -> np.ndarray:
    drawn = jax.jit(random_signs)(
        keys_of(range(n)), jnp.asarray(3), jnp.asarray(types), np.array(magnetic)
    )
    return np.asarray(drawn)


def test_all_states_without_net_moment_are_equally_likely() -> None:
    signs = _signs([0, 1, 0, 0, 1, 0, 1], [1, 1, 1, 1, 1, 1, 0], 3000)
    first, second = signs[:, [0, 2, 3, 5]], signs[:, [1, 4]]
    assert np.all(first.sum(axis=1) == 0)
    assert np.all(second.sum(axis=1) == 0)
    assert np.all(signs[:, 6] == 1)
    numbers = (first > 0) @ 2 ** np.arange(4) * 4 + (second > 0) @ 2 ** np.arange(2)
    counts = np.unique(numbers, return_counts=True)[1]
    assert len(counts) == 12
    assert chisquare(counts).pvalue > 1e-3


def test_an_odd_one_is_drawn() -> None:
    signs = _signs([0] * 5, [1] * 5, 2000)
    totals = signs.sum(axis=1)
    assert set(totals) == {-1, 1}
    assert abs(np.mean(totals)) < 5 / np.sqrt(2000)
    assert np.all(np.abs(signs.mean(axis=0)) < 5 / np.sqrt(2000))


@pytest.fixture(scope="module")
def atoms() -> Atoms:
    """Eight iron atoms, one of them displaced."""
    cell = bulk("Fe", a=2.84, cubic=True).repeat((2, 2, 1))
    cell.positions[0, 0] += 0.05
    cell.set_initial_magnetic_moments([2.0] * 8)
    return cell


def test_averages_are_those_of_all_states(iron, atoms) -> None:
    """Of eight atoms there are 70 states without net moment."""
    everything = []
    for up in combinations(range(8), 4):
        state = atoms.copy()
        moments = np.full(8, -2.0)
        moments[list(up)] = 2.0
        state.set_initial_magnetic_moments(moments)
        everything.append(state)
    exact = mmtp.evaluate(iron, everything)
    found = mmtp.sample_disorder(iron, atoms, n=200, moments="fixed", seed=4)
    assert len(found.energies) == 200
    assert np.all(found.magmoms.sum(axis=1) == 0.0)
    for name in ("energy", "forces", "stress"):
        wanted = np.array([getattr(r, name) for r in exact])
        error = found.error(name)
        assert np.all(np.abs(found.mean(name) - wanted.mean(axis=0)) < 4.5 * error + 1e-12)
        spread = wanted.std(axis=0) / np.sqrt(200)
        assert np.allclose(error, spread, rtol=0.35, atol=1e-9)
    running = found.running_mean("forces")
    assert np.allclose(running[-1], found.forces)
    assert np.allclose(running[0], found.all_forces[0])
    again = mmtp.sample_disorder(iron, atoms, n=200, moments="fixed", seed=4)
    assert np.array_equal(found.energies, again.energies)


def test_magnitudes_are_equilibrated(iron, atoms) -> None:
    fixed = mmtp.sample_disorder(iron, atoms, n=12, moments="fixed", seed=1)
    found = mmtp.sample_disorder(iron, atoms, n=12, seed=1)
    assert found.n_drawn == 12
    assert found.n_failed == 12 - len(found.energies)
    if not found.n_failed:
        assert np.array_equal(np.sign(found.magmoms), np.sign(fixed.magmoms))
        assert np.all(found.energies < fixed.energies)
    assert np.ptp(np.abs(found.magmoms)) > 0.01


def test_a_cell_with_few_states_is_named(iron) -> None:
    """Of four atoms there are six: one sublattice against the other, or half of each."""
    small = bulk("Fe", a=2.84, cubic=True).repeat((2, 1, 1))
    small.set_initial_magnetic_moments([2.0] * 4)
    words = "4 magnetic atoms of this cell have 3 states without net moment, but for reversal"
    with pytest.warns(FewStatesWarning, match=words):
        mmtp.sample_disorder(iron, small, n=6, moments="fixed")


def test_no_cell_with_many_states_is(iron, atoms) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FewStatesWarning)
        mmtp.sample_disorder(iron, atoms, n=35, moments="fixed")
    with pytest.warns(FewStatesWarning, match="8 magnetic atoms of this cell have 35 states"):
        mmtp.sample_disorder(iron, atoms, n=36, moments="fixed")


def test_mistakes_are_named(iron, atoms) -> None:
    with pytest.raises(ValueError, match="n must be at least 2"):
        mmtp.sample_disorder(iron, atoms, n=1)
    with pytest.raises(ValueError, match="magnetic names Cr"):
        mmtp.sample_disorder(iron, atoms, magnetic=("Cr",))
    with pytest.raises(ValueError, match="moments must be one of"):
        mmtp.sample_disorder(iron, atoms, moments="free")
    molecule = atoms.copy()
    molecule.pbc = False
    found = mmtp.sample_disorder(iron, molecule, n=4, moments="fixed")
    with pytest.raises(ValueError, match="no 'stress'"):
        found.stress  # noqa: B018
