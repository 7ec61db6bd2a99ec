"""``mmtp montecarlo`` of moments that are vectors."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

import mmtp_jax as mmtp


@pytest.fixture(scope="module")
def heisenberg(tmp_path_factory, pair_teacher) -> Path:
    """A folder with a lattice whose energy is -0.05 eV e_i.e_j, as numbers and canted."""
    folder = tmp_path_factory.mktemp("heisenberg")
    mmtp.save(folder / "pot.mtp", pair_teacher)
    mmtp.save(
        folder / "collinear.mtp", pair_teacher.replace(record={"data": {"configurations": 3}})
    )
    cell = Atoms("Fe", cell=[2.0, 2.0, 2.0], pbc=True)
    cell.set_initial_magnetic_moments([2.0])
    mmtp.write(folder / "cell.extxyz", cell)
    canted = cell.repeat((2, 1, 1))
    del canted.arrays["initial_magmoms"]
    canted.set_initial_magnetic_moments([[0.0, 1.2, 1.6], [0.0, 0.0, 2.0]])
    mmtp.write(folder / "canted.extxyz", canted)
    return folder


def walk(run, folder: Path, to: Path, *options: object, start: str = "cell.extxyz"):
    return run(
        "montecarlo", folder / "pot.mtp", folder / start, "--temperatures", 2000, 3000, "--burn-in",
        10, "--checkpoint", to / "mc.npz", "-o", to / "mc.csv", *options,
    )  # fmt: skip


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files if name != "header"}


def test_lengths_are_sampled_and_resumed_bit_for_bit(run, heisenberg, tmp_path, read_back) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    options = ("--sampled-moments", "--sizes", 2, 3)
    files = ("--json", whole / "mc.json", "--plot", whole / "mc.png")
    result = walk(run, heisenberg, whole, *options, "--sweeps", 900, *files)
    assert result.status == 0, result.err
    assert read_back(whole / "mc.png")
    assert "deg," in result.out
    assert "largest stretch as a share of M_max" in result.out
    assert walk(run, heisenberg, parts, *options, "--sweeps", 600).status == 0
    assert walk(run, heisenberg, parts, *options, "--sweeps", 900, "--resume").status == 0
    one, other = arrays(whole / "mc.npz"), arrays(parts / "mc.npz")
    assert sorted(one) == sorted(other)
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert (whole / "mc.csv").read_text() == (parts / "mc.csv").read_text()
    with open(whole / "mc.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["magnetic atoms"]) for row in rows] == [8, 8, 27, 27]
    assert all(0 < float(row["length (mu_B)"]) < 2 for row in rows)
    assert all(0 < float(row["stretch acceptance"]) < 1 for row in rows)
    assert json.loads((whole / "mc.json").read_text())["rows"][0]["cone (degrees)"] > 0
    # Steps adapt in the burn-in, whose rows the checkpoint has, and another measure is another walk
    assert np.all(one["['size2'].state.turning.until"] == 80)
    refused = walk(run, heisenberg, parts, *options, "--measure", "dm", "--resume")
    assert "belongs to another run" in refused.err


def test_numbers_become_vectors_where_they_are_asked_to(run, heisenberg, tmp_path) -> None:
    settings = tmp_path / "mc.toml"
    pot, cell = heisenberg / "collinear.mtp", heisenberg / "cell.extxyz"
    settings.write_text(
        f'command = "montecarlo"\n[input]\npotential = ["{pot}"]\nstart = ["{cell}"]\n'
        'repeat = [2, 2, 2]\n[walk]\nvectors = true\nmoments = "fixed"\nsweeps = 300\n'
        f'temperatures_K = [3000]\n[output]\noutput = "{tmp_path / "mc.csv"}"\n'
    )
    result = run("montecarlo", "--settings", settings)
    assert result.status == 0, result.err
    assert "fitted to collinear ones alone: energies between the axes are extrapolated" in (
        " ".join(result.err.split())
    )
    assert result.err.count("extrapolated by the form") == 1
    assert "reflected" in result.out
    assert "stretch" not in result.out
    with open(tmp_path / "mc.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["length (mu_B)"]) == 2.0
    assert float(row["length error"]) == 0.0


def test_canted_moments_turn_and_others_are_told_what_to_change(run, heisenberg, tmp_path) -> None:
    result = walk(
        run, heisenberg, tmp_path, "--fixed-moments", "--sweeps", 200, start="canted.extxyz"
    )
    assert result.status == 0, result.err
    assert arrays(tmp_path / "mc.npz")["['size1'].state.magmoms"].shape == (2, 2, 3)
    bare = heisenberg / "bare.mtp"
    new = mmtp.Potential.new(level=2, species=("Fe",), form="bare", cutoff=2.5, max_magmom=2.0)
    mmtp.save(bare, new)
    cell, canted = heisenberg / "cell.extxyz", heisenberg / "canted.extxyz"
    for words, said in (
        ((bare, cell, "--vectors"), "cell.extxyz, configuration 1: moments that are vectors need"),
        ((bare, canted), "canted.extxyz, configuration 1: moments that are vectors need"),
        ((bare, cell, "--vectors", "--swap"), "--move swap changes signs, and --vectors is for"),
        ((bare, cell, "--move", "stretch"), "give --moments sampled"),
    ):
        refused = run("montecarlo", *words, "--temperatures", 300)
        assert refused.status == 2
        assert said in " ".join(refused.err.split())
