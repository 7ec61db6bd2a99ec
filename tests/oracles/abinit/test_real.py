"""ABINIT itself, on two atoms of iron with quick settings: a few seconds per calculation."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

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
    return AbinitOracle(
        {"Fe": DATASET}, ecut_Ha=10.0, pawecutdg_Ha=20.0, kmesh=(2, 2, 2), bands=18, tolerance=1e-8
    )


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
    free = replace(oracle, constrained=())
    (answer,) = mmtp.label_all(free, [iron], tmp_path, timeout_s=300.0).labelled
    np.testing.assert_array_equal(answer.atoms.arrays["magnetic_forces"], 0.0)
    assert answer.atoms.get_potential_energy() < -1197.94
    assert np.all(answer.atoms.get_magnetic_moments() > 1.5)


def test_symmetry_leaves_the_labels_as_they_are(oracle, tmp_path) -> None:
    quick = replace(oracle, ecut_Ha=6.0, pawecutdg_Ha=12.0, bands=14, tolerance=1e-6)
    atoms = Atoms("Fe2", [[0.0] * 3, [1.4, 1.4, 1.44]], cell=[2.8, 2.8, 2.88], pbc=True)
    atoms.set_initial_magnetic_moments([2.0, -2.0])
    atoms.positions[1, 2] += 0.05
    (one,), (other,) = (
        mmtp.label_all(
            replace(quick, symmetry=symmetry), [atoms], tmp_path / str(symmetry), timeout_s=300.0
        ).labelled
        for symmetry in (False, True)
    )
    points = [
        int(re.search(r"nkpt\s+(\d+)", next(tmp_path.glob(f"{s}/*/*/run.abo")).read_text())[1])
        for s in (False, True)
    ]
    assert points == [4, 1]
    assert other.provenance.making == one.provenance.making
    a, b = one.atoms, other.atoms
    print("energies", a.get_potential_energy(), b.get_potential_energy())
    assert b.get_potential_energy() == pytest.approx(a.get_potential_energy(), abs=1e-5)
    np.testing.assert_allclose(b.get_forces(), a.get_forces(), atol=1e-3)
    np.testing.assert_allclose(b.get_stress(), a.get_stress(), atol=1e-4)
    np.testing.assert_allclose(b.arrays["magnetic_forces"], a.arrays["magnetic_forces"], atol=1e-3)


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


def with_moments(iron, moments):
    atoms = iron.copy()
    del atoms.arrays["initial_magmoms"]
    atoms.set_initial_magnetic_moments(np.array(moments, float))
    return atoms


CANTED = np.array([[0.3, 0.2, 2.0], [1.9, -0.4, 1.5]])
"""mu_B; 50 degrees apart."""


@pytest.mark.slow
def test_labels_of_vectors_are_derivatives(oracle, iron, tmp_path) -> None:
    """All components of dE/dm, a force and a stress, against central differences of energies.

    With PAW and a gradient-corrected functional ABINIT's field across a moment is not quite the
    derivative of its energy: here by 5 %. Along a moment it is.
    """
    # Derivatives of an energy that is far from converged are those of that energy.
    quick = replace(oracle, ecut_Ha=6.0, pawecutdg_Ha=12.0, bands=14, tolerance=1e-7)
    step, shift, strain = 0.04, 0.01, 0.004
    changed = [with_moments(iron, CANTED)]
    for place in np.ndindex(2, 3):
        for sign in (1, -1):
            moments = CANTED.copy()
            moments[place] += sign * step
            changed.append(with_moments(iron, moments))
    for sign in (1, -1):
        moved = with_moments(iron, CANTED)
        moved.positions[0, 1] += sign * shift
        changed.append(moved)
    for sign in (1, -1):
        strained = with_moments(iron, CANTED)
        strained.set_cell(iron.cell.array * (1 + sign * strain), scale_atoms=True)
        changed.append(strained)
    jobs = mmtp.label_all(quick, changed, tmp_path, workers=3, timeout_s=3600.0)
    assert not jobs.failures, jobs.failures
    middle = jobs.answers[0].atoms
    energies = np.array([answer.atoms.get_potential_energy() for answer in jobs.answers])
    quotients = energies[1::2] - energies[2::2]
    np.testing.assert_allclose(middle.get_magnetic_moments(), CANTED, atol=1e-4)
    slopes = quotients[:6].reshape(2, 3) / (2 * step)
    found = -middle.arrays["magnetic_forces"]
    units = CANTED / np.linalg.norm(CANTED, axis=1, keepdims=True)
    along, whole = (np.sum(v * units, axis=1) for v in (found, slopes))
    across = found - slopes - (along - whole)[:, None] * units
    size = np.linalg.norm(slopes - whole[:, None] * units, axis=1)
    print("dE/dm", slopes, found, "along", along - whole, "across", np.linalg.norm(across, axis=1))
    assert np.abs(along - whole).max() < 2e-3
    assert np.all(np.linalg.norm(across, axis=1) < 0.08 * size)
    # Without spin-orbit coupling there is no net torque.
    assert np.linalg.norm(np.cross(CANTED, slopes).sum(axis=0)) < 2e-3
    force, trace = -quotients[6] / (2 * shift), quotients[7] / (2 * strain) / iron.get_volume()
    print("force", force, middle.get_forces()[0, 1], "trace", trace, middle.get_stress()[:3].sum())
    assert middle.get_forces()[0, 1] == pytest.approx(force, abs=0.015)
    assert middle.get_stress()[:3].sum() == pytest.approx(trace, abs=0.01)
    assert jobs.answers[0].provenance.settings["net_torque_eV"] < 0.03


@pytest.mark.slow
def test_a_collinear_state_as_vectors_is_the_same(oracle, iron, tmp_path) -> None:
    targets = [iron, with_moments(iron, np.outer([2.0, 2.5], [0.6, 0.0, 0.8]))]
    jobs = mmtp.label_all(oracle, targets, tmp_path, workers=2, timeout_s=900.0)
    numbers, vectors = (answer.atoms for answer in jobs.labelled)
    assert vectors.get_potential_energy() == pytest.approx(numbers.get_potential_energy(), abs=1e-6)
    np.testing.assert_allclose(vectors.get_forces(), numbers.get_forces(), atol=1e-4)
    np.testing.assert_allclose(vectors.get_stress(), numbers.get_stress(), atol=1e-6)
    want = np.outer(numbers.arrays["magnetic_forces"], [0.6, 0.0, 0.8])
    np.testing.assert_allclose(vectors.arrays["magnetic_forces"], want, atol=1e-4)
