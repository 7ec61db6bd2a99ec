"""Commands on canted moments: what takes them, and what refuses them before anything is done."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp


@pytest.fixture(scope="module")
def canted(tmp_path_factory) -> Path:
    """Two atoms with vectors, in a file."""
    path = tmp_path_factory.mktemp("canted") / "canted.extxyz"
    atoms = bulk("Fe", cubic=True, a=2.83)
    atoms.rattle(0.03, seed=2)
    del atoms.arrays["initial_magmoms"]
    atoms.set_initial_magnetic_moments([[2.1, 0.0, 0.4], [2.0, 0.3, 0.0]])
    mmtp.write(path, atoms)
    return path


def test_moments_are_equilibrated(run, iron_file, canted, tmp_path) -> None:
    written = [tmp_path / name for name in ("out.cfg", "found.json")]
    result = run("equilibrate", iron_file, canted, "-o", written[0], "--json", written[1])
    assert result.status == 0, result.err
    assert "lengths of moments found (mu_B)" in result.out
    assert "canted.extxyz, configuration 1: Fe (" in result.out
    (atoms,) = mmtp.read(written[0], species=("Fe",))
    (content,) = json.loads(written[1].read_text())["configurations"]
    np.testing.assert_allclose(atoms.get_initial_magnetic_moments(), content["magmoms"], atol=1e-6)
    np.testing.assert_allclose(content["magmom"], np.sum(content["magmoms"], axis=0))
    kept = run("equilibrate", iron_file, canted, "--fixed-directions", "--json", written[1])
    assert kept.status == 0, kept.err
    (content,) = json.loads(written[1].read_text())["configurations"]
    ratios = np.array(content["magmoms"]) / mmtp.read(canted)[0].get_initial_magnetic_moments()
    assert np.nanmax(np.nanstd(ratios, axis=1)) < 1e-9


def test_cells_relax_and_move(run, iron_file, canted, tmp_path) -> None:
    result = run("relax", iron_file, canted, "-o", tmp_path / "relaxed.extxyz",
                 "--fixed-directions", "--trajectory", tmp_path / "steps.extxyz")  # fmt: skip
    assert result.status == 0, result.err
    assert "held moments or across fixed directions" not in result.out
    (relaxed,) = mmtp.read(tmp_path / "relaxed.extxyz")
    assert relaxed.get_initial_magnetic_moments().shape == (2, 3)
    settings = tmp_path / "md.toml"
    settings.write_text(
        f'command = "md"\n[input]\npotential = ["{iron_file}"]\nstart = ["{canted}"]\n'
        '[moments]\ndirections = "fixed"\n[dynamics]\nsteps = 4\n'
        f'[output]\ntrajectory = "{tmp_path}/run.extxyz"\ntrajectory_every = 2\n'
    )
    result = run("md", "--settings", settings)
    assert result.status == 0, result.err
    assert "the program is compiled first" in result.out
    frames = mmtp.read(tmp_path / "run.extxyz")
    assert [f.get_initial_magnetic_moments().shape for f in frames] == [(2, 3)] * 3


def test_spins_move(run, iron_file, canted, read_back, tmp_path) -> None:
    log, figure = tmp_path / "log.csv", tmp_path / "log.png"
    words = ["md", iron_file, canted, "--spins", "dynamics", "--timestep", 0.2, "--ensemble", "nvt",
             "--temperature", 300, "-o", tmp_path / "run.extxyz", "--trajectory-every", 2, "--log",
             log, "--checkpoint", tmp_path / "md.npz"]  # fmt: skip
    result = run(*words, "--steps", 4, "--plot", figure)
    assert result.status == 0, result.err
    assert "spin temperature (K)" in result.out
    assert "  temperature (K)" in result.out
    assert "n equilibration" not in result.out
    assert result.err.count("by the form") == 1
    still = run(*words[:-4], "--steps", 4, "--fixed-atoms", "-o", tmp_path / "still.extxyz")
    assert "spin temperature (K)" in still.out
    assert "  temperature (K)" not in still.out
    assert read_back(figure)
    result = run(*words, "--steps", 6, "--resume")
    assert result.status == 0, result.err
    frames = mmtp.read(tmp_path / "run.extxyz", vectors=True)
    assert [f.get_initial_magnetic_moments().shape for f in frames] == [(2, 3)] * 4
    rows = log.read_text().splitlines()
    assert len(rows) == 8
    assert "spin_temperature (K)" in rows[0]
    assert "magnetisation_z (mu_B)" in rows[0]
    figure = run("plot", log, "-o", tmp_path / "again.png")
    assert figure.status == 0, figure.err
    before = sorted(tmp_path.iterdir())
    for words, what in (
        (["--timestep", 2], "too long for the precession of the moments"),
        (["--damping", 0.1], "--damping takes energy"),
        (["--fixed-moments"], "set --lengths fixed and leave --moments fixed out"),
    ):
        refused = run("md", iron_file, canted, "--spins", "dynamics", "--steps", 2, "-o",
                      tmp_path / "new.extxyz", *words)  # fmt: skip
        assert refused.status == 2
        assert what in refused.err
    assert sorted(tmp_path.iterdir()) == before


def test_what_does_not_know_vectors_says_so_at_once(run, iron_file, canted, tmp_path) -> None:
    before = sorted(tmp_path.iterdir())
    for words in (
        ["montecarlo", iron_file, canted, "--temperatures", "300", "--move", "flip"],
        ["sample", iron_file, canted, "-n", "2"],
        ["lammps", iron_file, "--structure", canted, "-o", tmp_path / "session"],
        ["elastic", iron_file, canted, "--states", "2", "-o", tmp_path / "elastic"],
    ):
        result = run(*words)
        assert result.status not in (0, None), words[0]
        assert "canted.extxyz, configuration 1: has noncollinear magnetic moments" in result.err
    flips = run("md", iron_file, canted, "--spins", "flip", "--ensemble", "nvt", "--steps", "2")
    assert "--spins flip changes signs, and the moments are vectors" in flips.err
    bare = tmp_path / "bare.mtp"
    mmtp.save(bare, mmtp.Potential.new(level=2, species=("Fe",), form="bare", cutoff=4.2))
    refused = run("md", bare, canted, "--steps", "2")
    assert "even under reversal" in refused.err
    # Nothing is announced, nor written.
    for result in (flips, refused):
        assert result.status == 2
        assert "compiled first" not in result.out
    assert sorted(tmp_path.iterdir()) == [*before, bare]
