"""Jobs of oracles that work, fail, crash, hang, and give other moments than asked for."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.oracles.jobs import label_all
from mmtp_jax.oracles.oracle import Failure, Labelled, Provenance, checked
from mmtp_jax.oracles.teacher import PotentialOracle

STRANGE = '''
"""Oracles with faults; child processes import this file."""

import os, subprocess, time
from dataclasses import dataclass
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from mmtp_jax.oracles.oracle import Failure, Labelled, Provenance


@dataclass(frozen=True)
class Strange:
    fault: str = ""
    until: int = 10**6
    in_process: bool = False
    version: str = "1"

    def fingerprint(self):
        return "strange " + self.version

    def label(self, atoms, folder):
        tries = folder / "tries"
        n = int(tries.read_text()) if tries.exists() else 0
        tries.write_text(str(n + 1))
        n_atoms = len(atoms)
        fault = self.fault if n < self.until else ""
        if fault == "fails":
            return Failure("no density was found")
        if fault == "final":
            return Failure("this cell cannot be computed", final=True)
        if fault == "raises":
            raise RuntimeError("the disk is\\nfull")
        if fault == "crashes":
            os._exit(7)
        if fault == "hangs":
            (folder / "child").write_text(str(subprocess.Popen(["sleep", "600"]).pid))
            time.sleep(600)
        if fault == "nothing":
            return None
        magmoms = atoms.get_initial_magnetic_moments() + (0.5 if fault == "moments" else 0.0)
        if fault == "free":
            magmoms[1] += 0.5
        forces = np.full((n_atoms, 3), np.nan if fault == "nan" else 0.25)
        copy = atoms.copy()
        if fault == "moved":
            copy.positions[0, 0] += 0.01
        results = {"energy": -1.5 * n_atoms, "forces": forces, "magmoms": magmoms,
                   "stress": np.arange(6.0)}
        if fault == "no forces":
            del results["forces"]
        if fault == "ghosts" and magmoms[0] > 2.4:
            results["energy"] -= 14.0 * n_atoms
        copy.calc = SinglePointCalculator(copy, **results)
        copy.set_array("magnetic_forces", np.full(n_atoms, 0.125))
        return Labelled(copy, Provenance("strange", self.version, {"cutoff": 3}, 0.1,
                                         fault != "unconverged"),
                        (1,) if fault == "free" else ())
'''


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """The class of oracles with faults, in a module that other processes can import."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "strange_oracles.py").write_text(STRANGE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield import_module("strange_oracles").Strange


@pytest.fixture
def targets():
    found = []
    for k in range(3):
        atoms = bulk("Fe", "bcc", a=2.8 + 0.05 * k, cubic=True)
        atoms.rattle(0.02, seed=k)
        atoms.set_initial_magnetic_moments([2.0, -1.0 - 0.1 * k])
        found.append(atoms)
    return found


def test_the_teacher_labels_and_nothing_is_computed_twice(iron_file, targets, tmp_path) -> None:
    oracle = pickle.loads(pickle.dumps(PotentialOracle(iron_file)))
    told = []
    jobs = label_all(oracle, targets, tmp_path, callback=told.append)
    assert told == [0, 1, 2, 3]
    assert not jobs.failures
    expected = mmtp.evaluate(mmtp.load(iron_file), targets)
    for answer, target, result in zip(jobs.labelled, targets, expected, strict=True):
        atoms = answer.atoms
        assert atoms.get_potential_energy() == pytest.approx(result.energy, abs=1e-9)
        np.testing.assert_allclose(atoms.get_forces(), result.forces, atol=1e-10)
        np.testing.assert_allclose(atoms.get_stress(), result.stress, atol=1e-10)
        np.testing.assert_allclose(atoms.arrays["magnetic_forces"], result.magnetic_forces)
        np.testing.assert_array_equal(
            atoms.get_magnetic_moments(), target.get_initial_magnetic_moments()
        )
        np.testing.assert_array_equal(atoms.positions, target.positions)
        assert answer.provenance.code == "mmtp_jax"
        assert len(answer.provenance.settings["sha256"]) == 64
        assert answer.provenance.settings["warnings"] == []
    before = [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("labelled.cfg"))]
    again = label_all(oracle, targets, tmp_path)
    assert again.n_found == 3
    assert before == [p.stat().st_mtime_ns for p in sorted(tmp_path.rglob("labelled.cfg"))]
    # Labels far from what the teacher knows say so.
    close = targets[0].copy()
    close.set_cell(0.8 * close.cell, scale_atoms=True)
    (answer,) = label_all(oracle, [close], tmp_path / "close").labelled
    assert "closer than min_dist" in answer.provenance.settings["warnings"][0]
    # Another configuration in the same place is another job.
    targets[1].positions[0, 0] += 1e-6
    assert label_all(oracle, targets, tmp_path).n_found == 2


def test_a_teacher_refuses_other_elements(iron_file, tmp_path) -> None:
    copper = bulk("Cu", cubic=True)
    with pytest.raises(ValueError, match="1 of 1 configurations have no initial magnetic moments"):
        label_all(PotentialOracle(iron_file), [copper], tmp_path)
    copper.set_initial_magnetic_moments([0.0] * 4)
    (reason,) = label_all(PotentialOracle(iron_file), [copper], tmp_path).failures.values()
    assert "has Cu, but the potential is for Fe" in reason.reason
    with pytest.raises(FileNotFoundError):
        PotentialOracle(tmp_path / "none.mtp")


REASONS = {
    "fails": "no density was found",
    "raises": "the oracle raised RuntimeError: the disk is full",
    "nothing": "the oracle answered NoneType",
    "moments": "the moment of atom 0 is 2.500 mu_B and not 2.000",
    "nan": "a label is not finite",
    "moved": "positions or a cell that differ by 0.01 Angstrom",
    "no forces": "there is no forces among the labels",
    "unconverged": "the calculation is not converged",
}


@pytest.mark.parametrize("fault", list(REASONS))
def test_what_must_not_enter_a_training_set_is_set_aside(fault, strange, targets, tmp_path) -> None:
    oracle = strange(fault, in_process=True)
    jobs = label_all(oracle, targets[:1], tmp_path, retries=2)
    assert not jobs.labelled
    assert REASONS[fault] in jobs.failures[0].reason
    folder = tmp_path / "job-00000"
    assert (folder / "tries").read_text() == "3"
    content = json.loads((folder / "result.json").read_text())
    assert content["status"] == "failed"
    assert len(content["failed_attempts"]) == 3
    assert not (folder / "labelled.cfg").exists()
    # When the cause is gone, the job is run again.
    jobs = label_all(strange("", in_process=True), targets[:1], tmp_path)
    assert len(jobs.labelled) == 1
    assert jobs.n_found == 0


def test_a_second_attempt_may_succeed(strange, targets, tmp_path) -> None:
    oracle = strange("fails", until=1, in_process=True)
    jobs = label_all(oracle, targets, tmp_path, retries=1)
    assert len(jobs.labelled) == 3
    content = json.loads((tmp_path / "job-00002" / "result.json").read_text())
    assert content["failed_attempts"] == ["no density was found"]
    assert content["provenance"]["settings"] == {"cutoff": 3}


def test_crash_and_time_out_stay_in_their_process(strange, targets, tmp_path) -> None:
    jobs = label_all(strange("crashes", until=1), targets[:1], tmp_path / "a", retries=0)
    assert "crashed with exit status 7" in jobs.failures[0].reason
    jobs = label_all(strange("crashes", until=1), targets[:1], tmp_path / "a", retries=0)
    assert len(jobs.labelled) == 1, "the same job, tried again"
    jobs = label_all(
        strange("hangs", until=1), targets[:2], tmp_path / "b", retries=1, timeout_s=12.0, workers=2
    )
    assert len(jobs.labelled) == 2
    content = json.loads((tmp_path / "b" / "job-00000" / "result.json").read_text())
    assert content["failed_attempts"] == ["it took longer than 12 s and was stopped"]
    # What the oracle has started ends with it.
    assert not runs(int((tmp_path / "b" / "job-00000" / "child").read_text()))


def runs(pid: int) -> bool:
    try:
        # A zombie that nobody waits for counts as ended.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_interruption_stops_jobs_that_run(strange, targets, tmp_path) -> None:
    def stop(n_done: int) -> None:
        if n_done:
            raise KeyboardInterrupt

    # One job is quick, the other would take ten minutes.
    (tmp_path / "job-00000").mkdir()
    (tmp_path / "job-00000" / "tries").write_text("1")
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        label_all(strange("hangs", until=1), targets[:2], tmp_path, workers=2, callback=stop)
    assert time.monotonic() - start < 60.0
    assert len(list(tmp_path.glob("*/labelled.cfg"))) == 1


SCRIPT = """
import sys
sys.path.insert(0, {modules!r})
from ase.build import bulk
from strange_oracles import Strange
from mmtp_jax.oracles.jobs import label_all
if __name__ == "__main__":
    label_all(Strange("hangs"), [bulk("Fe")], {folder!r}, retries=0)
"""


def test_a_script_without_a_guard_is_told_so(strange, tmp_path) -> None:
    modules = str(Path(sys.modules[strange.__module__].__file__).parent)
    text = SCRIPT.format(modules=modules, folder=str(tmp_path / "jobs"))
    script = tmp_path / "script.py"
    script.write_text(text.replace('if __name__ == "__main__":\n    ', ""))
    found = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert "\nRuntimeError: label_all is called as this script is imported" in found.stderr
    assert "set aside: its process crashed" in found.stderr


def test_jobs_end_when_the_program_is_killed(strange, tmp_path) -> None:
    script, modules = (
        tmp_path / "script.py",
        str(Path(sys.modules[strange.__module__].__file__).parent),
    )
    script.write_text(SCRIPT.format(modules=modules, folder=str(tmp_path)))
    child = tmp_path / "job-00000" / "child"
    program = subprocess.Popen([sys.executable, str(script)])
    try:
        assert within(60.0, lambda: child.exists() and child.read_text())
        pid = int(child.read_text())
        assert runs(pid)
    finally:
        program.kill()
        program.wait()
    assert within(30.0, lambda: not runs(pid))


def within(seconds: float, happens) -> bool:
    end = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_a_final_failure_is_not_tried_again(strange, targets, tmp_path) -> None:
    oracle = strange("final", in_process=True)
    jobs = label_all(oracle, targets[:1], tmp_path, retries=3)
    assert "this cell cannot be computed" in jobs.failures[0].reason
    assert (tmp_path / "job-00000" / "tries").read_text() == "1"


def test_targets_of_free_atoms_do_not_matter(strange, targets, tmp_path) -> None:
    oracle = strange("free", in_process=True)
    (answer,) = label_all(oracle, targets[:1], tmp_path).labelled
    assert answer.free == (1,)
    assert label_all(oracle, targets[:1], tmp_path).n_found == 1
    both = strange("moments", in_process=True)
    assert "moment of atom 0" in label_all(both, targets[:1], tmp_path / "b").failures[0].reason


def test_any_executor_will_do(strange, targets, tmp_path) -> None:
    with ThreadPoolExecutor(2) as pool:
        oracle = strange("fails", until=1, in_process=True)
        assert len(label_all(oracle, targets, tmp_path / "a", pool).labelled) == 3
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        # In the process of the executor, a crash takes the executor with it.
        oracle = strange("crashes", until=1, in_process=True)
        jobs = label_all(oracle, targets, tmp_path / "b", pool, retries=0)
        assert len(jobs.failures) == 3
        assert "the executor lost the job" in jobs.failures[0].reason
    assert len(label_all(oracle, targets[:1], tmp_path / "b").labelled) == 1


def test_labels_that_stand_apart_are_set_aside_unless_taken(strange, targets, tmp_path) -> None:
    oracle = strange("ghosts", in_process=True)
    cells = [targets[k % 3].copy() for k in range(9)]
    for k, atoms in enumerate(cells):
        atoms.set_initial_magnetic_moments([2.5 if k == 2 else 2.0 + 0.01 * k, -1.0])
    # Among three of a kind nothing is said; among nine the same label is judged again.
    assert not label_all(oracle, cells[:3], tmp_path).suspect
    jobs = label_all(oracle, cells, tmp_path)
    assert (jobs.n_found, list(jobs.suspect), jobs.failures) == (3, [2], {})
    assert jobs.taken == [0, 1, 3, 4, 5, 6, 7, 8]
    assert [len(jobs.labelled), jobs.answers[2].atoms.get_potential_energy()] == [8, -31.0]
    assert "14 eV/atom below the median of 9 labels of Fe" in str(jobs.suspect[2])
    assert str(jobs.suspect[2]).startswith("job-00002: energy -15.500 eV/atom")
    taken = label_all(oracle, cells, tmp_path, accept_outliers=True)
    assert (taken.n_found, list(taken.suspect), len(taken.labelled)) == (9, [2], 9)
    # Labels that exist already count, and are not judged themselves.
    beside = [answer.atoms for answer in taken.labelled]
    alone = label_all(oracle, cells[2:3], tmp_path / "alone", beside=beside)
    assert list(alone.suspect) == [0]
    assert not label_all(oracle, cells[4:5], tmp_path / "good", beside=beside).suspect


def test_labels_of_another_version_are_not_reused(strange, targets, tmp_path) -> None:
    label_all(strange(in_process=True), targets, tmp_path)
    assert label_all(strange(in_process=True), targets, tmp_path).n_found == 3
    assert label_all(strange(in_process=True, version="2"), targets, tmp_path).n_found == 0


def test_broken_results_are_computed_again(strange, targets, tmp_path) -> None:
    oracle = strange(in_process=True)
    label_all(oracle, targets, tmp_path)
    (tmp_path / "job-00000" / "labelled.cfg").write_text("BEGIN_CFG\n")
    (tmp_path / "job-00001" / "result.json").write_text("{")
    jobs = label_all(oracle, targets, tmp_path)
    assert (len(jobs.labelled), jobs.n_found) == (3, 1)


def test_moments_within_the_tolerance_pass(strange, targets, tmp_path) -> None:
    answer = strange("moments").label(targets[0], tmp_path)
    assert isinstance(checked(answer, targets[0], 0.6), Labelled)
    assert isinstance(checked(answer, targets[0], 0.4), Failure)
    assert isinstance(checked(Labelled(targets[0], Provenance("x", "1")), targets[0]), Failure)


def test_numbers_are_checked(iron_file, targets, tmp_path) -> None:
    for options in ({"retries": -1}, {"workers": 0}, {"timeout_s": 0.0}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
            label_all(PotentialOracle(iron_file), targets, tmp_path, **options)
