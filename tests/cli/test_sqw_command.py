"""``mmtp sqw``: files, numbers and errors."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.properties.spin_spectra import MEV_FS

STEP = 4.0
EXCHANGE = 25.0
"""meV; of nearest neighbours, with energies 8 J (1 - gamma)."""


def _energy(q: np.ndarray) -> np.ndarray:
    """Of q (k, 3) in reciprocal lattice constants."""
    return 8 * EXCHANGE * (1 - np.prod(np.cos(np.pi * q), axis=1))


def _frames(n_frames: int) -> list:
    """bcc iron, 54 atoms, with all spin waves of a ferromagnet along y."""
    atoms = bulk("Fe", a=2.84, cubic=True).repeat(3)
    del atoms.arrays["initial_magmoms"]
    rng = np.random.default_rng(5)
    waves = np.array(list(np.ndindex(6, 6, 6))) / 3
    waves = waves[(waves.sum(axis=1) < 5 / 3 + 1e-9) & waves.any(axis=1)]
    places, frames = atoms.positions / 2.84, []
    phases = rng.uniform(0, 2 * np.pi, len(waves)) + 2 * np.pi * places @ waves.T
    for s in STEP * np.arange(n_frames):
        wave = 0.01 * np.exp(1j * (phases + 2 * np.pi * _energy(waves) * s / MEV_FS)).sum(axis=1)
        frame = atoms.copy()
        frame.positions += 0.02 * rng.normal(size=frame.positions.shape)
        along = np.sqrt(2.2**2 - np.abs(wave) ** 2)
        frame.set_initial_magnetic_moments(np.stack([wave.imag, along, wave.real], axis=1))
        frame.info["time_fs"] = s
        frames.append(frame)
    return frames


@pytest.fixture(scope="module")
def trajectory(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("run") / "run.extxyz"
    mmtp.write(path, _frames(360))
    return path


def _rows(path: object) -> list[dict[str, str]]:
    with open(str(path), newline="") as file:
        return list(csv.DictReader(file))


def _bands(folder: Path, cell: np.ndarray) -> Path:
    """What ``mmtp magnons`` writes, as far as it is read: from H to G, the other way round."""
    (folder / "magnons.json").write_text(json.dumps({"primitive_cell": cell.tolist()}))
    with open(folder / "magnons.csv", "w") as file:
        file.write("line,q1,q2,q3,distance (1/Angstrom),mode 1 (meV)\n")
        for x in np.linspace(1, 0, 50):
            energy = _energy(np.array([[x, 0, 0]]))[0]
            file.write(f"H-G,{x / 2},{x / 2},{-x / 2},{(1 - x) / 2.84},{energy}\n")
    return folder / "magnons.json"


def test_files_and_numbers(run, read_back, trajectory, tmp_path) -> None:
    prefix = tmp_path / "fe"
    magnons = _bands(tmp_path, bulk("Fe", a=2.83).cell.array)
    result = run(
        "sqw", trajectory, "--path", "GHN", "--magnons", magnons, "--max", 600, "-o", prefix
    )
    assert result.status == 0, result.err
    assert "S(q, omega) of 54 atoms" in result.out
    volumes = "the bands are of 11.33 Angstrom^3 where the trajectory has 11.45"
    assert f"{volumes}, with lengths that differ by up to 0.35 %" in result.err
    content = json.loads(Path(f"{prefix}.json").read_text())
    assert content["resolution_meV"] == pytest.approx(1.44 * MEV_FS / (81 * STEP), rel=1e-3)
    assert content["axis"] == pytest.approx([0, 1, 0], abs=0.02)
    q = np.array(content["q"]) @ np.linalg.inv(content["primitive_cell"]).T * 2.84
    peaks = np.array(content["peaks_meV"], float)
    assert len(q) == 5
    assert np.isnan(peaks[0])
    assert peaks[1:] == pytest.approx(_energy(q)[1:], abs=0.05 * content["resolution_meV"])
    assert content["adiabatic_meV"][1:4] == pytest.approx(_energy(q)[1:4], rel=1e-3)
    assert content["adiabatic_meV"][4] is None
    rows = _rows(f"{prefix}.csv")
    assert rows[0]["energy (meV)"] == ""
    assert float(rows[2]["sense"]) == pytest.approx(1.0, abs=0.01)
    values = np.array([[float(v) for v in row.values()] for row in _rows(f"{prefix}_map.csv")])
    assert np.abs(values[:, 3]).max() <= 600
    at_h = values[np.abs(values[:, :3] - content["q"][3]).max(axis=1) < 1e-6]
    step = at_h[1, 3] - at_h[0, 3]
    whole = at_h[:, 4].sum() * step
    assert whole == pytest.approx(float(rows[3]["static transverse (mu_B^2/atom)"]), rel=1e-2)
    assert all(read_back(f"{prefix}{end}") for end in (".pdf", ".png"))


def test_waves_that_are_given(run, trajectory, tmp_path) -> None:
    cell = tmp_path / "cubic.extxyz"
    mmtp.write(cell, [bulk("Fe", a=2.84, cubic=True)])
    prefix = tmp_path / "fe"
    result = run("sqw", trajectory, "--cell", cell, "--q", "0.3,0", "-o", prefix)
    assert result.status == 2
    assert "--q 0.25,0,0 is a wave of three numbers, got '0.3,0'" in result.err
    result = run("sqw", trajectory, "--cell", cell, "--q", "0.25,0,0", "-o", prefix)
    assert result.status == 2
    assert "the nearest that it holds is (0.3333, 0, 0)" in result.err
    assert not list(tmp_path.glob("fe*"))
    third = "0.33333333,0,0"
    result = run("sqw", trajectory, "--cell", cell, "--q", third, "1,0,0", "-o", prefix)
    assert result.status == 0, result.err
    found = json.loads(Path(f"{prefix}.json").read_text())["peaks_meV"]
    expected = _energy(np.array([[1 / 3, 0, 0], [1, 0, 0]]))
    assert found == pytest.approx(expected, abs=1.0)


def test_errors_are_in_words(run, trajectory, tmp_path) -> None:
    prefix = tmp_path / "x"
    frames = mmtp.read(str(trajectory), vectors=True)
    collinear = tmp_path / "collinear.extxyz"
    for frame in frames:
        del frame.arrays["initial_magmoms"]
        frame.calc = None
        frame.set_initial_magnetic_moments(np.full(len(frame), 2.2))
    mmtp.write(collinear, frames[:30])
    for words, message in (
        ((collinear,), "has moments that are numbers, along one axis"),
        ((trajectory, "--resolution", 0.5), "cannot resolve 0.5 meV"),
        ((trajectory, "--q", "0,0,0", "--path", "GH"), "--q goes not with --path"),
        ((trajectory, "--path", "GZ"), "the path 'GZ' names Z"),
        ((trajectory, "--magnons", collinear), "are not the JSON file and the table"),
        ((tmp_path / "none.extxyz",), "there is no file"),
    ):
        result = run("sqw", *words, "-o", prefix)
        assert result.status == 2
        assert message in result.err, result.err
    other = _bands(tmp_path, bulk("Fe", a=2.84, cubic=True).cell.array)
    result = run("sqw", trajectory, "--path", "GH", "--magnons", other, "-o", prefix)
    assert result.status == 2
    assert "the bands are of a cell of 22.91 Angstrom^3" in result.err
