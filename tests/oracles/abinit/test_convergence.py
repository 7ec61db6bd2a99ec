"""``mmtp converge`` with the stand-in for ABINIT, whose energy follows cutoff and mesh."""

from __future__ import annotations

import csv
import io
import json
from contextlib import redirect_stderr, redirect_stdout

import pytest

import mmtp_jax as mmtp
from mmtp_jax.cli.main import main
from mmtp_jax.oracles.abinit.units import HARTREE


def test_better_settings_can_be_and_drop_grids_of_other_cutoffs(stand_in) -> None:
    oracle = stand_in("default", extra={"ngfft": [20] * 3, "ngfftdg": [30] * 3, "ixc": 11})
    better = oracle.better()
    assert better["ecut_Ha"] == {"ecut_Ha": 25.0, "pawecutdg_Ha": 40.0}
    assert better["bands"] == {"empty_bands_per_atom": 8.0}
    assert stand_in("default", bands=18).better()["bands"] == {"bands": 22}
    high = stand_in("default", ecut_Ha=40.0).better()["ecut_Ha"]
    assert high == {"ecut_Ha": 50.0, "pawecutdg_Ha": 50.0}
    for table in better.values():
        assert oracle.varied(**table).fingerprint() != oracle.fingerprint()
    assert oracle.varied(**better["ecut_Ha"]).extra == {"ngfftdg": [30] * 3, "ixc": 11}
    assert oracle.varied(**better["pawecutdg_Ha"]).extra == {"ngfft": [20] * 3, "ixc": 11}
    assert oracle.varied(**better["tolerance"]).extra == oracle.extra


def test_the_command_writes_tables_and_goes_on(stand_in, iron, tmp_path, monkeypatch) -> None:
    program = stand_in("settings")
    (tmp_path / "abinit.toml").write_text(
        f'code = "abinit"\n[abinit]\nexecutable = "{program.executable}"\nkmesh = [4, 4, 4]\n'
        f'[abinit.datasets]\nFe = "{program.datasets["Fe"]}"\n'
    )
    large = iron.copy()
    large.set_cell(iron.cell.array * 1.02, scale_atoms=True)
    mmtp.write(tmp_path / "iron.extxyz", [iron, iron, large])
    monkeypatch.chdir(tmp_path)

    def run(*words: str):
        out, err = io.StringIO(), io.StringIO()
        command = ["converge", "iron.extxyz", "--oracle", "abinit.toml", "-o", "found", *words]
        with redirect_stdout(out), redirect_stderr(err):
            status = main(command)
        return status, out.getvalue(), err.getvalue()

    chosen = ("--configurations", "1", "3", "--vary", "mesh", "ecut_Ha")
    status, out, err = run(*chosen, "ecut_Ha=16", "--dry-run")
    assert status == 0, err
    assert "configuration 3: Fe2" in out
    assert "k-points 4x4x4 -> 5x5x5               2             0" in out
    assert "ecut_Ha 20 -> 16 " in out
    assert sorted(p.name for p in tmp_path.glob("found*")) == []
    status, out, err = run(*chosen, "--workers", "2")
    assert status == 0, err
    # The stand-in: E = E_0 + a / ecut + 1e-4 / points, a 1e-3 Ha for each bohr of the first vector.
    by = 1e3 * HARTREE * 1e-3 * 2.83 * 0.02 / 0.529177210903 / 2
    content = json.loads((tmp_path / "found.json").read_text())
    mesh, ecut = content["changes"]
    assert mesh["energy"] == pytest.approx(0.0, abs=1e-4)
    assert ecut["energy"] == pytest.approx(by * (1 / 20 - 1 / 25), rel=1e-3)
    assert ecut["cells"]["1: Fe2"]["steps"] == 26
    assert content["bounds"]["forces"] == 15.0
    with open(tmp_path / "found.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["settings"] for row in rows] == [
        "as they are", "k-points 4x4x4 -> 5x5x5", "ecut_Ha 20 -> 25",
        "all of these, if they add up",
    ]  # fmt: skip
    with open(tmp_path / "found_cells.csv") as file:
        folders = [row["folder"] for row in csv.DictReader(file)]
    assert len(set(folders)) == 4
    assert all((tmp_path / "found-jobs" / name / "labelled.cfg").exists() for name in folders)
    assert (tmp_path / "found.png").stat().st_size > 1000
    _, out, _ = run(*chosen, "--dry-run")
    assert "ecut_Ha 20 -> 25                      2             2" in out
    status, out, _ = run(*chosen, "--max-energy", "0.01")
    assert status == 1
    assert "0.01*" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--configurations", "4"), "--configurations names 4, and there are 1 configurations"),
        (("--vary", "ecut"), "what is varied is one of mesh, ecut_Ha, pawecutdg_Ha, smearing_Ha"),
        (("--vary", "ecut_Ha=-3"), "vary: ecut_Ha must be positive, got -3"),
        (("--executor", "e.toml", "--workers", "2"), "the executor has its own number"),
    ],
)
def test_mistakes_are_one_sentence(stand_in, iron, tmp_path, monkeypatch, words, said) -> None:
    program = stand_in("default")
    (tmp_path / "abinit.toml").write_text(
        f'code = "abinit"\n[abinit]\nexecutable = "{program.executable}"\n'
        f'[abinit.datasets]\nFe = "{program.datasets["Fe"]}"\n'
    )
    mmtp.write(tmp_path / "iron.extxyz", iron)
    monkeypatch.chdir(tmp_path)
    err = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(err):
        status = main(["converge", "iron.extxyz", "--oracle", "abinit.toml", *words])
    assert status == 2
    assert said in err.getvalue()
    assert err.getvalue().count("\n") == 1
    assert not list(tmp_path.glob("converge*"))
