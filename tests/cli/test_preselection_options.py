"""``--active-set`` and its thresholds in md, relax, mc and equilibrate."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.cli.commands.grade import GRADE
from mmtp_jax.interfaces import candidates


@pytest.fixture(scope="module")
def active(iron_file, tmp_path_factory) -> SimpleNamespace:
    """An active set of cells of two atoms near to equilibrium, and a cell to start from."""
    folder = tmp_path_factory.mktemp("active")
    training = []
    for k in range(8):
        atoms = bulk("Fe", cubic=True, a=2.80 + 0.01 * k)
        atoms.rattle(0.04, seed=k)
        atoms.set_initial_magnetic_moments([2.1 + 0.03 * k, 2.2 - 0.02 * k])
        training.append(atoms)
    potential = mmtp.load(iron_file)
    found = mmtp.ActiveSet.from_configurations(potential, training)
    found.save(folder / "active.npz")
    start = bulk("Fe", cubic=True, a=2.84)
    start.rattle(0.02, seed=3)
    start.set_initial_magnetic_moments([2.2, 2.2])
    mmtp.write(folder / "start.extxyz", start)
    return SimpleNamespace(
        set=found, file=folder / "active.npz", start=folder / "start.extxyz", potential=iron_file
    )


def md(run, active, folder, *options):
    return run(
        "md", active.potential, active.start, active.start, "--ensemble", "nvt", "--seed", 4,
        "--temperature", 20, 2000, "--timestep", 2, "--tolerance", 1e-5,
        "--active-set", active.file, "--candidates", folder / "met.extxyz",
        "--log", folder / "thermo.csv", "--checkpoint", folder / "md.npz",
        "--checkpoint-every", 15, *options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def free(tmp_path_factory) -> Path:
    """Folder of a run of 40 steps that nothing stops."""
    return tmp_path_factory.mktemp("free")


@pytest.fixture(scope="module")
def grades(run, active, free) -> np.ndarray:
    """(steps, replicas) of 40 steps that nothing stops, from the log."""
    folder = free
    result = md(
        run, active, folder, "--steps", 40, "--grade-select", 1e-6, "--grade-break", 1e6,
        "--unbounded",
    )  # fmt: skip
    assert result.status == 0, result.err
    with open(folder / "thermo.csv", newline="") as file:
        of_log = np.array([float(row["grade"]) for row in csv.DictReader(file)]).reshape(-1, 2)
    # The log has the largest grade of the iterates that the file has one by one.
    met = mmtp.read(folder / "met.extxyz")
    expected = np.zeros_like(of_log)
    for atoms in met:
        place = atoms.info["step"], atoms.info["replica"]
        expected[place] = max(expected[place], atoms.info[GRADE])
    assert of_log == pytest.approx(expected, rel=1e-6)
    assert f"{len(met)} configurations with a grade of at least 1e-06" in result.out
    assert active.set.grade(met) == pytest.approx([a.info[GRADE] for a in met], rel=1e-4)
    return of_log


def test_md_stops_one_replica_and_names_it(run, active, grades, tmp_path) -> None:
    high = 0.7 * grades[:, 1].max()
    assert grades[:, 0].max() < high
    step = int(np.argmax(grades[:, 1] > high))
    assert 0 < step < 40
    result = md(
        run, active, tmp_path, "--steps", 40, "--grade-select", high / 3, "--grade-break", high,
        "--unbounded",
    )  # fmt: skip
    assert result.status == 1, result.err
    met = mmtp.read(tmp_path / "met.extxyz")
    last = [a for a in met if a.info["replica"] == 1][-1]
    assert last.info["step"] == step
    assert (
        f"replica 1 stopped at step {step}: its grade is {last.info[GRADE]:.4g}, above {high:.6g} "
        "(--grade-break)" in result.out
    )
    assert "replica 0 stopped" not in result.out
    assert f"wrote {tmp_path / 'met.extxyz'}, {len(met)} candidates" in result.out
    assert all(a.info[GRADE] >= high / 3 for a in met)


def test_resumed_md_keeps_the_same_candidates(run, active, grades, tmp_path) -> None:
    thresholds = ("--grade-select", 0.6 * grades[:15].max(), "--grade-break", 1e6, "--unbounded")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    assert md(run, active, whole, "--steps", 40, *thresholds).status == 0
    assert md(run, active, cut, "--steps", 22, *thresholds).status == 0
    before = (cut / "met.extxyz").read_text()
    assert 0 < len(before) < (whole / "met.extxyz").stat().st_size
    # What a killed run leaves behind: more than the checkpoint knows of.
    (cut / "met.extxyz").write_text(before + before)
    result = md(run, active, cut, "--steps", 40, "--resume", *thresholds)
    assert result.status == 0, result.err
    for name in ("met.extxyz", "thermo.csv"):
        assert (cut / name).read_text() == (whole / name).read_text()
    without = run(
        "md", active.potential, active.start, active.start, "--ensemble", "nvt", "--seed", 4,
        "--temperature", 20, 2000, "--timestep", 2, "--tolerance", 1e-5, "--unbounded",
        "--log", cut / "thermo.csv", "--checkpoint", cut / "md.npz", "--resume", "--steps", 50,
    )  # fmt: skip
    assert without.status == 2
    assert "give the same files" in without.err
    # A fresh run keeps the old file aside, and does not go on with it.
    again = md(run, active, cut, "--steps", 0, "--grade-select", 1e5, *thresholds[2:])
    assert f"kept as {cut / 'met.extxyz'}.bak" in again.out
    assert "is not written" in again.out
    assert not (cut / "met.extxyz").exists()


def test_ctrl_c_loses_nothing(run, active, free, grades, tmp_path, monkeypatch) -> None:
    def interrupted(self, steps, rows):
        if steps[-1] >= 5:
            raise KeyboardInterrupt

    options = ("--steps", 40, "--grade-select", 1e-6, "--grade-break", 1e6, "--unbounded")
    with monkeypatch.context() as patch:
        patch.setattr("mmtp_jax.cli.commands.md.DynamicsProgress.__call__", interrupted)
        result = md(run, active, tmp_path, *options)
    assert result.status == 130
    met = mmtp.read(tmp_path / "met.extxyz")
    assert max(a.info["step"] for a in met) >= 5
    result = md(run, active, tmp_path, *options, "--resume")
    assert result.status == 0, result.err
    for name in ("met.extxyz", "thermo.csv"):
        assert (tmp_path / name).read_text() == (free / name).read_text()


def test_candidate_file_survives_ctrl_c_while_it_writes(active, tmp_path, monkeypatch) -> None:
    file = candidates.CandidateFile(tmp_path / "met.cfg", ("Fe",))
    block = _block(3)
    file.add([block])
    first = (tmp_path / "met.cfg").read_text()

    def cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(candidates, "_text", cut)
        with pytest.raises(KeyboardInterrupt):
            file.add([block])
    assert (tmp_path / "met.cfg").read_text() == first
    file.write()
    met = mmtp.read(tmp_path / "met.cfg", species=("Fe",))
    assert file.n == len(met) == 6
    assert [float(a.info[GRADE]) for a in met] == pytest.approx([2.0, 3.0, 4.0] * 2)
    assert met[1].get_initial_magnetic_moments() == pytest.approx([2.0, -2.0])
    assert candidates.GRADE == GRADE


def _block(n):
    from mmtp_jax.active.candidates import Block

    atoms = bulk("Fe", cubic=True, a=2.84)
    return Block(
        positions=np.tile(atoms.positions, (n, 1, 1)), cell=np.tile(atoms.cell.array, (n, 1, 1)),
        magmoms=np.tile([2.0, -2.0], (n, 1)), grade=np.arange(2.0, 2.0 + n),
        outside=np.zeros(n, bool), step=np.arange(n), replica=np.zeros(n, int),
        types=np.zeros(2, int), periodic=np.ones(3, bool),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--grade-break", 5), "need an --active-set"),
        (
            ("--active-set", "SET", "--grade-select", 20),
            "--grade-select must be below --grade-break",
        ),
        (("--active-set", "SET", "--candidates", "met.traj"), "must end in .cfg, .extxyz or .xyz"),
        (("--active-set", "SET", "--grade-every", 0), "--grade-every must be at least 1"),
        (("--active-set", "absent.npz"), "absent.npz"),
    ],
)
@pytest.mark.parametrize("command", ["md", "relax", "montecarlo", "equilibrate"])
def test_mistakes_are_named(run, active, command, options, words) -> None:
    options = [active.file if option == "SET" else option for option in options]
    more = ("--temperatures", 300) if command == "montecarlo" else ()
    result = run(command, active.potential, active.start, *more, *options)
    assert result.status == 2
    assert words in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("command", ["md", "relax", "montecarlo", "equilibrate"])
def test_the_set_of_another_potential_is_refused(run, active, tmp_path, command) -> None:
    potential = mmtp.load(active.potential)
    mmtp.save(
        tmp_path / "other.mtp", potential.replace(moment_coeffs=1.1 * potential.moment_coeffs)
    )
    more = ("--temperatures", 300) if command == "montecarlo" else ()
    result = run(command, tmp_path / "other.mtp", active.start, *more, "--active-set", active.file)
    assert result.status == 2
    assert "potential" in result.err
    assert result.err.count("\n") == 1


def test_mc_stops_and_names_the_replica(run, active, tmp_path) -> None:
    words = (
        "montecarlo", active.potential, active.start, "--temperatures", 300, 3000, "--sizes", 1,
        "--sweeps", 40, "--burn-in", 0, "--tolerance", 1e-4, "--active-set", active.file,
    )  # fmt: skip
    free = run(
        *words, "--candidates", tmp_path / "all.cfg", "--grade-select", 1e-6, "--grade-break", 1e9
    )
    assert free.status == 0, free.err
    met = mmtp.read(tmp_path / "all.cfg", species=("Fe",))
    assert {int(a.info["replica"]) for a in met} == {0, 1}
    assert max(int(a.info["step"]) for a in met) == 39
    grades = np.array([float(a.info[GRADE]) for a in met])
    assert active.set.grade(met) == pytest.approx(grades, rel=1e-6)
    high = 0.5 * grades.max()
    first = met[int(np.argmax(grades > high))]
    met_file, checkpoint = tmp_path / "met.cfg", ("--checkpoint", tmp_path / "mc.npz")
    words = (*words, "--candidates", met_file, "--grade-select", high / 2, *checkpoint)
    result = run(*words, "--grade-break", high)
    assert result.status == 1, result.err
    who = (
        f"replica {first.info['replica']} ({(300, 3000)[int(first.info['replica'])]} K) of 2 atoms"
    )
    expected = f"{who} stopped at sweep {first.info['step']}: its grade is "
    assert expected in result.out
    kept = mmtp.read(met_file, species=("Fe",))
    assert max(float(a.info[GRADE]) for a in kept) > high
    assert f"wrote {met_file}, {len(kept)} candidates" in result.out
    # It does not go on where it has stopped.
    before = met_file.read_text()
    again = run(*words, "--grade-break", high, "--resume")
    assert again.status == 1, again.err
    assert met_file.read_text() == before


def test_equilibrate_stops_and_names_the_configuration(run, active, tmp_path) -> None:
    good = mmtp.read(active.start)[0]
    bad = good.copy()
    bad.set_initial_magnetic_moments([1.2, 2.9])
    mmtp.write(tmp_path / "two.extxyz", [good, bad])
    high = 0.5 * active.set.grade([bad])[0]
    assert active.set.grade([good])[0] < high
    options = ("--active-set", active.file, "--candidates", tmp_path / "met.extxyz")
    result = run(
        "equilibrate", active.potential, tmp_path / "two.extxyz", *options,
            "--grade-select", high / 2,
        "--grade-break", high, "--json", tmp_path / "e.json", "-o", tmp_path / "out.extxyz",
    )  # fmt: skip
    assert result.status == 1, result.err
    assert "two.extxyz, configuration 2 stopped: its grade is" in result.out
    assert "configuration 1 stopped" not in result.out
    content = json.loads((tmp_path / "e.json").read_text())
    assert [c["status"] for c in content["configurations"]] == ["converged", "stopped"]
    # What is not stopped is what is found without a watch.
    (expected,) = mmtp.equilibrate(mmtp.load(active.potential), [good], tolerance=5e-6)
    found = mmtp.read(tmp_path / "out.extxyz")[0]
    assert found.get_magnetic_moments() == pytest.approx(expected.magmoms, abs=1e-5)
    assert found.get_potential_energy() == pytest.approx(expected.energy, abs=1e-6)
    assert found.get_stress() == pytest.approx(expected.atoms.get_stress(), abs=1e-6)
    assert len(mmtp.read(tmp_path / "met.extxyz")) >= 1


def test_relax_names_configuration_step_and_grade(run, active, tmp_path) -> None:
    start = mmtp.read(active.start)[0]
    wide = start.copy()
    wide.set_cell(1.1 * wide.cell.array, scale_atoms=True)
    mmtp.write(tmp_path / "two.extxyz", [start, wide])
    high = 0.5 * active.set.grade([wide])[0]
    assert active.set.grade([start])[0] < high
    result = run(
        "relax", active.potential, tmp_path / "two.extxyz", "--active-set", active.file,
            "--grade-break",
        high, "--grade-select", high / 2, "--candidates", tmp_path / "met.extxyz",
    )  # fmt: skip
    assert result.status == 1, result.err
    assert "two.extxyz, configuration 2 stopped at step 0: its grade is" in result.out
    worst = max(mmtp.read(tmp_path / "met.extxyz"), key=lambda a: a.info[GRADE])
    assert (worst.info["replica"], worst.info["step"]) == (1, 0)
    assert f"its grade is {worst.info[GRADE]:.4g}, above" in result.out
