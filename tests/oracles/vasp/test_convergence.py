"""Settings of VASP that are varied, and a run of the stand-in with one of them."""

from __future__ import annotations

import pytest

import mmtp_jax as mmtp


def test_better_settings_know_what_is_given_where(vasp) -> None:
    oracle = vasp()
    assert oracle.better() == {
        "cutoff_ev": {"cutoff_ev": 625.0},
        "SIGMA": {"incar": {"SIGMA": 0.05}},
        "EDIFF": {"incar": {"EDIFF": pytest.approx(1e-6)}},
    }
    given = vasp(
        incar={"SIGMA": 0.2, "NBANDS": 20}, incar_constrained={"NBANDS": 41, "EDIFF": 1e-7}
    )
    better = given.better()
    assert better["SIGMA"] == {"incar": {"SIGMA": 0.1}}
    assert better["NBANDS"] == {"incar": {"NBANDS": 24}, "incar_constrained": {"NBANDS": 50}}
    assert better["EDIFF"]["incar_constrained"]["EDIFF"] == pytest.approx(1e-8)
    assert "SIGMA" not in vasp(incar={"ISMEAR": -5}).better()


def test_variations_are_run(vasp, target, tmp_path) -> None:
    target.set_initial_magnetic_moments([0.3, 2.2, 0.1, -2.0])
    found = mmtp.converge(
        vasp(incar={"NELM": 150}, kmesh=(2, 2, 2)), [target], tmp_path, vary=("SIGMA", "mesh")
    )
    assert not found.failures
    assert [change.text for change in found.changes] == [
        "incar.SIGMA 0.05", "k-points 2x2x2 -> 3x3x3",
    ]  # fmt: skip
    assert (found.changes[0].magnetic_forces, found.changes[0].energy) == (None, None)
    widths, meshes = ([tmp_path / run.folder for run in c.after] for c in found.changes)
    for (folder,), width, mesh in ((widths, "0.05", "2 2 2"), (meshes, "0.1", "3 3 3")):
        incar = [path.read_text() for path in folder.rglob("INCAR")]
        assert len(incar) > 1
        assert all(f"SIGMA = {width}\n" in text and "NELM = 150" in text for text in incar)
        assert all(f"\n{mesh}\n" in path.read_text() for path in folder.rglob("KPOINTS"))
