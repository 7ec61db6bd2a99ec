"""The loop: it converges, resumes where it was cut off, and says what happened."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.neighborlist import neighbor_list

import mmtp_jax as mmtp
from mmtp_jax.active.learning_simulations import Happened
from mmtp_jax.active.learning_state import table
from mmtp_jax.active.magnetic_states import with_state
from mmtp_jax.io.convert import to_structures
from mmtp_jax.oracles.oracle import Failure
from mmtp_jax.simulation.moments.structures import equilibrate_structures

OPTIONS = mmtp.LearnOptions(
    max_iterations=2, limit=4, fit=mmtp.FitOptions(max_iterations=30, report_every=1000)
)


@pytest.fixture(scope="module")
def oracle(iron_file) -> mmtp.PotentialOracle:
    return mmtp.PotentialOracle(iron_file)


@pytest.fixture(scope="module")
def student() -> mmtp.Potential:
    return mmtp.Potential.new(
        level=2, species=("Fe",), radial_size=3, magnetic_size=2, cutoff=4.2, seed=1
    )


def cells(seed: int, n: int, spread: float = 0.02) -> list:
    rng = np.random.default_rng(seed)
    found = []
    for k in range(n):
        atoms = bulk("Fe", "bcc", a=2.83 * rng.uniform(1 - spread, 1 + spread), cubic=True)
        atoms.rattle(2 * spread, seed=1000 * seed + k)
        atoms.set_initial_magnetic_moments(rng.uniform(1.8, 2.4, 2) * [1, rng.choice([-1, 1])])
        found.append(atoms)
    return found


@pytest.fixture(scope="module")
def start(oracle, tmp_path_factory) -> list:
    folder = tmp_path_factory.mktemp("labels")
    return [answer.atoms for answer in mmtp.label_all(oracle, cells(1, 8), folder).labelled]


@dataclass(frozen=True, eq=False)
class Equilibrations:
    """A stand-in for a simulation: moments of random cells, the wilder the later."""

    name: str = "cells"
    spread: float = 0.04
    species: tuple[str, ...] = ("Fe",)
    runs: list = field(default_factory=list)

    def run(self, potential, watch, iteration):
        self.runs.append(iteration)
        structures = to_structures(cells(100, 16, self.spread), self.species)
        equilibrate_structures(potential, structures, watch=watch)
        return Happened(True, "16 cells")


def read(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()


class Cut(Exception):
    """Stands for a power failure."""


@pytest.fixture(scope="module")
def uninterrupted(student, start, oracle, tmp_path_factory) -> mmtp.results.Learned:
    folder = tmp_path_factory.mktemp("loop") / "learning"
    return mmtp.learn(student, start, [Equilibrations()], oracle, folder, OPTIONS)


def test_the_loop_writes_what_happened(
    iron_file, read_back, uninterrupted, student, oracle
) -> None:
    learned, folder = uninterrupted, uninterrupted.folder
    rows = learned.rows
    assert rows[0].preselected > 0
    assert rows[0].highest_grade > 2.0
    assert 0 < rows[0].selected <= 4
    for row, following in itertools.pairwise(rows):
        assert row.labelled == row.selected
        assert following.training == row.training + row.labelled
        assert following.energy_after < following.energy_before
    content = list(csv.DictReader((folder / "table.csv").open()))
    assert [int(r["training"]) for r in content] == [r.training for r in rows]
    first = folder / "iteration-000"
    for name in ("train.cfg", "potential.mtp", "active.npz", "selected.cfg", "errors.json", "log"):
        assert read_back(first / name), name
    # What was selected has the labels of the oracle at its own moments.
    selected = mmtp.read(first / "selected.cfg")
    new = mmtp.read(folder / "iteration-001" / "train.cfg")[8:]
    teacher = mmtp.load(iron_file)
    for target, atoms in zip(selected, new, strict=True):
        np.testing.assert_array_equal(
            target.get_initial_magnetic_moments(), atoms.get_magnetic_moments()
        )
        energy = mmtp.evaluate(teacher, atoms)[0].energy
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-8)
    # The set of the last potential is the one that it was fitted to.
    assert len(learned.training) == rows[-1].training
    assert read(folder, "potential.mtp") == read(
        folder, f"iteration-{rows[-1].iteration:03d}/potential.mtp"
    )
    text = str(learned)
    assert "highest grade" in text
    assert learned.message in text
    assert table(rows).count("\n") == len(rows) + 2


@pytest.mark.parametrize(
    "moment",
    [
        "0: fit to",
        "1: fit to",
        "1: 16 cells",
        "0: cells:",
        "1: cells:",
        "selected",
        "0: 4 labelled",
        "stored",
    ],
)
def test_a_loop_that_is_cut_off_goes_on(
    moment, uninterrupted, student, start, oracle, tmp_path
) -> None:
    # Iteration 0 of the whole loop and what follows must come out the same, to the last bit.
    options = replace(OPTIONS, max_iterations=2)
    fell = []

    def tell(line: str) -> None:
        if moment in line and not fell:
            fell.append(line)
            raise Cut

    @dataclass(frozen=True, eq=False)
    class FallsOver(Equilibrations):
        def run(self, potential, watch, iteration):
            happened = super().run(potential, watch, iteration)
            if moment in ("stored", f"{iteration}: 16 cells") and not fell:
                # Candidates are on disk already, but the run is not over.
                assert watch.store.files
                fell.append(moment)
                raise Cut
            return happened

    folder = tmp_path / "learning"
    with pytest.raises(Cut):
        mmtp.learn(student, start, [FallsOver()], oracle, folder, options, callback=tell)
    learned = mmtp.learn(student, start, [FallsOver()], oracle, folder, options, callback=tell)
    whole = uninterrupted.folder
    for k in (0, 1, 2):
        name = f"iteration-{k:03d}/potential.mtp"
        assert read(folder, name) == read(whole, name), name
        if k < 2:
            name = f"iteration-{k:03d}/selected.cfg"
            assert read(folder, name) == read(whole, name), name
    assert learned.rows[:2] == uninterrupted.rows[:2]
    assert not learned.converged
    assert "2 iterations" in learned.message


def test_a_loop_converges_and_stays_converged(student, start, oracle, tmp_path) -> None:
    tame = Equilibrations(spread=0.005)
    thresholds = mmtp.Thresholds(50.0, 100.0)
    options = replace(OPTIONS, thresholds=thresholds)
    learned = mmtp.learn(student, start, [tame], oracle, tmp_path, options)
    assert learned.converged
    assert learned.rows[-1].preselected == 0
    assert learned.rows[-1].highest_grade < 50.0
    n = len(tame.runs)
    again = mmtp.learn(student, start, [tame], oracle, tmp_path, options)
    assert again.converged
    assert again.message == learned.message
    assert len(tame.runs) == n, "nothing is done again"


def test_a_broken_simulation_is_no_convergence(student, start, oracle, tmp_path) -> None:
    @dataclass(frozen=True)
    class Broken:
        name: str = "hot"
        ok: list = field(default_factory=list)

        def run(self, potential, watch, iteration):
            return Happened(bool(self.ok), "it blew up" if not self.ok else "all steps")

    broken = Broken()
    learned = mmtp.learn(student, start, [broken], oracle, tmp_path, OPTIONS)
    assert not learned.converged
    assert "not all simulations ran to their end (hot: it blew up)" in learned.message
    # When its settings are put right, the loop goes on from there.
    broken.ok.append(True)
    learned = mmtp.learn(student, start, [broken], oracle, tmp_path, OPTIONS)
    assert learned.converged
    assert len(learned.rows) == 1


@dataclass(frozen=True)
class Refuses:
    """An oracle that fails for about every second configuration, or for all.

    Some of its labels are 14 eV/atom too low.
    """

    teacher: mmtp.PotentialOracle
    everything: bool = False
    in_process: bool = True

    def fingerprint(self):
        return "refuses"

    def label(self, atoms, folder):
        kind = int(1e7 * atoms.positions[1, 0]) % 4
        if self.everything or kind % 2:
            return Failure("the density does not converge")
        answer = self.teacher.label(atoms, folder)
        answer.atoms.calc.results["energy"] -= 14.0 * len(atoms) * (kind == 2)
        return answer


def test_failed_and_suspect_labels_are_set_aside(student, start, oracle, tmp_path) -> None:
    options = replace(OPTIONS, max_iterations=1, limit=8)
    learned = mmtp.learn(student, start, [Equilibrations()], Refuses(oracle), tmp_path, options)
    row = learned.rows[0]
    assert row.failed > 0
    assert row.suspect > 0
    assert row.labelled + row.suspect + row.failed == row.selected
    assert len(learned.training) == 8 + row.labelled
    folder = tmp_path / "iteration-000" / "failed"
    failed = mmtp.read(folder / "failed.cfg")
    assert len(failed) == row.failed
    reasons = json.loads((folder / "reasons.json").read_text())
    assert set(reasons.values()) == {"the density does not converge"}
    suspect = mmtp.read(tmp_path / "iteration-000" / "suspect" / "suspect.cfg")
    assert len(suspect) == row.suspect
    # None of them is in the training set.
    places = {a.positions.tobytes() for a in learned.training}
    assert not places & {a.positions.tobytes() for a in [*failed, *suspect]}


@dataclass(frozen=True)
class WithSpheres(mmtp.PotentialOracle):
    """Refuses cells whose atoms are too close, as a code does whose spheres would overlap."""

    least: float = 2.42

    def refusal(self, atoms):
        shortest = min(neighbor_list("d", atoms, 3.0), default=9.0)
        return f"atoms are {shortest:.3f} Angstrom apart" if shortest < self.least else None


def test_candidates_that_the_labeller_would_refuse_are_not_selected(
    iron_file, student, start, oracle, uninterrupted, tmp_path
) -> None:
    options = replace(OPTIONS, max_iterations=1)
    picky = WithSpheres(iron_file)
    learned = mmtp.learn(student, start, [Equilibrations()], picky, tmp_path / "a", options)
    of_all = mmtp.read(uninterrupted.folder / "iteration-000" / "selected.cfg")
    assert any(picky.refusal(atoms) for atoms in of_all)
    chosen = mmtp.read(tmp_path / "a" / "iteration-000" / "selected.cfg")
    assert not any(picky.refusal(atoms) for atoms in chosen)
    assert learned.rows[0].labelled == learned.rows[0].selected > 0
    log = (tmp_path / "a" / "iteration-000" / "log").read_text()
    assert "left out, since the labeller would refuse them; the first: atoms are 2." in log
    # Of all of them there is nothing to label, which is said.
    none = WithSpheres(iron_file, least=2.9)
    learned = mmtp.learn(student, start, [Equilibrations()], none, tmp_path / "b", options)
    assert not learned.converged
    assert "the labeller would refuse all of" in learned.message
    assert "the first: atoms are 2." in learned.message


def test_a_loop_without_any_label_ends(student, start, oracle, tmp_path) -> None:
    learned = mmtp.learn(
        student, start, [Equilibrations()], Refuses(oracle, True), tmp_path, OPTIONS
    )
    assert not learned.converged
    assert "none of the selected configurations could be labelled" in learned.message
    assert learned.rows[0].labelled == 0


def test_dynamics_run_all_conditions_as_replicas(
    iron_file, student, start, oracle, tmp_path
) -> None:
    cell = bulk("Fe", "bcc", a=2.83, cubic=True)
    cell.set_initial_magnetic_moments([2.0, 2.0])
    run = mmtp.DynamicsRun.of(
        "md", [cell], ("Fe",), 20, volumes=(0.95, 1.05), temperatures_K=(100.0, 400.0),
        states=("fm", "afm"), strain=0.02, timestep_fs=2.0,
    )  # fmt: skip
    teacher = mmtp.load(iron_file)
    active = mmtp.ActiveSet.from_configurations(teacher, start)

    def explore(iteration):
        store = mmtp.CandidateStore(tmp_path / "md")
        store.clear()
        watch = mmtp.Preselection.of(active, mmtp.Thresholds(1e-9, 1e9), store=store)
        return run.run(teacher, watch, iteration), store.read()

    happened, kept = explore(0)
    assert happened.completed
    assert "8 replicas of 20 steps" in happened.message
    first = {}
    for candidate in kept:
        first.setdefault(candidate.replica, candidate.structure)
    assert len(first) == 8
    volumes = [first[r].volume / cell.get_volume() for r in range(8)]
    np.testing.assert_allclose(volumes, np.repeat([0.95, 1.05], 4), rtol=1e-12)
    signs = [np.prod(np.sign(first[r].magmoms)) for r in range(8)]
    assert signs == [1, -1] * 4
    # The same iteration is the same run; another is another.
    _, again = explore(0)
    for one, other in zip(kept, again, strict=True):
        np.testing.assert_array_equal(one.structure.positions, other.structure.positions)
    _, other = explore(1)
    assert abs(other[-1].structure.positions - kept[-1].structure.positions).max() > 1e-4


def test_states_of_the_moments() -> None:
    rng = np.random.default_rng(5)
    bcc = to_structures([bulk("Fe", "bcc", a=2.83, cubic=True).repeat((2, 2, 2))], ("Fe",))[0]
    afm = with_state(bcc, "afm", [2.0], rng).magmoms
    assert afm.sum() == 0.0
    # Nearest neighbours are opposite.
    d = bcc.positions[:, None] - bcc.positions[None]
    d -= np.round(d / 5.66) * 5.66
    near = np.isclose(np.linalg.norm(d, axis=2), 2.83 * np.sqrt(3) / 2)
    assert np.all((afm[:, None] * afm[None])[near] == -4.0)
    assert np.all(with_state(bcc, "fm", [2.0], rng).magmoms == 2.0)
    random = with_state(bcc, "random", [2.0], rng).magmoms
    assert set(random) == {-2.0, 2.0}
    given = replace(bcc, magmoms=np.linspace(-1, 1, 16))
    np.testing.assert_array_equal(with_state(given, "given", None, rng).magmoms, given.magmoms)
    # Atoms that vibrate across the boundary stay in their layer.
    moved = replace(
        bcc, positions=bcc.positions - [0.0, 0.0, 0.05] * (np.arange(16) % 3 == 0)[:, None]
    )
    np.testing.assert_array_equal(with_state(moved, "afm", [2.0], rng).magmoms, afm)
    odd = to_structures([bulk("Fe", "sc", a=2.5)], ("Fe",))[0]
    with pytest.raises(ValueError, match="even number of layers"):
        with_state(odd, "afm", [2.0], rng)
    with pytest.raises(ValueError, match="one of given, fm, afm, random"):
        with_state(odd, "ferro", None, rng)


def test_bad_input_is_one_sentence(student, start, oracle, tmp_path, uninterrupted) -> None:
    run = [Equilibrations()]
    with pytest.raises(ValueError, match="configurations to start from, got none"):
        mmtp.learn(student, [], run, oracle, tmp_path / "a", OPTIONS)
    with pytest.raises(ValueError, match="neither energy nor forces"):
        mmtp.learn(student, cells(1, 2), run, oracle, tmp_path / "a", OPTIONS)
    copper = bulk("Cu")
    with pytest.raises(ValueError, match=r"1 of 1 configurations .* has no magnetic moments"):
        mmtp.learn(student, [copper], run, oracle, tmp_path / "a", OPTIONS)
    with pytest.raises(ValueError, match=r"simulation .md.: 1 of 1 structures .* no magn"):
        mmtp.DynamicsRun.of("md", [copper], ("Cu",), 5)
    with pytest.raises(ValueError, match="has Cu, but the potential is for Fe"):
        mmtp.learn(student, [copper], run, oracle, tmp_path / "a", OPTIONS, missing_moments="zero")
    with pytest.raises(ValueError, match="at least one simulation"):
        mmtp.learn(student, start, [], oracle, tmp_path / "a", OPTIONS)
    with pytest.raises(ValueError, match="different names"):
        mmtp.learn(student, start, run * 2, oracle, tmp_path / "a", OPTIONS)
    with pytest.raises(ValueError, match="can be a folder's"):
        mmtp.learn(student, start, [Equilibrations("a/b")], oracle, tmp_path / "a", OPTIONS)
    assert not (tmp_path / "a").exists()
    # Another start in the same folder.
    with pytest.raises(ValueError, match="holds a loop that started from another potential"):
        mmtp.learn(student, start[:4], run, oracle, uninterrupted.folder, OPTIONS)
    with pytest.raises(ValueError, match="magmoms are given for Al"):
        mmtp.DynamicsRun.of("md", start, ("Fe",), 5, magmoms={"Al": 1.0})
    with pytest.raises(ValueError, match="no structure to start from"):
        mmtp.DynamicsRun.of("md", [], ("Fe",), 5)
    for bad in (
        {"limit": 0},
        {"max_iterations": 0},
        {"min_dist_margin": 1.5},
        {"retries": -1},
        {"timeout_s": 0.0},
        {"mode": "atoms"},
    ):
        with pytest.raises(ValueError, match=next(iter(bad))):
            mmtp.LearnOptions(**bad)


def test_an_active_set_of_another_potential_is_refused(
    student, start, oracle, uninterrupted, tmp_path
) -> None:
    folder = tmp_path / "learning"
    options = replace(OPTIONS, max_iterations=2)

    def tell(line):
        if "1: cells:" in line:
            raise Cut

    with pytest.raises(Cut):
        mmtp.learn(student, start, [Equilibrations()], oracle, folder, options, callback=tell)
    shutil.rmtree(folder / "iteration-001" / "candidates")
    shutil.copy(folder / "iteration-000" / "active.npz", folder / "iteration-001" / "active.npz")
    with pytest.raises(ValueError, match=r"active.npz is the active set of another potential"):
        mmtp.learn(student, start, [Equilibrations()], oracle, folder, options)
