"""``mmtp phonons``, ``qha``, ``dos`` and ``expansion``: files, numbers and errors."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.io.trajectory import ThermoLog
from mmtp_jax.simulation.constants import KB
from mmtp_jax.simulation.dynamics.series import Series


@pytest.fixture(scope="module")
def cell(tmp_path_factory) -> Path:
    """One atom of bcc iron close to where its energy is least."""
    path = tmp_path_factory.mktemp("cell") / "fe.extxyz"
    atoms = bulk("Fe", a=2.8377)
    atoms.set_initial_magnetic_moments([2.2])
    mmtp.write(path, [atoms])
    return path


def test_special_points_are_refused_before_the_work(
    iron_file, cell, run, tmp_path, monkeypatch
) -> None:
    def phonons(*_: object, **__: object) -> None:
        raise ValueError("the work")

    monkeypatch.setattr("mmtp_jax.phonons", phonons)
    for more in ((), ("--states", 4), ("--no-relax",)):
        words = ("phonons", iron_file, cell, *more, "-o", tmp_path / "fe", "--path")
        refused = run(*words, "GXQ")
        assert refused.status == 2
        assert "names Q, X; special points of this lattice (body-centred cubic)" in refused.err
        assert "the work" in run(*words, "GHN").err
    # Two moments of the cubic cell that differ, as long as they are not equilibrated.
    atoms = bulk("Fe", a=2.84, cubic=True)
    atoms.set_initial_magnetic_moments([2.2, 2.0])
    mmtp.write(tmp_path / "two.extxyz", atoms)
    words = ("phonons", iron_file, tmp_path / "two.extxyz", "--no-relax", "-o", tmp_path / "fe")
    assert "the work" in run(*words, "--path", "GHN").err
    assert "the work" in run(*words, "--fixed-moments", "--path", "GXM").err
    assert "the work" not in run(*words, "--fixed-moments", "--path", "GHN").err


def _rows(path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def has_figures(read_back) -> Callable[[str], bool]:
    return lambda prefix: all(read_back(f"{prefix}{end}") for end in (".pdf", ".png"))


def test_phonons(iron_file, has_figures, run, cell, tmp_path) -> None:
    pytest.importorskip("phonopy")
    prefix = tmp_path / "fe"
    result = run(
        "phonons", iron_file, cell, "--supercell", 2, "--no-relax", "--mesh", 20,
        "--temperatures", 0,
        600, 100, "--path", "GHN", "-o", prefix,
    )  # fmt: skip
    assert result.status == 0, result.err
    assert "stable at the 8 q of the supercell" in result.out
    content = json.loads(Path(f"{prefix}.json").read_text())
    assert content["stable"] is True
    assert np.shape(content["frequencies_THz"]) == (8, 3)
    assert content["acoustic_sum_rule_eV_per_A2"] < 1e-9
    bands = _rows(f"{prefix}.csv")
    assert {row["line"] for row in bands} == {"G-H", "H-N"}
    at_h = [float(bands[-1][f"mode {k} (THz)"]) for k in (1, 2, 3)]
    assert np.abs(np.sort(content["frequencies_THz"], axis=1) - at_h).max(axis=1).min() < 1e-4
    dos = _rows(f"{prefix}_dos.csv")
    total, f = ([float(r[n]) for r in dos] for n in ("total (1/THz/atom)", "frequency (THz)"))
    assert np.trapezoid(total, f) == pytest.approx(3.0, rel=0.03)
    import phonopy

    again = phonopy.load(f"{prefix}_phonopy.yaml", log_level=0)
    again = again.run_qpoints(np.array(content["q"])).frequencies
    assert again == pytest.approx(np.array(content["frequencies_THz"]), abs=1e-4)
    band = Path(f"{prefix}_band.yaml").read_text()
    assert "- [ 'G', 'H' ]" in band
    assert "- [ 'H', 'N' ]" in band
    thermal = _rows(f"{prefix}_thermal.csv")
    assert [float(row["temperature (K)"]) for row in thermal] == list(range(0, 601, 100))
    assert has_figures(prefix)


def test_imaginary_modes_are_a_warning_and_a_status(iron_file, has_figures, run, tmp_path) -> None:
    pytest.importorskip("phonopy")
    atoms = bulk("Fe", "sc", a=2.4)
    atoms.set_initial_magnetic_moments([2.0])
    mmtp.write(tmp_path / "sc.extxyz", [atoms])
    result = run(
        "phonons", iron_file, tmp_path / "sc.extxyz", "--supercell", 2, "--no-relax",
        "--fixed-moments",
        "--mesh", 10, "-o", tmp_path / "sc",
    )  # fmt: skip
    assert result.status == 1
    assert "warning:" in result.err
    assert "i THz at q = (" in result.err
    content = json.loads((tmp_path / "sc.json").read_text())
    assert content["imaginary"][0]["frequency_THz"] < 0
    assert has_figures(tmp_path / "sc")


def test_qha(iron_file, has_figures, run, cell, tmp_path) -> None:
    pytest.importorskip("phonopy")
    prefix = tmp_path / "qha"
    result = run(
        "qha", iron_file, cell, "--supercell", 2, "--strains", -0.01, 0.01, 5,
        "--temperatures", 0, 200,
        50, "--mesh", 15, "--allow-imaginary", "-o", prefix,
    )  # fmt: skip
    assert result.status == 0, result.err
    content = json.loads(Path(f"{prefix}.json").read_text())
    rows = _rows(f"{prefix}.csv")
    assert [float(row["temperature (K)"]) for row in rows] == content["temperatures_K"]
    assert 100 < content["bulk_modulus_GPa"][0] < 300
    volumes = _rows(f"{prefix}_volumes.csv")
    assert len(volumes) == 5
    # Moments follow the volume.
    moments = [float(row["mean |m| (mu_B)"]) for row in volumes]
    assert np.all(np.diff(moments) > 0)
    assert has_figures(prefix)
    # Of polar crystals as for phonons.
    half = run("qha", iron_file, cell, "--supercell", 2, "--born", "Fe=0", "-o", tmp_path / "half")
    assert half.status == 2
    assert "give both Born charges and the dielectric constant" in half.err


def test_dos(has_figures, run, tmp_path) -> None:
    frames = []
    for k in range(400):
        atoms = bulk("Fe", cubic=True)
        v = np.cos(2 * np.pi * 6.0 * 0.01 * k) * 0.01
        atoms.set_velocities([[v, v, v], [-v, -v, -v]])
        atoms.info["time_fs"] = 10.0 * k
        frames.append(atoms)
    path = tmp_path / "run.extxyz"
    mmtp.write(path, frames)
    prefix = tmp_path / "dos"
    result = run("dos", path, "--resolution", 0.5, "-o", prefix)
    assert result.status == 0, result.err
    content = json.loads(Path(f"{prefix}.json").read_text())
    assert content["peak_THz"] == pytest.approx(6.0, abs=0.1)
    assert content["frames"] == 360
    rows = _rows(f"{prefix}.csv")
    values = np.array([[float(v) for v in row.values()] for row in rows])
    assert np.trapezoid(values[:, 2], values[:, 0]) == pytest.approx(3.0, rel=1e-6)
    assert values[1, 1] == pytest.approx(4.135667696 * values[1, 0])
    assert has_figures(prefix)
    short = run("dos", path, "--resolution", 0.01, "-o", prefix)
    assert short.status == 2
    assert "cannot resolve 0.01 THz" in short.err


def test_expansion(has_figures, run, tmp_path) -> None:
    rng = np.random.default_rng(1)
    t = np.array([300.0, 600.0, 900.0])
    shape = (500, 3)
    values = {name: np.zeros(shape) for name in Series._fields} | {
        "temperature": t * np.ones(shape),
        "volume": 2 * 11.5 * (1 + 3e-5 * t) + 0.01 * rng.normal(size=shape),
        "kinetic": 3 * KB * t * np.ones(shape),
        "energy": 3 * KB * t + 1e-3 * rng.normal(size=shape),
    }
    log = tmp_path / "thermo.csv"
    ThermoLog(log, 1.0, 2)(np.arange(500), Series(**values))
    prefix = tmp_path / "expansion"
    result = run("expansion", log, "-o", prefix)
    assert result.status == 0, result.err
    content = json.loads(Path(f"{prefix}.json").read_text())
    assert content["temperatures_K"] == pytest.approx(t.tolist())
    assert content["expansion"][1] == pytest.approx(1e-5 / (1 + 3e-5 * 600), rel=0.05)
    assert content["heat_capacity"] == pytest.approx([3.0] * 3, rel=0.05)
    assert len(_rows(f"{prefix}.csv")) == 3
    assert has_figures(prefix)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--supercell", 2, 2], "one, three or nine"),
        (["--temperatures", 300, 100, 10], "LOW HIGH STEP"),
        (["--mesh", 4, 4], "one positive length or three"),
        (["--born", "Fe"], "SYMBOL=CHARGE"),
        (["--states", 1], "at least 2"),
        (["--states", 4, "--displacements"], "--states goes neither"),
        (["-o", "nowhere/fe"], "does not exist"),
    ],
)
def test_bad_options_are_refused(
    iron_file, run, cell, tmp_path, monkeypatch, arguments, words
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("phonons", iron_file, cell, *arguments)
    assert result.status == 2
    assert words in result.err
    assert not list(tmp_path.iterdir())
