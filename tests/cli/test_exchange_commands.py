"""``mmtp exchange`` and ``mmtp magnons``: files, numbers and errors."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp

FACTORS = (1.0, 1.02)


@pytest.fixture(scope="module")
def members(tmp_path_factory, iron) -> list[Path]:
    """Two potentials that are known to be fitted to collinear moments alone."""
    folder = tmp_path_factory.mktemp("members")
    paths = []
    for k, factor in enumerate(FACTORS):
        paths.append(folder / f"pot.{k}.mtp")
        mmtp.save(paths[-1], iron.replace(moment_coeffs=factor * iron.moment_coeffs))
    return paths


@pytest.fixture(scope="module")
def cell(tmp_path_factory) -> Path:
    """Two atoms of bcc iron."""
    path = tmp_path_factory.mktemp("cell") / "fe.extxyz"
    atoms = bulk("Fe", a=2.8377, cubic=True)
    atoms.set_initial_magnetic_moments([2.2, 2.2])
    mmtp.write(path, [atoms])
    return path


OPTIONS = ("--no-relax", "--moments", "fixed")


def _rows(path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_exchange(members, cell, run, read_back, tmp_path) -> None:
    prefix = tmp_path / "fe"
    result = run("exchange", *members, cell, *OPTIONS, "-o", prefix)
    assert result.status == 0, result.err
    assert result.out.count("E = -sum_(i != j) J_ij e_i.e_j") == len(FACTORS)
    assert "extrapolated by the form" in result.err
    with pytest.warns(mmtp.ExtrapolationWarning, match="extrapolated by the form"):
        each = [
            mmtp.exchange(mmtp.load(path), mmtp.read(cell)[0], relax=False, moments="fixed")
            for path in members
        ]
    content = json.loads(Path(f"{prefix}.json").read_text())
    own = json.loads(Path(f"{prefix}.1.json").read_text())
    assert "each pair in both orders" in content["convention"]
    assert "extrapolated by the form" in content["extrapolated"]
    J = [[shell.J for shell in found.shells] for found in each]
    assert [shell["J_meV"] for shell in own["shells"]] == pytest.approx(J[1])
    assert [s["J_meV"] for s in content["shells"]] == pytest.approx(np.mean(J, axis=0))
    rows = _rows(f"{prefix}.0.csv")
    assert [float(row["J (meV)"]) for row in rows] == pytest.approx(J[0], abs=1e-6)
    last = float(rows[-1]["mean-field T_C of pairs so far (K)"])
    assert last == pytest.approx(each[0].mean_field_K, rel=1e-6)
    pairs = _rows(f"{prefix}_pairs.csv")
    assert len(pairs) == len(each[0].J)
    assert all(read_back(f"{prefix}{end}") for end in (".pdf", ".png", ".0.png"))


@pytest.mark.filterwarnings("ignore::mmtp_jax.ExtrapolationWarning")
def test_magnons(members, cell, run, read_back, tmp_path) -> None:
    prefix = tmp_path / "magnons"
    result = run(
        "magnons", *members, cell, *OPTIONS, "--path", "GHN", "--mesh", 15, "-o", prefix
    )  # fmt: skip
    assert result.status == 0, result.err
    assert "random phases" in result.out
    each = [
        mmtp.magnons(mmtp.load(path), mmtp.read(cell)[0], relax=False, moments="fixed")
        for path in members
    ]
    content = json.loads(Path(f"{prefix}.json").read_text())
    for name, values in (
        ("mean_stiffness_meV_A2", [of.mean_stiffness for of in each]),
        ("random_phase_temperature_K", [of.random_phase_K for of in each]),
        ("mean_field_temperature_K", [of.mean_field_K for of in each]),
    ):
        assert content[name] == pytest.approx(np.mean(values), rel=1e-6), name
        assert content["two_sigma"][name] == pytest.approx(2 * np.std(values, ddof=1), rel=1e-4)
    np.testing.assert_allclose(
        content["stiffness_of_bands_meV_A2"], content["stiffness_meV_A2"], atol=1e-2
    )
    bands = _rows(f"{prefix}.0.csv")
    assert {row["line"] for row in bands} == {"G-H", "H-N"}
    q = [[float(row[f"q{k}"]) for k in (1, 2, 3)] for row in bands]
    energies = [float(row["mode 1 (meV)"]) for row in bands]
    np.testing.assert_allclose(each[0].energies(q)[:, 0], energies, atol=1e-4)
    dos = _rows(f"{prefix}.0_dos.csv")
    total, e = ([float(r[n]) for r in dos] for n in ("total (1/meV/atom)", "energy (meV)"))
    assert np.sum(total) * (e[1] - e[0]) == pytest.approx(1.0, rel=1e-4)
    yaml = pytest.importorskip("yaml")
    text = Path(f"{prefix}.0_band.yaml").read_text()
    assert "extrapolated by the form" in text.splitlines()[0]
    band = yaml.safe_load(text)
    assert band["labels"] == [["G", "H"], ["H", "N"]]
    assert band["nqpoint"] == len(band["phonon"]) == len(bands)
    last = band["phonon"][-1]
    assert last["band"][0]["energy"] == pytest.approx(energies[-1], abs=1e-4)
    assert last["band"][0]["frequency"] == pytest.approx(energies[-1] / 4.135667696, abs=1e-4)
    assert last["distance"] == pytest.approx(float(bands[-1]["distance (1/Angstrom)"]), abs=1e-6)
    assert all(read_back(f"{prefix}{end}") for end in (".pdf", ".png", ".0.png"))


@pytest.mark.filterwarnings("ignore::mmtp_jax.ExtrapolationWarning")
def test_a_state_that_is_no_minimum_is_a_status(members, run, tmp_path) -> None:
    atoms = bulk("Fe", a=2.8377, cubic=True)
    atoms.set_initial_magnetic_moments([2.2, -2.2])
    mmtp.write(tmp_path / "afm.extxyz", [atoms])
    prefix = tmp_path / "afm"
    words = ("magnons", members[0], tmp_path / "afm.extxyz", *OPTIONS, "--mesh", 10, "-o", prefix)
    result = run(*words)
    assert result.status == 1, result.out
    assert "lower the energy at" in result.err
    assert "UNSTABLE" in result.out
    content = json.loads(Path(f"{prefix}.json").read_text())
    assert content["stable"] is False
    assert content["soft"][0]["energy_meV"] < 0.0
    assert content["random_phase_temperature_K"] is None
    assert content["mean_field_temperature_K"] is None
    assert "mean field: none, the state is no minimum" in result.out
    assert run(*words, "--path", "GQ").status == 2
    assert "special points of this lattice" in run(*words, "--path", "GQ").err
    assert "--cell is of a relaxation" in run(*words, "--cell", "volume").err
    assert "--min-moment must be positive" in run(*words, "--min-moment", 0).err


def test_special_points_are_refused_before_the_relaxation(
    members, cell, run, tmp_path, monkeypatch
) -> None:
    def found_by(*_):
        raise ValueError("the relaxation")

    monkeypatch.setattr("mmtp_jax.cli.commands.magnons.found_by", found_by)
    result = run("magnons", members[0], cell, "--path", "GXQ", "-o", tmp_path / "fe")
    assert result.status == 2
    assert "names Q, X; special points of this lattice (body-centred cubic)" in result.err
    assert "the relaxation" not in result.err
    result = run("magnons", members[0], cell, "--path", "GHN", "-o", tmp_path / "fe")
    assert "the relaxation" in result.err
