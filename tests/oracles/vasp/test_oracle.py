"""The whole labeller against a stand-in for VASP with a known response.

The stand-in is `stand_in.py`; VASP itself was not run.
"""

from __future__ import annotations

import json
import pickle
import shlex
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.io.schema import labels_of
from mmtp_jax.oracles.jobs import label_all
from mmtp_jax.oracles.oracle import Failure, Labelled, checked

KB = 1e-1 / 160.21766208
"""kB in eV/Angstrom^3."""
STIFF = {"stiffness": 3.0}
TIGHT = {"largest_error": 0.02}
"""Of smoothed moments, so that moments, larger by the slope of 1.3, are off by less than 0.03."""
REST = {"Fe": 1.6, "Pd": 0.2}


@pytest.fixture
def label(vasp, target, tmp_path):
    """Labels the target with parameters of the stand-in and settings of the oracle."""

    def run(parameters=None, **settings):
        folder = tmp_path / "job"
        folder.mkdir(exist_ok=True)
        return vasp(parameters, **(TIGHT | settings)).label(target, folder)

    return run


def response(target, constraint, weight, stiffness):
    """Smoothed moments and their energy, as the stand-in has them, in the order of ``target``."""
    rest = np.array([REST[s] for s in target.get_chemical_symbols()])
    rest = np.copysign(rest, target.get_initial_magnetic_moments())
    u = (stiffness * rest + 2 * weight * constraint) / (stiffness + 2 * weight)
    return u, -8.0 * len(target) + 0.5 * stiffness * np.sum((u - rest) ** 2)


def test_labels_are_those_of_the_known_response(label, target, runs):
    answer = label(STIFF)
    assert isinstance(answer, Labelled)
    assert isinstance(checked(answer, target), Labelled)
    steps = answer.provenance.settings["steps"]
    weights = [step["lambda"] for step in steps]
    assert weights == [2, 5, 10, 20]
    names = [f"lambda-{weight:g}" for weight in weights]
    assert runs() == ["unconstrained", "fit", *names, "refined"]
    assert [step["met"] for step in steps] == [False] * 3 + [True]

    back = np.argsort(answer.provenance.settings["order_in_poscar"])
    constraint = np.array(answer.provenance.settings["m_constr"])[back]
    u, energy = response(target, constraint, 20.0, 3.0)
    labels = labels_of(answer.atoms)
    # The energy is without the penalty.
    assert labels.results["energy"] == pytest.approx(energy, abs=2e-6)
    assert answer.provenance.settings["penalty_energy"] > 1e-4
    moments = 1.3 * u + 0.02
    np.testing.assert_allclose(labels.achieved_moments, moments, atol=6e-4)
    target_moments = target.get_initial_magnetic_moments()
    assert np.abs(moments - target_moments).max() < 0.03
    # Atoms are again in the order of the target.
    x, y, z = target.positions.T
    forces = np.stack([(x + y + z) / 10 + moments, -x, 0.1 * y], axis=1)
    np.testing.assert_allclose(labels.results["forces"], forces, atol=1e-3)
    stress = -10 * KB * np.array([1, 2, 3, 5, 6, 4])
    np.testing.assert_allclose(labels.results["stress"], stress, rtol=1e-6)
    # As in the paper, magnetic forces are missing, not zero.
    assert labels.magnetic_forces is None
    np.testing.assert_array_equal(answer.atoms.positions, target.positions)


def test_provenance_says_what_another_run_needs(label, library):
    provenance = label(STIFF).provenance
    assert provenance.code == "VASP"
    assert provenance.version == "6.4.2"
    assert provenance.converged
    assert provenance.seconds > 0
    settings = provenance.settings
    assert settings["potentials"]["Fe"]["title"] == "PAW_PBE Fe_pv 06Sep2000"
    assert settings["fit"]["slope"] == pytest.approx(1.3, abs=2e-3)
    assert settings["fit"]["intercept"] == pytest.approx(0.02, abs=2e-3)
    assert settings["moment_error"]["largest"] < 0.03
    volume = sum(2 * 4 / 3 * np.pi * r**3 for r in settings["rwigs"].values())
    assert volume == pytest.approx(2 * 2.9**3, rel=1e-5)
    # No part of a POTCAR goes there.
    assert str(library) not in json.dumps(settings)
    assert "RWIGS  =" not in json.dumps(settings)


def test_each_calculation_starts_from_the_one_before_it(label, tmp_path):
    label(STIFF, keep_densities=True)
    job = tmp_path / "job"
    assert (job / "refined" / "WAVECAR").exists()
    incar = (job / "lambda-2" / "INCAR").read_text()
    assert "ISTART = 1\n" in incar
    assert "ICHARG = 1\n" in incar
    potcar = (job / "fit" / "POTCAR").read_text()
    assert potcar.index("Fe_pv") < potcar.index("PAW_PBE Pd")


def test_the_refinement_removes_the_bias_of_outcar(label, target):
    bias = {"bias": {"Fe": 0.04, "Pd": -0.02}, "stiffness": 0.02}
    answer = label(bias)
    assert isinstance(answer, Labelled)
    settings = answer.provenance.settings
    assert settings["moment_error_before_refinement"]["largest"] > 0.035
    assert settings["moment_error"]["largest"] < 0.005
    assert isinstance(checked(answer, target), Labelled)


def test_a_slope_that_depends_on_lambda_is_met_too(label):
    answer = label({"slope_by_lambda": 5e-4, "stiffness": 0.02})
    assert isinstance(answer, Labelled)
    assert answer.provenance.settings["moment_error"]["largest"] < 0.01


def test_the_best_lambda_is_refined_where_no_lambda_suffices(label, runs, tmp_path):
    # At every lambda, the penalty alone is above this threshold.
    answer = label(STIFF, penalty_ev=1e-5)
    assert isinstance(answer, Failure)
    assert answer.final
    assert answer.reason.startswith("discarded after the refinement: the penalty is")
    assert answer.provenance.settings["reached_before_refinement"] is False
    assert runs()[-2:] == ["lambda-40", "refined"]
    assert "LAMBDA = 40\n" in (tmp_path / "job" / "refined" / "INCAR").read_text()


def test_thresholds_of_the_paper_can_refuse_what_the_slope_enlarges(label):
    # 0.0297 mu_B of the smoothed moment are within 0.03, and 1.3 times as much are not.
    answer = label(STIFF, largest_error=0.03)
    assert answer.provenance.settings["reached_before_refinement"] is True
    assert "the largest error is 0.039 mu_B, not 0.03" in answer.reason
    assert isinstance(label(STIFF, largest_error=0.03, accepted_largest_error=0.045), Labelled)


def test_moments_out_of_reach_are_discarded(label, runs):
    answer = label({"largest": 1.7})
    assert isinstance(answer, Failure)
    assert answer.final
    assert "discarded after the refinement: the largest error is" in answer.reason
    assert len(answer.provenance.settings["steps"]) == 6
    assert "refined" in runs()


def test_moments_that_turn_off_the_axis_are_discarded(label):
    answer = label({"tilt": 0.2})
    assert isinstance(answer, Failure)
    assert "largest error" in answer.reason


@pytest.mark.parametrize("version", [5, 6])
def test_unconverged_calculations_give_no_labels(label, version):
    names = [f"lambda-{w}" for w in (2, 5, 10, 20, 30, 40)]
    answer = label({"unconverged": names, "vasp": version}, incar={"NELM": 20})
    assert isinstance(answer, Failure)
    assert answer.reason == "no constrained calculation converged"


def test_one_unconverged_lambda_is_passed_over(label):
    answer = label(STIFF | {"unconverged": ["lambda-20"]})
    assert isinstance(answer, Labelled)
    assert [s["converged"] for s in answer.provenance.settings["steps"]] == [True] * 3 + [
        False,
        True,
    ]


def test_magnetic_forces_on_request(label, target):
    answer = label(STIFF, magnetic_forces=True)
    forces = labels_of(answer.atoms).magnetic_forces
    settings = answer.provenance.settings
    back = np.argsort(settings["order_in_poscar"])
    u, _ = response(target, np.array(settings["m_constr"])[back], 20.0, 3.0)
    rest = np.copysign([0.2, 1.6, 0.2, 1.6], target.get_initial_magnetic_moments())
    # E = stiffness/2 (u - rest)^2 with u = (m - intercept) / slope.
    np.testing.assert_allclose(forces, -3.0 * (u - rest) / 1.3, rtol=2e-3, atol=1e-4)


def test_another_axis(label, tmp_path):
    x, z = label(STIFF), label(STIFF, axis="z")
    # Nothing of the calculations along x was taken for those along z.
    assert "MAGMOM = 0 0 " in (tmp_path / "job" / "refined" / "INCAR").read_text()
    np.testing.assert_array_equal(x.atoms.get_magnetic_moments(), z.atoms.get_magnetic_moments())
    assert x.atoms.get_potential_energy() == z.atoms.get_potential_energy()


def test_vectors(vasp, target, runs, tmp_path):
    canted = np.array([[0.0, 0.3, 0.1], [2.0, 0.0, 1.2], [0.1, 0.0, 0.0], [-1.0, 1.5, 0.4]])
    target.arrays["initial_magmoms"] = canted
    oracle = vasp(STIFF | {"turn": 0.3}, magnetic_forces=True, collinear_command="none", **TIGHT)
    jobs = label_all(oracle, [target], tmp_path / "labels")
    (answer,) = jobs.labelled
    labels = labels_of(answer.atoms)
    assert np.linalg.norm(labels.achieved_moments - canted, axis=1).max() < 0.03
    settings = answer.provenance.settings
    back = np.argsort(settings["order_in_poscar"])
    constraint = np.array(settings["m_constr"])[back]
    c, s = np.cos(0.3), np.sin(0.3)
    turned = canted @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    rest = np.array([REST[x] for x in target.get_chemical_symbols()])[:, None]
    rest = rest * turned / np.linalg.norm(turned, axis=1, keepdims=True)
    weight = settings["refined"]["lambda"]
    u = (3.0 * rest + 2 * weight * constraint) / (3.0 + 2 * weight)
    energy = -8.0 * 4 + 1.5 * np.sum((u - rest) ** 2)
    assert labels.results["energy"] == pytest.approx(energy, abs=2e-6)
    lengths = np.linalg.norm(u, axis=1, keepdims=True)
    moments = u / lengths * (1.3 * lengths + 0.02)
    np.testing.assert_allclose(labels.achieved_moments, moments, atol=6e-4)

    # -dE/dm by central differences of the stand-in's energy as a function of its moments.
    def of(m):
        sizes = np.linalg.norm(m, axis=1, keepdims=True)
        return 1.5 * np.sum((m / sizes * (sizes - 0.02) / 1.3 - rest) ** 2)

    for k in np.ndindex(4, 3):
        shift = np.zeros((4, 3))
        shift[k] = 1e-5
        slope = (of(moments + shift) - of(moments - shift)) / 2e-5
        assert labels.magnetic_forces[k] == pytest.approx(-slope, rel=1e-2, abs=5e-3)
    again = label_all(oracle, [target], tmp_path / "labels")
    assert again.n_found == 1
    assert runs().count("unconstrained") == 1


def test_vectors_along_a_line_are_numbers_along_the_axis(label, target, tmp_path):
    numbers = label(STIFF, magnetic_forces=True)
    moments = target.get_initial_magnetic_moments()
    target.arrays["initial_magmoms"] = np.outer(moments, [0.0, 1.0, 0.0])
    vectors = label(STIFF, magnetic_forces=True)
    assert vectors.atoms.get_potential_energy() == numbers.atoms.get_potential_energy()
    for name in ("magnetic_forces", "initial_magmoms"):
        want = np.outer(numbers.atoms.arrays[name], [0.0, 1.0, 0.0])
        np.testing.assert_array_equal(vectors.atoms.arrays[name], want)


class TestFolders:
    def test_complete_calculations_are_not_run_again(self, label, runs):
        first = label(STIFF)
        n_runs = len(runs())
        second = label(STIFF)
        assert len(runs()) == n_runs
        assert second.atoms.get_potential_energy() == first.atoms.get_potential_energy()
        assert second.provenance == first.provenance

    def test_after_a_crash_only_the_rest_is_run(self, label, runs):
        crash = STIFF | {"crash": ["lambda-5"]}
        answer = label(crash)
        assert isinstance(answer, Failure)
        assert not answer.final
        assert answer.reason == (
            "VASP ended before its end in lambda-5, with exit status 1; its last words: LAPACK: "
            "Routine ZPOTRF failed! 2 1"
        )
        before = runs()
        assert isinstance(label(crash), Labelled)
        assert runs()[len(before) :][:2] == ["lambda-5", "lambda-10"]

    def test_lost_output_is_computed_again_with_what_it_needs(self, label, runs, tmp_path):
        label(STIFF)
        n_runs = len(runs())
        outcar = tmp_path / "job" / "lambda-5" / "OUTCAR"
        outcar.write_text(outcar.read_text()[:500])
        assert isinstance(label(STIFF), Labelled)
        # The density of lambda-2, that of the fit and the first one had been removed.
        assert runs()[n_runs:] == ["unconstrained", "fit", "lambda-2", "lambda-5"]

    def test_other_settings_are_not_mixed_with_old_files(self, label, runs):
        label(STIFF)
        n_runs = len(runs())
        label(STIFF, incar={"ISMEAR": 0})
        assert runs()[n_runs:] == runs()[:n_runs]

    def test_old_output_is_not_taken_for_that_of_a_run_without_any(self, label):
        label(STIFF)
        answer = label(STIFF, incar={"ISMEAR": 0}, collinear_command="true")
        assert answer.reason == (
            "VASP ended before its end in unconstrained, with exit status 0; it said nothing"
        )

    def test_what_cannot_be_labelled_is_said(self, label, vasp, target, tmp_path):
        answer = label(command="no-such-program")
        assert answer.final
        assert "the command 'no-such-program' cannot be started" in answer.reason
        oracle, folder = vasp(), tmp_path / "job"
        for change, reason in (
            (lambda a: a.set_pbc([True, True, False]), "periodic in 3 directions"),
            (lambda a: a.set_cell(-a.cell.array), "left-handed"),
            (lambda a: a.symbols.__setitem__(0, "Al"), "names no POTCAR for Al"),
            (lambda a: a.arrays.update(initial_magmoms=np.eye(4)[:, :2]), "neither one number"),
        ):
            atoms = target.copy()
            change(atoms)
            answer = oracle.label(atoms, folder)
            assert answer.final
            assert reason in answer.reason


def test_ase_reads_the_files_of_the_stand_in(label, target, tmp_path):
    """The stand-in writes what VASP writes, as far as ASE can tell."""
    label(STIFF)
    atoms = ase.io.read(tmp_path / "job" / "refined" / "OUTCAR", format="vasp-out")
    assert atoms.get_chemical_symbols() == ["Fe", "Fe", "Pd", "Pd"]
    np.testing.assert_allclose(atoms.positions, target.positions[[1, 3, 0, 2]], atol=1e-5)
    (found,) = mmtp.read(tmp_path / "job" / "refined" / "OUTCAR")
    np.testing.assert_allclose(found.get_magnetic_moments(), [2.4, -2.0, 0.3, 0.1], atol=0.03)


def test_jobs_with_processes_of_their_own(vasp, target, tmp_path, runs):
    other = target.copy()
    other.set_initial_magnetic_moments([0.2, 1.5, 0.2, 1.5])
    oracle = pickle.loads(pickle.dumps(vasp(STIFF | {"crash": ["fit"]}, **TIGHT)))
    jobs = label_all(oracle, [target, other], tmp_path / "labels")
    assert len(jobs.labelled) == 2
    assert runs().count("fit") == 3
    again = label_all(oracle, [target, other], tmp_path / "labels")
    assert again.n_found == 2
    # Atoms 1, 3, 0, 2 are those of POSCAR.
    assert again.labelled[0].provenance.diagnostics.charges == (12.0, 10.0, 13.0, 11.0)
    (found,) = mmtp.read(tmp_path / "labels" / "job-00000" / "labelled.cfg")
    np.testing.assert_allclose(
        found.get_magnetic_moments(), jobs.answers[0].atoms.get_magnetic_moments()
    )


def test_what_is_final_is_not_tried_again(vasp, target, tmp_path, runs):
    jobs = label_all(vasp({"largest": 1.7}), [target], tmp_path / "labels", retries=3)
    assert "discarded" in jobs.failures[0].reason
    assert runs().count("refined") == 1


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
def test_a_calculation_that_hangs_is_stopped_with_its_job(vasp, target, tmp_path):
    jobs = label_all(
        vasp({"hang": ["unconstrained"]}), [target], tmp_path / "labels", retries=0, timeout_s=8
    )
    assert "took longer than 8 s" in jobs.failures[0].reason
    pid = int((tmp_path / "log.pid").read_text())
    for _ in range(50):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the stand-in goes on without its job")


def test_importing_the_oracle_needs_no_jax():
    code = "import sys, mmtp_jax.oracles.vasp; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False", shlex.join(done.args)
