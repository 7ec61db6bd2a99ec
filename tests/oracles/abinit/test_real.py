"""ABINIT itself, on two atoms of iron with quick settings: a few seconds per calculation."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.oracles.abinit import AbinitOracle
from mmtp_jax.oracles.abinit.datasets import find_dataset

DATASET = "Fe.PBE.gz"
STEP = 0.02
"""mu_B"""


@pytest.fixture(scope="module")
def oracle() -> AbinitOracle:
    if shutil.which("abinit") is None:
        pytest.skip("ABINIT is not installed (apt-get install abinit)")
    try:
        find_dataset(DATASET, "Fe")
    except ValueError:
        pytest.skip("the PAW dataset of iron is not installed (apt-get install gpaw-data)")
    # Fixed grids and as many bands as the reference had.
    return AbinitOracle({"Fe": DATASET}, ecut_Ha=10.0, pawecutdg_Ha=20.0, kmesh=(2, 2, 2), bands=18)


def test_moments_are_reached_and_magnetic_forces_are_derivatives(oracle, iron, tmp_path) -> None:
    targets = []
    for change in (0.0, STEP, -STEP):
        atoms = iron.copy()
        atoms.set_initial_magnetic_moments([2.0, 2.5 + change])
        targets.append(atoms)
    jobs = mmtp.label_all(oracle, targets, tmp_path, workers=2, timeout_s=300.0)
    assert not jobs.failures, jobs.failures
    middle, high, low = (answer.atoms for answer in jobs.labelled)
    for atoms, target in zip((middle, high, low), targets, strict=True):
        np.testing.assert_allclose(
            atoms.get_magnetic_moments(), target.get_initial_magnetic_moments(), atol=1e-4
        )
    told = jobs.labelled[0].provenance.diagnostics
    np.testing.assert_allclose(told.charges, [6.660, 6.618], atol=1e-2)
    assert abs(told.energy_gap) < 1e-3, "the term sum m dE/dm is what the two energies differ by"
    # Of another machine with ABINIT 9.6.2.
    version = jobs.labelled[0].provenance.version
    if version == "9.6.2":
        assert middle.get_potential_energy() == pytest.approx(-1197.93138, abs=1e-3)
    assert np.abs(middle.get_forces().sum(axis=0)).max() < 1e-3
    slope = (high.get_potential_energy() - low.get_potential_energy()) / (2 * STEP)
    print("dE/dm", slope, "T", middle.arrays["magnetic_forces"])
    assert -middle.arrays["magnetic_forces"][1] == pytest.approx(slope, abs=5e-4)


def test_free_moments_have_the_lowest_energy(oracle, iron, tmp_path) -> None:
    from dataclasses import replace

    free = replace(oracle, constrained=())
    (answer,) = mmtp.label_all(free, [iron], tmp_path, timeout_s=300.0).labelled
    np.testing.assert_array_equal(answer.atoms.arrays["magnetic_forces"], 0.0)
    assert answer.atoms.get_potential_energy() < -1197.94
    assert np.all(answer.atoms.get_magnetic_moments() > 1.5)


@pytest.mark.slow
def test_settings_are_varied_and_derivatives_checked(oracle, iron, tmp_path) -> None:
    large = iron.copy()
    large.set_cell(iron.cell.array * 1.02, scale_atoms=True)
    large.set_initial_magnetic_moments([2.2, 1.8])
    found = mmtp.converge(
        oracle, [iron, large], tmp_path, workers=2, timeout_s=300.0,
        vary=("mesh", "ecut_Ha", "tolerance"), strain=0.02, check_derivatives=True,
    )  # fmt: skip
    print(found)
    assert not found.failures
    mesh, ecut, tolerance = found.changes
    # Two points along each vector are coarse for a metal, and a residual of 1e-8 is small.
    assert mesh.energy > 10.0
    assert mesh.forces > 15.0
    assert max(tolerance.energy, tolerance.forces, tolerance.magnetic_forces) < 0.1
    assert 0.0 < ecut.stress_difference < ecut.stress
    assert mesh.after[0].seconds > found.runs[0].seconds
    force, stress, moment = found.derivatives
    assert abs(moment.difference) < 0.5
    assert abs(force.difference) < 15.0
    assert abs(stress.difference) < 1.0
