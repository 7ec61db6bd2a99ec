"""``mmtp equilibrate``: the table, the files, and what is wrong with bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.progress import CountProgress


@pytest.fixture(scope="module")
def equilibrated(run, fitted, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("equilibrated")
    output, report = folder / "out.cfg", folder / "out.json"
    result = run("equilibrate", fitted.potential, data.cfg, "-o", output, "--json", report)
    assert result.status == 0, result.err
    return result, mmtp.read(output, species=("Fe",)), json.loads(report.read_text())


def test_it_writes_what_the_library_finds(equilibrated, fitted, data) -> None:
    result, written, report = equilibrated
    expected = mmtp.equilibrate(
        mmtp.load(fitted.potential), mmtp.read(data.cfg, species=("Fe",)), tolerance=5e-6
    )
    for atoms, found in zip(written, expected, strict=True):
        assert atoms.get_magnetic_moments() == pytest.approx(found.magmoms, abs=1e-6)
        assert atoms.get_potential_energy() == pytest.approx(found.energy, abs=1e-6)
    numbers = report["reliability"]
    assert numbers["converged"] == np.mean([found.converged for found in expected])
    assert numbers["mean_steps"] == np.mean([found.n_steps for found in expected])
    assert sum(numbers["statuses"].values()) == len(expected)
    assert [c["n_steps"] for c in report["configurations"]] == [f.n_steps for f in expected]
    assert f"{100 * numbers['converged']:.1f} %" in result.out
    assert "10 configurations, 20 atoms" in result.out


def test_errors_are_those_against_equilibria_that_converged(run, equilibrated, fitted, tmp_path):
    """Its own output with other moments is a reference whose error is known."""
    _, written, _ = equilibrated
    converged = [a for a in written if np.abs(a.arrays["magnetic_forces"]).max() < 5e-6]
    assert len(converged) > 1
    shifted = []
    for k, atoms in enumerate(converged):
        copy = atoms.copy()
        copy.calc = atoms.calc
        copy.calc.results["magmoms"] = atoms.get_magnetic_moments() + 0.03
        copy.calc.results["energy"] = atoms.get_potential_energy() + 0.004
        # A constrained one, whose moments are no reference.
        if k:
            mmtp.set_magnetic_forces(copy, np.array([0.1, 0.0]))
        shifted.append(copy)
    path, report = tmp_path / "reference.extxyz", tmp_path / "report.json"
    mmtp.write(path, shifted)
    result = run("equilibrate", fitted.potential, path, "--json", report)
    assert result.status == 0, result.err
    numbers = json.loads(report.read_text())["reliability"]
    assert numbers["n_reference"] == numbers["n_reference_converged"] == 1
    assert numbers["magmom_rmse"]["Fe"] == pytest.approx(0.03, abs=1e-4)
    assert numbers["energy_rmse"] == pytest.approx(0.002, abs=1e-6)
    assert "RMSE of the moments of Fe" in result.out


def test_a_guess_without_labels_is_no_reference_and_moments_are_printed(
    run, fitted, data, tmp_path
):
    guess = data.atoms_list[0].copy()
    for name in ("magmoms", "magnetic_forces"):
        guess.arrays.pop(name, None)
    guess.set_initial_magnetic_moments([1.5, 1.5])
    mmtp.write(tmp_path / "guess.extxyz", guess)
    report = tmp_path / "report.json"
    result = run("equilibrate", fitted.potential, tmp_path / "guess.extxyz", "--json", report)
    assert result.status == 0, result.err
    assert json.loads(report.read_text())["reliability"]["n_reference"] == 0
    assert "RMSE" not in result.out
    found = mmtp.equilibrate(mmtp.load(fitted.potential), guess, tolerance=5e-6).magmoms
    (row,) = [line.split() for line in result.out.splitlines() if line.startswith("Fe ")]
    numbers = (found.mean(), np.abs(found).mean(), found.min(), found.max())
    assert row[1:] == ["2", *(f"{x:.3f}" for x in numbers)]
    assert f"Fe {found[0]:.3f}  Fe {found[1]:.3f}" in result.out


def test_start_and_flips(run, fitted, data, tmp_path) -> None:
    output = tmp_path / "out.extxyz"
    result = run(
        "equilibrate", fitted.potential, data.extxyz, "-o", output, "--start", "Fe=2.0",
        "--max-steps", "1", "--allow-flips",
    )  # fmt: skip
    assert result.status == 0, result.err
    for atoms in mmtp.read(output):
        assert atoms.get_magnetic_moments() == pytest.approx(2.0)
    assert "not converged within the allowed number of steps" in result.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--start", "Fe"), "--start takes a moment for each species"),
        (("--start", "Al=1.0"), "start has a moment for Al"),
        (("--tolerance", "-1"), "--tolerance must be positive"),
        (("--max-steps", "0"), "--max-steps must be at least 1"),
        (("-o", "DATA"), "is an input"),
        (("-o", "no/folder.cfg"), "does not exist"),
    ],
)
def test_bad_input_is_one_line(run, fitted, data, options, words) -> None:
    options = [data.cfg if option == "DATA" else option for option in options]
    result = run("equilibrate", fitted.potential, data.cfg, *options)
    assert result.status == 2
    assert words in result.err
    assert result.err.count("\n") == 1


def test_moments_are_needed(run, fitted, data, tmp_path) -> None:
    bare = data.atoms_list[0].copy()
    for name in ("initial_magmoms", "magmoms", "magnetic_forces"):
        bare.arrays.pop(name, None)
    path = tmp_path / "bare.extxyz"
    mmtp.write(path, bare)
    result = run("equilibrate", fitted.potential, path)
    assert result.status == 2
    assert "no magnetic moments to start from" in result.err
    assert run("equilibrate", fitted.potential, path, "--start", "Fe=2.0").status == 0


def test_progress_is_a_bar_or_lines(capsys, monkeypatch) -> None:
    with CountProgress(10, "things", terminal=True) as progress:
        progress(10)
    assert "10/10" in capsys.readouterr().err
    monkeypatch.setattr("mmtp_jax.progress.LOG_EVERY", 0.0)
    with CountProgress(10, "things", terminal=False) as progress:
        progress(4)
        progress(10)
    assert capsys.readouterr().out == "4 of 10 things\n"
