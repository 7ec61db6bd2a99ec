"""``mmtp md``: files, settings, resuming, and what it says when something is wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax import plot
from mmtp_jax.plot.simulations import read_thermo


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> list[Path]:
    """Two cells of two iron atoms, 16 when repeated."""
    from ase.build import bulk

    folder = tmp_path_factory.mktemp("md")
    paths = []
    for k, lattice in enumerate((2.80, 2.84)):
        atoms = bulk("Fe", cubic=True, a=lattice)
        atoms.set_initial_magnetic_moments([2.2, 2.2])
        paths.append(folder / f"start{k}.extxyz")
        mmtp.write(paths[-1], atoms)
    return paths


@pytest.fixture(scope="module")
def command(iron_file, run, start):
    """command(folder, *options): a run of two replicas with all its files."""

    def of(folder: Path, *options: object) -> SimpleNamespace:
        return run(
            "md", iron_file, *start, "--repeat", 2, 2, 2, "--ensemble", "nvt",
            "--temperature", 200, 400, "--timestep", 2, "-o", folder / "run.extxyz",
            "--trajectory-every", 10, "--log", folder / "thermo.csv",
            "--checkpoint", folder / "md.npz", "--checkpoint-every", 15,
            "--json", folder / "md.json", *options,
        )  # fmt: skip

    return of


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory) -> SimpleNamespace:
    """A run of 40 steps in one go."""
    folder = tmp_path_factory.mktemp("whole")
    return SimpleNamespace(folder=folder, result=command(folder, "--steps", 40))


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_run_writes_trajectories_log_and_summary(whole) -> None:
    result, folder = whole.result, whole.folder
    assert result.status == 0, result.err
    assert "2 replicas of 16 atoms, nvt, 40 steps of 2 fs" in result.out
    assert "done: 40 steps" in result.out
    assert "drift of the conserved energy" in result.out
    assert "averages from step 20 to step 40, the first half is left out" in result.out
    assert "+- is the standard error of the mean, by blocks" in result.out
    (words,) = [line.split() for line in result.out.splitlines() if line.startswith("  volume")]
    # Of a volume that is constant there is no error.
    assert "+-" not in words
    for name in ("run.0.extxyz", "run.1.extxyz", "thermo.csv", "md.npz"):
        assert f"wrote {folder / name}" in result.out
    rows = _rows(folder / "thermo.csv")
    assert [int(row["step"]) for row in rows[::2]] == list(range(41))
    frames = mmtp.read(folder / "run.1.extxyz")
    assert [atoms.info["step"] for atoms in frames] == [0, 10, 20, 30, 40]
    # No grades were known.
    assert "grade" not in rows[0]
    assert np.isnan(read_thermo(folder / "thermo.csv").grade).all()
    assert [atoms.info["time_fs"] for atoms in frames] == [0, 20, 40, 60, 80]
    of_frame = next(row for row in rows if row["replica"] == "1" and row["step"] == "30")
    assert np.isclose(frames[3].get_potential_energy(), float(of_frame["energy (eV)"]), atol=1e-6)
    assert np.isclose(frames[3].get_kinetic_energy(), float(of_frame["kinetic (eV)"]), rtol=1e-5)


def test_averages_that_are_not_those_of_the_bath_are_told(whole) -> None:
    """Half of the kinetic energy of the start goes to the potential one, slower than 40 steps."""
    content = json.loads((whole.folder / "md.json").read_text())
    assert content["bath_K"] == [200.0, 400.0]
    rows = _rows(whole.folder / "thermo.csv")
    for r, of in enumerate(content["averages"]):
        found = [float(row["temperature (K)"]) for row in rows[r::2]][20:]
        assert of["temperature (K)"] == pytest.approx(np.mean(found))
        error = of["temperature (K) error"]
        apart = abs(np.mean(found) - content["bath_K"][r]) / error
        told = f"NOT EQUILIBRATED: replica {r} is" in whole.result.out
        assert told == (apart > 4.0)
        assert of["counts"]
        assert of["message"] == f"replica {r} ran to step 40"
    assert "NOT EQUILIBRATED" in whole.result.out


def test_labels_of_frames_are_those_of_the_potential(iron_file, whole) -> None:
    potential = mmtp.load(iron_file)
    frames = mmtp.read(whole.folder / "run.0.extxyz")
    assert np.ptp([a.get_magnetic_moments().sum() for a in frames]) > 1e-3
    # Eight digits after the point are what the format keeps of positions and moments.
    for atoms, result in zip(frames, mmtp.evaluate(potential, frames), strict=True):
        assert np.isclose(atoms.get_potential_energy(), result.energy, atol=1e-5)
        assert np.allclose(atoms.get_forces(), result.forces, atol=1e-5)
        assert np.allclose(atoms.get_stress(), result.stress, atol=1e-6)
        assert np.allclose(atoms.arrays["magnetic_forces"], result.magnetic_forces, atol=1e-5)
        assert np.abs(result.magnetic_forces).max() < 1e-3


def test_resumed_run_is_the_same(whole, command, tmp_path) -> None:
    # The first run starts, although it is told to go on: one script serves all.
    first = command(tmp_path, "--steps", 23, "--resume")
    assert first.status == 0, first.err
    assert f"there is no checkpoint {tmp_path / 'md.npz'} yet: the run starts" in first.err
    assert f"step 23 is between two frames, 10 steps apart; it is in {tmp_path}" in first.out
    # What a killed run leaves behind: more than the checkpoint knows of.
    for name in ("run.0.extxyz", "run.1.extxyz", "thermo.csv"):
        with open(tmp_path / name, "a") as file:
            file.write("half a line")
    second = command(tmp_path, "--steps", 40, "--resume")
    assert second.status == 0, second.err
    for name in ("run.0.extxyz", "run.1.extxyz", "thermo.csv"):
        assert (tmp_path / name).read_bytes() == (whole.folder / name).read_bytes(), name
    frames = mmtp.read(tmp_path / "run.1.extxyz")
    assert [atoms.info["step"] for atoms in frames] == [0, 10, 20, 30, 40]
    # Averages are of all steps, those of the log included; also of a run that was done already.
    expected = json.loads((whole.folder / "md.json").read_text())
    assert expected["averaged_steps"] == [20, 40]
    third = command(tmp_path, "--steps", 40, "--resume", "--plot", tmp_path / "thermo.png")
    assert third.status == 0, third.err
    for result in (second, third):
        assert "averages from step 20 to step 40, the first half is left out" in result.out
    found = json.loads((tmp_path / "md.json").read_text())
    assert found["averaged_steps"] == [20, 40]
    for of, known in zip(found["averages"], expected["averages"], strict=True):
        assert of.pop("message") == known.pop("message")
        assert of == pytest.approx(known, rel=1e-6)
    # Of rows that are closer together before the restart, those count that go on after it.
    fourth = command(tmp_path, "--steps", 60, "--resume", "--log-every", 4)
    assert fourth.status == 0, fourth.err
    # Rows at 0, 4, ..., 60.
    assert json.loads((tmp_path / "md.json").read_text())["averaged_steps"] == [32, 60]

    # Another start, or other settings, is another run.
    other = command(tmp_path, "--steps", 50, "--resume", "--seed", 3)
    assert other.status == 2
    assert "belongs to another run" in other.err
    # Without --resume the files are kept aside.
    again = command(tmp_path, "--steps", 1)
    assert f"kept as {tmp_path / 'thermo.csv.bak'}" in again.out
    (tmp_path / "thermo.csv").write_text("")
    lost = command(tmp_path, "--steps", 60, "--resume")
    assert lost.status == 2
    assert "has 0 bytes" in lost.err


def test_settings_file_does_the_same(iron_file, run, whole, start, tmp_path) -> None:
    template = run("template", "md")
    assert template.status == 0
    file = tmp_path / "md.toml"
    file.write_text(template.out)
    valid = run("validate", file)
    assert valid.status == 0, valid.err
    file.write_text(
        'command = "md"\n'
        f'[input]\npotential = "{iron_file}"\nstart = ["{start[0]}", "{start[1]}"]\n'
        "repeat = [2, 2, 2]\n"
        '[dynamics]\nensemble = "nvt"\ntemperature_K = [200, 400]\ntimestep_fs = 2.0\nsteps = 40\n'
        f'[output]\nlog = "{tmp_path / "thermo.csv"}"\n'
    )
    result = run("md", "--settings", file)
    assert result.status == 0, result.err
    assert (tmp_path / "thermo.csv").read_text() == (whole.folder / "thermo.csv").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "give a potential and a start"),
        (("a.mtp", "b.mtp"), "give a potential and a start"),
        (("fe.mtp", "x.cfg", "--pressure", 1.0), "a pressure is for the ensemble npt"),
        (("fe.mtp", "x.cfg", "--repeat", 2), "--repeat takes 3 values"),
        (("fe.mtp", "x.cfg", "--resume"), "give the checkpoint that it wrote"),
        (("fe.mtp", "x.xyz", "-o", "x.xyz"), "x.xyz is an input"),
        (("fe.mtp", "absent.cfg"), "there is no file"),
        # Before the file that is to be read.
        (("fe.mtp", "absent.cfg", "-o", "run.foo"), "its name must end in .extxyz or .xyz"),
        (("fe.mtp", "x.cfg", "--log-every", 0), "--log-every must be at least 1"),
    ],
)
def test_md_says_what_is_wrong(iron_file, run, options, words) -> None:
    result = run("md", *(iron_file if word == "fe.mtp" else word for word in options))
    assert result.status == 2
    assert words in result.err


def test_wrong_start_is_refused(iron_file, run, start, tmp_path) -> None:
    atoms = mmtp.read(start[0])[0]
    atoms.arrays.pop("initial_magmoms")
    bare = tmp_path / "bare.extxyz"
    mmtp.write(bare, atoms)
    result = run("md", iron_file, bare, "--steps", 1)
    assert result.status == 2
    assert "no magnetic moments" in result.err
    result = run("md", iron_file, start[0], "--steps", 1, "-o", tmp_path / "run.traj")
    assert result.status == 2
    assert "must end in .extxyz" in result.err


def test_a_run_that_stops_early_has_another_status(iron_file, run, start, tmp_path) -> None:
    atoms = mmtp.read(start[0])[0].repeat(2)
    atoms.positions[1] = atoms.positions[0] + 1.0
    close = tmp_path / "close.extxyz"
    mmtp.write(close, atoms)
    result = run("md", iron_file, close, "--steps", 5, "--moments", "fixed")
    assert result.status == 1
    assert "closer than the shortest distance" in result.out


def test_summary_is_plotted_on_the_way_and_later(read_back, run, command, tmp_path) -> None:
    result = command(tmp_path, "--steps", 12, "--plot", tmp_path / "thermo.png")
    assert result.status == 0, result.err
    assert read_back(tmp_path / "thermo.png")
    later = run("plot", tmp_path / "thermo.csv", "-o", tmp_path / "thermo.pdf")
    assert later.status == 0, later.err
    assert read_back(tmp_path / "thermo.pdf")
    thermo = read_thermo(tmp_path / "thermo.csv")
    assert thermo.n_atoms == 16
    assert thermo.time_ps == pytest.approx(2e-3 * np.arange(13))
    frames = mmtp.read(tmp_path / "run.1.extxyz")
    moments = frames[1].get_magnetic_moments()
    assert thermo.magnetisation[10, 1] == pytest.approx(moments.sum(), abs=1e-6)
    assert thermo.mean_moment[10, 1] == pytest.approx(np.abs(moments).mean(), abs=1e-6)
    assert np.isnan(thermo.grade).all()
    axes = plot.thermo_of_series(thermo).axes
    lines = {a.get_ylabel().split("\n")[0]: a.get_lines() for a in axes}
    assert len(lines) == 6, "the volume stays, and has no panel"
    assert all(len(of) == 2 for of in lines.values())
    energy = (thermo.energy[-1] - thermo.energy[0]) * 1e3 / 16
    assert [of.get_ydata()[-1] for of in lines["Potential energy"]] == pytest.approx(energy)
    assert f"drift {thermo.drift[0]:.2g}, " in axes[2].get_title()
    assert thermo.drift == pytest.approx(slopes(thermo), rel=1e-6)

    (tmp_path / "other.csv").write_text("step,loss\n1,2\n")
    wrong = run("plot", tmp_path / "other.csv", "-o", tmp_path / "x.png")
    assert wrong.status == 2
    assert "is it a log of 'mmtp md --log'" in wrong.err


def slopes(thermo) -> list[float]:
    """Slopes of least squares, by their formula."""
    time = thermo.time_ps - thermo.time_ps.mean()
    return list(time @ thermo.conserved / (time @ time) * 1e3 / thermo.n_atoms)
