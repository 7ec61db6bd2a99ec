"""The learning loop on canted moments: a teacher with vectors, a student that ends by itself."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.active.magnetic_states import with_state
from mmtp_jax.io.convert import to_structures


def _cells(n: int, seed: int) -> list:
    rng = np.random.default_rng(seed)
    found = []
    for k in range(n):
        atoms = bulk("Fe", a=2.83 * rng.uniform(0.98, 1.02), cubic=True)
        atoms.rattle(0.03, seed=seed + k)
        del atoms.arrays["initial_magmoms"]
        moments = np.array([0.0, 0.0, 1.0]) + rng.normal(0.0, 0.4, (2, 3))
        moments *= (rng.uniform(1.8, 2.4, 2) / np.linalg.norm(moments, axis=1))[:, None]
        atoms.set_initial_magnetic_moments(moments)
        found.append(atoms)
    return found


def test_a_canted_teacher_is_learnt(iron_file, tmp_path) -> None:
    oracle = mmtp.PotentialOracle(iron_file)
    start = [answer.atoms for answer in mmtp.label_all(oracle, _cells(6, 1), tmp_path).labelled]
    assert start[0].calc.results["magmoms"].shape == (2, 3)
    student = mmtp.Potential.new(
        level=4, species=("Fe",), radial_size=3, magnetic_size=3, cutoff=4.2, seed=1
    )
    simulations = [
        mmtp.EquilibrationRun.of("lengths", _cells(4, 50), ("Fe",), directions="fixed"),
        mmtp.EquilibrationRun.of("turning", _cells(2, 60), ("Fe",), states=("given", "random")),
    ]
    options = mmtp.LearnOptions(
        max_iterations=6, limit=8, fit=mmtp.FitOptions(max_iterations=60, report_every=1000)
    )
    learned = mmtp.learn(student, start, simulations, oracle, tmp_path / "loop", options)
    assert learned.converged, learned.message
    first, last = learned.rows[0], learned.rows[-1]
    assert first.selected > 0
    assert last.training > 6
    # What it chose is labelled at its own vectors, and those are in the training set.
    added = learned.training[6:]
    assert all(atoms.calc.results["magmoms"].shape == (2, 3) for atoms in added)
    teacher = mmtp.load(iron_file)
    (expected,) = mmtp.evaluate(teacher, added[-1])
    assert added[-1].get_potential_energy() == pytest.approx(expected.energy, abs=1e-7)
    found = mmtp.evaluate(learned.potential, added)
    errors = [r.energy - a.get_potential_energy() for r, a in zip(found, added, strict=True)]
    assert np.std(errors) < 0.1


def test_states_of_vectors(random_structure) -> None:
    rng = np.random.default_rng(3)
    cell = bulk("Fe", a=2.83, cubic=True)
    del cell.arrays["initial_magmoms"]
    cell.set_initial_magnetic_moments([[2.0, 0.0, 0.0], [0.0, 1.2, 1.6]])
    (structure,) = to_structures([cell], ("Fe",), vectors=True)
    for state, expected in (
        ("given", cell.get_initial_magnetic_moments()),
        ("fm", [[0, 0, 2], [0, 0, 2]]),
        ("afm", [[0, 0, 2], [0, 0, -2]]),
    ):
        np.testing.assert_allclose(with_state(structure, state, None, rng).magmoms, expected)
    random = with_state(structure, "random", None, rng).magmoms
    np.testing.assert_allclose(np.linalg.norm(random, axis=1), 2.0)
    assert np.linalg.matrix_rank(random) == 2
