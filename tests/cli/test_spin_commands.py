"""``mmtp mc`` and ``mmtp sample``: tables, plots, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

import mmtp_jax as mmtp

POTENTIAL = Path(__file__).parents[1] / "simulation" / "fe.mtp"


@pytest.fixture(scope="module")
def ising(tmp_path_factory) -> tuple[Path, Path]:
    """A square lattice with E = -0.05 eV s_i s_j for first neighbours, and one cell of it."""
    folder = tmp_path_factory.mktemp("ising")
    new = mmtp.Potential.new(
        level=2, species=("Fe",), radial_size=1, magnetic_size=2, min_dist=1.0, cutoff=2.5,
        max_magmom=2.0,
    )  # fmt: skip
    c = np.zeros_like(new.radial_coeffs)
    c[0, 0, 0, 0, 1, 1] = -0.025 / 0.5**2
    potential = new.replace(radial_coeffs=c, moment_coeffs=np.ones(1))
    mmtp.save(folder / "ising.mtp", potential)
    cell = Atoms("Fe", cell=[2.0, 2.0, 10.0], pbc=(True, True, False))
    cell.set_initial_magnetic_moments([2.0])
    mmtp.write(folder / "cell.extxyz", cell)
    return folder / "ising.mtp", folder / "cell.extxyz"


def test_mc_finds_the_curie_temperature(run, ising, tmp_path) -> None:
    paths = {name: tmp_path / name for name in ("mc.csv", "mc.json", "mc.png")}
    result = run(
        "mc", *ising, "--fixed", "--sizes", 4, 8, "--temperatures", 1240, 1320, 1400,
        "--sweeps", 4000, "--copies", 2, "-o", paths["mc.csv"], "--json", paths["mc.json"],
        "--plot", paths["mc.png"],
    )  # fmt: skip
    assert result.status == 0, result.err
    assert "crossing of the Binder cumulants" in result.out
    with open(paths["mc.csv"], newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["magnetic atoms"]) for row in rows] == [16] * 3 + [64] * 3
    assert float(rows[3]["U4"]) > float(rows[5]["U4"])
    content = json.loads(paths["mc.json"].read_text())
    # 2.269 J / k_B is 1317 K.
    assert abs(content["crossing_K"] - 1317) < 4 * content["crossing_error_K"] + 30
    assert paths["mc.png"].stat().st_size > 10_000


def test_sample_averages(run, tmp_path) -> None:
    from ase.build import bulk

    cell = bulk("Fe", a=2.84, cubic=True).repeat((2, 2, 1))
    cell.set_initial_magnetic_moments([2.2] * 8)
    start = tmp_path / "cell.extxyz"
    mmtp.write(start, cell)
    result = run(
        "sample", POTENTIAL, start, "-n", 12, "--fixed", "--json", tmp_path / "a.json",
        "--plot", tmp_path / "a.png",
    )  # fmt: skip
    assert result.status == 0, result.err
    assert "12 states of 8 atoms, 8 magnetic" in result.out
    content = json.loads((tmp_path / "a.json").read_text())
    states = mmtp.sample_disorder(mmtp.load(POTENTIAL), cell, 12, moments="fixed")
    assert np.isclose(content["energy"], states.energy)
    assert np.allclose(content["stress"], states.stress)
    assert (tmp_path / "a.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("mc", "--temperatures", -5), "must be positive"),
        (("mc", "--temperatures", 300, "--sizes", 0), "--sizes must be positive"),
        (("mc", "--temperatures", 300, "--plot", "x.txt"), "cannot plot to x.txt"),
        (("sample", "-n", 1, "--fixed"), "at least two states"),
        (("sample", "--atom", 7), "--atom must be between"),
    ],
)
def test_mistakes_are_named(run, ising, options, words) -> None:
    command, *rest = options
    result = run(command, *ising, *rest)
    assert result.status == 2
    assert words in result.err
