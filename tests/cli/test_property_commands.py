"""``mmtp elastic | eos | magnetisation | formation``: files, words, exit status, mistakes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp


@pytest.fixture(scope="module")
def folder(iron_file, tmp_path_factory) -> Path:
    """A ferromagnet, a state that is lost, and an alloy of two alike elements."""
    path = tmp_path_factory.mktemp("properties")
    atoms = bulk("Fe", a=2.83, cubic=True)
    atoms.set_initial_magnetic_moments([2.2, 2.2])
    mmtp.write(path / "fe.extxyz", [atoms])
    atoms.set_initial_magnetic_moments([1.5, -1.4])
    mmtp.write(path / "lost.extxyz", [atoms])
    iron = mmtp.load(iron_file)
    twins = iron.replace(
        species=("Fe", "Al"),
        species_coeffs=np.append(iron.species_coeffs, iron.species_coeffs + 7.0),
        radial_coeffs=np.tile(iron.radial_coeffs, (2, 2, 1, 1, 1, 1)),
        min_magmom=np.tile(iron.min_magmom, 2),
        max_magmom=np.tile(iron.max_magmom, 2),
    )
    mmtp.save(path / "pot.0.mtp", twins)
    mmtp.save(path / "pot.1.mtp", twins.replace(moment_coeffs=1.02 * twins.moment_coeffs))
    alloys = []
    for symbols in ("FeFe", "FeAl", "AlAl"):
        atoms = bulk("Fe", a=2.83, cubic=True)
        atoms.symbols = symbols
        atoms.set_initial_magnetic_moments([2.2, 2.2])
        alloys.append(atoms)
    mmtp.write(path / "alloys.extxyz", alloys)
    return path


def _files(prefix: Path) -> tuple[dict, list[dict[str, str]]]:
    for end, start in ((".pdf", b"%PDF"), (".png", b"\x89PNG")):
        assert Path(f"{prefix}{end}").read_bytes().startswith(start)
    with open(f"{prefix}.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return json.loads(Path(f"{prefix}.json").read_text()), rows


def test_elastic(iron_file, run, folder) -> None:
    result = run("elastic", iron_file, folder / "fe.extxyz", "-o", folder / "elastic")
    assert result.status == 0, result.err
    assert "Born: stable" in result.out
    content, rows = _files(folder / "elastic")
    c = np.array(content["constants_GPa"])
    assert content["cubic_GPa"]["C44"] == pytest.approx(c[3, 3], abs=1e-3)
    assert content["is_stable"]
    assert content["averages"]["bulk_voigt_GPa"] == pytest.approx((c[0, 0] + 2 * c[0, 1]) / 3)
    assert len(rows) == 18
    assert float(rows[0]["xx"]) == pytest.approx(c[0, 0])
    assert {row["kind (GPa)"] for row in rows} == {"constants", "clamped_moments", "clamped_ions"}


def test_eos_and_magnetisation(iron_file, run, folder) -> None:
    for name in ("eos", "magnetisation"):
        result = run(
            name, iron_file, folder / "fe.extxyz", "-n", "5", "--range", "0.98", "1.02",
            "-o", folder / name,
        )  # fmt: skip
        assert result.status == 0, result.err
        content, rows = _files(folder / name)
        assert f"{content['bulk_modulus_GPa']:.1f} GPa" in result.out
        assert len(rows) == 5
        lattice = [float(row["lattice parameter (Angstrom)"]) for row in rows]
        assert lattice == pytest.approx(2.83 * np.linspace(0.98, 1.02, 5))
        assert content["lattice_parameter"] == pytest.approx(2.8353, abs=1e-3)
        assert np.all(np.diff(content["moments"]) > 0)


@pytest.mark.parametrize("name", ["eos", "magnetisation"])
def test_without_a_minimum_all_else_is_written(name, iron_file, run, folder) -> None:
    prefix = folder / f"stretched_{name}"
    words = ("-n", "4", "--range", "1.02", "1.05", "-o", prefix)
    result = run(name, iron_file, folder / "fe.extxyz", *words)
    assert result.status == 1, result.err
    content, rows = _files(prefix)
    assert "no fit: the equation of state has no minimum between the volumes" in result.out
    assert content["no_fit"].startswith("the equation of state has no minimum")
    assert content["bulk_modulus_GPa"] is None
    assert len(rows) == len(content["moments"]) == 4
    assert all(float(row["pressure (GPa)"]) < 0 for row in rows)


def test_formation(run, folder) -> None:
    prefix = folder / "formation"
    result = run(
        "formation", folder / "pot.0.mtp", folder / "pot.1.mtp", "--data",
        folder / "alloys.extxyz", "--cell-atoms", "2", "-o", prefix,
    )  # fmt: skip
    assert result.status == 0, result.err
    assert result.out.count("lowest") == 3
    content, rows = _files(prefix)
    assert content["elements"] == ["Fe", "Al"]
    assert [float(row["Al fraction"]) for row in rows] == [0.0, 0.5, 1.0]
    energies = np.array([c["formation_energies"] for c in content["configurations"]])
    assert energies.shape == (3, 2)
    assert np.abs(energies).max() < 1e-4
    assert float(rows[1]["lattice parameter (Angstrom)"]) == pytest.approx(2.8353, abs=0.05)
    assert float(rows[1]["2 sigma of volume (Angstrom^3/atom)"]) >= 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("elastic", "fe.mtp", "lost.extxyz"), "1 of 2 moments have vanished"),
        (("eos", "fe.mtp", "fe.extxyz", "-n", "3"), "-n must be at least 4"),
        (("eos", "fe.mtp", "fe.extxyz", "--range", "1.1", "1.0"), "two rising factors"),
        (("eos", "fe.mtp", "fe.extxyz", "--cell-atoms", "0"), "must be positive"),
        (("elastic", "fe.mtp", "fe.extxyz", "-o", "fe.extxyz/x"), "does not exist"),
        (
            ("formation", "fe.mtp", "--data", "fe.extxyz", "--axis", "Al"),
            "--axis Al is none of Fe",
        ),
        (
            (
                "formation",
                "fe.mtp",
                "--data",
                "fe.extxyz",
                "--references",
                "fe.extxyz",
                "fe.extxyz",
            ),
            "one configuration of each element",
        ),
    ],
)
def test_mistakes_are_one_line(iron_file, run, folder, monkeypatch, arguments, words) -> None:
    monkeypatch.chdir(folder)
    result = run(*(iron_file if word == "fe.mtp" else word for word in arguments))
    assert result.status == 2
    assert words in result.err
    *warnings, error = result.err.splitlines()
    assert ": error: " in error
    assert all(": warning: " in line for line in warnings)
